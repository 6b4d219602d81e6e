package core_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

func TestConformance_7_5_States(t *testing.T) {
	t.Run("while it lives", func(t *testing.T) {
		for state, want := range map[string]app.Condition{"TASK_STAGING": app.Staging, "TASK_STARTING": app.Starting, "TASK_RUNNING": app.Running, "TASK_KILLING": app.Killing} {
			w := newWorld(t, 1, 1)
			w.do(put(basic("/w", 1), false))
			if c := w.shown.Of("/w").Instances()[0].Condition; c != app.Scheduled {
				t.Errorf("before the launch it is %s", c)
			}
			w.offer(w.agents[0])
			if c := w.shown.Of("/w").Instances()[0].Condition; c != app.Provisioned {
				t.Errorf("after the launch it is %s", c)
			}
			w.status(w.nth("/w", 0), state)
			if c := w.shown.Of("/w").Instances()[0].Condition; c != want {
				t.Errorf("%s makes it %s", state, c)
			}
		}
	})
	// The end of a task with goal Running: the same instance, next incarnation, same version.
	for _, c := range []struct {
		state, reason string
		event         app.Condition
		failure       bool // becomes lastTaskFailure
	}{
		{"TASK_FINISHED", "", app.Finished, false}, {"TASK_FAILED", "", app.Failed, true}, {"TASK_ERROR", "", app.Errored, true},
		{"TASK_DROPPED", "", app.Dropped, true}, {"TASK_GONE", "", app.Gone, true}, {"TASK_GONE_BY_OPERATOR", "", app.Gone, true},
		{"TASK_KILLED", "", app.Killed, false}, {"TASK_UNKNOWN", "", app.Unknown, true},
		{"TASK_LOST", "REASON_EXECUTOR_TERMINATED", app.Gone, true}, {"TASK_LOST", "REASON_TASK_UNKNOWN", app.Unknown, true},
	} {
		t.Run(strings.TrimSpace(c.state+" "+c.reason), func(t *testing.T) {
			w := atWork(t, basic("/w", 1))
			before := w.shown.Of("/w").Instances()[0]
			w.step(core.Update{Task: before.TaskID(), AgentID: "S0", State: c.state, Reason: c.reason, Message: "why"})
			w.settled()
			after := w.shown.Of("/w").Instances()[0]
			if after.ID != before.ID || after.Condition != app.Scheduled || after.AppVersion != before.AppVersion {
				t.Errorf("it is %+v", after)
			}
			if got := w.logged("publish instance_changed_event"); len(got) != 2 || !strings.HasSuffix(got[0], " "+string(c.event)) || !strings.HasSuffix(got[1], " Scheduled") {
				t.Errorf("events %v", got)
			}
			if f := w.shown.Of("/w").Failure; (f != nil) != c.failure || f != nil && (f.State != c.state || f.Message != "why" || f.TaskID != before.TaskID() || f.SlaveID != "S0" || f.Host != "host0") {
				t.Errorf("last failure %+v", f)
			}
			w.now = w.now.Add(time.Minute)
			w.step(core.Tick{})
			w.ask("*")
			w.offer(w.agents[0])
			if id := w.nth("/w", 0); id != before.ID.Task(2) {
				t.Errorf("started again as %s", id)
			}
		})
	}
	for _, reason := range []string{"REASON_RECONCILIATION", "REASON_SLAVE_DISCONNECTED", "REASON_SLAVE_REMOVED"} {
		t.Run("TASK_LOST "+reason, func(t *testing.T) {
			a := basic("/w", 1)
			a.Unreachable = app.UnreachableStrategy{InactiveAfterSeconds: 60, ExpungeAfterSeconds: 60}
			w := atWork(t, a)
			w.step(core.Update{Task: w.nth("/w", 0), AgentID: "S0", State: "TASK_LOST", Reason: reason})
			w.settled()
			if c := w.shown.Of("/w").Instances()[0].Condition; c != app.Unreachable {
				t.Errorf("it is %s", c)
			}
		})
	}
}

