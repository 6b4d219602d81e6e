package app

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// GroupUpdate is the body of a request for one group (marathon.md 4.1). A nil
// list was absent and keeps what the group has; a present one replaces it.
type GroupUpdate struct {
	path         string
	ID           *string
	Apps         []*Update
	Groups       []*GroupUpdate
	Dependencies []string
	Version      *Timestamp // roll back to the content of this root version
	ScaleBy      *float64   // multiply the instances of every app below
	EnforceRole  *bool
}

// ReadGroupUpdate decodes a group body. The error is *Broken, or *Invalid with the
// message "Invalid JSON" or "Object is not valid".
func ReadGroupUpdate(body []byte) (*GroupUpdate, error) {
	u, err := decode(body, "error.expected.jsobject", func(n node) *GroupUpdate { return readGroup(n, 0) })
	if err != nil {
		return nil, err
	}
	p := &problems{}
	u.check(p)
	return u, p.err(MsgInvalidObject)
}

// Bounds of one body: what is over them is refused before anything is made of it.
const (
	maxNesting  = 400     // groups in groups; ids could not be longer
	maxBodyApps = 100_000 // definitions
)

func readGroup(n node, depth int) *GroupUpdate {
	u := &GroupUpdate{path: n.at()}
	if !n.object() {
		return u
	}
	if depth > maxNesting {
		n.fail(fmt.Sprintf("groups may be nested %d deep at most", maxNesting))
		return u
	}
	u.ID = optStr(n.get("id"))
	u.Apps = each(n.get("apps"), func(a node) *Update {
		if a.p.apps++; a.p.apps > maxBodyApps {
			if a.p.apps == maxBodyApps+1 {
				a.fail(fmt.Sprintf("one request may define %d apps at most: send the groups one by one", maxBodyApps))
			}
			return &Update{}
		}
		return readUpdate(a)
	})
	u.Groups = each(n.get("groups"), func(g node) *GroupUpdate { return readGroup(g, depth+1) })
	u.Dependencies = n.get("dependencies").strings()
	u.ScaleBy = optFloat(n.get("scaleBy"))
	u.EnforceRole = n.get("enforceRole").optBool()
	if v := n.get("version"); v.present() {
		if t, err := ParseTimestamp(v.str()); err == nil {
			u.Version = &t
		} else {
			v.fail(err.Error())
		}
	}
	return u
}

// Content tells whether the body names apps, groups or dependencies.
func (u *GroupUpdate) Content() bool {
	return u.Apps != nil || u.Groups != nil || u.Dependencies != nil
}

func (u *GroupUpdate) check(p *problems) {
	const alone = "not allowed in conjunction with other properties."
	if u.Version != nil && (u.Content() || u.ScaleBy != nil || u.EnforceRole != nil) {
		p.add(u.path+"/version", alone)
	}
	if u.ScaleBy != nil {
		if u.Content() || u.EnforceRole != nil || u.Version != nil {
			p.add(u.path+"/scaleBy", alone)
		}
		if !(*u.ScaleBy >= 0) {
			p.add(u.path+"/scaleBy", fmt.Sprintf("got %s, expected 0.0 or more", java(*u.ScaleBy)))
		}
	}
	for _, g := range u.Groups {
		if g.ID == nil {
			p.add(g.path+"/id", "error.path.missing")
		}
		g.check(p)
	}
}

// Apply gives the group that the body makes of cur (nil when there is none yet) under
// id. root is the present tree, for roles. The error is an *Invalid. Version and ScaleBy
// are not looked at: see Scale and the caller's history.
func (u *GroupUpdate) Apply(root, cur *Group, id PathID, r Rules) (*Group, error) {
	p := &problems{}
	g := u.apply(root, cur, id, r, p)
	return g, p.err(MsgInvalidObject)
}

