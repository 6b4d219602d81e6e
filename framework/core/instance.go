package core

import (
	"slices"
	"time"

	"github.com/stoa-project/stoa/framework/app"
)

// instance is one app.Instance and what is not recorded of it.
type instance struct {
	// view is never written to once it was handed out; set replaces it.
	view *app.Instance
	spec *app.RunSpec // definition of view.AppVersion
	line *line

	lostAt    app.Timestamp // when it became unreachable, kept while inactive
	recorded  bool          // the store has a record
	checks    []checkState
	awaited   *action // the scale action that waits for it, nil: none
	probing   bool
	polling   bool // the readiness check runs
	announced bool // its configuration's checks were told of

	reservedAt time.Time // when its reservation was asked for, or loaded
	confirmed  bool      // an offer showed the reservation

	slot      int  // place in its line's roster
	forgotten bool // no longer in its line
	unshown   bool // in its line's list of that name
	restless  bool // likewise
	unseen    bool // likewise
	queued    bool // likewise
	share     share
}

// line is one app or pod: its definition while it has one, its instances, and its place in the
// launch queue.
type line struct {
	id          app.PathID
	spec        *app.RunSpec                     // in the root, nil once deleted
	instances   []*instance                      // in order of creation
	scheduled   int                              // how many of them wait for an offer
	queued      []*instance                      // those, in the order in which they began to; others may be in it
	provisioned int                              // how many of them no agent has confirmed
	delays      map[app.Timestamp]*delay         // by configuration
	held        bool                             // a delay holds it out of the demand
	checked     map[app.Timestamp]*checkedConfig // by configuration, nil without checks of the framework
	stats       stats

	roster  *roster     // as last shown
	slots   int         // given out
	emptied []int       // slots of instances forgotten since
	unshown []*instance // changed since

	// tally holds for the instances as they were when countedFor, nil for no action, was last
	// looked at; those that changed since are restless.
	tally      tally
	countedFor *action
	restless   []*instance
	// unseen are those that changed since seenBy, an action, looked.
	seenBy *action
	unseen []*instance
}

func (c *Core) line(id app.PathID) *line {
	l := c.lines[id]
	if l == nil {
		l = &line{id: id, delays: map[app.Timestamp]*delay{}}
		c.lines[id] = l
	}
	return l
}

// active tells whether the instance counts towards its app's instances.
func (i *instance) active() bool {
	return i.view.Goal == app.GoalRunning && i.view.Condition != app.UnreachableInactive
}

// coming tells whether the instance is on its way to its first status of running.
func (i *instance) coming() bool {
	switch i.view.Condition {
	case app.Scheduled, app.Provisioned, app.Staging, app.Starting:
		return true
	}
	return false
}

// waits tells whether the instance is in the launch queue.
func (i *instance) waits() bool {
	return i.view.Condition == app.Scheduled && i.view.Goal == app.GoalRunning
}

// provisioned tells whether the instance was launched and its agent has not confirmed it.
func (i *instance) provisioned() bool { return i.view.Condition == app.Provisioned }

// enqueue adds an instance that began to wait to the launch queue.
func (c *Core) enqueue(i *instance) {
	l := i.line
	l.scheduled++
	c.queue[l.id] = l
	if !i.queued {
		i.queued = true
		l.queued = append(l.queued, i)
	}
}

// waiting lists the instances that wait for an offer, in the order in which they began to.
func (l *line) waiting() []*instance {
	kept := l.queued[:0]
	for _, i := range l.queued {
		if i.queued = i.waits() && !i.forgotten; i.queued {
			kept = append(kept, i)
		}
	}
	clear(l.queued[len(kept):])
	l.queued = kept
	return kept
}

// isHealthy is what deployments wait for: running, and every check alive if there are any.
func (i *instance) isHealthy() bool {
	if i.view.Condition != app.Running {
		return false
	}
	return len(i.spec.HealthChecks) == 0 || i.view.Healthy != nil && *i.view.Healthy
}

func (i *instance) isReady() bool {
	return len(i.spec.ReadinessChecks) == 0 || i.view.Ready != nil && i.view.Ready.Ready
}

// set changes an instance, records it when the store must know, and tells subscribers
// of a new condition.
func (c *Core) set(i *instance, edit func(v *app.Instance)) {
	before, waited, provisioned := i.view, i.waits(), i.provisioned()
	v := *before
	edit(&v)
	i.view = &v
	l := i.line
	switch waits := i.waits(); {
	case waited && !waits:
		l.scheduled--
	case !waited && waits:
		c.enqueue(i)
		c.wanted(l)
	}
	switch {
	case provisioned && !i.provisioned():
		l.provisioned--
	case !provisioned && i.provisioned():
		l.provisioned++
	}
	if before.Condition != v.Condition {
		v.Since = app.At(c.now)
		c.changedEvent(i)
	}
	c.watchAge(i)
	c.touch(i)
	c.record(i)
}

