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
	}
	s.Totals.Updates = maps.Clone(c.totals.Updates)
	s.Totals.KillsInFlight, s.Totals.KillAttempts = c.kills.flying, c.kills.again
	for _, r := range c.roots {
		s.Roots = append(s.Roots, r.group)
	}
	for _, d := range c.running {
		s.Deployments = append(s.Deployments, &deploy.Deployment{Plan: d.plan, Step: d.step})
	}
	if c.shown != nil {
		s.apps = c.shown.apps
	}
	edit := s.apps.edit()
	for id := range c.dirty.apps {
		edit.put(id, c.showApp(id))
	}
	s.apps = edit.next
	for _, id := range sortedKeys(c.queue) {
		l := c.queue[id]
		if l.scheduled == 0 && len(l.delays) == 0 {
			delete(c.queue, id)
			continue
		}
		s.Queue = append(s.Queue, c.queued(l)...)
	}
	c.dirty.any, c.dirty.apps = false, nil
	return s
}

// showApp gives what readers see of an app, nil when it is gone.
func (c *Core) showApp(id app.PathID) *AppState {
	l := c.lines[id]
	if l == nil {
		return nil
	}
	out := &AppState{Failure: c.failures[id]}
	if l.spec != nil {
		vs := c.versions[id]
		out.Versions = vs[:len(vs):len(vs)]
	}
	out.instances = l.show()
	return out
}

// queued are the app's lines in the launch queue, one for each role in which instances
// wait (marathon.md 1.10); none when it neither waits nor is delayed.
func (c *Core) queued(l *line) []*Queued {
	if l.scheduled == 0 && len(l.delays) == 0 {
		return nil
	}
	q := Queued{Spec: l.spec, InProgress: l.provisioned, Since: l.stats.since, Unused: l.stats.unused,
		LastUnused: l.stats.lastUnused, LastUsed: l.stats.lastUsed,
		Attempt: l.stats.attempt, Last: l.stats.last(), LastOffers: l.stats.newest()}
	held := map[string]int{} // instances that wait for a reservation in another role
	if l.spec == nil || l.spec.Resident {
		for _, i := range l.waiting() {
			if q.Spec == nil || i.spec.Version > q.Spec.Version {
				q.Spec = i.spec
			}
			if i.held() {
				held[i.view.Role]++
			}
		}
	}
	if q.Spec == nil {
		return nil
	}
	q.Role, q.Count = q.Spec.Role, l.scheduled
	until, late := c.delayed(l, q.Spec)
	if late {
		q.DelayedUntil = app.At(until)
	}
	var out []*Queued
	for _, role := range sortedKeys(held) {
		if role != q.Role && held[role] > 0 {
			other := q
			other.Role, other.Count = role, held[role]
			q.Count -= held[role]
			out = append(out, &other)
		}
	}
	if q.Count > 0 || late && len(out) == 0 {
		out = append(out, &q)
	}
	return out
}
