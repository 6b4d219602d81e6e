package ledger

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// launchAll carries out a LAUNCH: each task for itself, but resources that cannot be
// read void them all (mesos-master.md 1.6).
func (l *Ledger) launchAll(acc *acceptance, op *mesos.Offer_Operation) {
	infos := op.GetLaunch().GetTaskInfos()
	why := ""
	for _, info := range infos {
		if why = checkLaunchResources(info.GetResources(), info.GetExecutor()); why != "" {
			break
		}
	}
	if why == "" && op.Id != nil {
		why = "The `id` field cannot be set on LAUNCH operations"
	}
	for _, info := range infos {
		if why != "" {
			l.refuseTask(acc.f, acc.a.id, info, mesos.TaskStatus_REASON_TASK_INVALID, why)
		} else {
			l.launch(acc, info)
		}
	}
}

// checkLaunchResources refuses what cannot be summed; the answer is the reason.
func checkLaunchResources(task []*mesos.Resource, executor *mesos.ExecutorInfo) string {
	if why := checkResources(task); why != "" {
		return "Task uses invalid resources: " + why
	}
	if why := checkResources(executor.GetResources()); why != "" {
		return "Executor uses invalid resources: " + why
	}
	return ""
}

// refuseTask answers TASK_ERROR for a task that may not be launched.
func (l *Ledger) refuseTask(f *framework, on AgentID, info *mesos.TaskInfo, reason mesos.TaskStatus_Reason, why string) {
	l.emit(Note{Text: "task refused: " + why, Framework: f.id, Task: TaskID(info.GetTaskId().GetValue())})
	l.countEnd(f, mesos.TaskState_TASK_ERROR)
	l.sendUpdate(f, on, l.verdict(info, mesos.TaskState_TASK_ERROR, reason, why))
}

// verdict is the master's own word on a task that never reached an agent.
func (l *Ledger) verdict(info *mesos.TaskInfo, state mesos.TaskState, reason mesos.TaskStatus_Reason, why string) *mesos.TaskStatus {
	return &mesos.TaskStatus{TaskId: info.GetTaskId(), State: state.Enum(), Message: proto.String(why),
		Source: mesos.TaskStatus_SOURCE_MASTER.Enum(), Reason: reason.Enum(), AgentId: info.GetAgentId(),
		Timestamp: l.seconds()}
}

// tooMany counts tasks of an ACCEPT; the answer is the reason when there are too many.
func (l *Ledger) tooMany(acc *acceptance, n int) string {
	if acc.tasks += n; acc.tasks > l.cfg.MaxTasksPerAccept {
		return fmt.Sprintf("An ACCEPT may launch at most %d tasks", l.cfg.MaxTasksPerAccept)
	}
	return ""
}

// launch validates one task of a LAUNCH and sends it to the agent.
func (l *Ledger) launch(acc *acceptance, given *mesos.TaskInfo) {
	f, a := acc.f, acc.a
	if why := l.tooMany(acc, 1); why != "" {
		l.refuseTask(f, a.id, given, mesos.TaskStatus_REASON_TASK_INVALID, why)
		return
	}
	if why := l.mayLaunch(f, given); why != "" {
		l.refuseTask(f, a.id, given, mesos.TaskStatus_REASON_TASK_UNAUTHORIZED, why)
		return
	}
	info := proto.Clone(given).(*mesos.TaskInfo)
	inferHealthCheck(info)
	if e := info.GetExecutor(); e != nil && e.FrameworkId == nil {
		e.FrameworkId = f.id.wire()
	}
	want, why := l.checkTask(acc, info)
	if why != "" {
		l.refuseTask(f, a.id, given, mesos.TaskStatus_REASON_TASK_INVALID, why)
		return
	}
	l.take(acc, want.total())
	info.Resources = inFormat(want.task, a.caps.Refinement)
	launchExecutor := true
	if e := info.GetExecutor(); e != nil {
		launchExecutor = want.newExecutor
		e.Resources = want.executor
		if want.newExecutor {
			l.openExecutor(f, a, proto.Clone(e).(*mesos.ExecutorInfo), acc.role, false)
		}
		e.Resources = inFormat(want.executor, a.caps.Refinement)
	}
	t := l.openTask(f, a, taskOf(f, info, want.task))
	l.book(f, a, acc.role, t.resources, false)
	pid := string(f.conn.PID)
	if pid == "" {
		pid = noPID
	}
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.RunTaskMessage{Framework: f.info, Task: info, Pid: &pid,
		LaunchExecutor: &launchExecutor, ResourceVersionUuids: a.resourceVersions()}})
}

// take uses resources of an ACCEPT. Copies of a shared volume beyond those offered are
// told to the allocator, which granted only one.
func (l *Ledger) take(acc *acceptance, r resource.Resources) {
	acc.used = true
	if shared := r.Shared(); len(shared) > 0 {
		if more := shared.Subtract(acc.remaining.Shared()); len(more) > 0 {
			l.emit(Taken{Agent: acc.a.id, Framework: acc.f.id, Role: acc.role, Resources: more})
		}
	}
	acc.remaining = acc.remaining.Subtract(r)
}

// has tells whether an ACCEPT still has the resources. One copy of a shared volume serves
// any number of tasks.
func (acc *acceptance) has(r resource.Resources) bool {
	for _, one := range r.Shared() {
		if !acc.shared.Contains(resource.Resources{one}) {
			return false
		}
	}
	return acc.remaining.Contains(r.Exclusive())
}

// resourceVersions guard a launch against changes of the agent's resources on its way.
func (a *agent) resourceVersions() []*messages.ResourceVersionUUID {
	var out []*messages.ResourceVersionUUID
	if len(a.version16) > 0 {
		out = append(out, &messages.ResourceVersionUUID{Uuid: &mesos.UUID{Value: a.version16}})
	}
	for _, id := range a.providerIDs() {
		out = append(out, &messages.ResourceVersionUUID{ResourceProviderId: &mesos.ResourceProviderID{Value: proto.String(id)},
			Uuid: &mesos.UUID{Value: a.providers[id].version}})
	}
	return out
}

// taskOf is the master's record of a launched task. Command tasks have no executor_id
// until an agent reports one (T27).
func taskOf(f *framework, info *mesos.TaskInfo, r resource.Resources) *mesos.Task {
	t := &mesos.Task{Name: info.Name, TaskId: info.TaskId, FrameworkId: f.id.wire(), AgentId: info.AgentId,
		State: mesos.TaskState_TASK_STAGING.Enum(), Resources: r, Labels: info.Labels,
		Discovery: info.Discovery, Container: info.Container, HealthCheck: info.HealthCheck,
		KillPolicy: info.KillPolicy, Limits: info.Limits}
	if e := info.GetExecutor(); e != nil {
		t.ExecutorId = e.ExecutorId
	}
	t.User = f.info.User
	for _, c := range []*mesos.CommandInfo{info.GetCommand(), info.GetExecutor().GetCommand()} {
		if c != nil && c.User != nil {
			t.User = c.User
		}
	}
	return t
}

// inferHealthCheck names the type of a health check that old frameworks leave out.
func inferHealthCheck(info *mesos.TaskInfo) {
	h := info.GetHealthCheck()
	switch {
	case h == nil || h.Type != nil:
	case h.Command != nil && h.Http == nil:
		h.Type = mesos.HealthCheck_COMMAND.Enum()
	case h.Http != nil && h.Command == nil:
		h.Type = mesos.HealthCheck_HTTP.Enum()
	}
}