// setTask changes the condition of one task of an instance, and so that of the instance.
func (c *Core) setTask(i *instance, k int, cond app.Condition, edit func(v *app.Instance, t *app.Task)) {
	c.set(i, func(v *app.Instance) {
		if v.Tasks == nil {
			v.Condition = cond
			edit(v, &app.Task{})
			return
		}
		v.Tasks = slices.Clone(v.Tasks)
		t := &v.Tasks[k]
		if t.Condition != cond {
			t.Condition, t.Since = cond, app.At(c.now)
		}
		edit(v, t)
		if sum := app.Sum(v.Tasks); sum != app.Unreachable || v.Condition != app.UnreachableInactive {
			v.Condition = sum
		}
	})
}

// dying tells whether the end of any of its tasks was asked for.
func (c *Core) dying(i *instance) bool {
	for k := range i.view.TaskCount() {
		if c.kills.tasks[i.view.TaskIDAt(k)] != nil {
			return true
		}
	}
	return false
}

// record writes the instance. One that was never launched and reserved nothing is not
// written: a new leader finds it missing and makes another.
func (c *Core) record(i *instance) {
	if i.view.Launch == 0 && i.view.Reservation == nil {
		return
	}
	i.recorded = true
	c.out.change(Change{Key: instanceKey(i.view.ID), Value: i.view})
}

// schedule adds a fresh instance of a definition to the launch queue.
func (c *Core) schedule(spec *app.RunSpec) *instance {
	l := c.line(spec.ID)
	i := &instance{spec: spec, line: l, view: &app.Instance{
		ID:         app.NewInstanceID(spec.ID, c.cfg.UUID()),
		App:        spec.ID,
		Goal:       app.GoalRunning,
		Condition:  app.Scheduled,
		Since:      app.At(c.now),
		AppVersion: spec.Version,
		Role:       spec.Role,
	}}
	l.enter(i)
	c.enqueue(i)
	c.instances[i.view.ID] = i
	c.touch(i)
	c.wanted(l)
	c.changedEvent(i)
	return i
}

// forget drops an instance and its record.
func (c *Core) forget(i *instance) {
	l := i.line
	c.leave(i)
	c.stopProbes(i)
	for k := range i.view.TaskCount() {
		c.kills.done(c, i.view.TaskIDAt(k))
	}
	delete(c.instances, i.view.ID)
	delete(c.aging, i.view.ID)
	l.remove(i)
	if i.waits() {
		l.scheduled--
	}
	if i.provisioned() {
		l.provisioned--
	}
	if i.recorded {
		c.out.change(Change{Key: instanceKey(i.view.ID)})
	}
	c.dirty.mark(l.id)
	if i.announced {
		l.checked[i.spec.ConfigVersion].n--
		c.retireChecks(l)
	}
	if l.spec == nil && len(l.instances) == 0 {
		c.dropLine(l.id)
	}
}

func (c *Core) dropLine(id app.PathID) {
	delete(c.lines, id)
	delete(c.queue, id)
}

// watchAge keeps the index of instances in conditions that end after a while.
func (c *Core) watchAge(i *instance) {
	switch i.view.Condition {
	case app.Unreachable, app.UnreachableInactive, app.Provisioned, app.Staging, app.Starting:
		c.aging[i.view.ID] = i
	default:
		if i.view.Lost() || i.held() && i.view.Launch == 0 {
			c.aging[i.view.ID] = i
			return
		}
		delete(c.aging, i.view.ID)
	}
}

// decommission gives an instance up: its tasks are killed and then it is forgotten, or at
// once when there is no task to kill or its agent cannot be reached (should such a task
// come back it is unknown, and killed then).
func (c *Core) decommission(i *instance) {
	if i.idle() || i.view.Lost() {
		c.forget(i)
		return
	}
	if i.view.Goal != app.GoalDecommissioned {
		c.set(i, func(v *app.Instance) { v.Goal = app.GoalDecommissioned })
	}
	c.kill(i)
}

// reschedule puts an instance whose tasks ended back into the launch queue. One with a
// reservation stays on its agent.
func (c *Core) reschedule(i *instance) {
	c.set(i, func(v *app.Instance) {
		v.Condition = app.Scheduled
		if v.Reservation == nil {
			v.AgentID, v.Host, v.Region, v.Zone, v.Attributes = "", "", "", "", nil
		}
		v.HostPorts, v.IPs, v.Health, v.Tasks = nil, nil, nil, nil
		v.StagedAt, v.StartedAt, v.ActiveAt = 0, 0, 0
		v.Healthy, v.Ready = nil, nil
	})
	i.checks = nil
}

func (c *Core) changedEvent(i *instance) {
	v := i.view
	c.publish(InstanceChanged{At: c.at(), Instance: v.ID, Condition: v.Condition, App: v.App,
		AgentID: v.AgentID, Host: v.Host, Version: v.AppVersion})
}
