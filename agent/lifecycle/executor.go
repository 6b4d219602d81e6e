package lifecycle

import (
	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// tell sends an event to an executor, in the words of the API it speaks.
func (a *Agent) tell(e *execution, ev *executor.Event) {
	a.do(ToExecutor{Key: e.key(), Event: ev, UPID: e.upid, Agent: a.wireID(), Framework: e.fw.info, FrameworkPID: e.fw.pid})
}

func (a *Agent) wireID() *mesos.AgentID { return &mesos.AgentID{Value: ptr(a.id)} }

// executorSubscribed gives a custom executor its place and its tasks (mesos-agent.md 1.5,
// libprocess.md 3.16). The shell has told one of the v1 API apart from strangers before.
func (a *Agent) executorSubscribed(ev ExecutorSubscribed) {
	e := a.lookup(ev.Key)
	if e == nil || !e.admits(ev, a.recovering) {
		a.do(ToExecutor{Key: ev.Key, UPID: ev.UPID, Event: &executor.Event{Type: executor.Event_SHUTDOWN.Enum()}})
		a.do(CloseExecutor{Key: ev.Key, UPID: ev.UPID})
		return
	}
	if e.phase == launching { // faster than the news of its start, and its updates name its process and networks
		e.early = &ev
		return
	}
	if e.upid != ev.UPID && e.upid != "" {
		a.do(CloseExecutor{Key: ev.Key, UPID: e.upid})
	}
	e.started, e.subscribe, e.upid = true, true, ev.UPID
	e.phase = running
	first := e.unheard || !e.recovered
	e.unheard = false
	if first && !e.fed && !e.live() {
		a.shutdownExecutor(e) // all its tasks were killed before it came
		return
	}
	a.recordExecution(e)
	a.do(ToExecutor{Key: ev.Key, UPID: ev.UPID, Framework: e.fw.info, Again: ev.Again, Event: &executor.Event{
		Type: executor.Event_SUBSCRIBED.Enum(),
		Subscribed: &executor.Event_Subscribed{
			ExecutorInfo: e.info, FrameworkInfo: e.fw.info, AgentInfo: a.cfg.agentInfo(a.id),
			ContainerId: &mesos.ContainerID{Value: ptr(string(e.container))},
		},
	}})
	for _, st := range ev.Updates {
		a.executorUpdate(ExecutorUpdate{Key: ev.Key, UPID: ev.UPID, Status: st})
	}
	known := map[string]bool{}
	for _, t := range ev.Tasks {
		known[t.GetTaskId().GetValue()] = true
	}
	for _, t := range append([]*task(nil), e.tasks...) {
		if t.delivered && t.state == mesos.TaskState_TASK_STAGING && !known[string(t.id())] {
			a.update(t, &mesos.TaskStatus{
				State:   e.fw.lost(mesos.TaskState_TASK_DROPPED).Enum(),
				Source:  mesos.TaskStatus_SOURCE_AGENT.Enum(),
				Reason:  mesos.TaskStatus_REASON_AGENT_RESTARTED.Enum(),
				Message: ptr("Task launched during agent restart"),
			})
		}
	}
	a.feed(e)
}

// admits tells whether an executor may subscribe now. One of the v0 API registers once,
// and again only when the agent that was restarted asks for it.
func (e *execution) admits(ev ExecutorSubscribed, recovering bool) bool {
	switch {
	case e.generated, e.native(), e.phase >= terminating, e.fw.terminating:
		return false
	case ev.UPID == "":
		return true
	case ev.Again:
		return recovering && e.recovered && !e.subscribe && e.phase == registering
	}
	return e.phase < running && (!e.recovered || e.upid == "") && e.early == nil
}

// feed hands an executor the tasks that wait for it, in the order they came, when its
// container may use what they need.
func (a *Agent) feed(e *execution) {
	a.fit(e, func(failure string) {
		if e.phase != running {
			return
		}
		var queued []*task
		for _, t := range e.tasks {
			if !t.delivered && !terminal(t.state) {
				queued = append(queued, t)
			}
		}
		if failure != "" && len(queued) > 0 {
			a.starve(e, queued, failure)
			return
		}
		for _, t := range queued {
			t.delivered, e.fed = true, true
			a.recordTask(t)
		}
		a.deliverAll(e, queued)
		a.killAgain(e)
	})
}

// starve ends an executor whose container cannot have what its tasks need.
func (a *Agent) starve(e *execution, queued []*task, failure string) {
	for _, t := range queued {
		a.update(t, &mesos.TaskStatus{
			State:   e.fw.lost(mesos.TaskState_TASK_GONE).Enum(),
			Source:  mesos.TaskStatus_SOURCE_AGENT.Enum(),
			Reason:  mesos.TaskStatus_REASON_CONTAINER_UPDATE_FAILED.Enum(),
			Message: ptr("Failed to update resources for container: " + failure),
		})
	}
	if e.verdict == nil {
		e.verdict = &verdict{mesos.TaskState_TASK_FAILED, mesos.TaskStatus_REASON_CONTAINER_UPDATE_FAILED,
			"Failed to update resources for container: " + failure}
	}
	if e.native() {
		a.endRoot(e)
		return
	}
	e.phase = terminating
	a.do(Destroy{Container: e.container})
}

// live tells whether any task of an executor has not ended.
func (e *execution) live() bool {
	for _, t := range e.tasks {
		if !terminal(t.state) {
			return true
		}
	}
	return false
}

func (a *Agent) lookup(k ExecutorKey) *execution {
	if f := a.frameworks[k.Framework]; f != nil {
		return f.executors[k.Executor]
	}
	return nil
}

// executorUpdate takes a status made by an executor (mesos-agent.md 1.4). It is
// acknowledged to the executor once it is recorded here.
func (a *Agent) executorUpdate(ev ExecutorUpdate) {
	e := a.lookup(ev.Key)
	if e == nil {
		a.counters.InvalidUpdates++
		a.do(Note{Message: "executor's update dropped: the executor is unknown", Framework: ev.Key.Framework, Executor: ev.Key.Executor,
			Task: TaskID(ev.Status.GetTaskId().GetValue()), Detail: ev.UPID})
		return
	}
	if e.upid != ev.UPID {
		a.counters.InvalidUpdates++
		a.do(Note{Message: "executor's update dropped: another process sent it", Framework: ev.Key.Framework, Executor: e.id(),
			Task: TaskID(ev.Status.GetTaskId().GetValue()), Detail: ev.UPID})
		return
	}
	st := ev.Status
	key := TaskKey{ev.Key.Framework, TaskID(st.GetTaskId().GetValue())}
	ack := ToExecutor{Key: ev.Key, UPID: ev.UPID, Agent: a.wireID(), Event: &executor.Event{
		Type:         executor.Event_ACKNOWLEDGED.Enum(),
		Acknowledged: &executor.Event_Acknowledged{TaskId: st.GetTaskId(), Uuid: st.GetUuid()},
	}}
	defer a.do(ack)
	t := a.findTask(key)
	switch {
	case t == nil:
		a.stray(e, key, st)
		return
	case t.exec != e, t.stream.saw(st.GetUuid()), terminal(t.state):
		return
	}
	t.stream.see(st.GetUuid())
	mine := a.containerStatus(e)
	if given := st.GetContainerStatus(); given != nil {
		if len(given.GetNetworkInfos()) > 0 {
			mine.NetworkInfos = given.GetNetworkInfos()
		}
		if given.GetContainerId() != nil {
			mine.ContainerId = given.GetContainerId()
		}
		mine.CgroupInfo = given.GetCgroupInfo()
	}
	st.ContainerStatus = mine
	st.Source = mesos.TaskStatus_SOURCE_EXECUTOR.Enum()
	shrinks := terminal(st.GetState()) && !e.fw.terminating
	t.stream.held = shrinks
	a.update(t, st)
	if shrinks {
		a.shrink(t)
	}
}

// maxStray bounds the updates about tasks that this agent does not hold.
const maxStray = 1000

// stray passes on an executor's update about a task that is not here, as Mesos does
// (mesos-agent.md 1.4); the master decides what it is worth. A task of this executor that
// is completed has had its end.
func (a *Agent) stray(e *execution, key TaskKey, st *mesos.TaskStatus) {
	a.counters.InvalidUpdates++
	note := Note{Framework: key.Framework, Executor: e.id(), Task: key.Task, State: st.GetState(), Message: "executor's update is about a task that is not here"}
	for _, t := range e.completed {
		if t.GetTaskId().GetValue() == string(key.Task) {
			note.Message = "executor's update dropped: its task has ended before"
			a.do(note)
			return
		}
	}
	s := a.streams[key]
	if s == nil {
		if len(a.streams) >= maxStray+len(a.containers)+len(a.nested) {
			note.Message = "executor's update dropped: there are too many about tasks that are not here"
			a.do(note)
			return
		}
		s = &stream{key: key}
		a.streams[key] = s
	}
	if s.saw(st.GetUuid()) || e.fw.terminating || len(s.pending) >= maxStray {
		return
	}
	a.do(note)
	s.see(st.GetUuid())
	st.AgentId = &mesos.AgentID{Value: ptr(a.id)}
	st.ExecutorId = e.info.GetExecutorId()
	st.Source = mesos.TaskStatus_SOURCE_EXECUTOR.Enum()
	if st.Timestamp == nil {
		st.Timestamp = ptr(seconds(a.now))
	}
	a.enqueue(s, key.Framework, e.id(), st)
}

func (a *Agent) executorMessage(ev ExecutorMessage) {
	e := a.lookup(ev.Key)
	if e == nil || e.upid != ev.UPID {
		return
	}
	a.do(SendMessage{Key: ev.Key, PID: e.fw.pid, Data: ev.Data})
}

// frameworkMessage is dropped unless its executor is there to take it.
func (a *Agent) frameworkMessage(ev FrameworkMessage) {
	e := a.lookup(ev.Key)
	if e == nil || e.generated || e.native() || e.phase != running || ev.From != "" && ev.From != e.fw.pid {
		a.counters.InvalidMessages++
		return
	}
	a.counters.ValidMessages++
	a.tell(e, &executor.Event{Type: executor.Event_MESSAGE.Enum(), Message: &executor.Event_Message{Data: ev.Data}})
}

// exitedAgain tells a master of executors that are gone and are listed to it only for the
// sake of their tasks: it may not have heard that.
func (a *Agent) exitedAgain() {
	for _, f := range a.sortedFrameworks() {
		for _, e := range f.order {
			if e.phase == terminated && !e.generated {
				a.do(SendExited{Key: e.key(), Status: e.status})
			}
		}
	}
}
