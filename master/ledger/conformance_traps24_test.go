package ledger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// TestT24SameFrameworkID comes back in SUBSCRIBED, also when the master never saw it.
func TestT24SameFrameworkID(t *testing.T) {
	w := newWorld(t).begin()
	f := w.subscribe("s", "", checkpointing)
	if f != "M-0000" {
		t.Errorf("new id %s", f)
	}
	for _, id := range []string{f, "another-master-0007", "own.choice"} {
		if got := w.subscribe("n"+id, id, checkpointing); got != id {
			t.Errorf("asked for %s, got %s", id, got)
		}
	}
	if got := w.subscribe("z", "", checkpointing); got != "M-0001" {
		t.Errorf("next new id %s", got)
	}
}

// TestT25AllocationInfo is in offers for MULTI_ROLE only, in the offer and in each of its
// resources; launches may leave it out in both cases.
func TestT25AllocationInfo(t *testing.T) {
	for _, c := range []struct {
		info  string
		multi bool
	}{{multi, true}, {`,"checkpoint":true,"roles":["dev"],"capabilities":[{"type":"MULTI_ROLE"}]`, true}, {checkpointing, false},
		{`,"checkpoint":true,"capabilities":[{"type":"RESERVATION_REFINEMENT"}]`, false}} {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", c.info)
		o := w.offer("s")
		if (o.GetAllocationInfo() != nil) != c.multi {
			t.Errorf("%s: offer %v", c.info, o)
		}
		for _, r := range o.GetResources() {
			if (r.GetAllocationInfo() != nil) != c.multi || (c.multi && r.GetAllocationInfo().GetRole() != "dev") {
				t.Errorf("%s: resource %v", c.info, r)
			}
			if refined := strings.Contains(c.info, "REFINEMENT"); (r.Role == nil) != refined {
				t.Errorf("%s: form of %v", c.info, r)
			}
		}
		w.accept("s", f, o, "", "t") // resources without allocation_info
		run, ok := w.sent(one, "RunTaskMessage").(*messages.RunTaskMessage)
		if !ok {
			t.Fatalf("%s: not launched: %v", c.info, w.kinds("s"))
		}
		for _, r := range run.GetTask().GetResources() {
			if r.GetAllocationInfo().GetRole() == "" {
				t.Errorf("%s: the agent got %v", c.info, r)
			}
		}
		_ = a
	}
}

const executorJSON = `"executor":{"type":"CUSTOM","executor_id":{"value":"x"},"command":{"value":"%s"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}}]}`

// TestT26ExecutorsAgain: offers name the executors that live on the agent; the same id
// with another description is refused.
func TestT26ExecutorsAgain(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	launch := func(task, command string) {
		t.Helper()
		o := w.offer("s")
		w.call("s", f, `{"type":"ACCEPT","accept":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}],"filters":{"refuse_seconds":0},"operations":[{"type":"LAUNCH","launch":{"task_infos":[`+
			`{"name":"t","task_id":{"value":"`+task+`"},"agent_id":{"value":"`+a+`"},`+fmt.Sprintf(executorJSON, command)+`,"resources":[`+twoScalars(0.5, 32)+`]}]}}]}}`)
		w.wait(time.Second)
	}
	launch("a", "x")
	if m := w.sent(one, "RunTaskMessage").(*messages.RunTaskMessage); !m.GetLaunchExecutor() || m.GetTask().GetExecutor().GetFrameworkId().GetValue() != f {
		t.Errorf("first: %v", m)
	}
	w.allocate()
	o := w.next("s", scheduler.Event_OFFERS).GetOffers().GetOffers()[0]
	if len(o.GetExecutorIds()) != 1 || o.GetExecutorIds()[0].GetValue() != "x" {
		t.Errorf("executors in the offer: %v", o.GetExecutorIds())
	}
	w.call("s", f, `{"type":"DECLINE","decline":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}],"filters":{"refuse_seconds":0}}}`)
	w.wait(2 * time.Second)
	launch("b", "x")
	if m := w.sent(one, "RunTaskMessage").(*messages.RunTaskMessage); m.GetLaunchExecutor() {
		t.Errorf("second: %v", m)
	}
	launch("c", "other")
	if st := w.status("s"); st.GetTaskId().GetValue() != "c" || st.GetState() != mesos.TaskState_TASK_ERROR || st.GetReason() != mesos.TaskStatus_REASON_TASK_INVALID {
		t.Errorf("status %v", st)
	}
	if n := len(w.view(f).Executors); n != 1 {
		t.Errorf("%d executors", n)
	}
}

