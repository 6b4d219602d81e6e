package lifecycle

import (
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"google.golang.org/protobuf/proto"
)

// health is what is known about a task's health check since it was started.
type health struct {
	graceEnd  time.Time // failures before this do not count until the first success
	succeeded bool
	failures  uint32 // consecutive counted ones
}

// startChecks begins the checks of a task that has just been found running. After a
// restart of the agent the grace period is over and the last health stands.
func (a *Agent) startChecks(t *task) {
	hc, c := t.info.GetHealthCheck(), t.info.GetCheck()
	if hc == nil && c == nil {
		return
	}
	if hc != nil {
		t.health = health{graceEnd: a.now.Add(time.Duration(hc.GetGracePeriodSeconds() * float64(time.Second)))}
		if last := t.last(); last != nil && last.Healthy != nil {
			t.health.graceEnd, t.health.succeeded = never, last.GetHealthy()
		}
	}
	ef := StartChecks{
		Key: t.key(), Container: t.exec.container, PID: t.exec.pid, Box: a.box(t.exec), Task: t.info,
		Env: a.environment(t.exec), User: a.user(t.exec), Directory: t.exec.directory,
	}
	if n := t.nested; n != nil {
		ef.Container, ef.PID, ef.Box, ef.Directory = n.id, n.pid, n.box, n.directory
		ef.Env, ef.User = a.nestedEnvironment(n), a.nestedUser(n)
	}
	a.do(ef)
}

func (a *Agent) stopChecks(t *task) {
	if t.info.GetHealthCheck() != nil || t.info.GetCheck() != nil {
		a.do(StopChecks{Key: t.key()})
	}
}

// probe takes one health check result (mesos-agent.md 5.3): the first success and the
// first after a counted failure are told, every counted failure is told, and the last
// one of consecutive_failures kills the task.
func (a *Agent) probe(ev Probe) {
	t := a.findTask(ev.Key)
	if t == nil || terminal(t.state) || t.kill != nil || t.exec.phase != running {
		return
	}
	h := &t.health
	if ev.Healthy {
		tell := !h.succeeded || h.failures > 0
		h.succeeded, h.failures = true, 0
		if tell {
			a.tellHealth(t, true, ev.Message)
		}
		return
	}
	if !h.succeeded && h.failures == 0 && a.now.Before(h.graceEnd) {
		return
	}
	h.failures++
	a.tellHealth(t, false, ev.Message)
	if h.failures >= max(1, t.info.GetHealthCheck().GetConsecutiveFailures()) {
		a.beginKill(t, a.grace(t, nil), KillImage{Unhealthy: true})
	}
}

func (a *Agent) tellHealth(t *task, healthy bool, message string) {
	st := a.executorStatus(t, mesos.TaskState_TASK_RUNNING)
	st.Healthy = ptr(healthy)
	st.Reason = mesos.TaskStatus_REASON_TASK_HEALTH_CHECK_STATUS_UPDATED.Enum()
	if message != "" {
		st.Message = ptr(message)
	}
	a.update(t, st)
}

// checked takes one check result and tells it when it differs from the last.
func (a *Agent) checked(ev Checked) {
	t := a.findTask(ev.Key)
	if t == nil || terminal(t.state) || t.kill != nil || t.exec.phase != running || t.info.GetCheck() == nil {
		return
	}
	st := a.executorStatus(t, mesos.TaskState_TASK_RUNNING)
	if proto.Equal(st.GetCheckStatus(), ev.Status) {
		return
	}
	st.CheckStatus = ev.Status
	st.Reason = mesos.TaskStatus_REASON_TASK_CHECK_STATUS_UPDATED.Enum()
	a.update(t, st)
}
