package ledger

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/allocator"
	"github.com/stoa-project/stoa/internal/wire/maintenance"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Maintenance (mesos-master.md 11.1): machines are UP, DRAINING once they are in the
// schedule, DOWN when the operator says so, and UP again when he says that.

// machineID names a machine as agents advertise it; host names do not care for case.
type machineID struct{ host, ip string }

func machineIDOf(m *mesos.MachineID) machineID {
	return machineID{strings.ToLower(m.GetHostname()), m.GetIp()}
}

// machineOf is the machine an agent runs on.
func machineOf(info *mesos.AgentInfo, at PID) machineID {
	return machineID{strings.ToLower(info.GetHostname()), hostOf(at)}
}

// String prints the machine as it is written in calls.
func (m machineID) String() string { return machineText(m.wire()) }

func (m machineID) wire() *mesos.MachineID {
	out := &mesos.MachineID{}
	if m.host != "" {
		out.Hostname = proto.String(m.host)
	}
	if m.ip != "" {
		out.Ip = proto.String(m.ip)
	}
	return out
}

func machineText(m *mesos.MachineID) string {
	text, err := wire.MarshalJSON(m)
	if err != nil {
		return fmt.Sprintf("%s %s", m.GetHostname(), m.GetIp())
	}
	return string(text)
}

// machine is one that agents run on, or that is scheduled.
type machine struct {
	id       *mesos.MachineID // as the schedule writes it
	plan     *mesos.Unavailability
	down     bool
	agents   map[AgentID]bool
	statuses map[FrameworkID]*allocator.InverseOfferStatus // what frameworks said to inverse offers
}

// maxSchedule bounds a schedule in bytes: it becomes one registry record.
const maxSchedule = 512 << 10

// machine gives the machine, made when missing.
func (l *Ledger) machine(id machineID) *machine {
	m := l.machines[id]
	if m == nil {
		m = &machine{id: id.wire(), agents: map[AgentID]bool{}}
		l.machines[id] = m
	}
	return m
}

// dropMachine forgets a machine that is neither scheduled nor has agents.
func (l *Ledger) dropMachine(id machineID) {
	if m := l.machines[id]; m != nil && m.plan == nil && !m.down && len(m.agents) == 0 {
		delete(l.machines, id)
	}
}

func (l *Ledger) machineJoin(a *agent) { l.machine(a.machine).agents[a.id] = true }

func (l *Ledger) machineLeave(a *agent) {
	if m := l.machines[a.machine]; m != nil {
		delete(m.agents, a.id)
		l.dropMachine(a.machine)
	}
}

// unavailability is when a machine is planned to be away; nil: it is not.
func (l *Ledger) unavailability(id machineID) *mesos.Unavailability {
	if m := l.machines[id]; m != nil {
		return m.plan
	}
	return nil
}

// planMachines takes over what the registry held.
func (l *Ledger) planMachines(m Maintenance) {
	for _, w := range m.Schedule.GetWindows() {
		for _, id := range w.GetMachineIds() {
			x := l.machine(machineIDOf(id))
			x.id, x.plan = id, w.GetUnavailability()
		}
	}
	for _, id := range m.Down {
		l.machine(machineIDOf(id)).down = true
	}
}