func TestConformance_7_6_ComesBack(t *testing.T) {
	a := basic("/w", 1)
	a.Unreachable = app.UnreachableStrategy{InactiveAfterSeconds: 60, ExpungeAfterSeconds: 120}
	t.Run("in time", func(t *testing.T) {
		w := atWork(t, a)
		w.status(w.nth("/w", 0), "TASK_UNREACHABLE")
		w.now = w.now.Add(30 * time.Second)
		w.status(w.nth("/w", 0), "TASK_RUNNING")
		if all := w.shown.Of("/w").Instances(); len(all) != 1 || all[0].Condition != app.Running {
			t.Errorf("%+v", all)
		}
	})
	t.Run("after it was forgotten", func(t *testing.T) {
		w := atWork(t, a)
		id := w.nth("/w", 0)
		w.status(id, "TASK_UNREACHABLE")
		for range 2 {
			w.now = w.now.Add(70 * time.Second)
			w.step(core.Tick{})
			w.settled()
		}
		w.logged()
		w.status(id, "TASK_RUNNING")
		w.expect(w.logged("kill"), "kill "+string(id))
	})
	t.Run("unreachable ones are the first victims and count as not healthy", func(t *testing.T) {
		b := a
		b.Instances = 2
		b.Upgrade = app.UpgradeStrategy{MinimumHealthCapacity: 0.5}
		w := atWork(t, b)
		lost, good := w.shown.Of("/w").Instances()[0].ID, w.nth("/w", 1)
		w.status(lost.Task(1), "TASK_UNREACHABLE")
		b.Cmd = "sleep 10"
		w.do(put(b, false))
		if w.shown.Instance(lost) != nil || slices.Contains(w.logged("kill"), "kill "+string(good)) {
			t.Error("the restart did not begin with the one that cannot be reached")
		}
	})
}

func TestConformance_7_7_Kills(t *testing.T) {
	t.Run("at most so many in flight", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.cfg.KillsInFlight = 3
		w.start()
		w.do(put(basic("/w", 5), false))
		w.rounds(6)
		w.log = []string{}
		w.do(remove("/w", true))
		first := w.logged("kill")
		if len(first) != 3 || w.shown.Totals.KillsInFlight != 3 {
			t.Fatalf("%v at once", first)
		}
		w.status(app.TaskID(strings.TrimPrefix(first[0], "kill ")), "TASK_KILLED")
		if n := len(w.logged("kill")); n != 1 {
			t.Errorf("%d kills followed the end of one", n)
		}
	})
	t.Run("repeated until they end", func(t *testing.T) {
		w := atWork(t, basic("/w", 1))
		kill := "kill " + string(w.nth("/w", 0))
		w.do(remove("/w", true))
		for range 200 {
			w.now = w.now.Add(time.Second)
			w.step(core.Tick{})
		}
		w.expect(w.logged("kill"), kill, kill, kill, kill, kill, kill, kill)
	})
	t.Run("unreachable ones are not asked to end", func(t *testing.T) {
		a := basic("/w", 1)
		a.Unreachable = app.UnreachableStrategy{InactiveAfterSeconds: 60, ExpungeAfterSeconds: 120}
		w := atWork(t, a)
		i := w.shown.Of("/w").Instances()[0]
		w.status(i.TaskID(), "TASK_UNREACHABLE")
		w.logged()
		w.do(core.KillTasks{Instances: []app.InstanceID{i.ID}})
		w.expect(w.logged("kill"))
		if w.shown.Instance(i.ID) != nil {
			t.Error("it stays")
		}
	})
	for _, c := range []struct {
		name   string
		cmd    core.KillTasks
		same   bool // the same instance is started again
		wanted int
	}{{"plain", core.KillTasks{}, true, 2}, {"wipe", core.KillTasks{Wipe: true}, false, 2}, {"scale", core.KillTasks{Scale: true}, false, 1}} {
		t.Run(c.name, func(t *testing.T) {
			w := atWork(t, basic("/w", 2))
			i := w.shown.Of("/w").Instances()[0]
			c.cmd.Instances = []app.InstanceID{i.ID, i.ID, "none.instance-x"}
			r := w.do(c.cmd)
			if r.Err != nil || len(r.Outcome.Killed) != 1 || r.Outcome.Killed[0].Condition != app.Running {
				t.Errorf("%+v", r)
			}
			w.rounds(10)
			if got := w.shown.Instance(i.ID); (got != nil) != c.same || got != nil && got.Launch != 2 {
				t.Errorf("the instance: %+v", got)
			}
			if w.shown.Root.App("/w").Instances != c.wanted || len(w.shown.Of("/w").Instances()) != c.wanted {
				t.Errorf("%d wanted, %d there", w.shown.Root.App("/w").Instances, len(w.shown.Of("/w").Instances()))
			}
		})
	}
}

