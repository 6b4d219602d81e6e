package lifecycle

import (
	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// unauthorized says which task a framework may not run as its user (mesos-agent.md 11),
// or "". The master has asked already; this agent's rules may be stricter.
func (a *Agent) unauthorized(f *mesos.FrameworkInfo, tasks ...*mesos.TaskInfo) string {
	for _, t := range tasks {
		need := acl.Launch(t, f)
		if !a.cfg.Rules.Allows(f.GetPrincipal(), need.Action, need.Object) {
			return "Task '" + t.GetTaskId().GetValue() + "' is not authorized to launch as user '" + need.Object + "'"
		}
	}
	return ""
}
