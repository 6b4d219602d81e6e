package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
)

func TestConformance_6_1_OfferIsAnswered(t *testing.T) {
	t.Run("declined for two minutes", func(t *testing.T) {
		w := atWork(t, basic("/w", 1))
		w.ask("*")
		w.offer(w.agents[0])
		if got := w.logged("decline"); len(got) != 1 || !strings.HasSuffix(got[0], "for 2m0s") {
			t.Errorf("%v", got)
		}
	})
	t.Run("what is left comes back at once while instances wait", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		a := basic("/w", 3)
		a.Cpus = 6
		w.do(put(a, false))
		for _, e := range w.core.Step(w.now, core.Offers{Offers: []*match.Offer{offerOf("o1", "S0", 10_000)}}) {
			if p, ok := e.(core.Persist); ok {
				for _, e := range w.core.Step(w.now, core.Persisted{Batch: p.Batch}) {
					if acc, ok := e.(core.Accept); ok && (acc.Refuse != 0 || len(acc.Tasks) != 1) {
						t.Errorf("%d launched, the rest refused for %s", len(acc.Tasks), acc.Refuse)
					}
				}
			}
		}
	})
	t.Run("instances per offer", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.cfg.MaxPerOffer = 5
		w.start()
		w.do(put(basic("/w", 9), false))
		w.offer(w.agents[0])
		if len(w.tasks) != 5 {
			t.Errorf("%d launched on one offer", len(w.tasks))
		}
	})
}

func offerOf(id, agent string, cpus int64) *match.Offer {
	return &match.Offer{ID: id, AgentID: agent, Hostname: "host-" + agent, Role: "*", Resources: []match.Resource{
		{Name: "cpus", Role: "*", Milli: cpus}, {Name: "mem", Role: "*", Milli: 1e9}, {Name: "disk", Role: "*", Milli: 1e9},
		{Name: "ports", Role: "*", Ranges: []match.Range{{Begin: 31000, End: 32000}}}}}
}

// TestTrap32_UpgradesIgnoreOldInstances: old and new ones may share a host, those of one
// configuration may not.
func TestTrap32_UpgradesIgnoreOldInstances(t *testing.T) {
	a := basic("/w", 1)
	a.Constraints = []app.Constraint{{Field: "hostname", Operator: app.OpUnique}}
	w := atWork(t, a)
	a.Cmd = "sleep 10"
	w.do(put(a, false))
	w.rounds(6)
	if len(w.shown.Deployments) != 0 || len(w.shown.Of("/w").Instances()) != 1 {
		t.Fatal("the upgrade found no place beside the old instance")
	}
	a.Instances = 2
	w.do(put(a, false))
	w.rounds(6)
	if w.shown.Of("/w").Instances()[1].Condition != app.Scheduled || w.shown.Queue[0].Attempt.Refused[match.UnfulfilledConstraint] == 0 {
		t.Error("after scaling two instances share a host")
	}
}

// failNow lets the only task of /w fail and gives the delay until its next launch.
func (w *world) failNow() time.Duration {
	w.t.Helper()
	w.status(w.nth("/w", 0), "TASK_FAILED")
	return w.delay()
}

func (w *world) delay() time.Duration {
	if len(w.shown.Queue) == 0 || w.shown.Queue[0].DelayedUntil == 0 {
		return 0
	}
	return w.shown.Queue[0].DelayedUntil.Time().Sub(w.now)
}

// TestTrap29_BackoffAndChanges: a new configuration and a restart begin without delay,
// scaling does not.
func TestTrap29_BackoffAndChanges(t *testing.T) {
	delayed := func() (*world, app.App) {
		a := basic("/w", 1)
		a.BackoffSeconds = 20
		w := atWork(t, a)
		if d := w.failNow(); d != 20*time.Second {
			t.Fatalf("delay %s", d)
		}
		return w, a
	}
	w, a := delayed()
	a.Instances = 2
	w.do(put(a, true))
	if d := w.delay(); d == 0 {
		t.Error("scaling ended the delay")
	}
	w, a = delayed()
	a.Cmd = "sleep 10"
	w.do(put(a, true))
	if d := w.delay(); d != 0 {
		t.Errorf("a new configuration has the delay %s", d)
	}
	w, _ = delayed()
	w.do(core.ChangeRoot{Group: app.Root, Force: true, Restart: []app.PathID{"/w"}, Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
		return app.Settle(old, old, v, app.PortPool{Min: 10000, Max: 20000}, "/w")
	}})
	if d := w.delay(); d != 0 {
		t.Errorf("a restart has the delay %s", d)
	}
}

func TestTrap28_BackoffGrowsOnExitCode0(t *testing.T) {
	w := atWork(t, basic("/w", 1))
	w.status(w.nth("/w", 0), "TASK_FINISHED")
	if d := w.delay(); d != time.Second {
		t.Errorf("delay %s", d)
	}
}

func TestConformance_6_6_WhatRaisesTheDelay(t *testing.T) {
	for state, raised := range map[string]bool{"TASK_DROPPED": true, "TASK_ERROR": true, "TASK_FAILED": true, "TASK_GONE": true, "TASK_FINISHED": true, "TASK_KILLED": false} {
		w := atWork(t, basic("/w", 1))
		w.status(w.nth("/w", 0), state)
		if d := w.delay(); (d > 0) != raised {
			t.Errorf("%s: delay %s", state, d)
		}
	}
	t.Run("kills of sick tasks do not", func(t *testing.T) {
		w, i := ran(t, checked("/w", 1, 0, 1))
		for range 2 {
			w.step(core.Probed{Instance: i.ID, Launch: 1, OK: false, Cause: "refused"})
			w.settled()
		}
		w.status(i.TaskID(), "TASK_KILLED")
		if d := w.delay(); d != 0 {
			t.Errorf("delay %s", d)
		}
	})
	t.Run("forgotten after the longest delay", func(t *testing.T) {
		a := basic("/w", 1)
		a.MaxLaunchDelaySeconds, a.BackoffFactor = 60, 10
		w := atWork(t, a)
		w.failNow()
		w.rounds(10) // runs again
		if d := w.failNow(); d != 10*time.Second {
			t.Fatalf("second delay %s", d)
		}
		w.rounds(300)
		if d := w.failNow(); d != time.Second {
			t.Errorf("long after it ran again: delay %s", d)
		}
	})
}

