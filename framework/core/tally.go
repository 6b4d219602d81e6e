package core

import (
	"slices"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/deploy"
)

// share is what one instance adds to the counts of its line. The last seven depend on the
// action that works on the app.
type share struct {
	active  bool // wanted, and runs, starts or waits to start
	leaving bool // not wanted any more and still there

	waiting bool // scale: awaited, and not healthy and ready
	old     bool // restart: active and of an older version
	fresh   bool // restart: active and of the target's version
	holding bool // restart: of an older version or not wanted any more, and still there
	healthy bool // restart: serves, and may let an old one go
	serving bool // restart: old and serves
	sick    bool // restart: old and not running, or known to be sick
	good    bool // restart: fresh, healthy and ready
}

// tally sums up the shares of a line.
type tally struct {
	active, leaving, waiting, old, fresh, holding, healthy, serving, sick, good int
}

func (t *tally) add(s share, n int) {
	for _, f := range [...]struct {
		on  bool
		sum *int
	}{
		{s.active, &t.active}, {s.leaving, &t.leaving}, {s.waiting, &t.waiting}, {s.old, &t.old}, {s.fresh, &t.fresh},
		{s.holding, &t.holding}, {s.healthy, &t.healthy}, {s.serving, &t.serving}, {s.sick, &t.sick}, {s.good, &t.good},
	} {
		if f.on {
			*f.sum += n
		}
	}
}

// shareOf gives the share of an instance as the action sees it, nil for none.
func (c *Core) shareOf(a *action, i *instance) share {
	s := share{active: i.active()}
	s.leaving = i.view.Goal != app.GoalRunning && !i.suspended()
	if a == nil || a.target == nil {
		return s
	}
	switch a.verb {
	case deploy.Scale:
		s.waiting = s.active && i.awaited == a && !(i.isHealthy() && i.isReady())
	case deploy.Restart:
		if i.suspended() {
			return s
		}
		replaced, serves := a.replaces(i), c.serves(i)
		s.holding = replaced || !s.active
		s.old, s.fresh = s.active && replaced, s.active && !replaced
		s.healthy = s.active && serves && (replaced || i.isReady()) // a new one that is not ready yet takes no old one's place
		s.serving = s.old && serves
		s.sick = s.old && (i.view.Condition != app.Running || i.view.Healthy != nil && !*i.view.Healthy)
		s.good = s.fresh && i.isHealthy() && i.isReady()
	}
	return s
}

// count brings the tally of a line up to date: with the instances that changed, or with all
// of them when another action works on the app than the last time.
func (c *Core) count(l *line) *tally {
	a := c.actionOn(l.id)
	from := l.restless
	if l.countedFor != a {
		l.countedFor, l.tally = a, tally{}
		from = l.instances
		for _, i := range l.instances {
			i.share = share{}
		}
	}
	for _, i := range from {
		if i.forgotten {
			continue
		}
		l.tally.add(i.share, -1)
		i.share = c.shareOf(a, i)
		l.tally.add(i.share, 1)
	}
	for _, i := range l.restless {
		i.restless = false
	}
	l.restless = l.restless[:0]
	return &l.tally
}

// recount notes that the share of an instance may not be what it was.
func (l *line) recount(i *instance) {
	if !i.restless {
		i.restless = true
		l.restless = append(l.restless, i)
	}
}

// changed lists the instances that the action on an app has not looked at as they are now:
// all of them the first time.
func (l *line) changed(a *action) []*instance {
	out := l.unseen
	if l.seenBy != a {
		l.seenBy, out = a, slices.Clone(l.instances)
	}
	for _, i := range l.unseen {
		i.unseen = false
	}
	l.unseen = nil
	return out
}
