package app

import (
	"iter"
	"slices"
	"strings"
)

// Group is one node of the tree of apps and pods. Trees are immutable: every change copies the
// path from the root and shares the rest, so a *Group may be kept and compared.
type Group struct {
	ID           PathID       `json:"id"`
	Apps         List[*App]   `json:"apps"`   // sorted by ID; direct children
	Pods         List[*Pod]   `json:"pods"`   // sorted by ID; direct children
	Groups       List[*Group] `json:"groups"` // sorted by ID; direct children
	Dependencies List[PathID] `json:"dependencies"`
	EnforceRole  bool         `json:"enforceRole"` // top-level groups only
	Version      Timestamp    `json:"version"`     // root change that last touched this subtree
}

// EmptyRoot is the tree before the first change.
func EmptyRoot() *Group { return &Group{ID: Root} }

func appAt(l []*App, id PathID) (int, bool) {
	return slices.BinarySearchFunc(l, id, func(a *App, id PathID) int { return strings.Compare(string(a.ID), string(id)) })
}

func podAt(l []*Pod, id PathID) (int, bool) {
	return slices.BinarySearchFunc(l, id, func(p *Pod, id PathID) int { return strings.Compare(string(p.ID), string(id)) })
}

func groupAt(l []*Group, id PathID) (int, bool) {
	return slices.BinarySearchFunc(l, id, func(g *Group, id PathID) int { return strings.Compare(string(g.ID), string(id)) })
}

// App finds an app anywhere in the tree, nil when there is none.
func (g *Group) App(id PathID) *App {
	if parent := g.Group(id.Parent()); parent != nil {
		if i, ok := appAt(parent.Apps, id); ok {
			return parent.Apps[i]
		}
	}
	return nil
}

// Pod finds a pod anywhere in the tree, nil when there is none.
func (g *Group) Pod(id PathID) *Pod {
	if parent := g.Group(id.Parent()); parent != nil {
		if i, ok := podAt(parent.Pods, id); ok {
			return parent.Pods[i]
		}
	}
	return nil
}

// Group finds a group anywhere in the tree (g itself included), nil when there is none.
func (g *Group) Group(id PathID) *Group {
	for g.ID != id {
		i, ok := groupAt(g.Groups, g.childTowards(id))
		if !ok || !g.ID.Includes(id) {
			return nil
		}
		g = g.Groups[i]
	}
	return g
}

// childTowards is the id of the direct child of g on the way to id, which lies below g.
func (g *Group) childTowards(id PathID) PathID {
	skip := len(g.ID)
	if g.ID.IsRoot() {
		skip = 0
	}
	if len(id) <= skip+1 {
		return ""
	}
	if i := strings.IndexByte(string(id[skip+1:]), '/'); i >= 0 {
		return id[:skip+1+i]
	}
	return id
}

// AllApps iterates over the apps of g and of every group below, by group, then by id.
func (g *Group) AllApps() iter.Seq[*App] {
	return everyOf(g, func(g *Group) []*App { return g.Apps })
}

// AllPods iterates over the pods of g and of every group below, by group, then by id.
func (g *Group) AllPods() iter.Seq[*Pod] {
	return everyOf(g, func(g *Group) []*Pod { return g.Pods })
}

// everyOf iterates over what g and every group below have, the group before its children.
func everyOf[T any](g *Group, has func(*Group) []T) iter.Seq[T] {
	var walk func(g *Group, yield func(T) bool) bool
	walk = func(g *Group, yield func(T) bool) bool {
		for _, v := range has(g) {
			if !yield(v) {
				return false
			}
		}
		for _, s := range g.Groups {
			if !walk(s, yield) {
				return false
			}
		}
		return true
	}
	return func(yield func(T) bool) { walk(g, yield) }
}

// Empty tells whether no app and no pod lies in g or below.
func (g *Group) Empty() bool {
	for range g.AllApps() {
		return false
	}
	for range g.AllPods() {
		return false
	}
	return true
}

// edit copies the path from g to the group id, creating missing groups, and applies f to
// the copy of that group. Every copied group gets the version.
func (g *Group) edit(id PathID, version Timestamp, f func(*Group)) *Group {
	out := *g
	out.Version = version
	if g.ID == id {
		f(&out)
		return &out
	}
	childID := g.childTowards(id)
	i, ok := groupAt(g.Groups, childID)
	child := &Group{ID: childID, Version: version}
	if ok {
		child = g.Groups[i]
	}
	child = child.edit(id, version, f)
	if ok {
		out.Groups = slices.Clone(g.Groups)
		out.Groups[i] = child
	} else {
		out.Groups = slices.Insert(slices.Clone(g.Groups), i, child)
	}
	return &out
}

