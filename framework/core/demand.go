package core

import (
	"slices"
	"time"

	"github.com/stoa-project/stoa/framework/app"
)

// reviveBurst is how many REVIVE calls may be made at once before Config.ReviveEvery
// paces them.
const reviveBurst = 10

// demandState is what the master was told about our wish for offers. The roles are those
// of all apps seen in this leadership and the framework's own; none is given up before
// the next one, for instances may hold resources in it.
type demandState struct {
	roles  map[string]*wish
	grown  bool      // a role came that the master does not know of
	tokens float64   // REVIVE calls that may be made now, at most reviveBurst
	filled time.Time // when tokens was last brought up to date
}

// wish is the demand in one role.
type wish struct {
	asking bool      // not suppressed
	fresh  bool      // the queue grew since the last REVIVE
	again  time.Time // repeat the last REVIVE then, zero: no
}

// due tells whether a REVIVE is to be made.
func (w *wish) due(now time.Time) bool {
	return w.fresh || !w.again.IsZero() && !now.Before(w.again)
}

// inRole gives the demand in a role, "" meaning the framework's own. A role that is new
// gets offers as soon as the master knows of it.
func (c *Core) inRole(role string) *wish {
	if role == "" {
		role = c.cfg.Role
	}
	w := c.demand.roles[role]
	if w == nil {
		if c.demand.roles == nil {
			c.demand.roles = map[string]*wish{}
		}
		w = &wish{asking: true}
		c.demand.roles[role] = w
		c.demand.grown = true
	}
	return w
}

// roles are those whose offers the line waits for: that of its definition, and those in
// which instances that wait have their reservations.
func (l *line) roles() []string {
	if l.spec == nil {
		return []string{""}
	}
	out := []string{l.spec.Role}
	if l.spec.Resident {
		for _, i := range l.waiting() {
			if i.held() && !slices.Contains(out, i.view.Role) {
				out = append(out, i.view.Role)
			}
		}
	}
	return out
}

// wanted notes that a line may take offers it could not take before.
func (c *Core) wanted(l *line) {
	for _, role := range l.roles() {
		c.inRole(role).fresh = true
	}
	if l.scheduled > 0 && (l.stats.since == 0 || l.stats.done) {
		l.stats = stats{since: app.At(c.now)}
	}
}

// wanting gives the roles in which an instance could be launched now: a pure function of
// the queue.
func (c *Core) wanting() map[*wish]bool {
	out := map[*wish]bool{}
	for _, lo := range c.leftovers {
		out[c.inRole(lo.Role)] = true
	}
	for _, l := range c.queue {
		if l.scheduled == 0 {
			continue
		}
		for _, role := range l.roles() {
			if w := c.inRole(role); !out[w] && c.lineWants(l) {
				out[w] = true
			}
		}
		if len(out) == len(c.demand.roles) {
			break
		}
	}
	return out
}

func (c *Core) lineWants(l *line) bool {
	if l.scheduled == 0 {
		return false
	}
	if len(l.delays) == 0 {
		return true
	}
	for _, i := range l.waiting() {
		if _, late := c.delayed(l, i.spec); !late {
			return true
		}
	}
	return false
}

// waitsDelayed tells whether an instance in the queue is held back.
func (c *Core) waitsDelayed(l *line) bool {
	if l.scheduled == 0 || len(l.delays) == 0 {
		return false
	}
	for _, i := range l.waiting() {
		if _, late := c.delayed(l, i.spec); late {
			return true
		}
	}
	return false
}

// resubscribed starts anew: the master forgot what was suppressed, and offers come.
func (d *demandState) resubscribed() {
	for _, w := range d.roles {
		w.asking, w.fresh = true, true
	}
}

// adjustDemand tells the master of new roles, and asks for offers in those where the
// queue grew or a delay ended. The wish to have none is told on ticks only, so that a
// short pause in a deployment costs no calls.
func (c *Core) adjustDemand() {
	d := &c.demand
	if d.grown {
		d.grown = false
		c.emit(c.rolesEffect())
	}
	if c.master == "" {
		return
	}
	var due []string
	for _, role := range sortedKeys(d.roles) {
		if d.roles[role].due(c.now) {
			due = append(due, role)
		}
	}
	if len(due) == 0 {
		return
	}
	wanting := c.wanting()
	revived := due[:0]
	for _, role := range due {
		if w := d.roles[role]; wanting[w] {
			revived = append(revived, role)
		} else {
			w.fresh, w.again = false, time.Time{}
		}
	}
	if len(revived) == 0 {
		return
	}
	d.refill(c.now, c.cfg.ReviveEvery)
	if d.tokens < 1 {
		return // stays due; the next tick tries again
	}
	d.tokens--
	for _, role := range revived {
		w := d.roles[role]
		if w.fresh {
			w.again = c.now.Add(c.cfg.ReviveEvery)
		} else {
			w.again = time.Time{}
		}
		w.fresh, w.asking = false, true
	}
	c.totals.Revives++
	c.emit(Revive{Roles: revived})
}

// rolesEffect names every role and those that are suppressed.
func (c *Core) rolesEffect() Roles {
	var out Roles
	for _, role := range sortedKeys(c.demand.roles) {
		out.Roles = append(out.Roles, role)
		if !c.demand.roles[role].asking {
			out.Suppressed = append(out.Suppressed, role)
		}
	}
	return out
}

func (d *demandState) refill(now time.Time, every time.Duration) {
	if d.filled.IsZero() {
		d.tokens = reviveBurst
	} else {
		d.tokens = min(reviveBurst, d.tokens+float64(now.Sub(d.filled))/float64(every))
	}
	d.filled = now
}

// rest tells the master in which roles no offers are wanted.
func (c *Core) rest() {
	d := &c.demand
	if c.master == "" || c.cfg.KeepOffers {
		return
	}
	var resting []string
	var wanting map[*wish]bool
	for _, role := range sortedKeys(d.roles) {
		w := d.roles[role]
		if !w.asking {
			continue
		}
		if wanting == nil {
			wanting = c.wanting()
		}
		if !wanting[w] {
			w.asking = false
			resting = append(resting, role)
		}
	}
	if len(resting) > 0 {
		c.totals.Suppresses++
		c.emit(Suppress{Roles: resting})
	}
}
