package ledger

import (
	"fmt"
	"maps"
	"slices"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// wants is what a valid task takes from the offer.
type wants struct {
	task        resource.Resources
	executor    resource.Resources
	newExecutor bool
}

func (w wants) total() resource.Resources {
	if w.newExecutor {
		return w.task.Add(w.executor)
	}
	return w.task
}

// checkTask applies Mesos' rules for a task of a LAUNCH in Mesos' order (mesos-master.md
// 1.6); the text is empty for a good task, else what goes into its TASK_ERROR.
func (l *Ledger) checkTask(acc *acceptance, info *mesos.TaskInfo) (w wants, why string) {
	if why := l.checkTaskAlone(acc, info); why != "" {
		return w, why
	}
	e := info.GetExecutor()
	if (info.Command == nil) == (e == nil) {
		return w, "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
	}
	w.task = allocated(info.GetResources(), acc.role)
	if e != nil {
		if why := checkExecutorForm(acc, e); why != "" {
			return w, why
		}
		if w.executor, w.newExecutor, why = checkKnownExecutor(acc, e); why != "" {
			return w, why
		}
		if why := checkCustomExecutor(e, w.executor); why != "" {
			return w, why
		}
		both := w.task.Add(w.executor)
		switch {
		case overlapping(w.task, w.executor):
			return w, fmt.Sprintf("There are overlapping resources in the task resources %s and executor resources %s", w.task, w.executor)
		case duplicateVolume(both) != "":
			return w, fmt.Sprintf("Task and its executor use duplicate persistence ID: Persistence ID '%s' is not unique", duplicateVolume(both))
		case mixedRevocable(both) != "":
			return w, fmt.Sprintf("Task and its executor mix revocable and non-revocable resources: "+mixedText, mixedRevocable(both))
		}
	}
	if total := w.total(); !acc.has(total) {
		return w, fmt.Sprintf("Total resources %s required by task and its executor is more than available %s", total, acc.remaining)
	}
	if !sharesCgroups(info.GetContainer()) {
		return w, "Only tasks in a task group may have 'share_cgroups' set to 'false'"
	}
	return w, ""
}

// checkTaskAlone applies the rules for a task without its executor, of a LAUNCH or of a
// group. Its resources are valid already.
func (l *Ledger) checkTaskAlone(acc *acceptance, info *mesos.TaskInfo) string {
	f, a := acc.f, acc.a
	id := info.GetTaskId().GetValue()
	if why := validID(id); why != "" {
		return why
	}
	if f.tasks[TaskID(id)] != nil || f.isUnreachable(TaskID(id)) {
		return "Task has duplicate ID: " + id
	}
	if on := info.GetAgentId().GetValue(); on != string(a.id) {
		return fmt.Sprintf("Task uses invalid agent %s while agent %s is expected", on, a.id)
	}
	if info.GetKillPolicy().GetGracePeriod().GetNanoseconds() < 0 {
		return "Task's 'kill_policy.grace_period' must be non-negative"
	}
	if info.GetMaxCompletionTime().GetNanoseconds() < 0 {
		return "Task's `max_completion_time` must be non-negative"
	}
	if why := checkCheck(info.GetCheck()); why != "" {
		return "Task uses invalid check: " + why
	}
	if why := checkHealthCheck(info.GetHealthCheck()); why != "" {
		return "Task uses invalid health check: " + why
	}
	if len(info.GetResources()) == 0 {
		return "Task uses no resources"
	}
	r := resource.Of(info.GetResources()...)
	switch {
	case duplicateVolume(r) != "":
		return fmt.Sprintf("Task uses duplicate persistence ID: Persistence ID '%s' is not unique", duplicateVolume(r))
	case oneRole(info.GetResources(), acc.role) != "":
		return "Invalid task resources: " + oneRole(info.GetResources(), acc.role)
	case mixedRevocable(r) != "":
		return fmt.Sprintf("Task mixes revocable and non-revocable resources: "+mixedText, mixedRevocable(r))
	}
	if why := checkCommand(info.GetCommand()); why != "" {
		return "Task's `CommandInfo` is invalid: " + why
	}
	if why := checkContainer(info.GetContainer()); why != "" {
		return "Task's `ContainerInfo` is invalid: " + why
	}
	return checkLimits(a, info.GetLimits(), r)
}

func (f *framework) isUnreachable(id TaskID) bool {
	for _, t := range f.unreachable.items {
		if t.GetTaskId().GetValue() == string(id) {
			return true
		}
	}
	return false
}

// checkLimits checks TaskInfo.limits: at least what is requested, infinity included.
func checkLimits(a *agent, limits map[string]*mesos.Value_Scalar, requested resource.Resources) string {
	if len(limits) == 0 {
		return ""
	}
	if !a.caps.Limits {
		return "Agent is not capable of handling task resource limits"
	}
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if name != "cpus" && name != "mem" {
			return "Only cpus and mem may be included in a task's resource limits"
		}
	}
	for _, each := range []struct{ name, word string }{{"cpus", "CPU"}, {"mem", "memory"}} {
		limit, given := limits[each.name]
		switch want := requested.Get(each.name); {
		case !given:
		case want == 0:
			return fmt.Sprintf("When a %s limit is specified, a %s request must also be specified", each.word, each.word)
		case !(resource.FromFloat(limit.GetValue()) >= want): // infinity is the largest amount there is
			return fmt.Sprintf("The %s limit %v must be greater than or equal to the %s request %s", each.word, limit.GetValue(), each.word, want)
		}
	}
	return ""
}

// mixedText names the resource that is both.
const mixedText = "Cannot use both revocable and non-revocable '%s' at the same time"

// mixedRevocable gives a name of which some is revocable and some is not.
func mixedRevocable(r resource.Resources) string {
	if len(r.Revocable()) == 0 {
		return ""
	}
	firm := map[string]bool{}
	for _, each := range r {
		revocable := each.GetRevocable() != nil
		if before, seen := firm[each.GetName()]; seen && before == revocable {
			return each.GetName()
		}
		firm[each.GetName()] = !revocable
	}
	return ""
}

// duplicateVolume gives a persistence id that two volumes of one role have; it is empty
// when there is none. Copies of a shared volume are one.
func duplicateVolume(r resource.Resources) string {
	type key struct{ role, id string }
	var seen map[key]*mesos.Resource
	for _, v := range r {
		if !resource.IsVolume(v) {
			continue
		}
		k := key{resource.RoleOf(v), v.GetDisk().GetPersistence().GetId()}
		if other := seen[k]; other != nil && !(v.Shared != nil && resource.Resources{other}.Contains(resource.Resources{v})) {
			return k.id
		}
		if seen == nil {
			seen = map[key]*mesos.Resource{}
		}
		seen[k] = v
	}
	return ""
}

// overlapping tells whether ranges or sets of the sums have elements in common: the
// amounts of the sum are less than the sum of the amounts then.
func overlapping(sums ...resource.Resources) bool {
	var all resource.Resources
	var apart resource.Quantities
	for _, r := range sums {
		all = all.Add(r)
		apart = apart.Add(r.Quantities())
	}
	joined := all.Quantities()
	return !joined.Equal(&apart)
}
