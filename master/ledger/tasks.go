package ledger

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// task is a launched task whose end its framework has not acknowledged yet.
type task struct {
	framework FrameworkID
	id        TaskID
	agent     AgentID
	role      string
	order     uint64             // of launch or adoption, for listings
	proto     *mesos.Task        // by framework.replace, never changed in place: readers hold it
	resources resource.Resources // allocated to role
	released  bool               // resources are given back: the latest state is terminal
	place     int                // in its framework's line
}

func (t *task) key() taskKey { return taskKey{t.framework, t.id} }

// Terminal reports whether a task in state s has ended (mesos-master.md 2.1).
func Terminal(s mesos.TaskState) bool {
	switch s {
	case mesos.TaskState_TASK_FINISHED, mesos.TaskState_TASK_FAILED, mesos.TaskState_TASK_KILLED,
		mesos.TaskState_TASK_ERROR, mesos.TaskState_TASK_LOST, mesos.TaskState_TASK_DROPPED,
		mesos.TaskState_TASK_GONE, mesos.TaskState_TASK_GONE_BY_OPERATOR:
		return true
	}
	return false
}

// openTask puts a task into the book of its framework and agent. Its resources are
// booked by the caller.
func (l *Ledger) openTask(f *framework, a *agent, p *mesos.Task) *task {
	l.taskSeq++
	l.shared.task(f, a, p)
	t := &task{
		framework: f.id, id: TaskID(p.GetTaskId().GetValue()), agent: a.id, order: l.taskSeq, proto: p,
		role: f.roleOf(p.GetResources()), released: Terminal(p.GetState()),
	}
	t.resources = l.shared.resources(allocated(p.GetResources(), t.role))
	if len(t.resources) == len(p.Resources) {
		p.Resources = t.resources // the same, as a sum
	}
	f.tasks[t.id] = t
	f.line.add(p, &t.place)
	a.tasks[t.key()] = t
	l.touchFramework(f)
	l.touchAgent(a)
	l.operatorTaskAdded(p)
	return t
}

// book adds resources to what a framework uses on an agent. told: the allocator has
// to hear of it, because it did not grant them.
func (l *Ledger) book(f *framework, a *agent, role string, r resource.Resources, told bool) {
	a.used[f.id] = a.used[f.id].Add(r)
	a.usedSum = a.usedSum.Add(r)
	f.used = f.used.Add(r)
	l.touchAgent(a)
	l.touchFramework(f)
	if told {
		l.emit(Taken{Agent: a.id, Framework: f.id, Role: role, Resources: r})
	}
}

// unbook gives used resources back to the allocator.
func (l *Ledger) unbook(f *framework, a *agent, role string, r resource.Resources) {
	left := a.used[f.id].Subtract(r)
	if len(left) == 0 {
		delete(a.used, f.id)
	} else {
		a.used[f.id] = left
	}
	a.usedSum = a.usedSum.Subtract(r)
	f.used = f.used.Subtract(r)
	l.touchAgent(a)
	l.touchFramework(f)
	l.emit(Released{Agent: a.id, Framework: f.id, Role: role, Resources: r})
}

// rebook replaces used resources by what became of them.
func (l *Ledger) rebook(f *framework, a *agent, role string, from, to resource.Resources) {
	a.used[f.id] = a.used[f.id].Subtract(from).Add(to)
	a.usedSum = a.usedSum.Subtract(from).Add(to)
	f.used = f.used.Subtract(from).Add(to)
	l.touchAgent(a)
	l.touchFramework(f)
	l.emit(Converted{Agent: a.id, Framework: f.id, Role: role, From: from, To: to})
}

// setState moves a task to a new state with the status that says so. A terminal task
// never changes again.
func (l *Ledger) setState(t *task, latest mesos.TaskState, status *mesos.TaskStatus) {
	l.setForwarded(t, latest, status, false)
}

// setForwarded is setState; forwarded says that the framework was sent the status and has
// to acknowledge it.
func (l *Ledger) setForwarded(t *task, latest mesos.TaskState, status *mesos.TaskStatus, forwarded bool) {
	f, a := l.frameworks[t.framework], l.agents[t.agent]
	previous, had := mesos.TaskState(0), len(t.proto.Statuses) > 0
	if had {
		previous = t.proto.Statuses[len(t.proto.Statuses)-1].GetState()
	}
	next := withStatus(t.proto, status)
	if !Terminal(next.GetState()) {
		next.State = stateWord(latest)
	}
	if forwarded {
		next.StatusUpdateState, next.StatusUpdateUuid = stateWord(status.GetState()), status.GetUuid()
	}
	f.replace(t, next)
	l.touchFramework(f)
	if Terminal(next.GetState()) && !t.released {
		t.released = true
		l.countEnd(f, next.GetState())
		l.unbook(f, a, t.role, t.resources)
	}
	reason := status.GetReason()
	if !had || previous != status.GetState() || (status.Reason != nil &&
		(reason == mesos.TaskStatus_REASON_TASK_CHECK_STATUS_UPDATED || reason == mesos.TaskStatus_REASON_TASK_HEALTH_CHECK_STATUS_UPDATED)) {
		l.operatorTaskUpdated(f.id, status, next.GetState())
	}
}

