package ledger

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// What operators order for an agent: draining, deactivation, marking gone
// (mesos-master.md 5.1 and 11.5). The registry has it before anybody hears of it.

// transition names the state that an agent is on its way to.
func transition(s RegistryState) string {
	if s == Unreachable {
		return "is being transitioned to unreachable"
	}
	if s == Gone {
		return "is already being transitioned to gone"
	}
	return "is being transitioned to removed"
}

// drainAgent starts draining: no more offers, and the agent kills what runs on it.
func (l *Ledger) drainAgent(c OperatorCall, id AgentID) {
	m := c.Call.GetDrainAgent()
	if a := l.agents[id]; a != nil {
		if l.unavailability(a.machine) != nil {
			l.reply(c, 400, fmt.Sprintf("Agent %s is part of a maintenance schedule under Machine %s", id, a.machine))
			return
		}
		if !a.caps.Draining {
			l.reply(c, 400, fmt.Sprintf("Agent %s is not capable of draining", id))
			return
		}
	}
	standing, known := l.standing(id)
	if !known {
		l.reply(c, 400, "Unknown agent")
		return
	}
	grace, why := gracePeriod(m)
	if why != "" {
		l.reply(c, 400, why)
		return
	}
	switch state, busy := l.busy[id]; {
	case busy && state == Gone:
		l.reply(c, 409, "Agent is currently being marked gone")
		return
	case busy:
		l.postpone(c, id)
		return
	}
	gone := m.GetMarkGone()
	standing.Deactivated = true
	standing.Drain = &mesos.DrainInfo{State: mesos.DrainState_DRAINING.Enum(),
		Config: &mesos.DrainConfig{MarkGone: &gone, MaxGracePeriod: grace}}
	l.order(id, standing, func() {
		if a := l.agents[id]; a != nil {
			l.emit(Note{Text: fmt.Sprintf("agent drains: %d tasks", len(a.tasks)), Agent: id})
			l.deactivateNow(a)
			l.tellToDrain(a)
		}
		l.reply(c, 200, "")
	})
}

// gracePeriod checks max_grace_period and gives it in the form that agents take.
func gracePeriod(m *masterapi.Call_DrainAgent) (*mesos.DurationInfo, string) {
	d := m.GetMaxGracePeriod()
	if d == nil {
		return nil, ""
	}
	if err := d.CheckValid(); err != nil || d.AsDuration() < 0 || d.GetSeconds() > int64(maxGrace/time.Second) {
		return nil, fmt.Sprintf("Invalid 'max_grace_period': it must be from 0 to %s", spelled(maxGrace))
	}
	return &mesos.DurationInfo{Nanoseconds: proto.Int64(int64(d.AsDuration()))}, ""
}

// maxGrace bounds the time that tasks get for their end.
const maxGrace = 365 * 24 * time.Hour

// order makes a standing durable and known; then goes on.
func (l *Ledger) order(id AgentID, s Standing, then func()) {
	fact := Registry{Agent: id, State: Admitted, Standing: s}
	a, r := l.agents[id], l.recovered[id]
	switch {
	case a != nil:
		fact.Info, fact.PID = a.info, a.pid
	case r != nil:
		fact.Info, fact.PID = r.info, r.pid
	default:
		gone, _ := l.unreachable.get(id)
		fact.State, fact.Since = Unreachable, gone.Since
	}
	l.durable(fact, func() {
		switch {
		case a != nil:
			a.Standing = s
			l.touchAgent(a)
		case r != nil:
			r.Standing = s
		default:
			gone, _ := l.unreachable.get(id)
			gone.Standing = s
			l.unreachable.replace(gone)
		}
		then()
	})
}

// deactivateNow stops offers of an agent whose standing says so.
func (l *Ledger) deactivateNow(a *agent) {
	a.generation++
	l.touchAgent(a)
	l.emit(AgentClosed{Agent: a.id})
	l.rescindAgent(a)
	l.rescindInverse(a)
}

