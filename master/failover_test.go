package master_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

// TestRestartLosesNothing: the master goes away and comes back on its work_dir; agents
// keep their ids, frameworks theirs, tasks run on and updates made meanwhile arrive.
func TestRestartLosesNothing(t *testing.T) {
	dir := t.TempDir()
	m := startMaster(t, master.Config{WorkDir: dir})
	a, absent := startAgent(t, m.addr), startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	f.launch("two", "sleep")
	f.update("two", mesos.TaskState_TASK_RUNNING)
	a.await("ack")
	a.await("ack")
	absent.hostname = "absent.example.org"
	absent.register()
	m.stop()
	f.ended() // the broken stream is what tells a framework
	a.update("two", mesos.TaskState_TASK_FAILED)

	listener, err := net.Listen("tcp4", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	n := startMaster(t, master.Config{WorkDir: dir, Listener: listener})
	s, err := n.door.View(t.Context())
	if err != nil || len(s.Recovered) != 2 {
		t.Fatalf("%d agents recovered, want 2 (%v)", len(s.Recovered), err)
	}
	a.reregister()
	s, err = n.door.View(t.Context())
	if err != nil || len(s.Agents) != 1 || string(s.Agents[0].ID) != a.id.GetValue() || len(s.Recovered) != 1 {
		t.Fatalf("agents %+v, recovered %v (%v)", s.Agents, s.Recovered, err)
	}
	if len(s.Frameworks) != 1 || !s.Frameworks[0].Recovered || len(s.Frameworks[0].Tasks) != 2 {
		t.Fatalf("frameworks %+v", s.Frameworks)
	}
	id := f.id
	g := n.subscribe(fmt.Sprintf(subscribeJSON, fmt.Sprintf(`,"id":{"value":%q}`, id), `,"framework_id":{"value":"`+id+`"}`))
	if got := g.next(scheduler.Event_SUBSCRIBED).GetSubscribed().GetFrameworkId().GetValue(); got != id {
		t.Fatalf("framework id %s, want %s", got, id)
	}
	a.await("update framework")
	a.resend() // as an agent does when it hears of the framework
	g.update("two", mesos.TaskState_TASK_FAILED)
	g.call(`{"type":"RECONCILE","reconcile":{"tasks":[{"task_id":{"value":"one"}}]}}`)
	// The agent may repeat what it was not acknowledged in time.
	if st := g.update("one", mesos.TaskState_TASK_RUNNING); st.GetReason() != mesos.TaskStatus_REASON_RECONCILIATION {
		t.Errorf("reconciliation %v", st)
	}
	g.launch("three", "finish")
	g.update("three", mesos.TaskState_TASK_FINISHED)
	g.call(`{"type":"KILL","kill":{"task_id":{"value":"one"}}}`)
	g.update("one", mesos.TaskState_TASK_KILLED)
}

// TestSilentAgentBecomesUnreachable: an agent that answers no ping is given up and told
// of; when it comes back its task is alive again (T28).
func TestSilentAgentBecomesUnreachable(t *testing.T) {
	m := startMaster(t, master.Config{WorkDir: t.TempDir(), PingTimeout: 20e6, MaxPingTimeouts: 3})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, `,"capabilities":[{"type":"PARTITION_AWARE"}]`, ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	a.mu.Lock()
	a.silent = true
	a.mu.Unlock()
	if st := f.update("one", mesos.TaskState_TASK_UNREACHABLE); st.UnreachableTime == nil || st.GetReason() != mesos.TaskStatus_REASON_AGENT_REMOVED {
		t.Errorf("status %v", st)
	}
	if got := f.next(scheduler.Event_FAILURE).GetFailure().GetAgentId().GetValue(); got != a.id.GetValue() {
		t.Errorf("FAILURE of %s", got)
	}
	a.mu.Lock()
	a.silent = false
	a.mu.Unlock()
	a.reregister()
	if st := f.update("one", mesos.TaskState_TASK_RUNNING); st.GetReason() != mesos.TaskStatus_REASON_AGENT_REREGISTERED || len(st.GetUuid()) > 0 {
		t.Errorf("status %v", st)
	}
	f.call(`{"type":"KILL","kill":{"task_id":{"value":"one"}}}`)
	f.update("one", mesos.TaskState_TASK_KILLED)
}
