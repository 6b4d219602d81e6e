package resource

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Resources is a sum of resources in normal form: post-refinement, no empty entries,
// no two entries that could be one. Get one from Of, Parse or an operation; as a slice
// it may stand in any message field as it is. A shared volume appears once per use.
// All operations give new values and leave their operands alone.
type Resources []*mesos.Resource

// Of sums any resources, in either format; pass a message's field with "...". It does
// not validate: what Validate refuses gives an unspecified sum.
func Of(rs ...*mesos.Resource) Resources {
	return Resources(nil).Add(Upgrade(rs))
}

// Scalar makes one unreserved scalar resource, for sums built in code.
func Scalar(name string, amount Fixed) *mesos.Resource {
	return &mesos.Resource{Name: &name, Type: mesos.Value_SCALAR.Enum(), Scalar: amount.Scalar()}
}

// Ports makes one unreserved "ports" resource.
func Ports(ranges Ranges) *mesos.Resource {
	return &mesos.Resource{Name: proto.String("ports"), Type: mesos.Value_RANGES.Enum(), Ranges: ranges.Wire()}
}

// Add is the sum. Only resources of the same identity merge: same name, type, allocation,
// reservation stack, disk, revocability and provider; exclusive disks, persistent
// volumes and shared resources stay apart.
func (rs Resources) Add(others Resources) Resources {
	out := slices.Clip(rs)
	owned := false // out's array is ours to write
	for _, o := range others {
		if isEmpty(o) {
			continue
		}
		i := slices.IndexFunc(out, func(r *mesos.Resource) bool { return addable(r, o) })
		if i < 0 {
			out = append(out, o)
			owned = owned || len(out) > len(rs)
			continue
		}
		if !owned {
			out, owned = slices.Clone(out), true
		}
		out[i] = plus(out[i], o)
	}
	return out
}

// Subtract takes others away. What rs has less of than others is gone, never negative;
// what it does not have at all is passed over. Ask Contains first where that matters.
func (rs Resources) Subtract(others Resources) Resources {
	out := slices.Clone(rs)
	for _, o := range others {
		i := slices.IndexFunc(out, func(r *mesos.Resource) bool { return subtractable(r, o) })
		if i < 0 || isEmpty(o) {
			continue
		}
		if left := minus(out[i], o); left != nil {
			out[i] = left
			continue
		}
		out = slices.Delete(out, i, i+1)
	}
	return out
}

// Contains tells whether others could be subtracted without anything missing.
func (rs Resources) Contains(others Resources) bool {
	if mayOverlap(others) {
		return rs.containsInTurn(others)
	}
	for _, o := range others {
		if isEmpty(o) {
			continue
		}
		if !slices.ContainsFunc(rs, func(r *mesos.Resource) bool { return subtractable(r, o) && covers(r, o) }) {
			return false
		}
	}
	return true
}

// mayOverlap tells whether two of the entries draw on the same resource. Sums in
// normal form say no except for equal exclusive or shared entries.
func mayOverlap(rs Resources) bool {
	for i, a := range rs {
		for _, b := range rs[i+1:] {
			if a.GetName() == b.GetName() && subtractable(a, b) {
				return true
			}
		}
	}
	return false
}

func (rs Resources) containsInTurn(others Resources) bool {
	left := rs
	for _, o := range others {
		if !left.Contains(Resources{o}) {
			return false
		}
		left = left.Subtract(Resources{o})
	}
	return true
}

// Equal tells whether both are the same sum, whatever the order.
func (rs Resources) Equal(o Resources) bool {
	return len(rs) == len(o) && rs.Contains(o) && o.Contains(rs)
}

// Get is the total of a scalar by name over all roles and kinds.
func (rs Resources) Get(name string) Fixed {
	var sum Fixed
	for _, r := range rs {
		if r.GetType() == mesos.Value_SCALAR && r.GetName() == name {
			sum = sum.plus(FromFloat(r.GetScalar().GetValue()))
		}
	}
	return sum
}

// Ports is the union of all "ports" ranges.
func (rs Resources) Ports() Ranges {
	var all Ranges
	for _, r := range rs {
		if r.GetType() == mesos.Value_RANGES && r.GetName() == "ports" {
			all = all.Add(RangesOf(r.GetRanges()))
		}
	}
	return all
}

// Filter keeps the entries for which keep says yes.
func (rs Resources) Filter(keep func(*mesos.Resource) bool) Resources {
	var out Resources
	for _, r := range rs {
		if keep(r) {
			out = append(out, r)
		}
	}
	return out
}

// String prints the sum as Mesos does in logs and answers:
// "cpus:2; mem(reservations: [(STATIC,prod)]):1024; ports:[31000-32000]", "{}" when empty.
func (rs Resources) String() string {
	if len(rs) == 0 {
		return "{}"
	}
	parts := make([]string, len(rs))
	for i, r := range rs {
		parts[i] = Text(r)
	}
	return strings.Join(parts, "; ")
}
