package resource_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func operation(t *testing.T, text string) *mesos.Offer_Operation {
	t.Helper()
	op := &mesos.Offer_Operation{}
	if err := wire.UnmarshalJSON([]byte(text), op); err != nil {
		t.Fatal(err)
	}
	resource.UpgradeMessage(op)
	return op
}

const (
	reserved = `{"name":"disk","type":"SCALAR","scalar":{"value":10},"role":"eng","reservation":{"principal":"p"}}`
	stacked  = `{"name":"disk","type":"SCALAR","scalar":{"value":10},"reservations":[{"type":"STATIC","role":"eng"},{"type":"DYNAMIC","role":"eng/web"}]}`
	kept     = `{"name":"disk","type":"SCALAR","scalar":{"value":10},"role":"eng","disk":{"persistence":{"id":"v"},"volume":{"container_path":"p","mode":"RW"}}}`
	keptPath = `{"name":"disk","type":"SCALAR","scalar":{"value":10},"role":"eng","disk":{"persistence":{"id":"v"},"volume":{"container_path":"p","mode":"RW"},"source":{"type":"PATH","path":{"root":"/d"}}}}`
	keptAll  = `{"name":"disk","type":"SCALAR","scalar":{"value":10},"role":"eng","shared":{},"disk":{"persistence":{"id":"v"},"volume":{"container_path":"p","mode":"RW"}}}`
)

// TestConversions has one row for each operation: what goes and what comes.
func TestConversions(t *testing.T) {
	for _, c := range []struct{ name, op, from, to string }{
		{"reserve", `{"type":"RESERVE","reserve":{"resources":[` + reserved + `]}}`, "disk:10", "disk(reservations: [(DYNAMIC,eng,p)]):10"},
		{"refine", `{"type":"RESERVE","reserve":{"resources":[` + stacked + `]}}`, "disk(reservations: [(STATIC,eng)]):10", "disk(reservations: [(STATIC,eng), (DYNAMIC,eng/web)]):10"},
		{"reserve anew", `{"type":"RESERVE","reserve":{"source":[` + stacked + `],"resources":[` + reserved + `]}}`, "disk(reservations: [(STATIC,eng), (DYNAMIC,eng/web)]):10", "disk(reservations: [(DYNAMIC,eng,p)]):10"},
		{"unreserve", `{"type":"UNRESERVE","unreserve":{"resources":[` + stacked + `]}}`, "disk(reservations: [(STATIC,eng), (DYNAMIC,eng/web)]):10", "disk(reservations: [(STATIC,eng)]):10"},
		{"create", `{"type":"CREATE","create":{"volumes":[` + kept + `]}}`, "disk(reservations: [(STATIC,eng)]):10", "disk(reservations: [(STATIC,eng)])[v:p]:10"},
		{"create on a path", `{"type":"CREATE","create":{"volumes":[` + keptPath + `]}}`, "disk(reservations: [(STATIC,eng)])[PATH:/d]:10", "disk(reservations: [(STATIC,eng)])[PATH:/d,v:p]:10"},
		{"create shared", `{"type":"CREATE","create":{"volumes":[` + keptAll + `]}}`, "disk(reservations: [(STATIC,eng)]):10", "disk(reservations: [(STATIC,eng)])[v:p]<SHARED>:10"},
		{"destroy", `{"type":"DESTROY","destroy":{"volumes":[` + keptPath + `]}}`, "disk(reservations: [(STATIC,eng)])[PATH:/d,v:p]:10", "disk(reservations: [(STATIC,eng)])[PATH:/d]:10"},
		{"grow", `{"type":"GROW_VOLUME","grow_volume":{"volume":` + kept + `,"addition":{"name":"disk","type":"SCALAR","scalar":{"value":2.5},"role":"eng"}}}`,
			"disk(reservations: [(STATIC,eng)])[v:p]:10; disk(reservations: [(STATIC,eng)]):2.5", "disk(reservations: [(STATIC,eng)])[v:p]:12.5"},
		{"shrink", `{"type":"SHRINK_VOLUME","shrink_volume":{"volume":` + kept + `,"subtract":{"value":2.5}}}`,
			"disk(reservations: [(STATIC,eng)])[v:p]:10", "disk(reservations: [(STATIC,eng)])[v:p]:7.5; disk(reservations: [(STATIC,eng)]):2.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			op := operation(t, c.op)
			list, err := resource.Conversions(op)
			if err != nil || len(list) != 1 || list[0].From.String() != c.from || list[0].To.String() != c.to {
				t.Fatalf("%v %v\nwant %s\n  -> %s", list, err, c.from, c.to)
			}
			if got := resource.Consumed(op); !got.Equal(list[0].From) {
				t.Errorf("consumes %s", got)
			}
			more := resource.Of(resource.Scalar("cpus", 1000))
			after, err := list[0].From.Add(more).Convert(list[0])
			if err != nil || !after.Equal(list[0].To.Add(more)) {
				t.Errorf("%s %v", after, err)
			}
			if back, err := after.Convert(list[0].Reverse()); err != nil || !back.Equal(list[0].From.Add(more)) {
				t.Errorf("back: %s %v", back, err)
			}
			if _, err := more.Convert(list[0]); fault.KindOf(err) != fault.Conflict {
				t.Errorf("out of nothing: %v", err)
			}
		})
	}
	if _, err := resource.Conversions(operation(t, `{"type":"LAUNCH","launch":{}}`)); fault.KindOf(err) != fault.Invalid {
		t.Error(err)
	}
}

// A shared volume is destroyed only when no further copy of it is there.
func TestDestroySharedCopies(t *testing.T) {
	list, err := resource.Conversions(operation(t, `{"type":"DESTROY","destroy":{"volumes":[`+keptAll+`]}}`))
	if err != nil {
		t.Fatal(err)
	}
	once := list[0].From
	if _, err := once.Add(once).Convert(list[0]); fault.KindOf(err) != fault.Conflict {
		t.Error(err)
	}
	if got, err := once.Convert(list[0]); err != nil || len(got.Shared()) != 0 {
		t.Error(got, err)
	}
}

// Reserving and taking the reservation off again changes nothing, in whatever sum; and
// what is checkpointed put back onto what was there at first gives the same sum.
func TestReserveAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := resource.Scalar("cpus", resource.Fixed(rapid.Int64Range(1, 5000).Draw(t, "amount")))
		rest := anySum(t)
		sum := resource.Of(plain).Add(rest)
		r := proto.Clone(plain).(*mesos.Resource)
		r.Reservations = []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: proto.String("new")}}
		list, err := resource.Conversions(&mesos.Offer_Operation{Type: mesos.Offer_Operation_RESERVE.Enum(),
			Reserve: &mesos.Offer_Operation_Reserve{Resources: []*mesos.Resource{r}}})
		if err != nil {
			t.Fatal(err)
		}
		there, err := sum.Convert(list[0])
		if err != nil {
			t.Fatal(err)
		}
		before, after := sum.Quantities(), there.Quantities()
		if !before.Equal(&after) {
			t.Fatalf("%s became %s", before, after)
		}
		own := sum.Filter(func(r *mesos.Resource) bool { return len(r.Reservations) == 0 && r.Disk == nil })
		held, err := own.Convert(list[0])
		if err != nil {
			t.Fatal(err)
		}
		if again := own.WithCheckpointed(held.Checkpointed()); !again.Equal(held) {
			t.Fatalf("%s from %s and %s", again, own, held.Checkpointed())
		}
		if back, err := there.Convert(list[0].Reverse()); err != nil || !back.Equal(sum) {
			t.Fatalf("%s is not %s: %v", back, sum, err)
		}
	})
}
