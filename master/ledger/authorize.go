package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// What frameworks and agents may do is asked here, in the order in which Mesos asks: the
// rules are a value in Config, so that the same events still give the same effects.
// Operators are asked by the shell, before their call becomes an event. Each function
// answers with nothing, or with the sentence for who asked (mesos-master.md 8.3).

// maySubscribe asks for each role of a framework.
func (l *Ledger) maySubscribe(info *mesos.FrameworkInfo) string {
	roles := frameworkRoles(info)
	if l.cfg.ACL.AllowsAll(info.GetPrincipal(), acl.RegisterFramework, roles) {
		return ""
	}
	roles = slices.Sorted(slices.Values(roles))
	return fmt.Sprintf("Not authorized to register framework %s with roles { %s }", info.GetId().GetValue(), strings.Join(roles, ", "))
}

// mayLaunch asks for the user of a task.
func (l *Ledger) mayLaunch(f *framework, task *mesos.TaskInfo) string {
	need := acl.Launch(task, f.info)
	if l.cfg.ACL.Allows(f.info.GetPrincipal(), need.Action, need.Object) {
		return ""
	}
	return fmt.Sprintf("Principal '%s' no authorized to launch task %s of framework %s under user '%s'",
		f.info.GetPrincipal(), task.GetTaskId().GetValue(), f.id, need.Object)
}

// mayLaunchAll asks for each task of a group; the first that may not run is the group's.
func (l *Ledger) mayLaunchAll(f *framework, tasks []*mesos.TaskInfo) string {
	for _, task := range tasks {
		if why := l.mayLaunch(f, task); why != "" {
			return fmt.Sprintf("Task '%s' is not authorized: %s", task.GetTaskId().GetValue(), why)
		}
	}
	return ""
}

// mayOperate asks for an operation of an ACCEPT on reservations, volumes or disks.
func (l *Ledger) mayOperate(f *framework, op *mesos.Offer_Operation) string {
	n, ok := l.cfg.ACL.Missing(f.info.GetPrincipal(), acl.Operation(op))
	if ok {
		return ""
	}
	object := "on ANY object"
	if n.Object != "" {
		object = fmt.Sprintf("on object '%s'", n.Object)
	}
	return fmt.Sprintf("Principal '%s' no authorized to perform %s: action %s %s", f.info.GetPrincipal(), op.GetType(), n.Action, object)
}

// mayJoin asks for an agent and the roles that its resources are reserved for.
func (l *Ledger) mayJoin(principal string, info *messages.SlaveInfo) string {
	if _, ok := l.cfg.ACL.Missing(principal, acl.Join(info.GetResources())); ok {
		return ""
	}
	who := "without a principal"
	if principal != "" {
		who = fmt.Sprintf("with principal '%s'", principal)
	}
	return "Not authorized to register agent providing its resources " + who
}
