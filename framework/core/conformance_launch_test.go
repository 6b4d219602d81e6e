package core_test

import (
	"fmt"
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