// statusUpdate is an update from the agent, kept there until the framework
// acknowledges it (mesos-master.md 2.1, libprocess.md 3.7).
func (l *Ledger) statusUpdate(a *agent, m *messages.StatusUpdateMessage) {
	update := m.GetUpdate()
	f := l.frameworks[FrameworkID(update.GetFrameworkId().GetValue())]
	if f == nil {
		l.count.InvalidUpdates++
		l.emit(Note{Text: "status update ignored: the framework is not known", Agent: a.id,
			Framework: FrameworkID(update.GetFrameworkId().GetValue())})
		return
	}
	status := statusOf(update)
	t := f.tasks[TaskID(status.GetTaskId().GetValue())]
	if t != nil && t.agent == a.id {
		l.shared.status(a, t.proto, status)
	}
	if f.conn.None() {
		// Not forwarded and so not recorded as forwarded; the agent repeats it.
	} else {
		l.forward(f, a.pid, update, status)
	}
	if t == nil || t.agent != a.id {
		l.count.InvalidUpdates++
		if key := (taskKey{f.id, TaskID(status.GetTaskId().GetValue())}); !f.conn.None() && len(status.GetUuid()) > 0 && len(a.strange) < maxStrange {
			if a.strange == nil {
				a.strange = map[taskKey]string{}
			}
			a.strange[key] = string(status.GetUuid())
		}
		return
	}
	l.count.ValidUpdates++
	if Terminal(t.proto.GetStatusUpdateState()) && !Terminal(status.GetState()) {
		return // late repetition: the end was forwarded, its acknowledgement is what counts
	}
	latest := status.GetState()
	if update.LatestState != nil {
		latest = update.GetLatestState()
	}
	l.setForwarded(t, latest, status, !f.conn.None() && len(status.GetUuid()) > 0)
	l.settleExecutor(f, a, t)
}

// statusOf fills the v1 status from the envelope, as Mesos does before it forwards.
func statusOf(u *messages.StatusUpdate) *mesos.TaskStatus {
	given := u.GetStatus()
	s := &mesos.TaskStatus{TaskId: given.TaskId, State: given.State, Message: given.Message, Source: given.Source, Reason: given.Reason,
		Data: given.Data, ExecutorId: given.ExecutorId, Healthy: given.Healthy, CheckStatus: given.CheckStatus, Labels: given.Labels,
		ContainerStatus: given.ContainerStatus, UnreachableTime: given.UnreachableTime, Limitation: given.Limitation}
	if more := given.ProtoReflect().GetUnknown(); len(more) > 0 {
		s.ProtoReflect().SetUnknown(more)
	}
	s.AgentId = u.GetSlaveId()
	s.Timestamp = proto.Float64(u.GetTimestamp())
	if u.GetExecutorId() != nil {
		s.ExecutorId = u.GetExecutorId()
	}
	s.Uuid = nil
	if len(u.GetUuid()) > 0 {
		s.Uuid = u.GetUuid()
	}
	return s
}

// sendUpdate tells a framework something the master itself found out: no uuid, so it
// is not acknowledged (T10). f may be disconnected: then nobody hears it.
func (l *Ledger) sendUpdate(f *framework, on AgentID, status *mesos.TaskStatus) {
	if f == nil {
		return
	}
	update := &messages.StatusUpdate{FrameworkId: f.id.wire(), ExecutorId: status.GetExecutorId(),
		Status: status, Timestamp: status.Timestamp}
	if on != "" {
		update.SlaveId = on.wire()
	}
	l.forward(f, "", update, status)
}

func (l *Ledger) forward(f *framework, sender PID, update *messages.StatusUpdate, status *mesos.TaskStatus) {
	if f.conn.None() {
		return
	}
	if status.Reason != nil {
		l.count.reason(status)
	}
	l.emit(ToFramework{To: f.conn, Framework: f.id, Sender: sender, Update: update,
		Event: &scheduler.Event{Type: scheduler.Event_UPDATE.Enum(), Update: &scheduler.Event_Update{Status: status}}})
}

