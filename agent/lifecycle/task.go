package lifecycle

import (
	"sort"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// task is one task of this agent until its terminal update is acknowledged.
type task struct {
	info      *mesos.TaskInfo
	exec      *execution
	stream    *stream
	state     mesos.TaskState
	statuses  []*mesos.TaskStatus // one per run of equal states
	delivered bool                // its executor has it (for a command task: its process was started)
	kill      *KillImage          // nil unless being killed
	began     time.Time           // when its process was seen to run, if it has a max_completion_time
	health    health
	group     string  // of the LAUNCH_GROUP it came with, else empty
	nested    *nested // its container in a pod, nil before it is launched
}

func (t *task) id() TaskID   { return TaskID(t.info.GetTaskId().GetValue()) }
func (t *task) key() TaskKey { return t.stream.key }

// remember adds a status to the history shown in /state: a status with the same state
// as the one before replaces it.
func (t *task) remember(st *mesos.TaskStatus) {
	st = withoutData(st)
	kept := t.statuses
	if n := len(kept); n > 0 && kept[n-1].GetState() == st.GetState() {
		kept = kept[:n-1]
	}
	t.statuses = append(append([]*mesos.TaskStatus(nil), kept...), st)
}

// last is the newest status, nil before the first.
func (t *task) last() *mesos.TaskStatus {
	if len(t.statuses) == 0 {
		return nil
	}
	return t.statuses[len(t.statuses)-1]
}

// addTask books a task on an executor.
func (a *Agent) addTask(e *execution, info *mesos.TaskInfo) *task {
	key := TaskKey{e.fw.id, TaskID(info.GetTaskId().GetValue())}
	s := a.streams[key]
	if s == nil || s.task != nil {
		s = &stream{key: key}
		a.streams[key] = s
	}
	t := &task{info: info, exec: e, stream: s, state: mesos.TaskState_TASK_STAGING}
	s.task, s.executor = t, e.id()
	e.tasks = append(e.tasks, t)
	return t
}

func (a *Agent) findTask(key TaskKey) *task {
	if s := a.streams[key]; s != nil {
		return s.task
	}
	return nil
}

func (a *Agent) recordTask(t *task) {
	if !t.exec.fw.durable() {
		return
	}
	a.record(Record{Key: taskRecordKey(t.key()), Task: &TaskImage{
		Framework: t.exec.fw.id, Executor: t.exec.id(), Info: t.info, State: t.state, Delivered: t.delivered,
		Statuses: t.statuses, Pending: t.stream.pending, Seen: t.stream.seen, Killing: t.kill.clone(), Acked: t.stream.acked, Group: t.group, Began: t.began,
	}})
}

func (k *KillImage) clone() *KillImage {
	if k == nil {
		return nil
	}
	c := *k
	return &c
}

// completeTask takes a task whose terminal update was acknowledged out of the books.
func (a *Agent) completeTask(t *task) {
	e := t.exec
	for i, x := range e.tasks {
		if x == t {
			e.tasks = append(e.tasks[:i:i], e.tasks[i+1:]...)
			break
		}
	}
	delete(a.streams, t.key())
	if e.fw.durable() {
		a.record(Record{Key: taskRecordKey(t.key())})
	}
	e.completed = append(e.completed, a.wireTask(t))
	if n := len(e.completed) - maxCompletedTasks; n > 0 {
		e.completed = append([]*mesos.Task(nil), e.completed[n:]...)
	}
	a.dropIfDone(e)
}

// wireTask is a task as masters and operators see it. Tasks of command executors carry
// no executor id; state and uuid of the update sent last come in pairs (libprocess.md 7,
// items 4 and 14).
func (a *Agent) wireTask(t *task) *mesos.Task {
	w := &mesos.Task{
		Name: ptr(t.info.GetName()), TaskId: t.info.GetTaskId(), FrameworkId: &mesos.FrameworkID{Value: ptr(string(t.exec.fw.id))},
		AgentId: &mesos.AgentID{Value: ptr(a.id)}, State: t.state.Enum(), Resources: t.info.GetResources(),
		Statuses: t.statuses, Labels: t.info.GetLabels(), Discovery: t.info.GetDiscovery(),
		Container: t.info.GetContainer(), HealthCheck: t.info.GetHealthCheck(), KillPolicy: t.info.GetKillPolicy(),
		Limits: t.info.GetLimits(),
	}
	if !t.exec.generated {
		w.ExecutorId = t.exec.info.GetExecutorId()
	}
	if cmd := t.info.GetCommand(); cmd.GetUser() != "" {
		w.User = ptr(cmd.GetUser())
	} else if cmd := t.info.GetExecutor().GetCommand(); cmd.GetUser() != "" {
		w.User = ptr(cmd.GetUser())
	}
	sent := t.stream.acked
	if head := t.stream.head(); head != nil {
		sent = head.GetStatus()
	}
	if sent != nil {
		w.StatusUpdateState, w.StatusUpdateUuid = sent.State, sent.Uuid
	}
	return w
}

func (a *Agent) sortedStreams() []*stream {
	all := make([]*stream, 0, len(a.streams))
	for _, s := range a.streams {
		all = append(all, s)
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].key.Framework != all[j].key.Framework {
			return all[i].key.Framework < all[j].key.Framework
		}
		return all[i].key.Task < all[j].key.Task
	})
	return all
}
