package resource

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// sameKind compares what must agree for two unshared resources to be one kind.
func sameKind(a, b *mesos.Resource) bool {
	if a.GetName() != b.GetName() || a.GetType() != b.GetType() ||
		(a.Revocable == nil) != (b.Revocable == nil) ||
		(a.Disk == nil) != (b.Disk == nil) ||
		(a.AllocationInfo == nil) != (b.AllocationInfo == nil) ||
		(a.ProviderId == nil) != (b.ProviderId == nil) ||
		len(a.Reservations) != len(b.Reservations) {
		return false
	}
	if a.AllocationInfo.GetRole() != b.AllocationInfo.GetRole() ||
		a.ProviderId.GetValue() != b.ProviderId.GetValue() {
		return false
	}
	for i, r := range a.Reservations {
		if !sameReservation(r, b.Reservations[i]) {
			return false
		}
	}
	return a.Disk == nil || a.Disk == b.Disk || proto.Equal(a.Disk, b.Disk)
}

func sameReservation(a, b *mesos.Resource_ReservationInfo) bool {
	if a == b {
		return true
	}
	if a.GetRole() != b.GetRole() || a.GetType() != b.GetType() ||
		(a.Principal == nil) != (b.Principal == nil) || a.GetPrincipal() != b.GetPrincipal() {
		return false
	}
	return (a.Labels == nil) == (b.Labels == nil) && sameLabels(a.Labels.GetLabels(), b.Labels.GetLabels())
}

// sameLabels compares labels whatever their order.
func sameLabels(a, b []*mesos.Label) bool {
	if len(a) != len(b) {
		return false
	}
	count := make(map[[2]string]int, len(a))
	for _, l := range a {
		count[[2]string{l.GetKey(), l.GetValue()}]++
	}
	for _, l := range b {
		k := [2]string{l.GetKey(), l.GetValue()}
		if count[k]--; count[k] < 0 {
			return false
		}
	}
	return true
}

// exclusive tells whether the disk can only be held whole.
func exclusive(r *mesos.Resource) bool {
	if r.Disk == nil {
		return false
	}
	if r.Disk.Persistence != nil {
		return true
	}
	switch s := r.Disk.Source; s.GetType() {
	case mesos.Resource_DiskInfo_Source_MOUNT, mesos.Resource_DiskInfo_Source_BLOCK:
		return true
	case mesos.Resource_DiskInfo_Source_RAW:
		return s.Id != nil
	}
	return false
}

// addable tells whether the two can be written as one entry.
func addable(a, b *mesos.Resource) bool {
	return a.Shared == nil && b.Shared == nil && sameKind(a, b) && !exclusive(a)
}

// subtractable tells whether b draws on a.
func subtractable(a, b *mesos.Resource) bool {
	if (a.Shared == nil) != (b.Shared == nil) || !sameKind(a, b) {
		return false
	}
	return (a.Shared == nil && !exclusive(a)) || (covers(a, b) && covers(b, a))
}

// covers tells whether a has at least b, for resources of the same kind.
func covers(a, b *mesos.Resource) bool {
	switch a.GetType() {
	case mesos.Value_SCALAR:
		return FromFloat(a.GetScalar().GetValue()) >= FromFloat(b.GetScalar().GetValue())
	case mesos.Value_RANGES:
		var one, two [16]Range // stack room for what fits
		return appendRanges(one[:0], a.GetRanges()).Contains(appendRanges(two[:0], b.GetRanges()))
	case mesos.Value_SET:
		return !slices.ContainsFunc(b.GetSet().GetItem(), func(s string) bool {
			return !slices.Contains(a.GetSet().GetItem(), s)
		})
	}
	return false
}

func isEmpty(r *mesos.Resource) bool {
	switch r.GetType() {
	case mesos.Value_SCALAR:
		return FromFloat(r.GetScalar().GetValue()) == 0
	case mesos.Value_RANGES:
		return len(r.GetRanges().GetRange()) == 0
	case mesos.Value_SET:
		return len(r.GetSet().GetItem()) == 0
	}
	return false
}

// plus merges two addable resources.
func plus(a, b *mesos.Resource) *mesos.Resource {
	out := shallow(a)
	switch a.GetType() {
	case mesos.Value_SCALAR:
		out.Scalar = FromFloat(a.GetScalar().GetValue()).plus(FromFloat(b.GetScalar().GetValue())).Scalar()
	case mesos.Value_RANGES:
		out.Ranges = RangesOf(a.GetRanges()).Add(RangesOf(b.GetRanges())).Wire()
	case mesos.Value_SET:
		items := slices.Clone(a.GetSet().GetItem())
		for _, s := range b.GetSet().GetItem() {
			if !slices.Contains(items, s) {
				items = append(items, s)
			}
		}
		out.Set = &mesos.Value_Set{Item: items}
	}
	return out
}

// minus takes b from a; nil when nothing is left, as always with exclusive resources.
func minus(a, b *mesos.Resource) *mesos.Resource {
	if a.Shared != nil || exclusive(a) {
		return nil
	}
	switch a.GetType() {
	case mesos.Value_SCALAR:
		left := FromFloat(a.GetScalar().GetValue()) - FromFloat(b.GetScalar().GetValue())
		if left <= 0 {
			return nil
		}
		out := shallow(a)
		out.Scalar = left.Scalar()
		return out
	case mesos.Value_RANGES:
		left := RangesOf(a.GetRanges()).Subtract(RangesOf(b.GetRanges()))
		if len(left) == 0 {
			return nil
		}
		out := shallow(a)
		out.Ranges = left.Wire()
		return out
	case mesos.Value_SET:
		left := slices.DeleteFunc(slices.Clone(a.GetSet().GetItem()), func(s string) bool {
			return slices.Contains(b.GetSet().GetItem(), s)
		})
		if len(left) == 0 {
			return nil
		}
		out := shallow(a)
		out.Set = &mesos.Value_Set{Item: left}
		return out
	}
	return nil
}

// shallow copies a resource's own fields; what they point to is shared. A test keeps
// the list complete.
func shallow(r *mesos.Resource) *mesos.Resource {
	out := &mesos.Resource{
		ProviderId: r.ProviderId, Name: r.Name, Type: r.Type,
		Scalar: r.Scalar, Ranges: r.Ranges, Set: r.Set,
		Role: r.Role, AllocationInfo: r.AllocationInfo,
		Reservation: r.Reservation, Reservations: r.Reservations,
		Disk: r.Disk, Revocable: r.Revocable, Shared: r.Shared,
	}
	if u := r.ProtoReflect().GetUnknown(); len(u) > 0 {
		out.ProtoReflect().SetUnknown(u)
	}
	return out
}