// TestT27CommandTasks have no executor in the book; events carry the one that the agent made.
func TestT27CommandTasks(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	w.accept("s", f, w.offer("s"), "", "t")
	if m := w.sent(one, "RunTaskMessage").(*messages.RunTaskMessage); !m.GetLaunchExecutor() || m.GetTask().GetExecutor() != nil {
		t.Errorf("run %v", m)
	}
	w.update(one, a, f, "t", "TASK_RUNNING", "r", "")
	if st := w.status("s"); st.GetExecutorId().GetValue() != "t" {
		t.Errorf("update %v", st)
	}
	v := w.view(f)
	if v.Tasks[0].ExecutorId != nil && v.Tasks[0].GetExecutorId().GetValue() != "" {
		t.Errorf("task %v", v.Tasks[0])
	}
	if len(v.Executors) != 0 {
		t.Errorf("executors %v", v.Executors)
	}
	w.reconcile("s", f, "")
	if st := w.status("s"); st.ExecutorId != nil {
		t.Errorf("reconciliation %v", st)
	}
}

// TestT28LostIsNotFinal: an unreachable task comes back as it is, without a uuid.
func TestT28LostIsNotFinal(t *testing.T) {
	for _, c := range []struct {
		info string
		lost mesos.TaskState
	}{{aware, mesos.TaskState_TASK_UNREACHABLE}, {checkpointing, mesos.TaskState_TASK_LOST}} {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", c.info)
		w.run("s", f, one, a, "t")
		w.silent[one] = true
		w.wait(5 * time.Minute)
		if st := w.status("s"); st.GetState() != c.lost || st.GetReason() != mesos.TaskStatus_REASON_AGENT_REMOVED {
			t.Errorf("status %v", st)
		}
		if v := w.view(f); len(v.Tasks) != 0 || len(v.Unreachable) != 1 {
			t.Errorf("tasks %v, unreachable %v", v.Tasks, v.Unreachable)
		}
		delete(w.silent, one)
		w.reregister(one, a, f, f+" t TASK_RUNNING")
		st := w.status("s")
		if st.GetState() != mesos.TaskState_TASK_RUNNING || st.GetReason() != mesos.TaskStatus_REASON_AGENT_REREGISTERED || st.Uuid != nil ||
			st.GetMessage() != "Unreachable agent re-reregistered" || st.GetSource() != mesos.TaskStatus_SOURCE_MASTER || st.UnreachableTime != nil {
			t.Errorf("status %v", st)
		}
		if v := w.view(f); len(v.Tasks) != 1 || len(v.Unreachable) != 0 {
			t.Errorf("tasks %v, unreachable %v", v.Tasks, v.Unreachable)
		}
	}
}

// TestT29GracefulShutdown is TASK_LOST even to those who know partitions.
func TestT29GracefulShutdown(t *testing.T) {
	for _, info := range []string{aware, checkpointing} {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", info)
		w.run("s", f, one, a, "t")
		w.agent(one, "unregister", `{"slave_id":{"value":"`+a+`"}}`)
		st := w.status("s")
		if st.GetState() != mesos.TaskState_TASK_LOST || st.GetReason() != mesos.TaskStatus_REASON_AGENT_REMOVED || st.Uuid != nil ||
			st.GetMessage() != "Agent host-10-0-0-1-5051 removed: the agent unregistered" {
			t.Errorf("status %v", st)
		}
		w.next("s", scheduler.Event_FAILURE)
		w.reconcile("s", f, taskOn("t", a))
		want := mesos.TaskState_TASK_LOST
		if info == aware {
			want = mesos.TaskState_TASK_UNKNOWN
		}
		if st := w.status("s"); st.GetState() != want {
			t.Errorf("an agent that unregistered is unknown: %v", st)
		}
	}
}

// TestT30WithoutCheckpoint tasks are lost the moment the agent's connection drops.
func TestT30WithoutCheckpoint(t *testing.T) {
	for _, info := range []string{``, `,"capabilities":[{"type":"PARTITION_AWARE"}]`} {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f, g := w.subscribe("s", "", info), w.subscribe("kept", "", checkpointing)
		w.run("s", f, one, a, "t")
		w.call("s", f, `{"type":"SUPPRESS"}`)
		w.forget()
		w.now = w.now.Add(time.Minute)
		w.step(ledger.ConnectionLost{Conn: connOf("none"), Reason: ""}) // a stranger's end changes nothing
		for _, o := range w.view(f).Offers {
			w.call("s", f, `{"type":"DECLINE","decline":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}]}}`)
		}
		w.run("kept", g, one, a, "t")
		w.step(ledger.AgentExited{PID: one})
		st := w.status("s")
		if st.GetState() != mesos.TaskState_TASK_LOST || st.GetReason() != mesos.TaskStatus_REASON_AGENT_DISCONNECTED || st.Uuid != nil {
			t.Errorf("status %v", st)
		}
		w.none("kept", scheduler.Event_UPDATE)
		if v := w.view(g); len(v.Tasks) != 1 || v.Tasks[0].GetState() != mesos.TaskState_TASK_RUNNING {
			t.Errorf("tasks with a checkpoint: %v", v.Tasks)
		}
	}
}

