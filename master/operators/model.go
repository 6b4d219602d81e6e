package operators

import (
	"strconv"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// The objects below follow mesos-master.md 5.5 and the order of their recordings. Names
// are those of the API before v1: slave_id, slaves.

// usual are the amounts that every resources object prints, in Mesos' order.
var usual = [...]string{"disk", "mem", "gpus", "cpus"}

func usualIndex(name string) int {
	for i, u := range usual {
		if u == name {
			return i
		}
	}
	return -1
}

// resources prints the sum of the lists: disk, mem, gpus and cpus always, everything else
// when it is there, what is revocable under names of its own.
func (e *encoder) resources(lists ...[]*mesos.Resource) {
	e.comma()
	e.resourcesOf(lists...)
}

// resourcesOf is resources behind a name that has its colon already.
func (e *encoder) resourcesOf(lists ...[]*mesos.Resource) {
	var sums [len(usual)]resource.Fixed
	var other *mesos.Resource
	others := 0
	for _, list := range lists {
		for _, r := range list {
			i := usualIndex(r.GetName())
			if i < 0 || r.GetRevocable() != nil || r.GetType() != mesos.Value_SCALAR {
				other = r
				others++
				continue
			}
			sums[i] += resource.FromFloat(r.GetScalar().GetValue())
		}
	}
	e.lit(`{"disk":`)
	e.amount(sums[0].Float())
	e.lit(`,"mem":`)
	e.amount(sums[1].Float())
	e.lit(`,"gpus":`)
	e.amount(sums[2].Float())
	e.lit(`,"cpus":`)
	e.amount(sums[3].Float())
	switch {
	case others == 1 && onePort(other):
		port := other.GetRanges().GetRange()[0].GetBegin()
		e.lit(`,"ports":"[`)
		e.b = strconv.AppendUint(e.b, port, 10)
		e.b = append(e.b, '-')
		e.b = strconv.AppendUint(e.b, port, 10)
		e.lit(`]"`)
	case others > 0:
		e.otherResources(lists)
	}
	e.b = append(e.b, '}')
}

// onePort reports whether r is what most tasks have beyond amounts: a single port.
func onePort(r *mesos.Resource) bool {
	if r.GetName() != "ports" || r.GetType() != mesos.Value_RANGES || r.GetRevocable() != nil {
		return false
	}
	list := r.GetRanges().GetRange()
	return len(list) == 1 && list[0].GetBegin() == list[0].GetEnd()
}

// kind tells resources apart that are printed under one name.
type kind struct {
	name      string
	revocable bool
}

func (e *encoder) otherResources(lists [][]*mesos.Resource) {
	var seen []kind
	for i, list := range lists {
		for at, r := range list {
			k := kind{r.GetName(), r.GetRevocable() != nil}
			if !k.revocable && usualIndex(k.name) >= 0 {
				continue
			}
			known := false
			for _, s := range seen {
				known = known || s == k
			}
			if known {
				continue
			}
			seen = append(seen, k)
			e.sumOf(k, r.GetType(), list[at:], lists[i+1:])
		}
	}
}

// sumOf prints one kind, summed over the rest of its list and the lists behind.
func (e *encoder) sumOf(k kind, t mesos.Value_Type, first []*mesos.Resource, more [][]*mesos.Resource) {
	name := k.name
	if k.revocable {
		name += "_revocable"
	}
	e.named(name)
	var amount resource.Fixed
	var ranges resource.Ranges
	set := &mesos.Value_Set{}
	add := func(list []*mesos.Resource) {
		for _, r := range list {
			if r.GetName() != k.name || (r.GetRevocable() != nil) != k.revocable || r.GetType() != t {
				continue
			}
			switch t {
			case mesos.Value_SCALAR:
				amount += resource.FromFloat(r.GetScalar().GetValue())
			case mesos.Value_RANGES:
				ranges = ranges.Add(resource.RangesOf(r.GetRanges()))
			default:
				set.Item = append(set.Item, r.GetSet().GetItem()...)
			}
		}
	}
	add(first)
	for _, list := range more {
		add(list)
	}
	switch t {
	case mesos.Value_SCALAR:
		e.double(amount.Float())
	case mesos.Value_RANGES:
		e.quoted(ranges.String())
	default:
		e.quoted(resource.AttributeText(&mesos.Attribute{Type: mesos.Value_SET.Enum(), Set: set}))
	}
}

// attributes prints an agent's attributes; a repeated name counts the last time only, so
// that the object has each name once.
func (e *encoder) attributes(list []*mesos.Attribute) {
	e.open('{')
	for i, a := range list {
		again := false
		for _, later := range list[i+1:] {
			again = again || later.GetName() == a.GetName()
		}
		if again {
			continue
		}
		e.named(a.GetName())
		if a.GetType() == mesos.Value_SCALAR {
			e.double(a.GetScalar().GetValue())
		} else {
			e.quoted(resource.AttributeText(a))
		}
	}
	e.shut('}')
}

// domain is a member, left out when there is none.
func (e *encoder) domain(d *mesos.DomainInfo) {
	if d != nil {
		e.key("domain")
		e.message(d)
	}
}

// labels is a member with an array of {key, value}; left out when unset.
func (e *encoder) labels(l *mesos.Labels) {
	if l == nil {
		return
	}
	e.key("labels")
	e.open('[')
	for _, each := range l.GetLabels() {
		e.open('{')
		e.str("key", each.GetKey())
		if each.Value != nil {
			e.str("value", each.GetValue())
		}
		e.shut('}')
	}
	e.shut(']')
}

// role is a member: the role that the first resource is allocated to. Everything in one
// list is allocated to the same one.
func (e *encoder) role(list []*mesos.Resource) {
	if len(list) > 0 {
		e.str("role", list[0].GetAllocationInfo().GetRole())
	}
}
