package core_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
	"github.com/stoa-project/stoa/internal/fault"
)

// checked is an app with one health check made by the framework.
func checked(id app.PathID, n, grace, failures int) app.App {
	zero := 0
	a := basic(id, n)
	a.HealthChecks = []app.HealthCheck{{Protocol: app.HealthHTTP, Path: "/", PortIndex: &zero, IntervalSeconds: 1,
		TimeoutSeconds: 1, GracePeriodSeconds: grace, MaxConsecutiveFailures: failures}}
	return a
}

// ran brings up an app and gives its only instance.
func ran(t *testing.T, a app.App) (*world, *app.Instance) {
	t.Helper()
	w := newWorld(t, 1, 1)
	w.do(put(a, false))
	w.settled()
	w.offer(w.agents[0])
	for range 2 {
		for id := range w.tasks {
			w.advance(id)
		}
		for len(w.updates) > 0 {
			w.deliver(0)
			w.settled()
		}
	}
	w.events = nil
	return w, w.shown.Of(a.ID).Instances()[0]
}

func types(events []core.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.Type())
	}
	return out
}

// Marathon-level checks of marathon.md 8: grace, flips, and the kill one failure after the
// limit (trap 22).
func TestConformance_8_HealthChecks_Trap22_KillOneFailureLater(t *testing.T) {
	w, i := ran(t, checked("/w", 1, 60, 2))
	result := func(ok bool) []string {
		w.events = nil
		w.step(core.Probed{Instance: i.ID, Launch: 1, Check: 0, OK: ok, Cause: "refused"})
		w.settled()
		return types(w.events)
	}
	for n, c := range []struct {
		ok   bool
		want []string
	}{
		{false, nil}, // in the grace period, never healthy yet
		{true, []string{"health_status_changed_event", "instance_health_changed_event", "deployment_step_success", "deployment_success"}},
		{true, nil},
		{false, []string{"failed_health_check_event", "health_status_changed_event", "instance_health_changed_event"}},
		{false, []string{"failed_health_check_event"}},
		{false, []string{"failed_health_check_event", "unhealthy_instance_kill_event"}},
		{false, []string{"failed_health_check_event"}},
	} {
		if got := result(c.ok); !slices.Equal(got, c.want) {
			t.Errorf("run %d, ok %t: events %v, want %v", n, c.ok, got, c.want)
		}
	}
	h := w.shown.Of("/w").Instances()[0].Health[0]
	if h.Alive || h.ConsecutiveFailures != 4 || h.LastFailureCause != "refused" || h.FirstSuccess == 0 {
		t.Errorf("result %+v", h)
	}
	w.rounds(4)
	if i := w.shown.Of("/w").Instances()[0]; i.Launch != 2 || i.Condition != app.Running {
		t.Errorf("not replaced without back-off: %+v", i)
	}
	if f := w.shown.Of("/w").Failure; f == nil || f.State != "TASK_KILLED" {
		t.Errorf("last failure %+v", f)
	}
}

func TestConformance_8_MesosHealthComesWithUpdates(t *testing.T) {
	a := basic("/w", 1)
	a.HealthChecks = []app.HealthCheck{{Protocol: app.HealthCommand, Command: &app.HealthCheckCommand{Value: "true"}}}
	w, i := ran(t, a)
	if len(w.shown.Deployments) != 1 {
		t.Fatal("the deployment did not wait for the check")
	}
	yes := true
	w.step(core.Update{Task: i.TaskID(), AgentID: "S0", State: "TASK_RUNNING", Healthy: &yes})
	w.settled()
	if healthy, _ := w.shown.Instance(i.ID).Healthiness(); len(w.shown.Deployments) != 0 || !healthy {
		t.Errorf("deployments %d, health %v", len(w.shown.Deployments), healthy)
	}
}

