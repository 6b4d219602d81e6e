package resource

import (
	"iter"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// known are the names with a place of their own in Quantities, in alphabetical order.
var known = [...]string{"cpus", "disk", "gpus", "mem", "ports"}

// Quantities is how much there is of each named resource, whatever its role and kind:
// scalars by amount, ranges and sets by count (so 1000 ports are Whole(1000)). A name
// that is absent counts as zero; nothing is negative. The zero value is empty; copies
// are independent values; the usual five names cost no allocation.
type Quantities struct {
	usual [len(known)]Fixed
	other []Quantity // sorted by name, no zeros; never written in place
}

// Quantity is one entry.
type Quantity struct {
	Name   string
	Amount Fixed
}

// Quantities counts everything in the sum, revocable resources too.
func (rs Resources) Quantities() Quantities {
	var q Quantities
	for _, r := range rs {
		switch r.GetType() {
		case mesos.Value_SCALAR:
			q = q.With(r.GetName(), q.Get(r.GetName()).plus(FromFloat(r.GetScalar().GetValue())))
		case mesos.Value_RANGES:
			var room [16]Range
			n := appendRanges(room[:0], r.GetRanges()).Count()
			q = q.With(r.GetName(), q.Get(r.GetName()).plus(Whole(min(n, 1<<50))))
		case mesos.Value_SET:
			q = q.With(r.GetName(), q.Get(r.GetName()).plus(Whole(int64(len(r.GetSet().GetItem())))))
		}
	}
	return q
}

// QuantitiesOf reads the map form of quota and offer filters; negative amounts and
// NaN count as zero.
func QuantitiesOf(m map[string]*mesos.Value_Scalar) Quantities {
	var q Quantities
	for name, s := range m {
		q = q.With(name, max(0, FromFloat(s.GetValue())))
	}
	return q
}

// Wire is the map form; zeros are left out.
func (q Quantities) Wire() map[string]*mesos.Value_Scalar {
	m := make(map[string]*mesos.Value_Scalar)
	for name, amount := range q.All() {
		m[name] = amount.Scalar()
	}
	return m
}

// place finds a usual name's index, or -1.
func place(name string) int {
	for i, k := range known {
		if k == name {
			return i
		}
	}
	return -1
}

// Get is the amount of a name.
func (q *Quantities) Get(name string) Fixed {
	if i := place(name); i >= 0 {
		return q.usual[i]
	}
	for _, o := range q.other {
		if o.Name == name {
			return o.Amount
		}
	}
	return 0
}

// With gives q with the amount of one name replaced; amounts below zero become zero.
func (q Quantities) With(name string, amount Fixed) Quantities {
	amount = max(0, amount)
	if i := place(name); i >= 0 {
		q.usual[i] = amount
		return q
	}
	at, found := slices.BinarySearchFunc(q.other, name, func(o Quantity, name string) int {
		return strings.Compare(o.Name, name)
	})
	switch {
	case found && amount > 0:
		q.other = slices.Clone(q.other)
		q.other[at].Amount = amount
	case found:
		q.other = slices.Concat(q.other[:at], q.other[at+1:])
	case amount > 0:
		q.other = slices.Insert(slices.Clone(q.other), at, Quantity{name, amount})
	}
	return q
}

// Add is the sum.
func (q Quantities) Add(o Quantities) Quantities {
	for i, v := range o.usual {
		q.usual[i] = q.usual[i].plus(v)
	}
	for _, e := range o.other {
		q = q.With(e.Name, q.Get(e.Name).plus(e.Amount))
	}
	return q
}

// Subtract takes o away; what would be negative is zero.
func (q Quantities) Subtract(o Quantities) Quantities {
	for i, v := range o.usual {
		q.usual[i] = max(0, q.usual[i]-v)
	}
	for _, e := range o.other {
		q = q.With(e.Name, q.Get(e.Name)-e.Amount)
	}
	return q
}

// Contains tells whether q has at least o of every name.
func (q *Quantities) Contains(o *Quantities) bool {
	for i, v := range o.usual {
		if q.usual[i] < v {
			return false
		}
	}
	for _, e := range o.other {
		if q.Get(e.Name) < e.Amount {
			return false
		}
	}
	return true
}

// IsZero tells whether there is nothing at all.
func (q *Quantities) IsZero() bool {
	return q.usual == [len(known)]Fixed{} && len(q.other) == 0
}

// Equal tells whether all amounts agree.
func (q *Quantities) Equal(o *Quantities) bool {
	return q.usual == o.usual && slices.Equal(q.other, o.other)
}

// Share is the dominant share: the largest fraction that q has of any name in total.
// Names of which total has nothing do not count.
func (q *Quantities) Share(total *Quantities) float64 {
	var share float64
	for i, v := range q.usual {
		if t := total.usual[i]; t > 0 {
			share = max(share, float64(v)/float64(t))
		}
	}
	for _, e := range q.other {
		if t := total.Get(e.Name); t > 0 {
			share = max(share, float64(e.Amount)/float64(t))
		}
	}
	return share
}

// All gives the entries that are not zero, by name.
func (q Quantities) All() iter.Seq2[string, Fixed] {
	return func(yield func(string, Fixed) bool) {
		other := q.other
		for i, v := range q.usual {
			for len(other) > 0 && other[0].Name < known[i] {
				if !yield(other[0].Name, other[0].Amount) {
					return
				}
				other = other[1:]
			}
			if v != 0 && !yield(known[i], v) {
				return
			}
		}
		for _, e := range other {
			if !yield(e.Name, e.Amount) {
				return
			}
		}
	}
}

// String prints "cpus:6; disk:12000; mem:5120", "{}" when empty.
func (q Quantities) String() string {
	var parts []string
	for name, amount := range q.All() {
		parts = append(parts, name+":"+amount.String())
	}
	if len(parts) == 0 {
		return "{}"
	}
	return strings.Join(parts, "; ")
}
