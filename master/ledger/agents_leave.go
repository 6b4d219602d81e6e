package ledger

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// Ways out of the book (mesos-master.md 2.4). In all of them the registry is written
// first; tasks, offers and frameworks hear of it afterwards.

// markUnreachable starts the transition of an agent that stopped answering.
func (l *Ledger) markUnreachable(a *agent, why string) {
	l.emit(Note{Warn: true, Text: "agent becomes unreachable: " + why, Agent: a.id})
	l.count.UnreachableScheduled++
	l.durable(Registry{Agent: a.id, State: Unreachable, Since: l.now}, pendingFact{since: l.now, reason: why})
}

// becameUnreachable tells everyone that the agent is unreachable.
func (l *Ledger) becameUnreachable(fact pendingFact) {
	l.count.UnreachableCompleted++
	l.unreachable.add(fact.agent, fact.since)
	if _, known := l.recovered[fact.agent]; known {
		delete(l.recovered, fact.agent)
		l.count.RecoveryRemovals++
		l.failure(fact.agent)
		return
	}
	a := l.agents[fact.agent]
	if a == nil {
		return
	}
	l.count.AgentRemovals++
	l.count.RemovedUnhealthy++
	for _, t := range a.sortedTasks() {
		state := mesos.TaskState_TASK_LOST
		if f := l.frameworks[t.framework]; f != nil && f.caps.PartitionAware {
			state = mesos.TaskState_TASK_UNREACHABLE
		}
		if !t.released {
			l.endTask(t, state, mesos.TaskStatus_REASON_AGENT_REMOVED,
				fact.reason, fact.since)
		}
		l.partTask(t)
	}
	l.closeAgent(a)
}

// leave is the agent's own good-bye (libprocess.md 3.11).
func (l *Ledger) leave(a *agent) {
	l.markRemoved(a, "the agent unregistered")
}

// markRemoved starts the removal of an agent that will not come back under its id.
func (l *Ledger) markRemoved(a *agent, why string) {
	if l.busy[a.id] {
		return
	}
	if delete(l.byPID, a.pid); a.connected {
		l.disconnectAgent(a)
	}
	l.durable(Registry{Agent: a.id, State: Removed}, pendingFact{reason: why})
}

func (l *Ledger) becameRemoved(fact pendingFact) {
	a := l.agents[fact.agent]
	if a == nil {
		return
	}
	l.count.AgentRemovals++
	if strings.HasPrefix(fact.reason, "the agent") {
		l.count.RemovedUnregistered++
	} else {
		l.count.RemovedRegistered++
	}
	for _, t := range a.sortedTasks() {
		if !t.released {
			// Graceful removal says LOST even to partition-aware frameworks (T29).
			l.endTask(t, mesos.TaskState_TASK_LOST, mesos.TaskStatus_REASON_AGENT_REMOVED,
				fmt.Sprintf("Agent %s removed: %s", a.info.GetHostname(), fact.reason), time.Time{})
		}
		l.dropTask(t)
	}
	l.closeAgent(a)
}

// closeAgent takes the agent out of the book; its tasks are out already.
func (l *Ledger) closeAgent(a *agent) {
	switch {
	case l.unreachable.has(a.id):
		l.endOperations(a, mesos.OperationState_OPERATION_UNREACHABLE, "Agent was marked unreachable")
	case l.gone.has(a.id):
		l.endOperations(a, mesos.OperationState_OPERATION_GONE_BY_OPERATOR, "Agent has been marked gone")
	default:
		l.endOperations(a, mesos.OperationState_OPERATION_UNKNOWN, "")
	}
	l.rescindAgent(a)
	for _, f := range l.sortedFrameworks() {
		for _, key := range f.executorsOn(a.id) {
			l.closeExecutor(f, a, key)
		}
	}
	delete(l.agents, a.id)
	if l.byPID[a.pid] == a.id {
		delete(l.byPID, a.pid)
	}
	l.forgetAgent(a.id)
	l.emit(AgentClosed{Agent: a.id, Gone: true})
	l.failure(a.id)
	l.operatorAgentRemoved(a.id)
}

// failure tells every connected framework that an agent is lost (T21).
func (l *Ledger) failure(id AgentID) {
	for _, f := range l.sortedFrameworks() {
		l.send(f, &scheduler.Event{Type: scheduler.Event_FAILURE.Enum(), Failure: &scheduler.Event_Failure{AgentId: id.wire()}})
	}
}

// recoveryDue is the end of the wait for an agent that the registry remembers.
func (l *Ledger) recoveryDue(id AgentID) {
	if _, waiting := l.recovered[id]; !waiting || l.busy[id] {
		return
	}
	why := "did not re-register in time after the master's failover"
	l.emit(Note{Warn: true, Text: "agent becomes unreachable: " + why, Agent: id})
	l.count.UnreachableScheduled++
	l.durable(Registry{Agent: id, State: Unreachable, Since: l.now}, pendingFact{since: l.now, reason: why})
}

// collect forgets unreachable and gone agents that are too old or too many, in the
// registry too. One that comes back nevertheless is admitted like a stranger.
func (l *Ledger) collect() {
	for _, list := range []*absences{l.unreachable, l.gone} {
		for _, id := range list.old(l.now.Add(-l.cfg.MaxAge), l.cfg.MaxGone) {
			if !l.busy[id] {
				list.remove(id)
				l.durable(Registry{Agent: id, State: Removed}, pendingFact{})
			}
		}
	}
	l.after(l.cfg.GCInterval, gcTimer, "", 0)
}

// hostOf cuts the address out of a pid: "slave(1)@10.0.0.1:5051" -> "10.0.0.1".
func hostOf(p PID) string {
	_, addr, _ := strings.Cut(string(p), "@")
	host, _, _ := strings.Cut(addr, ":")
	return host
}

func (l *Ledger) seconds() *float64 {
	return proto.Float64(float64(l.now.UnixMicro()) / 1e6)
}
