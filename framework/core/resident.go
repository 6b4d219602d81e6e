package core

import (
	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/match"
)

// Life of an instance with a reservation: it waits for an offer, reserves, waits for the
// offer that shows the reservation, runs, and is relaunched only there. Retired, its task
// is killed and it is suspended: its goal is Stopped and its resources stay reserved.
// Growing wakes it. Decommissioned, it is forgotten and its reservation is a leftover.

// How long offers are asked for to free a leftover, and one that no offer ever showed. An
// agent that stays away longer is freed when it offers anything.
const (
	leftoverFor    = app.Timestamp(7 * 24 * 60 * 60 * 1000)
	unconfirmedFor = app.Timestamp(10 * 60 * 1000)
)

// idle tells whether no task of the instance can be alive.
func (i *instance) idle() bool { return i.view.Condition == app.Scheduled || i.view.Ended() }

// held tells whether the instance waits for the offer of its own reservation.
func (i *instance) held() bool { return i.waits() && i.view.Reservation != nil }

// suspended tells whether the instance is only there for its reservation.
func (i *instance) suspended() bool {
	return i.view.Goal == app.GoalStopped && (i.idle() || i.view.Lost())
}

// retire gives an instance up for as long as its app does not grow: one with a reservation
// keeps it, any other is decommissioned.
func (c *Core) retire(i *instance) {
	if i.view.Reservation == nil {
		c.decommission(i)
		return
	}
	if i.view.Goal == app.GoalRunning {
		c.set(i, func(v *app.Instance) { v.Goal = app.GoalStopped })
	}
	if !i.suspended() {
		c.kill(i)
	}
}

// grow adds an instance of a definition to the launch queue: a suspended one that can be
// had, else a fresh one.
func (c *Core) grow(spec *app.RunSpec) {
	if spec.Resident {
		for _, i := range c.line(spec.ID).instances {
			if i.suspended() && !i.view.Lost() {
				c.wake(i, spec)
				return
			}
		}
	}
	c.schedule(spec)
}

// wake puts an idle instance with a reservation into the launch queue, as one of this
// definition.
func (c *Core) wake(i *instance, spec *app.RunSpec) {
	i.spec = spec
	c.set(i, func(v *app.Instance) { v.Goal, v.AppVersion = app.GoalRunning, spec.Version })
	c.reschedule(i)
}

// leave notes that the reservation of an instance about to be forgotten is to be freed.
func (c *Core) leave(i *instance) {
	v := i.view
	if v.Reservation == nil {
		return
	}
	lo := &app.Leftover{Instance: v.ID, Role: v.Role, AgentID: v.AgentID, Until: app.At(c.now) + leftoverFor}
	if v.Launch == 0 && !i.confirmed {
		lo.Until = app.At(c.now) + unconfirmedFor
	}
	c.leftovers[v.ID] = lo
	c.out.change(Change{Key: leftoverKey(v.ID), Value: lo})
	c.inRole(v.Role).fresh = true
}

// freed notes that a leftover is given back. That may get lost with this leader, so the
// record goes only when an offer shows it gone.
func (c *Core) freed(id app.InstanceID) {
	lo := c.leftovers[id]
	if lo == nil || lo.Freed {
		return
	}
	again := *lo
	again.Freed = true
	c.leftovers[id] = &again
	c.out.change(Change{Key: leftoverKey(id), Value: &again})
}

// settleLeftovers drops leftovers that were given back and of which an offer of their agent
// shows nothing. One that was not may be in use by a task that nobody knows any more.
func (c *Core) settleLeftovers(o *match.Offer, blocks map[app.InstanceID][]match.Resource) {
	for _, id := range sortedKeys(c.leftovers) {
		if lo := c.leftovers[id]; lo.Freed && lo.AgentID == o.AgentID && lo.Role == o.Role && blocks[id] == nil {
			c.dropLeftover(id)
		}
	}
}

func (c *Core) dropLeftover(id app.InstanceID) {
	delete(c.leftovers, id)
	c.out.change(Change{Key: leftoverKey(id)})
}

// abandon forgets an instance whose reservation does not exist (any more).
func (c *Core) abandon(i *instance) {
	v := *i.view
	v.Reservation = nil
	i.view = &v
	c.forget(i)
}

// expireLeftovers stops asking for offers of agents that do not come back.
func (c *Core) expireLeftovers() {
	for _, id := range sortedKeys(c.leftovers) {
		if app.At(c.now) > c.leftovers[id].Until {
			c.dropLeftover(id)
		}
	}
}

// unconfirmed gives up an instance whose reservation never showed in an offer.
func (c *Core) unconfirmed(i *instance) {
	if i.held() && i.view.Launch == 0 && !i.confirmed && c.now.Sub(i.reservedAt) >= c.cfg.ReservationTimeout {
		c.note("the reservation does not come: trying again", "instance", i.view.ID, "agent", i.view.AgentID)
		c.forget(i)
	}
}
