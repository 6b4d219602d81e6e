package allocate

import (
	"maps"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/allocate/constraint"
	"github.com/stoa-project/stoa/master/ledger"
)

// framework is one framework's demand.
type framework struct {
	id           ledger.FrameworkID
	open         bool
	capabilities ledger.FrameworkCapabilities
	roles        map[string]*client // all roles with demand or allocations
	constraints  *constraint.Filter
}

// client is a framework in one role: a leaf of the tree.
type client struct {
	framework  *framework
	role       *role
	index      int // its place in Allocator.clients
	node       node
	subscribed bool
	suppressed bool
	fresh      bool // in Allocator.fresh
	holds      int  // agents on which it has something
	epoch      uint32
	declined   int                   // filters in force
	minimum    []resource.Quantities // its own; counts when own is set
	own        bool
	verdicts   []verdict // of its constraints, by agent slot; nil: it has none
}

// verdict is whether constraints exclude an agent.
type verdict uint8

const (
	unasked verdict = iota
	admitted
	excluded
)

// wants tells whether it takes offers.
func (c *client) wants() bool { return c.framework.open && c.subscribed && !c.suppressed }

func (al *Allocator) framework(id ledger.FrameworkID) *framework {
	f := al.frameworks[id]
	if f == nil {
		f = &framework{id: id, roles: map[string]*client{}}
		al.frameworks[id] = f
	}
	return f
}

func (al *Allocator) sortedFrameworks() []*framework {
	list := slices.Collect(maps.Values(al.frameworks))
	slices.SortFunc(list, func(a, b *framework) int { return strings.Compare(string(a.id), string(b.id)) })
	return list
}

// client gives the framework's leaf in a role, made when missing.
func (al *Allocator) client(f *framework, name string) *client {
	c := f.roles[name]
	if c != nil {
		return c
	}
	c = &client{framework: f, role: al.role(name)}
	c.node = node{name: string(f.id), weight: 1, client: c}
	if n := len(al.freeIndex); n > 0 {
		c.index = al.freeIndex[n-1]
		al.freeIndex = al.freeIndex[:n-1]
		al.clients[c.index] = c
	} else {
		c.index = len(al.clients)
		al.clients = append(al.clients, c)
	}
	al.epochs++
	c.epoch = al.epochs
	f.roles[name] = c
	c.role.clients[f.id] = c
	return c
}

// prune drops a leaf that neither wants nor has anything, and what it leaves empty.
func (al *Allocator) prune(c *client) {
	f := c.framework
	if c.subscribed || c.holds > 0 || f.roles[c.role.name] != c {
		return
	}
	al.setMinimum(c, nil, false)
	al.constrain(c, false)
	delete(f.roles, c.role.name)
	delete(c.role.clients, f.id)
	al.clients[c.index] = nil
	al.freeIndex = append(al.freeIndex, c.index)
	al.pruneRole(c.role)
	if !f.open && len(f.roles) == 0 {
		delete(al.frameworks, f.id)
	}
}

// names gives a framework's roles in a fixed order.
func (f *framework) names() []string {
	return slices.Sorted(maps.Keys(f.roles))
}

func (al *Allocator) openFramework(e ledger.FrameworkOpen) {
	f := al.framework(e.Framework)
	f.open, f.capabilities = true, e.Capabilities
	// The ledger checked them; what cannot be read here would have no agent excluded.
	f.constraints, _ = constraint.New(al.cfg.Constraints, e.Roles, e.Constraints)
	for _, c := range f.roles {
		c.subscribed = false
	}
	for _, name := range e.Roles {
		c := al.client(f, name)
		c.subscribed, c.suppressed = true, slices.Contains(e.Suppressed, name)
		al.constrain(c, f.constraints.Constrains(name))
		groups, own := minimumOf(e.Filters[name])
		al.setMinimum(c, groups, own)
	}
	for _, name := range f.names() {
		c := f.roles[name]
		if !c.subscribed {
			al.dropFilters(c)
		}
		al.demand(c)
		al.prune(c)
	}
	al.inverse = al.inverse || len(al.maintenance) > 0
}

