package core

import (
	"time"

	"github.com/stoa-project/stoa/framework/app"
)

// Core is the framework's state during one leadership. It is owned by one goroutine.
type Core struct {
	cfg Config
	now time.Time // of the step being made

	root      *app.Group
	roots     []rootVersion                 // kept, oldest first; the last is root
	versions  map[app.PathID][]*app.RunSpec // kept, oldest first
	version   app.Timestamp                 // last one given out
	lines     map[app.PathID]*line          // one for each app with a definition or instances
	queue     map[app.PathID]*line          // those that wait for offers or are delayed; others may be in it until the next look
	instances map[app.InstanceID]*instance
	aging     map[app.InstanceID]*instance // those that may not stay as they are for ever
	running   []*deployment                // oldest first
	locks     map[app.PathID]*deployment   // the one that works on an app
	failures  map[app.PathID]*app.TaskFailure
	leftovers map[app.InstanceID]*app.Leftover
	kills     killList
	timers    timers
	tokens    int // launches that may be made now, with Config.LaunchTokens
	demand    demandState

	frameworkID string
	master      string // empty while disconnected
	homeRegion  string
	totals      Totals

	out   outbox
	shown *Snapshot
	dirty dirtyMarks
}

// rootVersion is one kept version of the tree and the apps that changed with it.
type rootVersion struct {
	group   *app.Group
	changed []app.PathID
}

// Step takes one input at the given time and returns what the shells have to do, in
// order. Time must not run backwards between calls; a smaller time counts as the last one.
func (c *Core) Step(now time.Time, in Input) []Effect {
	if now.After(c.now) {
		c.now = now
	}
	var out []Effect
	switch in := in.(type) {
	case Persisted:
		out = c.out.persisted(in.Batch)
	case Do:
		c.do(in)
	case Subscribed:
		c.subscribed(in)
	case Disconnected:
		c.disconnected()
	case Offers:
		c.offered(in.Offers)
	case Update:
		c.updated(in)
	case Message:
		c.publish(FrameworkMessage{At: c.at(), AgentID: in.AgentID, ExecutorID: in.ExecutorID, Message: in.Data})
	case Probed:
		c.probed(in)
	case Readied:
		c.readied(in)
	case Tick:
		c.tick()
	}
	return append(out, c.settle()...)
}

// settle ends a step and, unless a batch is under way, the round: deployments and
// instance counts follow what changed, and offers are asked for.
func (c *Core) settle() []Effect {
	if c.out.busy {
		// What converge decides would wait for the round to close anyway; deciding then
		// looks at each app once for a whole batch of updates.
		return nil
	}
	c.converge()
	c.adjustDemand()
	var show *Snapshot
	if c.dirty.any {
		show = c.snapshot()
		c.shown = show
	}
	for i, e := range c.out.effects {
		if r, ok := e.(Reply); ok && r.Err == nil {
			r.Outcome.Snapshot = c.shown
			c.out.effects[i] = r
		}
	}
	return c.out.close(show)
}

// emit puts an effect behind every change made so far.
func (c *Core) emit(e Effect) { c.out.emit(e) }

func (c *Core) publish(e Event) { c.emit(Publish{e}) }

func (c *Core) note(text string, args ...any) { c.emit(Note{Text: text, Args: args}) }

// at is the event timestamp of this step.
func (c *Core) at() At { return At(app.At(c.now)) }

// nextVersion gives a version stamp later than all before it.
func (c *Core) nextVersion() app.Timestamp {
	return max(app.At(c.now), c.version+1)
}

// AppVersion finds a kept version of an app, nil when there is none.
func (c *Core) AppVersion(id app.PathID, version app.Timestamp) *app.App {
	if s := c.specVersion(id, version); s != nil {
		return s.App
	}
	return nil
}

// specVersion finds a kept version of an app or pod, nil when there is none.
func (c *Core) specVersion(id app.PathID, version app.Timestamp) *app.RunSpec {
	for _, s := range c.versions[id] {
		if s.Version == version {
			return s
		}
	}
	return nil
}

// RootVersion finds a kept version of the tree, nil when there is none.
func (c *Core) RootVersion(version app.Timestamp) *app.Group {
	for _, r := range c.roots {
		if r.group.Version == version {
			return r.group
		}
	}
	return nil
}

func (c *Core) subscribed(in Subscribed) {
	again := c.frameworkID != ""
	if c.frameworkID != in.FrameworkID {
		c.frameworkID = in.FrameworkID
		c.out.change(Change{Key: FrameworkKey, Value: FrameworkRecord{ID: in.FrameworkID}})
	}
	c.master, c.homeRegion = in.Master, in.HomeRegion
	c.dirty.any = true
	c.publish(SchedulerRegistered{At: c.at(), FrameworkID: in.FrameworkID, Master: in.Master, Again: again})
	c.demand.resubscribed()
	c.reconcileKnown()
	c.timers.reconcile = c.now.Add(c.cfg.ReconcileInitial)
	c.kills.resend(c)
}

func (c *Core) disconnected() {
	if c.master == "" {
		return
	}
	c.master = ""
	c.dirty.any = true
	c.publish(SchedulerDisconnected{c.at()})
}