// PutApp gives a tree with the app in place of the one of its id. Missing groups are
// created; an empty group of the same id gives way.
func (g *Group) PutApp(a *App, version Timestamp) *Group {
	return g.edit(a.ID.Parent(), version, func(p *Group) {
		i, ok := appAt(p.Apps, a.ID)
		p.Apps = slices.Clone(p.Apps)
		if ok {
			p.Apps[i] = a
		} else {
			p.Apps = slices.Insert(p.Apps, i, a)
		}
		p.giveWay(a.ID)
	})
}

// giveWay drops the group of the id if it is empty; p is a copy that nobody shares.
func (p *Group) giveWay(id PathID) {
	if i, ok := groupAt(p.Groups, id); ok && p.Groups[i].Empty() {
		p.Groups = slices.Delete(slices.Clone(p.Groups), i, i+1)
	}
}

// PutPod is PutApp for a pod.
func (g *Group) PutPod(n *Pod, version Timestamp) *Group {
	return g.edit(n.ID.Parent(), version, func(p *Group) {
		i, ok := podAt(p.Pods, n.ID)
		p.Pods = slices.Clone(p.Pods)
		if ok {
			p.Pods[i] = n
		} else {
			p.Pods = slices.Insert(p.Pods, i, n)
		}
		p.giveWay(n.ID)
	})
}

// Put gives a tree with the definition in place of whatever app or pod has its id.
func (g *Group) Put(s *RunSpec, version Timestamp) *Group {
	if s.Pod != nil {
		return g.RemoveApp(s.ID, version).PutPod(s.Pod, version)
	}
	return g.RemovePod(s.ID, version).PutApp(s.App, version)
}

// Remove gives a tree without the app or pod; its group stays, perhaps empty.
func (g *Group) Remove(id PathID, version Timestamp) *Group {
	return g.RemoveApp(id, version).RemovePod(id, version)
}

// PutPod is Group.PutPod for a pod that a user sent; the same holds for a top-level group
// above it as in PutApp.
func (r Rules) PutPod(root *Group, n *Pod, version Timestamp) *Group {
	return r.enforceAbove(root, root.PutPod(n, version), n.ID)
}

// PutApp is Group.PutApp for an app that a user sent: a top-level group that comes into
// being with it gets the enforceRole of new groups.
func (r Rules) PutApp(root *Group, a *App, version Timestamp) *Group {
	return r.enforceAbove(root, root.PutApp(a, version), a.ID)
}

// PutGroup is Group.PutGroup for a group that a user sent; the same holds for a top-level
// group above it.
func (r Rules) PutGroup(root, n *Group, version Timestamp) *Group {
	return r.enforceAbove(root, root.PutGroup(n, version), n.ID)
}

// enforceAbove marks the top-level group above id in next if root lacks it.
func (r Rules) enforceAbove(root, next *Group, id PathID) *Group {
	segs := id.Segments()
	if !r.EnforceNewGroups || len(segs) < 2 {
		return next
	}
	top := Root.Child(segs[0])
	if root.Group(top) != nil {
		return next
	}
	return next.edit(top, next.Version, func(g *Group) { g.EnforceRole = true })
}

// RemoveApp gives a tree without the app; its group stays, perhaps empty.
func (g *Group) RemoveApp(id PathID, version Timestamp) *Group {
	if g.App(id) == nil {
		return g
	}
	return g.edit(id.Parent(), version, func(p *Group) {
		i, _ := appAt(p.Apps, id)
		p.Apps = slices.Delete(slices.Clone(p.Apps), i, i+1)
	})
}

// RemovePod gives a tree without the pod; its group stays, perhaps empty.
func (g *Group) RemovePod(id PathID, version Timestamp) *Group {
	if g.Pod(id) == nil {
		return g
	}
	return g.edit(id.Parent(), version, func(p *Group) {
		i, _ := podAt(p.Pods, id)
		p.Pods = slices.Delete(slices.Clone(p.Pods), i, i+1)
	})
}

// PutGroup gives a tree with the group in place of the one of its id. Missing groups on
// the way are created.
func (g *Group) PutGroup(n *Group, version Timestamp) *Group {
	return g.edit(n.ID, version, func(p *Group) {
		*p = *n
		p.Version = version
	})
}

// RemoveGroup gives a tree without the group and everything below. Removing the root
// leaves an empty root.
func (g *Group) RemoveGroup(id PathID, version Timestamp) *Group {
	if id.IsRoot() {
		return &Group{ID: Root, Version: version}
	}
	if g.Group(id) == nil {
		return g
	}
	return g.edit(id.Parent(), version, func(p *Group) {
		i, _ := groupAt(p.Groups, id)
		p.Groups = slices.Delete(slices.Clone(p.Groups), i, i+1)
	})
}
