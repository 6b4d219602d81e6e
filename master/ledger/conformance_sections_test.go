package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

func (w *world) lost(conn string) {
	w.step(ledger.ConnectionLost{Conn: connOf(conn), Reason: "the stream ended"})
}

func (w *world) operators() (kinds []masterapi.Event_Type) {
	for _, e := range w.told {
		kinds = append(kinds, e.GetType())
	}
	return kinds
}

// TestSubscribeRows: mesos-master.md 1.3, what is not about refusals or traps.
func TestSubscribeRows(t *testing.T) {
	t.Run("an empty id is none", func(t *testing.T) {
		w := newWorld(t).begin()
		w.call("s", "", `{"type":"SUBSCRIBE","framework_id":{"value":""},"subscribe":{"framework_info":{"user":"u","name":"f","id":{"value":""}}}}`)
		if id := w.next("s", scheduler.Event_SUBSCRIBED).GetSubscribed().GetFrameworkId().GetValue(); id != "M-0000" {
			t.Errorf("id %q", id)
		}
	})
	t.Run("first", func(t *testing.T) {
		w := newWorld(t).begin()
		w.register(one, "")
		w.forget()
		f := w.subscribe("s", "", checkpointing)
		if got := w.operators(); !slices.Equal(got, []masterapi.Event_Type{masterapi.Event_FRAMEWORK_ADDED}) {
			t.Errorf("operators heard %v", got)
		}
		if m := w.sent(one, "UpdateFrameworkMessage"); m != nil {
			t.Errorf("agents heard of a first subscription: %v", m)
		}
		if !w.al.Dirty() {
			t.Error("nothing is allocated at once")
		}
		if v := w.view(f); !v.Connected || !v.Active || v.Registered != w.now || v.Recovered {
			t.Errorf("framework %+v", v)
		}
	})
	t.Run("no roles, no offers", func(t *testing.T) {
		w := newWorld(t).begin()
		w.register(one, "")
		w.subscribe("s", "", `,"capabilities":[{"type":"MULTI_ROLE"}]`)
		if w.offered("s") {
			t.Error("offered")
		}
	})
	t.Run("again on a live connection", func(t *testing.T) {
		w := newWorld(t).begin()
		w.register(one, "")
		f := w.subscribe("s", "", checkpointing)
		w.forget()
		w.subscribe("n", f, checkpointing)
		if e := w.next("s", scheduler.Event_ERROR); e.GetError().GetMessage() != "Framework failed over" || !w.closed[connOf("s")] {
			t.Errorf("old connection: %v", e)
		}
		if got := w.operators(); !slices.Equal(got, []masterapi.Event_Type{masterapi.Event_FRAMEWORK_UPDATED}) {
			t.Errorf("operators heard %v", got)
		}
		if w.sent(one, "UpdateFrameworkMessage") == nil {
			t.Error("agents heard nothing")
		}
		w.lost("s") // late: it is nobody's any more
		if v := w.view(f); !v.Connected {
			t.Error("a stale notice disconnected the framework")
		}
	})
	t.Run("no task is replayed", func(t *testing.T) {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", checkpointing)
		w.run("s", f, one, a, "t")
		w.subscribe("n", f, checkpointing)
		w.none("n", scheduler.Event_UPDATE)
		w.reconcile("n", f, "")
		w.status("n")
	})
	t.Run("after a failover of the master", func(t *testing.T) {
		w := newWorld(t).begin("Z-S0")
		w.reregister(one, "Z-S0", "Z-0000", "Z-0000 t TASK_RUNNING")
		if v := w.view("Z-0000"); !v.Recovered || v.Connected || len(v.Tasks) != 1 {
			t.Errorf("recovered %+v", v)
		}
		w.forget()
		w.now = w.now.Add(time.Minute)
		if got := w.subscribe("s", "Z-0000", checkpointing); got != "Z-0000" {
			t.Errorf("id %s", got)
		}
		if v := w.view("Z-0000"); v.Recovered || v.Registered != w.now || v.Reregistered != w.now || len(v.Tasks) != 1 {
			t.Errorf("subscribed %+v", v)
		}
		w.none("s", scheduler.Event_UPDATE)
		if w.sent(one, "UpdateFrameworkMessage") == nil {
			t.Error("the agent does not know where its updates go")
		}
	})
}

