package executors

import (
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// wires is a transport that keeps what is sent.
type wires struct {
	sent  []proto.Message
	to    []string
	links map[string]bool
}

func (w *wires) Send(_, to libprocess.UPID, m proto.Message) error {
	w.sent, w.to = append(w.sent, m), append(w.to, to.String())
	return proto.CheckInitialized(m)
}
func (w *wires) Link(_, to libprocess.UPID, _ bool) uint64 { w.links[to.String()] = true; return 1 }
func (w *wires) Unlink(_, to libprocess.UPID)              { delete(w.links, to.String()) }

const oldPID = "executor(1)@10.0.0.1:4000"

func newOld(t *testing.T) (*Old, *wires, *libprocess.Mux, *[]lifecycle.Event) {
	t.Helper()
	w := &wires{links: map[string]bool{}}
	var events []lifecycle.Event
	me, err := libprocess.Parse("slave(1)@10.0.0.1:5051")
	if err != nil {
		t.Fatal(err)
	}
	o := NewOld(w, me, func(ev lifecycle.Event) { events = append(events, ev) }, slog.New(slog.DiscardHandler))
	m := libprocess.NewMux(nil)
	o.Handle(m)
	return o, w, m, &events
}

func packet(t *testing.T, m *libprocess.Mux, msg proto.Message) {
	t.Helper()
	name, err := libprocess.NameOf(msg)
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.MarshalOptions{AllowPartial: true}.Marshal(msg)
	if err != nil {
		t.Fatal(err)
	}
	from, err := libprocess.Parse(oldPID)
	if err != nil {
		t.Fatal(err)
	}
	m.Receive(libprocess.Message{From: from, Name: name, Body: body})
}

func id(s string) *string { return &s }

// Packets of executors become events; those that break a rule are dropped, above all
// updates whose acknowledgement would end their sender.
func TestPacketsOfOldExecutors(t *testing.T) {
	_, w, m, events := newOld(t)
	f, x := &mesos.FrameworkID{Value: id("F")}, &mesos.ExecutorID{Value: id("x")}
	update := func(change func(*messages.StatusUpdate)) *messages.StatusUpdateMessage {
		u := &messages.StatusUpdate{FrameworkId: f, ExecutorId: x, SlaveId: &mesos.AgentID{Value: id("S0")}, Timestamp: proto.Float64(7), Uuid: make([]byte, 16),
			Status: &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: id("t")}, State: mesos.TaskState_TASK_RUNNING.Enum()}}
		change(u)
		return &messages.StatusUpdateMessage{Update: u, Pid: id(oldPID)}
	}
	for name, msg := range map[string]proto.Message{
		"registration without executor": &messages.RegisterExecutorMessage{FrameworkId: f},
		"update with a short uuid":      update(func(u *messages.StatusUpdate) { u.Uuid = make([]byte, 15) }),
		"update without uuid":           update(func(u *messages.StatusUpdate) { u.Uuid = nil }),
		"update without task":           update(func(u *messages.StatusUpdate) { u.Status.TaskId = &mesos.TaskID{Value: id("")} }),
		"update with TASK_STAGING":      update(func(u *messages.StatusUpdate) { u.Status.State = mesos.TaskState_TASK_STAGING.Enum() }),
		"update of two agents":          update(func(u *messages.StatusUpdate) { u.Status.AgentId = &mesos.AgentID{Value: id("S1")} }),
		"message without data":          &messages.ExecutorToFrameworkMessage{FrameworkId: f, ExecutorId: x, SlaveId: &mesos.AgentID{Value: id("S0")}},
	} {
		packet(t, m, msg)
		if len(*events) != 0 || len(w.sent) != 0 {
			t.Errorf("%s: %v %v", name, *events, w.sent)
			*events = nil
		}
	}
	packet(t, m, &messages.RegisterExecutorMessage{FrameworkId: f, ExecutorId: x})
	packet(t, m, update(func(*messages.StatusUpdate) {}))
	packet(t, m, &messages.ReregisterExecutorMessage{FrameworkId: f, ExecutorId: x, Tasks: []*mesos.TaskInfo{{Name: id("t"), TaskId: &mesos.TaskID{Value: id("t")}, AgentId: &mesos.AgentID{Value: id("S0")}}},
		Updates: []*messages.StatusUpdate{update(func(*messages.StatusUpdate) {}).Update, update(func(u *messages.StatusUpdate) { u.Uuid = []byte("short") }).Update}})
	packet(t, m, &messages.ExecutorToFrameworkMessage{FrameworkId: f, ExecutorId: x, SlaveId: &mesos.AgentID{Value: id("S0")}, Data: []byte("d")})
	key := lifecycle.ExecutorKey{Framework: "F", Executor: "x"}
	if len(*events) != 4 || !w.links[oldPID] {
		t.Fatalf("events %v, links %v", *events, w.links)
	}
	if ev := (*events)[0].(lifecycle.ExecutorSubscribed); ev.Key != key || ev.UPID != oldPID || ev.Again {
		t.Errorf("registration: %+v", ev)
	}
	if ev := (*events)[1].(lifecycle.ExecutorUpdate); ev.Key != key || ev.UPID != oldPID || len(ev.Status.GetUuid()) != 16 || ev.Status.GetTimestamp() != 7 {
		t.Errorf("update: %+v", ev)
	}
	if ev := (*events)[2].(lifecycle.ExecutorSubscribed); !ev.Again || len(ev.Tasks) != 1 || len(ev.Updates) != 1 {
		t.Errorf("registration again: %+v", ev)
	}
	if ev := (*events)[3].(lifecycle.ExecutorMessage); ev.UPID != oldPID || string(ev.Data) != "d" {
		t.Errorf("message: %+v", ev)
	}
}

