package core

import (
	"time"

	"github.com/stoa-project/stoa/framework/app"
)

// delay is the launch back-off of one configuration of an app (marathon.md 6.6).
type delay struct {
	length time.Duration
	from   time.Time // reference: the last failure or the last progress after it
	keep   time.Duration
}

func (d *delay) until() time.Time { return d.from.Add(d.length) }

// failed lengthens the delay of the definition.
func (c *Core) failed(l *line, spec *app.RunSpec) {
	limit := spec.Backoff.Limit
	d := l.delays[spec.ConfigVersion]
	if d == nil {
		d = &delay{length: min(spec.Backoff.First, limit)}
		l.delays[spec.ConfigVersion] = d
	} else {
		d.length = min(limit, time.Duration(float64(d.length)*spec.Backoff.Factor))
	}
	d.from, d.keep = c.now, limit
	l.held = true
	c.queue[l.id] = l
}

// progressed moves the reference time: the definition launches.
func (c *Core) progressed(l *line, spec *app.RunSpec) {
	if d := l.delays[spec.ConfigVersion]; d != nil {
		d.from = c.now
		l.held = true
	}
}

// delayed tells whether the definition must not be launched yet, and until when.
func (c *Core) delayed(l *line, spec *app.RunSpec) (time.Time, bool) {
	d := l.delays[spec.ConfigVersion]
	if d == nil || !d.until().After(c.now) {
		return time.Time{}, false
	}
	return d.until(), true
}

// resetDelay forgets all delays of an app.
func (c *Core) resetDelay(l *line) {
	if len(l.delays) == 0 {
		return
	}
	clear(l.delays)
	c.dirty.mark(l.id)
	c.wanted(l)
}

// expireDelays drops what had no failure for longer than the longest delay.
func (c *Core) expireDelays() {
	for _, l := range c.queue {
		for v, d := range l.delays {
			if c.now.After(d.from.Add(max(d.keep, d.length))) {
				delete(l.delays, v)
				c.dirty.mark(l.id)
			}
		}
	}
}
