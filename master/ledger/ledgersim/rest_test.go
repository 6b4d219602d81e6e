package ledgersim

import (
	"maps"
	"slices"
	"time"

	"github.com/stoa-project/stoa/internal/wire/maintenance"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"

	"google.golang.org/protobuf/proto"
)

// settle ends all faults, undoes what operators ordered, lets frameworks kill what runs,
// and compares book and world at rest.
func (w *world) settle() {
	w.calm = true
	w.note("calm")
	w.run(15 * time.Minute) // every timeout of the master passes once
	if w.leader == nil {
		w.fail("nobody leads")
	}
	m := w.leader
	m.order(&masterapi.Call{Type: masterapi.Call_UPDATE_MAINTENANCE_SCHEDULE.Enum(), UpdateMaintenanceSchedule: &masterapi.Call_UpdateMaintenanceSchedule{Schedule: &maintenance.Schedule{}}})
	for _, a := range w.agents {
		machine := &mesos.MachineID{Hostname: &a.host, Ip: proto.String(hostOf(a.pid))}
		m.order(&masterapi.Call{Type: masterapi.Call_STOP_MAINTENANCE.Enum(), StopMaintenance: &masterapi.Call_StopMaintenance{Machines: []*mesos.MachineID{machine}}})
	}
	w.run(3 * time.Minute)
	// Agents that left without a word never come back: the operator knows that.
	for _, u := range m.book.Snapshot().Unreachable {
		m.order(&masterapi.Call{Type: masterapi.Call_MARK_AGENT_GONE.Enum(), MarkAgentGone: &masterapi.Call_MarkAgentGone{AgentId: &mesos.AgentID{Value: proto.String(string(u.Agent))}}})
	}
	// A new master does not know that a framework was removed by an earlier one.
	for _, f := range w.frameworks {
		if f.removed {
			m.step(ledger.Teardown{Framework: ledger.FrameworkID(f.info.GetId().GetValue())})
		}
	}
	for range 6 {
		for _, f := range w.frameworks {
			for _, h := range f.open() {
				f.kill(h)
			}
			f.reconcile()
		}
		for _, a := range w.agents {
			if a.id != nil {
				m.order(&masterapi.Call{Type: masterapi.Call_REACTIVATE_AGENT.Enum(), ReactivateAgent: &masterapi.Call_ReactivateAgent{AgentId: a.id}})
			}
		}
		w.run(time.Minute)
	}
	// Words of executors that got lost are made up for when agents register again.
	for _, a := range w.agents {
		if a.up {
			a.lostLink()
		}
	}
	w.run(3 * time.Minute)
	w.atRest(m)
}

func (w *world) atRest(m *master) {
	if len(m.waiting) > 0 {
		w.fail("operators wait for answers: %v", m.waiting)
	}
	book := m.book.Snapshot()
	for _, f := range w.frameworks {
		if f.removed {
			continue
		}
		if f.on == nil || !f.known {
			w.fail("f%d is not connected", f.n)
		}
		for _, h := range f.open() {
			w.fail("f%d never heard the end of %s on %s: %v", f.n, h.id, h.agent, h.states)
		}
	}
	for _, a := range w.agents {
		if !a.up || !a.registered {
			w.fail("agent %s is up %v, registered %v", a.pid, a.up, a.registered)
		}
		i := slices.IndexFunc(book.Agents, func(v *ledger.AgentView) bool { return v.PID == a.pid })
		if i < 0 {
			w.fail("agent %s is not in the book", a.pid)
		}
		v := book.Agents[i]
		if string(v.ID) != a.id.GetValue() {
			w.fail("agent %s is %s in the book", a.id.GetValue(), v.ID)
		}
		if !v.Used.Unallocate().Exclusive().Equal(a.used()) {
			w.fail("agent %s uses %s, the book says %s", a.pid, a.used(), v.Used)
		}
		own := v.Total.Filter(func(r *mesos.Resource) bool { return r.GetRevocable() == nil })
		if !own.Equal(a.total()) {
			w.fail("agent %s has %s, the book says %s", a.pid, a.total(), own)
		}
		for _, k := range slices.Sorted(maps.Keys(a.tasks)) {
			w.fail("agent %s has task %s, %s", a.pid, k, a.tasks[k].state)
		}
		if len(a.operations) > 0 || len(v.Operations) > 0 {
			w.fail("agent %s has %d operations that nobody acknowledged, the book %d", a.pid, len(a.operations), len(v.Operations))
		}
	}
	for _, v := range book.Frameworks {
		for _, t := range v.Tasks {
			w.fail("framework %s has task %s (%s) at rest", v.ID, t.GetTaskId().GetValue(), t.GetState())
		}
	}
}
