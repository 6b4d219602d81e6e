package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// The traps of mesos-master.md section 12 that are about what the master decides; those
// about bytes and connections are in package master.

const (
	one, two = "slave(1)@10.0.0.1:5051", "slave(1)@10.0.0.2:5051"
	multi    = `,"checkpoint":true,"capabilities":[{"type":"MULTI_ROLE"},{"type":"RESERVATION_REFINEMENT"}],"roles":["dev"]`
)

// TestT10UuidMeansAcknowledge: only what an agent sent has a uuid; an acknowledgement for
// anything else is dropped.
func TestT10UuidMeansAcknowledge(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", aware)
	w.run("s", f, one, a, "t")
	w.sent(one, "StatusUpdateAcknowledgementMessage")
	w.reconcile("s", f, "")
	if st := w.status("s"); st.Uuid != nil || st.GetReason() != mesos.TaskStatus_REASON_RECONCILIATION {
		t.Errorf("reconciliation %v", st)
	}
	o := w.offer("s")
	w.accept("s", f, o, "", "bad/id")
	if st := w.status("s"); st.Uuid != nil || st.GetState() != mesos.TaskState_TASK_ERROR {
		t.Errorf("refusal %v", st)
	}
	before := w.book.Snapshot().Counters
	w.acknowledge("s", f, a, "bad/id", "x") // of a task that never was
	w.acknowledge("s", f, "M-S9", "t", "x") // of an agent that is not there
	if m := w.sent(one, "StatusUpdateAcknowledgementMessage"); m != nil {
		t.Errorf("the agent got %v", m)
	}
	if after := w.book.Snapshot().Counters; after.InvalidAcks != before.InvalidAcks+2 {
		t.Errorf("invalid acknowledgements: %d, before %d", after.InvalidAcks, before.InvalidAcks)
	}
	w.silent[one] = true
	w.wait(5 * time.Minute)
	if st := w.status("s"); st.Uuid != nil || st.GetState() != mesos.TaskState_TASK_UNREACHABLE {
		t.Errorf("agent lost: %v", st)
	}
}

// TestT11ReconcileGivesTheForwardedState, not the latest one the agent told of.
func TestT11ReconcileGivesTheForwardedState(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	w.accept("s", f, w.offer("s"), "", "t")
	w.reconcile("s", f, "")
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_STAGING {
		t.Errorf("nothing forwarded yet: %v", st)
	}
	w.update(one, a, f, "t", "TASK_RUNNING", "r", "TASK_FINISHED")
	w.status("s")
	for _, tasks := range []string{"", taskOn("t", ""), taskOn("t", a)} {
		w.reconcile("s", f, tasks)
		st := w.status("s")
		if st.GetState() != mesos.TaskState_TASK_RUNNING || st.GetMessage() != "Reconciliation: Latest task state" || st.Data != nil {
			t.Errorf("%s: %v", tasks, st)
		}
	}
	if got := w.view(f).Tasks[0].GetState(); got != mesos.TaskState_TASK_FINISHED {
		t.Errorf("state %v in the book", got)
	}
}

// TestT12TerminalUnacknowledged stays among the tasks while its resources are offered again.
func TestT12TerminalUnacknowledged(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	w.accept("s", f, w.offer("s"), `,"filters":{"refuse_seconds":0}`, "t")
	w.update(one, a, f, "t", "TASK_FINISHED", "f", "")
	w.status("s")
	if v := w.view(f); len(v.Tasks) != 1 || v.Tasks[0].GetState() != mesos.TaskState_TASK_FINISHED || len(v.CompletedT) != 0 {
		t.Errorf("tasks %v, completed %v", v.Tasks, v.CompletedT)
	}
	w.reconcile("s", f, "")
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_FINISHED {
		t.Errorf("reconciliation %v", st)
	}
	w.wait(time.Second)
	o := w.offer("s")
	for _, r := range o.GetResources() {
		if r.GetName() == "cpus" && r.GetScalar().GetValue() != 4 {
			t.Errorf("offered %v", o.GetResources())
		}
	}
	w.update(one, a, f, "t", "TASK_RUNNING", "z", "") // a terminal task never changes again
	w.status("s")
	if v := w.view(f); v.Tasks[0].GetState() != mesos.TaskState_TASK_FINISHED {
		t.Errorf("the task came back as %v", v.Tasks[0].GetState())
	}
	w.update(one, a, f, "t", "TASK_FINISHED", "f", "")
	w.acknowledge("s", f, a, "t", "f")
	if v := w.view(f); len(v.Tasks) != 0 || len(v.CompletedT) != 1 {
		t.Errorf("tasks %v, completed %v", v.Tasks, v.CompletedT)
	}
}

