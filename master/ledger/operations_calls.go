package ledger

import (
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// acknowledgeStatus takes a framework's word that it has stored an operation's status
// (mesos-master.md 1.5).
func (l *Ledger) acknowledgeStatus(f *framework, m *scheduler.Call_AcknowledgeOperationStatus) {
	a := l.agents[AgentID(m.GetAgentId().GetValue())]
	o := f.operationByID(m.GetOperationId().GetValue())
	if a == nil || !a.connected || o == nil || o.agent != a.id ||
		m.ResourceProviderId != nil && !a.caps.ResourceProvider || m.ResourceProviderId == nil && !a.caps.OperationFeedback {
		l.count.InvalidOperationAcks++
		return
	}
	for _, s := range o.proto.GetStatuses() {
		if len(m.GetUuid()) > 0 && string(s.GetUuid().GetValue()) == string(m.GetUuid()) {
			l.count.ValidOperationAcks++
			l.acknowledgeOperation(a, o, m.GetUuid())
			if TerminalOperation(s.GetState()) {
				l.closeOperation(o)
			}
			return
		}
	}
	l.count.InvalidOperationAcks++
}

// operationByID finds the newest operation that the framework gave this id.
func (f *framework) operationByID(id string) (found *operation) {
	for _, o := range f.operations {
		if o.id == id && id != "" && (found == nil || o.order > found.order) {
			found = o
		}
	}
	return found
}

// reconcileOperations answers what the book knows of operations (mesos-master.md 1.9);
// the answers carry no uuid.
func (l *Ledger) reconcileOperations(f *framework, m *scheduler.Call_ReconcileOperations) {
	if len(m.GetOperations()) == 0 {
		for _, o := range sortedOperations(f.operations) {
			if o.id != "" {
				l.tellOperation(f, o)
			}
		}
		return
	}
	forward := map[AgentID]*messages.ReconcileOperationsMessage{}
	var order []AgentID
	for _, asked := range m.GetOperations() {
		id, on, provider := asked.GetOperationId().GetValue(), AgentID(asked.GetAgentId().GetValue()), asked.GetResourceProviderId().GetValue()
		if o := f.operationByID(id); o != nil {
			l.tellOperation(f, o)
			continue
		}
		if a := l.agents[on]; a != nil && provider != "" && a.providers[provider] == nil && a.caps.OperationFeedback {
			// The agent knows about providers that it has not heard of since its restart.
			if forward[on] == nil {
				forward[on] = &messages.ReconcileOperationsMessage{FrameworkId: f.id.wire()}
				order = append(order, on)
			}
			forward[on].Operations = append(forward[on].Operations, &messages.ReconcileOperationsMessage_Operation{
				OperationId: asked.GetOperationId(), ResourceProviderId: asked.GetResourceProviderId()})
			continue
		}
		state, why := l.absentOperation(on)
		l.sendOperationStatus(f, l.operationVerdict(id, state, "Reconciliation: "+why, on, provider))
	}
	for _, on := range order {
		l.emit(ToAgent{Agent: on, PID: l.agents[on].pid, Message: forward[on]})
	}
}

// absentOperation is the state of an operation that is not in the book, by its agent's.
func (l *Ledger) absentOperation(on AgentID) (mesos.OperationState, string) {
	_, recovered := l.recovered[on]
	switch {
	case on == "":
		return mesos.OperationState_OPERATION_UNKNOWN, "Operation is unknown and no 'agent_id' was provided"
	case recovered:
		return mesos.OperationState_OPERATION_RECOVERING, "Agent is recovered but has not re-registered"
	case l.agents[on] != nil:
		return mesos.OperationState_OPERATION_UNKNOWN, "Operation is unknown"
	case l.unreachable.has(on):
		return mesos.OperationState_OPERATION_UNREACHABLE, "Agent is unreachable"
	case l.gone.has(on):
		return mesos.OperationState_OPERATION_GONE_BY_OPERATOR, "Agent marked gone by operator"
	}
	return mesos.OperationState_OPERATION_UNKNOWN, "Both operation and agent are unknown"
}

// tellOperation answers with the last status that the agent sent, or the first one when
// it sent none.
func (l *Ledger) tellOperation(f *framework, o *operation) {
	s := o.proto.GetLatestStatus()
	if n := len(o.proto.GetStatuses()); n > 0 {
		s = o.proto.GetStatuses()[n-1]
	}
	s = proto.Clone(named(s, o)).(*mesos.OperationStatus)
	s.Uuid = nil
	l.sendOperationStatus(f, s)
}
