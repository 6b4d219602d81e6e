package lab_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// status waits for a state of a task and gives it.
func (f *framework) status(id string, s mesos.TaskState) *mesos.TaskStatus {
	f.t.Helper()
	return f.next(func(e *scheduler.Event) bool {
		u := e.GetUpdate().GetStatus()
		return u.GetTaskId().GetValue() == id && u.GetState() == s
	}).GetUpdate().GetStatus()
}

func (h *host) call(t *testing.T, url, body string, code int) string {
	t.Helper()
	got, err := lab.Request(http.MethodPost, url+"/api/v1", []byte(body), "Content-Type", "application/json")
	if err != nil || got.Status != code {
		t.Fatalf("%s: %v %d %s", body, err, got.Status, got.Body)
	}
	return string(got.Body)
}

// An operator drains an agent: its tasks end within the time allowed, also when the
// agent is killed meanwhile; then it is drained and may be taken back, or it is gone.
func TestDrainAgent(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprintf("gone=%v", gone), func(t *testing.T) {
			t.Parallel()
			drainAgent(t, gone)
		})
	}
}

func drainAgent(t *testing.T, gone bool) {
	h := startHost(t, "cpus:4;mem:1024;disk:100;ports:[]")
	f := engineer(t, h.master.URL, wire.JSON)
	total := parse(t, "cpus:4;mem:1024;disk:100")
	offer := f.offer(func(r resource.Resources) bool { return r.Equal(total) })
	small := parse(t, "cpus:0.1;mem:32")
	stubborn := opShell(offer, "stubborn", "root", "trap '' TERM; touch ready; while true; do sleep 0.1; done", small...)
	hour := time.Hour.Nanoseconds()
	stubborn.Launch.TaskInfos[0].KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: &hour}}
	f.accept(offer, opShell(offer, "meek", "root", "sleep 1000", small...), stubborn,
		opPod(offer, f.info.Id, parse(t, "cpus:0.1;mem:32;disk:1"), podTask(offer, "pod", "sleep 1000", small...)))
	running := map[string]bool{}
	for len(running) < 3 {
		running[f.next(func(e *scheduler.Event) bool {
			return e.GetUpdate().GetStatus().GetState() == mesos.TaskState_TASK_RUNNING
		}).GetUpdate().GetStatus().GetTaskId().GetValue()] = true
	}
	lab.Eventually(t, 30*time.Second, "the stubborn task is deaf", func() error {
		ready, err := filepath.Glob(filepath.Join(h.dir, "slaves/*/frameworks/*/executors/stubborn/runs/latest/ready"))
		if err == nil && len(ready) != 1 {
			err = fmt.Errorf("found %v", ready)
		}
		return err
	})
	end := mesos.TaskState_TASK_KILLED
	if gone {
		end = mesos.TaskState_TASK_GONE_BY_OPERATOR
	}
	agent := offer.GetAgentId().GetValue()
	h.call(t, h.master.URL, fmt.Sprintf(`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":%q},"max_grace_period":{"seconds":2},"mark_gone":%v}}`, agent, gone), 200)
	for ended := map[string]bool{}; !ended["meek"] || !ended["pod"]; { // in any order
		st := f.next(func(e *scheduler.Event) bool { return e.GetUpdate().GetStatus().GetState() == end }).GetUpdate().GetStatus()
		if st.GetReason() != mesos.TaskStatus_REASON_AGENT_DRAINING {
			t.Errorf("%v", st)
		}
		ended[st.GetTaskId().GetValue()] = true
	}
	if said := h.call(t, h.agent.URL, `{"type":"GET_AGENT"}`, 200); !strings.Contains(said, `"drain_config":{"max_grace_period":{"nanoseconds":2000000000},"mark_gone":`+fmt.Sprint(gone)) ||
		!strings.Contains(said, `"estimated_drain_start_time"`) {
		t.Errorf("GET_AGENT: %s", said)
	}
	h.agent.Kill(t)
	h.agent.Restart()
	if st := f.status("stubborn", end); st.GetReason() != mesos.TaskStatus_REASON_AGENT_DRAINING {
		t.Errorf("stubborn: %v", st)
	}
	if gone {
		select {
		case <-h.agent.Done():
		case <-time.After(60 * time.Second):
			t.Fatal("the agent that is gone lives on")
		}
		if out := h.agent.Output(); !strings.Contains(out, "gone") {
			t.Errorf("%s", out)
		}
		return
	}
	lab.Eventually(t, 30*time.Second, "the agent is drained", func() error {
		said := h.call(t, h.master.URL, `{"type":"GET_AGENTS"}`, 200)
		if !strings.Contains(said, `"drain_info":{"state":"DRAINED"`) {
			return fmt.Errorf("%s", said)
		}
		return nil
	})
	lab.Eventually(t, 30*time.Second, "the agent knows that it is drained", func() error {
		if said := h.call(t, h.agent.URL, `{"type":"GET_AGENT"}`, 200); strings.Contains(said, "drain") {
			return fmt.Errorf("%s", said)
		}
		return nil
	})
	h.call(t, h.master.URL, fmt.Sprintf(`{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":%q}}}`, agent), 200)
	f.caughtUp()
	offer = f.offer(func(r resource.Resources) bool { return r.Equal(total) })
	f.accept(offer, opShell(offer, "after", "root", "true", small...))
	f.state("after", mesos.TaskState_TASK_FINISHED)
	f.call(&scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
}