// TestT31KillWithWrongAgent is dropped without an answer; without an agent it works for
// known tasks only.
func TestT31KillWithWrongAgent(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	other := w.register(two, "")
	f := w.subscribe("s", "", aware)
	w.allocate()
	var o *mesos.Offer
	for _, each := range w.next("s", scheduler.Event_OFFERS).GetOffers().GetOffers() {
		if each.GetAgentId().GetValue() == a {
			o = each
		}
	}
	w.accept("s", f, o, "", "t")
	w.forget()
	kill := func(task, agent string) { w.call("s", f, `{"type":"KILL","kill":`+taskOn(task, agent)+`}`) }
	kill("t", other)
	if m := w.sent(one, "KillTaskMessage"); m != nil || len(w.kinds("s")) != 0 {
		t.Errorf("wrong agent: %v, %v", m, w.kinds("s"))
	}
	for _, agent := range []string{"", a, a} { // again and again
		kill("t", agent)
		if w.sent(one, "KillTaskMessage") == nil {
			t.Errorf("agent %q: not killed", agent)
		}
	}
	kill("none", "")
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_UNKNOWN || st.AgentId != nil || st.GetReason() != mesos.TaskStatus_REASON_RECONCILIATION {
		t.Errorf("unknown task: %v", st)
	}
	kill("none", other)
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_GONE || st.GetAgentId().GetValue() != other {
		t.Errorf("unknown task on a known agent: %v", st)
	}
	w.silent[one] = true
	w.wait(5 * time.Minute)
	w.status("s")
	kill("t", "")
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_UNKNOWN {
		t.Errorf("unreachable task, no agent named: %v", st)
	}
	kill("t", a)
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_UNREACHABLE || st.UnreachableTime == nil {
		t.Errorf("unreachable task: %v", st)
	}
}

// TestT32AnAbsentAgentSilences explicit reconciliation without an agent, until it is given up.
func TestT32AnAbsentAgentSilences(t *testing.T) {
	w := newWorld(t).begin("old-S0", "old-S1")
	f := w.subscribe("s", "", aware)
	for _, task := range []string{taskOn("t", ""), taskOn("t", "old-S0")} {
		w.reconcile("s", f, task)
	}
	w.none("s", scheduler.Event_UPDATE)
	w.reconcile("s", f, taskOn("t", "never-S0"))
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_UNKNOWN || st.GetAgentId().GetValue() != "never-S0" {
		t.Errorf("an agent nobody knows: %v", st)
	}
	w.wait(11 * time.Minute)
	w.reconcile("s", f, taskOn("t", ""))
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_UNKNOWN || st.AgentId != nil {
		t.Errorf("after the wait: %v", st)
	}
	w.reconcile("s", f, taskOn("t", "old-S0"))
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_UNREACHABLE {
		t.Errorf("after the wait: %v", st)
	}
}

// TestT33KillsAreRepeated when a disconnected agent returns, not after a failover.
func TestT33KillsAreRepeated(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	w.run("s", f, one, a, "t")
	w.step(ledger.AgentExited{PID: one})
	w.call("s", f, `{"type":"KILL","kill":{"task_id":{"value":"t"},"kill_policy":{"grace_period":{"nanoseconds":5}}}}`)
	if m := w.sent(one, "KillTaskMessage"); m != nil {
		t.Errorf("sent to a disconnected agent: %v", m)
	}
	w.reregister(one, a, f, f+" t TASK_RUNNING")
	if m, ok := w.sent(one, "KillTaskMessage").(*messages.KillTaskMessage); !ok || m.GetKillPolicy().GetGracePeriod().GetNanoseconds() != 5 || m.GetTaskId().GetValue() != "t" {
		t.Errorf("after its return: %v", m)
	}
	w.step(ledger.AgentExited{PID: one})
	w.reregister(one, a, f, f+" t TASK_RUNNING")
	if m := w.sent(one, "KillTaskMessage"); m != nil {
		t.Errorf("repeated twice: %v", m)
	}
	n := newWorld(t).begin(a) // the next leader
	n.subscribe("s", f, checkpointing)
	n.reregister(one, a, f, f+" t TASK_RUNNING")
	if m := n.sent(one, "KillTaskMessage"); m != nil {
		t.Errorf("after a failover: %v", m)
	}
}