func TestConformance_7_8_UpdatesAndReconciliation(t *testing.T) {
	t.Run("acknowledged when it is stored", func(t *testing.T) {
		w := atWork(t, basic("/w", 1))
		id := w.nth("/w", 0)
		w.step(core.Update{Task: id, AgentID: "S0", State: "TASK_KILLING", UUID: []byte("u")})
		w.expect(w.logged("acknowledge")) // not before
		w.settled()
		w.expect(w.logged("acknowledge"), "acknowledge "+string(id))
	})
	t.Run("without a uuid there is nothing to acknowledge", func(t *testing.T) {
		w := atWork(t, basic("/w", 1))
		w.status(w.nth("/w", 0), "TASK_KILLING")
		w.expect(w.logged("acknowledge"))
	})
	t.Run("long messages are cut", func(t *testing.T) {
		w := atWork(t, basic("/w", 1))
		w.step(core.Update{Task: w.nth("/w", 0), State: "TASK_FAILED", Message: strings.Repeat("x", 20_000)})
		w.settled()
		if n := len(w.shown.Of("/w").Failure.Message); n != 10_000 {
			t.Errorf("%d bytes kept", n)
		}
	})
	t.Run("reconciliation", func(t *testing.T) {
		w := atWork(t, basic("/w", 2))
		w.step(core.Disconnected{})
		w.logged()
		w.step(core.Subscribed{FrameworkID: "F", Master: "m:5050"})
		w.expect(w.logged("reconcile"), "reconcile 2 tasks")
		at := func(d time.Duration) []string {
			w.now = w.now.Add(d)
			w.step(core.Tick{})
			return w.logged("reconcile")
		}
		w.expect(at(14 * time.Second))
		w.expect(at(time.Second), "reconcile 2 tasks", "reconcile 0 tasks") // explicit, then implicit
		w.expect(at(599 * time.Second))
		w.expect(at(time.Second), "reconcile 2 tasks", "reconcile 0 tasks")
	})
}

func TestConformance_8_HealthOfInstances(t *testing.T) {
	t.Run("never killed with 0 failures allowed", func(t *testing.T) {
		w, i := ran(t, checked("/w", 1, 0, 0))
		w.log = []string{}
		for range 20 {
			w.step(core.Probed{Instance: i.ID, Launch: 1, OK: false, Cause: "refused"})
			w.settled()
		}
		w.expect(w.logged("kill"))
	})
	t.Run("healthy when all checks are", func(t *testing.T) {
		a := checked("/w", 1, 0, 3)
		a.HealthChecks = append(a.HealthChecks, a.HealthChecks[0])
		a.HealthChecks[1].Path = "/other"
		w, i := ran(t, a)
		sum := func(want, isKnown bool) {
			t.Helper()
			w.settled()
			if got, known := w.shown.Instance(i.ID).Healthiness(); got != want || known != isKnown {
				t.Errorf("healthy %t, known %t", got, known)
			}
		}
		sum(false, false)
		w.step(core.Probed{Instance: i.ID, Launch: 1, Check: 0, OK: true})
		sum(false, false) // one has no result yet
		w.step(core.Probed{Instance: i.ID, Launch: 1, Check: 1, OK: false})
		sum(false, true)
		w.step(core.Probed{Instance: i.ID, Launch: 1, Check: 1, OK: true})
		sum(true, true)
		if n := len(w.shown.Instance(i.ID).Health); n != 2 {
			t.Errorf("%d results", n)
		}
	})
	t.Run("checks of what cannot be reached stop", func(t *testing.T) {
		a := checked("/w", 1, 0, 3)
		a.Unreachable = app.UnreachableStrategy{InactiveAfterSeconds: 60, ExpungeAfterSeconds: 60}
		w, i := ran(t, a)
		w.step(core.Probed{Instance: i.ID, Launch: 1, OK: true})
		w.settled()
		w.log = []string{}
		w.status(i.TaskID(), "TASK_UNREACHABLE")
		w.expect(w.logged("stop probing"), "stop probing "+string(i.ID))
		if h := w.shown.Instance(i.ID).Health; len(h) != 1 || !h[0].Alive {
			t.Errorf("results %+v", h)
		}
	})
}

