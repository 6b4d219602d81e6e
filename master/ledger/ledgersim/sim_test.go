package ledgersim

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/maintenance"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/quota"
	"github.com/stoa-project/stoa/master/ledger"
)

// one is the seed to play alone, from the environment.
func one() string { return os.Getenv("STOA_SEED") }

// TestSimulation plays random histories: frameworks launch tasks and groups, reserve and
// make volumes, kill and go away; agents crash, reboot, leave and come back; operators
// drain, mark gone, set quotas and plan maintenance; messages are lost, late, repeated and
// out of order; writes fail, leaders are deposed or crash between any two effects. I3 (one
// writer per epoch, durable before visible), I5 (no agent oversubscribed) and I6 (one end
// for every task, updates in order) are checked all along, and at rest the book has to say
// what the agents do.
func TestSimulation(t *testing.T) {
	if one() != "" {
		seed, err := strconv.ParseUint(one(), 10, 64)
		if err != nil {
			t.Fatalf("STOA_SEED: %v", err)
		}
		simulate(t, seed)
		return
	}
	seeds := uint64(200)
	switch {
	case os.Getenv("STOA_SOAK") == "1":
		seeds = 10000
	case raceDetector:
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			simulate(t, seed)
		})
	}
}

// The same seed gives the same history, to the last message; and a handful of them
// reaches everything that is simulated.
func TestSimulationReplays(t *testing.T) {
	if raceDetector {
		return // a matter of order, not of memory
	}
	reached := map[string]int{}
	for seed := range uint64(24) {
		first := simulate(t, seed)
		if seed < 5 {
			if second := simulate(t, seed); first.sum() != second.sum() {
				t.Errorf("seed %d: two histories", seed)
			}
		}
		for what, n := range first.deeds {
			reached[what] += n
		}
	}
	for _, what := range []string{"crash between effects", "write refused by the fence", "write failed", "write in doubt",
		"command", "group", "executor used again", "list of reservations", "feedback", "framework removed", "inverse offer",
		"RESERVE OPERATION_FINISHED", "RESERVE OPERATION_DROPPED", "UNRESERVE OPERATION_FINISHED", "CREATE OPERATION_FINISHED", "DESTROY OPERATION_FINISHED",
		"TASK_RUNNING", "TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_DROPPED", "TASK_ERROR", "TASK_UNREACHABLE", "TASK_GONE_BY_OPERATOR",
		"DRAIN_AGENT", "DEACTIVATE_AGENT", "REACTIVATE_AGENT", "MARK_AGENT_GONE", "UPDATE_MAINTENANCE_SCHEDULE", "START_MAINTENANCE", "STOP_MAINTENANCE",
		"UPDATE_QUOTA", "UPDATE_WEIGHTS", "RESERVE_RESOURCES", "UNRESERVE_RESOURCES"} {
		if reached[what] == 0 {
			t.Errorf("no history reaches %q", what)
		}
	}
	t.Log(reached)
}

// One history in which nothing else goes wrong, with a crash before each of its effects
// in turn: whatever was done by then, the next leader brings all to rest.
func TestCrashAtEveryEffect(t *testing.T) {
	stride := 5
	switch {
	case os.Getenv("STOA_SOAK") == "1":
		stride = 1
	case raceDetector:
		stride = 97
	}
	histories := 0
	for seed := uint64(1); histories < 3; seed++ {
		effects := crashAt(t, seed, 0).count
		if effects < 150 {
			continue // too little happens in it
		}
		histories++
		for at := 1 + int(seed); at <= effects; at += stride {
			t.Run(fmt.Sprintf("%d/%d", seed, at), func(t *testing.T) {
				t.Parallel()
				crashAt(t, seed, at)
			})
		}
	}
}

func crashAt(t *testing.T, seed uint64, at int) *world {
	w := newWorld(t, seed)
	w.exact, w.lasts, w.crash = true, true, at
	w.addAgent()
	w.addFramework()
	w.addFramework()
	w.elect()
	for range 60 {
		w.run(w.between(0, 2*time.Second))
		w.event()
	}
	count := w.count
	w.settle()
	w.count = count // what came after is not a matter of this test
	return w
}

func simulate(t *testing.T, seed uint64) *world {
	w := newWorld(t, seed)
	for range 3 {
		w.addAgent()
	}
	for range 4 {
		w.addFramework()
	}
	w.elect()
	for range 110 {
		w.run(w.between(0, 2*time.Second))
		w.event()
	}
	w.settle()
	return w
}

// sum is the same for the same history.
func (w *world) sum() string { return fmt.Sprintf("%x", w.trace.Sum(nil)) }

