package core

import (
	"time"

	"github.com/stoa-project/stoa/framework/app"
)

// reviveBurst is how many REVIVE calls may be made at once before Config.ReviveEvery
// paces them.
const reviveBurst = 10

// demandState is what the master was told about our wish for offers.
type demandState struct {
	asking bool      // not suppressed
	fresh  bool      // the queue grew since the last REVIVE
	again  time.Time // repeat the last REVIVE then, zero: no
	tokens float64   // REVIVE calls that may be made now, at most reviveBurst
	filled time.Time // when tokens was last brought up to date
}

// wanted notes that a line may take offers it could not take before.
func (c *Core) wanted(l *line) {
	c.demand.fresh = true
	if l.scheduled > 0 && (l.stats.since == 0 || l.stats.done) {
		l.stats = stats{since: app.At(c.now)}
	}
}

// wants tells whether any instance could be launched now: a pure function of the queue.
func (c *Core) wants() bool {
	for _, l := range c.lines {
		if c.lineWants(l) {
			return true
		}
	}
	return false
}

func (c *Core) lineWants(l *line) bool {
	if l.scheduled == 0 {
		return false
	}
	if len(l.delays) == 0 {
		return true
	}
	for _, i := range l.instances {
		if i.waits() {
			if _, late := c.delayed(l, i.spec); !late {
				return true
			}
		}
	}
	return false
}

// waitsDelayed tells whether an instance in the queue is held back.
func (c *Core) waitsDelayed(l *line) bool {
	if l.scheduled == 0 || len(l.delays) == 0 {
		return false
	}
	for _, i := range l.instances {
		if i.waits() {
			if _, late := c.delayed(l, i.spec); late {
				return true
			}
		}
	}
	return false
}

// adjustDemand asks for offers when the queue grew or a delay ended. The wish to have
// none is told on ticks only, so that a short pause in a deployment costs no calls.
func (c *Core) adjustDemand() {
	d := &c.demand
	if c.master == "" || !d.fresh && (d.again.IsZero() || c.now.Before(d.again)) {
		return
	}
	if !c.wants() {
		d.fresh, d.again = false, time.Time{}
		return
	}
	d.refill(c.now, c.cfg.ReviveEvery)
	if d.tokens < 1 {
		return // stays due; the next tick tries again
	}
	d.tokens--
	if d.fresh {
		d.again = c.now.Add(c.cfg.ReviveEvery)
	} else {
		d.again = time.Time{}
	}
	d.fresh, d.asking = false, true
	c.totals.Revives++
	c.emit(Revive{})
}

func (d *demandState) refill(now time.Time, every time.Duration) {
	if d.filled.IsZero() {
		d.tokens = reviveBurst
	} else {
		d.tokens = min(reviveBurst, d.tokens+float64(now.Sub(d.filled))/float64(every))
	}
	d.filled = now
}

// rest tells the master that no offers are wanted.
func (c *Core) rest() {
	d := &c.demand
	if c.master == "" || !d.asking || c.cfg.KeepOffers || c.wants() {
		return
	}
	d.asking = false
	c.totals.Suppresses++
	c.emit(Suppress{})
}
