package master_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

// watcher is a subscriber of operator events.
type watcher struct {
	t      *testing.T
	events chan *masterapi.Event
}

// watch subscribes to operator events.
func (m *running) watch(codec wire.Codec) *watcher {
	m.t.Helper()
	req, err := http.NewRequest("POST", "http://"+m.addr+"/api/v1", strings.NewReader(`{"type":"SUBSCRIBE"}`))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", wire.MediaJSON)
	req.Header.Set("Accept", codec.MediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { resp.Body.Close() })
	if resp.Header.Get("Content-Type") != codec.MediaType || resp.ContentLength != -1 || resp.Header.Get("Mesos-Stream-Id") != "" {
		m.t.Fatalf("%v", resp.Header)
	}
	w := &watcher{m.t, make(chan *masterapi.Event, 1000)}
	go func() {
		defer close(w.events)
		records := wire.NewReader(resp.Body, 4<<20)
		for {
			data, err := records.ReadRecord()
			if err != nil {
				return
			}
			e := &masterapi.Event{}
			if err := codec.Unmarshal(data, e); err != nil {
				m.t.Errorf("event %.200q: %v", data, err)
				return
			}
			w.events <- e
		}
	}()
	return w
}

// next is the next event, which must be of the kind.
func (w *watcher) next(kind masterapi.Event_Type) *masterapi.Event {
	w.t.Helper()
	select {
	case e, open := <-w.events:
		if !open || e.GetType() != kind {
			w.t.Fatalf("%s (open %v), want %s", e.GetType(), open, kind)
		}
		return e
	case <-time.After(20 * time.Second):
		w.t.Fatalf("no %s in time", kind)
		return nil
	}
}

// TestOperatorEvents follows the stream through the rows of mesos-master.md 5.3, in the
// order in which they must come.
func TestOperatorEvents(t *testing.T) {
	m, a, f := inhabited(t)
	for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
		next := m.watch(codec).next
		first := next(masterapi.Event_SUBSCRIBED).GetSubscribed()
		if s := first.GetGetState(); first.GetHeartbeatIntervalSeconds() != 15 || len(s.GetGetAgents().GetAgents()) == 0 || len(s.GetGetTasks().GetTasks()) != 1 {
			t.Errorf("SUBSCRIBED %.300s", first)
		}
		next(masterapi.Event_HEARTBEAT)

		if codec.MediaType == wire.MediaJSON { // one scenario is enough for the order; the other stream hears the rest
			f.launch("three", "finish")
			if e := next(masterapi.Event_TASK_ADDED).GetTaskAdded().GetTask(); e.GetTaskId().GetValue() != "three" || e.GetState() != mesos.TaskState_TASK_STAGING || e.ExecutorId != nil {
				t.Errorf("TASK_ADDED %v", e)
			}
			e := next(masterapi.Event_TASK_UPDATED).GetTaskUpdated()
			if e.GetState() != mesos.TaskState_TASK_FINISHED || e.GetFrameworkId().GetValue() != f.id || len(e.GetStatus().GetUuid()) != 16 {
				t.Errorf("TASK_UPDATED %v", e)
			}
			f.update("three", mesos.TaskState_TASK_FINISHED)
			g := m.subscribe(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"g"}}}`)
			if e := next(masterapi.Event_FRAMEWORK_ADDED).GetFrameworkAdded().GetFramework(); e.GetFrameworkInfo().GetName() != "g" ||
				e.GetUnregisteredTime() == nil || len(e.GetOffers())+len(e.GetAllocatedResources()) != 0 {
				t.Errorf("FRAMEWORK_ADDED %v", e)
			}
			g.next(scheduler.Event_SUBSCRIBED)
			if code, text := g.call(`{"type":"UPDATE_FRAMEWORK","update_framework":{"framework_info":{"user":"root","name":"renamed","id":{"value":"` + g.id + `"}}}}`); code != 200 {
				t.Fatal(code, text)
			}
			if e := next(masterapi.Event_FRAMEWORK_UPDATED).GetFrameworkUpdated().GetFramework().GetFrameworkInfo(); e.GetName() != "renamed" {
				t.Errorf("FRAMEWORK_UPDATED %v", e)
			}
			g.call(`{"type":"TEARDOWN"}`)
			if e := next(masterapi.Event_FRAMEWORK_REMOVED).GetFrameworkRemoved().GetFrameworkInfo(); e.GetName() != "renamed" {
				t.Errorf("FRAMEWORK_REMOVED %v", e)
			}
			b := startAgent(t, m.addr)
			b.register()
			if e := next(masterapi.Event_AGENT_ADDED).GetAgentAdded().GetAgent(); e.GetPid() != b.pid.String() || e.GetVersion() == "" || !e.GetActive() || e.GetRegisteredTime() == nil {
				t.Errorf("AGENT_ADDED %v", e)
			}
			continue
		}
		// Gone: updates of its tasks, then its removal.
		if got := m.inquire("POST", "/api/v1", fmt.Sprintf(`{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":%q}}}`, a.id.GetValue()), "Content-Type", wire.MediaJSON); got.code != 200 {
			t.Fatalf("%d %s", got.code, got.body)
		}
		if e := next(masterapi.Event_TASK_UPDATED).GetTaskUpdated(); e.GetStatus().GetTaskId().GetValue() != "one" {
			t.Errorf("TASK_UPDATED %v", e)
		}
		if e := next(masterapi.Event_AGENT_REMOVED).GetAgentRemoved(); e.GetAgentId().GetValue() != a.id.GetValue() {
			t.Errorf("AGENT_REMOVED %v", e)
		}
	}
}

