package lifecycle

import (
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// executorStatus is the frame of every update made on behalf of a command task: it
// carries the container, the last health and the last check result, because each
// status stands alone (mesos-agent.md 5.3).
func (a *Agent) executorStatus(t *task, state mesos.TaskState) *mesos.TaskStatus {
	st := &mesos.TaskStatus{
		State: state.Enum(), Source: mesos.TaskStatus_SOURCE_EXECUTOR.Enum(),
		ContainerStatus: a.taskContainer(t, state),
	}
	if last := t.last(); last != nil && last.Healthy != nil {
		st.Healthy = ptr(last.GetHealthy())
	}
	if c := t.info.GetCheck(); c != nil {
		st.CheckStatus = emptyCheck(c)
		if last := t.last(); last.GetCheckStatus() != nil {
			st.CheckStatus = last.GetCheckStatus()
		}
	}
	return st
}

func emptyCheck(c *mesos.CheckInfo) *mesos.CheckStatusInfo {
	st := &mesos.CheckStatusInfo{Type: c.GetType().Enum()}
	switch c.GetType() {
	case mesos.CheckInfo_COMMAND:
		st.Command = &mesos.CheckStatusInfo_Command{}
	case mesos.CheckInfo_HTTP:
		st.Http = &mesos.CheckStatusInfo_Http{}
	case mesos.CheckInfo_TCP:
		st.Tcp = &mesos.CheckStatusInfo_Tcp{}
	}
	return st
}

// containerStatus tells where a task runs: DNS takes its address records from here
// (mesos-agent.md 14.1, items 3 and 4).
func (a *Agent) containerStatus(e *execution) *mesos.ContainerStatus {
	cs := &mesos.ContainerStatus{
		ContainerId: &mesos.ContainerID{Value: ptr(string(e.container))},
		NetworkInfos: []*mesos.NetworkInfo{{IpAddresses: []*mesos.NetworkInfo_IPAddress{{
			Protocol: mesos.NetworkInfo_IPv4.Enum(), IpAddress: ptr(a.cfg.IP),
		}}}},
	}
	if strings.Contains(a.cfg.IP, ":") {
		cs.NetworkInfos[0].IpAddresses[0].Protocol = mesos.NetworkInfo_IPv6.Enum()
	}
	if a.cfg.IP6 != "" {
		cs.NetworkInfos[0].IpAddresses = append(cs.NetworkInfos[0].IpAddresses, &mesos.NetworkInfo_IPAddress{
			Protocol: mesos.NetworkInfo_IPv6.Enum(), IpAddress: ptr(a.cfg.IP6),
		})
	}
	if len(e.networks) > 0 {
		cs.NetworkInfos = e.networks
	}
	if e.pid > 0 {
		cs.ExecutorPid = ptr(uint32(e.pid))
	}
	return cs
}

// taskContainer is containerStatus for one task. That of a pod names the nested
// container, and its process once there is one.
func (a *Agent) taskContainer(t *task, state mesos.TaskState) *mesos.ContainerStatus {
	cs := a.containerStatus(t.exec)
	n := t.nested
	if n == nil {
		return cs
	}
	cs.ContainerId, cs.ExecutorPid = n.id.Wire(), nil
	if own := a.networksOf(n); len(own) > 0 {
		cs.NetworkInfos = own
	}
	switch {
	case state == mesos.TaskState_TASK_STARTING:
		cs.NetworkInfos = nil
	case n.pid > 0:
		cs.ExecutorPid = ptr(uint32(n.pid))
	}
	return cs
}

// started says that a container's first process runs.
func (a *Agent) started(ev Started) {
	if n := a.nested[ev.Container]; n != nil {
		a.nestedStarted(n, ev.PID, ev.Networks)
		return
	}
	e := a.containers[ev.Container]
	if e == nil { // nobody knows it: it must not live
		a.do(Destroy{Container: ev.Container})
		return
	}
	e.started, e.pid, e.networks = true, ev.PID, e.named(ev.Networks)
	switch e.phase {
	case terminating: // given up while it was being launched
		a.recordExecution(e)
		a.do(Destroy{Container: e.container})
		return
	case terminated:
		return
	case launching:
	default: // seen before: recovery reports what lives on
		if len(e.networks) > 0 {
			a.recordExecution(e)
		}
		return
	}
	if e.native() {
		a.rootStarted(e)
		return
	}
	if !e.generated {
		e.phase = registering
		a.recordExecution(e)
		if ev := e.early; ev != nil {
			e.early = nil
			a.executorSubscribed(*ev)
		}
		return
	}
	e.phase = running
	t := e.only()
	a.recordExecution(e)
	if t == nil || terminal(t.state) { // killed before
		return
	}
	t.delivered = true
	a.begins(t)
	if t.state == mesos.TaskState_TASK_STAGING { // else its progress has told it
		a.update(t, a.executorStatus(t, mesos.TaskState_TASK_STARTING))
	}
	st := a.executorStatus(t, mesos.TaskState_TASK_RUNNING)
	st.Data = ev.Data
	a.update(t, st)
	a.startChecks(t)
	a.armCompletion(t)
}

// launchFailed says that a container's process was never started.
func (a *Agent) launchFailed(ev LaunchFailed) {
	if n := a.nested[ev.Container]; n != nil {
		a.nestedFailed(n, ev.Message)
		return
	}
	e := a.containers[ev.Container]
	if e == nil || e.phase == terminated {
		return
	}
	if e.verdict == nil {
		e.verdict = &verdict{mesos.TaskState_TASK_FAILED, mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED,
			"Failed to launch container: " + ev.Message}
	}
	if ev.Executor && e.generated {
		a.notRun(e, ev.Message)
		return
	}
	a.counters.LaunchErrors++
	a.ended(e, Exit{}, nil)
}

// exited says that a container is gone.
func (a *Agent) exited(ev Exited) {
	if n := a.nested[ev.Container]; n != nil {
		a.nestedExited(n, ev.Exit, ev.Limitation)
		a.do(Forget{Container: ev.Container})
		return
	}
	e := a.containers[ev.Container]
	if e == nil || e.phase == terminated {
		a.do(Forget{Container: ev.Container})
		return
	}
	if e.generated && e.phase == launching { // its start was seen by nobody
		a.started(Started{Container: ev.Container})
	}
	a.ended(e, ev.Exit, ev.Limitation)
	a.do(Forget{Container: ev.Container})
}

// ended closes the books of a container and gives its tasks their last update.
func (a *Agent) ended(e *execution, exit Exit, lim *Limitation) {
	wasRunning := e.started
	if e.limit != nil {
		lim = e.limit
	}
	if e.orderly { // as the executor's own process would have ended
		exit, lim = Exit{Known: true}, nil
	}
	a.endNested(e, exit, lim)
	told := e.phase == terminating
	e.phase = terminated
	delete(a.containers, e.container)
	for _, t := range append([]*task(nil), e.tasks...) {
		switch {
		case terminal(t.state):
		case lim != nil && e.generated && e.inDocker() && e.limit == nil:
			a.update(t, a.dockerLimit(t, exit, lim))
		case lim != nil:
			a.update(t, limitStatus(lim))
		case e.generated && wasRunning && e.verdict == nil:
			a.update(t, a.commandEnd(t, exit))
		default:
			a.update(t, a.executorEnd(e))
		}
	}
	if !e.generated {
		if told && wasRunning {
			a.do(Note{Message: "executor ended", Framework: e.fw.id, Executor: e.id()})
		}
		a.do(CloseExecutor{Key: e.key(), UPID: e.upid})
		e.status = exit.WaitStatus()
		a.do(SendExited{Key: e.key(), Status: e.status})
	}
	a.recordExecution(e)
	a.dropIfDone(e)
}

// commandEnd is the terminal status of a command task (mesos-agent.md 2.3).
func (a *Agent) commandEnd(t *task, exit Exit) *mesos.TaskStatus {
	state := mesos.TaskState_TASK_FAILED
	switch {
	case t.kill != nil && t.kill.Overdue:
	case t.kill != nil:
		state = mesos.TaskState_TASK_KILLED
	case exit.Known && exit.Signal == 0 && exit.Code == 0:
		state = mesos.TaskState_TASK_FINISHED
	}
	st := a.executorStatus(t, state)
	st.Message = ptr(exit.text())
	if t.exec.inDocker() {
		st.Message = ptr(dockerEnd(exit))
	}
	if t.kill != nil && t.kill.Overdue {
		st.Reason = mesos.TaskStatus_REASON_MAX_COMPLETION_TIME_REACHED.Enum()
	}
	if t.kill != nil && t.kill.Unhealthy {
		st.Healthy = ptr(false)
	}
	return st
}

// executorEnd is the terminal status of a task whose executor went away (14.2).
func (a *Agent) executorEnd(e *execution) *mesos.TaskStatus {
	st := &mesos.TaskStatus{
		State: mesos.TaskState_TASK_FAILED.Enum(), Source: mesos.TaskStatus_SOURCE_AGENT.Enum(),
		Reason: mesos.TaskStatus_REASON_EXECUTOR_TERMINATED.Enum(), Message: ptr("Executor terminated"),
	}
	if v := e.verdict; v != nil {
		st.State, st.Reason = v.state.Enum(), v.reason.Enum()
		if v.message != "" {
			st.Message = ptr(v.message)
		}
	}
	return st
}
