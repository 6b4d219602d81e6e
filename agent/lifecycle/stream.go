package lifecycle

import (
	"bytes"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// Resend intervals of an unacknowledged update (mesos-agent.md 9).
const (
	firstResend = 10 * time.Second
	lastResend  = 10 * time.Minute
)

// stream is the queue of one task's updates that wait for acknowledgement. Only its
// head is ever sent.
type stream struct {
	key      TaskKey
	executor ExecutorID
	task     *task // nil for updates about tasks this agent never held
	pending  []*messages.StatusUpdate
	seen     [][]byte          // newest uuids taken from a custom executor
	acked    *mesos.TaskStatus // newest acknowledged one
	interval time.Duration
	round    uint64 // counts sends, so that an old timer knows it is old
	held     bool   // the end waits until the container's limits have shrunk
}

func (s *stream) head() *messages.StatusUpdate {
	if len(s.pending) == 0 {
		return nil
	}
	return s.pending[0]
}

// maxSeen bounds the uuids that are remembered. An executor sends again what it has no
// acknowledgement for, and each is acknowledged as soon as it is recorded.
const maxSeen = 256

func (s *stream) see(uuid []byte) {
	s.seen = append(s.seen, uuid)
	if n := len(s.seen) - maxSeen; n > 0 {
		s.seen = append([][]byte(nil), s.seen[n:]...)
	}
}

// saw tells whether an executor's update with this uuid was taken before.
func (s *stream) saw(uuid []byte) bool {
	for _, u := range s.pending {
		if bytes.Equal(u.GetUuid(), uuid) {
			return true
		}
	}
	for _, u := range s.seen {
		if bytes.Equal(u, uuid) {
			return true
		}
	}
	return false
}

func terminal(s mesos.TaskState) bool {
	switch s {
	case mesos.TaskState_TASK_FINISHED, mesos.TaskState_TASK_FAILED, mesos.TaskState_TASK_KILLED,
		mesos.TaskState_TASK_LOST, mesos.TaskState_TASK_ERROR, mesos.TaskState_TASK_DROPPED,
		mesos.TaskState_TASK_GONE, mesos.TaskState_TASK_GONE_BY_OPERATOR:
		return true
	}
	return false
}

// update makes a status of a task the newest one and queues it for the master. The
// given status has state and whatever is particular; the rest is filled in here.
func (a *Agent) update(t *task, st *mesos.TaskStatus) {
	if terminal(t.state) || t.exec.fw.terminating {
		return
	}
	if st.Uuid == nil {
		id := a.cfg.NewID()
		st.Uuid = id[:]
	}
	st.TaskId = t.info.GetTaskId()
	st.AgentId = &mesos.AgentID{Value: ptr(a.id)}
	st.ExecutorId = t.exec.info.GetExecutorId()
	if st.Source == nil {
		st.Source = mesos.TaskStatus_SOURCE_EXECUTOR.Enum()
	}
	if st.Timestamp == nil {
		st.Timestamp = ptr(seconds(a.now))
	}
	a.drained(t.exec.fw, st)
	t.state = st.GetState()
	t.remember(st)
	a.counters.update(st.GetState())
	a.do(Note{Message: "task state", Framework: t.exec.fw.id, Task: t.id(), State: st.GetState(), Detail: st.GetMessage()})
	a.enqueue(t.stream, t.exec.fw.id, t.exec.id(), st)
	a.recordTask(t)
	if terminal(t.state) {
		t.kill = nil
		a.stopChecks(t)
	}
}

// loose queues an update about a task that has no record here. Such updates are not
// durable: after a restart the master asks again.
func (a *Agent) loose(key TaskKey, st *mesos.TaskStatus) {
	s := a.streams[key]
	if s == nil {
		s = &stream{key: key}
		a.streams[key] = s
	}
	id := a.cfg.NewID()
	st.Uuid = id[:]
	st.TaskId = &mesos.TaskID{Value: ptr(string(key.Task))}
	st.AgentId = &mesos.AgentID{Value: ptr(a.id)}
	st.Timestamp = ptr(seconds(a.now))
	st.Source = mesos.TaskStatus_SOURCE_AGENT.Enum()
	a.counters.update(st.GetState())
	a.do(Note{Message: "task state", Framework: key.Framework, Task: key.Task, State: st.GetState(), Detail: st.GetMessage()})
	a.enqueue(s, key.Framework, "", st)
}

// maxPending is how many updates of one task wait for a framework that is away, without
// loss. Beyond it the newest of equal states stands for those before, as it does in the
// history of the task.
const maxPending = 1000

func (a *Agent) enqueue(s *stream, fw FrameworkID, ex ExecutorID, st *mesos.TaskStatus) {
	u := &messages.StatusUpdate{
		FrameworkId: &mesos.FrameworkID{Value: ptr(string(fw))},
		SlaveId:     &mesos.AgentID{Value: ptr(a.id)},
		Status:      st,
		Timestamp:   ptr(st.GetTimestamp()),
		Uuid:        st.GetUuid(),
	}
	if ex != "" {
		u.ExecutorId = &mesos.ExecutorID{Value: ptr(string(ex))}
	}
	if n := len(s.pending); n >= maxPending && !terminal(st.GetState()) && s.pending[n-1].GetStatus().GetState() == st.GetState() {
		s.pending = s.pending[: n-1 : n-1]
	}
	s.pending = append(s.pending, u)
	if len(s.pending) == 1 {
		s.interval = 0
		a.sendHead(s)
	}
}

// sendHead sends the head and arranges the next time.
func (a *Agent) sendHead(s *stream) {
	head := s.head()
	if head == nil || !a.connected || s.held && terminal(head.GetStatus().GetState()) {
		return
	}
	latest := head.GetStatus().GetState()
	if s.task != nil {
		latest = s.task.state
	}
	a.do(SendUpdate{Update: &messages.StatusUpdate{
		FrameworkId: head.FrameworkId, ExecutorId: head.ExecutorId, SlaveId: head.SlaveId,
		Status: head.Status, Timestamp: head.Timestamp, Uuid: head.Uuid, LatestState: latest.Enum(),
	}})
	switch {
	case s.interval == 0:
		s.interval = firstResend
	case s.interval < lastResend:
		s.interval = min(2*s.interval, lastResend)
	}
	s.round++
	round := s.round
	a.at(a.now.Add(s.interval), func() {
		if s.round == round && a.streams[s.key] == s {
			a.sendHead(s)
		}
	})
}

// resend sends the heads of the chosen streams at once and restarts their intervals.
func (a *Agent) resend(which func(TaskKey) bool) {
	for _, s := range a.sortedStreams() {
		if which(s.key) {
			s.interval = 0
			a.sendHead(s)
		}
	}
}

func (a *Agent) acknowledge(ev Acknowledge) {
	s := a.streams[TaskKey{ev.Framework, ev.Task}]
	if s == nil || s.head() == nil || !bytes.Equal(s.head().GetUuid(), ev.UUID) {
		a.do(Note{Message: "acknowledgement ignored: not the update at the head", Framework: ev.Framework, Task: ev.Task})
		return
	}
	done := s.pending[0].GetStatus()
	s.pending = append([]*messages.StatusUpdate(nil), s.pending[1:]...)
	s.acked = withoutData(done)
	s.interval = 0
	s.round++
	if s.task == nil {
		if len(s.pending) == 0 {
			delete(a.streams, s.key)
		}
		a.sendHead(s)
		return
	}
	if terminal(done.GetState()) {
		a.completeTask(s.task)
		return
	}
	a.recordTask(s.task)
	a.sendHead(s)
}

// withoutData drops the executor's bytes from a status that is kept only as history.
func withoutData(st *mesos.TaskStatus) *mesos.TaskStatus {
	if st.Data == nil {
		return st
	}
	return &mesos.TaskStatus{
		TaskId: st.TaskId, State: st.State, Message: st.Message, Source: st.Source, Reason: st.Reason,
		AgentId: st.AgentId, ExecutorId: st.ExecutorId, Timestamp: st.Timestamp, Uuid: st.Uuid,
		Healthy: st.Healthy, CheckStatus: st.CheckStatus, Labels: st.Labels,
		ContainerStatus: st.ContainerStatus, UnreachableTime: st.UnreachableTime, Limitation: st.Limitation,
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
