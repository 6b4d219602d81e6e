package ledger

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// launchGroup carries out a LAUNCH_GROUP: all its tasks in one message to the agent, or
// none (mesos-master.md 1.6, libprocess.md 3.5).
func (l *Ledger) launchGroup(acc *acceptance, op *mesos.Offer_Operation) {
	f, a := acc.f, acc.a
	given := op.GetLaunchGroup().GetTaskGroup().GetTasks()
	reason := mesos.TaskStatus_REASON_TASK_GROUP_INVALID
	refuse := func(why string) {
		for _, info := range given {
			l.refuseTask(f, a.id, info, reason, why)
		}
	}
	why := l.tooMany(acc, len(given))
	for i := 0; i < len(given) && why == ""; i++ {
		why = checkLaunchResources(given[i].GetResources(), given[i].GetExecutor())
	}
	if why == "" {
		why = checkLaunchResources(nil, op.GetLaunchGroup().GetExecutor())
	}
	if why == "" && op.Id != nil {
		why = "The `id` field cannot be set on LAUNCH_GROUP operations"
	}
	if why != "" {
		refuse(why)
		return
	}
	group := proto.Clone(op.GetLaunchGroup()).(*mesos.Offer_Operation_LaunchGroup)
	e, infos := group.GetExecutor(), group.GetTaskGroup().GetTasks()
	for _, info := range infos {
		if info.Executor == nil {
			info.Executor = e // so that whoever sees the task sees its executor
		}
	}
	if why := l.mayLaunchAll(f, infos); why != "" {
		reason = mesos.TaskStatus_REASON_TASK_GROUP_UNAUTHORIZED
		refuse(why)
		return
	}
	want, why := l.checkGroup(acc, e, infos)
	if why != "" {
		refuse(why)
		return
	}
	l.take(acc, want.total)
	e.Resources = want.executor
	if want.newExecutor {
		l.openExecutor(f, a, proto.Clone(e).(*mesos.ExecutorInfo), acc.role, false)
	}
	e.Resources = inFormat(want.executor, a.caps.Refinement)
	for i, info := range infos {
		info.Executor = e
		info.Resources = inFormat(want.tasks[i], a.caps.Refinement)
		t := l.openTask(f, a, taskOf(f, info, want.tasks[i]))
		l.book(f, a, acc.role, t.resources, false)
	}
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.RunTaskGroupMessage{Framework: f.info, Executor: e,
		TaskGroup: group.GetTaskGroup(), LaunchExecutor: &want.newExecutor, ResourceVersionUuids: a.resourceVersions()}})
}

// groupWants is what a valid group takes from the offer.
type groupWants struct {
	tasks       []resource.Resources // of each task
	executor    resource.Resources
	newExecutor bool
	total       resource.Resources // with the executor's when it is new
}

// The least an executor of a group has (mesos-master.md section 0).
var (
	minGroupCPUs = resource.FromFloat(0.01)
	minGroupMem  = resource.Whole(32)
)

// checkGroup applies Mesos' rules for groups; the text is empty for a good one. The
// first fault is the whole group's.
func (l *Ledger) checkGroup(acc *acceptance, e *mesos.ExecutorInfo, infos []*mesos.TaskInfo) (w groupWants, why string) {
	if olderThan(acc.a.version, 1, 1) {
		return w, fmt.Sprintf("Agent %s of version %s does not launch task groups: 1.1.0 is the first that does", acc.a.id, acc.a.version)
	}
	if len(infos) == 0 {
		return w, "The task group has no tasks"
	}
	seen := map[string]bool{}
	for _, info := range infos {
		id := info.GetTaskId().GetValue()
		why := l.checkTaskAlone(acc, info)
		switch {
		case why != "":
		case seen[id]:
			why = "Task has duplicate ID: " + id
		default:
			why = checkGroupTask(info)
		}
		if why != "" {
			return w, fmt.Sprintf("Task '%s' is invalid: %s", id, why)
		}
		seen[id] = true
	}
	if why := checkExecutorForm(acc, e); why != "" {
		return w, why
	}
	if w.executor, w.newExecutor, why = checkKnownExecutor(acc, e); why != "" {
		return w, why
	}
	if why := checkGroupExecutor(e, infos, w.executor); why != "" {
		return w, why
	}
	for _, info := range infos {
		r := allocated(info.GetResources(), acc.role)
		w.tasks = append(w.tasks, r)
		w.total = w.total.Add(r)
	}
	all := w.total.Add(w.executor)
	switch {
	case duplicateVolume(all) != "":
		return w, fmt.Sprintf("Task group and executor use duplicate persistence ID: Persistence ID '%s' is not unique", duplicateVolume(all))
	case mixedRevocable(all) != "":
		return w, fmt.Sprintf("Task group and executor mix revocable and non-revocable resources: "+mixedText, mixedRevocable(all))
	case overlapping(append(w.tasks[:len(w.tasks):len(w.tasks)], w.executor)...):
		return w, fmt.Sprintf("The resources of the tasks and of the executor overlap: %v and %s", w.tasks, w.executor)
	}
	if w.newExecutor {
		w.total = all
	}
	if !acc.has(w.total) {
		return w, fmt.Sprintf("Total resources %s required by task group and its executor are more than available %s", w.total, acc.remaining)
	}
	return w, l.checkShareCgroups(acc, e, infos)
}

