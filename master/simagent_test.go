package master_test

import (
	"context"
	"crypto/rand"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// simAgent is an agent over real libprocess that runs no processes: a task runs until it
// is killed, and "finish" as command ends at once.
type simAgent struct {
	t         *testing.T
	transport *libprocess.Transport
	pid       libprocess.UPID
	master    libprocess.UPID
	hostname  string
	attribute string // of the agent, when not empty
	limits    bool   // it has TASK_RESOURCE_LIMITS
	drains    bool   // it has AGENT_DRAINING

	mu         sync.Mutex // guards the fields below
	id         *mesos.AgentID
	frameworks map[string]*mesos.FrameworkInfo
	tasks      map[string]*mesos.Task
	unacked    map[string]*messages.StatusUpdateMessage // by task: the newest update
	silent     bool                                     // answers no ping
	events     chan string                              // names of messages that came in
}

func startAgent(t *testing.T, master string) *simAgent {
	t.Helper()
	tr, err := libprocess.New(libprocess.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	a := &simAgent{t: t, transport: tr, hostname: "sim.example.org", frameworks: map[string]*mesos.FrameworkInfo{},
		tasks: map[string]*mesos.Task{}, unacked: map[string]*messages.StatusUpdateMessage{}, events: make(chan string, 10000)}
	mux := libprocess.NewMux(func(libprocess.UPID, error) { a.seen("exited") })
	libprocess.Handle(mux, "mesos.internal.SlaveRegisteredMessage", func(_ libprocess.UPID, m *messages.SlaveRegisteredMessage) {
		a.mu.Lock()
		a.id = m.GetSlaveId()
		a.mu.Unlock()
		a.seen("registered")
	})
	libprocess.Handle(mux, "mesos.internal.SlaveReregisteredMessage", func(_ libprocess.UPID, m *messages.SlaveReregisteredMessage) {
		a.seen("reregistered")
		a.resend()
	})
	libprocess.Handle(mux, "mesos.internal.PingSlaveMessage", func(from libprocess.UPID, m *messages.PingSlaveMessage) {
		a.mu.Lock()
		silent := a.silent
		a.mu.Unlock()
		if !silent {
			_ = a.transport.Send(a.pid, from, &messages.PongSlaveMessage{})
		}
		if m.GetConnected() {
			a.seen("ping")
		} else {
			a.seen("ping disconnected")
		}
	})
	libprocess.Handle(mux, "mesos.internal.RunTaskMessage", func(_ libprocess.UPID, m *messages.RunTaskMessage) { a.run(m) })
	libprocess.Handle(mux, "mesos.internal.KillTaskMessage", func(_ libprocess.UPID, m *messages.KillTaskMessage) {
		a.seen("kill")
		a.update(m.GetTaskId().GetValue(), mesos.TaskState_TASK_KILLED)
	})
	libprocess.Handle(mux, "mesos.internal.StatusUpdateAcknowledgementMessage", func(_ libprocess.UPID, m *messages.StatusUpdateAcknowledgementMessage) {
		a.acknowledged(m)
	})
	libprocess.Handle(mux, "mesos.internal.ShutdownFrameworkMessage", func(_ libprocess.UPID, m *messages.ShutdownFrameworkMessage) {
		a.seen("shutdown framework")
	})
	libprocess.Handle(mux, "mesos.internal.ShutdownExecutorMessage", func(libprocess.UPID, *messages.ShutdownExecutorMessage) { a.seen("shutdown executor") })
	libprocess.Handle(mux, "mesos.internal.ShutdownMessage", func(_ libprocess.UPID, m *messages.ShutdownMessage) { a.seen("shutdown") })
	libprocess.Handle(mux, "mesos.internal.DrainSlaveMessage", func(_ libprocess.UPID, m *messages.DrainSlaveMessage) {
		a.seen("drain")
		a.mu.Lock()
		var ids []string
		for id := range a.tasks {
			ids = append(ids, id)
		}
		a.mu.Unlock()
		for _, id := range ids {
			a.update(id, mesos.TaskState_TASK_KILLED)
		}
	})
	libprocess.Handle(mux, "mesos.internal.UpdateFrameworkMessage", func(_ libprocess.UPID, m *messages.UpdateFrameworkMessage) {
		a.seen("update framework")
	})
	libprocess.Handle(mux, "mesos.internal.FrameworkToExecutorMessage", func(from libprocess.UPID, m *messages.FrameworkToExecutorMessage) {
		_ = a.transport.Send(a.pid, from, &messages.ExecutorToFrameworkMessage{SlaveId: m.SlaveId, FrameworkId: m.FrameworkId,
			ExecutorId: m.ExecutorId, Data: append([]byte("echo "), m.Data...)})
	})
	if a.pid, err = tr.Spawn("slave(1)", mux); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	a.follow(master)
	return a
}

func (a *simAgent) seen(what string) {
	select {
	case a.events <- what:
	default:
	}
}

// await waits until the named message came in.
func (a *simAgent) await(what string) {
	a.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case got := <-a.events:
			if got == what {
				return
			}
		case <-deadline:
			a.t.Fatalf("the agent got no %q in time", what)
		}
	}
}

func (a *simAgent) follow(master string) {
	u, err := libprocess.Parse("master@" + master)
	if err != nil {
		a.t.Fatal(err)
	}
	a.master = u
}

func (a *simAgent) send(m proto.Message) {
	if err := a.transport.Send(a.pid, a.master, m); err != nil {
		a.t.Error(err)
	}
}