// TestT13DuplicateTaskID is TASK_ERROR with the id of the task that runs, told apart by
// reason and source.
func TestT13DuplicateTaskID(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	w.run("s", f, one, a, "t")
	w.accept("s", f, w.offer("s"), "", "t")
	st := w.status("s")
	if st.GetTaskId().GetValue() != "t" || st.GetState() != mesos.TaskState_TASK_ERROR || st.GetReason() != mesos.TaskStatus_REASON_TASK_INVALID ||
		st.GetSource() != mesos.TaskStatus_SOURCE_MASTER || st.Uuid != nil || st.GetMessage() != "Task has duplicate ID: t" {
		t.Errorf("status %v", st)
	}
	if v := w.view(f); len(v.Tasks) != 1 || v.Tasks[0].GetState() != mesos.TaskState_TASK_RUNNING {
		t.Errorf("tasks %v", v.Tasks)
	}
}

// TestT14TaskIDAgain: allowed once the old task is completed, refused while it is
// unreachable.
func TestT14TaskIDAgain(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", aware)
	w.run("s", f, one, a, "t")
	w.update(one, a, f, "t", "TASK_FAILED", "f", "")
	w.status("s")
	w.acknowledge("s", f, a, "t", "f")
	w.run("s", f, one, a, "t") // again
	w.register(two, "")
	w.silent[one] = true
	w.wait(5 * time.Minute)
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_UNREACHABLE {
		t.Fatalf("status %v", st)
	}
	for { // offers of the lost agent were rescinded; take the other's
		o := w.offer("s")
		if o.GetAgentId().GetValue() != a {
			w.accept("s", f, o, "", "t")
			break
		}
	}
	if st := w.status("s"); st.GetState() != mesos.TaskState_TASK_ERROR {
		t.Errorf("status %v", st)
	}
}

// TestT15OneAgentOneRole: one bad offer voids all of an ACCEPT and gives the others back.
func TestT15OneAgentOneRole(t *testing.T) {
	w := newWorld(t).begin()
	w.register(one, "")
	w.register(two, "")
	f := w.subscribe("s", "", checkpointing)
	w.allocate()
	var ids []string
	for _, e := range w.events[connOf("s")] {
		for _, o := range e.GetOffers().GetOffers() {
			ids = append(ids, o.GetId().GetValue())
		}
	}
	if len(ids) != 2 {
		t.Fatalf("offers %v", ids)
	}
	launch := func(offers string) *mesos.TaskStatus {
		w.call("s", f, `{"type":"ACCEPT","accept":{"offer_ids":[`+offers+`],"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"t","task_id":{"value":"t"},"agent_id":{"value":"M-S0"},"command":{"value":"x"},"resources":[`+twoScalars(1, 32)+`]}]}}]}}`)
		return w.status("s")
	}
	st := launch(fmt.Sprintf(`{"value":%q},{"value":%q}`, ids[0], ids[1]))
	if st.GetState() != mesos.TaskState_TASK_LOST || st.GetReason() != mesos.TaskStatus_REASON_INVALID_OFFERS || st.Uuid != nil || st.GetSource() != mesos.TaskStatus_SOURCE_MASTER {
		t.Errorf("two agents: %v", st)
	}
	if v := w.view(f); len(v.Offers) != 0 {
		t.Errorf("offers left: %v", v.Offers)
	}
	w.none("s", scheduler.Event_RESCIND)
	for _, offers := range []string{``, `{"value":"M-O77"}`, fmt.Sprintf(`{"value":%q}`, ids[0])} {
		if st := launch(offers); st.GetReason() != mesos.TaskStatus_REASON_INVALID_OFFERS {
			t.Errorf("[%s]: %v", offers, st)
		}
	}
	w.forget()
	w.allocate() // without a filter: at once
	o := w.next("s", scheduler.Event_OFFERS).GetOffers().GetOffers()[0].GetId().GetValue()
	if st := launch(fmt.Sprintf(`{"value":%q},{"value":%q}`, o, o)); st.GetReason() != mesos.TaskStatus_REASON_INVALID_OFFERS {
		t.Errorf("twice the same: %v", st)
	}
	g := w.subscribe("other", "", aware)
	_ = g
	w.allocate()
	w.forget()
	for _, offer := range w.view(f).Offers {
		w.call("other", g, fmt.Sprintf(`{"type":"ACCEPT","accept":{"offer_ids":[{"value":%q}],"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"t","task_id":{"value":"t"},"agent_id":{"value":"M-S0"},"command":{"value":"x"},"resources":[`+twoScalars(1, 32)+`]}]}}]}}`, offer.GetId().GetValue()))
		if st := w.status("other"); st.GetState() != mesos.TaskState_TASK_DROPPED {
			t.Errorf("another's offer: %v", st)
		}
	}
	if v := w.view(f); len(v.Offers) == 0 {
		t.Error("another framework's mistake cost this one its offers")
	}
}

