package app

import "slices"

// Levels gives each app's and pod's place in the order of deployment: 1 for an app that depends
// on nothing, else one more than the highest app it depends on. Apps of one level are
// independent of each other (marathon.md 4.3, 5.2). Dependencies on groups mean
// every app in and below them, dependencies of a group hold for every app in and below
// it, unknown targets are ignored. With ids only those apps, and what they depend on,
// are looked at. A cycle gives an *Invalid at "/".
func Levels(root *Group, ids ...PathID) (map[PathID]int, error) {
	l := &leveller{root: root, level: map[PathID]int{}, state: map[any]visit{}}
	if len(ids) == 0 {
		l.group(root, nil)
	}
	for _, id := range ids {
		if a := root.App(id); a != nil {
			l.app(a, l.inherited(id.Parent()))
		} else if p := root.Pod(id); p != nil {
			l.pod(p, l.inherited(id.Parent()))
		}
	}
	if l.cyclic {
		return nil, &Invalid{MsgInvalidObject, []Violation{{"/", []string{"Dependency graph has cyclic dependencies."}}}}
	}
	return l.level, nil
}

// mayCycle tells whether the step from one tree to the next can have closed a cycle:
// a dependency list differs, or an app is new below a group that others depend on.
func mayCycle(from, to *Group) bool {
	if from == to {
		return false
	}
	if from == nil || len(from.Apps) < len(to.Apps) || len(from.Pods) < len(to.Pods) || !slices.Equal(from.Dependencies, to.Dependencies) {
		return true
	}
	for _, a := range to.Apps {
		i, ok := appAt(from.Apps, a.ID)
		if !ok || from.Apps[i] != a && !slices.Equal(from.Apps[i].Dependencies, a.Dependencies) {
			return true
		}
	}
	for _, p := range to.Pods {
		if _, ok := podAt(from.Pods, p.ID); !ok {
			return true
		}
	}
	for _, g := range to.Groups {
		i, ok := groupAt(from.Groups, g.ID)
		if !ok || mayCycle(from.Groups[i], g) {
			return true
		}
	}
	return false
}

type visit struct {
	done  bool
	level int
}

// leveller walks the graph depth first. Groups are vertices of their own, so that a
// dependency between two groups costs one edge per app and not one per pair.
// Vertices are *App, *Pod, and *Group for the set of all apps in and below it.
type leveller struct {
	root   *Group
	level  map[PathID]int
	state  map[any]visit // present and not done: on the present path
	cyclic bool
}

func (l *leveller) group(g *Group, inherited []PathID) {
	deps := slices.Concat(inherited, g.Dependencies)
	for _, a := range g.Apps {
		l.app(a, deps)
	}
	for _, p := range g.Pods {
		l.pod(p, deps)
	}
	for _, s := range g.Groups {
		l.group(s, deps)
	}
}

func (l *leveller) app(a *App, inherited []PathID) int {
	return l.leaf(a, a.ID, inherited, a.Dependencies)
}

// pod places a pod; only its groups can depend on something.
func (l *leveller) pod(p *Pod, inherited []PathID) int { return l.leaf(p, p.ID, inherited, nil) }

func (l *leveller) leaf(vertex any, id PathID, inherited, own []PathID) int {
	if st, seen := l.state[vertex]; seen {
		l.cyclic = l.cyclic || !st.done
		return st.level
	}
	l.state[vertex] = visit{}
	top := 0
	for _, deps := range [][]PathID{inherited, own} {
		for _, dep := range deps {
			top = max(top, l.target(dep))
		}
	}
	l.state[vertex] = visit{true, top + 1}
	l.level[id] = top + 1
	return top + 1
}

// target gives the highest level behind a dependency.
func (l *leveller) target(id PathID) int {
	if a := l.root.App(id); a != nil {
		return l.app(a, l.inherited(id.Parent()))
	}
	if p := l.root.Pod(id); p != nil {
		return l.pod(p, l.inherited(id.Parent()))
	}
	if g := l.root.Group(id); g != nil {
		return l.below(g)
	}
	return 0
}

// below gives the highest level in and below a group.
func (l *leveller) below(g *Group) int {
	if st, seen := l.state[g]; seen {
		l.cyclic = l.cyclic || !st.done
		return st.level
	}
	l.state[g] = visit{}
	top := 0
	deps := l.inherited(g.ID)
	for _, a := range g.Apps {
		top = max(top, l.app(a, deps))
	}
	for _, p := range g.Pods {
		top = max(top, l.pod(p, deps))
	}
	for _, s := range g.Groups {
		top = max(top, l.below(s))
	}
	l.state[g] = visit{true, top}
	return top
}

// inherited lists the dependencies of the group id and of all groups around it.
func (l *leveller) inherited(id PathID) []PathID {
	var out []PathID
	g := l.root
	for g != nil {
		out = append(out, g.Dependencies...)
		if g.ID == id {
			return out
		}
		i, ok := groupAt(g.Groups, g.childTowards(id))
		if !ok {
			return out
		}
		g = g.Groups[i]
	}
	return out
}
