package lifecycle

import (
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Drain asks for the end of every task, and for no new ones (mesos-agent.md 11).
type Drain struct{ Config *mesos.DrainConfig }

func (Drain) event() {}

// DrainImage is a draining in progress.
type DrainImage struct {
	Config *mesos.DrainConfig
	Since  time.Time
}

// drainKey is the record of the only DrainImage.
const drainKey = "d"

// drain begins, or goes on by another configuration. An agent that holds nothing is
// drained already.
func (a *Agent) drain(ev Drain) {
	if len(a.frameworks) == 0 && len(a.operations) == 0 {
		a.do(Note{Message: "nothing to drain"})
		return
	}
	a.draining = &DrainImage{Config: ev.Config, Since: a.now}
	a.record(Record{Key: drainKey, Drain: a.draining})
	a.do(Note{Message: "agent drains", Detail: DurationText(time.Duration(ev.Config.GetMaxGracePeriod().GetNanoseconds()))})
	a.killForDrain()
}

// killForDrain ends all tasks, each with its own grace period but not more than the
// operator allows.
func (a *Agent) killForDrain() {
	for _, f := range a.sortedFrameworks() {
		for _, e := range append([]*execution(nil), f.order...) {
			for _, t := range append([]*task(nil), e.tasks...) {
				if !terminal(t.state) {
					a.killTask(KillTask{Framework: f.id, Task: t.id(), Policy: a.drainPolicy(t)})
				}
			}
		}
	}
}

// killAgain repeats the orders to an executor that was away: they may have been lost.
func (a *Agent) killAgain(e *execution) {
	if a.draining == nil {
		return
	}
	for _, t := range append([]*task(nil), e.tasks...) {
		if !terminal(t.state) {
			a.killTask(KillTask{Framework: e.fw.id, Task: t.id(), Policy: a.drainPolicy(t)})
		}
	}
}

// drainPolicy overrides the kill policy of a task that takes longer than the operator
// allows; nil leaves it. How long a custom executor would take for a task without policy
// is its own business, so it is told.
func (a *Agent) drainPolicy(t *task) *mesos.KillPolicy {
	limit := a.draining.Config.GetMaxGracePeriod()
	if limit == nil {
		return nil
	}
	unsaid := t.info.GetKillPolicy().GetGracePeriod() == nil && !t.exec.generated && !t.exec.native()
	if unsaid || time.Duration(limit.GetNanoseconds()) < a.grace(t, nil) {
		return &mesos.KillPolicy{GracePeriod: limit}
	}
	return nil
}

// drained gives an update the reason that its task went away, while draining. A task that
// is still being killed is not gone, whatever becomes of the agent: only its end is told
// as an operator's doing.
func (a *Agent) drained(f *framework, st *mesos.TaskStatus) {
	if a.draining == nil {
		return
	}
	switch st.GetState() {
	case mesos.TaskState_TASK_KILLING:
		st.Reason = mesos.TaskStatus_REASON_AGENT_DRAINING.Enum()
	case mesos.TaskState_TASK_KILLED:
		st.Reason = mesos.TaskStatus_REASON_AGENT_DRAINING.Enum()
		if a.draining.Config.GetMarkGone() && f.can(mesos.FrameworkInfo_Capability_PARTITION_AWARE) {
			st.State = mesos.TaskState_TASK_GONE_BY_OPERATOR.Enum()
		}
	}
}

// settleDrain ends the draining when nothing is left: whether new tasks may come again is
// the master's to decide.
func (a *Agent) settleDrain() {
	if a.draining == nil || len(a.frameworks) > 0 || len(a.operations) > 0 {
		return
	}
	a.draining = nil
	a.record(Record{Key: drainKey})
	a.do(Note{Message: "agent is drained"})
}
