package core

import (
	"slices"

	"github.com/stoa-project/stoa/framework/app"
)

// checkState is what one health check of one instance has seen.
type checkState struct {
	seen   bool // has a counted result
	result app.HealthResult
}

// startProbes begins the framework's checks of a running task; the readiness check only
// while a deployment works on the app.
func (c *Core) startProbes(i *instance) {
	wantReady := len(i.spec.ReadinessChecks) > 0 && !i.isReady() && c.actionOn(i.line.id) != nil
	own := slices.ContainsFunc(i.spec.HealthChecks, func(h app.HealthCheck) bool { return h.ByFramework() })
	if !wantReady && !own || i.probing && (i.polling || !wantReady) {
		return
	}
	if own {
		c.announceChecks(i)
	}
	i.probing, i.polling = true, wantReady
	c.emit(StartProbes{Instance: i.view, Spec: i.spec.App, Readiness: wantReady})
}

func (c *Core) stopProbes(i *instance) {
	if i.probing {
		i.probing, i.polling = false, false
		c.emit(StopProbes{i.view.ID})
	}
}

// probed takes the result of a check made by the framework (marathon.md 8).
func (c *Core) probed(p Probed) {
	i := c.instances[p.Instance]
	if i == nil || i.view.Launch != p.Launch || i.view.Condition != app.Running ||
		p.Check < 0 || p.Check >= len(i.spec.HealthChecks) {
		return
	}
	h := &i.spec.HealthChecks[p.Check]
	if !h.ByFramework() {
		return
	}
	s := i.check(p.Check)
	if !p.OK {
		grace := i.view.StartedAt + app.Timestamp(h.GracePeriodSeconds)*1000
		if s.result.FirstSuccess == 0 && app.At(c.now) < grace {
			return
		}
		c.publish(HealthCheckFailed{At: c.at(), App: i.line.id, Instance: i.view.ID, Task: i.view.TaskID(), Check: h})
		if h.MaxConsecutiveFailures > 0 && s.result.ConsecutiveFailures >= h.MaxConsecutiveFailures {
			c.killSick(i, p.Cause)
		}
	}
	c.result(i, p.Check, p.OK, p.Cause)
}

// mesosHealth takes the result that came with a task status: of the one check that
// runs beside the task.
func (c *Core) mesosHealth(i *instance, task int, ok bool) {
	at := -1
	for k := range i.spec.HealthChecks {
		if at < 0 && !i.spec.HealthChecks[k].ByFramework() && i.spec.CheckedTask(k) == task {
			at = k
		}
	}
	if at < 0 {
		return
	}
	s := i.check(at)
	if s.seen && s.result.Alive == ok {
		return
	}
	c.result(i, at, ok, "")
}

func (i *instance) check(at int) *checkState {
	if i.checks == nil {
		i.checks = make([]checkState, len(i.spec.HealthChecks))
	}
	return &i.checks[at]
}

// result stores a counted result and tells what it changed.
func (c *Core) result(i *instance, at int, ok bool, cause string) {
	s := i.check(at)
	was := s.result.Alive
	r := &s.result
	if ok {
		if r.FirstSuccess == 0 {
			r.FirstSuccess = app.At(c.now)
		}
		r.LastSuccess, r.ConsecutiveFailures = app.At(c.now), 0
	} else {
		r.LastFailure, r.LastFailureCause = app.At(c.now), cause
		r.ConsecutiveFailures++
	}
	flipped := !s.seen || was != ok
	s.seen, r.Alive = true, ok

	v := *i.view
	v.Health = make([]app.HealthResult, 0, len(i.checks))
	for _, k := range i.checks {
		if k.seen {
			v.Health = append(v.Health, k.result)
		}
	}
	k := i.spec.CheckedTask(at)
	if v.Tasks != nil {
		v.Tasks = slices.Clone(v.Tasks)
		v.Tasks[k].Healthy, v.Tasks[k].HealthyAt = &ok, app.At(c.now)
	}
	i.view = &v
	if flipped && (ok || was) {
		c.publish(HealthStatusChanged{At: c.at(), App: v.App, Instance: v.ID, Task: v.TaskIDAt(k), Version: v.AppVersion, Alive: ok})
	}
	c.sumHealth(i)
}

// sumHealth sums the checks up and tells what that changed.
func (c *Core) sumHealth(i *instance) {
	sum, had := i.sum(), i.view.Healthy
	v := *i.view
	v.Healthy = sum
	i.view = &v
	c.touch(i)
	if (sum == nil) != (had == nil) || sum != nil && *sum != *had {
		c.publish(InstanceHealthChanged{At: c.at(), Instance: v.ID, App: v.App, Healthy: sum, Version: v.AppVersion})
	}
}

// sum tells whether all checks pass, nil while one has no result or without any. The check of a container
// that finished its work counts no more.
func (i *instance) sum() *bool {
	if len(i.spec.HealthChecks) == 0 {
		return nil
	}
	all := true
	for k := range i.spec.HealthChecks {
		if i.view.OfPod() && i.view.TaskCondition(i.spec.CheckedTask(k)) == app.Finished {
			continue
		}
		if k >= len(i.checks) || !i.checks[k].seen {
			return nil
		}
		all = all && i.checks[k].result.Alive
	}
	return &all
}

// killSick ends a task whose checks failed too often; it is started again without back-off.
func (c *Core) killSick(i *instance, cause string) {
	v := i.view
	if c.dying(i) {
		return
	}
	reason := "Task was killed since health check failed. Reason: " + cause
	c.publish(UnhealthyKill{At: c.at(), App: v.App, Instance: v.ID, Task: v.TaskID(), Version: v.AppVersion,
		Reason: cause, Host: v.Host, AgentID: v.AgentID})
	c.keepFailure(i, 0, "TASK_KILLED", reason)
	c.kill(i)
}

// readied takes a readiness result.
func (c *Core) readied(r Readied) {
	i := c.instances[r.Instance]
	if i == nil || i.view.Launch != r.Launch || i.view.Condition != app.Running || i.isReady() {
		return
	}
	res := r.Result
	v := *i.view
	v.Ready = &res
	i.view = &v
	c.touch(i)
}