// tellToDrain sends the order to an agent that is draining, at once or whenever it comes
// back; what is empty already is drained.
func (l *Ledger) tellToDrain(a *agent) {
	if a.Drain.GetState() != mesos.DrainState_DRAINING {
		return
	}
	l.settle[a.id] = true
	a.drainSince = l.now
	l.touchAgent(a)
	if a.connected {
		l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.DrainSlaveMessage{Config: a.Drain.Config}})
	}
}

// settleDrains ends the draining of agents on which nothing is left: neither tasks, the
// unacknowledged ends of tasks included, nor operations.
func (l *Ledger) settleDrains() {
	if len(l.settle) == 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(l.settle)) {
		a := l.agents[id]
		if _, busy := l.busy[id]; busy {
			continue // asked again when that is written
		}
		delete(l.settle, id)
		if a == nil || a.Drain.GetState() != mesos.DrainState_DRAINING || !a.idle() {
			continue
		}
		if a.Drain.GetConfig().GetMarkGone() {
			l.markGone(id, nil)
			continue
		}
		s := a.Standing
		s.Drain = &mesos.DrainInfo{State: mesos.DrainState_DRAINED.Enum(), Config: a.Drain.Config}
		l.order(id, s, func() { l.emit(Note{Text: "agent is drained", Agent: id}) })
	}
}

// idle says whether nothing is left on the agent.
func (a *agent) idle() bool { return len(a.tasks) == 0 && len(a.operations) == 0 }

// emptied notes that a task or operation left an agent: a draining one may be drained.
func (l *Ledger) emptied(a *agent) {
	if a.Drain.GetState() == mesos.DrainState_DRAINING && a.idle() {
		l.settle[a.id] = true
	}
}

// deactivateAgent stops offers; what runs goes on.
func (l *Ledger) deactivateAgent(c OperatorCall, id AgentID) {
	standing, known := l.standing(id)
	if !known {
		l.reply(c, 400, "Unknown agent")
		return
	}
	if _, busy := l.busy[id]; busy {
		l.postpone(c, id)
		return
	}
	standing.Deactivated = true
	l.order(id, standing, func() {
		if a := l.agents[id]; a != nil {
			l.emit(Note{Text: "agent deactivated", Agent: id})
			l.deactivateNow(a)
		}
		l.reply(c, 200, "")
	})
}

// reactivateAgent ends deactivation, and with it what is left of a draining that ended.
func (l *Ledger) reactivateAgent(c OperatorCall, id AgentID) {
	standing, _ := l.standing(id)
	switch {
	case !standing.Deactivated:
		l.reply(c, 400, "Agent is not deactivated")
		return
	case standing.Drain.GetState() == mesos.DrainState_DRAINING:
		l.reply(c, 400, "Agent is still in the DRAINING state")
		return
	}
	if _, busy := l.busy[id]; busy {
		l.postpone(c, id)
		return
	}
	l.order(id, Standing{}, func() {
		a := l.agents[id]
		if a == nil {
			l.reply(c, 409, "Agent removed while processing the call")
			return
		}
		l.emit(Note{Text: "agent reactivated", Agent: id})
		a.drainSince = time.Time{}
		l.openForOffers(a)
		l.reply(c, 200, "")
	})
}

// markAgentGone forgets an agent for good (5.1).
func (l *Ledger) markAgentGone(c OperatorCall, id AgentID) {
	if l.gone.has(id) {
		l.reply(c, 200, "")
		return
	}
	if state, busy := l.busy[id]; busy {
		if state != Admitted {
			l.reply(c, 503, fmt.Sprintf("Agent '%s' %s", id, transition(state)))
			return
		}
		l.postpone(c, id)
		return
	}
	if _, known := l.standing(id); !known {
		l.reply(c, 404, fmt.Sprintf("Agent '%s' not found", id))
		return
	}
	l.markGone(id, func() { l.reply(c, 200, "") })
}
