package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/internal/fault"
)

// The tests whose names begin with TestConformance go through sections 5 to 8 of
// marathon.md, those that begin with TestTrap through section 14.

// logged gives the effects noted since, without their indentation, that have one of the
// beginnings; all without any.
func (w *world) logged(beginnings ...string) []string {
	var out []string
	for _, line := range w.log {
		line = strings.TrimSpace(line)
		if len(beginnings) == 0 || slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(line, b) }) {
			out = append(out, line)
		}
	}
	w.log = []string{}
	return out
}

// expect compares logged effects.
func (w *world) expect(got []string, want ...string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// atWork is a world with one app whose instances run, in the order in which they started,
// a second apart.
func atWork(t *testing.T, a app.App) *world {
	t.Helper()
	w := newWorld(t, 1, 1)
	n := a.Instances
	for k := 1; k <= n; k++ {
		a.Instances = k
		w.do(put(a, true))
		w.rounds(4)
	}
	if got := len(w.shown.Of(a.ID).Instances()); got != n || len(w.shown.Deployments) > 0 {
		t.Fatalf("%d instances, %d deployments", got, len(w.shown.Deployments))
	}
	w.log, w.events = []string{}, nil
	return w
}

// nth is the task of the app's n-th instance.
func (w *world) nth(id app.PathID, n int) app.TaskID { return w.shown.Of(id).Instances()[n].TaskID() }

// tell brings a status that needs no acknowledgement.
func (w *world) status(task app.TaskID, state string) {
	w.step(core.Update{Task: task, AgentID: "S0", State: state})
	w.settled()
}

func TestConformance_5_1_FromRequestToDeployment(t *testing.T) {
	t.Run("stored, then told", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.log = []string{}
		w.do(put(basic("/w", 1), false))
		got := w.logged("persist 2", "reply", "publish group", "publish deployment")
		w.expect(got[1:], "publish group_change_success", "publish deployment_info [StartApplication /w]", "reply 1",
			"publish deployment_step_success", "publish deployment_info [ScaleApplication /w]")
		if !strings.HasPrefix(got[0], "persist") || !strings.Contains(got[0], "+apps/w/") || !strings.Contains(got[0], "+roots/") || !strings.Contains(got[0], "+deployments/") {
			t.Errorf("the first record is %s", got[0])
		}
	})
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.do(put(basic("/w", 1), false))
		w.log = []string{}
		r := w.do(put(basic("/w", 2), false))
		if fault.KindOf(r.Err) != fault.Conflict {
			t.Errorf("error %v", r.Err)
		}
		if got := w.logged("persist", "publish"); len(got) != 1 || got[0] != "publish group_change_failed" {
			t.Errorf("effects %v", got)
		}
	})
	t.Run("nothing changed", func(t *testing.T) {
		w := atWork(t, basic("/w", 1))
		if r := w.do(put(basic("/w", 1), false)); r.Err != nil || r.Outcome.Plan == nil || len(r.Outcome.Plan.Steps) != 0 {
			t.Errorf("%+v", r)
		}
		w.expect(w.logged("publish"), "publish group_change_success", "publish deployment_success")
	})
}

