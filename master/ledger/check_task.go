package ledger

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// wants is what a valid task takes from the offer.
type wants struct {
	task        resource.Resources
	executor    resource.Resources
	newExecutor bool
}

// checkTask applies Mesos' task rules in Mesos' order (mesos-master.md 1.6); the text
// is empty for a good task, else what goes into its TASK_ERROR.
func (l *Ledger) checkTask(acc *acceptance, op *mesos.Offer_Operation, info *mesos.TaskInfo) (w wants, why string) {
	f, a := acc.f, acc.a
	id := info.GetTaskId().GetValue()
	if op.Id != nil {
		return w, "Operation 'id' must not be set for a LAUNCH"
	}
	if why := validID(id); why != "" {
		return w, why
	}
	if f.tasks[TaskID(id)] != nil || f.isUnreachable(TaskID(id)) {
		return w, "Task has duplicate ID: " + id
	}
	if on := info.GetAgentId().GetValue(); on != string(a.id) {
		return w, fmt.Sprintf("Task uses invalid agent %s while agent %s is expected", on, a.id)
	}
	for _, check := range []func(*mesos.TaskInfo) string{checkTimes, checkChecks, checkTaskResources, checkEnvironments, checkContainer} {
		if why := check(info); why != "" {
			return w, why
		}
	}
	if why := checkLimits(a, info); why != "" {
		return w, why
	}
	if (info.Command == nil) == (info.Executor == nil) {
		return w, "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
	}
	if why := oneRole(info.GetResources(), acc.role); why != "" {
		return w, why
	}
	w.task = allocated(info.GetResources(), acc.role)
	total := w.task
	if info.Executor != nil {
		var err string
		if w.executor, w.newExecutor, err = l.checkExecutor(acc, info.Executor); err != "" {
			return w, err
		}
		if w.newExecutor {
			total = total.Add(w.executor)
		}
	}
	if !acc.remaining.Contains(total) {
		return w, fmt.Sprintf("Total resources %s required by task and its executor is more than available %s", total, acc.remaining)
	}
	return w, ""
}

func (f *framework) isUnreachable(id TaskID) bool {
	for _, t := range f.unreachable.items {
		if t.GetTaskId().GetValue() == string(id) {
			return true
		}
	}
	return false
}

func (l *Ledger) checkExecutor(acc *acceptance, e *mesos.ExecutorInfo) (r resource.Resources, fresh bool, why string) {
	switch {
	case e.GetType() == mesos.ExecutorInfo_DEFAULT:
		return r, false, "'ExecutorInfo.type' must be 'CUSTOM' for a LAUNCH"
	case e.Command == nil:
		return r, false, "'ExecutorInfo.command' must be set for 'CUSTOM' executor"
	case e.GetFrameworkId().GetValue() != string(acc.f.id):
		return r, false, fmt.Sprintf("ExecutorInfo has an invalid FrameworkID (Actual: %s vs Expected: %s)", e.GetFrameworkId().GetValue(), acc.f.id)
	case e.GetShutdownGracePeriod().GetNanoseconds() < 0:
		return r, false, "ExecutorInfo's 'shutdown_grace_period' must be non-negative"
	}
	if why := validID(e.GetExecutorId().GetValue()); why != "" {
		return r, false, why
	}
	if why := checkResources(e.GetResources()); why != "" {
		return r, false, "Executor uses invalid resources: " + why
	}
	if why := oneRole(e.GetResources(), acc.role); why != "" {
		return r, false, why
	}
	r = allocated(e.GetResources(), acc.role)
	known := acc.f.executors[executorKey{acc.a.id, ExecutorID(e.GetExecutorId().GetValue())}]
	if known == nil {
		return r, true, ""
	}
	same := proto.Clone(e).(*mesos.ExecutorInfo)
	same.Resources = known.info.Resources
	if !proto.Equal(same, known.info) || !known.resources.Equal(r) {
		return r, false, fmt.Sprintf("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID '%s'", e.GetExecutorId().GetValue())
	}
	return r, false, ""
}

func checkTimes(info *mesos.TaskInfo) string {
	if info.GetKillPolicy().GetGracePeriod().GetNanoseconds() < 0 {
		return "Task's 'kill_policy.grace_period' must be non-negative"
	}
	if info.GetMaxCompletionTime().GetNanoseconds() < 0 {
		return "Task's 'max_completion_time' must be non-negative"
	}
	return ""
}

