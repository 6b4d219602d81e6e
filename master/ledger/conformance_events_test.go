package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// offers takes the next offer, one of several in an event.
func (w *world) offers(conn string) *mesos.Offer {
	w.t.Helper()
	w.allocate()
	c := connOf(conn)
	for i, e := range w.events[c] {
		if list := e.GetOffers().GetOffers(); len(list) > 0 {
			o := list[0]
			if len(list) == 1 {
				w.events[c] = append(w.events[c][:i:i], w.events[c][i+1:]...)
			} else {
				w.events[c][i] = &scheduler.Event{Type: e.Type, Offers: &scheduler.Event_Offers{Offers: list[1:]}}
			}
			return o
		}
	}
	w.t.Fatal("no offer")
	return nil
}

// TestReconciliationRows: mesos-master.md 1.8, every row for both kinds of frameworks.
func TestReconciliationRows(t *testing.T) {
	for _, c := range []struct {
		info                       string
		gone, unreachable, unknown mesos.TaskState
	}{
		{aware, mesos.TaskState_TASK_GONE, mesos.TaskState_TASK_UNREACHABLE, mesos.TaskState_TASK_UNKNOWN},
		{checkpointing, mesos.TaskState_TASK_LOST, mesos.TaskState_TASK_LOST, mesos.TaskState_TASK_LOST},
	} {
		w := newWorld(t).begin("old-S0")
		a := w.register(one, "")
		lost := w.register(two, "")
		f := w.subscribe("s", "", c.info)
		for range 2 {
			o := w.offers("s")
			task := "here"
			if o.GetAgentId().GetValue() == lost {
				task = "away"
			}
			w.accept("s", f, o, `,"filters":{"refuse_seconds":1000}`, task)
		}
		w.update(one, a, f, "here", "TASK_RUNNING", "r", "")
		w.status("s")
		w.silent[two] = true
		w.wait(2 * time.Minute)
		w.status("s") // away is unreachable
		w.forget()
		check := func(name, tasks string, state mesos.TaskState, agent string) {
			t.Helper()
			w.reconcile("s", f, tasks)
			st := w.status("s")
			if st.GetState() != state || st.GetReason() != mesos.TaskStatus_REASON_RECONCILIATION || st.GetSource() != mesos.TaskStatus_SOURCE_MASTER ||
				st.Uuid != nil || st.GetAgentId().GetValue() != agent || st.Data != nil || st.Labels != nil || st.Timestamp == nil {
				t.Errorf("%s: %v", name, st)
			}
		}
		check("implicit", "", mesos.TaskState_TASK_RUNNING, a)
		w.none("s", scheduler.Event_UPDATE) // one task: the unreachable one is not among them
		check("known", taskOn("here", ""), mesos.TaskState_TASK_RUNNING, a)
		check("known, another agent named", taskOn("here", "nobody"), mesos.TaskState_TASK_RUNNING, a)
		check("unknown on a registered agent", taskOn("none", a), c.gone, a)
		check("unreachable agent", taskOn("away", lost), c.unreachable, lost)
		check("unknown on an unreachable agent", taskOn("none", lost), c.unreachable, lost)
		check("an agent nobody knows", taskOn("none", "never"), c.unknown, "never")
		w.reconcile("s", f, taskOn("none", "old-S0")+","+taskOn("none", ""))
		w.none("s", scheduler.Event_UPDATE) // a recovered agent may still bring it
		w.wait(11 * time.Minute)            // and then not any more
		w.forget()
		check("no agent named", taskOn("away", ""), c.unknown, "")
		check("no agent named, unknown task", taskOn("none", ""), c.unknown, "")
		// Several at once come in their order.
		w.reconcile("s", f, taskOn("x", "")+","+taskOn("here", "")+","+taskOn("y", ""))
		for _, task := range []string{"x", "here", "y"} {
			if st := w.status("s"); st.GetTaskId().GetValue() != task {
				t.Errorf("order: %v, want %s", st, task)
			}
		}
		// A completed task is known to its agent no more.
		w.update(one, a, f, "here", "TASK_FINISHED", "f", "")
		w.status("s")
		check("terminal, not acknowledged", "", mesos.TaskState_TASK_FINISHED, a)
		w.acknowledge("s", f, a, "here", "f")
		check("completed", taskOn("here", a), c.gone, a)
		w.reconcile("s", f, "")
		w.none("s", scheduler.Event_UPDATE)
	}
}

