package ledger

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// Ways out of the book (mesos-master.md 2.4). In all of them the registry is written
// first; tasks, offers and frameworks hear of it afterwards.

// markUnreachable starts the transition of an agent that stopped answering.
func (l *Ledger) markUnreachable(id AgentID, why string) {
	if state, busy := l.busy[id]; busy {
		if state == Admitted {
			// Its return, or an order of an operator, is being written: looked at again after that.
			l.after(l.cfg.PingInterval, overdueTimer, string(id), 0)
		}
		return
	}
	standing, known := l.standing(id)
	if !known {
		return
	}
	l.emit(Note{Warn: true, Text: "agent becomes unreachable: " + why, Agent: id})
	gone := Absence{Agent: id, Since: l.now, Standing: standing}
	l.durable(Registry{Agent: id, State: Unreachable, Since: gone.Since, Standing: standing}, func() { l.becameUnreachable(gone, why) })
}

// standing gives what an operator ordered for an admitted or unreachable agent; known
// says whether it is one.
func (l *Ledger) standing(id AgentID) (s Standing, known bool) {
	if a := l.agents[id]; a != nil {
		return a.Standing, true
	}
	if r := l.recovered[id]; r != nil {
		return r.Standing, true
	}
	e, known := l.unreachable.get(id)
	return e.Standing, known
}

// becameUnreachable tells everyone that the agent is unreachable.
func (l *Ledger) becameUnreachable(gone Absence, why string) {
	l.unreachable.add(gone)
	l.count.AgentRemovals++
	l.count.RemovedUnhealthy++
	if l.recovered[gone.Agent] != nil {
		delete(l.recovered, gone.Agent)
		l.count.RecoveryRemovals++
		l.failure(gone.Agent)
		return
	}
	a := l.agents[gone.Agent]
	if a == nil {
		return
	}
	for _, t := range a.sortedTasks() {
		state := mesos.TaskState_TASK_LOST
		if f := l.frameworks[t.framework]; f != nil && f.caps.PartitionAware {
			state = mesos.TaskState_TASK_UNREACHABLE
		}
		if !t.released {
			l.endTask(t, state, mesos.TaskStatus_REASON_AGENT_REMOVED, why, gone.Since)
		}
		l.partTask(t)
	}
	l.closeAgent(a)
}

// leave is the agent's own good-bye (libprocess.md 3.11).
func (l *Ledger) leave(a *agent) {
	l.markRemoved(a, "the agent unregistered", &l.count.RemovedUnregistered)
}

// markRemoved starts the removal of an agent that will not come back under its id.
// counted, if any, is the counter of the reason.
func (l *Ledger) markRemoved(a *agent, why string, counted *int) {
	if l.byPID[a.pid] == a.id {
		delete(l.byPID, a.pid)
	}
	if a.connected {
		l.disconnectAgent(a)
	}
	id := a.id
	if state, busy := l.busy[id]; busy {
		if state == Admitted {
			l.whenWritten(id, func() {
				if l.agents[id] == a {
					l.markRemoved(a, why, counted)
				}
			})
		}
		return
	}
	l.durable(Registry{Agent: id, State: Removed}, func() {
		if counted != nil {
			*counted++
		}
		l.becameRemoved(a, why)
	})
}

// becameRemoved tells everyone that an agent left for good.
func (l *Ledger) becameRemoved(a *agent, why string) {
	l.count.AgentRemovals++
	for _, t := range a.sortedTasks() {
		if !t.released {
			// Graceful removal says LOST even to partition-aware frameworks (T29).
			l.endTask(t, mesos.TaskState_TASK_LOST, mesos.TaskStatus_REASON_AGENT_REMOVED,
				fmt.Sprintf("Agent %s removed: %s", a.info.GetHostname(), why), time.Time{})
		}
		l.dropTask(t)
	}
	l.closeAgent(a)
}

const goneMessage = "Agent has been marked gone"

// markGone starts the way of no return: registered, recovered and unreachable agents
// may be marked gone. then, if any, runs when it is done.
func (l *Ledger) markGone(id AgentID, then func()) {
	since := l.now
	l.emit(Note{Warn: true, Text: "agent is marked gone", Agent: id})
	l.durable(Registry{Agent: id, State: Gone, Since: since}, func() {
		l.becameGone(id, since)
		if then != nil {
			then()
		}
	})
}

// becameGone tells everyone that an agent will never come back.
func (l *Ledger) becameGone(id AgentID, since time.Time) {
	l.gone.add(Absence{Agent: id, Since: since})
	if l.recovered[id] != nil {
		delete(l.recovered, id) // nobody knows its tasks
		return
	}
	if l.unreachable.remove(id) {
		l.endUnreachable(id)
		return
	}
	a := l.agents[id]
	if a == nil {
		return
	}
	l.emit(ToAgent{Agent: id, PID: a.pid, Message: &messages.ShutdownMessage{Message: proto.String(goneMessage)}})
	l.count.AgentRemovals++
	for _, t := range a.sortedTasks() {
		if !t.released {
			state, reason := goneAs(l.frameworks[t.framework])
			l.endTask(t, state, reason, goneMessage, time.Time{})
		}
		l.dropTask(t)
	}
	l.closeAgent(a)
}

// goneAs is how a framework is told of a task on an agent that is marked gone.
func goneAs(f *framework) (mesos.TaskState, mesos.TaskStatus_Reason) {
	if f != nil && f.caps.PartitionAware {
		return mesos.TaskState_TASK_GONE_BY_OPERATOR, mesos.TaskStatus_REASON_AGENT_REMOVED_BY_OPERATOR
	}
	return mesos.TaskState_TASK_LOST, mesos.TaskStatus_REASON_AGENT_REMOVED
}

// endUnreachable ends the tasks of an unreachable agent that is marked gone.
func (l *Ledger) endUnreachable(id AgentID) {
	for _, f := range l.sortedFrameworks() {
		for {
			t, found := f.unreachable.cut(func(t *mesos.Task) bool { return t.GetAgentId().GetValue() == string(id) })
			if !found {
				break
			}
			state, reason := goneAs(f)
			status := &mesos.TaskStatus{TaskId: t.GetTaskId(), State: state.Enum(), Message: proto.String(goneMessage),
				Source: mesos.TaskStatus_SOURCE_MASTER.Enum(), Reason: reason.Enum(), AgentId: id.wire(),
				ExecutorId: t.GetExecutorId(), Timestamp: l.seconds()}
			l.countEnd(f, state)
			ended := withStatus(t, status)
			ended.State = state.Enum()
			f.completed.push(ended)
			l.touchFramework(f)
			l.operatorTaskUpdated(f.id, status, state)
			l.sendUpdate(f, id, status)
		}
	}
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
	l.rescindInverse(a)
	for _, f := range l.hosted(a) {
		for _, key := range f.executorsOn(a) {
			l.closeExecutor(f, a, key)
		}
	}
	delete(l.agents, a.id)
	if l.byPID[a.pid] == a.id {
		delete(l.byPID, a.pid)
	}
	l.machineLeave(a)
	l.forgetAgent(a.id)
	delete(l.doomed, a.id)
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

// collect forgets unreachable and gone agents that are too old or too many, in the
// registry too. One that comes back nevertheless is admitted like a stranger.
func (l *Ledger) collect() {
	for _, list := range []*absences{l.unreachable, l.gone} {
		for _, id := range list.old(l.now.Add(-l.cfg.MaxAge), l.cfg.MaxGone) {
			if _, busy := l.busy[id]; !busy {
				list.remove(id)
				l.durable(Registry{Agent: id, State: Removed}, nil)
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
