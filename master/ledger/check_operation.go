package ledger

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// asker is who wants an operation: a framework that accepts an offer, or an operator.
type asker struct {
	f         *framework // nil: an operator
	principal string     // empty: nobody in particular
}

// checkOperation applies Mesos' rules for an operation whose resources are in the
// internal form and valid (mesos-master.md 1.6); the answer is empty or the reason.
func (l *Ledger) checkOperation(a *agent, by asker, op *mesos.Offer_Operation) string {
	named := resource.Mentioned(op)
	switch op.GetType() {
	case mesos.Offer_Operation_RESERVE:
		if why := checkSource(op.GetReserve()); why != "" {
			return why
		}
		return first(oneProvider(op.GetReserve().GetResources()), eachOf(op.GetReserve().GetResources(),
			func(r *mesos.Resource) string { return checkReserve(a, by, r) }))
	case mesos.Offer_Operation_UNRESERVE:
		return first(oneProvider(named), eachOf(named, func(r *mesos.Resource) string {
			switch {
			case !resource.IsDynamic(r):
				return fmt.Sprintf("Resource %s is not dynamically reserved", resource.Text(r))
			case resource.IsVolume(r):
				return fmt.Sprintf("The persistent volume %s cannot be unreserved: destroy the volume first", resource.Text(r))
			}
			return ""
		}))
	case mesos.Offer_Operation_CREATE:
		if why := first(oneProvider(named), eachOf(named, checkPersistent)); why != "" {
			return why
		}
		if id := duplicateVolume(a.total.Checkpointed().Add(resource.Resources(named).Unallocate())); id != "" {
			return fmt.Sprintf("Persistence ID '%s' is not unique", id)
		}
		return eachOf(named, func(r *mesos.Resource) string { return checkCreate(a, by, r) })
	case mesos.Offer_Operation_DESTROY:
		if why := first(oneProvider(named), eachOf(named, checkPersistent)); why != "" {
			return why
		}
		return eachOf(resource.Resources(named).Unallocate(), func(v *mesos.Resource) string { return checkDestroy(a, v) })
	case mesos.Offer_Operation_GROW_VOLUME:
		return checkGrow(a, op.GetGrowVolume())
	case mesos.Offer_Operation_SHRINK_VOLUME:
		return checkShrink(a, op.GetShrinkVolume())
	case mesos.Offer_Operation_CREATE_DISK:
		return first(needsProviders(a), checkCreateDisk(op.GetCreateDisk()))
	case mesos.Offer_Operation_DESTROY_DISK:
		return first(needsProviders(a), checkDestroyDisk(op.GetDestroyDisk().GetSource()))
	}
	return fmt.Sprintf("Operation %s is unknown", op.GetType())
}

func first(reasons ...string) string {
	for _, why := range reasons {
		if why != "" {
			return why
		}
	}
	return ""
}

func eachOf(list []*mesos.Resource, check func(*mesos.Resource) string) string {
	for _, r := range list {
		if why := check(r); why != "" {
			return why
		}
	}
	return ""
}

// oneProvider wants resources of one provider, or all of the agent's own.
func oneProvider(list []*mesos.Resource) string {
	if len(list) == 0 {
		return "The operation names no resources"
	}
	for _, r := range list[1:] {
		switch a, b := list[0].ProviderId, r.ProviderId; {
		case (a == nil) != (b == nil):
			return "Some resources have a resource provider and some do not"
		case a.GetValue() != b.GetValue():
			return fmt.Sprintf("The resources have multiple resource providers: %s, %s", a.GetValue(), b.GetValue())
		}
	}
	return ""
}

// checkSource checks a reservation that replaces another: the same resources, with one
// stack of reservations on each side.
func checkSource(m *mesos.Offer_Operation_Reserve) string {
	source, target := resource.Resources(m.GetSource()), resource.Resources(m.GetResources())
	if len(source) == 0 {
		return ""
	}
	for _, side := range []struct {
		name string
		list resource.Resources
	}{{"source", source}, {"resources", target}} {
		switch {
		case len(side.list) == 0:
			return fmt.Sprintf("Invalid %s: Resource cannot be empty", side.name)
		case !uniform(side.list):
			return fmt.Sprintf("Invalid %s: Mixed reservations are not supported: %s", side.name, side.list)
		}
	}
	from, to := bare(source), bare(target)
	if !from.Equal(to) {
		return fmt.Sprintf("Source and target resources should refer to identical resource quantities: %s vs. %s", from, to)
	}
	return ""
}

func uniform(list resource.Resources) bool {
	for _, r := range list[1:] {
		if len(r.GetReservations()) != len(list[0].GetReservations()) {
			return false
		}
		for i, info := range r.GetReservations() {
			if !proto.Equal(info, list[0].GetReservations()[i]) {
				return false
			}
		}
	}
	return true
}

