package ledger

import (
	"fmt"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
)

// Limits on what waits for the registry on behalf of operators.
const (
	maxOrders   = 100  // of one agent
	maxPolicies = 1000 // calls that change policies
)

// operatorCall carries out an operator's call that changes the book.
func (l *Ledger) operatorCall(c OperatorCall) {
	m := c.Call
	switch m.GetType() {
	case masterapi.Call_UPDATE_QUOTA, masterapi.Call_SET_QUOTA, masterapi.Call_REMOVE_QUOTA, masterapi.Call_UPDATE_WEIGHTS,
		masterapi.Call_UPDATE_MAINTENANCE_SCHEDULE, masterapi.Call_START_MAINTENANCE, masterapi.Call_STOP_MAINTENANCE:
		l.policyCall(c)
	case masterapi.Call_DRAIN_AGENT:
		l.drainAgent(c, AgentID(m.GetDrainAgent().GetAgentId().GetValue()))
	case masterapi.Call_DEACTIVATE_AGENT:
		l.deactivateAgent(c, AgentID(m.GetDeactivateAgent().GetAgentId().GetValue()))
	case masterapi.Call_REACTIVATE_AGENT:
		l.reactivateAgent(c, AgentID(m.GetReactivateAgent().GetAgentId().GetValue()))
	case masterapi.Call_MARK_AGENT_GONE:
		l.markAgentGone(c, AgentID(m.GetMarkAgentGone().GetAgentId().GetValue()))
	default:
		if on, op := OperatorOperation(m); op != nil {
			l.operateFor(c, on, op)
			return
		}
		l.reply(c, 501, "The call "+m.GetType().String()+" is not supported by this master")
	}
}

func (l *Ledger) reply(c OperatorCall, code int, body string) {
	if c.Ticket != 0 {
		l.emit(Answer{Ticket: c.Ticket, Code: code, Body: body})
	}
}

// postpone keeps an order for an agent with a registry write under way until that is
// durable; what the order meets then may differ from what it meets now.
func (l *Ledger) postpone(c OperatorCall, id AgentID) {
	if len(l.orders[id]) >= maxOrders {
		l.reply(c, 503, fmt.Sprintf("%d calls about agent '%s' wait already", maxOrders, id))
		return
	}
	l.whenWritten(id, func() { l.operatorCall(c) })
}

// whenWritten runs do when the registry write of the agent that is under way is durable.
func (l *Ledger) whenWritten(id AgentID, do func()) { l.orders[id] = append(l.orders[id], do) }

// nextOrders carries out what was postponed, until an order makes a write of its own.
func (l *Ledger) nextOrders(id AgentID) {
	for len(l.orders[id]) > 0 {
		if _, busy := l.busy[id]; busy {
			return
		}
		do := l.orders[id][0]
		if l.orders[id] = l.orders[id][1:]; len(l.orders[id]) == 0 {
			delete(l.orders, id)
		}
		do()
	}
}
