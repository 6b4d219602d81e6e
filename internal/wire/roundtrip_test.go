package wire_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// roundTrip reads any text as a scheduler call; what is accepted prints to a text that
// reads and prints to itself.
func roundTrip(t *testing.T, data []byte) {
	first := new(scheduler.Call)
	if wire.UnmarshalJSON(data, first) != nil {
		return
	}
	text, err := wire.MarshalJSON(first)
	if err != nil {
		t.Fatalf("%q was read but not printed: %v", data, err)
	}
	if bytes.Contains(text, []byte(`"NaN"`)) {
		t.Fatalf("%q became NaN", data)
	}
	second := new(scheduler.Call)
	if err := wire.UnmarshalJSON(text, second); err != nil {
		t.Fatalf("%s was printed but not read: %v", text, err)
	}
	again, err := wire.MarshalJSON(second)
	if err != nil || !bytes.Equal(text, again) {
		t.Fatalf("%s became %s, %v", text, again, err)
	}
	pb, err := proto.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	if direct, err := wire.AppendJSON(nil, first.ProtoReflect().Descriptor(), pb); err != nil || len(direct) != len(text) {
		t.Fatalf("transcoded %s, marshalled %s, %v", direct, text, err)
	}
}

func FuzzTranscode(f *testing.F) {
	f.Add([]byte{0x10, 0x01, 0x0a, 0x03, 0x0a, 0x01, 'x'})
	f.Fuzz(func(t *testing.T, pb []byte) {
		m := new(scheduler.Call)
		text, err := wire.AppendJSON(nil, m.ProtoReflect().Descriptor(), pb)
		if err != nil || wire.Protobuf.Unmarshal(pb, m) != nil {
			return
		}
		if bytes.Contains(text, []byte(`"NaN"`)) { // NaN is printed, but not read back
			return
		}
		if err := wire.UnmarshalJSON(text, m); err != nil {
			t.Fatalf("% x gave %s: %v", pb, text, err)
		}
	})
}