// bare is the sum without any reservation.
func bare(list resource.Resources) resource.Resources {
	out := make(resource.Resources, len(list))
	for i, r := range list {
		for len(r.GetReservations()) > 0 {
			r = resource.Unreserve(r)
		}
		out[i] = r
	}
	return resource.Resources(nil).Add(out)
}

// reservable checks what every new reservation and volume must keep to on an agent.
func reservable(a *agent, r *mesos.Resource) string {
	role := resource.RoleOf(r)
	switch {
	case !a.caps.HierarchicalRole && strings.Contains(role, "/"):
		return fmt.Sprintf("Resource %s is for the hierarchical role '%s', which an agent without the HIERARCHICAL_ROLE capability cannot keep", resource.Text(r), role)
	case !a.caps.Refinement && len(r.GetReservations()) > 1:
		return fmt.Sprintf("Resource %s has a reservation refinement, which an agent without the RESERVATION_REFINEMENT capability cannot keep", resource.Text(r))
	}
	return ""
}

func checkReserve(a *agent, by asker, r *mesos.Resource) string {
	if !resource.IsDynamic(r) {
		return fmt.Sprintf("Resource %s is not dynamically reserved", resource.Text(r))
	}
	if why := reservable(a, r); why != "" {
		return why
	}
	role := resource.RoleOf(r)
	top := r.GetReservations()[len(r.GetReservations())-1]
	switch {
	case by.principal != "" && top.Principal == nil:
		return fmt.Sprintf("A reserve operation was attempted by principal '%s', but there is a reserved resource in the request with no principal set", by.principal)
	case by.principal != "" && top.GetPrincipal() != by.principal:
		return fmt.Sprintf("A reserve operation was attempted by authenticated principal '%s', which does not match a reserved resource in the request with principal '%s'", by.principal, top.GetPrincipal())
	case by.f == nil && r.AllocationInfo != nil:
		return "A reserve operation was attempted with an allocated resource, but operators reserve only what is not allocated"
	case by.f == nil:
		return ""
	}
	switch given := r.GetAllocationInfo().GetRole(); {
	case given != role:
		return fmt.Sprintf("A reserve operation was attempted for a resource with role '%s', but the resource was allocated to role '%s'", role, given)
	case !by.f.hasRole(role):
		return fmt.Sprintf("A reserve operation was attempted for a resource allocated to role '%s', but the framework only has roles '%s'", role, strings.Join(by.f.roles, ", "))
	}
	return ""
}

// checkPersistent wants a volume that tasks may write.
func checkPersistent(r *mesos.Resource) string {
	switch {
	case r.Disk == nil:
		return fmt.Sprintf("Not a persistent volume: Resource %s does not have DiskInfo", resource.Text(r))
	case !resource.IsVolume(r):
		return "Not a persistent volume: 'persistence' is not set in DiskInfo"
	case r.GetDisk().Volume == nil:
		return "Not a persistent volume: Expecting 'volume' to be set for persistent volume"
	case r.GetDisk().GetVolume().GetMode() == mesos.Volume_RO:
		return "Not a persistent volume: Read-only persistent volume not supported"
	}
	return ""
}

func checkCreate(a *agent, by asker, v *mesos.Resource) string {
	if v.Shared != nil && by.f != nil && !by.f.caps.Shared {
		return fmt.Sprintf("Create volume operation for '%s' has been attempted by framework '%s' with no SHARED_RESOURCES capability", resource.Text(v), by.f.id)
	}
	if why := reservable(a, v); why != "" {
		return why
	}
	p := v.GetDisk().GetPersistence()
	switch {
	case by.principal != "" && p.Principal == nil:
		return fmt.Sprintf("Create volume operation attempted by principal '%s', but there is a volume in the operation with no principal set in 'disk.persistence'", by.principal)
	case by.principal != "" && p.GetPrincipal() != by.principal:
		return fmt.Sprintf("Create volume operation attempted by authenticated principal '%s', which does not match a volume in the operation with principal '%s' set in 'disk.persistence'", by.principal, p.GetPrincipal())
	case by.f == nil && v.AllocationInfo != nil:
		return "A create volume operation was attempted with an allocated resource, but operators create volumes only from what is not allocated"
	}
	return ""
}

func checkDestroy(a *agent, v *mesos.Resource) string {
	one := resource.Resources{v}
	if v.ProviderId == nil && !a.total.Contains(one) {
		return "Persistent volumes not found"
	}
	for _, used := range a.used {
		if used.Unallocate().Contains(one) {
			return "Persistent volumes in use"
		}
	}
	return ""
}

func needsProviders(a *agent) string {
	if !a.caps.ResourceProvider {
		return fmt.Sprintf("Not supported on agent %s because it does not have RESOURCE_PROVIDER capability", a.id)
	}
	return ""
}

func (f *framework) hasRole(role string) bool {
	for _, each := range f.roles {
		if each == role {
			return true
		}
	}
	return false
}
