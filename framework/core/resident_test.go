package core_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
)

// running gives a world in which the resident app runs n instances.
func running(t *testing.T, n, agents int) *world {
	t.Helper()
	w := newWorld(t, 1, agents)
	w.do(put(resident(n), false))
	w.rounds(20)
	if got := w.shown.Of("/r").Instances(); len(got) != n || len(w.shown.Deployments) > 0 {
		t.Fatalf("%d instances, %d deployments", len(got), len(w.shown.Deployments))
	}
	return w
}

// reservations counts what the agents keep reserved.
func (w *world) reservations() (n int) {
	for _, a := range w.agents {
		n += len(a.owned)
	}
	return n
}

// TestReserveThenLaunch: two offers, one for RESERVE and CREATE, one for LAUNCH
// (marathon.md 6.4).
func TestReserveThenLaunch(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.do(put(resident(1), false))
	a := w.agents[0]
	w.offerIn(a, "dev")
	w.settled()
	i := w.shown.Of("/r").Instances()[0]
	if i.Condition != app.Scheduled || i.Reservation == nil || i.AgentID != a.id || i.Launch != 0 || w.reservations() != 1 || len(w.tasks) != 0 {
		t.Fatalf("after the first offer: %+v", i)
	}
	if q := w.shown.Queue; len(q) != 1 || q[0].Count != 1 {
		t.Fatalf("queue %+v", q)
	}
	w.offerIn(a, "dev")
	w.settled()
	if i = w.shown.Of("/r").Instances()[0]; i.Condition != app.Provisioned || i.Launch != 1 || len(w.tasks) != 1 {
		t.Fatalf("after the second: %+v", i)
	}
}

// TestReservationThatNeverComes is tried anew after --task_reservation_timeout.
func TestReservationThatNeverComes(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.do(put(resident(1), false))
	a := w.agents[0]
	w.offerIn(a, "dev")
	w.settled()
	first := w.shown.Of("/r").Instances()[0].ID
	a.take(a.owned[first].blocks, 1) // the master refused it
	a.take(a.owned[first].disks, 1)
	delete(a.owned, first)
	w.now = w.now.Add(19 * time.Second)
	w.offerIn(a, "dev")
	w.step(core.Tick{})
	w.settled()
	if got := w.shown.Of("/r").Instances()[0].ID; got != first {
		t.Fatal("given up too early")
	}
	if s := w.shown.Queue[0]; s.Last.Refused[match.NoCorrespondingReservationFound] != 1 {
		t.Errorf("refusals %+v, want one for %s", s.Last, match.NoCorrespondingReservationFound)
	}
	w.now = w.now.Add(6 * time.Second)
	w.step(core.Tick{})
	w.settled()
	w.rounds(10)
	all := w.shown.Of("/r").Instances()
	if len(all) != 1 || all[0].ID == first || all[0].Condition != app.Running {
		t.Errorf("instances %+v", all)
	}
}

// TestSuspended: scaling down keeps reservations, scaling up uses them first.
func TestSuspended(t *testing.T) {
	w := running(t, 3, 3)
	before := map[app.InstanceID]string{}
	for _, i := range w.shown.Of("/r").Instances() {
		before[i.ID] = i.AgentID
	}
	w.do(put(resident(1), false))
	w.rounds(20)
	goals := map[app.Goal]int{}
	for _, i := range w.shown.Of("/r").Instances() {
		goals[i.Goal]++
	}
	if len(w.shown.Deployments) > 0 || goals[app.GoalRunning] != 1 || goals[app.GoalStopped] != 2 || w.reservations() != 3 || len(w.shown.Queue) > 0 {
		t.Fatalf("goals %v, %d reservations, queue %v, %d deployments", goals, w.reservations(), w.shown.Queue, len(w.shown.Deployments))
	}
	w.crash() // the next leader knows them too
	w.do(put(resident(4), false))
	w.rounds(30)
	again := 0
	for _, i := range w.shown.Of("/r").Instances() {
		if before[i.ID] != "" && before[i.ID] != i.AgentID {
			t.Errorf("%s moved from %s to %s", i.ID, before[i.ID], i.AgentID)
		}
		if before[i.ID] != "" && i.Condition == app.Running {
			again++
		}
	}
	if again != 3 || w.reservations() != 4 || len(w.shown.Deployments) > 0 {
		t.Errorf("%d of 3 run again, %d reservations", again, w.reservations())
	}
}

