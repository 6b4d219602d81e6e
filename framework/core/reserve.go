package core

import (
	"slices"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/match"
)

// answer is what is done with one offer.
type answer struct {
	free    []match.Resource
	reserve []Reserve
	tasks   []Launch
}

func (a *answer) empty() bool { return len(a.free)+len(a.reserve)+len(a.tasks) == 0 }

// owners goes over the blocks of an offer that are reserved for an instance of this
// framework, by instance in the order of the offer.
func (c *Core) owners(o *match.Offer) (ids []app.InstanceID, blocks map[app.InstanceID][]match.Resource) {
	for k := range o.Resources {
		owner := app.InstanceID(o.Resources[k].Owner(c.frameworkID))
		if owner == "" {
			continue
		}
		if blocks == nil {
			blocks = map[app.InstanceID][]match.Resource{}
		}
		if blocks[owner] == nil {
			ids = append(ids, owner)
		}
		blocks[owner] = append(blocks[owner], o.Resources[k])
	}
	return ids, blocks
}

// claim goes through what the offers have reserved for instances: what no instance owns
// is freed, and instances that wait for it are launched on it. It comes before all other
// matching (marathon.md 6.1).
func (c *Core) claim(rules *match.Rules, offers []*match.Offer, answers []answer) {
	refused := map[*line]map[int]match.Reason{}
	for n, o := range offers {
		ids, blocks := c.owners(o)
		for _, id := range ids {
			i := c.instances[id]
			if i == nil || i.view.Reservation == nil || i.view.AgentID != o.AgentID {
				c.note("freeing a reservation that no instance owns", "instance", id, "agent", o.AgentID)
				answers[n].free = append(answers[n].free, blocks[id]...)
				c.freed(id)
				continue
			}
			i.confirmed = true
			if !i.held() {
				continue
			}
			if _, late := c.delayed(i.line, i.spec); late {
				continue
			}
			l, why, ok := match.Relaunch(rules, c.frameworkID, c.heldSpec(i), o)
			if !ok {
				if refused[i.line] == nil {
					refused[i.line] = map[int]match.Reason{}
				}
				refused[i.line][n] = why
				continue
			}
			c.provision(i, o, l)
			answers[n].tasks = append(answers[n].tasks, c.launch(i, l))
			i.line.stats.lastUsed = app.At(c.now)
		}
		c.settleLeftovers(o, blocks)
	}
	c.countHeld(offers, refused, answers)
}

// heldSpec is what a held instance needs of its reservation.
func (c *Core) heldSpec(i *instance) match.Held {
	s := c.specOf(i.spec)
	s.Role = i.view.Role // the reservation's, also after the app changed its role
	for _, other := range i.line.instances {
		if other != i && other.view.Condition != app.Scheduled && counts(i.spec, other) {
			s.Placed(other.place())
		}
	}
	return match.Held{Spec: s, Owner: string(i.view.ID), Volumes: i.view.Reservation.VolumeIDs()}
}

// countHeld notes why offers did not serve instances that wait for their reservation.
func (c *Core) countHeld(offers []*match.Offer, refused map[*line]map[int]match.Reason, answers []answer) {
	for _, id := range sortedKeys(c.queue) {
		l := c.queue[id]
		waiting := l.waiting()
		at := slices.IndexFunc(waiting, (*instance).held)
		if at < 0 {
			continue
		}
		role := waiting[at].view.Role
		var seen match.Summary
		var list []match.Refusal
		for n, o := range offers {
			why, tried := refused[l][n]
			switch {
			case slices.ContainsFunc(answers[n].tasks, func(t Launch) bool { return t.Spec.ID == id }):
				seen.Offers++
				continue
			case tried:
			case o.Role != role:
				why = match.UnfulfilledRole
			default:
				why = match.NoCorrespondingReservationFound
			}
			seen.Offers++
			seen.Refused[why]++
			list = append(list, match.Refusal{Offer: n, Reason: why})
		}
		l.stats.add(c.now, offers, seen, list)
		c.dirty.any = true
	}
}

// reserve writes a match for a fresh resident instance into it: nothing runs before the
// reservation comes back as an offer.
func (c *Core) reserve(i *instance, o *match.Offer, l match.Launch) Reserve {
	r := &app.Reservation{At: app.At(c.now)}
	for k := range l.Volumes {
		v := app.NewLocalVolume(i.view.App, i.spec.Volumes[k].ContainerPath, c.cfg.UUID())
		r.Volumes = append(r.Volumes, v)
		l.Volumes[k].Disk.Volume = v.PersistenceID
	}
	i.reservedAt, i.confirmed = c.now, false
	c.set(i, func(v *app.Instance) {
		v.Reservation = r
		settleAt(v, o)
	})
	i.line.stats.lastUsed = app.At(c.now)
	return Reserve{Instance: i.view, Resources: slices.Concat(l.Resources, l.Executor), Volumes: l.Volumes}
}