// checkGroupTask refuses in a task what only stands alone.
func checkGroupTask(info *mesos.TaskInfo) string {
	c := info.GetContainer()
	if len(c.GetNetworkInfos()) > 0 {
		switch info.GetHealthCheck().GetType() {
		case mesos.HealthCheck_HTTP, mesos.HealthCheck_TCP:
			return "HTTP and TCP health checks are not supported for nested containers not joining parent's network"
		}
	}
	if c != nil && c.GetType() == mesos.ContainerInfo_DOCKER {
		return "Docker ContainerInfo is not supported on the task"
	}
	if len(info.GetLimits()) > 0 && sharesCgroups(c) {
		return "Resource limits may only be set for tasks within a task group when the 'share_cgroups' field is set to 'false'."
	}
	return ""
}

// checkGroupExecutor refuses an executor that cannot serve this group.
func checkGroupExecutor(e *mesos.ExecutorInfo, infos []*mesos.TaskInfo, r resource.Resources) string {
	id := e.GetExecutorId().GetValue()
	switch {
	case e.Type == nil:
		return "'ExecutorInfo.type' must be set"
	case e.GetType() == mesos.ExecutorInfo_UNKNOWN:
		return "Unknown executor type"
	case e.Container != nil && e.GetContainer().GetType() == mesos.ContainerInfo_DOCKER:
		return "Docker ContainerInfo is not supported on the executor"
	}
	for _, info := range infos {
		if info.Executor != e && !sameExecutor(info.Executor, e) {
			return fmt.Sprintf("The `ExecutorInfo` of task '%s' is different from executor '%s'", info.GetTaskId().GetValue(), id)
		}
	}
	switch {
	case r.Get("cpus") < minGroupCPUs:
		return fmt.Sprintf("Executor '%s' uses less CPUs (%s) than the minimum required (%s)", id, orNone(r, "cpus"), minGroupCPUs)
	case r.Get("mem") < minGroupMem:
		return fmt.Sprintf("Executor '%s' uses less memory (%s) than the minimum required (%sMB)", id, orNone(r, "mem"), minGroupMem)
	case r.Get("disk") == 0:
		return fmt.Sprintf("Executor '%s' uses no disk", id)
	}
	return ""
}

func orNone(r resource.Resources, name string) string {
	if v := r.Get(name); v != 0 {
		return v.String()
	}
	return "None"
}

// checkShareCgroups demands one answer of all tasks under an executor, running and
// unreachable ones too.
func (l *Ledger) checkShareCgroups(acc *acceptance, e *mesos.ExecutorInfo, infos []*mesos.TaskInfo) string {
	if why := checkExecutorCgroups(e); why != "" {
		return why
	}
	share := sharesCgroups(infos[0].GetContainer())
	agree := true
	for _, info := range infos {
		agree = agree && sharesCgroups(info.GetContainer()) == share
	}
	id := e.GetExecutorId().GetValue()
	with := func(t *mesos.Task) {
		if t.GetAgentId().GetValue() == string(acc.a.id) && t.GetExecutorId().GetValue() == id {
			agree = agree && sharesCgroups(t.GetContainer()) == share
		}
	}
	if acc.f.executors[executorKey{acc.a.id, ExecutorID(id)}] != nil {
		for _, t := range acc.a.tasks {
			if t.framework == acc.f.id {
				with(t.proto)
			}
		}
		for _, t := range acc.f.unreachable.items {
			with(t)
		}
	}
	if !agree {
		return "If set, the value of 'share_cgroups' must be the same for all tasks in each task group and under a single executor"
	}
	return ""
}

// sharesCgroups is the default of a container that says nothing.
func sharesCgroups(c *mesos.ContainerInfo) bool {
	if s := c.GetLinuxInfo(); s != nil && s.ShareCgroups != nil {
		return s.GetShareCgroups()
	}
	return true
}

// olderThan compares a version like "1.11.0"; what cannot be read is not older.
func olderThan(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
}