// TestT34GPUAgents are invisible to frameworks without GPU_RESOURCES, with all they have.
func TestT34GPUAgents(t *testing.T) {
	for _, c := range []struct {
		info string
		seen bool
	}{{checkpointing, false}, {`,"checkpoint":true,"capabilities":[{"type":"GPU_RESOURCES"}]`, true}} {
		w := newWorld(t).begin()
		w.agent(one, "register", `{"slave":{"hostname":"h","checkpoint":true,"resources":[`+twoScalars(4, 1024)+`,{"name":"gpus","type":"SCALAR","scalar":{"value":2}}]},"version":"1.11.0",`+allCapabilities+`}`)
		w.subscribe("s", "", c.info)
		if got := w.offered("s"); got != c.seen {
			t.Errorf("%s: offered %v", c.info, got)
		}
	}
}

// TestT38StateAheadOfStatus: TASK_UPDATED carries the newest state beside the status that
// was forwarded.
func TestT38StateAheadOfStatus(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	w.accept("s", f, w.offer("s"), "", "t")
	w.forget()
	w.update(one, a, f, "t", "TASK_STARTING", "s", "TASK_RUNNING")
	if len(w.told) != 1 {
		t.Fatalf("operators heard %v", w.told)
	}
	if u := w.told[0].GetTaskUpdated(); u.GetState() != mesos.TaskState_TASK_RUNNING || u.GetStatus().GetState() != mesos.TaskState_TASK_STARTING {
		t.Errorf("event %v", u)
	}
}

// TestT39UnreachableTime is on updates about unreachable agents only, also when the state
// says TASK_LOST.
func TestT39UnreachableTime(t *testing.T) {
	for _, info := range []string{aware, checkpointing} {
		w := newWorld(t).begin()
		a := w.register(one, "")
		f := w.subscribe("s", "", info)
		w.run("s", f, one, a, "t")
		w.reconcile("s", f, "")
		if st := w.status("s"); st.UnreachableTime != nil {
			t.Errorf("reachable: %v", st)
		}
		w.silent[one] = true
		w.wait(5 * time.Minute)
		st := w.status("s")
		if st.GetUnreachableTime().GetNanoseconds() < time.Unix(1_000_000, 0).UnixNano() {
			t.Errorf("update: %v", st)
		}
		w.reconcile("s", f, taskOn("t", a))
		if again := w.status("s"); again.GetUnreachableTime().GetNanoseconds() != st.GetUnreachableTime().GetNanoseconds() {
			t.Errorf("reconciliation: %v, was %v", again, st)
		}
		w.reconcile("s", f, taskOn("t", ""))
		if again := w.status("s"); again.UnreachableTime != nil {
			t.Errorf("no agent named: %v", again)
		}
	}
}

// TestT40InfoChangesSilently at resubscription; user and checkpoint keep their values.
func TestT40InfoChangesSilently(t *testing.T) {
	w := newWorld(t).begin()
	w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	w.forget()
	w.call("n", "", `{"type":"SUBSCRIBE","framework_id":{"value":"`+f+`"},"subscribe":{"framework_info":{"user":"nobody","name":"renamed","failover_timeout":7,"checkpoint":false,`+
		`"webui_url":"http://x","hostname":"h","labels":{"labels":[{"key":"k","value":"v"}]},"roles":["a","b"],"capabilities":[{"type":"MULTI_ROLE"}],"id":{"value":"`+f+`"}}}}`)
	w.next("n", scheduler.Event_SUBSCRIBED)
	w.none("n", scheduler.Event_ERROR)
	v := w.view(f)
	if i := v.Info; i.GetUser() != "root" || !i.GetCheckpoint() || i.GetName() != "renamed" || i.GetFailoverTimeout() != 7 || i.GetWebuiUrl() != "http://x" ||
		i.GetLabels().GetLabels()[0].GetKey() != "k" || len(v.Roles) != 2 {
		t.Errorf("info %v", i)
	}
	if m, ok := w.sent(one, "UpdateFrameworkMessage").(*messages.UpdateFrameworkMessage); !ok || m.GetFrameworkInfo().GetName() != "renamed" || m.GetFrameworkInfo().GetUser() != "root" {
		t.Errorf("agents heard %v", m)
	}
	if len(w.told) != 1 || w.told[0].GetFrameworkUpdated().GetFramework().GetFrameworkInfo().GetName() != "renamed" {
		t.Errorf("operators heard %v", w.told)
	}
	w.call("m", "", `{"type":"SUBSCRIBE","framework_id":{"value":"`+f+`"},"subscribe":{"framework_info":{"user":"root","name":"f","principal":"p","id":{"value":"`+f+`"}}}}`)
	if e := w.next("m", scheduler.Event_ERROR); e.GetError().GetMessage() != "Changing framework's principal is not allowed." {
		t.Errorf("another principal: %v", e)
	}
	w.none("n", scheduler.Event_ERROR)
}
