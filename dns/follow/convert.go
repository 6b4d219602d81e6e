package follow

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// snapshotOf copies what names depend on; the rest of a state, mostly statuses and
// resources, is many times as large.
func snapshotOf(s *masterapi.Response_GetState) names.Snapshot {
	var snap names.Snapshot
	for _, f := range s.GetGetFrameworks().GetFrameworks() {
		snap.Frameworks = append(snap.Frameworks, frameworkOf(f.GetFrameworkInfo()))
	}
	for _, f := range s.GetGetFrameworks().GetRecoveredFrameworks() {
		snap.Frameworks = append(snap.Frameworks, frameworkOf(f))
	}
	for _, a := range s.GetGetAgents().GetAgents() {
		snap.Agents = append(snap.Agents, agentOf(a))
	}
	for _, a := range s.GetGetAgents().GetRecoveredAgents() {
		snap.Recovered = append(snap.Recovered, names.AgentID(a.GetId().GetValue()))
	}
	for _, list := range [][]*mesos.Task{s.GetGetTasks().GetTasks(), s.GetGetTasks().GetOrphanTasks()} {
		for _, t := range list {
			snap.Tasks = append(snap.Tasks, taskOf(t))
		}
	}
	return snap
}

func frameworkOf(f *mesos.FrameworkInfo) names.Framework {
	return names.Framework{ID: names.FrameworkID(f.GetId().GetValue()), Name: f.GetName(), Hostname: f.GetHostname()}
}

func agentOf(a *masterapi.Response_GetAgents_Agent) names.Agent {
	return names.Agent{ID: names.AgentID(a.GetAgentInfo().GetId().GetValue()), PID: pidOf(a.GetPid())}
}

// pidOf reads "slave(1)@10.0.0.1:5051"; a pid of another form is empty.
func pidOf(pid string) names.Endpoint {
	_, at, ok := strings.Cut(pid, "@")
	if !ok {
		return names.Endpoint{}
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return names.Endpoint{}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return names.Endpoint{}
	}
	return names.Endpoint{Host: host, Port: uint16(n)}
}

func taskOf(t *mesos.Task) names.Task {
	out := names.Task{
		ID: names.TaskID(t.GetTaskId().GetValue()), Framework: names.FrameworkID(t.GetFrameworkId().GetValue()),
		Agent: names.AgentID(t.GetAgentId().GetValue()), Name: t.GetName(), State: t.GetState().String(),
		Discovery: t.GetDiscovery().GetName(),
	}
	for _, p := range t.GetDiscovery().GetPorts().GetPorts() {
		if n := p.GetNumber(); n <= 65535 {
			out.DiscoveryPorts = append(out.DiscoveryPorts, names.Port{Number: uint16(n), Name: p.GetName(), Protocol: p.GetProtocol()})
		}
	}
	for _, r := range t.GetResources() {
		if r.GetName() == "ports" {
			out.Ports = append(out.Ports, rangesOf(r.GetRanges())...)
		}
	}
	for _, st := range t.GetStatuses() {
		if st.GetState() == mesos.TaskState_TASK_RUNNING {
			out.Merge(statusOf(st))
		}
	}
	return out
}

func rangesOf(r *mesos.Value_Ranges) []names.Range {
	var out []names.Range
	for _, x := range r.GetRange() {
		if x.GetBegin() <= x.GetEnd() && x.GetEnd() <= 65535 {
			out = append(out, names.Range{First: uint16(x.GetBegin()), Last: uint16(x.GetEnd())})
		}
	}
	return out
}

func updateOf(u *masterapi.Event_TaskUpdated) names.Update {
	out := names.Update{
		Framework: names.FrameworkID(u.GetFrameworkId().GetValue()),
		Task:      names.TaskID(u.GetStatus().GetTaskId().GetValue()),
		State:     u.GetState().String(),
	}
	if u.GetStatus().GetState() == mesos.TaskState_TASK_RUNNING {
		st := statusOf(u.GetStatus())
		out.Running = &st
	}
	return out
}

func statusOf(s *mesos.TaskStatus) names.Status {
	out := names.Status{Stamp: s.GetTimestamp()}
	if s.Healthy != nil {
		out.Health = names.Unhealthy
		if s.GetHealthy() {
			out.Health = names.Healthy
		}
	}
	for _, n := range s.GetContainerStatus().GetNetworkInfos() {
		if out.Addresses.Network == "" {
			out.Addresses.Network = n.GetName()
		}
		for _, ip := range n.GetIpAddresses() {
			out.Addresses.NetInfo = appendAddr(out.Addresses.NetInfo, ip.GetIpAddress())
		}
	}
	for _, l := range s.GetLabels().GetLabels() {
		switch l.GetKey() {
		case mesosLabel:
			out.Addresses.Mesos = appendAddr(out.Addresses.Mesos, l.GetValue())
		case dockerLabel:
			out.Addresses.Docker = appendAddr(out.Addresses.Docker, l.GetValue())
		}
	}
	return out
}

// Labels of a status by which old containerizers told addresses.
const (
	mesosLabel  = "MesosContainerizer.NetworkSettings.IPAddress"
	dockerLabel = "Docker.NetworkSettings.IPAddress"
)

func appendAddr(list []netip.Addr, text string) []netip.Addr {
	if a, err := netip.ParseAddr(text); err == nil {
		return append(list, a)
	}
	return list
}
