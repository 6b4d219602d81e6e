package ledger

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Operator events (mesos-master.md 5.3). Resources are in the internal form; the shell
// that writes them converts.

func (l *Ledger) operatorTaskAdded(t *mesos.Task) {
	l.emit(Operator{&masterapi.Event{Type: masterapi.Event_TASK_ADDED.Enum(), TaskAdded: &masterapi.Event_TaskAdded{Task: t}}})
}

func (l *Ledger) operatorTaskUpdated(f FrameworkID, s *mesos.TaskStatus, latest mesos.TaskState) {
	l.emit(Operator{&masterapi.Event{Type: masterapi.Event_TASK_UPDATED.Enum(), TaskUpdated: &masterapi.Event_TaskUpdated{
		FrameworkId: f.wire(), Status: s, State: latest.Enum()}}})
}

func (l *Ledger) operatorAgentAdded(a *agent) {
	l.emit(Operator{&masterapi.Event{Type: masterapi.Event_AGENT_ADDED.Enum(),
		AgentAdded: &masterapi.Event_AgentAdded{Agent: a.view().Wire()}}})
}

func (l *Ledger) operatorAgentRemoved(id AgentID) {
	l.emit(Operator{&masterapi.Event{Type: masterapi.Event_AGENT_REMOVED.Enum(),
		AgentRemoved: &masterapi.Event_AgentRemoved{AgentId: id.wire()}}})
}

func (l *Ledger) operatorFrameworkAdded(f *framework) {
	l.emit(Operator{&masterapi.Event{Type: masterapi.Event_FRAMEWORK_ADDED.Enum(),
		FrameworkAdded: &masterapi.Event_FrameworkAdded{Framework: f.header()}}})
}

func (l *Ledger) operatorFrameworkUpdated(f *framework) {
	l.emit(Operator{&masterapi.Event{Type: masterapi.Event_FRAMEWORK_UPDATED.Enum(),
		FrameworkUpdated: &masterapi.Event_FrameworkUpdated{Framework: f.header()}}})
}

func (l *Ledger) operatorFrameworkRemoved(f *framework) {
	l.emit(Operator{&masterapi.Event{Type: masterapi.Event_FRAMEWORK_REMOVED.Enum(),
		FrameworkRemoved: &masterapi.Event_FrameworkRemoved{FrameworkInfo: f.info}}})
}

// header is the framework as events show it: without offers and resources, and with an
// unregistered_time of zero (5.2).
func (f *framework) header() *masterapi.Response_GetFrameworks_Framework {
	w := wireFramework(f.info, f.active && !f.conn.None(), !f.conn.None(), f.recovered, f.registered, f.reregistered)
	w.UnregisteredTime = &mesos.TimeInfo{Nanoseconds: proto.Int64(0)}
	w.OfferConstraints = f.constraints
	return w
}

// Wire is the framework as GET_FRAMEWORKS shows it (5.2).
func (v *FrameworkView) Wire() *masterapi.Response_GetFrameworks_Framework {
	w := wireFramework(v.Info, v.Active, v.Connected, v.Recovered, v.Registered, v.Reregistered)
	if !v.Unregistered.IsZero() {
		w.UnregisteredTime = timeInfo(v.Unregistered)
	}
	w.Offers, w.AllocatedResources, w.OfferedResources = v.Offers, v.Used, v.Offered
	w.OfferConstraints, w.InverseOffers = v.Constraints, v.Inverse
	return w
}

func wireFramework(info *mesos.FrameworkInfo, active, connected, recovered bool, registered, reregistered time.Time) *masterapi.Response_GetFrameworks_Framework {
	w := &masterapi.Response_GetFrameworks_Framework{FrameworkInfo: info, Active: &active, Connected: &connected,
		Recovered: &recovered, RegisteredTime: timeInfo(registered)}
	if reregistered.IsZero() {
		reregistered = registered
	}
	w.ReregisteredTime = timeInfo(reregistered)
	return w
}

// Wire is the agent as GET_AGENTS and AGENT_ADDED show it (5.2).
func (v *AgentView) Wire() *masterapi.Response_GetAgents_Agent {
	w := &masterapi.Response_GetAgents_Agent{AgentInfo: v.Info, Active: &v.Active, Deactivated: &v.Deactivated, DrainInfo: v.Drain,
		Version: &v.Version, Pid: proto.String(string(v.PID)), RegisteredTime: timeInfo(v.Registered),
		TotalResources: v.Total, AllocatedResources: v.Used, OfferedResources: v.Offered, Capabilities: v.Capabilities}
	if !v.Reregistered.IsZero() {
		w.ReregisteredTime = timeInfo(v.Reregistered)
	}
	for _, p := range v.Providers {
		w.ResourceProviders = append(w.ResourceProviders, &masterapi.Response_GetAgents_Agent_ResourceProvider{
			ResourceProviderInfo: p.Info, TotalResources: p.Total})
	}
	if !v.DrainSince.IsZero() {
		w.EstimatedDrainStartTime = timeInfo(v.DrainSince)
	}
	return w
}

func timeInfo(t time.Time) *mesos.TimeInfo {
	return &mesos.TimeInfo{Nanoseconds: proto.Int64(t.UnixNano())}
}
