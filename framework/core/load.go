package core

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/internal/fault"
)

// New builds the state of a fresh leader from what the store holds. The effects make
// the loaded state visible and resume its deployments; tasks are reconciled once
// Subscribed comes. Records that contradict each other give a fault.Invalid error: a
// leader must not guess.
func New(cfg Config, now time.Time, st Stored) (*Core, []Effect, error) {
	c := &Core{
		cfg: cfg.withDefaults(), now: now, root: app.EmptyRoot(),
		versions: map[app.PathID][]*app.RunSpec{}, lines: map[app.PathID]*line{},
		queue: map[app.PathID]*line{}, aging: map[app.InstanceID]*instance{},
		instances: map[app.InstanceID]*instance{}, leftovers: map[app.InstanceID]*app.Leftover{}, locks: map[app.PathID]*deployment{},
		failures: map[app.PathID]*app.TaskFailure{}, frameworkID: st.FrameworkID,
	}
	c.inRole(c.cfg.Role)
	if err := c.loadTree(st); err != nil {
		return nil, nil, err
	}
	for _, f := range st.Failures {
		c.failures[f.AppID] = f
	}
	for _, lo := range st.Leftovers {
		c.leftovers[lo.Instance] = lo
		c.inRole(lo.Role)
	}
	for _, v := range st.Instances {
		if err := c.loadInstance(v); err != nil {
			return nil, nil, err
		}
	}
	if len(st.Instances) > 0 && st.FrameworkID == "" {
		return nil, nil, fault.New("load", fault.Invalid, FrameworkKey, fmt.Errorf(
			"the store holds %d instances but no framework id: restore the record, or remove the instances' records if their tasks are gone", len(st.Instances)))
	}
	for _, p := range st.Plans {
		plan, err := c.restorePlan(p)
		if err != nil {
			return nil, nil, err
		}
		c.version = max(c.version, plan.Version)
		c.resume(plan)
	}
	for id := range c.lines {
		c.dirty.mark(id)
	}
	c.dirty.any = true
	c.timers.scale = now.Add(c.cfg.ScaleInitial)
	c.timers.lost = now.Add(c.cfg.LostInitial)
	c.tokens, c.timers.tokens = c.cfg.LaunchTokens, now.Add(c.cfg.TokenRefresh)
	for _, id := range sortedKeys(c.instances) {
		if i := c.instances[id]; i.view.Condition == app.Running {
			c.startProbes(i)
		}
	}
	return c, c.settle(), nil
}

func (c *Core) loadTree(st Stored) error {
	for id, vs := range st.Apps {
		for _, a := range vs {
			c.versions[id] = append(c.versions[id], a.RunSpec())
			c.version = max(c.version, a.Version)
		}
	}
	for id, vs := range st.Pods {
		for _, p := range vs {
			c.versions[id] = append(c.versions[id], p.RunSpec())
			c.version = max(c.version, p.Version)
		}
		// An id may have been an app's before.
		slices.SortFunc(c.versions[id], func(a, b *app.RunSpec) int { return cmp.Compare(a.Version, b.Version) })
	}
	for _, r := range st.Roots {
		g, err := c.restoreGroup(r.Root)
		if err != nil {
			return err
		}
		c.roots = append(c.roots, rootVersion{group: g, changed: r.Changed})
		c.root = g
		c.version = max(c.version, g.Version)
	}
	for a := range c.root.AllApps() {
		c.line(a.ID).spec = c.specVersion(a.ID, a.Version)
		c.inRole(a.Role)
	}
	for p := range c.root.AllPods() {
		c.line(p.ID).spec = c.specVersion(p.ID, p.Version)
		c.inRole(p.Role)
	}
	return nil
}

// restorePlan puts the definitions back into a plan.
func (c *Core) restorePlan(r *PlanRecord) (*deploy.Plan, error) {
	p := &deploy.Plan{ID: r.ID, Version: r.Version, Steps: r.Steps, Groups: r.Groups, Sentenced: r.Sentenced, Changes: make([]deploy.Change, len(r.Changes))}
	for i, ch := range r.Changes {
		p.Changes[i].ID = ch.ID
		for _, each := range []struct {
			version app.Timestamp
			into    **app.RunSpec
		}{{ch.Old, &p.Changes[i].Old}, {ch.New, &p.Changes[i].New}} {
			if each.version == 0 {
				continue
			}
			if *each.into = c.specVersion(ch.ID, each.version); *each.into == nil {
				return nil, fault.New("load", fault.Invalid, planKey(r.ID), fmt.Errorf(
					"the deployment names version %s of %s but that record is missing", each.version, ch.ID))
			}
		}
	}
	return p, nil
}

func (c *Core) restoreGroup(r *GroupRecord) (*app.Group, error) {
	g := &app.Group{ID: r.ID, Dependencies: r.Dependencies, EnforceRole: r.EnforceRole, Version: r.Version}
	for _, id := range sortedKeys(r.Apps) {
		a := c.AppVersion(id, r.Apps[id])
		if a == nil {
			return nil, fault.New("load", fault.Invalid, appKey(id, r.Apps[id]), fmt.Errorf(
				"the root names this version of %s but its record is missing", id))
		}
		g.Apps = append(g.Apps, a)
	}
	for _, id := range sortedKeys(r.Pods) {
		s := c.specVersion(id, r.Pods[id])
		if s == nil || s.Pod == nil {
			return nil, fault.New("load", fault.Invalid, podKey(id, r.Pods[id]), fmt.Errorf(
				"the root names this version of %s but its record is missing", id))
		}
		g.Pods = append(g.Pods, s.Pod)
	}
	for _, sub := range r.Groups {
		s, err := c.restoreGroup(sub)
		if err != nil {
			return nil, err
		}
		g.Groups = append(g.Groups, s)
	}
	return g, nil
}

// loadInstance takes a recorded instance. Results of health checks are not kept over a
// change of leader.
func (c *Core) loadInstance(v *app.Instance) error {
	spec := c.specVersion(v.App, v.AppVersion)
	if spec == nil {
		return fault.New("load", fault.Invalid, instanceKey(v.ID), fmt.Errorf(
			"it runs version %s of %s but that record is missing", v.AppVersion, v.App))
	}
	cp := *v
	cp.Health = nil
	l := c.line(v.App)
	i := &instance{view: &cp, spec: spec, line: l, recorded: true, reservedAt: c.now}
	if i.waits() {
		c.enqueue(i)
	}
	if i.provisioned() {
		l.provisioned++
	}
	if cp.OfPod() {
		cp.Healthy = i.sum()
	}
	c.watchAge(i)
	c.inRole(spec.Role) // what the instance holds is in it, also when the app left it
	c.instances[v.ID] = i
	l.enter(i)
	c.touch(i)
	switch {
	case cp.Goal == app.GoalDecommissioned:
		c.decommission(i)
	case cp.Goal == app.GoalStopped:
		c.retire(i)
	case i.waits():
		c.inRole(cp.Role)
		c.wanted(l)
	}
	return nil
}
