package ledger

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// reconcile answers what the book knows of tasks (mesos-master.md 1.8); the answers
// never carry a uuid.
func (l *Ledger) reconcile(f *framework, m *scheduler.Call_Reconcile) {
	if len(m.GetTasks()) == 0 {
		for _, t := range f.sortedTasks() {
			l.tellState(f, t)
		}
		return
	}
	for _, asked := range m.GetTasks() {
		l.reconcileOne(f, TaskID(asked.GetTaskId().GetValue()), AgentID(asked.GetAgentId().GetValue()))
	}
}

func (l *Ledger) reconcileOne(f *framework, id TaskID, on AgentID) {
	if t := f.tasks[id]; t != nil {
		l.tellState(f, t)
		return
	}
	_, waiting := l.recovered[on]
	if waiting || (on == "" && len(l.recovered) > 0) {
		return // the agent may still come back and bring the task (T32)
	}
	state, message, since := mesos.TaskState_TASK_UNKNOWN, "Reconciliation: Task is unknown", time.Time{}
	switch {
	case on == "":
	case l.agents[on] != nil:
		state, message = mesos.TaskState_TASK_GONE, "Reconciliation: Task is unknown to the agent"
	case l.unreachable.has(on):
		state, message, since = mesos.TaskState_TASK_UNREACHABLE, "Reconciliation: Task is unreachable", l.unreachable.by[on].Since
	case l.gone.has(on):
		state, message = mesos.TaskState_TASK_GONE_BY_OPERATOR, "Reconciliation: Task is gone by operator"
	}
	if !f.caps.PartitionAware {
		state = mesos.TaskState_TASK_LOST
	}
	status := &mesos.TaskStatus{TaskId: id.wire(), State: state.Enum(), Message: proto.String(message),
		Source: mesos.TaskStatus_SOURCE_MASTER.Enum(), Reason: mesos.TaskStatus_REASON_RECONCILIATION.Enum(),
		Timestamp: l.seconds()}
	if on != "" {
		status.AgentId = on.wire()
	}
	if !since.IsZero() {
		status.UnreachableTime = &mesos.TimeInfo{Nanoseconds: proto.Int64(since.UnixNano())}
	}
	l.sendUpdate(f, on, status)
}

// tellState answers with the last forwarded state (T11), or the latest when nothing
// was forwarded yet.
func (l *Ledger) tellState(f *framework, t *task) {
	state := t.proto.GetState()
	if t.proto.StatusUpdateState != nil {
		state = t.proto.GetStatusUpdateState()
	}
	status := &mesos.TaskStatus{TaskId: t.id.wire(), State: state.Enum(),
		Message: proto.String("Reconciliation: Latest task state"),
		Source:  mesos.TaskStatus_SOURCE_MASTER.Enum(), Reason: mesos.TaskStatus_REASON_RECONCILIATION.Enum(),
		AgentId: t.agent.wire(), ExecutorId: t.proto.GetExecutorId(), Timestamp: l.seconds()}
	t.observed(status)
	l.sendUpdate(f, t.agent, status)
}

// observed completes a status that the master made with what the executor said last.
func (t *task) observed(status *mesos.TaskStatus) {
	if n := len(t.proto.Statuses); n > 0 {
		last := t.proto.Statuses[n-1]
		status.Healthy, status.CheckStatus, status.ContainerStatus = last.Healthy, last.CheckStatus, last.ContainerStatus
	}
}