func TestConformance_5_3_Scale(t *testing.T) {
	patient := basic("/w", 6)
	patient.Unreachable = app.UnreachableStrategy{InactiveAfterSeconds: 600, ExpungeAfterSeconds: 600}
	t.Run("victims by what they do", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.do(put(patient, false))
		w.offer(w.agents[0])
		var ids []app.InstanceID
		for n, state := range []string{"TASK_RUNNING", "TASK_STARTING", "TASK_UNREACHABLE", "TASK_STAGING", "TASK_RUNNING", "TASK_RUNNING"} {
			ids = append(ids, w.shown.Of("/w").Instances()[n].ID)
			w.status(w.nth("/w", n), state)
		}
		for n, victim := range []int{2, 3, 1} { // unreachable, staging, starting
			w.now = w.now.Add(time.Second)
			a := patient
			a.Instances = 5 - n
			w.do(put(a, true))
			i := w.shown.Instance(ids[victim])
			if i != nil && i.Goal != app.GoalDecommissioned {
				t.Errorf("with %d left, number %d stays", a.Instances, victim)
			}
		}
		for _, n := range []int{0, 4, 5} {
			if i := w.shown.Instance(ids[n]); i == nil || i.Goal != app.GoalRunning {
				t.Errorf("number %d, which runs, was given up", n)
			}
		}
	})
	for how, want := range map[app.KillSelection][]int{app.YoungestFirst: {3, 2}, app.OldestFirst: {0, 1}} {
		t.Run("victims by age, "+string(how), func(t *testing.T) {
			a := basic("/w", 4)
			a.KillSelection = how
			w := atWork(t, a)
			victims := []string{"kill " + string(w.nth("/w", want[0])), "kill " + string(w.nth("/w", want[1]))}
			a.Instances = 2
			w.do(put(a, false))
			w.expect(w.logged("kill"), victims...)
		})
	}
	t.Run("sentenced first", func(t *testing.T) {
		w := atWork(t, basic("/w", 3))
		victim := w.shown.Of("/w").Instances()[0]
		w.do(core.KillTasks{Instances: []app.InstanceID{victim.ID}, Scale: true})
		w.expect(w.logged("kill"), "kill "+string(victim.TaskID()))
	})
	t.Run("GROUP_BY keeps its balance", func(t *testing.T) {
		w := newWorld(t, 1, 2)
		a := basic("/w", 4)
		a.Constraints = []app.Constraint{{Field: "hostname", Operator: app.OpGroupBy, Value: "2"}}
		w.do(put(a, false))
		w.rounds(10)
		a.Instances = 2
		w.do(put(a, false))
		w.rounds(10)
		hosts := map[string]int{}
		for _, i := range w.shown.Of("/w").Instances() {
			hosts[i.Host]++
		}
		if len(hosts) != 2 {
			t.Errorf("left on %v", hosts)
		}
	})
	t.Run("a new instance that fails is launched again", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.do(put(basic("/w", 1), false))
		for range 3 {
			w.now = w.now.Add(time.Minute)
			w.step(core.Tick{})
			w.ask("*")
			w.offer(w.agents[0])
			w.status(w.nth("/w", 0), "TASK_FAILED")
			if len(w.shown.Deployments) != 1 {
				t.Fatal("the deployment ended")
			}
		}
		w.rounds(20)
		if i := w.shown.Of("/w").Instances()[0]; len(w.shown.Deployments) != 0 || i.Launch != 4 {
			t.Errorf("%d deployments, launch %d", len(w.shown.Deployments), i.Launch)
		}
	})
	t.Run("to none", func(t *testing.T) {
		a := checked("/w", 2, 0, 3)
		w := newWorld(t, 1, 1)
		w.do(put(a, false))
		w.rounds(8)
		for _, task := range w.tasks {
			task.sick = true
		}
		w.rounds(1)
		a.Instances = 0
		w.do(put(a, true))
		w.rounds(6)
		if len(w.shown.Deployments) != 0 || len(w.shown.Of("/w").Instances()) != 0 {
			t.Errorf("%d deployments, %d instances", len(w.shown.Deployments), len(w.shown.Of("/w").Instances()))
		}
	})
}

func TestConformance_5_4_RestartLoop(t *testing.T) {
	changed := func(n int) app.App {
		a := basic("/w", n)
		a.Cmd = "sleep 10"
		return a
	}
	t.Run("a new instance that fails is waited for", func(t *testing.T) {
		w := atWork(t, basic("/w", 2))
		old := w.nth("/w", 0)
		w.do(put(changed(2), false))
		for range 3 {
			w.now = w.now.Add(time.Minute)
			w.step(core.Tick{})
			w.ask("*")
			w.offer(w.agents[0])
			for _, i := range w.shown.Of("/w").Instances() {
				if i.AppVersion == w.shown.Root.App("/w").Version && i.Condition == app.Provisioned {
					w.status(i.TaskID(), "TASK_FAILED")
				}
			}
		}
		if len(w.shown.Deployments) != 1 || w.tasks[old].state != "TASK_RUNNING" || w.shown.Root.App("/w").Cmd != "sleep 10" {
			t.Errorf("deployments %d, an old task %s: rolled back or gone on", len(w.shown.Deployments), w.tasks[old].state)
		}
		w.rounds(60)
		if len(w.shown.Deployments) != 0 || w.tasks[old].live() {
			t.Errorf("not finished: an old task is %s", w.tasks[old].state)
		}
	})
	t.Run("an old instance that ends by itself counts as gone", func(t *testing.T) {
		w := atWork(t, basic("/w", 1))
		old := w.shown.Of("/w").Instances()[0]
		w.do(put(changed(1), false))
		w.status(old.TaskID(), "TASK_FINISHED")
		if w.shown.Instance(old.ID) != nil {
			t.Error("it is started again")
		}
		w.rounds(10)
		if len(w.shown.Deployments) != 0 {
			t.Error("the deployment waits for it")
		}
	})
	t.Run("sick old instances go first", func(t *testing.T) {
		a := checked("/w", 3, 0, 0)
		w := newWorld(t, 1, 1)
		w.do(put(a, false))
		w.rounds(8)
		sick := w.nth("/w", 1)
		w.tasks[sick].sick = true
		w.rounds(2)
		w.log = []string{}
		a.Cmd = "sleep 10"
		a.Upgrade = app.UpgradeStrategy{MinimumHealthCapacity: 0.6}
		w.do(put(a, false))
		if got := w.logged("kill"); len(got) == 0 || got[0] != "kill "+string(sick) {
			t.Errorf("killed %v, sick is %s", got, sick)
		}
	})
	t.Run("waits for health and readiness", func(t *testing.T) {
		a := basic("/w", 1)
		w := atWork(t, a)
		a.Cmd = "sleep 10"
		a.ReadinessChecks = []app.ReadinessCheck{{Name: "r", PortName: "default", Protocol: "HTTP", Path: "/", IntervalSeconds: 30, TimeoutSeconds: 10, HTTPStatusCodesForReady: []int{200}}}
		old := w.nth("/w", 0)
		w.do(put(a, false))
		w.rounds(5)
		if len(w.shown.Deployments) != 1 || !w.tasks[old].live() {
			t.Fatal("did not wait until the new one is ready")
		}
		for id, p := range w.probing {
			if p.Readiness {
				w.step(core.Readied{Instance: id, Launch: 1, Result: core.Readiness{Name: "r", Ready: true, Status: 200}})
			}
		}
		w.rounds(5)
		if len(w.shown.Deployments) != 0 || w.tasks[old].live() {
			t.Error("did not go on once it was")
		}
	})
}

