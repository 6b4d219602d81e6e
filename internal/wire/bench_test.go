package wire_test

import (
	"encoding/json"
	"fmt"
	"testing"

	goscheduler "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// offers makes an OFFERS event as a master sends it: four resources, two attributes, a
// URL and a domain in each offer.
func offers(tb testing.TB, n int) *scheduler.Event {
	tb.Helper()
	e := &scheduler.Event{Type: scheduler.Event_OFFERS.Enum(), Offers: new(scheduler.Event_Offers)}
	for i := range n {
		one := new(scheduler.Event_Offers)
		text := fmt.Sprintf(`{"offers":[{"id":{"value":"d7c04596-ea68-43d8-9ff4-459ba365e659-O%d"},
			"framework_id":{"value":"d7c04596-ea68-43d8-9ff4-459ba365e659-0000"},
			"agent_id":{"value":"d7c04596-ea68-43d8-9ff4-459ba365e659-S%d"},"hostname":"agent%d.example.org",
			"domain":{"fault_domain":{"region":{"name":"eu"},"zone":{"name":"eu-1"}}},
			"url":{"scheme":"http","address":{"hostname":"agent%d.example.org","ip":"10.0.0.1","port":5051},"path":"/slave(1)"},
			"attributes":[{"name":"rack","type":"TEXT","text":{"value":"r1"}},{"name":"level","type":"SCALAR","scalar":{"value":10}}],
			"allocation_info":{"role":"web"},"resources":[
			{"name":"cpus","type":"SCALAR","scalar":{"value":3.5},"role":"*","allocation_info":{"role":"web"}},
			{"name":"mem","type":"SCALAR","scalar":{"value":3968},"role":"*","allocation_info":{"role":"web"}},
			{"name":"disk","type":"SCALAR","scalar":{"value":9800},"role":"*","allocation_info":{"role":"web"}},
			{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31999}]},"role":"*","allocation_info":{"role":"web"}}]}]}`,
			i, i, i, i)
		if err := wire.UnmarshalJSON([]byte(text), one); err != nil {
			tb.Fatal(err)
		}
		e.Offers.Offers = append(e.Offers.Offers, one.Offers...)
	}
	return e
}

func BenchmarkOffers100(b *testing.B) {
	e := offers(b, 100)
	pb, err := proto.Marshal(e)
	if err != nil {
		b.Fatal(err)
	}
	text, err := wire.MarshalJSON(e)
	if err != nil {
		b.Fatal(err)
	}
	md := e.ProtoReflect().Descriptor()
	theirs := new(goscheduler.Event)
	if err := theirs.Unmarshal(pb); err != nil {
		b.Fatal(err)
	}
	var buf []byte
	for _, c := range []struct {
		name string
		size int
		run  func() error
	}{
		{"AppendJSON", len(text), func() (err error) { buf, err = wire.AppendJSON(buf[:0], md, pb); return }},
		{"MarshalJSON", len(text), func() error { _, err := wire.MarshalJSON(e); return err }},
		{"UnmarshalJSON", len(text), func() error { return wire.UnmarshalJSON(text, new(scheduler.Event)) }},
		{"MarshalProtobuf", len(pb), func() error { _, err := wire.Protobuf.Marshal(e); return err }},
		{"UnmarshalProtobuf", len(pb), func() error { return wire.Protobuf.Unmarshal(pb, new(scheduler.Event)) }},
		{"MesosGoMarshalJSON", len(text), func() error { _, err := json.Marshal(theirs); return err }},
		{"MesosGoUnmarshalJSON", len(text), func() error { return json.Unmarshal(text, new(goscheduler.Event)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Transcoding into a buffer that is large enough allocates nothing of its own; the
// allowance is for the pool, which the collector and the race detector empty.
func TestAppendJSONDoesNotAllocate(t *testing.T) {
	e := offers(t, 20)
	pb, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	md := e.ProtoReflect().Descriptor()
	buf, err := wire.AppendJSON(nil, md, pb)
	if err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(100, func() { buf, _ = wire.AppendJSON(buf[:0], md, pb) })
	if allocs > 20 {
		t.Errorf("%v allocations", allocs)
	}
}