// TestEventRows: mesos-master.md 1.10, contents that no other test looks at.
func TestEventRows(t *testing.T) {
	w := newWorld(t).begin()
	a := w.register(one, `,"attributes":[{"name":"rack","type":"TEXT","text":{"value":"r1"}}],"domain":{"fault_domain":{"region":{"name":"r"},"zone":{"name":"z"}}}`)
	f := w.subscribe("s", "", `,"checkpoint":true,"roles":["dev","ops"],"capabilities":[{"type":"MULTI_ROLE"},{"type":"RESERVATION_REFINEMENT"},{"type":"REGION_AWARE"}]`)
	o := w.offer("s")
	u := o.GetUrl()
	if o.GetFrameworkId().GetValue() != f || o.GetAgentId().GetValue() != a || o.GetHostname() != "host-10-0-0-1-5051" || u.GetScheme() != "http" ||
		u.GetPath() != "/slave(1)" || u.GetAddress().GetHostname() != o.GetHostname() || u.GetAddress().GetIp() != "10.0.0.1" || u.GetAddress().GetPort() != 5051 ||
		len(o.GetAttributes()) != 1 || o.GetDomain().GetFaultDomain().GetZone().GetName() != "z" || len(o.GetExecutorIds()) != 0 || o.Unavailability != nil {
		t.Errorf("offer %v", o)
	}
	if !strings.HasPrefix(o.GetId().GetValue(), "M-O") {
		t.Errorf("offer id %s", o.GetId().GetValue())
	}
	w.accept("s", f, o, "", "t")
	w.agent(one, "update", `{"pid":"`+one+`","update":{"framework_id":{"value":"`+f+`"},"slave_id":{"value":"`+a+`"},"executor_id":{"value":"from envelope"},"timestamp":77,"uuid":"`+uuid16("u")+`",`+
		`"status":{"task_id":{"value":"t"},"state":"TASK_RUNNING","data":"AA==","labels":{"labels":[{"key":"k"}]},"timestamp":5,"agent_id":{"value":"other"},"healthy":true}}}`)
	st := w.status("s")
	if st.GetAgentId().GetValue() != a || st.GetExecutorId().GetValue() != "from envelope" || st.GetTimestamp() != 77 || len(st.GetUuid()) != 16 || st.Data == nil || st.Labels == nil || !st.GetHealthy() {
		t.Errorf("update %v", st)
	}
	if kept := w.view(f).Tasks[0].GetStatuses()[0]; kept.Data != nil {
		t.Errorf("data is kept: %v", kept)
	}
	w.reconcile("s", f, "")
	if st := w.status("s"); !st.GetHealthy() || st.Data != nil || st.Labels != nil {
		t.Errorf("reconciliation %v", st)
	}
	// Agent loss: updates, then rescinds, then FAILURE (the order of Mesos, which promises none).
	w.wait(10 * time.Second)
	w.allocate()
	w.forget()
	w.agent(one, "unregister", fmt.Sprintf(`{"slave_id":{"value":%q}}`, a))
	var kinds []scheduler.Event_Type
	for _, e := range w.events[connOf("s")] {
		kinds = append(kinds, e.GetType())
	}
	for _, want := range []scheduler.Event_Type{scheduler.Event_UPDATE, scheduler.Event_RESCIND, scheduler.Event_FAILURE} {
		if !slices.Contains(kinds, want) {
			t.Errorf("events %v lack %v", kinds, want)
		}
	}
	if kinds[len(kinds)-1] != scheduler.Event_FAILURE {
		t.Errorf("events %v", kinds)
	}
}
