package allocate

import (
	"slices"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// take books what the ledger learned of without a grant.
func (al *Allocator) take(e ledger.Taken) {
	a := al.agent(e.Agent)
	r := e.Resources.Unallocate()
	c := al.client(al.framework(e.Framework), e.Role)
	s := stockOf(r)
	al.hold(a, c, s)
	a.bookTaken(unsharedOf(s))
	al.refresh(a)
}

// release gives resources back and, when they were declined, remembers that.
func (al *Allocator) release(now time.Time, e ledger.Released) {
	a := al.agents[e.Agent]
	f := al.frameworks[e.Framework]
	var c *client
	if f != nil {
		c = f.roles[e.Role]
	}
	if a != nil {
		al.turn(now)
		list, all := al.giveBack(a, c, e.Resources)
		if !all {
			a.fold()
			a.taken = a.taken.Subtract(unshared(list))
		}
		al.refresh(a)
		if e.Declined && c != nil && f.open && c.subscribed {
			al.refuse(now, a, c, list, e.Refuse)
			al.soon(a)
		} else {
			al.soil(a)
		}
		al.recheck = true
	}
	if c != nil {
		al.prune(c)
	}
}

// giveBack takes resources out of a client's book on an agent. The answer is the
// resources without their allocation; all says that nothing of the agent is taken now.
func (al *Allocator) giveBack(a *agent, c *client, r resource.Resources) (list resource.Resources, all bool) {
	if len(a.holds) == 1 && a.holds[0].client == c && a.sharing == nil && len(a.pending) == 0 && !a.total.shared {
		// What the only holder has is the sum of what is taken: the same quantities of it are
		// all of it.
		if q := r.Quantities(); a.holds[0].amounts.all.Equal(&q) {
			al.uncharge(c, a.holds[0].amounts)
			al.forgetHold(a, 0)
			list, a.taken = a.taken, nil
			return list, true
		}
	}
	list = r.Unallocate()
	if c != nil {
		al.unhold(a, c, stockOf(list))
	}
	return list, false
}

// convert replaces booked or free resources by others of the same agent.
func (al *Allocator) convert(e ledger.Converted) {
	a := al.agents[e.Agent]
	if a == nil {
		return
	}
	from, to := e.From.Unallocate(), e.To.Unallocate()
	if e.Framework != "" {
		c := al.client(al.framework(e.Framework), e.Role)
		al.unhold(a, c, stockOf(from))
		al.hold(a, c, stockOf(to))
		al.counting(c, func(n *node) { n.count-- }) // no new grant
		a.fold()
		a.taken = a.taken.Subtract(unshared(from)).Add(unshared(to))
		al.prune(c)
	}
	al.setTotal(a, a.total.list.Subtract(from).Add(to))
	al.soil(a)
	al.recheck = true
}

// hold books resources for a client on an agent.
func (al *Allocator) hold(a *agent, c *client, s *stock) {
	i := slices.IndexFunc(a.holds, func(h hold) bool { return h.client == c })
	if i < 0 {
		a.holds = append(a.holds, hold{client: c, amounts: &s.amounts})
		c.holds++
		if a.unavailable != nil {
			al.inverse = true
		}
	} else {
		a.holds[i].amounts = a.holds[i].amounts.plus(&s.amounts)
	}
	al.charge(c, &s.amounts)
	if s.shared {
		al.shareUse(a, c, s, +1)
	}
}

// unhold takes them out of the book.
func (al *Allocator) unhold(a *agent, c *client, s *stock) {
	i := slices.IndexFunc(a.holds, func(h hold) bool { return h.client == c })
	if i < 0 {
		return
	}
	if s.shared {
		al.shareUse(a, c, s, -1)
	}
	a.holds[i].amounts = a.holds[i].amounts.minus(&s.amounts)
	al.uncharge(c, &s.amounts)
	if a.holds[i].amounts.all.IsZero() {
		al.forgetHold(a, i)
	}
}

func (al *Allocator) forgetHold(a *agent, i int) {
	a.holds[i].client.holds--
	a.holds[i] = a.holds[len(a.holds)-1]
	a.holds[len(a.holds)-1] = hold{}
	a.holds = a.holds[:len(a.holds)-1]
}

// charge counts resources for a client and all above it.
func (al *Allocator) charge(c *client, m *amounts) {
	al.booked = al.booked.Add(m.scalars)
	al.counting(c, func(n *node) {
		n.allocated = n.allocated.Add(m.scalars)
		n.count++
		al.touch(n)
	})
	if !m.common.IsZero() {
		top := c.role.top
		top.used = top.used.Add(m.common)
		al.requote(top)
	}
}

// uncharge is the reverse; grants so far stay counted.
func (al *Allocator) uncharge(c *client, m *amounts) {
	al.booked = al.booked.Subtract(m.scalars)
	al.counting(c, func(n *node) {
		n.allocated = n.allocated.Subtract(m.scalars)
		al.touch(n)
	})
	if !m.common.IsZero() {
		top := c.role.top
		top.used = top.used.Subtract(m.common)
		al.requote(top)
	}
}

// counting visits the nodes that a client's resources count for: its own, its role's virtual
// leaf, and the roles above.
func (al *Allocator) counting(c *client, f func(*node)) {
	f(&c.node)
	f(&c.role.own)
	for r := c.role; r.parent != nil; r = r.parent {
		f(&r.node)
	}
}

// shareUse counts a shared resource once for each node, however many uses it has there.
func (al *Allocator) shareUse(a *agent, c *client, s *stock, by int) {
	for _, r := range sharedOf(s.list) {
		key := resource.Text(r)
		if a.sharing == nil {
			a.sharing = map[string]*sharing{}
		}
		use := a.sharing[key]
		if use == nil {
			use = &sharing{amount: resource.Resources{r}.Quantities(), users: map[*node]int{}}
			a.sharing[key] = use
		}
		q, users := use.amount, use.users
		al.counting(c, func(n *node) {
			was := users[n]
			switch is := was + by; {
			case is <= 0:
				delete(users, n)
			default:
				users[n] = is
			}
			switch {
			case was == 0 && by > 0:
				n.allocated = n.allocated.Add(q)
				al.touch(n)
			case was == 1 && by < 0:
				n.allocated = n.allocated.Subtract(q)
				al.touch(n)
			}
		})
		if len(users) == 0 {
			delete(a.sharing, key)
		}
	}
}

// countReserved keeps the sums of reservations by role that quota counts.
func (al *Allocator) countReserved(a *agent) {
	old := a.reserved
	a.reserved = nil
	if a.total.reserved {
		for _, r := range a.total.list {
			if len(r.Reservations) == 0 || r.GetType() != mesos.Value_SCALAR {
				continue
			}
			held := al.role(resource.RoleOf(r))
			q := resource.Resources{r}.Quantities()
			a.reserved = append(a.reserved, reservation{held, q})
			held.above(func(n *role) { n.reserved = n.reserved.Add(q) })
			al.requote(held.top)
		}
	}
	for _, was := range old {
		was.role.above(func(n *role) { n.reserved = n.reserved.Subtract(was.amount) })
		al.requote(was.role.top)
		al.pruneRole(was.role)
	}
}
