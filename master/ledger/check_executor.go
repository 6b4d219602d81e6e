package ledger

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// checkExecutorForm applies the rules that need no book, in Mesos' order; its resources
// are valid already.
func checkExecutorForm(acc *acceptance, e *mesos.ExecutorInfo) string {
	switch c := e.GetContainer(); e.GetType() {
	case mesos.ExecutorInfo_DEFAULT:
		switch {
		case e.Command != nil:
			return "'ExecutorInfo.command' must not be set for 'DEFAULT' executor"
		case c != nil && c.GetType() != mesos.ContainerInfo_MESOS:
			return "'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor"
		case c.GetMesos().GetImage() != nil:
			return "'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor"
		}
	case mesos.ExecutorInfo_CUSTOM:
		if e.Command == nil {
			return "'ExecutorInfo.command' must be set for 'CUSTOM' executor"
		}
	}
	if why := validID(e.GetExecutorId().GetValue()); why != "" {
		return why
	}
	if e.GetShutdownGracePeriod().GetNanoseconds() < 0 {
		return "ExecutorInfo's 'shutdown_grace_period' must be non-negative"
	}
	if why := checkCommand(e.GetCommand()); why != "" {
		return "Executor's `CommandInfo` is invalid: " + why
	}
	if why := checkContainer(e.GetContainer()); why != "" {
		return "Executor's `ContainerInfo` is invalid: " + why
	}
	switch id := e.GetFrameworkId().GetValue(); {
	case e.FrameworkId == nil:
		return "'ExecutorInfo.framework_id' must be set"
	case id != string(acc.f.id):
		return fmt.Sprintf("ExecutorInfo has an invalid FrameworkID (Actual: %s vs Expected: %s)", id, acc.f.id)
	}
	r := resource.Of(e.GetResources()...)
	switch {
	case duplicateVolume(r) != "":
		return fmt.Sprintf("Executor uses duplicate persistence ID: Persistence ID '%s' is not unique", duplicateVolume(r))
	case oneRole(e.GetResources(), acc.role) != "":
		return "Invalid executor resources: " + oneRole(e.GetResources(), acc.role)
	case mixedRevocable(r) != "":
		return fmt.Sprintf("Executor mixes revocable and non-revocable resources: "+mixedText, mixedRevocable(r))
	}
	return ""
}

// checkKnownExecutor compares with an executor of the same id on the agent: only the same
// again may be used. fresh: there is none.
func checkKnownExecutor(acc *acceptance, e *mesos.ExecutorInfo) (r resource.Resources, fresh bool, why string) {
	r = allocated(e.GetResources(), acc.role)
	known := acc.f.executors[executorKey{acc.a.id, ExecutorID(e.GetExecutorId().GetValue())}]
	if known == nil {
		return r, true, ""
	}
	if !known.resources.Equal(r) || !equalBut(e, known.info) {
		return r, false, fmt.Sprintf("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID '%s'", e.GetExecutorId().GetValue())
	}
	return r, false, ""
}

// checkCustomExecutor adds what a LAUNCH demands of an executor.
func checkCustomExecutor(e *mesos.ExecutorInfo, r resource.Resources) string {
	switch {
	case e.Type != nil && e.GetType() != mesos.ExecutorInfo_CUSTOM:
		return "'ExecutorInfo.type' must be 'CUSTOM'"
	case e.Command == nil:
		return "'ExecutorInfo.command' must be set"
	case len(r.Shared()) > 0:
		return fmt.Sprintf("Executor resources %s should not contain any shared resources", r)
	}
	return checkExecutorCgroups(e)
}

func checkExecutorCgroups(e *mesos.ExecutorInfo) string {
	if s := e.GetContainer().GetLinuxInfo(); s != nil && s.ShareCgroups != nil && s.GetShareCgroups() {
		return "The 'share_cgroups' field cannot be set to 'true' on executor containers"
	}
	return ""
}

// sameExecutor compares two descriptions of one message.
func sameExecutor(a, b *mesos.ExecutorInfo) bool {
	return resource.Of(a.GetResources()...).Unallocate().Equal(resource.Of(b.GetResources()...).Unallocate()) && equalBut(a, b)
}

// equalBut compares all but the resources, whose form and order may differ.
func equalBut(a, b *mesos.ExecutorInfo) bool {
	c := proto.Clone(a).(*mesos.ExecutorInfo)
	c.Resources = b.GetResources()
	return proto.Equal(c, b)
}
