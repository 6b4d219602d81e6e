package allocate

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/allocate/constraint"
	"github.com/stoa-project/stoa/master/ledger"
)

// agent is one agent's resources. What every visit reads stands first.
type agent struct {
	id           ledger.AgentID
	slot         int    // its place in Allocator.slots
	generation   uint64 // of the ledger
	version      uint64 // grows with every change of free
	free         *stock // total without what is offered or used
	capabilities ledger.AgentCapabilities
	open         bool // its resources may be offered
	usable       bool // open, and on the whitelist
	gpus         bool
	remote       bool     // in another region than the master
	dirty        bool     // in Allocator.dirty
	later        bool     // in Allocator.later
	held         bool     // in Allocator.held
	chopped      bool     // quota kept something of it back at the last visit
	known        bool     // it was opened once
	filters      []filter // by client index
	mask         uint64   // one bit for each client index modulo 64 that is in filters
	refusals     []refusal
	holds        []hold
	taken        resource.Resources // offered or used, without what is shared and what is in pending
	pending      []resource.Resources

	total       *stock
	lent        int                 // the run in which its shared resources were offered last
	reserved    []reservation       // what quota counts of total
	sharing     map[string]*sharing // uses of shared resources, by their text
	info        constraint.Agent
	unavailable *mesos.Unavailability
	inverse     map[*framework]*inverse
}

// hold is what one framework has in one role on an agent.
type hold struct {
	client  *client
	amounts *amounts // never changed in place
}

// sharing is a shared resource in use and how often, by who counts it.
type sharing struct {
	amount resource.Quantities
	users  map[*node]int
}

// reservation is how much of an agent is reserved to a role.
type reservation struct {
	role   *role
	amount resource.Quantities
}

func (al *Allocator) agent(id ledger.AgentID) *agent {
	a := al.agents[id]
	if a == nil {
		a = &agent{id: id, free: nothing, total: nothing}
		if n := len(al.freeSlots); n > 0 {
			a.slot = al.freeSlots[n-1]
			al.freeSlots = al.freeSlots[:n-1]
			al.slots[a.slot] = a
		} else {
			a.slot = len(al.slots)
			al.slots = append(al.slots, a)
		}
		al.agents[id] = a
	}
	return a
}

func (al *Allocator) openAgent(e ledger.AgentOpen) {
	a := al.agent(e.Agent)
	info := constraint.Agent{Hostname: e.Hostname, Domain: e.Region != "" || e.Zone != "", Region: e.Region, Zone: e.Zone, Attributes: e.Attributes}
	if a.known && !sameAttributes(a.info.Attributes, e.Attributes) {
		al.dropAgentFilters(a) // a framework may think differently of it now (3.4)
	}
	al.forgetVerdicts(a)
	a.info, a.generation, a.capabilities = info, e.Generation, e.Capabilities
	a.remote = e.Region != "" && al.cfg.Region != "" && e.Region != al.cfg.Region
	al.setTotal(a, e.Total.Unallocate())
	if !a.known {
		a.known = true
		al.openFor++
		if al.awaiting != nil && al.openFor >= al.awaiting.Agents {
			al.awaiting = nil
		}
	}
	al.setUnavailable(a, e.Unavailable)
	al.enable(a, true)
	al.recheck = true
}

func sameAttributes(a, b []*mesos.Attribute) bool {
	return slices.EqualFunc(a, b, func(a, b *mesos.Attribute) bool { return a == b || proto.Equal(a, b) })
}

// enable says whether the agent may be offered from now on.
func (al *Allocator) enable(a *agent, open bool) {
	was := a.usable
	a.open = open
	a.usable = open && (al.whitelist == nil || al.whitelist[a.info.Hostname])
	switch {
	case a.usable && !was:
		al.room = al.room.Add(a.free.common)
	case was && !a.usable:
		al.room = al.room.Subtract(a.free.common)
	}
	al.placeIdle(a)
	if a.usable {
		al.soil(a)
	}
}