// TestUpgradeInPlace: an update replaces one after the other, each on its own reservation.
func TestUpgradeInPlace(t *testing.T) {
	w := running(t, 2, 2)
	ids := map[app.InstanceID]string{}
	for _, i := range w.shown.Of("/r").Instances() {
		ids[i.ID] = i.AgentID
	}
	a := resident(2)
	a.Cmd = "sleep 11"
	w.do(put(a, false))
	w.rounds(40)
	for _, i := range w.shown.Of("/r").Instances() {
		if ids[i.ID] != i.AgentID || i.Launch != 2 || i.AppVersion != w.shown.Root.App("/r").Version || i.Condition != app.Running {
			t.Errorf("instance %+v", i)
		}
	}
	if len(w.shown.Deployments) > 0 || w.reservations() != 2 {
		t.Errorf("%d deployments, %d reservations", len(w.shown.Deployments), w.reservations())
	}
}

// TestWipe: the reservation goes, another instance comes; a suspended one goes too.
func TestWipe(t *testing.T) {
	w := running(t, 2, 2)
	victim := w.shown.Of("/r").Instances()[0].ID
	w.do(core.KillTasks{Instances: []app.InstanceID{victim}, Wipe: true})
	w.rounds(30)
	if w.shown.Instance(victim) != nil || len(w.shown.Of("/r").Instances()) != 2 || w.reservations() != 2 {
		t.Errorf("%d instances, %d reservations", len(w.shown.Of("/r").Instances()), w.reservations())
	}
	w.do(put(resident(1), false))
	w.rounds(10)
	for _, i := range w.shown.Of("/r").Instances() {
		if i.Goal == app.GoalStopped {
			victim = i.ID
		}
	}
	w.do(core.KillTasks{Instances: []app.InstanceID{victim}, Wipe: true})
	w.rounds(10)
	if w.shown.Instance(victim) != nil || w.reservations() != 1 {
		t.Errorf("suspended: %+v, %d reservations", w.shown.Instance(victim), w.reservations())
	}
	if w.wants["dev"] {
		t.Error("offers are still asked for when everything is freed")
	}
	w.do(remove("/r", false))
	w.rounds(10)
	if w.reservations() != 0 || len(w.shown.Deployments) > 0 {
		t.Errorf("%d reservations after the app, %d deployments", w.reservations(), len(w.shown.Deployments))
	}
}

// TestResidentUnreachable: it is waited for, not replaced and not killed; once its agent is
// marked gone a fresh instance takes its place.
func TestResidentUnreachable(t *testing.T) {
	w := running(t, 1, 2)
	i := w.shown.Of("/r").Instances()[0]
	at := w.agents[0]
	if i.AgentID != at.id {
		at = w.agents[1]
	}
	w.disconnect(at)
	w.rounds(10)
	w.now = w.now.Add(time.Hour)
	w.rounds(10)
	w.log = []string{}
	w.do(core.KillTasks{Instances: []app.InstanceID{i.ID}})
	if got := w.shown.Of("/r").Instances(); len(got) != 1 || got[0].Condition != app.Unreachable || len(w.logged("kill")) > 0 {
		t.Fatalf("instances %+v, kills %v", got, w.logged("kill"))
	}
	w.reconnect(at)
	w.rounds(5)
	if got := w.shown.Of("/r").Instances(); got[0].Condition != app.Running || got[0].Launch != 1 {
		t.Fatalf("back: %+v", got[0])
	}
	w.disconnect(at)
	w.rounds(5)
	w.gone(at)
	w.rounds(20)
	if got := w.shown.Of("/r").Instances(); len(got) != 1 || got[0].ID == i.ID || got[0].Condition != app.Running {
		t.Errorf("after the agent is gone: %+v", got)
	}
}

