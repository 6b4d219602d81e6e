package allocate

import (
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// visit is one look at one agent.
type visit struct {
	agent      *agent
	queue      int  // everyone when the agent changed, fresh when only some demand did
	guaranteed bool // the first stage: only what brings a role nearer to its guarantee
	grants     []ledger.Grant
}

// Run visits every agent on which something became available, in random order, and
// grants all of what it has free to the most deserving client that may have it, one
// client after the other. After each agent the order is made anew, so the next agent sees
// the new shares. Roles with unmet guarantees are served first, in a round of their own;
// then all, in a new order of agents (mesos-master.md 3.1). What the first round leaves of
// an agent the second cannot give to the same client, because headroom does not grow in
// between: so there is one grant for each client and agent.
//
// Frameworks whose demand is new are also shown the agents that did not change.
func (al *Allocator) Run(now time.Time) []ledger.Grant {
	if al.awaiting != nil {
		if now.Before(al.awaiting.Until) {
			return nil
		}
		al.awaiting = nil
	}
	al.turn(now)
	al.expire(now)
	agents := al.candidates()
	if len(agents) == 0 {
		return nil
	}
	al.runs++
	al.settle()
	v := &visit{grants: make([]ledger.Grant, 0, min(len(agents), al.cfg.MaxGrants))}
	cut := len(agents)
	if al.needs.size > 0 {
		v.guaranteed = true
		cut = al.round(agents, v)
		v.guaranteed = false
	}
	if cut == len(agents) {
		cut = al.round(agents, v)
	} else {
		cut = 0 // the second stage comes with the next run
	}
	al.finish(agents, cut)
	return v.grants
}

// candidates are the agents to visit: those that changed, and all with something free
// when some demand is new.
func (al *Allocator) candidates() []*agent {
	agents := al.dirty
	al.dirty = nil
	if len(al.fresh) > 0 {
		al.idle.each(func(slot int) {
			if a := al.slots[slot]; !a.dirty {
				agents = append(agents, a)
			}
		})
	}
	return agents
}

// finish notes what the run has done: agents from cut on were not visited.
func (al *Allocator) finish(agents []*agent, cut int) {
	al.settle()
	for _, c := range al.fresh {
		c.fresh = false
		al.exit(c, fresh)
	}
	al.fresh = al.fresh[:0]
	for _, a := range agents[cut:] {
		if a.dirty = a.idle(); a.dirty {
			al.dirty = append(al.dirty, a)
		}
	}
	if cap(al.dirty) == 0 {
		al.dirty = agents[:0]
	}
}

// round visits the agents in random order until there are enough grants; the answer is
// how many were visited.
func (al *Allocator) round(agents []*agent, v *visit) int {
	for i := range agents {
		if len(v.grants) >= al.cfg.MaxGrants {
			return i
		}
		j := i + int(al.random()%uint64(len(agents)-i))
		agents[i], agents[j] = agents[j], agents[i]
		v.agent, v.queue = agents[i], fresh
		if v.agent.dirty {
			v.queue = everyone
		}
		al.visit(v)
		if v.guaranteed {
			continue
		}
		if v.agent.dirty = false; v.agent.chopped && !v.agent.held && v.agent.idle() {
			v.agent.held = true
			al.held = append(al.held, v.agent)
		}
	}
	return len(agents)
}

func (al *Allocator) visit(v *visit) {
	a := v.agent
	a.chopped = false
	if !a.idle() || (al.minimums == 0 && !enough(al.cfg.Minimum, &a.free.all)) {
		return
	}
	if len(al.stale) > 0 || len(al.requoted) > 0 {
		al.settle()
	}
	switch {
	case v.guaranteed:
		al.each(&al.needs, func(n *node) bool {
			return n.role.quota.unmet.IsZero() || n.role.queues[v.queue].live == 0 || al.walk(n.role, v)
		})
	case len(al.quotas) > 0 && v.queue == everyone && al.plain(a):
		a.chopped = al.uncapped.size < al.root.queues[everyone].roles.size
		al.each(&al.uncapped, func(n *node) bool { return al.walk(n.role, v) })
	default:
		al.walk(al.root, v)
	}
}

// walk visits the clients of a role and those below it, the most deserving first. The
// answer is whether the agent has something left.
func (al *Allocator) walk(r *role, v *visit) bool {
	return al.each(&r.queues[v.queue].roles, func(n *node) bool {
		switch {
		case !al.mayServe(n.role, v):
			return true
		case n.leaf:
			return al.serve(n.role, v)
		}
		return al.walk(n.role, v)
	})
}

// mayServe passes over roles that the agent has nothing for.
func (al *Allocator) mayServe(r *role, v *visit) bool {
	a := v.agent
	if q := r.top.quota; q != nil && q.capped && !v.guaranteed && al.plain(a) {
		a.chopped = true
		return false
	}
	if a.free.unreserved || a.free.shared {
		return true
	}
	return slices.ContainsFunc(a.free.list, func(each *mesos.Resource) bool {
		held := resource.RoleOf(each)
		return held == r.name || resource.IsSubrole(r.name, held) || resource.IsSubrole(held, r.name)
	})
}

// plain tells whether an offer needs common resources of the agent: nothing is reserved,
// revocable or shared, and what is no scalar makes no offer by itself.
func (al *Allocator) plain(a *agent) bool {
	if a.free.reserved || a.free.special {
		return false
	}
	rest := a.free.all.Subtract(a.free.scalars)
	return !enough(al.cfg.Minimum, &rest)
}

// serve offers the agent to the frameworks of one role.
func (al *Allocator) serve(r *role, v *visit) bool {
	a := v.agent
	if !a.capabilities.HierarchicalRole && strings.Contains(r.name, "/") {
		return true
	}
	s := al.stockFor(r, a)
	if len(s.list) == 0 {
		return true
	}
	return al.each(&r.queues[v.queue].clients, func(n *node) bool {
		if al.offer(n.client, s, v) {
			if len(a.free.list) == 0 {
				return false
			}
			s = al.stockFor(r, a)
		}
		return len(s.list) > 0
	}) || len(a.free.list) > 0
}

// stockFor is what of an agent a role may have: unreserved, or reserved to it or to a
// role above; shared resources only once in each run.
func (al *Allocator) stockFor(r *role, a *agent) *stock {
	lent := a.free.shared && a.lent == al.runs
	if !a.free.reserved && !lent {
		return a.free
	}
	list := a.free.list.Allocatable(r.name)
	if lent {
		list = unshared(list)
	}
	return stockOf(list)
}

// offer grants a client what it may have of the stock, if that is worth an offer and was
// not declined.
func (al *Allocator) offer(c *client, s *stock, v *visit) bool {
	a, f := v.agent, c.framework
	switch {
	case a.gpus && al.cfg.FilterGPU && !f.capabilities.GPU,
		a.remote && !f.capabilities.RegionAware,
		f.capabilities.MultiRole && !a.capabilities.MultiRole,
		!enough(al.least(c), &s.all),
		al.excludes(c, a):
		return false
	}
	if s.special {
		list := s.list.Filter(func(r *mesos.Resource) bool {
			return (r.Revocable == nil || f.capabilities.Revocable) && (r.Shared == nil || f.capabilities.Shared) &&
				(len(r.Reservations) < 2 || f.capabilities.Refinement)
		})
		if len(list) < len(s.list) {
			s = stockOf(list)
		}
	}
	if c.role.top.quota != nil || !al.required.IsZero() {
		list, progress := al.chop(c.role, s, v.guaranteed)
		if v.guaranteed && !progress {
			return false
		}
		if !identical(list, s.list) {
			a.chopped = true
			s = stockOf(list)
		}
	}
	if len(s.list) == 0 || !enough(al.least(c), &s.all) || al.refused(a, c, s) {
		return false
	}
	v.grants = append(v.grants, ledger.Grant{Framework: f.id, Role: c.role.name, Agent: a.id, Generation: a.generation, Resources: s.list})
	al.grant(a, c, s)
	return true
}

// grant books what a client is offered.
func (al *Allocator) grant(a *agent, c *client, s *stock) {
	if s.shared {
		a.lent = al.runs
	}
	al.hold(a, c, s)
	whole := s == a.free && !s.shared
	a.bookTaken(unsharedOf(s))
	if whole {
		al.setFree(a, nothing)
		return
	}
	al.refresh(a)
}