// downMachines lists the machines that are down, in order.
func (l *Ledger) downMachines() []machineID {
	var out []machineID
	for id, m := range l.machines {
		if m.down {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, compareMachines)
	return out
}

func compareMachines(a, b machineID) int {
	if a.host != b.host {
		return strings.Compare(a.host, b.host)
	}
	return strings.Compare(a.ip, b.ip)
}

// planned is the registry fact with this schedule and these machines down.
func (l *Ledger) planned(s *maintenance.Schedule, down []machineID) Registry {
	m := &Maintenance{Schedule: s}
	for _, id := range down {
		m.Down = append(m.Down, l.machine(id).id)
	}
	return Registry{Maintenance: m}
}

// updateSchedule replaces the schedule.
func (l *Ledger) updateSchedule(c OperatorCall, s *maintenance.Schedule) {
	plans, why := l.checkSchedule(s)
	if why != "" {
		l.reply(c, 400, why)
		return
	}
	if len(s.GetWindows()) == 0 {
		s = nil
	}
	l.enact(c, l.planned(s, l.downMachines()), func() {
		l.policies.schedule = s
		for _, w := range s.GetWindows() {
			for _, id := range w.GetMachineIds() {
				l.machine(machineIDOf(id)).id = id
			}
		}
		for id := range plans {
			l.machine(id)
		}
		for _, id := range slices.SortedFunc(maps.Keys(l.machines), compareMachines) {
			l.replan(id, plans[id])
		}
	})
}

// replan gives a machine a new unavailability, nil for none: its agents' offers and
// inverse offers are void, because they say something else.
func (l *Ledger) replan(id machineID, plan *mesos.Unavailability) {
	m := l.machines[id]
	if proto.Equal(m.plan, plan) {
		return
	}
	m.plan, m.statuses = plan, nil
	for _, agent := range slices.Sorted(maps.Keys(m.agents)) {
		a := l.agents[agent]
		l.rescindAgent(a)
		l.rescindInverse(a)
		l.openForOffers(a)
	}
	l.dropMachine(id)
}

// checkSchedule gives what is planned for each machine, or the reason for the refusal.
func (l *Ledger) checkSchedule(s *maintenance.Schedule) (map[machineID]*mesos.Unavailability, string) {
	if n := proto.Size(s); n > maxSchedule {
		return nil, fmt.Sprintf("The schedule has %d bytes, more than %d; plan fewer machines at a time", n, maxSchedule)
	}
	plans := map[machineID]*mesos.Unavailability{}
	for _, w := range s.GetWindows() {
		if len(w.GetMachineIds()) == 0 {
			return nil, "List of machines in the maintenance window is empty"
		}
		if w.GetUnavailability().GetDuration().GetNanoseconds() < 0 {
			return nil, "Unavailability 'duration' is negative"
		}
		for _, id := range w.GetMachineIds() {
			if why := checkMachine(id); why != "" {
				return nil, why
			}
			key := machineIDOf(id)
			if plans[key] != nil {
				return nil, fmt.Sprintf("Machine '%s' appears more than once in the schedule", machineText(id))
			}
			plans[key] = w.GetUnavailability()
		}
	}
	for _, id := range l.downMachines() {
		if plans[id] == nil {
			return nil, fmt.Sprintf("Machine '%s' is deactivated and cannot be removed from the schedule", machineText(l.machines[id].id))
		}
	}
	return plans, ""
}

func checkMachine(id *mesos.MachineID) string {
	if id.GetHostname() == "" && id.GetIp() == "" {
		return "Both 'hostname' and 'ip' for a machine are empty"
	}
	if id.GetIp() != "" {
		if ip, err := netip.ParseAddr(id.GetIp()); err != nil || !ip.Is4() {
			return fmt.Sprintf("Failed to parse the IP: '%s' is no IPv4 address", id.GetIp())
		}
	}
	return ""
}

// checkMachines gives the machines of a call, or the reason for the refusal: all must be
// in the schedule, and down or not as said.
func (l *Ledger) checkMachines(ids []*mesos.MachineID, down bool) ([]machineID, string) {
	if len(ids) == 0 {
		return nil, "List of machines is empty"
	}
	var out []machineID
	seen := map[machineID]bool{}
	for _, id := range ids {
		if why := checkMachine(id); why != "" {
			return nil, why
		}
		key := machineIDOf(id)
		if seen[key] {
			return nil, fmt.Sprintf("Machine '%s' appears more than once in the schedule", machineText(id))
		}
		seen[key] = true
		out = append(out, key)
	}
	for i, key := range out {
		m := l.machines[key]
		switch {
		case m == nil:
			return nil, fmt.Sprintf("Machine '%s' is not part of a maintenance schedule", machineText(ids[i]))
		case down && !m.down:
			return nil, fmt.Sprintf("Machine '%s' is not in DOWN mode and cannot be brought up", machineText(ids[i]))
		case !down && (m.down || m.plan == nil):
			return nil, fmt.Sprintf("Machine '%s' is not in DRAINING mode and cannot be brought down", machineText(ids[i]))
		}
	}
	return out, ""
}

const machineDown = "Operator initiated 'Machine DOWN'"

// startMaintenance takes machines down: their agents are told to shut down, and are
// removed without waiting for that.
func (l *Ledger) startMaintenance(c OperatorCall, ids []*mesos.MachineID) {
	machines, why := l.checkMachines(ids, false)
	if why != "" {
		l.reply(c, 400, why)
		return
	}
	down := append(l.downMachines(), machines...)
	slices.SortFunc(down, compareMachines)
	l.enact(c, l.planned(l.policies.schedule, down), func() {
		for _, id := range machines {
			m := l.machines[id]
			m.down, m.statuses = true, nil
			for _, agent := range slices.Sorted(maps.Keys(m.agents)) {
				a := l.agents[agent]
				l.shutDown(a.id, a.pid, machineDown)
				l.markRemoved(a, machineDown, nil)
			}
		}
	})
}

// stopMaintenance brings machines up again and takes them out of the schedule.
func (l *Ledger) stopMaintenance(c OperatorCall, ids []*mesos.MachineID) {
	machines, why := l.checkMachines(ids, true)
	if why != "" {
		l.reply(c, 400, why)
		return
	}
	up := map[machineID]bool{}
	for _, id := range machines {
		up[id] = true
	}
	rest := &maintenance.Schedule{}
	for _, w := range l.policies.schedule.GetWindows() {
		left := &maintenance.Window{Unavailability: w.GetUnavailability()}
		for _, id := range w.GetMachineIds() {
			if !up[machineIDOf(id)] {
				left.MachineIds = append(left.MachineIds, id)
			}
		}
		if len(left.MachineIds) > 0 {
			rest.Windows = append(rest.Windows, left)
		}
	}
	if len(rest.Windows) == 0 {
		rest = nil
	}
	down := slices.DeleteFunc(l.downMachines(), func(id machineID) bool { return up[id] })
	l.enact(c, l.planned(rest, down), func() {
		l.policies.schedule = rest
		for _, id := range machines {
			l.machines[id].down = false
			l.replan(id, nil)
		}
	})
}

// clusterStatus lists the machines that are draining or down.
func (l *Ledger) clusterStatus() *maintenance.ClusterStatus {
	out := &maintenance.ClusterStatus{}
	for _, id := range slices.SortedFunc(maps.Keys(l.machines), compareMachines) {
		m := l.machines[id]
		switch {
		case m.down:
			out.DownMachines = append(out.DownMachines, m.id)
		case m.plan != nil:
			d := &maintenance.ClusterStatus_DrainingMachine{Id: m.id}
			for _, f := range slices.Sorted(maps.Keys(m.statuses)) {
				d.Statuses = append(d.Statuses, m.statuses[f])
			}
			out.DrainingMachines = append(out.DrainingMachines, d)
		}
	}
	return out
}