// TestT16IgnoredCallsAreAccepted: 202 even when nothing comes of it.
func TestT16IgnoredCallsAreAccepted(t *testing.T) {
	w := newWorld(t).begin()
	w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	for _, body := range []string{
		`{"type":"ACCEPT","accept":{"offer_ids":[{"value":"M-O99"}]}}`,
		`{"type":"DECLINE","decline":{"offer_ids":[{"value":"M-O99"}]}}`,
		`{"type":"KILL","kill":{"task_id":{"value":"none"}}}`,
		`{"type":"SHUTDOWN","shutdown":{"executor_id":{"value":"x"},"agent_id":{"value":"none"}}}`,
		`{"type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":"none"},"task_id":{"value":"none"},"uuid":"` + uuid16("a") + `"}}`,
		`{"type":"MESSAGE","message":{"agent_id":{"value":"none"},"executor_id":{"value":"x"},"data":""}}`,
		`{"type":"REVIVE","revive":{"roles":["foreign"]}}`,
		`{"type":"SUPPRESS","suppress":{"roles":["foreign"]}}`,
		`{"type":"REVIVE"}`, `{"type":"SUPPRESS"}`,
		`{"type":"REQUEST","request":{"requests":[]}}`,
		`{"type":"ACCEPT_INVERSE_OFFERS","accept_inverse_offers":{"inverse_offer_ids":[{"value":"M-O99"}]}}`,
		`{"type":"DECLINE_INVERSE_OFFERS","decline_inverse_offers":{"inverse_offer_ids":[{"value":"M-O99"}]}}`,
		`{"type":"ACKNOWLEDGE_OPERATION_STATUS","acknowledge_operation_status":{"agent_id":{"value":"none"},"uuid":"` + uuid16("a") + `","operation_id":{"value":"o"}}}`,
		`{"type":"RECONCILE_OPERATIONS","reconcile_operations":{"operations":[{"operation_id":{"value":"o"}}]}}`,
	} {
		if got := w.call("s", f, body); got.Code != 202 || got.Body != "" {
			t.Errorf("%s: %d %q", body, got.Code, got.Body)
		}
	}
	w.none("s", scheduler.Event_ERROR)
}

// TestT17OffersAreVoidAfterFailover, and nobody says so.
func TestT17OffersAreVoidAfterFailover(t *testing.T) {
	w := newWorld(t).begin()
	w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	o := w.offer("s")
	w.subscribe("n", f, checkpointing)
	w.none("s", scheduler.Event_RESCIND)
	w.none("n", scheduler.Event_RESCIND)
	if e := w.next("s", scheduler.Event_ERROR); e.GetError().GetMessage() != "Framework failed over" || !w.closed[connOf("s")] {
		t.Errorf("old stream: %v, closed %v", e, w.closed[connOf("s")])
	}
	w.accept("n", f, o, "", "t")
	if st := w.status("n"); st.GetReason() != mesos.TaskStatus_REASON_INVALID_OFFERS {
		t.Errorf("status %v", st)
	}
}

