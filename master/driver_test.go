package master_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/schedulerv0"
	"github.com/stoa-project/stoa/master"
)

// v0driver is a libprocess scheduler that notes what it is told.
type v0driver struct {
	t         *testing.T
	transport *libprocess.Transport
	pid       libprocess.UPID
	master    libprocess.UPID
	got       chan proto.Message
	stop      func() // as when the process ends
}

func startDriver(t *testing.T, addr string) *v0driver {
	t.Helper()
	tr, err := libprocess.New(libprocess.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	d := &v0driver{t: t, transport: tr, got: make(chan proto.Message, 1000)}
	if d.master, err = libprocess.Parse("master@" + addr); err != nil {
		t.Fatal(err)
	}
	mux := libprocess.NewMux(nil)
	note[*messages.FrameworkRegisteredMessage](d, mux, "FrameworkRegisteredMessage")
	note[*messages.FrameworkReregisteredMessage](d, mux, "FrameworkReregisteredMessage")
	note[*messages.ResourceOffersMessage](d, mux, "ResourceOffersMessage")
	note[*messages.RescindResourceOfferMessage](d, mux, "RescindResourceOfferMessage")
	note[*messages.StatusUpdateMessage](d, mux, "StatusUpdateMessage")
	note[*messages.FrameworkErrorMessage](d, mux, "FrameworkErrorMessage")
	note[*messages.LostSlaveMessage](d, mux, "LostSlaveMessage")
	note[*messages.ExecutorToFrameworkMessage](d, mux, "ExecutorToFrameworkMessage")
	if d.pid, err = tr.Spawn("scheduler(1)", mux); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	d.stop = sync.OnceFunc(func() { stop(); <-done })
	t.Cleanup(d.stop)
	tr.Link(d.pid, d.master, false)
	return d
}

func note[T proto.Message](d *v0driver, mux *libprocess.Mux, name string) {
	libprocess.Handle(mux, "mesos.internal."+name, func(_ libprocess.UPID, m T) { d.got <- m })
}

func (d *v0driver) send(m proto.Message) {
	d.t.Helper()
	if err := d.transport.Send(d.pid, d.master, m); err != nil {
		d.t.Fatal(err)
	}
}

// await waits for a message of type T, passing over others.
func await[T proto.Message](d *v0driver) T {
	d.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case m := <-d.got:
			if want, ok := m.(T); ok {
				return want
			}
		case <-deadline:
			var want T
			d.t.Fatalf("no %T in time", want)
		}
	}
}

func taskFor(o *mesos.Offer, id, command string) *mesos.TaskInfo {
	scalar := func(name string, v float64) *mesos.Resource {
		return &mesos.Resource{Name: &name, Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: &v}}
	}
	return &mesos.TaskInfo{Name: proto.String(id), TaskId: &mesos.TaskID{Value: &id}, AgentId: o.AgentId,
		Command: &mesos.CommandInfo{Value: &command}, Resources: []*mesos.Resource{scalar("cpus", 1), scalar("mem", 64)}}
}

// TestLegacyDriver is a driver of the oldest kind (and mesos-go v0): legacy messages only.
func TestLegacyDriver(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	d := startDriver(t, m.addr)
	info := &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("old"), FailoverTimeout: proto.Float64(60), Checkpoint: proto.Bool(true)}
	d.send(&messages.RegisterFrameworkMessage{Framework: info})
	id := await[*messages.FrameworkRegisteredMessage](d).GetFrameworkId()
	offers := await[*messages.ResourceOffersMessage](d)
	if len(offers.GetPids()) != 1 || offers.GetPids()[0] != a.pid.String() || offers.GetOffers()[0].AllocationInfo != nil ||
		offers.GetOffers()[0].GetResources()[0].Role == nil {
		t.Errorf("offers %v", offers)
	}
	o := offers.GetOffers()[0]
	d.send(&messages.LaunchTasksMessage{FrameworkId: id, OfferIds: []*mesos.OfferID{o.Id}, Filters: &mesos.Filters{},
		Tasks: []*mesos.TaskInfo{taskFor(o, "one", "sleep")}})
	up := await[*messages.StatusUpdateMessage](d)
	if up.GetPid() != a.pid.String() || string(up.GetUpdate().GetUuid()) != string(up.GetUpdate().GetStatus().GetUuid()) || len(up.GetUpdate().GetUuid()) != 16 {
		t.Errorf("update %v", up)
	}
	d.send(&messages.StatusUpdateAcknowledgementMessage{FrameworkId: id, SlaveId: o.AgentId, TaskId: up.GetUpdate().GetStatus().TaskId, Uuid: up.GetUpdate().Uuid})
	a.await("ack")
	d.send(&messages.ReconcileTasksMessage{FrameworkId: id})
	if up := await[*messages.StatusUpdateMessage](d); up.GetPid() != "@0.0.0.0:0" || up.GetUpdate().Uuid != nil || up.GetUpdate().GetStatus().Uuid != nil {
		t.Errorf("reconciliation %v", up)
	}
	d.send(&messages.FrameworkToExecutorMessage{FrameworkId: id, SlaveId: o.AgentId, ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}, Data: []byte("hi")})
	if got := await[*messages.ExecutorToFrameworkMessage](d); string(got.GetData()) != "echo hi" {
		t.Errorf("message %q", got.GetData())
	}
	d.send(&messages.KillTaskMessage{FrameworkId: id, TaskId: &mesos.TaskID{Value: proto.String("one")}})
	up = await[*messages.StatusUpdateMessage](d)
	if up.GetUpdate().GetStatus().GetState() != mesos.TaskState_TASK_KILLED {
		t.Errorf("update %v", up)
	}
	// A new run of the driver takes the framework over, the old one is told.
	e := startDriver(t, m.addr)
	again := proto.Clone(info).(*mesos.FrameworkInfo)
	again.Id = id
	e.send(&messages.ReregisterFrameworkMessage{Framework: again, Failover: proto.Bool(true)})
	if got := await[*messages.FrameworkRegisteredMessage](e).GetFrameworkId(); got.GetValue() != id.GetValue() {
		t.Errorf("framework id %s, want %s", got, id)
	}
	if text := await[*messages.FrameworkErrorMessage](d).GetMessage(); text != "Framework failed over" {
		t.Errorf("error %q", text)
	}
	e.send(&messages.UnregisterFrameworkMessage{FrameworkId: id})
	a.await("shutdown framework")
}