// TestTrap45_RoleChangeOfResidents: without force it is refused; with force each instance stays in
// the role of its reservation, and the queue has a line for each role (marathon.md 14, 45).
func TestTrap45_RoleChangeOfResidents(t *testing.T) {
	w := running(t, 1, 2)
	a := resident(2)
	a.Role, a.Upgrade = "ops", app.UpgradeStrategy{}
	if r := w.do(put(a, false)); r.Err == nil || !strings.Contains(r.Err.Error(), "not valid") {
		t.Fatalf("without force: %v", r.Err)
	}
	w.roles = nil
	w.do(put(a, true))
	for range 6 { // no offers: both wait, once the old one was killed
		for _, id := range w.shown.Of("/r").Instances() {
			w.advance(id.TaskID())
		}
		for len(w.updates) > 0 {
			w.deliver(0)
			w.settled()
		}
	}
	if len(w.shown.Queue) != 2 || w.shown.Queue[0].Role != "dev" || w.shown.Queue[1].Role != "ops" || w.shown.Queue[0].Count != 1 || w.shown.Queue[1].Count != 1 {
		t.Fatalf("queue %+v", w.shown.Queue)
	}
	if strings.Join(w.roles, " ") != "* dev ops" || !w.wants["dev"] || !w.wants["ops"] {
		t.Errorf("roles %v, wanted %v", w.roles, w.wants)
	}
	w.rounds(20)
	roles := map[string]int{}
	for _, i := range w.shown.Of("/r").Instances() {
		if i.Condition == app.Running {
			roles[i.Role]++
		}
	}
	if roles["dev"] != 1 {
		t.Errorf("roles of what runs: %v", roles)
	}
}

// TestHomeRegion: other regions only for who names them (marathon.md 6.2).
func TestHomeRegion(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.step(core.Subscribed{FrameworkID: "F", Master: "m:5050", HomeRegion: "north"})
	far := func() *match.Offer {
		w.uuids++
		return &match.Offer{ID: "far" + w.cfg.UUID(), AgentID: "S0", Hostname: "h", Role: "*", Region: "south", Zone: "s1", Resources: []match.Resource{
			{Name: "cpus", Role: "*", Milli: 9000}, {Name: "mem", Role: "*", Milli: 9e6}, {Name: "ports", Role: "*", Ranges: []match.Range{{Begin: 31000, End: 31010}}}}}
	}
	for name, c := range map[string]struct {
		field, op, value string
		launched         bool
	}{
		"plain": {"", "", "", false}, "region": {"@region", "IS", "south", true}, "other": {"@region", "IS", "east", false},
		"zone": {"@zone", "GROUP_BY", "", true}, "hostname": {"hostname", "LIKE", ".*", false},
	} {
		a := basic(app.PathID("/"+name), 1)
		if c.field != "" {
			a.Constraints = []app.Constraint{{Field: c.field, Operator: app.Operator(c.op), Value: c.value}}
		}
		w.do(put(a, false))
		o := far()
		w.held[o.ID] = w.agents[0]
		w.step(core.Offers{Offers: []*match.Offer{o}})
		w.settled()
		if got := w.shown.Of(a.ID).Instances()[0].Condition == app.Provisioned; got != c.launched {
			t.Errorf("%s: launched %t, want %t", name, got, c.launched)
		}
		w.do(remove(a.ID, true))
	}
}

// TestDrainedAgentsDelayNothing: the end of a task whose agent is emptied is not a failure
// of the app (marathon.md 6.6).
func TestDrainedAgentsDelayNothing(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.do(put(basic("/w", 1), false))
	w.rounds(5)
	id := w.nth("/w", 0)
	w.tasks[id].state = "TASK_FAILED"
	w.release(w.tasks[id])
	w.tell(core.Update{Task: id, AgentID: "S0", State: "TASK_FAILED"})
	w.deliver(0)
	w.settled()
	if w.shown.Queue[0].DelayedUntil == 0 {
		t.Fatal("a failure does not delay")
	}
	w.now = w.now.Add(3 * time.Second)
	w.rounds(5)
	id = w.nth("/w", 0)
	w.tasks[id].state = "TASK_GONE_BY_OPERATOR"
	w.release(w.tasks[id])
	w.tell(core.Update{Task: id, AgentID: "S0", State: "TASK_GONE_BY_OPERATOR", Reason: "REASON_AGENT_DRAINING"})
	w.deliver(0)
	w.settled()
	if q := w.shown.Queue; len(q) != 1 || q[0].DelayedUntil != 0 {
		t.Errorf("queue %+v", q)
	}
}
