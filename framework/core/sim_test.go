package core_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// TestSimulation runs random histories: apps come, change, scale and go, tasks fail and
// get sick, acknowledgements and writes lag, and leaders crash between any two effects.
// All along the world checks the limits of restarts, that each offer is answered once, that
// no ACCEPT and no acknowledgement goes out before its record is durable, that UNIQUE holds,
// that service ports are not shared, and that a reservation serves its instance alone. At the
// end everything must come to rest exactly as wanted. The name of a subtest is its seed.
func TestSimulation(t *testing.T) {
	seeds := uint64(200)
	switch {
	case os.Getenv("STOA_SOAK") == "1":
		seeds = 10_000
	case raceDetector:
		seeds = 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			newWorld(t, seed, 5).simulate(seed)
		})
	}
}

// TestSimulationReplays: a seed is the whole history, to the last effect.
func TestSimulationReplays(t *testing.T) {
	if raceDetector {
		return // a matter of order, not of memory
	}
	for seed := range uint64(3) {
		var first []string
		for run := range 2 {
			w := newWorld(t, seed, 5)
			w.log = []string{}
			w.simulate(seed)
			if run == 0 {
				first = w.log
			} else if !slices.Equal(first, w.log) {
				t.Errorf("seed %d: %d effects, then %d others", seed, len(first), len(w.log))
			}
		}
	}
}

// TestCrashAtEveryEffect replays one history, each time with the leader dying before another
// of its effects.
func TestCrashAtEveryEffect(t *testing.T) {
	effects, step := 0, 20
	switch {
	case os.Getenv("STOA_SOAK") == "1":
		step = 1
	case raceDetector:
		step = 150
	}
	for crash := 0; crash == 0 || crash <= effects; crash += step {
		w := newWorld(t, 1, 3)
		w.agents[2].cpus = 150 // room for one task
		if w.fuse = crash; crash == 0 {
			w.fuse = 1 << 30
		}
		for _, cmd := range []core.Command{put(basic("/a", 2), false), put(resident(2), false), changed(basic("/a", 2)), changed(resident(2)),
			put(resident(1), true), putPod(pair(2), false), put(resident(3), true), remove("/a", true),
			putPod(renamed(pair(2)), true), putPod(renamed(pair(1)), true), core.KillTasks{Instances: []app.InstanceID{""}, Wipe: true}, remove("/r", true)} {
			if k, wipes := cmd.(core.KillTasks); wipes {
				k.Instances[0] = w.shown.Of("/r").Instances()[0].ID
			}
			for done := false; !done; {
				w.token++
				w.step(core.Do{Token: w.token, Command: cmd})
				w.settled()
				_, done = w.replies[w.token]
				w.rounds(30)
				if w.dead {
					w.crash()
				}
			}
			w.rounds(60)
		}
		if crash == 0 {
			effects = 1<<30 - w.fuse
			t.Logf("%d effects", effects)
		}
		w.atRest()
		if t.Failed() {
			t.Fatalf("after a crash before effect %d", crash)
		}
	}
}

// changed is the command that gives an app another command line.
func changed(a app.App) core.Command {
	a.Cmd = "sleep 11"
	return put(a, true)
}

func (w *world) simulate(seed uint64) {
	faults := seed%3 != 0
	// Where agents get lost or deployments are forced aside, limits are overrun by what was
	// begun before; the other histories keep them strictly.
	w.loose = seed%2 == 0
	w.partitions = seed%10 == 0
	ids := []app.PathID{"/a", "/b", "/g/c", "/r", "/p"}
	for range 250 {
		w.now = w.now.Add(time.Duration(w.rand.IntN(400)) * time.Millisecond)
		if faults && w.fuse == 0 && w.rand.IntN(40) == 0 {
			w.fuse = 1 + w.rand.IntN(30) // the leader dies between two effects
		}
		w.random(ids, faults)
		if !w.loose {
			w.settled() // limits are checked when a kill goes out; nothing may come between
		}
		if w.dead {
			w.crash()
		}
	}
	w.fuse = 0
	for _, a := range w.agents {
		w.reconnect(a)
	}
	for _, task := range w.tasks {
		task.heal()
	}
	w.rounds(300)
	w.strides(300, 2*time.Second) // longer than a scale check and every back-off
	w.atRest()
}