// TestConformance_9_2_ChecksComeAndGo: once for each configuration, not for each task.
func TestConformance_9_2_ChecksComeAndGo(t *testing.T) {
	w := newWorld(t, 1, 1)
	a := checked("/w", 3, 0, 3)
	told := func() (added, removed int) {
		for _, e := range w.events {
			switch e.(type) {
			case core.HealthCheckAdded:
				added++
			case core.HealthCheckRemoved:
				removed++
			}
		}
		w.events = nil
		return added, removed
	}
	is := func(what string, added, removed int) {
		t.Helper()
		w.rounds(12)
		if a, r := told(); a != added || r != removed {
			t.Errorf("%s: %d added and %d removed, want %d and %d", what, a, r, added, removed)
		}
	}
	w.do(put(a, false))
	is("create", 1, 0)
	a.Instances = 5
	w.do(put(a, false))
	is("scale", 0, 0)
	w.status(w.nth("/w", 0), "TASK_FAILED")
	is("a task fails", 0, 0)
	a.HealthChecks = append(a.HealthChecks, a.HealthChecks[0])
	a.HealthChecks[1].Path = "/other"
	w.do(put(a, false))
	is("update", 2, 1)
	w.do(remove("/w", true))
	is("delete", 0, 2)
}

// TestTrap21_GraceLeavesNoTrace: no result before the first that counts.
func TestTrap21_GraceLeavesNoTrace(t *testing.T) {
	w, i := ran(t, checked("/w", 1, 60, 1))
	for range 5 {
		w.step(core.Probed{Instance: i.ID, Launch: 1, OK: false, Cause: "refused"})
		w.settled()
	}
	if h := w.shown.Instance(i.ID).Health; len(h) != 0 || len(w.events) != 0 {
		t.Errorf("results %+v, events %v", h, types(w.events))
	}
}

// TestConformance_9_2_OrderOfACreate is the typical order that section 9.2 names.
func TestConformance_9_2_OrderOfACreate(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.settled()
	w.events = nil
	w.do(put(basic("/w", 1), false))
	w.rounds(3)
	want := []string{"group_change_success", "deployment_info", "deployment_step_success", "deployment_info", "instance_changed_event", // Scheduled
		"instance_changed_event", "instance_changed_event", "status_update_event", "instance_changed_event", "status_update_event", // Provisioned, Starting, Running
		"deployment_step_success", "deployment_success"}
	if got := types(w.events); !slices.Equal(got, want) {
		t.Errorf("events\n%v, want\n%v", got, want)
	}
	w.events = nil
	w.do(remove("/w", true))
	w.rounds(4)
	if got := types(w.events); !slices.Contains(got, "app_terminated_event") || got[len(got)-1] != "deployment_success" {
		t.Errorf("events of a delete: %v", got)
	}
}

// TestConformance_7_6_LostInterval: --task_lost_expunge_initial_delay and _interval.
func TestConformance_7_6_LostInterval(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.cfg.LostInitial, w.cfg.LostEvery = 300*time.Second, 30*time.Second
	w.start()
	a := basic("/w", 1)
	a.Unreachable = app.UnreachableStrategy{InactiveAfterSeconds: 10, ExpungeAfterSeconds: 1000}
	w.do(put(a, false))
	w.rounds(4)
	w.status(w.nth("/w", 0), "TASK_UNREACHABLE")
	w.wants["*"] = false
	until := func(seconds int) int {
		for range seconds {
			w.now = w.now.Add(time.Second)
			w.step(core.Tick{})
			w.settled()
		}
		return len(w.shown.Of("/w").Instances())
	}
	if n := until(280); n != 1 {
		t.Errorf("%d instances before the first look", n)
	}
	if n := until(40); n != 2 {
		t.Errorf("%d instances after it", n)
	}
}
