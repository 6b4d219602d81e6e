package resource

import (
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// AnyRole is the role name of what is not reserved.
const AnyRole = "*"

// RoleOf is the role a resource is reserved to, the innermost one of a stack; AnyRole
// when it is not reserved. It reads both formats.
func RoleOf(r *mesos.Resource) string {
	if n := len(r.GetReservations()); n > 0 {
		return r.Reservations[n-1].GetRole()
	}
	return r.GetRole() // its declared default is "*"
}

// IsDynamic tells whether the innermost reservation was made at run time.
func IsDynamic(r *mesos.Resource) bool {
	if n := len(r.GetReservations()); n > 0 {
		return r.Reservations[n-1].GetType() == mesos.Resource_ReservationInfo_DYNAMIC
	}
	return r.GetReservation() != nil
}

// IsVolume tells whether the resource is a persistent volume.
func IsVolume(r *mesos.Resource) bool { return r.GetDisk().GetPersistence() != nil }

// Unreserved is what any role may use.
func (rs Resources) Unreserved() Resources {
	return rs.Filter(func(r *mesos.Resource) bool { return RoleOf(r) == AnyRole })
}

// Reserved is what is reserved to whatever role.
func (rs Resources) Reserved() Resources {
	return rs.Filter(func(r *mesos.Resource) bool { return RoleOf(r) != AnyRole })
}

// ReservedTo is what is reserved to exactly this role.
func (rs Resources) ReservedTo(role string) Resources {
	return rs.Filter(func(r *mesos.Resource) bool { return role != AnyRole && RoleOf(r) == role })
}

// Allocatable is what may be offered to a role: unreserved, or reserved to it or to a
// role above it.
func (rs Resources) Allocatable(role string) Resources {
	return rs.Filter(func(r *mesos.Resource) bool {
		held := RoleOf(r)
		return held == AnyRole || held == role || IsSubrole(role, held)
	})
}

// AllocatedTo is what carries an allocation to exactly this role.
func (rs Resources) AllocatedTo(role string) Resources {
	return rs.Filter(func(r *mesos.Resource) bool {
		return r.GetAllocationInfo() != nil && r.GetAllocationInfo().GetRole() == role
	})
}

// Revocable is what may be taken back at any time.
func (rs Resources) Revocable() Resources {
	return rs.Filter(func(r *mesos.Resource) bool { return r.GetRevocable() != nil })
}

// NonRevocable is the rest.
func (rs Resources) NonRevocable() Resources {
	return rs.Filter(func(r *mesos.Resource) bool { return r.GetRevocable() == nil })
}

// Roles lists the roles with reservations, in order of first appearance.
func (rs Resources) Roles() []string {
	var roles []string
	seen := map[string]bool{AnyRole: true}
	for _, r := range rs {
		if role := RoleOf(r); !seen[role] {
			seen[role] = true
			roles = append(roles, role)
		}
	}
	return roles
}

// Allocate marks everything as allocated to the role.
func (rs Resources) Allocate(role string) Resources {
	info := &mesos.Resource_AllocationInfo{Role: &role}
	return rs.rewrite(func(r *mesos.Resource) *mesos.Resource {
		if r.AllocationInfo != nil && r.AllocationInfo.GetRole() == role {
			return r
		}
		out := shallow(r)
		out.AllocationInfo = info
		return out
	})
}

// Unallocate takes all allocation marks off, as agent totals need.
func (rs Resources) Unallocate() Resources {
	return rs.rewrite(func(r *mesos.Resource) *mesos.Resource {
		if r.AllocationInfo == nil {
			return r
		}
		out := shallow(r)
		out.AllocationInfo = nil
		return out
	})
}

// rewrite maps every entry and sums again, since entries may have become one kind.
func (rs Resources) rewrite(f func(*mesos.Resource) *mesos.Resource) Resources {
	out := make(Resources, len(rs))
	for i, r := range rs {
		out[i] = f(r)
	}
	return Resources(nil).Add(out)
}

// IsSubrole tells whether role lies strictly below parent: "a/b" below "a".
func IsSubrole(role, parent string) bool {
	return len(role) > len(parent) && strings.HasPrefix(role, parent) && role[len(parent)] == '/'
}