func checkChecks(info *mesos.TaskInfo) string {
	if c := info.GetCheck(); c != nil {
		switch c.GetType() {
		case mesos.CheckInfo_COMMAND:
			if c.Command == nil || c.Http != nil || c.Tcp != nil {
				return "Task uses invalid check: Expecting 'command' (and nothing else) to be set for COMMAND check"
			}
		case mesos.CheckInfo_HTTP:
			if c.Http == nil || c.Command != nil || c.Tcp != nil {
				return "Task uses invalid check: Expecting 'http' (and nothing else) to be set for HTTP check"
			}
		case mesos.CheckInfo_TCP:
			if c.Tcp == nil || c.Command != nil || c.Http != nil {
				return "Task uses invalid check: Expecting 'tcp' (and nothing else) to be set for TCP check"
			}
		default:
			return "Task uses invalid check: CheckInfo must specify 'type'"
		}
		if why := seconds("Task uses invalid check", c.DelaySeconds, c.IntervalSeconds, c.TimeoutSeconds); why != "" {
			return why
		}
	}
	h := info.GetHealthCheck()
	if h == nil {
		return ""
	}
	switch h.GetType() {
	case mesos.HealthCheck_COMMAND:
		if h.Command == nil || h.Http != nil || h.Tcp != nil {
			return "Task uses invalid health check: Expecting 'command' (and nothing else) to be set for COMMAND health check"
		}
	case mesos.HealthCheck_HTTP:
		if h.Http == nil || h.Command != nil || h.Tcp != nil {
			return "Task uses invalid health check: Expecting 'http' (and nothing else) to be set for HTTP health check"
		}
		if s := h.GetHttp().GetScheme(); s != "" && s != "http" && s != "https" {
			return fmt.Sprintf("Task uses invalid health check: Unsupported HTTP health check scheme: '%s'", s)
		}
	case mesos.HealthCheck_TCP:
		if h.Tcp == nil || h.Command != nil || h.Http != nil {
			return "Task uses invalid health check: Expecting 'tcp' (and nothing else) to be set for TCP health check"
		}
	default:
		return "Task uses invalid health check: HealthCheck must specify 'type'"
	}
	return seconds("Task uses invalid health check", h.DelaySeconds, h.GracePeriodSeconds, h.IntervalSeconds, h.TimeoutSeconds)
}

func seconds(what string, values ...*float64) string {
	for _, v := range values {
		if v != nil && !(*v >= 0 && *v < maxSeconds) {
			return fmt.Sprintf("%s: a time of %v seconds is not a non-negative duration", what, *v)
		}
	}
	return ""
}

func checkTaskResources(info *mesos.TaskInfo) string {
	if len(info.GetResources()) == 0 {
		return "Task uses no resources"
	}
	if why := checkResources(info.GetResources()); why != "" {
		return "Task uses invalid resources: " + why
	}
	return ""
}

func checkEnvironments(info *mesos.TaskInfo) string {
	for _, command := range []*mesos.CommandInfo{info.GetCommand(), info.GetExecutor().GetCommand()} {
		for _, v := range command.GetEnvironment().GetVariables() {
			secret := v.GetType() == mesos.Environment_Variable_SECRET
			switch {
			case secret && (v.Secret == nil || v.Value != nil):
				return fmt.Sprintf("Environment variable '%s' of type 'SECRET' must have a secret and no value set", v.GetName())
			case !secret && (v.Value == nil || v.Secret != nil):
				return fmt.Sprintf("Environment variable '%s' of type 'VALUE' must have a value and no secret set", v.GetName())
			}
		}
	}
	return ""
}

func checkContainer(info *mesos.TaskInfo) string {
	c := info.GetContainer()
	if c != nil && c.GetType() == mesos.ContainerInfo_DOCKER {
		if c.Docker == nil {
			return "Task's ContainerInfo is invalid: DockerInfo 'docker' is not set for DOCKER typed ContainerInfo"
		}
		for _, p := range c.GetDocker().GetParameters() {
			if p.GetKey() == "name" {
				return "Task's ContainerInfo is invalid: Parameter in DockerInfo must not be 'name'"
			}
		}
	}
	return ""
}

func checkLimits(a *agent, info *mesos.TaskInfo) string {
	if len(info.GetLimits()) == 0 {
		return ""
	}
	if !a.caps.Limits {
		return "The agent does not have the TASK_RESOURCE_LIMITS capability that 'limits' need"
	}
	for name, limit := range info.GetLimits() {
		if name != "cpus" && name != "mem" {
			return fmt.Sprintf("Limits can only be set for cpus and mem, not for '%s'", name)
		}
		requested := 0.0
		for _, r := range info.GetResources() {
			if r.GetName() == name {
				requested += r.GetScalar().GetValue()
			}
		}
		switch {
		case requested == 0:
			return fmt.Sprintf("When a %s limit is specified, a %s request must also be specified", name, name)
		case !(limit.GetValue() >= requested):
			return fmt.Sprintf("The %s limit %v is less than the request %v", name, limit.GetValue(), requested)
		}
	}
	return ""
}
