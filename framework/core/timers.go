package core

import (
	"time"

	"github.com/stoa-project/stoa/framework/app"
)

// timers hold when periodic work is due; zero: at the next tick.
type timers struct {
	overdue   time.Time
	delays    time.Time
	scale     time.Time
	reconcile time.Time // zero: only after a subscription
	lost      time.Time
	tokens    time.Time
}

// Periods that are not configurable.
const (
	overdueEvery = 5 * time.Second
	delaysEvery  = 10 * time.Second
)

// due tells whether a timer has run out and winds it up again.
func (c *Core) due(at *time.Time, every time.Duration) bool {
	if c.now.Before(*at) {
		return false
	}
	*at = c.now.Add(every)
	return true
}

func (c *Core) tick() {
	c.kills.retry(c)
	c.releaseDelayed()
	if c.due(&c.timers.overdue, overdueEvery) {
		c.ageInstances()
	}
	if c.due(&c.timers.tokens, c.cfg.TokenRefresh) {
		c.giveTokens(c.cfg.LaunchTokens)
	}
	if c.due(&c.timers.delays, delaysEvery) {
		c.expireDelays()
	}
	if c.due(&c.timers.scale, c.cfg.ScaleEvery) {
		c.scaleCheck()
		c.expireLeftovers()
	}
	if c.master != "" && !c.timers.reconcile.IsZero() && c.due(&c.timers.reconcile, c.cfg.ReconcileEvery) {
		c.reconcileKnown()
		c.emit(Reconcile{})
	}
	c.rest()
}

// releaseDelayed puts lines whose back-off ended back into the demand.
func (c *Core) releaseDelayed() {
	for _, l := range c.queue {
		if l.held && c.lineWants(l) {
			l.held = c.waitsDelayed(l)
			c.wanted(l)
		}
	}
}

// ageInstances ends launches that take too long and moves unreachable instances on.
func (c *Core) ageInstances() {
	c.totals.Overdue = 0
	lost := c.cfg.LostEvery == 0 || c.due(&c.timers.lost, c.cfg.LostEvery)
	for _, id := range sortedKeys(c.aging) {
		i := c.aging[id]
		if i == nil {
			continue
		}
		v := i.view
		since := c.now.Sub(v.StagedAt.Time())
		switch v.Condition {
		case app.Unreachable, app.UnreachableInactive:
			if lost {
				c.ageLost(i)
			}
		case app.Provisioned:
			if since > c.cfg.ConfirmTimeout {
				c.overdue(i)
			}
		case app.Scheduled:
			c.unconfirmed(i)
		case app.Staging, app.Starting:
			if since > c.cfg.LaunchTimeout {
				c.overdue(i)
			}
		}
	}
}

func (c *Core) overdue(i *instance) {
	c.totals.Overdue++
	if !c.dying(i) {
		c.note("launch is overdue, killing the task", "task", i.view.TaskID(), "condition", i.view.Condition)
		c.kill(i)
	}
}

// reconcileKnown asks for the state of every task that may be alive.
func (c *Core) reconcileKnown() {
	var refs []TaskRef
	for _, id := range sortedKeys(c.instances) {
		i := c.instances[id]
		if i.idle() {
			continue
		}
		for k := range i.view.TaskCount() {
			if i.view.Tasks == nil || !i.view.Tasks[k].Condition.Terminal() {
				refs = append(refs, TaskRef{Task: i.view.TaskIDAt(k), AgentID: i.view.AgentID})
			}
		}
	}
	if len(refs) > 0 {
		c.emit(Reconcile{Tasks: refs})
	}
}
