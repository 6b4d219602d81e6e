package allocate

import (
	"sort"
	"strings"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/master/ledger"
)

// role is a node of the role tree: "eng" above "eng/web". A role may have frameworks and
// children at the same time; its frameworks then compete with its children as one
// sibling, the virtual leaf ".".
type role struct {
	name      string // full path; empty for the root
	parent    *role
	weight    float64
	children  map[string]*role
	clients   map[ledger.FrameworkID]*client
	allocated resource.Quantities // scalars of the whole subtree
	count     int                 // grants in the subtree so far
}

func newRole(name string, parent *role, weight float64) *role {
	return &role{name: name, parent: parent, weight: weight, children: map[string]*role{}, clients: map[ledger.FrameworkID]*client{}}
}

// role gives the node of a path, made when missing.
func (al *Allocator) role(name string) *role {
	if r := al.roles[name]; r != nil {
		return r
	}
	parent := al.root
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		parent = al.role(name[:i])
	}
	weight := al.cfg.Weights[name]
	if weight <= 0 {
		weight = 1
	}
	r := newRole(name, parent, weight)
	al.roles[name], parent.children[name] = r, r
	return r
}

func (al *Allocator) pruneRole(r *role) {
	for r != al.root && len(r.clients) == 0 && len(r.children) == 0 {
		delete(al.roles, r.name)
		delete(r.parent.children, r.name)
		r = r.parent
	}
}

// turn is something that competes for the next grant: a child role, the virtual leaf of
// a role, or a framework.
type turn struct {
	share  float64
	count  int
	name   string
	child  *role   // a child role
	leaf   *role   // the virtual leaf of this role
	client *client // a framework
}

func byTurn(list []turn) {
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if a.share != b.share {
			return a.share < b.share
		}
		if a.count != b.count {
			return a.count < b.count
		}
		return a.name < b.name
	})
}

// order lists the clients that may be granted something now, the most deserving
// first: at each level the sibling with the least share goes first, with all below it.
func (al *Allocator) order() []*client { return al.visit(al.root, nil) }

func (al *Allocator) visit(r *role, out []*client) []*client {
	list := make([]turn, 0, len(r.children)+1)
	for _, child := range r.children {
		list = append(list, turn{share: child.allocated.Share(&al.total) / child.weight, count: child.count, name: child.name, child: child})
	}
	if len(r.clients) > 0 {
		own, count := resource.Quantities{}, 0
		for _, c := range r.clients {
			own = own.Add(c.allocated)
			count += c.count
		}
		list = append(list, turn{share: own.Share(&al.total), count: count, name: r.name + "/.", leaf: r})
	}
	byTurn(list)
	for _, t := range list {
		if t.child != nil {
			out = al.visit(t.child, out)
		} else {
			out = al.clients(t.leaf, out)
		}
	}
	return out
}

func (al *Allocator) clients(r *role, out []*client) []*client {
	list := make([]turn, 0, len(r.clients))
	for _, c := range r.clients {
		if c.subscribed && !c.suppressed && c.framework.open {
			list = append(list, turn{share: c.allocated.Share(&al.total), count: c.count, name: string(c.framework.id), client: c})
		}
	}
	byTurn(list)
	for _, t := range list {
		out = append(out, t.client)
	}
	return out
}
