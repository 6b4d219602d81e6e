package resource

import (
	"math"
	"slices"
	"strconv"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Range is an interval of whole numbers, both ends included.
type Range struct{ Begin, End uint64 }

// Ranges is a set of whole numbers: sorted, no two entries overlap or touch. The
// functions here keep that and never change their inputs.
type Ranges []Range

// RangesOf brings wire ranges into normal form; entries with begin > end are dropped.
func RangesOf(v *mesos.Value_Ranges) Ranges { return appendRanges(nil, v) }

// appendRanges appends v to an empty slice and normalises. Ordered input costs one pass.
func appendRanges(dst Ranges, v *mesos.Value_Ranges) Ranges {
	ordered := true
	for _, r := range v.GetRange() {
		n := Range{r.GetBegin(), r.GetEnd()}
		if n.Begin > n.End {
			continue
		}
		if k := len(dst); k > 0 && (dst[k-1].End == math.MaxUint64 || n.Begin <= dst[k-1].End+1) {
			ordered = false
		}
		dst = append(dst, n)
	}
	if ordered {
		return dst
	}
	return coalesce(dst)
}

// coalesce sorts and joins in place.
func coalesce(rs Ranges) Ranges {
	slices.SortFunc(rs, func(a, b Range) int {
		switch {
		case a.Begin < b.Begin:
			return -1
		case a.Begin > b.Begin:
			return 1
		}
		return 0
	})
	out := rs[:0]
	for _, r := range rs {
		if k := len(out); k > 0 && (out[k-1].End == math.MaxUint64 || r.Begin <= out[k-1].End+1) {
			out[k-1].End = max(out[k-1].End, r.End)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Add is the union.
func (rs Ranges) Add(o Ranges) Ranges {
	return coalesce(append(slices.Clone(rs), o...))
}

// Subtract is what rs has and o has not; entries split where needed.
func (rs Ranges) Subtract(o Ranges) Ranges {
	var out Ranges
	i := 0
	for _, r := range rs {
		for i < len(o) && o[i].End < r.Begin {
			i++
		}
		begin, open := r.Begin, true
		for j := i; j < len(o) && o[j].Begin <= r.End; j++ {
			if o[j].Begin > begin {
				out = append(out, Range{begin, o[j].Begin - 1})
			}
			if o[j].End >= r.End {
				open = false
				break
			}
			begin = o[j].End + 1
		}
		if open {
			out = append(out, Range{begin, r.End})
		}
	}
	return out
}

// Contains tells whether every number of o is in rs.
func (rs Ranges) Contains(o Ranges) bool {
	i := 0
	for _, r := range o {
		for i < len(rs) && rs[i].End < r.Begin {
			i++
		}
		if i == len(rs) || rs[i].Begin > r.Begin || rs[i].End < r.End {
			return false
		}
	}
	return true
}

// Has tells whether the number is in the set.
func (rs Ranges) Has(n uint64) bool { return rs.Contains(Ranges{{n, n}}) }

// Count is how many numbers the set has, at most the largest int64.
func (rs Ranges) Count() int64 {
	var n uint64
	for _, r := range rs {
		size := r.End - r.Begin
		if size >= math.MaxInt64-n {
			return math.MaxInt64
		}
		n += size + 1
	}
	return int64(n)
}

// Wire is the set in its wire form.
func (rs Ranges) Wire() *mesos.Value_Ranges {
	v := &mesos.Value_Ranges{Range: make([]*mesos.Value_Range, len(rs))}
	// One allocation each for all numbers and all entries.
	ends, entries := slices.Clone(rs), make([]mesos.Value_Range, len(rs))
	for i := range rs {
		entries[i].Begin, entries[i].End = &ends[i].Begin, &ends[i].End
		v.Range[i] = &entries[i]
	}
	return v
}

// String prints "[31000-31009, 31011-32000]".
func (rs Ranges) String() string {
	b := []byte{'['}
	for i, r := range rs {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendUint(b, r.Begin, 10)
		b = append(b, '-')
		b = strconv.AppendUint(b, r.End, 10)
	}
	return string(append(b, ']'))
}