// endTask ends a task by the master's own word and tells its framework.
func (l *Ledger) endTask(t *task, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string, unreachable time.Time) {
	status := &mesos.TaskStatus{TaskId: t.id.wire(), State: state.Enum(), Message: proto.String(message),
		Source: mesos.TaskStatus_SOURCE_MASTER.Enum(), Reason: reason.Enum(), AgentId: t.agent.wire(),
		ExecutorId: t.proto.GetExecutorId(), Timestamp: l.seconds()}
	if !unreachable.IsZero() {
		status.UnreachableTime = &mesos.TimeInfo{Nanoseconds: proto.Int64(unreachable.UnixNano())}
	}
	l.setState(t, state, status)
	l.sendUpdate(l.frameworks[t.framework], t.agent, status)
}

// dropTask moves a task to the completed ones of its framework.
func (l *Ledger) dropTask(t *task) {
	f := l.removeTask(t)
	f.completed.push(t.proto)
}

// partTask moves a task to the unreachable ones of its framework, or to the completed
// ones when it had ended before.
func (l *Ledger) partTask(t *task) {
	f := l.removeTask(t)
	s := t.proto.GetState()
	if Terminal(s) && s != mesos.TaskState_TASK_LOST {
		f.completed.push(t.proto)
		return
	}
	f.unreachable.push(t.proto)
}

func (l *Ledger) removeTask(t *task) *framework {
	f := l.frameworks[t.framework]
	if !t.released {
		t.released = true
		l.unbook(f, l.agents[t.agent], t.role, t.resources)
	}
	delete(f.tasks, t.id)
	f.line.remove(t.place)
	if a := l.agents[t.agent]; a != nil {
		delete(a.tasks, t.key())
		delete(a.killed, t.key())
		l.emptied(a)
		l.touchAgent(a)
	}
	l.touchFramework(f)
	return f
}

// maxStrange bounds the forwarded updates of one agent about tasks that are not in the
// book; beyond it the agent repeats itself until there is room.
const maxStrange = 10_000

// meets tells whether the update of a task that is not in the book was forwarded: its
// acknowledgement has to reach the agent, or it would be repeated for ever.
func (a *agent) meets(f *framework, m *scheduler.Call_Acknowledge) bool {
	key := taskKey{f.id, TaskID(m.GetTaskId().GetValue())}
	uuid, forwarded := a.strange[key]
	if !forwarded || uuid != string(m.GetUuid()) {
		return false
	}
	delete(a.strange, key)
	return true
}

// acknowledge takes a framework's word that it has stored an update (T10, T12).
func (l *Ledger) acknowledge(f *framework, m *scheduler.Call_Acknowledge) {
	a := l.agents[AgentID(m.GetAgentId().GetValue())]
	t := f.tasks[TaskID(m.GetTaskId().GetValue())]
	known := t != nil && a != nil && t.agent == a.id
	if a == nil || !a.connected || known && len(t.proto.GetStatusUpdateUuid()) == 0 || !known && !a.meets(f, m) {
		l.count.InvalidAcks++
		return
	}
	l.count.ValidAcks++
	if known && string(t.proto.GetStatusUpdateUuid()) == string(m.GetUuid()) && Terminal(t.proto.GetStatusUpdateState()) {
		l.dropTask(t)
	}
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.StatusUpdateAcknowledgementMessage{
		SlaveId: a.id.wire(), FrameworkId: f.id.wire(), TaskId: m.GetTaskId(), Uuid: m.GetUuid()}})
}

// replace puts a new version of a task's description in the place of the present one.
func (f *framework) replace(t *task, next *mesos.Task) {
	t.proto = next
	f.line.set(t.place, next)
}

// withStatus gives a copy of the task, all else shared, with one status for each
// consecutive state, without its data.
func withStatus(t *mesos.Task, s *mesos.TaskStatus) *mesos.Task {
	c := copyTask(t)
	if s.Data != nil {
		s = proto.Clone(s).(*mesos.TaskStatus)
		s.Data = nil
	}
	n := len(t.Statuses)
	if n > 0 && t.Statuses[n-1].GetState() == s.GetState() {
		n--
	}
	c.Statuses = append(append(make([]*mesos.TaskStatus, 0, n+1), t.Statuses[:n]...), s)
	return c
}

func copyTask(t *mesos.Task) *mesos.Task {
	return &mesos.Task{Name: t.Name, TaskId: t.TaskId, FrameworkId: t.FrameworkId, ExecutorId: t.ExecutorId,
		AgentId: t.AgentId, State: t.State, Resources: t.Resources, Statuses: t.Statuses,
		StatusUpdateState: t.StatusUpdateState, StatusUpdateUuid: t.StatusUpdateUuid, Labels: t.Labels,
		Discovery: t.Discovery, Container: t.Container, HealthCheck: t.HealthCheck, KillPolicy: t.KillPolicy,
		User: t.User, Limits: t.Limits}
}
