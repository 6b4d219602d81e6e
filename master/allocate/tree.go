package allocate

import (
	"strings"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/master/ledger"
)

// role is a node of the role tree: "eng" above "eng/web". A role may have frameworks and
// children at the same time; its frameworks then compete with its children as one
// sibling, the virtual leaf "." (mesos-master.md 3.2).
type role struct {
	name     string // full path; empty for the root
	parent   *role
	top      *role // the top-level role above or equal: quota is there
	children map[string]*role
	clients  map[ledger.FrameworkID]*client

	node   node // among its siblings
	own    node // the virtual leaf
	queues [2]queue
	// reserved and used are what quota counts, of the whole subtree: reservations, taken or
	// not, and what is taken of unreserved and not revocable resources, the latter only of
	// top-level roles. Scalars only.
	reserved, used resource.Quantities
	quota          *quota // of a top-level role; nil: none

	declined int // filters in force, of this role's frameworks: a metric
}

// queue is who waits in a role, of all or of the fresh ones.
type queue struct {
	roles   ranking // child roles and the virtual leaf
	clients ranking // the role's own frameworks
	live    int     // clients in the subtree
}

func (al *Allocator) newRole(name string, parent *role) *role {
	r := &role{name: name, parent: parent, children: map[string]*role{}, clients: map[ledger.FrameworkID]*client{}}
	r.node = node{name: name, weight: al.weight(name), role: r}
	r.own = node{name: name + "/.", weight: 1, role: r, leaf: true}
	for slot := range r.queues {
		r.queues[slot].roles = ranking{slot: slot, random: al.cfg.RoleSorter == Random}
		r.queues[slot].clients = ranking{slot: slot, random: al.cfg.FrameworkSorter == Random}
	}
	return r
}

func (al *Allocator) weight(role string) float64 {
	if w := al.weights[role]; w > 0 {
		return w
	}
	return 1
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
	r := al.newRole(name, parent)
	if r.top = parent.top; parent == al.root {
		r.top = r
	}
	al.roles[name], parent.children[name] = r, r
	return r
}

// pruneRole forgets roles without frameworks, children, reservations and quota.
func (al *Allocator) pruneRole(r *role) {
	for r != al.root && len(r.clients) == 0 && len(r.children) == 0 && r.quota == nil && r.reserved.IsZero() {
		delete(al.roles, r.name)
		delete(r.parent.children, r.name)
		r = r.parent
	}
}

// enter puts a framework in a role into a queue, and with it the roles above.
func (al *Allocator) enter(c *client, slot int) {
	if c.node.at[slot].in != nil {
		return
	}
	q := &c.role.queues[slot]
	al.join(&q.clients, &c.node)
	al.join(&q.roles, &c.role.own)
	for r := c.role; ; r = r.parent {
		r.queues[slot].live++
		if r == al.root {
			break
		}
		al.join(&r.parent.queues[slot].roles, &r.node)
	}
	if slot == everyone {
		al.requote(c.role.top)
	}
}

// exit takes it out again.
func (al *Allocator) exit(c *client, slot int) {
	if c.node.at[slot].in == nil {
		return
	}
	leave(&c.node, slot)
	if c.role.queues[slot].clients.size == 0 {
		leave(&c.role.own, slot)
	}
	for r := c.role; ; r = r.parent {
		r.queues[slot].live--
		if r == al.root {
			break
		}
		if r.queues[slot].live == 0 {
			leave(&r.node, slot)
		}
	}
	if slot == everyone {
		al.requote(c.role.top)
	}
}

// setWeight changes a role's weight at run time (11.3).
func (al *Allocator) setWeight(e ledger.WeightSet) {
	if e.Weight > 0 && e.Weight != 1 {
		al.weights[e.Role] = e.Weight
	} else {
		delete(al.weights, e.Role)
	}
	if r := al.roles[e.Role]; r != nil {
		r.node.weight = al.weight(e.Role)
		al.touch(&r.node)
	}
}

// above calls f for the role and all above it but the root.
func (r *role) above(f func(*role)) {
	for ; r.parent != nil; r = r.parent {
		f(r)
	}
}
