package deploy

import (
	"slices"
	"strings"

	"github.com/stoa-project/stoa/framework/app"
)

// NewPlan compares two settled trees and orders the work between them (Marathon
// contract 5.2): first everything that goes is stopped, then everything new is started
// at zero instances, then changed apps are scaled or restarted level by level of the
// dependencies in to. Apps in restart are replaced although only their version
// changed. A plan without changes has no steps. The error is that of app.Levels.
func NewPlan(id string, from, to *app.Group, version app.Timestamp, restart ...app.PathID) (*Plan, error) {
	p := &Plan{ID: id, Version: version}
	diffGroups(p, from, to)
	slices.SortFunc(p.Changes, func(a, b Change) int { return strings.Compare(string(a.ID), string(b.ID)) })
	p.Changes = joined(p.Changes)
	slices.SortFunc(p.Groups, func(a, b GroupChange) int { return strings.Compare(string(a.ID), string(b.ID)) })
	if len(p.Changes) == 0 {
		return p, nil
	}
	levels, err := app.Levels(to, p.Affected()...)
	if err != nil {
		return nil, err
	}
	var stop, start Step
	work := map[int]*Step{}
	top := 0
	for i := range p.Changes {
		c := &p.Changes[i]
		if c.New == nil {
			stop.Actions = append(stop.Actions, c.act(Stop))
			continue
		}
		if c.Old == nil {
			start.Actions = append(start.Actions, c.act(Start))
		}
		verb := c.verb(slices.Contains(restart, c.ID))
		if verb == "" {
			continue
		}
		level := levels[c.ID]
		top = max(top, level)
		if work[level] == nil {
			work[level] = &Step{}
		}
		work[level].Actions = append(work[level].Actions, c.act(verb))
	}
	for _, s := range []Step{stop, start} {
		if len(s.Actions) > 0 {
			p.Steps = append(p.Steps, s)
		}
	}
	for level := 1; level <= top; level++ {
		if s := work[level]; s != nil {
			p.Steps = append(p.Steps, *s)
		}
	}
	return p, nil
}

// act is the action of a verb on what changes.
func (c *Change) act(v Verb) Action { return Action{v, c.ID, c.Pod()} }

// verb chooses what brings a kept or new app to its target, "" when nothing must.
func (c *Change) verb(restart bool) Verb {
	if c.Old == nil {
		return Scale
	}
	kind := c.Old.Compare(c.New)
	switch {
	case kind == app.Unchanged && !restart:
		return ""
	case kind == app.Scaled && !restart, c.New.Instances == 0:
		return Scale
	}
	return Restart
}

// diffGroups records what differs between two versions of one group, skipping subtrees
// that are the same value.
func diffGroups(p *Plan, from, to *app.Group) {
	if from == to {
		return
	}
	var id app.PathID
	old, now := &app.Group{}, &app.Group{}
	if from != nil {
		id, old = from.ID, from
	}
	if to != nil {
		id, now = to.ID, to
	}
	if from == nil || to == nil || !slices.Equal(old.Dependencies, now.Dependencies) {
		p.Groups = append(p.Groups, GroupChange{ID: id, Created: from == nil, Removed: to == nil,
			OldDeps: old.Dependencies, NewDeps: now.Dependencies, Enforce: to == nil && old.EnforceRole})
	}
	pairs(old.Apps, now.Apps, func(a *app.App) app.PathID { return a.ID }, func(o, n *app.App) {
		if o != n {
			p.Changes = append(p.Changes, changed(o, n))
		}
	})
	pairs(old.Pods, now.Pods, func(d *app.Pod) app.PathID { return d.ID }, func(o, n *app.Pod) {
		if o != n {
			p.Changes = append(p.Changes, changed(o, n))
		}
	})
	pairs(old.Groups, now.Groups, func(g *app.Group) app.PathID { return g.ID }, func(o, n *app.Group) { diffGroups(p, o, n) })
}