func (w *world) random(ids []app.PathID, faults bool) {
	switch n := w.rand.IntN(100); {
	case n < 6:
		w.token++
		w.step(core.Do{Token: w.token, Command: w.randomCommand(ids)})
	case n < 30:
		if w.pending != nil {
			p := *w.pending
			w.pending = nil
			w.persist(p)
			w.step(core.Persisted{Batch: p.Batch})
		}
	case n < 45:
		if w.rand.IntN(4) > 0 {
			w.settled()
		}
		roles := slices.Sorted(maps.Keys(w.wants))
		if len(roles) == 0 {
			break
		}
		w.offerIn(w.agents[w.rand.IntN(len(w.agents))], roles[w.rand.IntN(len(roles))])
		if w.rand.IntN(2) == 0 {
			w.settled()
		}
	case n < 60:
		if ids := slices.Sorted(maps.Keys(w.tasks)); len(ids) > 0 {
			w.advance(ids[w.rand.IntN(len(ids))])
		}
	case n < 80:
		if len(w.updates) > 0 {
			w.deliver(w.rand.IntN(len(w.updates)))
		}
	case n < 86:
		if ids := slices.Sorted(maps.Keys(w.probing)); len(ids) > 0 {
			w.probe(ids[w.rand.IntN(len(ids))])
		}
	case n < 93:
		w.step(core.Tick{})
	case !faults:
	case n < 95:
		w.crash()
	case n < 97:
		w.step(core.Disconnected{})
		w.void()
		w.ask(w.roles...)
		w.step(core.Subscribed{FrameworkID: "F", Master: "m:5050"})
	case n < 99:
		if ids := slices.Sorted(maps.Keys(w.tasks)); len(ids) > 0 {
			task := w.tasks[ids[w.rand.IntN(len(ids))]]
			if task.state == "TASK_RUNNING" {
				switch {
				case w.rand.IntN(2) == 0:
					task.queue = []string{[]string{"TASK_FAILED", "TASK_FINISHED"}[w.rand.IntN(2)]}
				case task.healthy != nil:
					task.queue = []string{[]string{"sick", "healthy"}[w.rand.IntN(2)]}
				default:
					task.sick = !task.sick
				}
			}
		}
	case w.partitions:
		a := w.agents[w.rand.IntN(len(w.agents))]
		if w.rand.IntN(3) == 0 {
			w.gone(a)
		} else if a.down {
			w.reconnect(a)
		} else {
			w.disconnect(a)
		}
	}
}

func (w *world) randomCommand(ids []app.PathID) core.Command {
	id := ids[w.rand.IntN(len(ids))]
	force := w.loose && w.rand.IntN(2) == 0
	switch w.rand.IntN(10) {
	case 0:
		return remove(id, force)
	case 1:
		if w.shown != nil && len(w.shown.Of(id).Instances()) > 0 {
			list := w.shown.Of(id).Instances()
			victim := list[w.rand.IntN(len(list))]
			scale := w.rand.IntN(2) == 0
			for n := range victim.TaskCount() {
				if k := w.known[victim.TaskIDAt(n)]; k != nil && !scale && victim.Condition != app.Scheduled {
					k.killed = true // a user may go below the limits
				}
			}
			return core.KillTasks{Instances: []app.InstanceID{victim.ID}, Scale: scale,
				Wipe: w.rand.IntN(3) == 0, Force: force}
		}
	case 2:
		if w.loose && w.shown != nil && len(w.shown.Deployments) > 0 {
			return core.CancelDeployment{ID: w.shown.Deployments[0].Plan.ID, Force: force}
		}
	}
	if id == "/p" {
		return putPod(w.randomPod(), force)
	}
	a := basic(id, w.rand.IntN(6))
	if id == "/r" {
		a = resident(w.rand.IntN(5))
	}
	a.Cmd = fmt.Sprintf("sleep %d", 10+w.rand.IntN(3))
	a.Upgrade = app.UpgradeStrategy{MinimumHealthCapacity: []float64{0, 0.5, 0.7, 1}[w.rand.IntN(4)],
		MaximumOverCapacity: []float64{0, 0.2, 1}[w.rand.IntN(3)]}
	if id == "/r" {
		a.Upgrade.MaximumOverCapacity = 0
	}
	if w.rand.IntN(2) == 0 {
		zero := 0
		a.HealthChecks = []app.HealthCheck{{Protocol: app.HealthHTTP, IntervalSeconds: 1, TimeoutSeconds: 1,
			MaxConsecutiveFailures: 3, PortIndex: &zero, Path: "/"}}
	}
	if id == "/b" {
		a.Constraints = []app.Constraint{{Field: "hostname", Operator: app.OpUnique}}
		a.Instances = min(a.Instances, 5)
	}
	return put(a, force)
}

