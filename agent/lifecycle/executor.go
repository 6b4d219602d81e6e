package lifecycle

import (
	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// executorSubscribed gives a custom executor its place and its tasks (mesos-agent.md 1.5).
// The shell has told it apart from strangers before.
func (a *Agent) executorSubscribed(ev ExecutorSubscribed) {
	e := a.lookup(ev.Key)
	if e == nil || e.generated || e.native() || e.phase >= terminating || e.fw.terminating {
		a.do(ToExecutor{Key: ev.Key, Event: &executor.Event{Type: executor.Event_SHUTDOWN.Enum()}})
		a.do(CloseExecutor{Key: ev.Key})
		return
	}
	e.started, e.subscribe = true, true
	e.phase = running
	if len(e.completed) == 0 && !e.recovered && !e.live() {
		a.shutdownExecutor(e) // all its tasks were killed before it came
		return
	}
	a.recordExecution(e)
	a.do(ToExecutor{Key: ev.Key, Event: &executor.Event{
		Type: executor.Event_SUBSCRIBED.Enum(),
		Subscribed: &executor.Event_Subscribed{
			ExecutorInfo: e.info, FrameworkInfo: e.fw.info, AgentInfo: a.cfg.agentInfo(a.id),
			ContainerId: &mesos.ContainerID{Value: ptr(string(e.container))},
		},
	}})
	for _, st := range ev.Updates {
		a.executorUpdate(ExecutorUpdate{Key: ev.Key, Status: st})
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
	a.do(Resize{Container: e.container, Resources: e.resources()})
	var queued []*task
	for _, t := range e.tasks {
		if !t.delivered && !terminal(t.state) {
			t.delivered = true
			a.recordTask(t)
			queued = append(queued, t)
		}
	}
	a.deliverAll(e, queued)
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
		return
	}
	st := ev.Status
	key := TaskKey{ev.Key.Framework, TaskID(st.GetTaskId().GetValue())}
	ack := ToExecutor{Key: ev.Key, Event: &executor.Event{
		Type:         executor.Event_ACKNOWLEDGED.Enum(),
		Acknowledged: &executor.Event_Acknowledged{TaskId: st.GetTaskId(), Uuid: st.GetUuid()},
	}}
	defer a.do(ack)
	t := a.findTask(key)
	switch {
	case t == nil:
		a.counters.InvalidUpdates++
		a.do(Note{Message: "executor's update dropped: it is about no task of its own", Framework: key.Framework, Executor: e.id(), Task: key.Task, State: st.GetState()})
		return
	case t.exec != e, t.stream.saw(st.GetUuid()), terminal(t.state):
		return
	}
	t.stream.seen = append(t.stream.seen, st.GetUuid())
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
	a.update(t, st)
	if terminal(t.state) {
		a.do(Resize{Container: e.container, Resources: e.resources()})
	}
}

func (a *Agent) executorMessage(ev ExecutorMessage) {
	e := a.lookup(ev.Key)
	if e == nil {
		return
	}
	a.do(SendMessage{Key: ev.Key, PID: e.fw.pid, Data: ev.Data})
}

// frameworkMessage is dropped unless its executor is there to take it.
func (a *Agent) frameworkMessage(ev FrameworkMessage) {
	e := a.lookup(ev.Key)
	if e == nil || e.generated || e.native() || e.phase != running {
		a.counters.InvalidMessages++
		return
	}
	a.counters.ValidMessages++
	a.do(ToExecutor{Key: ev.Key, Event: &executor.Event{
		Type: executor.Event_MESSAGE.Enum(), Message: &executor.Event_Message{Data: ev.Data},
	}})
}