func TestConformance_6_7_ReviveAndSuppress(t *testing.T) {
	seconds := func(w *world, n int) {
		for range n {
			w.now = w.now.Add(time.Second)
			w.step(core.Tick{})
			w.settled()
		}
	}
	t.Run("new demand, repeated once more", func(t *testing.T) {
		w := atWork(t, basic("/w", 1))
		seconds(w, 20)
		w.logged()
		w.do(put(basic("/w", 2), false))
		seconds(w, 60)
		w.expect(w.logged("revive", "suppress"), "revive [*]", "revive [*]")
	})
	t.Run("nothing wanted", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.log = []string{}
		w.do(put(basic("/w", 1), false))
		w.rounds(6)
		seconds(w, 5)
		w.expect(w.logged("suppress"), "suppress [*]")
	})
	t.Run("--disable_suppress_offers", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.cfg.KeepOffers = true
		w.start()
		w.log = []string{}
		w.do(put(basic("/w", 1), false))
		w.rounds(20)
		w.expect(w.logged("suppress"))
	})
	t.Run("end of a delay", func(t *testing.T) {
		a := basic("/w", 1)
		a.BackoffSeconds = 30
		w := atWork(t, a)
		w.failNow()
		seconds(w, 20)
		w.logged()
		seconds(w, 12)
		if got := w.logged("revive"); len(got) == 0 || got[0] != "revive [*]" {
			t.Errorf("%v", got)
		}
	})
	t.Run("pace", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.log = []string{}
		for n := range 100 {
			w.do(put(basic(app.PathID(fmt.Sprint("/a", n)), 1), false))
			seconds(w, 1)
		}
		if n := len(w.logged("revive")); n > 10+100/5+1 {
			t.Errorf("%d calls in 100 seconds", n)
		}
	})
	t.Run("a new subscription asks again", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		a := basic("/w", 1)
		a.Cpus = 1000
		w.do(put(a, false))
		seconds(w, 20)
		w.log = []string{}
		w.step(core.Disconnected{})
		w.step(core.Subscribed{FrameworkID: "F", Master: "m2:5050"})
		w.settled()
		w.expect(w.logged("revive"), "revive [*]")
	})
}

func TestConformance_6_8_OverdueAndScaleChecks(t *testing.T) {
	for _, state := range []string{"", "TASK_STAGING", "TASK_STARTING"} {
		t.Run("launch without end, last word "+state, func(t *testing.T) {
			w := newWorld(t, 1, 1)
			w.do(put(basic("/w", 1), false))
			w.offer(w.agents[0])
			id := w.nth("/w", 0)
			if state != "" {
				w.status(id, state)
			}
			w.log = []string{}
			w.now = w.now.Add(299 * time.Second)
			w.step(core.Tick{})
			w.expect(w.logged("kill"))
			w.now = w.now.Add(10 * time.Second)
			w.step(core.Tick{})
			w.expect(w.logged("kill"), "kill "+string(id))
			w.status(id, "TASK_KILLED")
			if i := w.shown.Of("/w").Instances()[0]; i.Condition != app.Scheduled {
				t.Errorf("it is %s", i.Condition)
			}
		})
	}
	t.Run("surplus is removed by the scale check", func(t *testing.T) {
		a := basic("/w", 1)
		a.Unreachable = app.UnreachableStrategy{InactiveAfterSeconds: 1, ExpungeAfterSeconds: 10_000}
		w := atWork(t, a)
		lost := w.nth("/w", 0)
		w.status(lost, "TASK_UNREACHABLE")
		w.now = w.now.Add(10 * time.Second)
		w.rounds(8)
		w.status(lost, "TASK_RUNNING") // it is back
		if n := len(w.shown.Of("/w").Instances()); n != 2 {
			t.Fatalf("%d instances", n)
		}
		for range 400 {
			w.now = w.now.Add(time.Second)
			w.step(core.Tick{})
		}
		w.rounds(4)
		if n := len(w.shown.Of("/w").Instances()); n != 1 {
			t.Errorf("%d instances after the scale check", n)
		}
	})
}

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

// TestConformance_6_1_LaunchTokens: with a bound, launches wait for tokens; a task that
// runs gives one back, and time gives all back.
func TestConformance_6_1_LaunchTokens(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.cfg.LaunchTokens, w.cfg.TokenRefresh = 3, 30*time.Second
	w.start()
	w.do(put(basic("/w", 8), false))
	launched := func(want int) {
		t.Helper()
		w.wants["*"] = true
		w.offer(w.agents[0])
		if len(w.tasks) != want {
			t.Errorf("%d launched, want %d", len(w.tasks), want)
		}
	}
	launched(3)
	launched(3)
	for n := range 3 {
		w.status(w.nth("/w", n), []string{"TASK_STARTING", "TASK_RUNNING", "TASK_RUNNING"}[n])
	}
	launched(5)
	w.log = []string{}
	w.now = w.now.Add(31 * time.Second)
	w.step(core.Tick{})
	if got := w.logged("revive"); len(got) == 0 {
		t.Error("nothing was asked for when the tokens came back")
	}
	launched(8)
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
