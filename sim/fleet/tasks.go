package fleet

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"google.golang.org/protobuf/proto"
)

// Resend intervals of an unacknowledged update, as agents have them (mesos-agent.md 9).
const (
	firstResend = 10 * time.Second
	lastResend  = 10 * time.Minute
)

// run starts tasks; more than one are a group. running says that the master counts on an
// executor that runs already.
func (f *Fleet) run(a *agent, info *mesos.FrameworkInfo, executor *mesos.ExecutorInfo, running bool, tasks ...*mesos.TaskInfo) {
	if info.GetId().GetValue() == "" {
		return
	}
	fw := f.frameworkOf(info)
	defer f.release(fw)
	var x *executorKey
	if executor != nil {
		x = &executorKey{fw, executor.GetExecutorId().GetValue()}
	}
	group := make([]*task, 0, len(tasks))
	for _, ti := range tasks {
		key := taskKey{fw, ti.GetTaskId().GetValue()}
		if a.tasks[key] != nil || ti.GetAgentId().GetValue() != a.id.GetValue() {
			continue // sent twice, or meant for an agent that this one was before
		}
		if x != nil && running && a.executors[*x] == nil {
			f.loose(a, key, mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, "No executor is expected to launch and there is no executor running")
			continue
		}
		if a.draining != nil {
			f.loose(a, key, mesos.TaskStatus_REASON_AGENT_DRAINING, "Task was received while the agent was draining")
			continue
		}
		record, err := recordOf(fw.id, ti, executor.GetExecutorId())
		if err != nil {
			f.log.Error("a task cannot be recorded", "task", key.id, "err", err)
			continue
		}
		t := &task{key: key, executor: x, record: record, state: mesos.TaskState_TASK_STAGING}
		f.keep(a, t)
		if x != nil {
			f.join(a, *x, executor)
		}
		if len(tasks) > 1 {
			group = append(group, t)
			t.group = &group
		}
		f.update(a, t, mesos.TaskState_TASK_STARTING, 0, "")
		f.update(a, t, mesos.TaskState_TASK_RUNNING, 0, "")
		if f.cfg.TaskTime > 0 {
			f.wheel.add(timer{due: f.after(f.cfg.TaskTime), kind: finish, agent: a, task: t})
		}
	}
}

func (f *Fleet) keep(a *agent, t *task) {
	if a.tasks == nil {
		a.tasks = map[taskKey]*task{}
	}
	a.tasks[t.key] = t
	t.key.framework.tasks++
	f.counts.Tasks++
}

// join counts one task more of an executor, which it starts if need be.
func (f *Fleet) join(a *agent, key executorKey, info *mesos.ExecutorInfo) {
	if a.executors == nil {
		a.executors = map[executorKey]*executor{}
	}
	x := a.executors[key]
	if x == nil {
		b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(info)
		if err != nil {
			f.log.Error("an executor cannot be recorded", "executor", key.id, "err", err)
		}
		x = &executor{info: b}
		a.executors[key] = x
	}
	x.tasks++
}

// forget drops a task; the last one of an executor ends it.
func (f *Fleet) forget(a *agent, t *task) {
	if a.tasks[t.key] != t {
		return
	}
	delete(a.tasks, t.key)
	f.counts.Tasks--
	if t.state == mesos.TaskState_TASK_RUNNING {
		f.counts.Running--
	}
	fw := t.key.framework
	if t.executor != nil {
		if x := a.executors[*t.executor]; x != nil {
			if x.tasks--; x.tasks == 0 {
				delete(a.executors, *t.executor)
				f.send(a, &messages.ExitedExecutorMessage{SlaveId: a.id, FrameworkId: fw.id,
					ExecutorId: &mesos.ExecutorID{Value: &t.executor.id}, Status: proto.Int32(0)})
			}
		}
	}
	fw.tasks--
	f.release(fw)
	if len(a.tasks) == 0 {
		a.draining = nil
	}
}

// release drops the description of a framework without tasks.
func (f *Fleet) release(fw *framework) {
	if id := fw.id.GetValue(); fw.tasks == 0 && f.frameworks[id] == fw {
		delete(f.frameworks, id)
	}
}

// kill ends a task and those of its group. A task that is not here is told to be lost
// when its framework is known. (libprocess.md 3.6)
func (f *Fleet) kill(a *agent, framework, id string) {
	fw := f.frameworks[framework]
	if fw == nil {
		return
	}
	key := taskKey{fw, id}
	t := a.tasks[key]
	if t == nil {
		if has(a, fw) {
			f.loose(a, key, mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, "Unable to find executor")
		}
		return
	}
	group := []*task{t}
	if t.group != nil {
		group = *t.group
	}
	for _, t := range group {
		if a.tasks[t.key] == t && !terminal(t.state) {
			f.update(a, t, mesos.TaskState_TASK_KILLED, 0, "")
		}
	}
}

// drain kills everything on an agent and lets nothing new start until it is empty.
// Frameworks that know of partitions hear of an agent that will not come back.
// (mesos-master.md 11.5)
func (f *Fleet) drain(a *agent, order *mesos.DrainConfig) {
	if len(a.tasks) == 0 {
		return
	}
	a.draining = order
	for _, t := range a.tasks {
		if terminal(t.state) {
			continue
		}
		s := mesos.TaskState_TASK_KILLED
		if order.GetMarkGone() && t.key.framework.has(mesos.FrameworkInfo_Capability_PARTITION_AWARE) {
			s = mesos.TaskState_TASK_GONE_BY_OPERATOR
		}
		f.update(a, t, s, mesos.TaskStatus_REASON_AGENT_DRAINING, "The agent is being drained")
	}
}

func has(a *agent, fw *framework) bool {
	for key := range a.tasks {
		if key.framework == fw {
			return true
		}
	}
	return false
}

