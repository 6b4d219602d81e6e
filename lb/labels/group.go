package labels

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Labels of a blue/green deployment.
const (
	labelGroup     = "HAPROXY_DEPLOYMENT_GROUP"
	labelStartedAt = "HAPROXY_DEPLOYMENT_STARTED_AT"
	labelTarget    = "HAPROXY_DEPLOYMENT_TARGET_INSTANCES"
	labelNew       = "HAPROXY_DEPLOYMENT_NEW_INSTANCES"
)

// Replacing tells whether two of the apps belong to one deployment group.
func Replacing(apps []App) bool {
	var seen map[string]bool
	for i := range apps {
		g := apps[i].Labels[labelGroup]
		if g == "" {
			continue
		}
		if seen[g] {
			return true
		}
		if seen == nil {
			seen = map[string]bool{}
		}
		seen[g] = true
	}
	return false
}

// merge joins the apps of each deployment group into one app named after the group. As
// new tasks become healthy, as many old ones are drained.
func merge(apps []App, o Options) ([]App, []Problem) {
	byID := func(a, b App) int { return cmp.Compare(a.ID, b.ID) }
	if !slices.ContainsFunc(apps, func(a App) bool { return a.Labels[labelGroup] != "" }) {
		if !slices.IsSortedFunc(apps, byID) {
			apps = slices.Clone(apps)
			slices.SortStableFunc(apps, byID)
		}
		return apps, nil
	}
	apps = slices.Clone(apps)
	slices.SortStableFunc(apps, byID)
	groups := map[string][]App{}
	var out []App
	var problems []Problem
	for _, a := range apps {
		if g := a.Labels[labelGroup]; g != "" {
			groups[g] = append(groups[g], a)
			continue
		}
		out = append(out, a)
	}
	for g, members := range groups {
		slices.SortStableFunc(members, func(a, b App) int {
			return cmp.Compare(a.Labels[labelStartedAt], b.Labels[labelStartedAt])
		})
		one := members[0]
		for _, next := range members[1:] {
			var p *Problem
			if one, p = mergeTwo(one, next, o); p != nil {
				problems = append(problems, *p)
			}
		}
		one.ID = "/" + strings.TrimPrefix(g, "/")
		out = append(out, one)
	}
	slices.SortStableFunc(out, byID)
	return out, problems
}

// mergeTwo gives the older app with the tasks of both.
func mergeTwo(before, after App, o Options) (App, *Problem) {
	target := 1
	var problem *Problem
	if _, ok := after.Labels[labelNew]; ok {
		if before.VersionInfo.LastScalingAt > after.VersionInfo.LastScalingAt {
			before, after = after, before
		}
		n, err := strconv.Atoi(strings.TrimSpace(after.Labels[labelTarget]))
		if err != nil {
			problem = &Problem{AppID: after.ID, Label: labelTarget, Kept: true, Reason: "is no whole number; no old task is drained"}
			n = int(^uint(0) >> 2)
		}
		target = n
	}
	mark := func(a App) []Task {
		tasks := slices.Clone(a.Tasks)
		for i := range tasks {
			alive := serves(&a, &tasks[i], o)
			tasks[i].alive = &alive
		}
		return tasks
	}
	old, fresh := mark(before), mark(after)
	healthy := after.Instances
	if len(after.HealthChecks) > 0 {
		healthy = 0
		for _, k := range fresh {
			if slices.ContainsFunc(k.HealthCheckResults, func(r HealthResult) bool { return r.Alive }) {
				healthy++
			}
		}
	}
	if o.Up != nil {
		up := 0
		for _, k := range fresh {
			if *k.alive && o.Up[k.ID] {
				up++
			}
		}
		healthy = min(healthy, up)
	}
	drain := min(len(old), healthy, max(0, healthy+before.Instances-target))
	slices.SortFunc(old, func(a, b Task) int { return cmp.Compare(a.ID, b.ID) })
	for i := range max(drain, 0) {
		old[i].drain = true
	}
	before.Tasks, before.Rev = append(old, fresh...), 0
	return before, problem
}
