package core

import (
	"slices"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/deploy"
)

// deployment is a plan under way: its steps run one after another, the actions of a
// step together.
type deployment struct {
	plan    *deploy.Plan
	step    int       // index of the running step
	actions []*action // of the running step
	byApp   map[app.PathID]*action
}

// plan computes the difference between the present root and the one to come.
func (c *Core) plan(root *app.Group, version app.Timestamp, restart []app.PathID) (*deploy.Plan, error) {
	return deploy.NewPlan(c.cfg.UUID(), c.root, root, version, restart...)
}

// revert gives the present tree without a plan's changes, ready to become the root.
func (c *Core) revert(p *deploy.Plan, root *app.Group, version app.Timestamp) (*app.Group, error) {
	return app.Settle(root, p.Revert(root, version), version, c.cfg.Ports)
}

// start records a plan and begins its first step. A plan without steps ends at once.
func (c *Core) start(p *deploy.Plan) {
	c.totals.Deployments++
	if len(p.Steps) == 0 {
		c.publish(DeploymentEnded{At: c.at(), Plan: p})
		return
	}
	c.out.change(Change{Key: planKey(p.ID), Value: planRecord(p)})
	c.resume(p)
}

// resume runs a recorded plan from its first step; actions find out what is done already.
func (c *Core) resume(p *deploy.Plan) {
	d := &deployment{plan: p, step: -1}
	c.running = append(c.running, d)
	for _, ch := range p.Changes {
		c.locks[ch.ID] = d
	}
	c.nextStep(d)
}

// nextStep begins the step after the present one, or ends the deployment.
func (c *Core) nextStep(d *deployment) {
	c.dirty.any = true
	d.step++
	if d.step == len(d.plan.Steps) {
		c.end(d, "")
		return
	}
	step := d.plan.Steps[d.step]
	d.actions, d.byApp = make([]*action, 0, len(step.Actions)), make(map[app.PathID]*action, len(step.Actions))
	for _, a := range step.Actions {
		ch := d.plan.Change(a.ID)
		act := &action{verb: a.Verb, id: a.ID, target: ch.New}
		d.actions, d.byApp[a.ID] = append(d.actions, act), act
		c.dirty.mark(a.ID)
	}
	c.publish(DeploymentInfo{At: c.at(), Plan: d.plan, Step: step})
}

// end removes a deployment; reason is empty when it succeeded.
func (c *Core) end(d *deployment, reason string) {
	c.dirty.any = true
	c.running = slices.DeleteFunc(c.running, func(x *deployment) bool { return x == d })
	for _, ch := range d.plan.Changes {
		delete(c.locks, ch.ID)
		c.dirty.mark(ch.ID)
	}
	for _, ch := range d.plan.Changes {
		c.pruneApp(ch.ID, nil) // the plan needs their versions no more
	}
	c.out.change(Change{Key: planKey(d.plan.ID)})
	c.publish(DeploymentEnded{At: c.at(), Plan: d.plan, Reason: reason})
}

// cancel ends a deployment where it stands; its instances stay as they are.
func (c *Core) cancel(d *deployment, reason string) {
	c.totals.Dismissed++
	c.publish(DeploymentStep{At: c.at(), Plan: d.plan, Step: d.plan.Steps[d.step], Failed: true})
	c.end(d, reason)
}

// actionOn gives the action that works on an app now, nil when there is none.
func (c *Core) actionOn(id app.PathID) *action {
	if d := c.locks[id]; d != nil {
		return d.byApp[id]
	}
	return nil
}

// converge moves deployments on, and keeps the counts of apps that none works on,
// wherever something changed since the last time.
func (c *Core) converge() {
	for len(c.dirty.moved) > 0 {
		ids := sortedKeys(c.dirty.moved)
		c.dirty.moved = nil
		for _, id := range ids {
			d := c.locks[id]
			if d == nil {
				c.topUp(id)
				continue
			}
			if a := c.actionOn(id); a != nil && !a.done {
				c.act(a, d.plan)
			}
		}
		for _, d := range slices.Clone(c.running) {
			if slices.ContainsFunc(d.actions, func(a *action) bool { return !a.done }) {
				continue
			}
			c.publish(DeploymentStep{At: c.at(), Plan: d.plan, Step: d.plan.Steps[d.step]})
			c.nextStep(d)
		}
	}
}

// topUp starts missing instances of an app that no deployment works on, and gives up
// instances of an app that is gone.
func (c *Core) topUp(id app.PathID) {
	l := c.lines[id]
	if l == nil {
		return
	}
	if l.spec == nil {
		for _, i := range slices.Clone(l.instances) {
			if i.view.Goal != app.GoalDecommissioned {
				c.decommission(i)
			}
		}
		return
	}
	for n := c.count(l).active; n < l.spec.Instances; n++ {
		c.grow(l.spec)
	}
}

// scaleCheck brings every app without a deployment to its number of instances.
func (c *Core) scaleCheck() {
	for _, id := range sortedKeys(c.lines) {
		if c.locks[id] != nil {
			continue
		}
		c.topUp(id)
		if l := c.lines[id]; l != nil && l.spec != nil {
			c.shrink(l, l.spec, l.spec.Instances, nil)
		}
	}
}

// dirtyMarks notes what changed since the last snapshot and since converge looked.
type dirtyMarks struct {
	any   bool                    // the snapshot is stale
	apps  map[app.PathID]struct{} // apps whose instances changed since the snapshot
	moved map[app.PathID]struct{} // apps that converge has to look at
}

func (d *dirtyMarks) mark(id app.PathID) {
	d.any = true
	if d.apps == nil {
		d.apps = map[app.PathID]struct{}{}
	}
	d.apps[id] = struct{}{}
	if d.moved == nil {
		d.moved = map[app.PathID]struct{}{}
	}
	d.moved[id] = struct{}{}
}
