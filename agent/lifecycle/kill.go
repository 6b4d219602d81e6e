package lifecycle

import (
	"time"

	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// killTask is the agent side of KILL (mesos-agent.md 2.4 and 2.5).
func (a *Agent) killTask(ev KillTask) {
	f := a.frameworks[ev.Framework]
	if f == nil {
		a.do(Note{Message: "kill ignored: framework is not here", Framework: ev.Framework, Task: ev.Task})
		return
	}
	key := TaskKey{ev.Framework, ev.Task}
	t := a.findTask(key)
	if t == nil {
		if a.streams[key] == nil {
			a.loose(key, &mesos.TaskStatus{
				State:   f.lost(mesos.TaskState_TASK_DROPPED).Enum(),
				Reason:  mesos.TaskStatus_REASON_EXECUTOR_TERMINATED.Enum(),
				Message: ptr("Cannot find executor"),
			})
		}
		return
	}
	e := t.exec
	// A launch that is being given up is not recorded as such, so a kill still counts.
	queued := !t.delivered && (e.generated || e.native())
	switch {
	case terminal(t.state), !queued && e.phase >= terminating && t.kill == nil:
		return
	case !t.delivered && t.group != "":
		for _, x := range t.members() {
			a.update(x, &mesos.TaskStatus{
				State:   mesos.TaskState_TASK_KILLED.Enum(),
				Source:  mesos.TaskStatus_SOURCE_AGENT.Enum(),
				Reason:  mesos.TaskStatus_REASON_TASK_KILLED_DURING_LAUNCH.Enum(),
				Message: ptr("A task within the task group was killed before delivery to the executor"),
			})
		}
		if e.native() && !e.live() {
			a.shutdownExecutor(e) // nothing is left for it to do
		}
	case !t.delivered:
		a.killQueued(t)
	case e.generated, e.native():
		a.beginKill(t, a.grace(t, ev.Policy), KillImage{})
	default:
		a.tell(e, &executor.Event{
			Type: executor.Event_KILL.Enum(), Kill: &executor.Event_Kill{TaskId: t.info.GetTaskId(), KillPolicy: ev.Policy},
		})
	}
}

// killQueued ends a task that its executor never saw.
func (a *Agent) killQueued(t *task) {
	e := t.exec
	a.update(t, &mesos.TaskStatus{
		State:   mesos.TaskState_TASK_KILLED.Enum(),
		Source:  mesos.TaskStatus_SOURCE_AGENT.Enum(),
		Reason:  mesos.TaskStatus_REASON_TASK_KILLED_DURING_LAUNCH.Enum(),
		Message: ptr("Killed before delivery to the executor"),
	})
	if e.generated && e.phase < terminating {
		e.phase = terminating
		a.do(Destroy{Container: e.container})
	}
}

// grace is the time between SIGTERM and SIGKILL: the caller's policy, the task's, 3 s.
func (a *Agent) grace(t *task, p *mesos.KillPolicy) time.Duration {
	for _, policy := range []*mesos.KillPolicy{p, t.info.GetKillPolicy()} {
		if policy.GetGracePeriod() != nil {
			return max(0, time.Duration(policy.GetGracePeriod().GetNanoseconds()))
		}
	}
	if t.exec.inDocker() {
		return a.dockerGrace()
	}
	return defaultGrace
}

// beginKill starts to kill a running task, or shortens a kill in progress: its grace
// period is counted from the first kill and never grows. That of a pod's task does not
// shrink either (mesos-agent.md 2.4, 3.3).
func (a *Agent) beginKill(t *task, grace time.Duration, why KillImage) {
	if t.kill != nil {
		if t.nested != nil {
			return
		}
		if deadline := t.kill.Since.Add(grace); deadline.Before(t.kill.Deadline) {
			t.kill.Deadline = deadline
			a.recordTask(t)
			a.do(Kill{Container: t.exec.container, Grace: grace})
		}
		return
	}
	why.Since, why.Deadline = a.now, a.now.Add(grace)
	t.kill = &why
	a.stopChecks(t)
	if t.exec.fw.can(mesos.FrameworkInfo_Capability_TASK_KILLING_STATE) && !why.Overdue {
		st := a.executorStatus(t, mesos.TaskState_TASK_KILLING)
		if why.Unhealthy {
			st.Healthy = ptr(false)
		}
		a.update(t, st)
	} else {
		a.recordTask(t)
	}
	if t.nested != nil {
		a.stopNested(t, grace)
		return
	}
	a.do(Kill{Container: t.exec.container, Grace: grace})
}

// begins takes the time from which max_completion_time counts: what came before the
// process, such as the pull of an image, does not count.
func (a *Agent) begins(t *task) {
	if t.info.GetMaxCompletionTime() != nil {
		t.began = a.now
	}
}

// armCompletion ends a task whose max_completion_time passed: no grace, no
// TASK_KILLING (mesos-agent.md 2.3).
func (a *Agent) armCompletion(t *task) {
	m := t.info.GetMaxCompletionTime()
	if m == nil {
		return
	}
	since := t.began
	if since.IsZero() {
		since = startOf(t, a.now)
	}
	a.at(since.Add(time.Duration(m.GetNanoseconds())), func() {
		if t.exec.phase == running && t.kill == nil && !terminal(t.state) {
			a.beginKill(t, 0, KillImage{Overdue: true})
		}
	})
}
