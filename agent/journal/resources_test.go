package journal

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// copyIn puts a recorded file of a Mesos agent into meta/resources.
func copyIn(t *testing.T, work, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		b = change(b)
	}
	dir := filepath.Join(work, "meta", "resources")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func openResources(t *testing.T, work string) (*lifecycle.ResourcesImage, error) {
	t.Helper()
	m, err := OpenMeta(work)
	if err != nil {
		t.Fatal(err)
	}
	j, losses, err := m.OpenResources(quiet)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	_, records, more := Decode(j.Entries())
	if len(losses)+len(more) > 0 {
		t.Errorf("%v %v", losses, more)
	}
	if len(records) == 0 {
		return nil, nil
	}
	return records[0].Resources, nil
}

// TestTakesOverFromMesos reads what a real Mesos agent kept, in both of its files.
func TestTakesOverFromMesos(t *testing.T) {
	const want = "cpus(reservations: [(DYNAMIC,prod,golden,{app: db})]):0.5; " +
		"mem(reservations: [(DYNAMIC,prod,golden,{app: db})]):128; " +
		"disk(reservations: [(DYNAMIC,prod,golden,{app: db})])[vol-1:data]:200"
	for _, files := range [][]string{{"resources.info"}, {"resources_and_operations.state"}, {"resources.info", "resources_and_operations.state"}} {
		work := t.TempDir()
		for _, name := range files {
			copyIn(t, work, name, nil)
		}
		for range 2 { // the second time from the journal
			img, err := openResources(t, work)
			if err != nil {
				t.Fatal(err)
			}
			if got := resource.Resources(img.Checkpointed).String(); got != want {
				t.Errorf("%v: %s", files, got)
			}
		}
		if files[0] == "resources.info" { // what was taken over once is not looked at again
			copyIn(t, work, "resources.info", func(b []byte) []byte { return b[:7] })
			if _, err := openResources(t, work); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestForeignDamageIsNotPassedOver(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"cut":         func(b []byte) []byte { return b[:len(b)-1] },
		"long length": func(b []byte) []byte { b[3] = 0xff; return b },
		"twice":       func(b []byte) []byte { return append(b, b...) },
		"garbage":     func(b []byte) []byte { return []byte("garbage that is no message") },
		"wrong inside": func(b []byte) []byte {
			for i := 4; i < len(b); i++ {
				b[i] ^= 0x55
			}
			return b
		},
	} {
		work := t.TempDir()
		copyIn(t, work, "resources_and_operations.state", change)
		if _, err := openResources(t, work); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(work, "meta", "resources", fileName)); !os.IsNotExist(err) {
			t.Errorf("%s: a journal was made: %v", name, err)
		}
	}
}

func FuzzForeign(f *testing.F) {
	for _, name := range []string{"resources.info", "resources_and_operations.state"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = infoForm(b) // must not panic
		_, _ = stateForm(b)
	})
}

func TestResourcesRoundTrip(t *testing.T) {
	disk := &mesos.Resource{Name: proto.String("disk"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(1)},
		Reservations: []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: proto.String("r")}}}
	in := []lifecycle.Record{
		{Key: "r", Resources: &lifecycle.ResourcesImage{Checkpointed: []*mesos.Resource{disk}, Doomed: []*mesos.Resource{disk},
			Operations: []*mesos.Operation{{Info: &mesos.Offer_Operation{Type: mesos.Offer_Operation_RESERVE.Enum()}, Uuid: &mesos.UUID{Value: []byte("u")},
				LatestStatus: &mesos.OperationStatus{State: mesos.OperationState_OPERATION_FINISHED.Enum()}}}}},
		{Key: "d", Drain: &lifecycle.DrainImage{Config: &mesos.DrainConfig{MarkGone: proto.Bool(true)}, Since: time.Unix(7, 8).UTC()}},
		{Key: "e/F/x", Executor: &lifecycle.ExecutorImage{Framework: "F", Info: &mesos.ExecutorInfo{},
			Limit: &lifecycle.Limitation{Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_DISK, Message: "m", Resources: []*mesos.Resource{disk}}}},
	}
	entries, err := Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	_, out, losses := Decode(entries)
	if len(losses) > 0 || len(out) != len(in) {
		t.Fatalf("%v %v", out, losses)
	}
	r := out[0].Resources
	if len(r.Checkpointed) != 1 || !proto.Equal(r.Checkpointed[0], disk) || len(r.Doomed) != 1 || len(r.Operations) != 1 ||
		!proto.Equal(r.Operations[0], in[0].Resources.Operations[0]) {
		t.Errorf("%+v", r)
	}
	if d := out[1].Drain; !d.Since.Equal(in[1].Drain.Since) || !proto.Equal(d.Config, in[1].Drain.Config) {
		t.Errorf("%+v", d)
	}
	if l := out[2].Executor.Limit; l.Message != "m" || l.Reason != mesos.TaskStatus_REASON_CONTAINER_LIMITATION_DISK || len(l.Resources) != 1 {
		t.Errorf("%+v", l)
	}
	if gone, err := Encode([]lifecycle.Record{{Key: "d"}}); err != nil || gone[0].Value != nil {
		t.Errorf("%v %v", gone, err)
	}
}
