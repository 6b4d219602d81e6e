package core

import (
	"cmp"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/framework/app"
)

// shrink gives up instances until at most n are active: sentenced ones first, then the
// order of victims.
func (c *Core) shrink(l *line, spec *app.RunSpec, n int, sentenced []app.InstanceID) {
	surplus := c.count(l).active - n
	if surplus <= 0 {
		return
	}
	var active []*instance
	for _, i := range l.instances {
		if i.active() {
			active = append(active, i)
		}
	}
	for _, i := range victims(active, spec, sentenced)[:surplus] {
		c.retire(i)
	}
}

// victims orders instances by who is given up first: sentenced, then where GROUP_BY
// asks for balance, then those that serve least, then by the app's kill selection.
func victims(from []*instance, spec *app.RunSpec, sentenced []app.InstanceID) []*instance {
	out := slices.Clone(from)
	slices.SortStableFunc(out, func(a, b *instance) int {
		return cmp.Or(
			cmp.Compare(weight(a), weight(b)),
			age(a, b, spec.KillSelection),
			strings.Compare(string(a.view.ID), string(b.view.ID)),
		)
	})
	out = balance(out, spec)
	slices.SortStableFunc(out, func(a, b *instance) int {
		doomed := func(i *instance) int {
			if slices.Contains(sentenced, i.view.ID) {
				return 0
			}
			return 1
		}
		return doomed(a) - doomed(b)
	})
	return out
}

// weight is low for instances that serve little.
func weight(i *instance) int {
	switch i.view.Condition {
	case app.Scheduled, app.Provisioned:
		return 0
	case app.Unreachable, app.UnreachableInactive:
		return 1
	case app.Staging:
		return 2
	case app.Starting:
		return 3
	case app.Running:
		if i.view.Healthy != nil && !*i.view.Healthy {
			return 3
		}
		return 4
	}
	return 5
}

func age(a, b *instance, how app.KillSelection) int {
	if how == app.OldestFirst {
		return cmp.Compare(a.view.StagedAt, b.view.StagedAt)
	}
	return cmp.Compare(b.view.StagedAt, a.view.StagedAt)
}

// balance reorders victims so that taking any number from the front leaves the groups
// of each GROUP_BY constraint as even as can be. Instances without a place stay in front.
func balance(in []*instance, spec *app.RunSpec) []*instance {
	at := slices.IndexFunc(spec.Constraints, func(k app.Constraint) bool { return k.Operator == app.OpGroupBy })
	if at < 0 {
		return in
	}
	field := spec.Constraints[at].Field
	var out []*instance
	groups := map[string][]*instance{}
	for _, i := range in {
		p := i.place()
		value, ok := p.Field(field)
		if i.view.AgentID == "" || !ok {
			out = append(out, i)
			continue
		}
		groups[value] = append(groups[value], i)
	}
	for len(groups) > 0 {
		biggest := ""
		for _, value := range sortedKeys(groups) {
			if biggest == "" || len(groups[value]) > len(groups[biggest]) {
				biggest = value
			}
		}
		g := groups[biggest]
		out = append(out, g[0])
		if groups[biggest] = g[1:]; len(g) == 1 {
			delete(groups, biggest)
		}
	}
	return out
}

// sortedKeys lists a map's keys in order: iteration must not depend on chance.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
