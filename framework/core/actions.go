package core

import (
	"slices"

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
		for _, i := range slices.Clone(l.instances) {
			c.decommission(i)
		}
	}
	if l := c.lines[a.id]; l != nil && len(l.instances) > 0 {
		return
	}
	c.dropLine(a.id)
	if c.failures[a.id] != nil {
		delete(c.failures, a.id)
		c.out.change(Change{Key: failureKey(a.id)})
	}
	c.publish(AppTerminated{At: c.at(), App: a.id})
	a.done = true
}

// scale brings an app to its number of instances (marathon.md 5.3).
func (c *Core) scale(a *action, sentenced []app.InstanceID) {
	l := c.line(a.id)
	n := a.target.Instances
	c.shrink(l, a.target, n, sentenced)
	for k := l.active(); k < n; k++ {
		c.grow(a.target)
	}
	// All instances that the action met on their way must become healthy and ready.
	leaving, waiting := false, false
	for _, i := range l.instances {
		if i.view.Goal != app.GoalRunning {
			leaving = leaving || !i.suspended()
			continue
		}
		if i.coming() {
			i.awaited = a
		}
		if i.awaited != a || !i.active() {
			continue
		}
		if i.view.Condition == app.Running {
			c.startProbes(i)
		}
		waiting = waiting || !i.isHealthy() || !i.isReady()
	}
	a.done = !leaving && !waiting && l.active() == n
}

// restart replaces old instances within the limits of the upgrade strategy
// (marathon.md 5.4).
func (c *Core) restart(a *action) {
	l := c.line(a.id)
	n := a.target.Instances
	// Old instances without a task need no place in the limits.
	for _, i := range slices.Clone(l.instances) {
		switch {
		case !a.replaces(i):
		case i.held():
			c.wake(i, a.target)
		case i.waits() || i.view.Condition == app.UnreachableInactive:
			c.decommission(i)
		}
	}
	r := c.census(a, l)
	if !a.begun {
		c.resetDelay(l)
		a.limits, a.budget = deploy.RestartState{
			Instances: n, Upgrade: a.target.Upgrade, Resident: a.target.Resident,
			Current: len(r.old) + len(r.fresh), Healthy: r.healthy,
		}.Begin()
		a.counted = map[app.InstanceID]bool{}
		a.begun = true
	}
	if a.limits.MinHealthy == a.limits.MaxCapacity && a.limits.MaxCapacity <= r.healthy && !a.target.Resident {
		// Begin saw to this only for the instances healthy then: without one more nothing
		// could ever be killed.
		a.limits.MaxCapacity++
	}
	for _, i := range r.fresh {
		if i.view.Condition == app.Running {
			c.startProbes(i)
		}
		if i.isHealthy() && i.isReady() && !a.counted[i.view.ID] {
			a.counted[i.view.ID] = true
			a.budget++
		}
	}
	c.replaceOld(a, r)
	c.shrink(l, a.target, n+len(r.old), nil)

	r = c.census(a, l)
	for k := a.limits.Launch(n, r.oldHolding, len(r.fresh)); k > 0; k-- {
		c.grow(a.target)
	}
	good := 0
	for _, i := range r.fresh {
		if i.isHealthy() && i.isReady() {
			good++
		}
	}
	a.done = r.oldHolding == 0 && good == n && len(r.fresh) == n
}

// census sorts the instances of an app that is being restarted.
type census struct {
	old        []*instance // wanted, of an older version
	fresh      []*instance // wanted, of the target's version
	oldHolding int         // of an older version or no longer wanted, and still there
	healthy    int         // wanted and healthy, old and fresh
}

func (c *Core) census(a *action, l *line) census {
	var r census
	for _, i := range l.instances {
		if i.suspended() {
			continue
		}
		old := a.replaces(i)
		if old || !i.active() {
			r.oldHolding++
		}
		if !i.active() {
			continue
		}
		if old {
			r.old = append(r.old, i)
		} else {
			r.fresh = append(r.fresh, i)
		}
		if c.serves(i) && (old || i.isReady()) {
			r.healthy++ // a new one that is not ready yet takes no old one's place
		}
	}
	return r
}

// serves tells whether an instance counts towards the least number of healthy ones: a
// task that is being killed does not.
func (c *Core) serves(i *instance) bool {
	return i.isHealthy() && !c.dying(i)
}

// replaceOld kills old instances: as many as the budget allows or as are healthy beyond
// the least number, sick ones first, and never a healthy one (or one whose health is
// not known yet) that is needed for the least number.
func (c *Core) replaceOld(a *action, r census) {
	floor := a.limits.MinHealthy
	if a.target.Resident && a.limits.MinHealthy == a.limits.MaxCapacity {
		floor--
	}
	allowed := max(a.budget-a.killed, r.healthy-floor)
	if allowed <= 0 && c.stuck(a, r) {
		allowed = 1
	}
	healthy := r.healthy
	for _, i := range victims(r.old, a.target, nil) {
		if allowed <= 0 {
			return
		}
		switch {
		case c.serves(i):
			if healthy-1 < floor {
				return
			}
			healthy--
		case i.view.Condition == app.Running && i.healthy == nil && healthy < floor:
			return
		}
		allowed--
		a.killed++
		c.retire(i)
	}
}

// stuck tells whether sick old instances take the room that new ones need: nothing may
// be launched and nothing is on its way.
func (c *Core) stuck(a *action, r census) bool {
	if a.limits.Launch(a.target.Instances, r.oldHolding, len(r.fresh)) > 0 || r.oldHolding > len(r.old) {
		return false
	}
	if slices.ContainsFunc(r.fresh, func(i *instance) bool { return !i.isHealthy() || !i.isReady() }) {
		return false
	}
	return slices.ContainsFunc(r.old, func(i *instance) bool {
		return i.view.Condition != app.Running || i.healthy != nil && !*i.healthy
	})
}
