package journal

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// A nested container comes back with the networks that it joined, and without when it
// joined none.
func TestNestedNetworksAreKept(t *testing.T) {
	info := &mesos.NetworkInfo{Name: proto.String("n"), IpAddresses: []*mesos.NetworkInfo_IPAddress{{IpAddress: proto.String("10.0.0.2")}}}
	for _, networks := range [][]*mesos.NetworkInfo{nil, {info}} {
		in := &lifecycle.NestedImage{Root: lifecycle.ExecutorKey{Framework: "F", Executor: "p"}, Container: "r.c", Parent: "r", Task: "t",
			Command: &mesos.CommandInfo{Value: proto.String("true")}, Started: true, PID: 7, Networks: networks}
		entries, err := Encode([]lifecycle.Record{{Key: "n/r.c", Nested: in}})
		if err != nil {
			t.Fatal(err)
		}
		_, out, losses := Decode(entries)
		if len(out) != 1 || len(losses) > 0 || out[0].Nested == nil {
			t.Fatalf("%v %v", out, losses)
		}
		got := out[0].Nested
		if len(got.Networks) != len(networks) || len(networks) > 0 && !proto.Equal(got.Networks[0], info) || got.PID != 7 || got.Task != "t" {
			t.Errorf("%+v", got)
		}
	}
}