// event is one thing that happens to somebody.
func (w *world) event() {
	r := w.rand
	a := w.agents[r.IntN(len(w.agents))]
	f := w.frameworks[r.IntN(len(w.frameworks))]
	switch n := r.IntN(100); {
	case n < 15:
		if open := f.open(); len(open) > 0 {
			f.kill(open[r.IntN(len(open))])
		}
	case n < 20:
		f.reconcile()
	case n < 25:
		f.disconnect()
	case n < 30:
		a.crash(r.IntN(4) == 0)
	case n < 34:
		if a.up {
			w.note("link of %s breaks", a.pid)
			a.lostLink()
		}
	case n < 36:
		if a.up && a.registered {
			w.note("%s leaves", a.pid)
			a.leave(true)
		}
	case n < 39:
		w.run(w.between(time.Minute, 3*time.Minute))
	case n < 40:
		w.run(w.between(10*time.Minute, 12*time.Minute))
	case n < 42 && w.leader != nil && !w.lasts:
		w.leader.die()
	case n < 44 && !w.lasts:
		w.depose()
	case n < 46:
		a.away = w.now.Add(w.between(time.Second, 12*time.Minute))
		w.note("%s is cut off until %s", a.pid, a.away.Sub(w.now))
	case n < 60 && len(w.masters) > 0 && a.id != nil:
		w.masters[r.IntN(len(w.masters))].order(w.randomOrder(a)) // perhaps one that is deposed
	case n < 62 && a.registered && a.can(mesos.AgentInfo_Capability_RESOURCE_PROVIDER):
		a.send(false, &messages.UpdateSlaveMessage{SlaveId: a.id, OversubscribedResources: []*mesos.Resource{{Name: proto.String("cpus"), Type: mesos.Value_SCALAR.Enum(),
			Scalar: &mesos.Value_Scalar{Value: proto.Float64(float64(r.IntN(2)))}, Revocable: &mesos.Resource_RevocableInfo{}}}})
	}
}

func (w *world) randomOrder(a *agent) *masterapi.Call {
	call := func(t masterapi.Call_Type) *masterapi.Call { return &masterapi.Call{Type: t.Enum()} }
	machine := &mesos.MachineID{Hostname: &a.host, Ip: proto.String(hostOf(a.pid))}
	var c *masterapi.Call
	switch w.rand.IntN(14) {
	case 0:
		c = call(masterapi.Call_DRAIN_AGENT)
		c.DrainAgent = &masterapi.Call_DrainAgent{AgentId: a.id, MarkGone: proto.Bool(w.rand.IntN(4) == 0)}
	case 1:
		c = call(masterapi.Call_DEACTIVATE_AGENT)
		c.DeactivateAgent = &masterapi.Call_DeactivateAgent{AgentId: a.id}
	case 2, 3, 4:
		c = call(masterapi.Call_REACTIVATE_AGENT)
		c.ReactivateAgent = &masterapi.Call_ReactivateAgent{AgentId: a.id}
	case 5:
		c = call(masterapi.Call_MARK_AGENT_GONE)
		c.MarkAgentGone = &masterapi.Call_MarkAgentGone{AgentId: a.id}
	case 6:
		c = call(masterapi.Call_UPDATE_MAINTENANCE_SCHEDULE)
		c.UpdateMaintenanceSchedule = &masterapi.Call_UpdateMaintenanceSchedule{Schedule: &maintenance.Schedule{}}
		if w.rand.IntN(2) == 0 {
			c.UpdateMaintenanceSchedule.Schedule.Windows = []*maintenance.Window{{MachineIds: []*mesos.MachineID{machine},
				Unavailability: &mesos.Unavailability{Start: &mesos.TimeInfo{Nanoseconds: proto.Int64(w.now.UnixNano())}}}}
			w.after(w.between(0, time.Minute), func() { w.maintain(masterapi.Call_START_MAINTENANCE, machine) })
			w.after(w.between(time.Minute, 5*time.Minute), func() { w.maintain(masterapi.Call_STOP_MAINTENANCE, machine) })
		}
	case 7:
		c = call(masterapi.Call_UPDATE_QUOTA)
		limit := map[string]*mesos.Value_Scalar{"cpus": {Value: proto.Float64(float64(w.rand.IntN(8)))}}
		if w.rand.IntN(2) == 0 {
			limit = nil
		}
		c.UpdateQuota = &masterapi.Call_UpdateQuota{Force: proto.Bool(true), QuotaConfigs: []*quota.QuotaConfig{{Role: proto.String([]string{"eng", "ops"}[w.rand.IntN(2)]), Limits: limit}}}
	case 8:
		c = call(masterapi.Call_UPDATE_WEIGHTS)
		c.UpdateWeights = &masterapi.Call_UpdateWeights{WeightInfos: []*mesos.WeightInfo{{Role: proto.String("eng"), Weight: proto.Float64(1 + w.rand.Float64())}}}
	default:
		c = w.operatorReserves(a)
	}
	return c
}

// maintain takes a machine down or up again, if there is somebody to ask.
func (w *world) maintain(t masterapi.Call_Type, machine *mesos.MachineID) {
	if w.leader == nil {
		return
	}
	c := &masterapi.Call{Type: t.Enum()}
	if machines := []*mesos.MachineID{machine}; t == masterapi.Call_START_MAINTENANCE {
		c.StartMaintenance = &masterapi.Call_StartMaintenance{Machines: machines}
	} else {
		c.StopMaintenance = &masterapi.Call_StopMaintenance{Machines: machines}
	}
	w.leader.order(c)
}

func (w *world) operatorReserves(a *agent) *masterapi.Call {
	list := []*mesos.Resource{{Name: proto.String("cpus"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(0.5)},
		Reservations: []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: proto.String("ops")}}}}
	if w.rand.IntN(3) > 0 {
		return &masterapi.Call{Type: masterapi.Call_UNRESERVE_RESOURCES.Enum(), UnreserveResources: &masterapi.Call_UnreserveResources{AgentId: a.id, Resources: list}}
	}
	return &masterapi.Call{Type: masterapi.Call_RESERVE_RESOURCES.Enum(), ReserveResources: &masterapi.Call_ReserveResources{AgentId: a.id, Resources: list}}
}

func hostOf(p ledger.PID) string {
	var host string
	for i := range len(p) {
		if p[i] == '@' {
			host = string(p[i+1:])
		}
	}
	for i := range len(host) {
		if host[i] == ':' {
			return host[:i]
		}
	}
	return host
}
