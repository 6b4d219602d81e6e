package journal

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

var quiet = slog.New(slog.DiscardHandler)

func create(t *testing.T) (Meta, *Journal, string) {
	t.Helper()
	dir := t.TempDir()
	m, err := OpenMeta(dir)
	if err != nil {
		t.Fatal(err)
	}
	j, err := m.Create("S0", []Entry{{"agent", []byte("info")}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return m, j, filepath.Join(dir, "meta", "slaves", "S0", fileName)
}

func text(entries []Entry) string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Key+"="+string(e.Value))
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func reopen(t *testing.T, m Meta) (string, []Loss) {
	t.Helper()
	j, losses, err := m.Open("S0", quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	return text(j.Entries()), losses
}

func TestNewestImageCounts(t *testing.T) {
	m, j, _ := create(t)
	for _, batch := range [][]Entry{
		{{"t/F/a", []byte("1")}, {"t/F/b", []byte("1")}}, {{"t/F/a", []byte("2")}}, {{"t/F/b", nil}, {"t/F/empty", []byte{}}},
	} {
		if err := j.Append(batch); err != nil {
			t.Fatal(err)
		}
	}
	if got, losses := reopen(t, m); got != "agent=info t/F/a=2 t/F/empty=" || len(losses) > 0 {
		t.Errorf("got %q, losses %v", got, losses)
	}
	if id, err := m.Latest(); id != "S0" || err != nil {
		t.Errorf("latest is %q, %v", id, err)
	}
}

// A write that was cut off anywhere leaves what was there before, and can be continued.
func TestTornWrite(t *testing.T) {
	m, j, path := create(t)
	if err := j.Append([]Entry{{"t/F/a", []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	before := j.size
	if err := j.Append([]Entry{{"t/F/b", []byte("new")}}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := before; n < int64(len(whole)); n++ {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j, losses, err := m.Open("S0", quiet)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(j.Entries()); got != "agent=info t/F/a=1" || len(losses) > 0 {
			t.Fatalf("cut at %d: %q, losses %v", n, got, losses)
		}
		if err := j.Append([]Entry{{"t/F/c", []byte("3")}}); err != nil {
			t.Fatal(err)
		}
		j.Close()
		if got, losses := reopen(t, m); got != "agent=info t/F/a=1 t/F/c=3" || len(losses) > 0 {
			t.Fatalf("cut at %d, then written: %q, losses %v", n, got, losses)
		}
	}
}

// One flipped bit costs at most the record it is in, and never gives a wrong value.
func TestFlippedBit(t *testing.T) {
	m, j, path := create(t)
	want := map[string]string{"agent": "info"}
	for i := range 5 {
		k, v := fmt.Sprintf("t/F/%d", i), strings.Repeat(fmt.Sprint(i), 20)
		want[k] = v
		if err := j.Append([]Entry{{k, []byte(v)}}); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		j, losses, err := m.Open("S0", quiet)
		if err != nil {
			t.Fatal(err)
		}
		got := j.Entries()
		if len(got) < len(want)-1 {
			t.Fatalf("bit in byte %d cost %d records", i, len(want)-len(got))
		}
		for _, e := range got {
			if want[e.Key] != string(e.Value) {
				t.Fatalf("bit in byte %d: %s=%s", i, e.Key, e.Value)
			}
		}
		last := i >= len(whole)-60 // damage of the newest record looks like a torn write
		if len(got) < len(want) && len(losses) == 0 && !last {
			t.Fatalf("bit in byte %d was lost without a word", i)
		}
		j.Close()
	}
}

func TestDamageIsHealedByANewerRecord(t *testing.T) {
	m, j, path := create(t)
	at := j.size
	for _, v := range []string{"old", "new"} {
		if err := j.Append([]Entry{{"t/F/a", []byte(v)}}); err != nil {
			t.Fatal(err)
		}
	}
	whole, _ := os.ReadFile(path)
	whole[at+headSize+int64(len("t/F/a"))] ^= 1
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, losses := reopen(t, m); got != "agent=info t/F/a=new" || len(losses) > 0 {
		t.Errorf("got %q, losses %v", got, losses)
	}
}

func TestHistoryIsDropped(t *testing.T) {
	m, j, path := create(t)
	value := bytes.Repeat([]byte("x"), 64<<10)
	for i := range 200 {
		if err := j.Append([]Entry{{"t/F/a", append(value, byte(i))}}); err != nil {
			t.Fatal(err)
		}
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Size() > rewriteAt+(1<<20) {
		t.Errorf("%d bytes for one record of 64 KiB (%v)", fi.Size(), err)
	}
	if got, _ := reopen(t, m); !strings.HasSuffix(got, "x"+string([]byte{199})) {
		t.Error("the newest value is gone")
	}
}

// After a write that failed nothing is forgotten: the next one that works brings it too.
func TestFailedWriteIsMadeUpFor(t *testing.T) {
	m, j, _ := create(t)
	j.f.Close()
	if err := j.Append([]Entry{{"t/F/a", []byte("1")}}); err == nil {
		t.Fatal("a closed file was written")
	}
	if err := j.Append([]Entry{{"t/F/b", []byte("2")}}); err != nil {
		t.Fatal(err)
	}
	if got, _ := reopen(t, m); got != "agent=info t/F/a=1 t/F/b=2" {
		t.Errorf("got %q", got)
	}
}

func TestRemovedLinkMeansNewAgent(t *testing.T) {
	m, _, path := create(t)
	if err := os.Remove(filepath.Join(filepath.Dir(filepath.Dir(path)), "latest")); err != nil {
		t.Fatal(err)
	}
	if id, err := m.Latest(); id != "" || err != nil {
		t.Errorf("latest is %q, %v", id, err)
	}
	if err := m.SetBootID("b1"); err != nil || m.BootID() != "b1" {
		t.Errorf("boot id %q, %v", m.BootID(), err)
	}
}

func TestImagesRoundTrip(t *testing.T) {
	id := func(s string) *string { return proto.String(s) }
	status := &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: id("t")}, State: mesos.TaskState_TASK_RUNNING.Enum(), Uuid: []byte("0123456789abcdef"), Data: []byte{0, 255}}
	in := []lifecycle.Record{
		{Key: "f/F", Framework: &lifecycle.FrameworkImage{Info: &mesos.FrameworkInfo{Id: &mesos.FrameworkID{Value: id("F")}, Name: id("n"), User: id("u")}, PID: "s@1.2.3.4:5"}},
		{Key: "e/F/x", Executor: &lifecycle.ExecutorImage{Framework: "F", Info: &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: id("x")}}, Generated: true, Container: "c", Directory: "/d", Started: true, PID: 7}},
		{Key: "t/F/t", Task: &lifecycle.TaskImage{Framework: "F", Executor: "x", Info: &mesos.TaskInfo{Name: id("t"), TaskId: status.TaskId, AgentId: &mesos.AgentID{Value: id("S0")}},
			State: mesos.TaskState_TASK_RUNNING, Delivered: true, Statuses: []*mesos.TaskStatus{status}, Seen: [][]byte{status.Uuid}, Acked: status,
			Pending: []*messages.StatusUpdate{{FrameworkId: &mesos.FrameworkID{Value: id("F")}, Status: status, Timestamp: proto.Float64(1), Uuid: status.Uuid}},
			Killing: &lifecycle.KillImage{Since: time.Unix(1, 0), Deadline: time.Unix(4, 0), Unhealthy: true}}},
	}
	entries, err := Encode(append(in, lifecycle.Record{Key: "t/F/gone"}))
	if err != nil {
		t.Fatal(err)
	}
	if entries[3].Value != nil {
		t.Error("a removal has a value")
	}
	agent, err := AgentEntry(&messages.SlaveInfo{Hostname: id("h"), Id: &mesos.AgentID{Value: id("S0")}})
	if err != nil {
		t.Fatal(err)
	}
	info, out, losses := Decode(append(entries[:3], agent, Entry{"t/F/bad", []byte("{")}, Entry{"z/what", []byte("{}")}))
	if info.GetId().GetValue() != "S0" || len(out) != 3 || len(losses) != 2 {
		t.Fatalf("agent %v, %d records, losses %v", info, len(out), losses)
	}
	again, err := Encode(out)
	if err != nil {
		t.Fatal(err)
	}
	if text(again) != text(entries[:3]) {
		t.Errorf("got %s\nwant %s", text(again), text(entries[:3]))
	}
}

func FuzzReplay(f *testing.F) {
	f.Add(append(bytes.Clone(fileMagic), appendFrame(nil, Entry{"k", []byte("v")})...))
	f.Fuzz(func(t *testing.T, data []byte) {
		live := map[string][]byte{}
		if _, end := replay(data, live); end > int64(len(data)) {
			t.Errorf("end %d of %d bytes", end, len(data))
		}
	})
}

// Damage is found again by the next who opens the journal, as long as nobody has written
// to it: an agent that refuses to start must refuse again.
func TestDamageStaysUntilSomethingIsWritten(t *testing.T) {
	m, j, path := create(t)
	for i := range 5 {
		if err := j.Append([]Entry{{fmt.Sprintf("t/F/%d", i), []byte(strings.Repeat("x", 100))}}); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("t/F/2"))+20] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 1, 0} {
		j, losses, err := m.Open("S0", quiet)
		if err != nil || len(losses) != want || want > 0 && losses[0].Key != "t/F/2" {
			t.Errorf("opened %d times: %v %v, want %d", i+1, losses, err, want)
		}
		if i == 1 {
			if err := j.Append([]Entry{{"t/F/9", []byte("y")}}); err != nil {
				t.Fatal(err)
			}
		}
		j.Close()
	}
}
