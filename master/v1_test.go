package master_test

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

const subscribeJSON = `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"f","checkpoint":true,"failover_timeout":3600%s}}%s}`

func launchJSON(offer, agent, task, command string) string {
	return fmt.Sprintf(`{"type":"ACCEPT","accept":{"offer_ids":[{"value":%q}],"filters":{"refuse_seconds":0},"operations":[{"type":"LAUNCH","launch":{"task_infos":[`+
		`{"name":"t","task_id":{"value":%q},"agent_id":{"value":%q},"command":{"value":%q},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.5}},{"name":"mem","type":"SCALAR","scalar":{"value":32}}]}]}}]}}`,
		offer, task, agent, command)
}

// launch takes the next offer for one task.
func (s *subscription) launch(task, command string) {
	s.t.Helper()
	o := s.next(scheduler.Event_OFFERS).GetOffers().GetOffers()[0]
	if code, text := s.call(launchJSON(o.GetId().GetValue(), o.GetAgentId().GetValue(), task, command)); code != 202 || text != "" {
		s.t.Fatalf("ACCEPT: %d %s", code, text)
	}
}

// update waits for an update of the task in the state and acknowledges it when asked to.
func (s *subscription) update(task string, state mesos.TaskState) *mesos.TaskStatus {
	s.t.Helper()
	for {
		st := s.next(scheduler.Event_UPDATE).GetUpdate().GetStatus()
		if len(st.GetUuid()) > 0 {
			code, text := s.call(fmt.Sprintf(`{"type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":%q},"task_id":{"value":%q},"uuid":%q}}`,
				st.GetAgentId().GetValue(), st.GetTaskId().GetValue(), base64.StdEncoding.EncodeToString(st.GetUuid())))
			if code != 202 {
				s.t.Fatalf("ACKNOWLEDGE: %d %s", code, text)
			}
		}
		if st.GetTaskId().GetValue() == task && st.GetState() == state {
			return st
		}
	}
}

// TestLifeOfATask is the thread through the whole room: register, subscribe, offer,
// launch, update, acknowledge, kill, message, teardown.
func TestLifeOfATask(t *testing.T) {
	m := startMaster(t, master.Config{WorkDir: t.TempDir()})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	sub := f.next(scheduler.Event_SUBSCRIBED).GetSubscribed()
	if sub.GetHeartbeatIntervalSeconds() != 15 || sub.GetMasterInfo().GetPid() != "master@"+m.addr {
		t.Errorf("SUBSCRIBED %v", sub)
	}
	f.next(scheduler.Event_HEARTBEAT)
	f.launch("one", "sleep")
	if st := f.update("one", mesos.TaskState_TASK_RUNNING); st.GetExecutorId().GetValue() != "one" || st.GetSource() != mesos.TaskStatus_SOURCE_EXECUTOR {
		t.Errorf("status %v", st)
	}
	a.await("ack")
	f.launch("two", "finish") // refuse_seconds 0: offered again
	f.update("two", mesos.TaskState_TASK_FINISHED)
	if code, _ := f.call(fmt.Sprintf(`{"type":"MESSAGE","message":{"agent_id":{"value":%q},"executor_id":{"value":"x"},"data":"aGk="}}`, a.id.GetValue())); code != 202 {
		t.Errorf("MESSAGE: %d", code)
	}
	if got := string(f.next(scheduler.Event_MESSAGE).GetMessage().GetData()); got != "echo hi" {
		t.Errorf("message %q", got)
	}
	f.call(`{"type":"RECONCILE","reconcile":{"tasks":[]}}`)
	if st := f.next(scheduler.Event_UPDATE).GetUpdate().GetStatus(); st.GetTaskId().GetValue() != "one" || st.GetReason() != mesos.TaskStatus_REASON_RECONCILIATION || len(st.GetUuid()) > 0 {
		t.Errorf("reconciliation %v", st)
	}
	f.call(`{"type":"KILL","kill":{"task_id":{"value":"one"}}}`)
	f.update("one", mesos.TaskState_TASK_KILLED)
	if code, _ := f.call(`{"type":"TEARDOWN"}`); code != 202 {
		t.Errorf("TEARDOWN: %d", code)
	}
	a.await("shutdown framework")
	f.ended()
	s, err := m.door.View(t.Context())
	if err != nil || len(s.Completed) != 1 || len(s.Completed[0].CompletedT) != 2 || len(s.Agents[0].Used) != 0 || len(s.Agents[0].Offered) != 0 {
		t.Errorf("book after the teardown: %+v, %v", s, err)
	}
}

// TestNewStreamWins: a second subscription takes the framework over.
func TestNewStreamWins(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)
	f.next(scheduler.Event_OFFERS)
	id := fmt.Sprintf(`"id":{"value":%q}`, f.id)
	g := m.subscribe(fmt.Sprintf(subscribeJSON, ","+id, `,"framework_id":{"value":"`+f.id+`"}`))
	if got := g.next(scheduler.Event_SUBSCRIBED).GetSubscribed().GetFrameworkId().GetValue(); got != f.id {
		t.Errorf("framework id %s, want %s", got, f.id)
	}
	if text := f.next(scheduler.Event_ERROR).GetError().GetMessage(); text != "Framework failed over" {
		t.Errorf("ERROR %q", text)
	}
	f.ended()
	g.launch("one", "sleep") // the offers of the old stream are free again
	g.update("one", mesos.TaskState_TASK_RUNNING)
	// The old stream's end must not disconnect the framework.
	if code, text := g.call(`{"type":"REVIVE"}`); code != 202 {
		t.Errorf("REVIVE: %d %s", code, text)
	}
}

// TestStreamEndsWithFailoverTimeout: a framework without failover_timeout is removed as
// soon as its stream ends.
func TestStreamEndsWithFailoverTimeout(t *testing.T) {
	m := startMaster(t, master.Config{})
	a := startAgent(t, m.addr)
	a.register()
	f := m.subscribe(`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"f"}}}`)
	f.next(scheduler.Event_SUBSCRIBED)
	f.close()
	a.await("shutdown framework")
	g := m.subscribe(fmt.Sprintf(subscribeJSON, fmt.Sprintf(`,"id":{"value":%q}`, f.id), `,"framework_id":{"value":"`+f.id+`"}`))
	if text := g.next(scheduler.Event_ERROR).GetError().GetMessage(); text != "Framework has been removed" {
		t.Errorf("ERROR %q", text)
	}
	g.ended()
}
