package allocate

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// inverse is what a framework said of leaving an agent.
type inverse struct {
	outstanding bool
	until       time.Time // no inverse offer before
}

// inverseAnswered takes the answer to an inverse offer, or its end without one (11.1).
func (al *Allocator) inverseAnswered(now time.Time, e ledger.InverseAnswered) {
	a, f := al.agents[e.Agent], al.frameworks[e.Framework]
	if a == nil || f == nil || a.unavailable == nil {
		return
	}
	i := a.inverse[f]
	if i == nil {
		return
	}
	i.outstanding = false
	wait := e.Refuse
	if e.Rescinded {
		wait = al.cfg.Interval // what nobody answered comes back at the pace of a fixed cycle
	}
	i.until = now.Add(wait)
	al.inverse = true
}

// setUnavailable notes the planned maintenance of an agent. A new plan asks everyone again.
func (al *Allocator) setUnavailable(a *agent, u *mesos.Unavailability) {
	if proto.Equal(a.unavailable, u) {
		return
	}
	a.unavailable, a.inverse = u, nil
	if u == nil {
		delete(al.maintenance, a)
		return
	}
	al.maintenance[a] = true
	a.inverse = map[*framework]*inverse{}
	al.inverse = true
}

// dropInverse forgets what a framework answered, and with it what it was asked when it
// went away.
func (al *Allocator) dropInverse(f *framework, gone bool) {
	for a := range al.maintenance {
		i := a.inverse[f]
		switch {
		case i == nil:
		case gone:
			delete(a.inverse, f)
		default:
			i.until = time.Time{}
			al.inverse = true
		}
	}
}

// nextInverse gives the time at which the next inverse offer may be due again.
func (al *Allocator) nextInverse() (at time.Time, any bool) {
	for a := range al.maintenance {
		for f, i := range a.inverse {
			if !i.outstanding && f.open && a.heldBy(f) && (!any || i.until.Before(at)) {
				at, any = i.until, true
			}
		}
	}
	return at, any
}

func (a *agent) heldBy(f *framework) bool {
	return slices.ContainsFunc(a.holds, func(h hold) bool { return h.client.framework == f })
}

// Inverse asks the frameworks that have something on an agent in planned maintenance to
// leave it: each once for each agent until it answers, and again when the time it
// refused for is over (11.1).
func (al *Allocator) Inverse(now time.Time) []ledger.InverseGrant {
	al.inverse = false
	if len(al.maintenance) == 0 || al.awaiting != nil {
		return nil
	}
	var out []ledger.InverseGrant
	for _, a := range al.slots {
		if a == nil || a.unavailable == nil || !a.open {
			continue
		}
		for _, h := range a.holds {
			f := h.client.framework
			i := a.inverse[f]
			if !f.open || (i != nil && (i.outstanding || now.Before(i.until))) {
				continue
			}
			a.inverse[f] = &inverse{outstanding: true}
			out = append(out, ledger.InverseGrant{Framework: f.id, Agent: a.id, Generation: a.generation})
		}
	}
	return out
}