// disconnect partitions an agent: its tasks run on, unseen.
func (w *world) disconnect(a *simAgent) {
	a.down = true
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		if task := w.tasks[id]; task.agent == a && task.live() {
			task.lost = true
			w.tell(core.Update{Task: id, AgentID: a.id, State: "TASK_UNREACHABLE"})
		}
	}
}

func (w *world) reconnect(a *simAgent) {
	if !a.down {
		return
	}
	a.down = false
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		if task := w.tasks[id]; task.agent == a && task.live() {
			w.tell(core.Update{Task: id, AgentID: a.id, State: task.state, Healthy: task.healthy})
		}
	}
}

// atRest checks that nothing is left to do and that what runs is what is wanted.
func (w *world) atRest() {
	w.t.Helper()
	if n := len(w.shown.Deployments); n > 0 {
		w.t.Errorf("%d deployments still run, the first at step %d: %+v", n, w.shown.Deployments[0].Step, w.shown.Deployments[0].Plan.Steps)
	}
	if w.t.Failed() {
		d := w.shown.Deployments[0].Plan
		for _, id := range d.Affected() {
			w.t.Logf("%s: old %+v", id, d.Change(id).Old)
			w.t.Logf("%s: new %+v", id, d.Change(id).New)
			for _, i := range w.shown.Of(id).Instances() {
				healthy, known := i.Healthiness()
				w.t.Logf("  %s goal %s %s version %s healthy %t %t", i.TaskID(), i.Goal, i.Condition, i.AppVersion, healthy, known)
			}
		}
	}
	wanted := map[app.PathID]int{}
	for a := range w.shown.Root.AllApps() {
		wanted[a.ID] = a.Instances
	}
	for p := range w.shown.Root.AllPods() {
		wanted[p.ID] = p.Scaling.Instances
	}
	live := map[app.PathID]int{}
	for id, task := range w.tasks {
		if !task.live() {
			continue
		}
		if !slices.ContainsFunc(task.mates[:task.index], (*simTask).live) {
			live[task.launch.Spec.ID]++
		}
		if task.state != "TASK_RUNNING" {
			w.t.Errorf("%s is %s at rest, then %v, agent %+v, updates %v", id, task.state, task.queue, task.agent.down, w.updates)
		}
		owner, _, _ := id.Parse()
		if i := w.shown.Instance(owner); i == nil || i.TaskIDAt(task.index) != id || i.Condition != app.Running {
			w.t.Errorf("%s runs and no instance knows it", id)
		}
	}
	for _, id := range []app.PathID{"/a", "/b", "/g/c", "/r", "/p"} {
		known := 0
		for _, i := range w.shown.Of(id).Instances() {
			if i.Goal == app.GoalRunning {
				known++
			}
		}
		if live[id] != wanted[id] || known != wanted[id] {
			w.t.Errorf("%s: %d tasks run, %d instances known, %d wanted", id, live[id], known, wanted[id])
		}
	}
	w.reservationsAtRest()
	if len(w.held) > 0 {
		w.t.Errorf("%d offers were never answered", len(w.held))
	}
	if len(w.updates) > 0 {
		w.t.Errorf("%d updates never acknowledged", len(w.updates))
	}
}
