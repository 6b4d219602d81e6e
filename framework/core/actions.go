package core

import (
	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/deploy"
)

// action is the work of one step on one app or pod. Everything it knows can be found again
// from the instances, so a new leader starts it afresh.
type action struct {
	verb   deploy.Verb
	id     app.PathID   // of the app or pod
	target *app.RunSpec // nil: stop
	begun  bool
	done   bool

	// Restart.
	limits  deploy.Limits
	budget  int                     // kills of old instances allowed so far
	killed  int                     // of those, used
	counted map[app.InstanceID]bool // new instances that added to budget
}

// replaces tells whether the action puts a newer instance in place of this one.
func (a *action) replaces(i *instance) bool {
	return a.verb == deploy.Restart && i.view.AppVersion < a.target.Version
}

// act moves an action on as far as it can go now.
func (c *Core) act(a *action, p *deploy.Plan) {
	switch a.verb {
	case deploy.Stop:
		c.stop(a)
	case deploy.Scale:
		c.scale(a, p.Sentenced[a.id])
	case deploy.Restart:
		c.restart(a)
	default: // Start: the app is in the tree, nothing is launched
		a.done = true
	}
}

// stop gives up all instances of a removed app.
func (c *Core) stop(a *action) {
	if l := c.lines[a.id]; l != nil {
		for _, i := range l.changed(a) {
			if !i.forgotten {
				c.decommission(i)
			}
		}
		c.count(l)
		if len(l.instances) > 0 {
			return
		}
	}
	c.dropLine(a.id)
	if c.failures[a.id] != nil {
		delete(c.failures, a.id)
		c.out.change(Change{Key: failureKey(a.id)})
	}
	c.publish(AppTerminated{At: c.at(), App: a.id})
	a.done = true
}

// scale brings an app to its number of instances (marathon.md 5.3). All instances that it
// meets on their way must become healthy and ready.
func (c *Core) scale(a *action, sentenced []app.InstanceID) {
	l := c.line(a.id)
	n := a.target.Instances
	c.await(a, l)
	c.shrink(l, a.target, n, sentenced)
	for k := c.count(l).active; k < n; k++ {
		c.grow(a.target)
	}
	c.await(a, l)
	t := c.count(l)
	a.done = t.leaving == 0 && t.waiting == 0 && t.active == n
}

// await notes instances on their way, and checks those that run now.
func (c *Core) await(a *action, l *line) {
	for _, i := range l.changed(a) {
		switch {
		case i.forgotten || !i.active():
		case i.coming():
			i.awaited = a
			l.recount(i)
		case i.awaited == a && i.view.Condition == app.Running:
			c.startProbes(i)
		}
	}
}

// restart replaces old instances within the limits of the upgrade strategy
// (marathon.md 5.4).
func (c *Core) restart(a *action) {
	l := c.line(a.id)
	n := a.target.Instances
	changed := l.changed(a)
	// Old instances without a task need no place in the limits.
	for _, i := range changed {
		switch {
		case i.forgotten || !a.replaces(i):
		case i.held():
			c.wake(i, a.target)
		case i.waits() || i.view.Condition == app.UnreachableInactive:
			c.decommission(i)
		}
	}
	t := c.count(l)
	if !a.begun {
		c.resetDelay(l)
		a.limits, a.budget = deploy.RestartState{
			Instances: n, Upgrade: a.target.Upgrade, Resident: a.target.Resident,
			Current: t.old + t.fresh, Healthy: t.healthy,
		}.Begin()
		a.counted = map[app.InstanceID]bool{}
		a.begun = true
	}
	if a.limits.MinHealthy == a.limits.MaxCapacity && a.limits.MaxCapacity <= t.healthy && !a.target.Resident {
		// Begin saw to this only for the instances healthy then: without one more nothing
		// could ever be killed.
		a.limits.MaxCapacity++
	}
	for _, i := range changed {
		if i.forgotten || !i.share.fresh {
			continue
		}
		if i.view.Condition == app.Running {
			c.startProbes(i)
		}
		if i.share.good && !a.counted[i.view.ID] {
			a.counted[i.view.ID] = true
			a.budget++
		}
	}
	old := t.old
	c.replaceOld(a, l)
	c.shrink(l, a.target, n+old, nil)

	t = c.count(l)
	a.done = t.holding == 0 && t.good == n && t.fresh == n
	for k := a.limits.Launch(n, t.holding, t.fresh); k > 0; k-- {
		c.grow(a.target)
	}
}

// serves tells whether an instance counts towards the least number of healthy ones: a
// task that is being killed does not.
func (c *Core) serves(i *instance) bool {
	return i.isHealthy() && !c.dying(i)
}

// replaceOld kills old instances: as many as the budget allows or as are healthy beyond
// the least number, sick ones first, and never a healthy one (or one whose health is
// not known yet) that is needed for the least number.
func (c *Core) replaceOld(a *action, l *line) {
	t := c.count(l)
	floor := a.limits.MinHealthy
	if a.target.Resident && a.limits.MinHealthy == a.limits.MaxCapacity {
		floor--
	}
	allowed := max(a.budget-a.killed, t.healthy-floor)
	if allowed <= 0 && a.stuck(t) {
		allowed = 1
	}
	healthy := t.healthy
	if allowed <= 0 || t.old == 0 || t.serving == t.old && healthy-1 < floor {
		return
	}
	var old []*instance
	for _, i := range l.instances {
		if i.share.old {
			old = append(old, i)
		}
	}
	for _, i := range victims(old, a.target, nil) {
		if allowed <= 0 {
			return
		}
		switch {
		case c.serves(i):
			if healthy-1 < floor {
				return
			}
			healthy--
		case i.view.Condition == app.Running && i.view.Healthy == nil && healthy < floor:
			return
		}
		allowed--
		a.killed++
		c.retire(i)
	}
}

// stuck tells whether sick old instances take the room that new ones need: nothing may
// be launched and nothing is on its way.
func (a *action) stuck(t *tally) bool {
	return a.limits.Launch(a.target.Instances, t.holding, t.fresh) == 0 && t.holding == t.old && t.good == t.fresh && t.sick > 0
}