// TestAgentComesBack has the order of events of an agent that fell silent and came back
// as recorded: its task unreachable; on return the task first, then the agent, and no
// update. That it was removed in between is told too, which Mesos leaves out.
func TestAgentComesBack(t *testing.T) {
	m := startMaster(t, master.Config{WorkDir: t.TempDir(), PingTimeout: 100 * time.Millisecond, MaxPingTimeouts: 10})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, `,"capabilities":[{"type":"PARTITION_AWARE"}]`, ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.launch("one", "sleep")
	f.update("one", mesos.TaskState_TASK_RUNNING)
	a.await("ack")
	w := m.watch(wire.Protobuf)
	w.next(masterapi.Event_SUBSCRIBED)
	w.next(masterapi.Event_HEARTBEAT)
	a.mu.Lock()
	a.silent = true
	a.mu.Unlock()
	if e := w.next(masterapi.Event_TASK_UPDATED).GetTaskUpdated(); e.GetState() != mesos.TaskState_TASK_UNREACHABLE ||
		e.GetStatus().GetUnreachableTime() == nil || len(e.GetStatus().GetUuid()) > 0 {
		t.Errorf("TASK_UPDATED %v", e)
	}
	if e := w.next(masterapi.Event_AGENT_REMOVED).GetAgentRemoved(); e.GetAgentId().GetValue() != a.id.GetValue() {
		t.Errorf("AGENT_REMOVED %v", e)
	}
	a.mu.Lock()
	a.silent = false
	a.mu.Unlock()
	a.reregister()
	if e := w.next(masterapi.Event_TASK_ADDED).GetTaskAdded().GetTask(); e.GetTaskId().GetValue() != "one" || e.GetState() != mesos.TaskState_TASK_RUNNING {
		t.Errorf("TASK_ADDED %v", e)
	}
	if e := w.next(masterapi.Event_AGENT_ADDED).GetAgentAdded().GetAgent(); e.GetAgentInfo().GetId().GetValue() != a.id.GetValue() || !e.GetActive() {
		t.Errorf("AGENT_ADDED %v", e)
	}
	f.call(`{"type":"KILL","kill":{"task_id":{"value":"one"}}}`)
	if e := w.next(masterapi.Event_TASK_UPDATED).GetTaskUpdated(); e.GetState() != mesos.TaskState_TASK_KILLED {
		t.Errorf("after the return: %v", e)
	}
}