// shutdownFramework ends all tasks of a framework; nobody wants to hear of them.
func (f *Fleet) shutdownFramework(a *agent, id string) {
	fw := f.frameworks[id]
	if fw == nil {
		return
	}
	for key, t := range a.tasks {
		if key.framework == fw {
			f.forget(a, t)
		}
	}
}

func (f *Fleet) shutdownExecutor(a *agent, framework, id string) {
	for _, t := range a.tasks {
		if t.executor != nil && t.executor.id == id && t.key.framework.id.GetValue() == framework && !terminal(t.state) {
			f.update(a, t, mesos.TaskState_TASK_KILLED, mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, "The executor was shut down")
		}
	}
}

// reconcile answers for tasks that the master believes to be here. (libprocess.md 3.2)
func (f *Fleet) reconcile(a *agent, r *messages.ReconcileTasksMessage) {
	info := r.GetFramework()
	if info.GetId() == nil {
		info = &mesos.FrameworkInfo{User: proto.String(""), Name: proto.String(""), Id: r.GetFrameworkId()}
	}
	fw := f.frameworks[r.GetFrameworkId().GetValue()]
	if fw == nil {
		fw = f.frameworkOf(info)
	}
	defer f.release(fw)
	for _, st := range r.GetStatuses() {
		key := taskKey{fw, st.GetTaskId().GetValue()}
		if a.tasks[key] == nil {
			f.loose(a, key, mesos.TaskStatus_REASON_RECONCILIATION, "Reconciliation: task unknown to the agent")
		}
	}
}

// loose tells that a task is not here, until that is acknowledged.
func (f *Fleet) loose(a *agent, key taskKey, reason mesos.TaskStatus_Reason, message string) {
	t := &task{key: key}
	f.keep(a, t)
	f.update(a, t, key.framework.lost(), reason, message)
}

// update makes a state of a task the newest one and queues it for the master.
func (f *Fleet) update(a *agent, t *task, s mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
	switch mesos.TaskState_TASK_RUNNING {
	case s:
		f.counts.Running++
	case t.state:
		f.counts.Running--
	}
	if s == mesos.TaskState_TASK_FINISHED {
		f.counts.Finished++
	}
	t.state = s
	u := update{state: s, reason: reason, message: message, seconds: float64(time.Now().UnixMicro()) / 1e6}
	binary.LittleEndian.PutUint64(u.uuid[:], rand.Uint64())
	binary.LittleEndian.PutUint64(u.uuid[8:], rand.Uint64())
	u.uuid[6], u.uuid[8] = u.uuid[6]&0x0f|0x40, u.uuid[8]&0x3f|0x80 // version 4
	t.pending = append(t.pending, u)
	if len(t.pending) == 1 {
		f.sendFirst(a, t)
	}
}

// sendFirst sends the first update that waits, if any, for the first time on this
// registration.
func (f *Fleet) sendFirst(a *agent, t *task) {
	t.waits = ticks(firstResend)
	f.transmit(a, t)
}

func (f *Fleet) sendAgain(a *agent, t *task, seq uint32) {
	if t.sent == seq && a.tasks[t.key] == t {
		t.waits = min(2*t.waits, ticks(lastResend))
		f.transmit(a, t)
	}
}

func (f *Fleet) transmit(a *agent, t *task) {
	t.sent++
	if len(t.pending) == 0 || !a.registered {
		return
	}
	u := &t.pending[0]
	t.told = *u
	f.counts.Updates++
	st := f.status(a, t, u)
	f.send(a, &messages.StatusUpdateMessage{
		// Old frameworks do not acknowledge without it (libprocess.md 7, item 8).
		Pid: proto.String(a.pid.String()),
		Update: &messages.StatusUpdate{
			FrameworkId: t.key.framework.id, ExecutorId: st.ExecutorId, SlaveId: a.id, Status: st,
			Timestamp: st.Timestamp, Uuid: st.Uuid, LatestState: t.state.Enum(),
		},
	})
	f.wheel.add(timer{due: f.wheel.now + t.waits, kind: resend, agent: a, task: t, seq: t.sent})
}

// status is the wire form of an update.
func (f *Fleet) status(a *agent, t *task, u *update) *mesos.TaskStatus {
	st := &mesos.TaskStatus{
		TaskId: &mesos.TaskID{Value: &t.key.id}, State: u.state.Enum(), AgentId: a.id, Timestamp: &u.seconds, Uuid: u.uuid[:],
		Source: mesos.TaskStatus_SOURCE_EXECUTOR.Enum(),
	}
	switch {
	case t.record == nil:
		st.Source = mesos.TaskStatus_SOURCE_AGENT.Enum()
	case t.executor != nil:
		st.ExecutorId = &mesos.ExecutorID{Value: &t.executor.id}
	default: // a command's executor is generated and called like its task
		st.ExecutorId = &mesos.ExecutorID{Value: &t.key.id}
	}
	if u.reason != 0 {
		st.Reason = u.reason.Enum()
	}
	if u.message != "" {
		st.Message = &u.message
	}
	return st
}

// acknowledged takes one acknowledgement; the next update follows, and a task that ended
// is forgotten after the last.
func (f *Fleet) acknowledged(a *agent, framework, id string, uuid []byte) {
	t := a.tasks[taskKey{f.frameworks[framework], id}]
	if t == nil || len(t.pending) == 0 || string(t.pending[0].uuid[:]) != string(uuid) {
		return
	}
	t.pending = t.pending[1:]
	if len(t.pending) == 0 {
		t.pending = nil
		t.sent++
		if terminal(t.state) {
			f.forget(a, t)
		}
		return
	}
	f.sendFirst(a, t)
}
