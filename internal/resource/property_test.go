package resource_test

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// anyResource draws one resource of any kind that may stand in a sum.
func anyResource(t *rapid.T) *mesos.Resource {
	var r *mesos.Resource
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		name := rapid.SampledFrom([]string{"cpus", "mem", "disk", "bandwidth"}).Draw(t, "name")
		r = resource.Scalar(name, resource.Fixed(rapid.Int64Range(0, 5000).Draw(t, "amount")))
	case 1:
		r = resource.Ports(anyRanges(t))
	default:
		items := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID).Draw(t, "items")
		r = &mesos.Resource{Name: proto.String("zones"), Type: mesos.Value_SET.Enum(), Set: &mesos.Value_Set{Item: items}}
	}
	if role := rapid.SampledFrom([]string{"", "eng", "ops"}).Draw(t, "role"); role != "" {
		r.Reservations = []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: &role}}
	}
	if rapid.Bool().Draw(t, "revocable") {
		r.Revocable = new(mesos.Resource_RevocableInfo)
	}
	if r.GetName() == "disk" && rapid.Bool().Draw(t, "volume") {
		id := rapid.SampledFrom([]string{"v1", "v2"}).Draw(t, "id")
		r.Disk = &mesos.Resource_DiskInfo{Persistence: &mesos.Resource_DiskInfo_Persistence{Id: &id}}
	}
	return r
}

func anyRanges(t *rapid.T) resource.Ranges {
	var rs resource.Ranges
	for range rapid.IntRange(0, 4).Draw(t, "ranges") {
		begin := rapid.Uint64Range(0, 40).Draw(t, "begin")
		if rapid.IntRange(0, 9).Draw(t, "far") == 0 {
			begin += math.MaxUint64 - 60
		}
		rs = rs.Add(resource.Ranges{{Begin: begin, End: begin + rapid.Uint64Range(0, 10).Draw(t, "more")}})
	}
	return rs
}

func anySum(t *rapid.T) resource.Resources {
	var rs []*mesos.Resource
	for range rapid.IntRange(0, 6).Draw(t, "entries") {
		rs = append(rs, anyResource(t))
	}
	return resource.Of(rs...)
}

// disjoint leaves out of b what would merge with the ranges and sets of a, for which
// a sum forgets who brought what.
func disjoint(a, b resource.Resources) resource.Resources {
	onlySets := func(rs resource.Resources) resource.Resources {
		return rs.Filter(func(r *mesos.Resource) bool { return r.GetType() != mesos.Value_SCALAR })
	}
	scalars := b.Filter(func(r *mesos.Resource) bool { return r.GetType() == mesos.Value_SCALAR })
	return scalars.Add(onlySets(b).Subtract(onlySets(a)))
}

func TestSumLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := anySum(t), anySum(t), anySum(t)
		before := a.String()
		if !a.Add(b).Equal(b.Add(a)) {
			t.Fatalf("order counts: %s and %s", a.Add(b), b.Add(a))
		}
		if !a.Add(b).Add(c).Equal(a.Add(b.Add(c))) {
			t.Fatal("grouping counts")
		}
		if !a.Add(b).Contains(a) || !a.Add(b).Contains(b) {
			t.Fatalf("a sum lacks a part: %s of %s and %s", a.Add(b), a, b)
		}
		if !a.Equal(a) || !a.Contains(nil) || !a.Subtract(nil).Equal(a) || len(a.Subtract(a)) != 0 {
			t.Fatalf("nothing and itself: %s", a)
		}
		b = disjoint(a, b)
		if got := a.Add(b).Subtract(b); !got.Equal(a) {
			t.Fatalf("%s and %s less %s is %s", a, b, b, got)
		}
		if a.Contains(b) && !a.Subtract(b).Add(b).Equal(a) {
			t.Fatalf("%s less %s is %s", a, b, a.Subtract(b))
		}
		if a.String() != before {
			t.Fatal("an operand changed")
		}
	})
}

func TestQuantitiesFollowResources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anySum(t), anySum(t)
		b = disjoint(a, b)
		qa, qb, sum := a.Quantities(), b.Quantities(), a.Add(b).Quantities()
		if both := qa.Add(qb); !both.Equal(&sum) {
			t.Fatalf("%s and %s make %s", qa, qb, sum)
		}
		if less := sum.Subtract(qb); !less.Equal(&qa) || !sum.Contains(&qa) {
			t.Fatalf("%s less %s is %s, not %s", sum, qb, less, qa)
		}
		if a.Contains(b) && !qa.Contains(&qb) {
			t.Fatalf("%s contains %s, but %s not %s", a, b, qa, qb)
		}
		if back := resource.QuantitiesOf(qa.Wire()); !back.Equal(&qa) {
			t.Fatalf("%s became %s on the wire", qa, back)
		}
		if none := qa.Subtract(qa); !none.IsZero() || qa.Share(&qa) > 1 {
			t.Fatal("zero and share")
		}
	})
}

// Ranges behave like sets of numbers.
func TestRangesAreSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyRanges(t), anyRanges(t)
		sum, less := a.Add(b), a.Subtract(b)
		contains := true
		for base := range []uint64{0, 1} {
			for n := range uint64(61) {
				n := uint64(base)*(math.MaxUint64-60) + n
				if sum.Has(n) != (a.Has(n) || b.Has(n)) || less.Has(n) != (a.Has(n) && !b.Has(n)) {
					t.Fatalf("%d in %s, %s: sum %s, difference %s", n, a, b, sum, less)
				}
				contains = contains && (a.Has(n) || !b.Has(n))
			}
		}
		if a.Contains(b) != contains {
			t.Fatalf("%s contains %s: %v", a, b, !contains)
		}
		for _, rs := range []resource.Ranges{sum, less} {
			for i := 1; i < len(rs); i++ {
				if rs[i].Begin <= rs[i-1].End+1 {
					t.Fatalf("not normal: %s", rs)
				}
			}
			if !resource.RangesOf(rs.Wire()).Contains(rs) {
				t.Fatalf("lost on the wire: %s", rs)
			}
		}
		if sum.Count() != a.Count()+b.Subtract(a).Count() {
			t.Fatalf("count of %s", sum)
		}
	})
}

func TestFixedRounds(t *testing.T) {
	for in, want := range map[float64]resource.Fixed{
		0.1 + 0.2: 300, 0.0004: 0, 0.0005: 1, -0.0005: -1, 1.9999: 2000,
		math.NaN(): 0, math.Inf(1): math.MaxInt64, math.Inf(-1): math.MinInt64,
	} {
		if got := resource.FromFloat(in); got != want {
			t.Errorf("%v: %d", in, got)
		}
	}
	for in, want := range map[resource.Fixed]string{1500: "1.5", 1024000: "1024", 1: "0.001", 0: "0"} {
		if in.String() != want {
			t.Errorf("%d: %s", in, in)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cpus:4;mem(r):1024;ports:[1-2,3-4];z:{a,b}")
	f.Add(`[{"name":"cpus","type":"SCALAR","scalar":{"value":1}}]`)
	f.Fuzz(func(t *testing.T, text string) {
		if rs, err := resource.Parse(text, "*"); err == nil {
			if !rs.Equal(resource.Of(rs...)) {
				t.Errorf("%q is not in normal form: %s", text, rs)
			}
		}
		if as, err := resource.ParseAttributes(text); err == nil {
			for _, a := range as {
				_ = resource.AttributeText(a)
			}
		}
	})
}