func TestConformance_5_5_LocksAndForce(t *testing.T) {
	t.Run("force cancels, with a reason", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		first := w.do(put(basic("/w", 1), false)).Outcome.Plan.ID
		w.log = []string{}
		w.do(put(basic("/w", 2), true))
		w.expect(w.logged("publish deployment_f", "publish deployment_step_failure"), "publish deployment_step_failure", "publish deployment_failed The upgrade has been cancelled")
		if len(w.shown.Deployments) != 1 || w.shown.Deployments[0].Plan.ID == first {
			t.Errorf("deployments %+v", w.shown.Deployments)
		}
	})
	t.Run("disjoint ones run in parallel", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		for _, id := range []app.PathID{"/a", "/b", "/c/d"} {
			if r := w.do(put(basic(id, 1), false)); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		if len(w.shown.Deployments) != 3 {
			t.Errorf("%d run", len(w.shown.Deployments))
		}
	})
	t.Run("limit", func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.cfg.MaxDeployments = 2
		w.start()
		w.do(put(basic("/a", 1), false))
		w.do(put(basic("/b", 1), false))
		if r := w.do(put(basic("/c", 1), true)); fault.KindOf(r.Err) != fault.Forbidden || !strings.Contains(r.Err.Error(), "--max_running_deployments") {
			t.Errorf("force against the limit: %v", r.Err)
		}
	})
	t.Run("plain kills are never locked", func(t *testing.T) {
		w := atWork(t, basic("/w", 2))
		a := basic("/w", 3)
		w.do(put(a, false))
		for _, cmd := range []core.KillTasks{{}, {Wipe: true}} {
			cmd.Instances = []app.InstanceID{w.shown.Of("/w").Instances()[0].ID}
			if r := w.do(cmd); r.Err != nil || len(r.Outcome.Killed) != 1 {
				t.Errorf("%+v: %+v", cmd, r)
			}
		}
		if r := w.do(core.KillTasks{Instances: []app.InstanceID{w.shown.Of("/w").Instances()[0].ID}, Scale: true}); fault.KindOf(r.Err) != fault.Conflict {
			t.Errorf("kill and scale: %v", r.Err)
		}
	})
	t.Run("scale checks skip what is locked", func(t *testing.T) {
		w := atWork(t, basic("/w", 1))
		a := basic("/w", 1)
		a.Cmd, a.Upgrade = "sleep 10", app.UpgradeStrategy{MinimumHealthCapacity: 1, MaximumOverCapacity: 1}
		w.do(put(a, false))
		w.wants = nil
		before := len(w.shown.Of("/w").Instances())
		for range 700 {
			w.now = w.now.Add(time.Second)
			w.step(core.Tick{})
			w.settled()
		}
		if after := len(w.shown.Of("/w").Instances()); after != before || before != 2 {
			t.Errorf("%d instances, then %d", before, after)
		}
	})
}