func (u *GroupUpdate) apply(root, cur *Group, id PathID, r Rules, p *problems) *Group {
	if errs := CheckPath(id); errs != nil {
		p.add(u.path+"/id", errs...)
	}
	out := &Group{ID: id}
	if cur != nil {
		c := *cur
		out = &c
	}
	if cur == nil && len(id.Segments()) == 1 {
		out.EnforceRole = r.EnforceNewGroups
	}
	if u.EnforceRole != nil {
		switch {
		case len(id.Segments()) != 1:
			p.add(u.path+"/enforceRole", fmt.Sprintf("enforceRole can only be set for top-level groups, and %s is not top-level", id))
		case cur != nil && cur.EnforceRole != *u.EnforceRole:
			p.add(u.path+"/enforceRole", "enforceRole cannot be updated by PUT: use PATCH")
		default:
			out.EnforceRole = *u.EnforceRole
		}
	}
	if len(id.Segments()) == 1 {
		r.enforced = &out.EnforceRole
	}
	if u.Dependencies != nil {
		out.Dependencies = nil
		for i, text := range u.Dependencies {
			dep := ParsePath(text, id.Parent())
			if errs := CheckPath(dep); errs != nil {
				p.add(index(u.path+"/dependencies", i), errs...)
			}
			out.Dependencies = append(out.Dependencies, dep)
		}
		out.Dependencies = distinctOf(out.Dependencies)
	}
	if u.Apps != nil {
		out.Apps = u.applyApps(root, id, r, p)
	}
	if u.Groups != nil {
		out.Groups = u.applyGroups(root, cur, id, r, p)
	}
	return out
}

func (u *GroupUpdate) applyApps(root *Group, id PathID, r Rules, p *problems) List[*App] {
	out := make(List[*App], 0, len(u.Apps))
	seen := make(map[PathID]bool, len(u.Apps))
	for _, au := range u.Apps {
		if au.ID == nil {
			p.add(au.path+"/id", "error.path.missing")
			continue
		}
		appID := ParsePath(*au.ID, id)
		if appID.Parent() != id || appID.IsRoot() {
			p.add(au.path+"/id", "Identifier is not child of '"+string(id)+"'. Hint: use relative paths.")
			continue
		}
		if seen[appID] {
			p.add(u.path+"/apps", "app ids must be unique: "+clip(string(appID))+" is given twice")
			continue
		}
		seen[appID] = true
		out = append(out, build(au.raw, au.path, appID, r, r.RolesAt(root, appID), p))
	}
	slices.SortFunc(out, func(a, b *App) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out
}

func (u *GroupUpdate) applyGroups(root, cur *Group, id PathID, r Rules, p *problems) List[*Group] {
	out := make(List[*Group], 0, len(u.Groups))
	seen := make(map[PathID]bool, len(u.Groups))
	for _, gu := range u.Groups {
		subID := ParsePath(*gu.ID, id)
		if subID.Parent() != id || subID.IsRoot() {
			p.add(gu.path+"/id", "Identifier is not child of '"+string(id)+"'. Hint: use relative paths.")
			continue
		}
		if seen[subID] {
			p.add(u.path+"/groups", "group ids must be unique: "+clip(string(subID))+" is given twice")
			continue
		}
		seen[subID] = true
		var sub *Group
		if cur != nil {
			if j, ok := groupAt(cur.Groups, subID); ok {
				sub = cur.Groups[j]
			}
		}
		out = append(out, gu.apply(root, sub, subID, r, p))
	}
	slices.SortFunc(out, func(a, b *Group) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out
}

// Scale gives the group with the instances of every app below multiplied by factor,
// rounded up. The error is an *Invalid naming the apps that would break a rule.
func (g *Group) Scale(factor float64) (*Group, error) {
	p := &problems{}
	out := g.scale(factor, p)
	return out, p.err(MsgInvalidObject)
}

func (g *Group) scale(factor float64, p *problems) *Group {
	out := *g
	out.Apps = slices.Clone(g.Apps)
	for i, a := range out.Apps {
		c := *a
		n := math.Ceil(float64(a.Instances) * factor)
		if n > MaxInstances || (a.IsSingleInstance() || a.hasExternalVolume()) && n > 1 {
			p.add("/scaleBy", fmt.Sprintf("%s cannot have %.0f instances", a.ID, n))
			continue
		}
		c.Instances = int(n)
		out.Apps[i] = &c
	}
	out.Groups = slices.Clone(g.Groups)
	for i, s := range out.Groups {
		out.Groups[i] = s.scale(factor, p)
	}
	return &out
}
