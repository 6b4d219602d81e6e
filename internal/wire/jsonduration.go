package wire

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Clients write a google.protobuf.Duration as an object of seconds and nanos, or, as
// Mesos' documents show it, as a text such as "10mins" (mesos-master.md 11.5).

const durationName protoreflect.FullName = "google.protobuf.Duration"

// durationUnits are nanoseconds by the names Mesos uses.
var durationUnits = []struct {
	name  string
	nanos float64
}{
	{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"secs", 1e9}, {"mins", 60e9}, {"hrs", 3600e9}, {"days", 86400e9}, {"weeks", 7 * 86400e9},
}

// fromDuration reads a text as field f, a Duration.
func (r *reader) fromDuration(f *fieldPlan, s []byte) error {
	text := strings.TrimSpace(string(s))
	for _, u := range durationUnits {
		number, found := strings.CutSuffix(text, u.name)
		if !found {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(n*u.nanos < 1<<62 && n*u.nanos > -1<<62) {
			continue
		}
		nanos := int64(n * u.nanos)
		start := r.begin(f)
		r.out = protowire.AppendVarint(protowire.AppendTag(r.out, 1, protowire.VarintType), uint64(nanos/1e9))
		r.out = protowire.AppendVarint(protowire.AppendTag(r.out, 2, protowire.VarintType), uint64(nanos%1e9))
		return r.end(start)
	}
	return misfitf("Failed to parse '%s' as a duration for field '%s': write a number and one of ns, us, ms, secs, mins, hrs, days, weeks", clip(s), f.name)
}