// TestT18DeclineHides for 5 s without filters, to the next cycle with refuse_seconds 0.
func TestT18DeclineHides(t *testing.T) {
	for _, c := range []struct {
		filters string
		hidden  time.Duration // still
		back    time.Duration
	}{
		{``, 4900 * time.Millisecond, 5100 * time.Millisecond},
		{`,"filters":{}`, 4900 * time.Millisecond, 5100 * time.Millisecond},
		{`,"filters":{"refuse_seconds":-3}`, 4900 * time.Millisecond, 5100 * time.Millisecond},
		{`,"filters":{"refuse_seconds":0}`, 0, 1100 * time.Millisecond},
		{`,"filters":{"refuse_seconds":100}`, 99 * time.Second, 101 * time.Second},
		{`,"filters":{"refuse_seconds":1e300}`, 364 * 24 * time.Hour, 366 * 24 * time.Hour},
		{`,"filters":{"refuse_seconds":"Infinity"}`, 364 * 24 * time.Hour, 366 * 24 * time.Hour},
	} {
		w := newWorld(t).begin()
		w.register(one, "")
		f := w.subscribe("s", "", checkpointing)
		o := w.offer("s")
		w.call("s", f, `{"type":"DECLINE","decline":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}]`+c.filters+`}}`)
		if c.hidden > 0 {
			w.now = w.now.Add(c.hidden) // nothing else has a timer that matters here
			if w.offered("s") {
				t.Errorf("%s: offered after %v", c.filters, c.hidden)
			}
		}
		w.now = w.now.Add(c.back - c.hidden)
		if !w.offered("s") {
			t.Errorf("%s: not offered after %v", c.filters, c.back)
		}
	}
}

// TestT19FiltersMatchSubsets: what is more than was declined comes back before the time.
func TestT19FiltersMatchSubsets(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	w.run("s", f, one, a, "t")
	o := w.offer("s")
	w.call("s", f, `{"type":"DECLINE","decline":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}],"filters":{"refuse_seconds":1000}}}`)
	w.wait(10 * time.Second)
	if w.offered("s") {
		t.Fatal("the filter does not hold")
	}
	w.update(one, a, f, "t", "TASK_FINISHED", "f", "")
	w.wait(time.Second)
	if !w.offered("s") {
		t.Error("a freed task does not lift the filter")
	}
}

// TestT20DisconnectDropsFilters; suppressed roles are those of the new SUBSCRIBE.
func TestT20DisconnectDropsFilters(t *testing.T) {
	w := newWorld(t).begin()
	w.register(one, "")
	f := w.subscribe("s", "", multi)
	o := w.offer("s")
	w.call("s", f, `{"type":"DECLINE","decline":{"offer_ids":[{"value":"`+o.GetId().GetValue()+`"}],"filters":{"refuse_seconds":1000}}}`)
	w.call("s", f, `{"type":"SUPPRESS"}`)
	w.step(ledger.ConnectionLost{Conn: connOf("s"), Reason: "the stream ended"})
	w.subscribe("n", f, multi)
	if !w.offered("n") {
		t.Error("no offer after the subscription was renewed")
	}
	if got := w.view(f).Suppressed; len(got) != 0 {
		t.Errorf("suppressed %v", got)
	}
	w.step(ledger.ConnectionLost{Conn: connOf("n"), Reason: "the stream ended"})
	w.call("m", "", `{"type":"SUBSCRIBE","framework_id":{"value":"`+f+`"},"subscribe":{"suppressed_roles":["dev"],"framework_info":{"user":"root","name":"f","failover_timeout":60,"id":{"value":"`+f+`"}`+multi+`}}}`)
	w.next("m", scheduler.Event_SUBSCRIBED)
	w.wait(time.Minute)
	if w.offered("m") {
		t.Error("offered although suppressed")
	}
	w.call("m", f, `{"type":"REVIVE"}`)
	if !w.offered("m") {
		t.Error("not offered although revived")
	}
}

// TestT21FailureGoesToAll connected frameworks when an agent is lost, to the owner alone
// when an executor ends.
func TestT21FailureGoesToAll(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, "")
	f := w.subscribe("s", "", checkpointing)
	g := w.subscribe("other", "", checkpointing)
	h := w.subscribe("gone", "", checkpointing)
	w.step(ledger.ConnectionLost{Conn: connOf("gone"), Reason: "the stream ended"})
	w.agent(one, "exited", `{"slave_id":{"value":"`+a+`"},"framework_id":{"value":"`+f+`"},"executor_id":{"value":"x"},"status":256}`)
	e := w.next("s", scheduler.Event_FAILURE).GetFailure()
	if e.GetAgentId().GetValue() != a || e.GetExecutorId().GetValue() != "x" || e.GetStatus() != 256 {
		t.Errorf("executor: %v", e)
	}
	w.none("other", scheduler.Event_FAILURE)
	w.silent[one] = true
	w.wait(80 * time.Second)
	for _, conn := range []string{"s", "other"} {
		e := w.next(conn, scheduler.Event_FAILURE).GetFailure()
		if e.GetAgentId().GetValue() != a || e.ExecutorId != nil || e.Status != nil {
			t.Errorf("agent: %v", e)
		}
	}
	w.none("gone", scheduler.Event_FAILURE)
	_, _ = g, h
}
