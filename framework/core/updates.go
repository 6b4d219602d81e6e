package core

import (
	"slices"

	"github.com/stoa-project/stoa/framework/app"
)

// maxNoted is how much of a status message goes to the log.
const maxNoted = 300

// maxMessage is how much of a status message is kept.
const maxMessage = 10_000

// updated takes a task status. It is acknowledged after what it changed is durable.
func (c *Core) updated(u Update) {
	if c.totals.Updates == nil {
		c.totals.Updates = map[string]uint64{}
	}
	c.totals.Updates[u.State]++
	if u.Reason == "REASON_CONTAINER_LIMITATION_MEMORY" {
		c.totals.OutOfMemory++
	}
	if len(u.Message) > maxMessage {
		u.Message = u.Message[:maxMessage]
	}
	c.apply(u)
	if len(u.UUID) > 0 {
		c.emit(Acknowledge{AgentID: u.AgentID, Task: u.Task, UUID: u.UUID})
	}
}

func (c *Core) apply(u Update) {
	cond, known := conditionOf(u.State, u.Reason)
	if !known {
		c.note("unknown task state", "task", u.Task, "state", u.State)
		return
	}
	id, name, n, err := u.Task.Split()
	i := c.instances[id]
	if err != nil || i == nil || i.view.Launch != n || i.view.Condition == app.Scheduled || i.spec.TaskIndex(name) < 0 {
		c.stray(u, id, cond)
		return
	}
	k := i.spec.TaskIndex(name)
	have := i.view.TaskCondition(k)
	switch {
	case have.Terminal(): // of a pod whose other tasks have not ended
	case cond.Terminal():
		c.ended(i, k, u, cond)
	case cond == app.Unreachable:
		c.lost(i, k, u)
	case !older(cond, have):
		c.progress(i, k, u, cond)
	}
}

// conditionOf translates a Mesos state (marathon.md 7.5).
func conditionOf(state, reason string) (app.Condition, bool) {
	switch state {
	case "TASK_STAGING":
		return app.Staging, true
	case "TASK_STARTING":
		return app.Starting, true
	case "TASK_RUNNING":
		return app.Running, true
	case "TASK_KILLING":
		return app.Killing, true
	case "TASK_FINISHED":
		return app.Finished, true
	case "TASK_FAILED":
		return app.Failed, true
	case "TASK_KILLED":
		return app.Killed, true
	case "TASK_ERROR":
		return app.Errored, true
	case "TASK_DROPPED":
		return app.Dropped, true
	case "TASK_GONE", "TASK_GONE_BY_OPERATOR":
		return app.Gone, true
	case "TASK_UNKNOWN":
		return app.Unknown, true
	case "TASK_UNREACHABLE":
		return app.Unreachable, true
	case "TASK_LOST":
		switch reason {
		case "REASON_RECONCILIATION", "REASON_SLAVE_DISCONNECTED", "REASON_SLAVE_REMOVED", "REASON_AGENT_DISCONNECTED", "REASON_AGENT_REMOVED":
			return app.Unreachable, true
		case "REASON_TASK_UNKNOWN":
			return app.Unknown, true
		}
		return app.Gone, true
	}
	return "", false
}

// older tells whether a status is from before what is known: replayed or reordered.
func older(cond, have app.Condition) bool {
	rank := func(c app.Condition) int {
		switch c {
		case app.Provisioned:
			return 0
		case app.Staging:
			return 1
		case app.Starting:
			return 2
		case app.Running:
			return 3
		case app.Killing:
			return 4
		}
		return -1 // unreachable: whatever comes is news
	}
	return rank(cond) < rank(have)
}

// stray handles a status of a task that no instance runs (any more).
func (c *Core) stray(u Update, id app.InstanceID, cond app.Condition) {
	if cond == app.Unreachable {
		return
	}
	if cond == app.Killing {
		return
	}
	if !cond.Terminal() {
		c.emit(Kill{Task: u.Task, AgentID: u.AgentID})
		c.note("killing unknown task", "task", u.Task, "state", u.State, "agent", u.AgentID)
		return
	}
	path, _ := id.App()
	c.publish(UnknownInstanceTerminated{At: c.at(), Instance: id, App: path, Condition: cond})
}

// progress takes a status of a living task.
func (c *Core) progress(i *instance, k int, u Update, cond app.Condition) {
	have := i.view.TaskCondition(k)
	back := have.Lost()
	ips := u.IPs
	if len(ips) == 0 {
		ips = i.view.IPs
	}
	if have != cond || !slices.Equal(ips, i.view.IPs) {
		c.setTask(i, k, cond, func(v *app.Instance, t *app.Task) {
			v.IPs, t.Message = ips, u.Message
			if v.AgentID == "" {
				v.AgentID = u.AgentID
			}
			if cond == app.Running {
				if t.StartedAt == 0 {
					t.StartedAt = app.At(c.now)
				}
				if v.StartedAt == 0 {
					v.StartedAt = app.At(c.now)
				}
				if v.ActiveAt == 0 || back {
					v.ActiveAt = app.At(c.now)
				}
			}
		})
		c.statusEvent(i, u)
		if cond != app.Killing {
			c.progressed(i.line, i.spec)
		}
		if cond == app.Running && (u.Healthy == nil || *u.Healthy) {
			c.giveTokens(1)
		}
	}
	if u.Healthy != nil {
		c.mesosHealth(i, k, *u.Healthy)
	}
	if i.view.Condition == app.Running {
		c.startProbes(i)
	} else {
		c.stopProbes(i)
	}
	if i.view.Goal != app.GoalRunning {
		c.kill(i)
	}
}

