package lifecycle

import (
	"fmt"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"google.golang.org/protobuf/proto"
)

// What every command task's container gets on top of its task (mesos-agent.md 2.1).
const (
	overheadCPUs  = 0.1
	overheadMemMB = 32
)

// runTask takes a task from the master (mesos-agent.md 2 and 4, libprocess.md 3.4).
func (a *Agent) runTask(ev RunTask) {
	info := ev.Task
	fid := FrameworkID(ev.Framework.GetId().GetValue())
	key := TaskKey{fid, TaskID(info.GetTaskId().GetValue())}
	if info.GetAgentId().GetValue() != a.id || a.id == "" {
		a.do(Note{Message: "task ignored: meant for another agent id", Framework: fid, Task: key.Task})
		return
	}
	f := a.frameworks[fid]
	switch {
	case !a.connected: // sent before a partition that has ended meanwhile
		a.do(Note{Message: "task ignored: no master has this agent", Framework: fid, Task: key.Task})
		return
	case f != nil && f.terminating:
		a.do(Note{Message: "task ignored: its framework shuts down", Framework: fid, Task: key.Task})
		return
	case a.findTask(key) != nil:
		a.do(Note{Message: "task ignored: it is here already", Framework: fid, Task: key.Task})
		return
	}
	refuse := func(state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
		view := f
		if view == nil {
			view = &framework{info: ev.Framework}
		}
		a.loose(key, &mesos.TaskStatus{State: view.lost(state).Enum(), Reason: reason.Enum(), Message: ptr(message)})
	}
	if why := invalidTask(fid, info); why != "" {
		a.loose(key, &mesos.TaskStatus{State: mesos.TaskState_TASK_ERROR.Enum(),
			Reason: mesos.TaskStatus_REASON_TASK_INVALID.Enum(), Message: ptr(why)})
		return
	}
	if why := a.unauthorized(ev.Framework, info); why != "" {
		a.loose(key, &mesos.TaskStatus{State: mesos.TaskState_TASK_ERROR.Enum(),
			Reason: mesos.TaskStatus_REASON_TASK_UNAUTHORIZED.Enum(), Message: ptr(why)})
		if info.GetExecutor() != nil && ev.LaunchExecutor != nil && *ev.LaunchExecutor {
			a.do(SendExited{Key: ExecutorKey{fid, ExecutorID(info.GetExecutor().GetExecutorId().GetValue())}, Status: -1})
		}
		return
	}
	if reason, why := a.unfit(ev.Versions, []*mesos.TaskInfo{info}, info.GetExecutor()); why != "" {
		refuse(mesos.TaskState_TASK_DROPPED, reason, why)
		if info.GetExecutor() != nil && ev.LaunchExecutor != nil && *ev.LaunchExecutor {
			a.do(SendExited{Key: ExecutorKey{fid, ExecutorID(info.GetExecutor().GetExecutorId().GetValue())}, Status: -1})
		}
		return
	}
	if info.GetExecutor() == nil {
		if f != nil && f.executors[ExecutorID(key.Task)] != nil {
			refuse(mesos.TaskState_TASK_DROPPED, mesos.TaskStatus_REASON_TASK_INVALID,
				"Cannot reuse an already existing executor for a command task")
			return
		}
		f = a.ensureFramework(ev.Framework, ev.FrameworkPID)
		a.runCommand(f, info)
		return
	}
	a.runOnExecutor(f, ev.Framework, ev.FrameworkPID, info.GetExecutor(), []*mesos.TaskInfo{info}, false, ev.LaunchExecutor, refuse)
}

// runCommand starts a command task: its container is the executor.
func (a *Agent) runCommand(f *framework, info *mesos.TaskInfo) {
	e := a.addExecution(f, a.commandExecutor(f, info), true)
	t := a.addTask(e, info)
	a.recordExecution(e)
	a.recordTask(t)
	a.launch(e)
}

// commandExecutor is the executor shown for a command task (mesos-agent.md 2.1).
func (a *Agent) commandExecutor(f *framework, t *mesos.TaskInfo) *mesos.ExecutorInfo {
	grace := a.cfg.ShutdownGrace
	if p := t.GetKillPolicy(); p.GetGracePeriod() != nil {
		grace = time.Duration(p.GetGracePeriod().GetNanoseconds()) + 2*time.Second
	}
	return &mesos.ExecutorInfo{
		ExecutorId:  &mesos.ExecutorID{Value: ptr(t.GetTaskId().GetValue())},
		FrameworkId: f.info.GetId(),
		Name:        ptr(commandExecutorName(t)),
		Source:      ptr(t.GetTaskId().GetValue()),
		Command: &mesos.CommandInfo{
			Shell: ptr(false), Value: ptr("stoa-keeper"), Uris: t.GetCommand().GetUris(),
			Environment: t.GetCommand().GetEnvironment(), User: t.GetCommand().User,
		},
		Container: t.GetContainer(), Labels: t.GetLabels(), Discovery: t.GetDiscovery(),
		Resources: []*mesos.Resource{
			scalar("cpus", overheadCPUs, allocationRole(t.GetResources())),
			scalar("mem", overheadMemMB, allocationRole(t.GetResources())),
		},
		ShutdownGracePeriod: &mesos.DurationInfo{Nanoseconds: ptr(grace.Nanoseconds())},
	}
}