func (al *Allocator) closeAgent(e ledger.AgentClosed) {
	a := al.agents[e.Agent]
	if a == nil {
		return
	}
	al.enable(a, false)
	if !e.Gone {
		return
	}
	for _, use := range a.sharing { // before their holders are forgotten
		for n := range use.users {
			n.allocated = n.allocated.Subtract(use.amount)
			al.touch(n)
		}
	}
	a.sharing = nil
	for len(a.holds) > 0 {
		h := a.holds[len(a.holds)-1]
		c := h.client
		al.uncharge(c, h.amounts)
		al.forgetHold(a, len(a.holds)-1)
		al.prune(c)
	}
	al.dropAgentFilters(a)
	al.forgetVerdicts(a)
	al.setTotal(a, nil)
	if a.known {
		al.openFor--
	}
	delete(al.maintenance, a)
	delete(al.agents, a.id)
	al.slots[a.slot] = nil
	al.freeSlots = append(al.freeSlots, a.slot)
}

// setTotal replaces what the agent has.
func (al *Allocator) setTotal(a *agent, total resource.Resources) {
	before := al.fair
	al.total = al.total.Subtract(a.total.scalars)
	al.total = al.total.Subtract(sharedQuantities(a.total))
	al.stocks.drop(a.total)
	a.total = al.stocks.of(total)
	a.gpus = a.total.all.Get("gpus") > 0
	al.total = al.total.Add(a.total.scalars)
	al.total = al.total.Add(sharedQuantities(a.total))
	al.fair = al.total
	for _, name := range al.cfg.Excluded {
		al.fair = al.fair.With(name, 0)
	}
	if !al.fair.Equal(&before) {
		al.totals++
	}
	al.countReserved(a)
	al.refresh(a)
}

func sharedQuantities(s *stock) resource.Quantities {
	if !s.shared {
		return resource.Quantities{}
	}
	return sharedOf(s.list).Quantities()
}

// refresh makes free anew from total and what is taken.
func (al *Allocator) refresh(a *agent) {
	a.fold()
	if len(a.taken) == 0 {
		al.setFree(a, a.total)
		return
	}
	al.setFree(a, stockOf(a.total.list.Subtract(a.taken)))
}

// bookTaken adds to what is taken; fold brings the sum together when it is needed.
func (a *agent) bookTaken(list resource.Resources) {
	if len(a.taken) == 0 && len(a.pending) == 0 {
		a.taken = list
	} else {
		a.pending = append(a.pending, list)
	}
}

func (a *agent) fold() {
	for _, p := range a.pending {
		a.taken = a.taken.Add(p)
	}
	clear(a.pending)
	a.pending = a.pending[:0]
}

func (al *Allocator) setFree(a *agent, free *stock) {
	if a.usable {
		al.room = al.room.Subtract(a.free.common).Add(free.common)
	}
	a.free = free
	a.version++
	al.placeIdle(a)
}

// placeIdle keeps the set of usable agents with something free.
func (al *Allocator) placeIdle(a *agent) { al.idle.set(a.slot, a.usable && len(a.free.list) > 0) }

// idle tells whether the agent may have something to offer.
func (a *agent) idle() bool { return a.usable && len(a.free.list) > 0 }

// soil makes the next run visit the agent.
func (al *Allocator) soil(a *agent) {
	if !a.dirty && a.usable {
		a.dirty = true
		al.dirty = append(al.dirty, a)
	}
}

// soon is soil for what was declined: within the interval's budget, else with the next
// interval, so that many frameworks that decline all they see cost no more offers for
// each agent than a fixed cycle would.
func (al *Allocator) soon(a *agent) {
	switch {
	case a.dirty || a.later:
	case al.tokens > 0:
		al.tokens--
		al.soil(a)
	default:
		a.later = true
		al.later = append(al.later, a)
	}
}