// Each event has its message of the v0 API, with all that is required in it.
func TestEventsForOldExecutors(t *testing.T) {
	o, w, _, _ := newOld(t)
	key := lifecycle.ExecutorKey{Framework: "F", Executor: "x"}
	agent := &mesos.AgentID{Value: id("S0")}
	task := &mesos.TaskInfo{Name: id("t"), TaskId: &mesos.TaskID{Value: id("t")}, AgentId: agent}
	framework := &mesos.FrameworkInfo{Name: id("f"), User: id("u"), Id: &mesos.FrameworkID{Value: id("F")}}
	sub := &executor.Event_Subscribed{ExecutorInfo: &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: id("x")}}, FrameworkInfo: framework,
		AgentInfo: &mesos.AgentInfo{Hostname: id("h"), Id: agent, Resources: []*mesos.Resource{{Name: id("cpus"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(2)},
			Reservations: []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_STATIC.Enum(), Role: id("prod")}}}}}}
	send := func(ev *executor.Event, again bool) {
		o.Send(lifecycle.ToExecutor{Key: key, UPID: oldPID, Agent: agent, Framework: framework, Event: ev, Again: again})
	}
	send(&executor.Event{Type: executor.Event_SUBSCRIBED.Enum(), Subscribed: sub}, false)
	send(&executor.Event{Type: executor.Event_SUBSCRIBED.Enum(), Subscribed: sub}, true)
	send(&executor.Event{Type: executor.Event_LAUNCH.Enum(), Launch: &executor.Event_Launch{Task: task}}, false)
	send(&executor.Event{Type: executor.Event_KILL.Enum(), Kill: &executor.Event_Kill{TaskId: task.TaskId, KillPolicy: &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: proto.Int64(5)}}}}, false)
	send(&executor.Event{Type: executor.Event_ACKNOWLEDGED.Enum(), Acknowledged: &executor.Event_Acknowledged{TaskId: task.TaskId, Uuid: make([]byte, 16)}}, false)
	send(&executor.Event{Type: executor.Event_MESSAGE.Enum(), Message: &executor.Event_Message{Data: []byte("d")}}, false)
	send(&executor.Event{Type: executor.Event_SHUTDOWN.Enum()}, false)
	send(&executor.Event{Type: executor.Event_HEARTBEAT.Enum()}, false)
	o.Reconnect(lifecycle.Reconnect{Key: key, UPID: oldPID, Agent: agent})
	var names []string
	for i, m := range w.sent {
		name, err := libprocess.NameOf(m)
		if err != nil || proto.CheckInitialized(m) != nil || w.to[i] != oldPID {
			t.Errorf("%T to %s: %v %v", m, w.to[i], err, proto.CheckInitialized(m))
		}
		names = append(names, strings.TrimPrefix(name, "mesos.internal."))
	}
	want := "ExecutorRegisteredMessage ExecutorReregisteredMessage RunTaskMessage KillTaskMessage StatusUpdateAcknowledgementMessage FrameworkToExecutorMessage ShutdownExecutorMessage ReconnectExecutorMessage"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("sent %s", got)
	}
	if r := w.sent[0].(*messages.ExecutorRegisteredMessage); r.GetSlaveInfo().GetResources()[0].GetRole() != "prod" || !r.GetSlaveInfo().GetCheckpoint() {
		t.Errorf("slave info: %v", r.GetSlaveInfo())
	}
	if r := w.sent[2].(*messages.RunTaskMessage); r.GetPid() != "@0.0.0.0:0" || r.GetFrameworkId().GetValue() != "F" || r.GetTask() != task {
		t.Errorf("run: %v", r)
	}
	o.Close(oldPID)
	if len(w.links) != 0 {
		t.Errorf("links stay: %v", w.links)
	}
}