// TestDisconnectionRows: mesos-master.md 1.4, in virtual time.
func TestDisconnectionRows(t *testing.T) {
	t.Run("disconnected", func(t *testing.T) {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", checkpointing)
		w.run("s", f, one, a, "t")
		w.offer("s")
		w.lost("s")
		if v := w.view(f); v.Connected || v.Active || len(v.Offers) != 0 || len(v.Tasks) != 1 {
			t.Errorf("framework %+v", v)
		}
		w.forget()
		w.update(one, a, f, "t", "TASK_FAILED", "f", "")
		if len(w.events) != 0 {
			t.Errorf("an update was delivered: %v", w.events)
		}
		other := w.subscribe("other", "", checkpointing)
		if !w.offered("other") {
			t.Errorf("what was offered is not free for %s", other)
		}
		w.subscribe("n", f, checkpointing)
		w.none("n", scheduler.Event_UPDATE) // not queued; the agent repeats it
		w.update(one, a, f, "t", "TASK_FAILED", "f", "")
		if st := w.status("n"); st.GetState() != mesos.TaskState_TASK_FAILED || st.Uuid == nil {
			t.Errorf("repeated: %v", st)
		}
	})
	t.Run("the master's own updates are lost meanwhile", func(t *testing.T) {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", `,"checkpoint":true,"capabilities":[{"type":"PARTITION_AWARE"}]`)
		w.run("s", f, one, a, "t")
		w.call("s", f, `{"type":"UPDATE_FRAMEWORK","update_framework":{"framework_info":{"user":"root","name":"f","checkpoint":true,"failover_timeout":3600,"id":{"value":"`+f+`"},"capabilities":[{"type":"PARTITION_AWARE"}]}}}`)
		w.lost("s")
		w.silent[one] = true
		w.wait(5 * time.Minute)
		w.subscribe("n", f, `,"checkpoint":true,"capabilities":[{"type":"PARTITION_AWARE"}]`)
		w.none("n", scheduler.Event_UPDATE)
		w.reconcile("n", f, taskOn("t", a))
		if st := w.status("n"); st.GetState() != mesos.TaskState_TASK_UNREACHABLE {
			t.Errorf("reconciliation %v", st)
		}
	})
	t.Run("failover_timeout", func(t *testing.T) {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", checkpointing) // 60 s
		w.run("s", f, one, a, "t")
		w.lost("s")
		w.wait(59 * time.Second)
		w.subscribe("n", f, checkpointing)
		w.wait(10 * time.Minute) // the old timer is void
		if v := w.view(f); !v.Connected || len(v.Tasks) != 1 {
			t.Errorf("framework %+v", v)
		}
		w.lost("n")
		w.forget()
		w.wait(61 * time.Second)
		if w.sent(one, "ShutdownFrameworkMessage") == nil {
			t.Error("the agent was not told")
		}
		if v := w.view(f); v.Unregistered.IsZero() || len(v.CompletedT) != 1 || v.CompletedT[0].GetState() != mesos.TaskState_TASK_KILLED {
			t.Errorf("framework %+v", v)
		}
		if w.call("m", "", `{"type":"SUBSCRIBE","framework_id":{"value":"`+f+`"},"subscribe":{"framework_info":{"user":"root","name":"f","id":{"value":"`+f+`"}}}}`); w.next("m", scheduler.Event_ERROR).GetError().GetMessage() != "Framework has been removed" {
			t.Error("a removed framework came back")
		}
	})
	t.Run("failover_timeout 0", func(t *testing.T) {
		w := newWorld(t).begin()
		w.call("s", "", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"f"}}}`)
		w.lost("s")
		w.wait(0)
		if v := w.view("M-0000"); v.Unregistered.IsZero() {
			t.Errorf("framework %+v", v)
		}
	})
	t.Run("the timeout of the newest FrameworkInfo counts", func(t *testing.T) {
		w := newWorld(t).begin()
		f := w.subscribe("s", "", checkpointing)
		w.call("n", "", `{"type":"SUBSCRIBE","framework_id":{"value":"`+f+`"},"subscribe":{"framework_info":{"user":"root","name":"f","failover_timeout":600,"id":{"value":"`+f+`"}}}}`)
		w.lost("n")
		w.wait(599 * time.Second)
		if v := w.view(f); !v.Unregistered.IsZero() {
			t.Error("removed too early")
		}
		w.wait(2 * time.Second)
		if v := w.view(f); v.Unregistered.IsZero() {
			t.Error("not removed")
		}
	})
	t.Run("a recovered framework waits without end", func(t *testing.T) {
		w := newWorld(t).begin("Z-S0")
		w.reregister(one, "Z-S0", "Z-0000", "Z-0000 t TASK_RUNNING")
		w.wait(30 * 24 * time.Hour)
		if v := w.view("Z-0000"); !v.Recovered || len(v.Tasks) != 1 {
			t.Errorf("framework %+v", v)
		}
	})
}

// TestCallRows: mesos-master.md 1.5.
func TestCallRows(t *testing.T) {
	t.Run("TEARDOWN", func(t *testing.T) {
		w := newWorld(t).begin()
		a := w.register(one, "")
		w.register(two, "")
		f := w.subscribe("s", "", aware)
		for {
			o := w.offers("s")
			if o.GetAgentId().GetValue() == a {
				w.accept("s", f, o, "", "t")
				break
			}
		}
		w.forget()
		if got := w.call("s", f, `{"type":"TEARDOWN"}`); got.Code != 202 {
			t.Errorf("%d %s", got.Code, got.Body)
		}
		for _, pid := range []string{one, two} {
			if w.sent(pid, "ShutdownFrameworkMessage") == nil {
				t.Errorf("%s was not told", pid)
			}
		}
		if len(w.events[connOf("s")]) != 0 || !w.closed[connOf("s")] {
			t.Errorf("events %v, closed %v", w.kinds("s"), w.closed[connOf("s")])
		}
		v := w.view(f)
		if v.CompletedT[0].GetState() != mesos.TaskState_TASK_KILLED || v.CompletedT[0].GetStatuses()[0].GetReason() != mesos.TaskStatus_REASON_FRAMEWORK_REMOVED {
			t.Errorf("task %v", v.CompletedT[0])
		}
		if kinds := w.operators(); kinds[len(kinds)-1] != masterapi.Event_FRAMEWORK_REMOVED {
			t.Errorf("operators heard %v", kinds)
		}
		if used := w.agentView(a).Used; len(used) != 0 {
			t.Errorf("still used: %v", used)
		}
	})
	t.Run("DECLINE across agents", func(t *testing.T) {
		w := newWorld(t).begin()
		w.register(one, "")
		w.register(two, "")
		f := w.subscribe("s", "", checkpointing)
		w.allocate()
		var ids []string
		for _, o := range w.view(f).Offers {
			ids = append(ids, `{"value":"`+o.GetId().GetValue()+`"}`)
		}
		w.call("s", f, `{"type":"DECLINE","decline":{"offer_ids":[`+ids[0]+`,{"value":"M-O999"},`+ids[1]+`]}}`)
		if v := w.view(f); len(v.Offers) != 0 {
			t.Errorf("offers left %v", v.Offers)
		}
	})
	t.Run("REVIVE and SUPPRESS by role", func(t *testing.T) {
		w := newWorld(t).begin()
		w.register(one, "")
		f := w.subscribe("s", "", `,"checkpoint":true,"capabilities":[{"type":"MULTI_ROLE"}],"roles":["a","b"]`)
		o := w.offer("s")
		w.call("s", f, `{"type":"SUPPRESS","suppress":{"roles":["a"]}}`)
		if v := w.view(f); len(v.Offers) != 1 || !slices.Equal(v.Suppressed, []string{"a"}) {
			t.Errorf("offers %v, suppressed %v", v.Offers, v.Suppressed)
		}
		w.none("s", scheduler.Event_RESCIND)
		for _, body := range []string{`{"type":"SUPPRESS","suppress":{"roles":["b","foreign"]}}`, `{"type":"SUPPRESS","suppress":{"roles":["/bad"]}}`} {
			w.call("s", f, body) // one foreign role drops the whole call
		}
		if v := w.view(f); !slices.Equal(v.Suppressed, []string{"a"}) {
			t.Errorf("suppressed %v", v.Suppressed)
		}
		w.call("s", f, `{"type":"SUPPRESS"}`)
		w.call("s", f, `{"type":"DECLINE","decline":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}],"filters":{"refuse_seconds":0}}}`)
		w.wait(time.Minute)
		if w.offered("s") {
			t.Error("offered although suppressed")
		}
		w.call("s", f, `{"type":"REVIVE","revive":{"roles":["b"]}}`)
		if o := w.offer("s"); o.GetAllocationInfo().GetRole() != "b" {
			t.Errorf("offer for %s", o.GetAllocationInfo().GetRole())
		}
		w.call("s", f, `{"type":"REVIVE","revive":{}}`)
		if v := w.view(f); len(v.Suppressed) != 0 {
			t.Errorf("suppressed %v", v.Suppressed)
		}
	})
	t.Run("REVIVE drops filters", func(t *testing.T) {
		w := newWorld(t).begin()
		w.register(one, "")
		f := w.subscribe("s", "", checkpointing)
		o := w.offer("s")
		w.call("s", f, `{"type":"DECLINE","decline":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}],"filters":{"refuse_seconds":1000000}}}`)
		w.wait(time.Minute)
		if w.offered("s") {
			t.Fatal("the filter does not hold")
		}
		w.call("s", f, `{"type":"REVIVE"}`)
		if !w.offered("s") {
			t.Error("the filter still holds")
		}
	})
	t.Run("KILL", func(t *testing.T) {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", checkpointing)
		w.run("s", f, one, a, "t")
		w.call("s", f, `{"type":"KILL","kill":{"task_id":{"value":"t"},"agent_id":{"value":"`+a+`"},"kill_policy":{"grace_period":{"nanoseconds":7}}}}`)
		if m, ok := w.sent(one, "KillTaskMessage").(*messages.KillTaskMessage); !ok || m.GetFrameworkId().GetValue() != f || m.GetKillPolicy().GetGracePeriod().GetNanoseconds() != 7 {
			t.Errorf("message %v", m)
		}
	})
	t.Run("SHUTDOWN and MESSAGE", func(t *testing.T) {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", checkpointing)
		w.call("s", f, `{"type":"SHUTDOWN","shutdown":{"executor_id":{"value":"x"},"agent_id":{"value":"`+a+`"}}}`)
		if m, ok := w.sent(one, "ShutdownExecutorMessage").(*messages.ShutdownExecutorMessage); !ok || m.GetFrameworkId().GetValue() != f || m.GetExecutorId().GetValue() != "x" {
			t.Errorf("message %v", m)
		}
		w.call("s", f, `{"type":"MESSAGE","message":{"executor_id":{"value":"x"},"agent_id":{"value":"`+a+`"},"data":"aGk="}}`)
		if m, ok := w.sent(one, "FrameworkToExecutorMessage").(*messages.FrameworkToExecutorMessage); !ok || string(m.GetData()) != "hi" || m.GetSlaveId().GetValue() != a {
			t.Errorf("message %v", m)
		}
		w.agent(one, "message", `{"slave_id":{"value":"`+a+`"},"framework_id":{"value":"`+f+`"},"executor_id":{"value":"x"},"data":"aG8="}`)
		if e := w.next("s", scheduler.Event_MESSAGE).GetMessage(); string(e.GetData()) != "ho" || e.GetAgentId().GetValue() != a || e.GetExecutorId().GetValue() != "x" {
			t.Errorf("event %v", e)
		}
		w.step(ledger.AgentExited{PID: one})
		before := w.book.Snapshot().Counters.InvalidFrameworkMessages
		w.call("s", f, `{"type":"MESSAGE","message":{"executor_id":{"value":"x"},"agent_id":{"value":"`+a+`"},"data":"aGk="}}`)
		if m := w.sent(one, "FrameworkToExecutorMessage"); m != nil || w.book.Snapshot().Counters.InvalidFrameworkMessages != before+1 {
			t.Errorf("to a disconnected agent: %v", m)
		}
	})
	t.Run("ACKNOWLEDGE", func(t *testing.T) {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", checkpointing)
		w.accept("s", f, w.offer("s"), "", "t")
		w.acknowledge("s", f, a, "t", "x") // nothing was forwarded yet
		if m := w.sent(one, "StatusUpdateAcknowledgementMessage"); m != nil {
			t.Errorf("message %v", m)
		}
		w.update(one, a, f, "t", "TASK_FINISHED", "f", "")
		w.acknowledge("s", f, a, "t", "o") // another uuid: forwarded, but the task stays
		if w.sent(one, "StatusUpdateAcknowledgementMessage") == nil || len(w.view(f).Tasks) != 1 {
			t.Error("another uuid")
		}
		w.step(ledger.AgentExited{PID: one})
		w.acknowledge("s", f, a, "t", "f") // a disconnected agent: dropped
		if m := w.sent(one, "StatusUpdateAcknowledgementMessage"); m != nil || len(w.view(f).Tasks) != 1 {
			t.Errorf("disconnected: %v", m)
		}
		w.reregister(one, a, f, f+" t TASK_FINISHED")
		w.acknowledge("s", f, a, "t", "f")
		if m, ok := w.sent(one, "StatusUpdateAcknowledgementMessage").(*messages.StatusUpdateAcknowledgementMessage); !ok || len(m.GetUuid()) != 16 || len(w.view(f).Tasks) != 0 {
			t.Errorf("message %v, tasks %v", m, w.view(f).Tasks)
		}
	})
	t.Run("REQUEST", func(t *testing.T) {
		w := newWorld(t).begin()
		f := w.subscribe("s", "", checkpointing)
		if got := w.call("s", f, `{"type":"REQUEST","request":{"requests":[{"resources":[`+twoScalars(1, 1)+`]}]}}`); got.Code != 202 || len(w.kinds("s")) != 0 {
			t.Errorf("%v %v", got, w.kinds("s"))
		}
	})
}