// changed makes a Change of a pair of definitions, of which one may be nil.
func changed[T any, D interface {
	*T
	RunSpec() *app.RunSpec
}](o, n D) (c Change) {
	if o != nil {
		c.Old = o.RunSpec()
		c.ID = c.Old.ID
	}
	if n != nil {
		c.New = n.RunSpec()
		c.ID = c.New.ID
	}
	return c
}

// joined makes one change of an app that goes and a pod that comes under its id, or the
// other way round.
func joined(sorted []Change) []Change {
	out := sorted[:0]
	for _, c := range sorted {
		if n := len(out); n > 0 && out[n-1].ID == c.ID {
			if c.New != nil {
				out[n-1].New = c.New
			} else {
				out[n-1].Old = c.Old
			}
			continue
		}
		out = append(out, c)
	}
	return out
}

// pairs walks two sorted lists side by side; the missing side of a pair is nil.
func pairs[T any](old, now []*T, id func(*T) app.PathID, f func(o, n *T)) {
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(old) > 0 && id(old[0]) < id(now[0]):
			f(old[0], nil)
			old = old[1:]
		case len(old) == 0 || id(now[0]) < id(old[0]):
			f(nil, now[0])
			now = now[1:]
		default:
			f(old[0], now[0])
			old, now = old[1:], now[1:]
		}
	}
}

// Affected lists the apps and pods the plan creates, changes or removes, sorted. They are what
// the plan locks (marathon.md 5.5).
func (p *Plan) Affected() []app.PathID {
	out := make([]app.PathID, 0, len(p.Changes))
	for i := range p.Changes {
		out = append(out, p.Changes[i].ID)
	}
	return out
}

// Change finds what the plan does to an app, nil when it leaves it alone.
func (p *Plan) Change(id app.PathID) *Change {
	i, ok := slices.BinarySearchFunc(p.Changes, id, func(c Change, id app.PathID) int { return strings.Compare(string(c.ID), string(id)) })
	if !ok {
		return nil
	}
	return &p.Changes[i]
}

// Conflicts lists the ids of the running deployments that work on an app the plan
// affects, in the order given.
func (p *Plan) Conflicts(running []*Deployment) []string {
	var out []string
	for _, d := range running {
		if slices.ContainsFunc(d.Plan.Changes, func(c Change) bool { return p.Change(c.ID) != nil }) {
			out = append(out, d.Plan.ID)
		}
	}
	return out
}

// Revert gives the present tree with this plan's changes undone and everything else
// kept: created apps go, removed apps come back, changed apps get their old definition.
// Groups the plan created go when they are empty. The tree must be settled with a new
// version before it is used (marathon.md 5.6).
func (p *Plan) Revert(root *app.Group, version app.Timestamp) *app.Group {
	for i := range p.Changes {
		c := &p.Changes[i]
		if c.Old == nil {
			root = root.Remove(c.ID, version)
		} else {
			root = root.Put(c.Old, version)
		}
	}
	// Deepest first, so that a created group is empty once its created subgroups are gone.
	for i := len(p.Groups) - 1; i >= 0; i-- {
		g := &p.Groups[i]
		now := root.Group(g.ID)
		switch {
		case g.Created && now != nil && now.Empty() && !g.ID.IsRoot():
			root = root.RemoveGroup(g.ID, version)
		case g.Removed && now == nil && root.App(g.ID) == nil && root.Pod(g.ID) == nil:
			root = root.PutGroup(&app.Group{ID: g.ID, Dependencies: g.OldDeps, EnforceRole: g.Enforce}, version)
		case now != nil && !g.Created && slices.Equal(now.Dependencies, g.NewDeps):
			c := *now
			c.Dependencies = g.OldDeps
			root = root.PutGroup(&c, version)
		case now != nil && g.Removed:
			c := *now
			c.Dependencies, c.EnforceRole = g.OldDeps, g.Enforce
			root = root.PutGroup(&c, version)
		}
	}
	return root
}

// Light is the plan as events and dry runs show it: without definitions.
type Light struct {
	ID      string         `json:"id"`
	Version app.Timestamp  `json:"version"`
	Steps   app.List[Step] `json:"steps"`
}

// Light gives the light form.
func (p *Plan) Light() Light { return Light{p.ID, p.Version, p.Steps} }