func scalar(name string, v float64, role string) *mesos.Resource {
	r := &mesos.Resource{Name: ptr(name), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: ptr(v)}}
	if role != "" {
		r.AllocationInfo = &mesos.Resource_AllocationInfo{Role: ptr(role)}
	}
	return r
}

// allocationRole is the role a task's resources were offered to; "" when unsaid.
func allocationRole(rs []*mesos.Resource) string {
	for _, r := range rs {
		if role := r.GetAllocationInfo().GetRole(); role != "" {
			return role
		}
	}
	return ""
}

type refusal func(mesos.TaskState, mesos.TaskStatus_Reason, string)

// runOnExecutor hands a task, or the tasks of a group, to an executor, starting it when
// there is none. expect is the master's launch_executor (libprocess.md 7, item 12).
func (a *Agent) runOnExecutor(f *framework, fi *mesos.FrameworkInfo, pid string, ei *mesos.ExecutorInfo,
	tasks []*mesos.TaskInfo, group bool, expect *bool, refuse refusal) {
	eid := ExecutorID(ei.GetExecutorId().GetValue())
	var e *execution
	if f != nil {
		e = f.executors[eid]
	}
	key := ExecutorKey{FrameworkID(fi.GetId().GetValue()), eid}
	switch {
	case ei.GetType() == mesos.ExecutorInfo_DEFAULT && !group:
		refuse(mesos.TaskState_TASK_DROPPED, mesos.TaskStatus_REASON_TASK_INVALID,
			"The DEFAULT executor takes task groups only: launch the task with LAUNCH_GROUP")
		if e != nil && e.native() { // it does not survive a plain task (mesos-agent.md 3.1)
			a.shutdownExecutor(e)
		} else {
			a.do(SendExited{Key: key, Status: -1})
		}
		return
	case e == nil && expect != nil && !*expect:
		refuse(mesos.TaskState_TASK_DROPPED, mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, "No executor is expected to launch and there is no executor running")
		return
	case e != nil && (e.phase >= terminating || e.generated):
		refuse(mesos.TaskState_TASK_DROPPED, mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, "Executor "+e.phase.String())
		if expect != nil && *expect {
			a.do(SendExited{Key: key, Status: -1})
		}
		return
	case e != nil && expect != nil && *expect:
		refuse(mesos.TaskState_TASK_DROPPED, mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, "Master wants to launch executor, but one already exists")
		a.shutdownExecutor(e)
		a.do(SendExited{Key: key, Status: -1})
		return
	}
	fresh := e == nil
	if fresh {
		f = a.ensureFramework(fi, pid)
		if ei.GetFrameworkId() == nil {
			ei = proto.Clone(ei).(*mesos.ExecutorInfo)
			ei.FrameworkId = fi.GetId()
		}
		e = a.addExecution(f, ei, false)
		e.unheard = !e.native()
		a.recordExecution(e)
	}
	gid := ""
	if group {
		gid = uuidText(a.cfg.NewID())
	}
	for _, info := range tasks {
		t := a.addTask(e, info)
		t.group = gid
		a.recordTask(t)
	}
	switch {
	case fresh:
		a.launch(e)
	case e.phase == running:
		a.feed(e)
	}
}

// deliver sends LAUNCH for a task to its subscribed executor.
func (a *Agent) deliver(t *task) {
	a.tell(t.exec, &executor.Event{Type: executor.Event_LAUNCH.Enum(), Launch: &executor.Event_Launch{Task: t.info}})
}

// invalidTask says what makes a task unfit for this agent, or "". Ids become names of
// directories, so they are checked here again (mesos-agent.md 0.4).
func invalidTask(fid FrameworkID, t *mesos.TaskInfo) string {
	ids := []struct{ what, id string }{
		{"framework_id", string(fid)}, {"task_id", t.GetTaskId().GetValue()},
	}
	if ex := t.GetExecutor(); ex != nil {
		ids = append(ids, struct{ what, id string }{"executor_id", ex.GetExecutorId().GetValue()})
	}
	for _, x := range ids {
		if why := unsafeID(x.id); why != "" {
			return fmt.Sprintf("Task has an invalid %s '%s': %s", x.what, x.id, why)
		}
	}
	cmd, ex := t.GetCommand(), t.GetExecutor()
	switch {
	case (cmd == nil) == (ex == nil):
		return "Task should have exactly one of 'command' and 'executor'"
	case cmd != nil && cmd.GetShell() && cmd.Value == nil && t.GetContainer() == nil:
		return "Shell command of task has no 'value'"
	case ex != nil && ex.GetType() != mesos.ExecutorInfo_DEFAULT && ex.GetCommand() == nil:
		return "Executor of task has no 'command'"
	}
	return ""
}

func unsafeID(id string) string {
	switch {
	case id == "":
		return "it is empty"
	case len(id) > 255:
		return "it is longer than 255 bytes"
	case id == "." || id == "..":
		return "it is a path"
	}
	for _, c := range []byte(id) {
		if c == '/' || c == '\\' || c < 0x20 || c == 0x7f {
			return "it holds '/', '\\' or a control character"
		}
	}
	return ""
}

func uuidText(id [16]byte) string {
	var b strings.Builder
	for i, x := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b.WriteByte('-')
		}
		fmt.Fprintf(&b, "%02x", x)
	}
	return b.String()
}
