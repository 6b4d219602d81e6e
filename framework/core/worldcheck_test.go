package core_test

import (
	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/deploy"
)

// What must hold after every effect.

// checkUnique is invariant I8.
func (w *world) checkUnique(n *simTask) {
	for _, k := range n.launch.Spec.Constraints {
		if k.Operator != app.OpUnique {
			continue
		}
		for id, o := range w.tasks {
			same := o.launch.Spec.ID == n.launch.Spec.ID &&
				o.launch.Spec.ConfigVersion == n.launch.Spec.ConfigVersion
			if same && o.live() && o.agent == n.agent && !o.lost && w.known[id] != nil && !terminal(w.known[id].state) {
				w.t.Fatalf("UNIQUE broken: %s and %s on %s", id, n.launch.Instance.TaskID(), n.agent.host)
			}
		}
	}
}

func terminal(state string) bool {
	switch state {
	case "TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_GONE", "TASK_ERROR", "TASK_DROPPED", "TASK_UNKNOWN":
		return true
	}
	return false
}

// restarting gives the limits of the restart that runs on an app, if one does.
func (w *world) restarting(id app.PathID) (deploy.Limits, *app.RunSpec, bool) {
	if w.shown == nil {
		return deploy.Limits{}, nil, false
	}
	for _, d := range w.shown.Deployments {
		if d.Step >= len(d.Plan.Steps) {
			continue
		}
		for _, a := range d.Plan.Steps[d.Step].Actions {
			if a.ID == id && a.Verb == deploy.Restart {
				n := d.Plan.Change(id).New
				l, _ := deploy.RestartState{Instances: n.Instances, Upgrade: n.Upgrade}.Begin()
				if n.Resident && l.MinHealthy == l.MaxCapacity {
					l.MinHealthy-- // one below, instead of one above
				}
				return l, n, true
			}
		}
	}
	return deploy.Limits{}, nil, false
}

// checkCeiling is the upper half of I4, on what the core knows.
func (w *world) checkCeiling(id app.PathID) {
	l, target, ok := w.restarting(id)
	if !ok || w.loose {
		return
	}
	alive := map[app.InstanceID]bool{}
	for _, k := range w.known {
		if k.app == id && !terminal(k.state) {
			alive[k.instance] = true
		}
	}
	most := max(l.MaxCapacity, target.Instances)
	if l.MinHealthy >= l.MaxCapacity && !target.Resident {
		most++
	}
	if len(alive) > most {
		w.t.Fatalf("%s: %d instances alive during a restart, at most %d allowed", id, len(alive), most)
	}
}

// checkFloor is the lower half of I4, on what the core knows: no kill of a healthy task
// that is needed.
func (w *world) checkFloor(victim app.TaskID) {
	v := w.known[victim]
	if v == nil || v.killed {
		return
	}
	l, _, ok := w.restarting(v.app)
	if !ok || w.loose {
		return
	}
	good := w.serving(v.app)
	if !good[v.instance] {
		return
	}
	if len(good)-1 < l.MinHealthy {
		w.t.Fatalf("%s: kill of %s leaves %d healthy, at least %d needed", v.app, victim, len(good)-1, l.MinHealthy)
	}
}

// checkAck is: status durable before ACKNOWLEDGE.
func (w *world) checkAck(e core.Acknowledge) {
	for _, u := range w.updates {
		if string(u.UUID) != string(e.UUID) {
			continue
		}
		id, n, err := u.Task.Parse()
		if err != nil {
			return
		}
		rec := w.stored(id)
		if rec == nil || rec.Launch != n || rec.Condition == app.Scheduled {
			return
		}
		if cond := conditionOf(rec, u.Task); terminal(u.State) && !cond.Terminal() || cond == app.Provisioned {
			w.t.Fatalf("%s of %s acknowledged, the record says %s", u.State, u.Task, cond)
		}
	}
}

func (w *world) checkReply(r core.Reply) {
	if r.Err != nil || r.Outcome.Plan == nil || len(r.Outcome.Plan.Changes) == 0 {
		return
	}
	st := w.durable()
	if n := len(st.Roots); n == 0 || st.Roots[n-1].Root.Version < r.Outcome.Plan.Version {
		w.t.Fatal("reply before the root is durable")
	}
}
