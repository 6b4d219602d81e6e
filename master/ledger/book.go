package ledger

import (
	"fmt"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// maxResources bounds the resources in one list from outside: sums cost its square.
const maxResources = 1000

// checkResources refuses what the sums cannot hold; the answer is the reason.
func checkResources(list []*mesos.Resource) string {
	if len(list) > maxResources {
		return fmt.Sprintf("%d resources are more than %d", len(list), maxResources)
	}
	if err := resource.Validate(list); err != nil {
		return err.Error()
	}
	return ""
}

// allocated is the sum of a wire list, in either format, allocated to role.
func allocated(list []*mesos.Resource, role string) resource.Resources {
	return resource.Of(list...).Allocate(role)
}

// oneRole refuses resources that name another role than the offers'.
func oneRole(list []*mesos.Resource, role string) string {
	for _, r := range list {
		if given := r.GetAllocationInfo().GetRole(); given != "" && given != role {
			return fmt.Sprintf("The resources are allocated to role '%s', the offers to role '%s'", given, role)
		}
	}
	return ""
}

// inFormat gives resources in the form a peer reads: with reservations (refinement), or
// with role and reservation. Refined ones never go to peers without refinement.
func inFormat(r resource.Resources, refinement bool) []*mesos.Resource {
	if refinement {
		return r
	}
	old, _ := resource.Downgrade(r)
	return old
}

// agentTotal is what an agent has: its own resources with the checkpointed dynamic
// reservations and volumes in place of the plain resources they were made from.
func agentTotal(own, checkpointed []*mesos.Resource) resource.Resources {
	total := resource.Of(own...).Unallocate()
	for _, r := range resource.Of(checkpointed...).Unallocate() {
		plain := resource.Of(origin(r))
		if total.Contains(plain) {
			total = total.Subtract(plain).Add(resource.Resources{r})
		}
	}
	return total
}

// origin is the resource as it was before dynamic reservations and persistence.
func origin(r *mesos.Resource) *mesos.Resource {
	out := &mesos.Resource{ProviderId: r.ProviderId, Name: r.Name, Type: r.Type, Scalar: r.Scalar,
		Ranges: r.Ranges, Set: r.Set, Revocable: r.Revocable}
	if source := r.GetDisk().GetSource(); source != nil {
		out.Disk = &mesos.Resource_DiskInfo{Source: source}
	}
	for _, each := range r.GetReservations() {
		if each.GetType() == mesos.Resource_ReservationInfo_STATIC {
			out.Reservations = append(out.Reservations, each)
		}
	}
	return out
}