// ended takes the terminal status of a present task. The instance goes on from there once
// all its tasks have ended: the agent ends the others when one of them fails.
func (c *Core) ended(i *instance, k int, u Update, cond app.Condition) {
	c.stopProbes(i)
	c.setTask(i, k, cond, func(_ *app.Instance, t *app.Task) { t.Message = u.Message })
	c.statusEvent(i, u)
	c.kills.done(c, u.Task)
	switch cond {
	case app.Failed, app.Errored, app.Dropped, app.Gone, app.Unknown:
		c.keepFailure(i, k, u.State, u.Message)
	}
	if i.view.Lost() && i.view.Goal == app.GoalDecommissioned {
		c.forget(i)
		return
	}
	if !i.view.Ended() {
		if cond == app.Finished {
			c.sumHealth(i)
		}
		return
	}
	switch i.view.Condition {
	case app.Failed, app.Errored, app.Dropped, app.Gone, app.Finished:
		if !drained(u) {
			c.failed(i.line, i.spec)
		}
	}
	if drained(u) {
		c.resetDelay(i.line) // it is not the app's fault
	}
	switch {
	case i.view.Reservation != nil && u.State == "TASK_GONE_BY_OPERATOR":
		c.abandon(i) // the agent does not come back, and what was on it neither
	case i.view.Goal == app.GoalRunning && c.relaunches(i):
		c.reschedule(i)
	case i.view.Reservation != nil && i.view.Goal != app.GoalDecommissioned && c.keeps(i.line):
		c.retire(i)
	default:
		c.forget(i)
	}
}

// drained tells whether a task ended because its agent is being emptied.
func drained(u Update) bool {
	return u.Reason == "REASON_AGENT_DRAINING" && (u.State == "TASK_KILLED" || u.State == "TASK_GONE_BY_OPERATOR")
}

// keeps tells whether the app stays, and so the reservations of its instances.
func (c *Core) keeps(l *line) bool {
	a := c.actionOn(l.id)
	return l.spec != nil && (a == nil || a.target != nil)
}

// relaunches tells whether an instance whose task ended is started again as it is: not
// when its app is gone or is being replaced by a newer version.
func (c *Core) relaunches(i *instance) bool {
	if a := c.actionOn(i.line.id); a != nil {
		switch {
		case a.target == nil:
			return false
		case a.replaces(i):
			return false
		}
		return true
	}
	return i.line.spec != nil
}

// lost takes word that the task's agent cannot be reached.
func (c *Core) lost(i *instance, k int, u Update) {
	c.stopProbes(i)
	if !i.view.TaskCondition(k).Lost() {
		c.setTask(i, k, app.Unreachable, func(_ *app.Instance, t *app.Task) { t.Message = u.Message })
		c.statusEvent(i, u)
	}
	if i.view.Goal == app.GoalDecommissioned && i.view.Lost() {
		c.forget(i)
		return
	}
	c.ageLost(i)
}

// ageLost moves an unreachable instance on as its strategy says (marathon.md 7.6).
func (c *Core) ageLost(i *instance) {
	s := i.spec.Unreachable
	if s.Disabled || !i.view.Lost() {
		return
	}
	age := func(seconds int) bool {
		return int64(app.At(c.now))-int64(i.lostSince()) >= int64(seconds)*1000
	}
	if i.view.Condition != app.UnreachableInactive && age(s.InactiveAfterSeconds) {
		since := i.lostSince()
		c.set(i, func(v *app.Instance) { v.Condition = app.UnreachableInactive })
		i.lostAt = since
	}
	if age(s.ExpungeAfterSeconds) && i.view.Condition == app.UnreachableInactive {
		c.note("forgetting unreachable instance", "instance", i.view.ID, "agent", i.view.AgentID)
		c.forget(i)
	}
}

// lostSince is when the instance became unreachable.
func (i *instance) lostSince() app.Timestamp {
	if i.view.Condition == app.UnreachableInactive && i.lostAt != 0 {
		return i.lostAt
	}
	since := i.view.Since
	for k := range i.view.Tasks {
		if t := &i.view.Tasks[k]; t.Condition.Lost() {
			since = max(since, t.Since)
		}
	}
	return since
}

func (c *Core) statusEvent(i *instance, u Update) {
	v := i.view
	c.publish(StatusUpdate{At: c.at(), AgentID: v.AgentID, Task: u.Task, State: u.State, Message: u.Message,
		App: v.App, Host: v.Host, IPs: v.IPs, Ports: v.HostPorts, Version: v.AppVersion})
}

// keepFailure remembers the app's last failure.
func (c *Core) keepFailure(i *instance, k int, state, message string) {
	v := i.view
	f := &app.TaskFailure{AppID: v.App, Host: v.Host, Message: message, State: state, TaskID: v.TaskIDAt(k),
		Timestamp: app.At(c.now), Version: v.AppVersion, SlaveID: v.AgentID}
	if v.Tasks != nil {
		if f.StartedAt = v.Tasks[k].StartedAt; f.StartedAt == 0 {
			f.StartedAt = v.StagedAt
		}
	}
	c.failures[v.App] = f
	c.note("task failed", "task", f.TaskID, "state", state, "agent", v.Host, "message", message[:min(len(message), maxNoted)])
	c.out.change(Change{Key: failureKey(v.App), Value: f})
	c.dirty.any = true
}