// The delays of marathon.md 6.6; trap 28: exit code 0 makes them longer too.
func TestConformance_6_6_Backoff(t *testing.T) {
	a := basic("/w", 1)
	a.BackoffSeconds, a.BackoffFactor, a.MaxLaunchDelaySeconds = 2, 3, 10
	w, i := ran(t, a)
	fail := func(state string) {
		w.step(core.Update{Task: w.shown.Instance(i.ID).TaskID(), AgentID: "S0", State: state})
		w.settled()
	}
	delay := func() time.Duration {
		if len(w.shown.Queue) == 0 || w.shown.Queue[0].DelayedUntil == 0 {
			return 0
		}
		return w.shown.Queue[0].DelayedUntil.Time().Sub(w.now)
	}
	for n, want := range []time.Duration{2 * time.Second, 6 * time.Second, 10 * time.Second} {
		fail([]string{"TASK_FAILED", "TASK_FINISHED", "TASK_DROPPED"}[n])
		if got := delay(); got != want {
			t.Errorf("failure %d: delay %s, want %s", n+1, got, want)
		}
		before := len(w.tasks)
		w.ask("*")
		w.offer(w.agents[0])
		if len(w.tasks) != before {
			t.Error("launched before the delay was over")
		}
		w.now = w.now.Add(want)
		w.step(core.Tick{})
		w.offer(w.agents[0])
		if len(w.tasks) != before+1 {
			t.Error("not launched after the delay")
		}
	}
	fail("TASK_KILLED")
	if got := delay(); got != 10*time.Second {
		// The entry stays, a kill neither raises nor clears it; its reference is the launch.
		t.Errorf("after a kill: delay %s", got)
	}
	if r := w.do(core.ResetDelay{App: "/w"}); r.Err != nil || delay() != 0 {
		t.Errorf("reset: %v, delay %s", r.Err, delay())
	}
	if r := w.do(core.ResetDelay{App: "/x"}); fault.KindOf(r.Err) != fault.NotFound {
		t.Errorf("reset of an unknown app: %v", r.Err)
	}
}

func TestConformance_7_6_Unreachable(t *testing.T) {
	for _, c := range []struct {
		name     string
		strategy app.UnreachableStrategy
		after    time.Duration
		known    int // instances listed
		queued   int
	}{
		{"replaced and forgotten at once", app.UnreachableStrategy{}, 0, 1, 1},
		{"not yet", app.UnreachableStrategy{InactiveAfterSeconds: 60, ExpungeAfterSeconds: 120}, 50 * time.Second, 1, 0},
		{"replaced, not forgotten", app.UnreachableStrategy{InactiveAfterSeconds: 60, ExpungeAfterSeconds: 120}, 70 * time.Second, 2, 1},
		{"forgotten", app.UnreachableStrategy{InactiveAfterSeconds: 60, ExpungeAfterSeconds: 120}, 130 * time.Second, 1, 1},
		{"never", app.UnreachableStrategy{Disabled: true}, 24 * time.Hour, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := basic("/w", 1)
			a.Unreachable = c.strategy
			w, i := ran(t, a)
			w.wants = nil
			w.step(core.Update{Task: i.TaskID(), AgentID: "S0", State: "TASK_UNREACHABLE"})
			w.settled()
			for range 2 {
				w.now = w.now.Add(c.after / 2)
				w.step(core.Tick{})
				w.settled()
			}
			queued := 0
			if len(w.shown.Queue) > 0 {
				queued = w.shown.Queue[0].Count
			}
			if got := len(w.shown.Of("/w").Instances()); got != c.known || queued != c.queued {
				t.Errorf("%d instances known and %d queued, want %d and %d", got, queued, c.known, c.queued)
			}
		})
	}
}

func TestStrangeTasksAreKilled(t *testing.T) {
	w, i := ran(t, basic("/w", 1))
	var killed []app.TaskID
	w.log = []string{}
	for _, id := range []app.TaskID{i.ID.Task(9), "x.instance-0._app.1", "not ours at all"} {
		w.step(core.Update{Task: id, AgentID: "S0", State: "TASK_RUNNING", UUID: []byte("u")})
		w.settled()
		killed = append(killed, id)
	}
	for _, id := range killed {
		if !slices.Contains(w.log, "    kill "+string(id)) || !slices.Contains(w.log, "    acknowledge "+string(id)) {
			t.Errorf("%s neither killed nor acknowledged: %v", id, w.log)
		}
	}
}

func TestReplayedUpdatesChangeNothing(t *testing.T) {
	w, i := ran(t, basic("/w", 1))
	w.log = []string{}
	for _, state := range []string{"TASK_RUNNING", "TASK_STARTING", "TASK_STAGING"} {
		w.step(core.Update{Task: i.TaskID(), AgentID: "S0", State: state, UUID: []byte(state)})
		w.settled()
	}
	want := []string{"    acknowledge " + string(i.TaskID()), "    acknowledge " + string(i.TaskID()), "    acknowledge " + string(i.TaskID())}
	if !slices.Equal(w.log, want) {
		t.Errorf("did %v", w.log)
	}
}

func TestQueueTellsWhy(t *testing.T) {
	a := basic("/w", 1)
	a.Cpus = 1000
	w := newWorld(t, 1, 2)
	w.do(put(a, false))
	w.offer(w.agents[0])
	w.ask("*")
	w.offer(w.agents[0])
	w.ask("*")
	w.offer(w.agents[1])
	q := w.shown.Queue[0]
	if q.Attempt.Offers != 3 || q.Attempt.Refused[match.InsufficientCpus] != 3 || q.Last.Offers != 2 || q.Unused != 3 || len(q.LastOffers) != 2 {
		t.Errorf("queue %+v", q)
	}
}