// demand puts the client into the queues, or takes it out, as it wants offers or not.
// One that wants them has its turn at every agent with something free.
func (al *Allocator) demand(c *client) {
	if !c.wants() {
		al.exit(c, everyone)
		al.exit(c, fresh)
		return
	}
	al.enter(c, everyone)
	if al.idle.size == 0 {
		return // whatever becomes free is shown to everyone
	}
	al.enter(c, fresh)
	if !c.fresh {
		c.fresh = true
		al.fresh = append(al.fresh, c)
	}
}

func (al *Allocator) closeFramework(e ledger.FrameworkClosed) {
	f := al.frameworks[e.Framework]
	if f == nil {
		return
	}
	f.open = false
	al.dropInverse(f, true)
	for _, name := range f.names() {
		c := f.roles[name]
		al.dropFilters(c)
		al.demand(c)
		if e.Gone {
			c.subscribed = false
			al.prune(c)
		}
	}
	if e.Gone && len(f.roles) == 0 {
		delete(al.frameworks, f.id)
	}
}

func (al *Allocator) revive(e ledger.Revived) {
	f := al.frameworks[e.Framework]
	if f == nil {
		return
	}
	al.dropInverse(f, false)
	for _, c := range f.named(e.Roles) {
		c.suppressed = false
		al.dropFilters(c)
		al.demand(c)
	}
}

func (al *Allocator) suppress(e ledger.Suppressed) {
	if f := al.frameworks[e.Framework]; f != nil {
		for _, c := range f.named(e.Roles) {
			c.suppressed = true
			al.demand(c)
		}
	}
}

// named gives the clients of the roles, all of them when none is named.
func (f *framework) named(names []string) []*client {
	if len(names) == 0 {
		names = f.names()
	}
	var out []*client
	for _, name := range names {
		if c := f.roles[name]; c != nil {
			out = append(out, c)
		}
	}
	return out
}

// minimumOf reads a role's own min_allocatable_resources; an empty set is one too: then
// every offer is worth making.
func minimumOf(f *mesos.OfferFilters) (groups []resource.Quantities, own bool) {
	if f.GetMinAllocatableResources() == nil {
		return nil, false
	}
	for _, g := range f.GetMinAllocatableResources().GetQuantities() {
		groups = append(groups, resource.QuantitiesOf(g.GetQuantities()))
	}
	return groups, true
}

func (al *Allocator) setMinimum(c *client, groups []resource.Quantities, own bool) {
	if c.own != own {
		if al.minimums++; !own {
			al.minimums -= 2
		}
	}
	c.minimum, c.own = groups, own
}

// least gives the groups of which an offer has at least one; none: any offer will do.
func (al *Allocator) least(c *client) []resource.Quantities {
	if c.own {
		return c.minimum
	}
	return al.cfg.Minimum
}

// enough tells whether quantities are worth an offer.
func enough(groups []resource.Quantities, q *resource.Quantities) bool {
	if len(groups) == 0 {
		return !q.IsZero()
	}
	for i := range groups {
		if q.Contains(&groups[i]) {
			return true
		}
	}
	return false
}

// excludes tells whether the client's offer constraints rule the agent out. Regular
// expressions cost more than the rest of a visit, so that the answer is kept.
func (al *Allocator) excludes(c *client, a *agent) bool {
	if c.verdicts == nil {
		return false
	}
	for len(c.verdicts) <= a.slot {
		c.verdicts = append(c.verdicts, unasked)
	}
	v := &c.verdicts[a.slot]
	if *v == unasked {
		if *v = admitted; c.framework.constraints.Excludes(c.role.name, &a.info) {
			*v = excluded
		}
	}
	return *v == excluded
}

// constrain says whether the client has offer constraints; new ones are asked anew.
func (al *Allocator) constrain(c *client, yes bool) {
	if c.verdicts != nil {
		c.verdicts = nil
		al.constrained--
	}
	if yes {
		c.verdicts = make([]verdict, len(al.slots)+1)
		al.constrained++
	}
}

// forgetVerdicts asks all constraints again about an agent.
func (al *Allocator) forgetVerdicts(a *agent) {
	if al.constrained == 0 {
		return
	}
	for _, c := range al.clients {
		if c != nil && a.slot < len(c.verdicts) {
			c.verdicts[a.slot] = unasked
		}
	}
}
