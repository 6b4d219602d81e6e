package resource

import (
	"math"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Fixed is a scalar amount in thousandths: 1500 is 1.5 cpus. All sums and comparisons
// are made on it, as in Mesos; floats exist only on the wire.
type Fixed int64

// Whole is n units.
func Whole(n int64) Fixed { return Fixed(n) * 1000 }

// FromFloat rounds to the nearest thousandth, halves away from zero. NaN becomes 0,
// what is beyond the range its end.
func FromFloat(v float64) Fixed {
	v = math.Round(v * 1000)
	switch {
	case math.IsNaN(v):
		return 0
	case v >= math.MaxInt64:
		return math.MaxInt64
	case v <= math.MinInt64:
		return math.MinInt64
	}
	return Fixed(v)
}

// Float is the amount in units.
func (f Fixed) Float() float64 { return float64(f) / 1000 }

// String prints units with up to three decimals and no trailing zeros: "0.5", "1024".
func (f Fixed) String() string { return strconv.FormatFloat(f.Float(), 'f', -1, 64) }

// Scalar is the amount in its wire form.
func (f Fixed) Scalar() *mesos.Value_Scalar {
	return &mesos.Value_Scalar{Value: proto.Float64(f.Float())}
}

// plus adds without wrapping around.
func (f Fixed) plus(o Fixed) Fixed {
	sum := f + o
	switch {
	case f > 0 && o > 0 && sum < 0:
		return math.MaxInt64
	case f < 0 && o < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}
