package core_test

import (
	"slices"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// pair is the pod /p: two containers, of which the first has a health check.
func pair(n int) app.Pod {
	container := func(name string) app.PodContainer {
		return app.PodContainer{Name: name, Exec: &app.PodExec{Command: app.CheckCommand{Shell: "sleep 9"}},
			Resources: app.PodResources{Cpus: 0.1, Mem: 32}}
	}
	web, side := container("web"), container("side")
	zero := 0
	web.Endpoints = []app.Endpoint{{Name: "http", HostPort: &zero}}
	web.HealthCheck = &app.PodHealthCheck{TCP: &app.PodTCPCheck{Endpoint: "http"}, IntervalSeconds: 1, MaxConsecutiveFailures: 3}
	return app.Pod{ID: "/p", Role: "*", Containers: []app.PodContainer{web, side}, ExecutorResources: app.ExecutorResources{Cpus: 0.1, Mem: 32, Disk: 10},
		Scaling: app.PodScaling{Kind: "fixed", Instances: n},
		Scheduling: app.PodScheduling{Backoff: app.PodBackoff{Backoff: 1, BackoffFactor: 1.15, MaxLaunchDelay: 300}, KillSelection: app.YoungestFirst,
			Upgrade: app.UpgradeStrategy{MinimumHealthCapacity: 1, MaximumOverCapacity: 1}}}
}

// renamed is a pod whose second container has another name.
func renamed(p app.Pod) app.Pod {
	p.Containers = slices.Clone(p.Containers)
	p.Containers[1].Name = "aside"
	return p
}

func (w *world) randomPod() app.Pod {
	p := pair(w.rand.IntN(4))
	if w.rand.IntN(3) == 0 {
		p = renamed(p)
	}
	if w.rand.IntN(2) == 0 {
		p.Containers[0].HealthCheck = nil
	}
	if w.rand.IntN(4) == 0 {
		p.Scheduling.Placement.Constraints = []app.PodConstraint{{Field: "hostname", Operator: app.OpUnique}}
	}
	p.Scheduling.Upgrade = app.UpgradeStrategy{MinimumHealthCapacity: []float64{0, 0.5, 1}[w.rand.IntN(3)],
		MaximumOverCapacity: []float64{0, 0.5, 1}[w.rand.IntN(3)]}
	return p
}

// putPod is a command that creates or changes a pod.
func putPod(p app.Pod, force bool) core.ChangeRoot {
	return core.ChangeRoot{Group: p.ID.Parent(), Force: force,
		Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
			n := p
			return app.Settle(old, old.PutPod(&n, v), v, app.PortPool{Min: 10000, Max: 20000})
		}}
}

// checkIDs: no task id twice, and no executor id while an executor of that name may live.
func (w *world) checkIDs(l core.Launch) {
	for k := range l.Instance.TaskCount() {
		id := l.Instance.TaskIDAt(k)
		if w.seen[string(id)] {
			w.t.Fatalf("task id %s used twice", id)
		}
		w.seen[string(id)] = true
	}
	for id, o := range w.tasks {
		if o.launch.Instance.ID == l.Instance.ID && o.live() && !o.lost && l.Spec.Pod != nil {
			w.t.Fatalf("%s is launched again while %s lives", l.Instance.ID, id)
		}
	}
}

// begin makes the tasks of a launch.
func (w *world) begin(l core.Launch, agent *simAgent) {
	mates := make([]*simTask, l.Instance.TaskCount())
	for k := range mates {
		task := &simTask{launch: l, agent: agent, state: "TASK_STAGING", queue: []string{"TASK_STARTING", "TASK_RUNNING"}, index: k, mates: mates}
		mates[k] = task
		if task.checked() && l.Spec.Pod != nil {
			task.queue = append(task.queue, "healthy")
		}
		id := l.Instance.TaskIDAt(k)
		w.tasks[id] = task
		w.known[id] = &knowledge{app: l.Spec.ID, instance: l.Instance.ID, version: l.Instance.AppVersion, state: "TASK_STAGING", checked: task.checked()}
	}
}

// checked tells whether the task has health checks.
func (s *simTask) checked() bool {
	for k := range s.launch.Spec.HealthChecks {
		if s.launch.Spec.CheckedTask(k) == s.index {
			return true
		}
	}
	return false
}

// heal makes every check of the task pass from now on. What counts for the check beside
// it is its last word, which may be still to come; a task on its way to its end says none.
func (s *simTask) heal() {
	s.sick = false
	unwell := s.healthy != nil && !*s.healthy
	if n := len(s.queue); n > 0 {
		unwell = s.queue[n-1] == "sick"
	}
	if unwell && s.live() {
		s.queue = append(s.queue, "healthy")
	}
}

// endMates is what the default executor does when a task did not finish well: it ends the
// others.
func (s *simTask) endMates() {
	if s.state == "TASK_FINISHED" {
		return
	}
	for _, o := range s.mates {
		if o.live() && o.state != "TASK_KILLING" {
			o.queue = []string{"TASK_KILLING", "TASK_KILLED"}
		}
	}
}

// serving gives the instances that the core knows to serve: every task of the newest
// launch runs or has finished, none is being killed, and the checks pass.
func (w *world) serving(id app.PathID) map[app.InstanceID]bool {
	newest := map[app.InstanceID]int{}
	for task, k := range w.known {
		if k.app == id {
			_, n, _ := task.Parse()
			newest[k.instance] = max(newest[k.instance], n)
		}
	}
	out, bad := map[app.InstanceID]bool{}, map[app.InstanceID]bool{}
	for task, k := range w.known {
		_, n, _ := task.Parse()
		switch {
		case k.app != id || n != newest[k.instance] || k.state == "TASK_FINISHED":
		case k.state == "TASK_RUNNING" && !k.killed && (!k.checked || k.healthy != nil && *k.healthy):
			out[k.instance] = true
		default:
			bad[k.instance] = true
		}
	}
	for i := range bad {
		delete(out, i)
	}
	return out
}

// conditionOf is what a record says of one task.
func conditionOf(v *app.Instance, task app.TaskID) app.Condition {
	for k := range v.TaskCount() {
		if v.TaskIDAt(k) == task {
			return v.TaskCondition(k)
		}
	}
	return app.Unknown
}

// firstOf is the oldest instance of an app or pod.
func (w *world) firstOf(id app.PathID) *app.Instance { return w.shown.Of(id).Instances()[0] }