func TestConformance_5_6_CancelAndRollback(t *testing.T) {
	t.Run("roll-back runs on the present tree", func(t *testing.T) {
		w := atWork(t, basic("/w", 1))
		a := basic("/w", 1)
		a.Cmd = "sleep 10"
		plan := w.do(put(a, false)).Outcome.Plan
		w.do(put(basic("/other", 1), false))
		back := w.do(core.CancelDeployment{ID: plan.ID})
		if back.Err != nil || w.shown.Root.App("/w").Cmd != "sleep 9" || w.shown.Root.App("/other") == nil {
			t.Errorf("%v: %+v", back.Err, w.shown.Root)
		}
		w.rounds(30)
		w.log = nil
		if len(w.shown.Deployments) != 0 {
			t.Error("the roll-back does not end")
		}
	})
	t.Run("force leaves everything as it stands", func(t *testing.T) {
		w := atWork(t, basic("/w", 2))
		a := basic("/w", 2)
		a.Cmd = "sleep 10"
		plan := w.do(put(a, false)).Outcome.Plan
		w.offer(w.agents[0])
		r := w.do(core.CancelDeployment{ID: plan.ID, Force: true})
		if r.Err != nil || r.Outcome.Plan != nil || w.shown.Root.App("/w").Cmd != "sleep 10" || len(w.shown.Deployments) != 0 {
			t.Errorf("%+v", r)
		}
		isNew := func(i *app.Instance) bool { return i.AppVersion == w.shown.Root.App("/w").Version }
		if all := w.shown.Of("/w").Instances(); !slices.ContainsFunc(all, isNew) || isNew(all[0]) {
			t.Errorf("instances %+v", all)
		}
	})
}

// TestConformance_5_7_Failover loses the leader after every round of a rolling restart.
func TestConformance_5_7_Failover(t *testing.T) {
	a := basic("/w", 4)
	a.Upgrade = app.UpgradeStrategy{MinimumHealthCapacity: 0.5, MaximumOverCapacity: 0.25}
	w := atWork(t, a)
	w.log = nil
	a.Cmd = "sleep 10"
	id := w.do(put(a, false)).Outcome.Plan.ID
	for n := 0; len(w.shown.Deployments) > 0; n++ {
		if n == 100 {
			t.Fatalf("still at %+v", w.shown.Deployments[0])
		}
		if got := w.shown.Deployments[0]; got.Plan.ID != id || got.Plan.Steps[0].Actions[0].Verb != deploy.Restart {
			t.Fatalf("another deployment: %+v", got.Plan)
		}
		w.crash()
		w.rounds(1)
	}
	for _, i := range w.shown.Of("/w").Instances() {
		if i.AppVersion != w.shown.Root.App("/w").Version {
			t.Errorf("%s is of the old version", i.ID)
		}
	}
	if n := len(w.shown.Of("/w").Instances()); n != 4 {
		t.Errorf("%d instances", n)
	}
}

func TestTrap24_OneMoreThanTheCapacity(t *testing.T) {
	a := basic("/w", 1)
	a.Upgrade = app.UpgradeStrategy{MinimumHealthCapacity: 1}
	w := atWork(t, a)
	old := w.nth("/w", 0)
	a.Cmd = "sleep 10"
	w.do(put(a, false))
	if n := len(w.shown.Of("/w").Instances()); n != 2 || len(w.logged("kill")) > 0 {
		t.Errorf("%d instances; the old one must wait for the new one", n)
	}
	w.rounds(10)
	if len(w.shown.Deployments) != 0 || w.tasks[old].live() {
		t.Error("the restart does not end")
	}
}

func TestTrap25_DeploymentsNeverTimeOut(t *testing.T) {
	a := basic("/w", 1)
	a.Cpus = 1000
	w := newWorld(t, 1, 1)
	id := w.do(put(a, false)).Outcome.Plan.ID
	for range 48 {
		w.now = w.now.Add(time.Hour)
		w.step(core.Tick{})
		w.settled()
	}
	if len(w.shown.Deployments) != 1 || w.shown.Deployments[0].Plan.ID != id {
		t.Errorf("after two days: %+v", w.shown.Deployments)
	}
}

func TestTrap48_RestartMovesLastConfigChange(t *testing.T) {
	w := atWork(t, basic("/w", 1))
	r := w.do(core.ChangeRoot{Group: app.Root, Restart: []app.PathID{"/w"}, Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
		return app.Settle(old, old, v, app.PortPool{Min: 10000, Max: 20000}, "/w")
	}})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	a := w.shown.Root.App("/w")
	if a.VersionInfo.LastConfigChangeAt != a.Version || fmt.Sprint(r.Outcome.Plan.Steps[0].Actions) != "[RestartApplication /w]" {
		t.Errorf("%+v, %v", a.VersionInfo, r.Outcome.Plan.Steps)
	}
}