// TestCallDriver is a libmesos driver of today: mesos.scheduler.Call for everything.
func TestCallDriver(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	d := startDriver(t, m.addr)
	info := &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("new"), FailoverTimeout: proto.Float64(60),
		Roles: []string{"dev"}, Capabilities: []*mesos.FrameworkInfo_Capability{{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE.Enum()}}}
	sub := func(force *bool) *schedulerv0.Call {
		return &schedulerv0.Call{Type: schedulerv0.Call_SUBSCRIBE.Enum(), FrameworkId: info.Id,
			Subscribe: &schedulerv0.Call_Subscribe{FrameworkInfo: info, Force: force, SuppressedRoles: []string{"dev"}}}
	}
	d.send(sub(nil))
	id := await[*messages.FrameworkRegisteredMessage](d).GetFrameworkId()
	d.send(sub(nil)) // the answer was lost: the same id again
	if got := await[*messages.FrameworkRegisteredMessage](d).GetFrameworkId(); got.GetValue() != id.GetValue() {
		t.Errorf("framework id %s, want %s", got, id)
	}
	// suppressed until revived
	d.send(&schedulerv0.Call{Type: schedulerv0.Call_REVIVE.Enum(), FrameworkId: id})
	o := await[*messages.ResourceOffersMessage](d).GetOffers()[0]
	if o.GetAllocationInfo().GetRole() != "dev" {
		t.Errorf("offer %v", o)
	}
	info.Id = id
	d.send(sub(proto.Bool(false))) // re-subscription of the same run: its offers are rescinded
	if got := await[*messages.RescindResourceOfferMessage](d).GetOfferId(); got.GetValue() != o.GetId().GetValue() {
		t.Errorf("rescinded %s", got)
	}
	await[*messages.FrameworkReregisteredMessage](d)
	d.send(&schedulerv0.Call{Type: schedulerv0.Call_REVIVE.Enum(), FrameworkId: id, Revive: &schedulerv0.Call_Revive{Roles: []string{"dev"}}})
	o = await[*messages.ResourceOffersMessage](d).GetOffers()[0]
	d.send(&schedulerv0.Call{Type: schedulerv0.Call_ACCEPT.Enum(), FrameworkId: id, Accept: &schedulerv0.Call_Accept{OfferIds: []*mesos.OfferID{o.Id},
		Operations: []*mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: &mesos.Offer_Operation_Launch{TaskInfos: []*mesos.TaskInfo{taskFor(o, "one", "finish")}}}}}})
	up := await[*messages.StatusUpdateMessage](d).GetUpdate()
	d.send(&schedulerv0.Call{Type: schedulerv0.Call_ACKNOWLEDGE.Enum(), FrameworkId: id, Acknowledge: &schedulerv0.Call_Acknowledge{SlaveId: o.AgentId, TaskId: up.GetStatus().TaskId, Uuid: up.Uuid}})
	a.await("ack")
	// Another process without force is refused.
	e := startDriver(t, m.addr)
	e.send(sub(proto.Bool(false)))
	if text := await[*messages.FrameworkErrorMessage](e).GetMessage(); text != "Framework failed over" {
		t.Errorf("error %q", text)
	}
	d.send(&schedulerv0.Call{Type: schedulerv0.Call_TEARDOWN.Enum(), FrameworkId: id})
	a.await("shutdown framework")
	info.Id = id
	e.send(sub(proto.Bool(true)))
	if text := await[*messages.FrameworkErrorMessage](e).GetMessage(); text != "Framework has been removed" {
		t.Errorf("error %q", text)
	}
}
