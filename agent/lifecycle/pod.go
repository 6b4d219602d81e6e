package lifecycle

import (
	"time"

	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// runTaskGroup takes a group from the master: all of its tasks or none
// (mesos-agent.md 3).
func (a *Agent) runTaskGroup(ev RunTaskGroup) {
	fid := FrameworkID(ev.Framework.GetId().GetValue())
	f := a.frameworks[fid]
	if len(ev.Tasks) == 0 || a.id == "" {
		return
	}
	if !a.connected {
		a.do(Note{Message: "task group ignored: no master has this agent", Framework: fid})
		return
	}
	for _, info := range ev.Tasks {
		key := TaskKey{fid, TaskID(info.GetTaskId().GetValue())}
		switch {
		case info.GetAgentId().GetValue() != a.id:
			a.do(Note{Message: "task group ignored: meant for another agent id", Framework: fid, Task: key.Task})
			return
		case f != nil && f.terminating:
			a.do(Note{Message: "task group ignored: its framework shuts down", Framework: fid, Task: key.Task})
			return
		case a.findTask(key) != nil:
			a.do(Note{Message: "task group ignored: a task of it is here already", Framework: fid, Task: key.Task})
			return
		}
	}
	refuse := func(state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
		view := f
		if view == nil {
			view = &framework{info: ev.Framework}
		}
		for _, info := range ev.Tasks {
			a.loose(TaskKey{fid, TaskID(info.GetTaskId().GetValue())}, &mesos.TaskStatus{
				State: view.lost(state).Enum(), Reason: reason.Enum(), Message: ptr(message),
			})
		}
	}
	if why := invalidGroup(fid, ev); why != "" {
		for _, info := range ev.Tasks {
			a.loose(TaskKey{fid, TaskID(info.GetTaskId().GetValue())}, &mesos.TaskStatus{State: mesos.TaskState_TASK_ERROR.Enum(),
				Reason: mesos.TaskStatus_REASON_TASK_GROUP_INVALID.Enum(), Message: ptr(why)})
		}
		if ev.LaunchExecutor != nil && *ev.LaunchExecutor {
			a.do(SendExited{Key: ExecutorKey{fid, ExecutorID(ev.Executor.GetExecutorId().GetValue())}, Status: -1})
		}
		return
	}
	if why := a.unauthorized(ev.Framework, ev.Tasks...); why != "" {
		for _, info := range ev.Tasks {
			a.loose(TaskKey{fid, TaskID(info.GetTaskId().GetValue())}, &mesos.TaskStatus{State: mesos.TaskState_TASK_ERROR.Enum(),
				Reason: mesos.TaskStatus_REASON_TASK_GROUP_UNAUTHORIZED.Enum(), Message: ptr(why)})
		}
		if ev.LaunchExecutor != nil && *ev.LaunchExecutor {
			a.do(SendExited{Key: ExecutorKey{fid, ExecutorID(ev.Executor.GetExecutorId().GetValue())}, Status: -1})
		}
		return
	}
	if reason, why := a.unfit(ev.Versions, ev.Tasks, ev.Executor); why != "" {
		refuse(mesos.TaskState_TASK_DROPPED, reason, why)
		if ev.LaunchExecutor != nil && *ev.LaunchExecutor {
			a.do(SendExited{Key: ExecutorKey{fid, ExecutorID(ev.Executor.GetExecutorId().GetValue())}, Status: -1})
		}
		return
	}
	a.runOnExecutor(f, ev.Framework, "", ev.Executor, ev.Tasks, true, ev.LaunchExecutor, refuse)
}

// invalidGroup says what makes a group unfit for this agent, or "".
func invalidGroup(fid FrameworkID, ev RunTaskGroup) string {
	if why := unsafeID(string(fid)); why != "" {
		return "Task group has an invalid framework_id '" + string(fid) + "': " + why
	}
	eid := ev.Executor.GetExecutorId().GetValue()
	if why := unsafeID(eid); why != "" {
		return "Task group has an invalid executor_id '" + eid + "': " + why
	}
	if isDocker(ev.Executor.GetContainer()) {
		return "Docker ContainerInfo is not supported on the executor"
	}
	seen := map[string]bool{}
	share, first := false, true
	for _, t := range ev.Tasks {
		id := t.GetTaskId().GetValue()
		if why := unsafeID(id); why != "" {
			return "Task group has an invalid task_id '" + id + "': " + why
		}
		if seen[id] {
			return "Task group has two tasks '" + id + "'"
		}
		seen[id] = true
		if ev.Executor.GetType() != mesos.ExecutorInfo_DEFAULT {
			continue
		}
		switch s := shared(t.GetContainer()); {
		case isDocker(t.GetContainer()):
			return "Docker ContainerInfo is not supported on the task"
		case t.GetCommand() == nil && t.GetContainer() == nil:
			return "Task '" + id + "' of the group has no 'command'"
		case !first && s != share:
			return "The tasks of a group must agree on 'share_cgroups'"
		default:
			share, first = s, false
		}
	}
	return ""
}

// deliverAll hands queued tasks to an executor that is there: each group at once.
func (a *Agent) deliverAll(e *execution, tasks []*task) {
	if len(tasks) == 0 {
		return
	}
	if e.native() {
		a.startGroup(e, tasks)
		return
	}
	for i := 0; i < len(tasks); {
		if e.upid != "" && tasks[i].group != "" {
			a.update(tasks[i], &mesos.TaskStatus{
				State:   e.fw.lost(mesos.TaskState_TASK_DROPPED).Enum(),
				Source:  mesos.TaskStatus_SOURCE_AGENT.Enum(),
				Reason:  mesos.TaskStatus_REASON_TASK_GROUP_INVALID.Enum(),
				Message: ptr("The executor speaks the v0 API, which knows no task groups"),
			})
			i++
			continue
		}
		if tasks[i].group == "" {
			a.deliver(tasks[i])
			i++
			continue
		}
		group := &mesos.TaskGroupInfo{}
		for id := tasks[i].group; i < len(tasks) && tasks[i].group == id; i++ {
			group.Tasks = append(group.Tasks, tasks[i].info)
		}
		a.tell(e, &executor.Event{Type: executor.Event_LAUNCH_GROUP.Enum(), LaunchGroup: &executor.Event_LaunchGroup{TaskGroup: group}})
	}
}

// startGroup launches the containers of tasks in a pod whose root runs. Every task is
// told as starting before the first one is started (mesos-agent.md 3.2).
func (a *Agent) startGroup(e *execution, tasks []*task) {
	var all []*nested
	for _, t := range tasks {
		n := &nested{
			id: e.container + "." + ContainerID(uuidText(a.cfg.NewID())), parent: e.container, task: t,
			command: t.info.GetCommand(), box: t.info.GetContainer(), resources: t.info.GetResources(), limits: t.info.GetLimits(),
		}
		t.nested = n
		a.addNested(e, n)
		a.recordNested(n)
		all = append(all, n)
		a.update(t, a.executorStatus(t, mesos.TaskState_TASK_STARTING))
	}
	for _, n := range all {
		a.launchNested(n)
	}
}

// members are the tasks of a task's group that have not ended.
func (t *task) members() []*task {
	if t.group == "" {
		return nil
	}
	var out []*task
	for _, x := range t.exec.tasks {
		if x.group == t.group && !terminal(x.state) {
			out = append(out, x)
		}
	}
	return out
}

// memberEnded applies the group's rule: unless a task finished by itself with success,
// the others of its group are killed (mesos-agent.md 3.3).
func (a *Agent) memberEnded(t *task) {
	if t.state == mesos.TaskState_TASK_FINISHED || t.exec.phase >= terminating {
		return
	}
	for _, x := range t.members() {
		if x.kill == nil {
			a.beginKill(x, a.grace(x, nil), KillImage{})
		}
	}
}

// rootStarted launches what has waited for the root container of a pod.
func (a *Agent) rootStarted(e *execution) {
	e.phase = running
	a.recordExecution(e)
	var queued []*task
	for _, t := range e.tasks {
		if !t.delivered && !terminal(t.state) {
			t.delivered = true
			queued = append(queued, t)
		}
	}
	a.deliverAll(e, queued)
	a.afterNested(e)
}

// afterNested ends a pod's root when its last task has ended, and carries an end on that
// waits for the nested containers to go.
func (a *Agent) afterNested(e *execution) {
	switch {
	case e.phase == terminated:
	case e.phase == terminating && e.ending && !e.holdsNested():
		a.do(Destroy{Container: e.container})
	case e.native() && (e.phase == running || e.phase == terminating) && !e.live():
		e.orderly = e.orderly || e.phase == running
		a.endRoot(e)
	}
}

// endRoot destroys a pod: first what is nested, then the root, so that each container's
// end is known.
func (a *Agent) endRoot(e *execution) {
	if e.ending || e.phase == terminated {
		return
	}
	e.phase, e.ending = terminating, true
	if e.live() { // else the records of its tasks say so
		a.recordExecution(e)
	}
	for _, n := range e.nested {
		a.destroyNested(n)
	}
	if !e.holdsNested() {
		a.do(Destroy{Container: e.container})
	}
}

func (a *Agent) destroyNested(n *nested) {
	if n.live() {
		n.phase = max(n.phase, terminating)
		a.do(Destroy{Container: n.id})
	}
}

// shutdownPod kills every task of a pod, each with its grace period but all within the
// executor's, and destroys what is left then.
func (a *Agent) shutdownPod(e *execution) {
	grace := e.shutdownGrace(a.cfg.ShutdownGrace)
	e.phase, e.orderly = terminating, true
	for _, t := range append([]*task(nil), e.tasks...) {
		if !terminal(t.state) && t.nested != nil {
			a.beginKill(t, min(grace, a.grace(t, nil)), KillImage{})
		}
	}
	if !e.live() {
		a.endRoot(e)
		return
	}
	a.recordExecution(e)
	a.at(a.now.Add(grace), func() { a.endRoot(e) })
}

// stopNested begins or repeats the end of a pod's task.
func (a *Agent) stopNested(t *task, grace time.Duration) {
	n := t.nested
	if n.phase == launching { // nothing runs yet: the launch is given up
		a.destroyNested(n)
		return
	}
	a.do(Kill{Container: n.id, Grace: grace})
}

// limitStatus is the last status of a task that a limit of its executor ended.
func limitStatus(lim *Limitation) *mesos.TaskStatus {
	st := &mesos.TaskStatus{
		State: mesos.TaskState_TASK_FAILED.Enum(), Source: mesos.TaskStatus_SOURCE_AGENT.Enum(),
		Reason: lim.Reason.Enum(), Message: ptr(lim.Message),
	}
	if len(lim.Resources) > 0 {
		st.Limitation = &mesos.TaskResourceLimitation{Resources: lim.Resources}
	}
	return st
}