func TestRefusedCommandsLeaveNoTrace(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.do(put(basic("/w", 1), false))
	before := w.shown
	for name, cmd := range map[string]core.Command{
		"locked":             put(basic("/w", 2), false),
		"unknown deployment": core.CancelDeployment{ID: "x"},
		"an app too big":     put(big("/big"), false),
		"an id too long":     put(basic(app.PathID("/"+fmt.Sprintf("%0900d", 1)), 1), false),
		"kill scale, locked": core.KillTasks{Instances: []app.InstanceID{w.shown.Of("/w").Instances()[0].ID}, Scale: true},
	} {
		r := w.do(cmd)
		if r.Err == nil || fault.KindOf(r.Err) == fault.Other {
			t.Errorf("%s: %v", name, r.Err)
		}
		if w.shown.Root != before.Root || len(w.shown.Deployments) != 1 || len(maps.Collect(w.shown.Apps())) != 1 || len(w.shown.Of("/w").Versions) != 1 {
			t.Errorf("%s left a trace: %+v", name, w.shown)
		}
	}
}

func big(id app.PathID) app.App {
	a := basic(id, 1)
	a.Labels = app.Dict{"big": string(make([]byte, 900_000))}
	return a
}

func TestOldVersionsArePruned(t *testing.T) {
	w := newWorld(t, 1, 1)
	for n := range 70 {
		a := basic("/w", 0)
		a.Cmd = fmt.Sprintf("sleep %d", n+1)
		w.now = w.now.Add(time.Second)
		if r := w.do(put(a, true)); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if n, r := len(w.shown.Of("/w").Versions), len(w.shown.Roots); n != 50 || r != 50 {
		t.Errorf("%d versions and %d roots kept, want 50", n, r)
	}
	w.do(remove("/w", true))
	for n := range 60 {
		w.do(put(basic(app.PathID(fmt.Sprintf("/x%d", n%2)), n%3), true))
		w.rounds(1)
	}
	st, err := w.repo.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(st.Apps["/w"]); n != 0 {
		t.Errorf("%d versions of a deleted app are still stored", n)
	}
	w.start()
}

// BenchmarkLaunch steps the core alone through an app of 10,000 instances: POST, one
// offer for each hundred, STARTING and RUNNING of each task, one write for 64 updates.
func BenchmarkLaunch(b *testing.B) {
	const n = 10_000
	launched := 0
	for b.Loop() {
		uuids := 0
		cfg := core.Config{Ports: app.PortPool{Min: 10000, Max: 20000}, Rand: func() uint64 { return 7 },
			UUID: func() string { uuids++; return fmt.Sprintf("00000000-0000-4000-8000-%012x", uuids) }}
		now := time.UnixMilli(1_600_000_000_000)
		c, _, err := core.New(cfg, now, core.Stored{})
		if err != nil {
			b.Fatal(err)
		}
		var tasks []app.TaskID
		var writing *core.Persist
		var run func(in core.Input)
		durable := func() {
			if writing != nil {
				p := writing
				writing = nil
				run(core.Persisted{Batch: p.Batch})
			}
		}
		run = func(in core.Input) {
			for _, e := range c.Step(now, in) {
				switch e := e.(type) {
				case core.Persist:
					writing = &e
				case core.Accept:
					for _, l := range e.Tasks {
						tasks = append(tasks, l.Instance.TaskID())
					}
				}
			}
		}
		run(core.Subscribed{FrameworkID: "F", Master: "m"})
		run(core.Do{Token: 1, Command: put(basic("/w", n), false)})
		durable()
		for k := range n / 100 {
			run(core.Offers{Offers: []*match.Offer{{ID: "O", AgentID: fmt.Sprint(k), Role: "*", Resources: []match.Resource{
				{Name: "cpus", Role: "*", Milli: 10_000}, {Name: "mem", Role: "*", Milli: 1e9},
				{Name: "ports", Role: "*", Ranges: []match.Range{{Begin: 1, End: 20_000}}}}}}})
			durable()
		}
		for _, state := range []string{"TASK_STARTING", "TASK_RUNNING"} {
			for k := 0; k < len(tasks); k++ {
				run(core.Update{Task: tasks[k], AgentID: "S", State: state, UUID: []byte("u")})
				if k%64 == 63 {
					durable()
				}
			}
			durable()
		}
		launched += len(tasks)
	}
	b.ReportMetric(float64(launched)/b.Elapsed().Seconds(), "tasks/s")
}
