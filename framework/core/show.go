package core

import (
	"maps"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/deploy"
)

// snapshot builds the readers' view. What did not change since the last one is shared with it.
func (c *Core) snapshot() *Snapshot {
	s := &Snapshot{
		Root: c.root, FrameworkID: c.frameworkID, Master: c.master, Totals: c.totals,
		Failures: maps.Clone(c.failures),
	}
	s.Totals.Updates = maps.Clone(c.totals.Updates)
	s.Totals.KillsInFlight = c.kills.flying
	for _, r := range c.roots {
		s.Roots = append(s.Roots, r.group)
	}
	for _, d := range c.running {
		s.Deployments = append(s.Deployments, &deploy.Deployment{Plan: d.plan, Step: d.step})
	}
	s.Instances, s.Versions = map[app.PathID][]*app.Instance{}, map[app.PathID][]*app.App{}
	s.Health, s.Ready = map[app.InstanceID]bool{}, map[app.InstanceID]*Readiness{}
	if c.shown != nil {
		s.Instances = maps.Clone(c.shown.Instances)
		s.Versions = maps.Clone(c.shown.Versions)
		s.Health, s.Ready = maps.Clone(c.shown.Health), maps.Clone(c.shown.Ready)
	}
	for id := range c.dirty.apps {
		for _, v := range s.Instances[id] {
			delete(s.Health, v.ID)
			delete(s.Ready, v.ID)
		}
		c.showApp(s, id)
	}
	for _, id := range sortedKeys(c.queue) {
		l := c.queue[id]
		if l.scheduled == 0 && len(l.delays) == 0 {
			delete(c.queue, id)
			continue
		}
		if q := c.queued(l); q != nil {
			s.Queue = append(s.Queue, q)
		}
	}
	c.dirty.any, c.dirty.apps = false, nil
	return s
}

func (c *Core) showApp(s *Snapshot, id app.PathID) {
	delete(s.Instances, id)
	delete(s.Versions, id)
	l := c.lines[id]
	if l == nil {
		return
	}
	if l.spec != nil {
		vs := c.versions[id]
		s.Versions[id] = vs[:len(vs):len(vs)]
	}
	if len(l.instances) == 0 {
		return
	}
	list := make([]*app.Instance, len(l.instances))
	for k, i := range l.instances {
		list[k] = i.view
		if i.healthy != nil {
			s.Health[i.view.ID] = *i.healthy
		}
		if i.ready != nil {
			s.Ready[i.view.ID] = i.ready
		}
	}
	s.Instances[id] = list
}

// queued is the app's line in the launch queue, nil when it neither waits nor is delayed.
func (c *Core) queued(l *line) *Queued {
	if l.scheduled == 0 && len(l.delays) == 0 {
		return nil
	}
	q := &Queued{Count: l.scheduled, Spec: l.spec, Since: l.stats.since, Unused: l.stats.unused,
		LastUnused: l.stats.lastUnused, LastUsed: l.stats.lastUsed,
		Attempt: l.stats.attempt, Last: l.stats.last(), LastOffers: l.stats.newest()}
	for _, i := range l.instances {
		if i.waits() {
			if q.Spec == nil || i.spec.Version > q.Spec.Version {
				q.Spec = i.spec
			}
		} else if i.view.Condition == app.Provisioned {
			q.InProgress++
		}
	}
	if q.Spec == nil {
		return nil
	}
	q.Role = q.Spec.Role
	if until, late := c.delayed(l, q.Spec); late {
		q.DelayedUntil = app.At(until)
	} else if l.scheduled == 0 {
		return nil
	}
	return q
}
