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
	for _, r := range list {
		if why := checkDisk(r); why != "" {
			return "Invalid DiskInfo: " + why
		}
		if resource.IsDynamic(r) && r.Revocable != nil {
			return fmt.Sprintf("Invalid ReservationInfo: Dynamically reserved resource %s cannot be created from revocable resources", resource.Text(r))
		}
	}
	return ""
}

// checkDisk refuses volumes that nobody could keep.
func checkDisk(r *mesos.Resource) string {
	d := r.GetDisk()
	switch {
	case d == nil:
	case d.Persistence != nil:
		switch {
		case r.Revocable != nil:
			return "Persistent volumes cannot be created from revocable resources"
		case resource.RoleOf(r) == resource.AnyRole:
			return "Persistent volumes cannot be created from unreserved resources"
		case d.Volume == nil:
			return "Expecting 'volume' to be set for persistent volume"
		case d.GetVolume().HostPath != nil:
			return "Expecting 'host_path' to be unset for persistent volume"
		}
		if why := validID(d.GetPersistence().GetId()); why != "" {
			return "Invalid persistence ID for persistent volume: " + why
		}
	case d.Volume != nil:
		return "Non-persistent volume not supported"
	case d.Source == nil:
		return "DiskInfo is set but empty"
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

// agentTotal is what an agent has: its own resources, with the checkpointed dynamic
// reservations and volumes in place of what they were made from.
func agentTotal(own, checkpointed []*mesos.Resource) resource.Resources {
	return resource.Of(own...).Unallocate().WithCheckpointed(resource.Of(checkpointed...).Unallocate())
}