func (a *simAgent) info() *messages.SlaveInfo {
	r, err := resource.Parse("cpus:4;mem:4096;disk:1000;ports:[31000-31099]", "*")
	if err != nil {
		a.t.Fatal(err)
	}
	old, err := resource.Downgrade(r)
	if err != nil {
		a.t.Fatal(err)
	}
	info := &messages.SlaveInfo{Hostname: &a.hostname, Id: a.id, Checkpoint: proto.Bool(true), Resources: old}
	if a.attribute != "" {
		info.Attributes = []*mesos.Attribute{{Name: proto.String("about"), Type: mesos.Value_TEXT.Enum(), Text: &mesos.Value_Text{Value: &a.attribute}}}
	}
	return info
}

func capabilities() []*mesos.AgentInfo_Capability {
	var out []*mesos.AgentInfo_Capability
	for _, c := range []mesos.AgentInfo_Capability_Type{mesos.AgentInfo_Capability_MULTI_ROLE,
		mesos.AgentInfo_Capability_HIERARCHICAL_ROLE, mesos.AgentInfo_Capability_RESERVATION_REFINEMENT} {
		out = append(out, &mesos.AgentInfo_Capability{Type: c.Enum()})
	}
	return out
}

func (a *simAgent) capabilities() []*mesos.AgentInfo_Capability {
	all := capabilities()
	if a.limits {
		all = append(all, &mesos.AgentInfo_Capability{Type: mesos.AgentInfo_Capability_TASK_RESOURCE_LIMITS.Enum()})
	}
	if a.drains {
		all = append(all, &mesos.AgentInfo_Capability{Type: mesos.AgentInfo_Capability_AGENT_DRAINING.Enum()})
	}
	return all
}

func unregister(a *simAgent) proto.Message { return &messages.UnregisterSlaveMessage{SlaveId: a.id} }

func (a *simAgent) register() {
	a.t.Helper()
	a.transport.Link(a.pid, a.master, true)
	a.send(a.registration())
	a.await("registered")
}

func (a *simAgent) registration() *messages.RegisterSlaveMessage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &messages.RegisterSlaveMessage{Slave: a.info(), Version: proto.String("1.11.0"), AgentCapabilities: a.capabilities()}
}

// reregister reports all tasks, as after a new leader was found. The master may not lead
// yet: agents repeat themselves.
func (a *simAgent) reregister() {
	a.t.Helper()
	for range 100 {
		a.mu.Lock()
		m := &messages.ReregisterSlaveMessage{Slave: a.info(), Version: proto.String("1.11.0"), AgentCapabilities: a.capabilities()}
		for _, f := range a.frameworks {
			m.Frameworks = append(m.Frameworks, f)
		}
		for _, t := range a.tasks {
			m.Tasks = append(m.Tasks, t)
		}
		a.mu.Unlock()
		a.transport.Link(a.pid, a.master, true)
		a.send(m)
		deadline := time.After(200 * time.Millisecond)
		for waiting := true; waiting; {
			select {
			case got := <-a.events:
				if got == "reregistered" {
					return
				}
			case <-deadline:
				waiting = false
			}
		}
	}
	a.t.Fatal("the agent was not taken back in time")
}

func (a *simAgent) run(m *messages.RunTaskMessage) {
	a.mu.Lock()
	info := m.GetTask()
	a.frameworks[m.GetFramework().GetId().GetValue()] = m.GetFramework()
	a.tasks[info.GetTaskId().GetValue()] = &mesos.Task{Name: info.Name, TaskId: info.TaskId, FrameworkId: m.GetFramework().GetId(),
		AgentId: info.AgentId, State: mesos.TaskState_TASK_STAGING.Enum(), Resources: info.Resources}
	a.mu.Unlock()
	a.seen("run")
	if info.GetCommand().GetValue() == "finish" {
		a.update(info.GetTaskId().GetValue(), mesos.TaskState_TASK_FINISHED)
		return
	}
	a.update(info.GetTaskId().GetValue(), mesos.TaskState_TASK_RUNNING)
}

func (a *simAgent) update(id string, state mesos.TaskState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tasks[id]
	if t == nil {
		return
	}
	uuid := make([]byte, 16)
	_, _ = rand.Read(uuid)
	t.State = state.Enum()
	m := &messages.StatusUpdateMessage{Pid: proto.String(a.pid.String()), Update: &messages.StatusUpdate{
		FrameworkId: t.FrameworkId, SlaveId: a.id, Timestamp: proto.Float64(1), Uuid: uuid, LatestState: state.Enum(),
		ExecutorId: &mesos.ExecutorID{Value: proto.String(id)},
		Status: &mesos.TaskStatus{TaskId: t.TaskId, State: state.Enum(), Uuid: uuid, Source: mesos.TaskStatus_SOURCE_EXECUTOR.Enum(),
			Timestamp: proto.Float64(1), AgentId: a.id}}}
	a.unacked[id] = m
	a.send(m)
}

func (a *simAgent) resend() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.unacked {
		a.send(m)
	}
}

func (a *simAgent) acknowledged(m *messages.StatusUpdateAcknowledgementMessage) {
	id := m.GetTaskId().GetValue()
	a.mu.Lock()
	if u := a.unacked[id]; u != nil && string(u.GetUpdate().GetUuid()) == string(m.GetUuid()) {
		delete(a.unacked, id)
		if s := u.GetUpdate().GetLatestState(); s != mesos.TaskState_TASK_RUNNING {
			delete(a.tasks, id)
		}
	}
	a.mu.Unlock()
	a.seen("ack")
}
