package keeper

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func dialRaw(t *testing.T, dir string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestJournalKeepsWhatWasAppended(t *testing.T) {
	dir := t.TempDir()
	j, before, bad, err := openJournal(dir, "boot1")
	if err != nil || before != "" || bad != 0 {
		t.Fatal(before, bad, err)
	}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			id := fmt.Sprint("t", i)
			for _, e := range []entry{
				{Op: "intent", ID: id, Task: &Task{ID: id, Note: "n"}},
				{Op: "start", ID: id, Task: &Task{PID: i + 1, Start: 7}},
				{Op: "exit", ID: id, Exit: &Exit{Status: i}},
			} {
				if err := j.append(e); err != nil {
					t.Error(err)
				}
			}
			if i%2 == 0 {
				if err := j.append(entry{Op: "forget", ID: id}); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	j.close()
	j, before, bad, err = openJournal(dir, "boot2")
	if err != nil || before != "boot1" || bad != 0 || len(j.image) != 100 {
		t.Fatal(before, bad, err, len(j.image))
	}
	if got := j.image["t7"]; got.PID != 8 || got.Note != "n" || got.Exit == nil || got.Exit.Status != 7 {
		t.Errorf("%+v", got)
	}
	j.close()
}

func TestJournalSurvivesDamage(t *testing.T) {
	lines := func() []byte {
		var buf []byte
		for _, e := range []entry{
			{Op: "boot", Boot: "b"},
			{Op: "intent", ID: "one", Task: &Task{ID: "one"}},
			{Op: "intent", ID: "two", Task: &Task{ID: "two"}},
			{Op: "exit", ID: "one", Exit: &Exit{Status: 256}},
		} {
			buf, _ = formatLine(buf, e)
		}
		return buf
	}
	tests := []struct {
		name   string
		damage func([]byte) []byte
		bad    int
		tasks  int
	}{
		{"none", func(b []byte) []byte { return b }, 0, 2},
		{"torn", func(b []byte) []byte { return b[:len(b)-5] }, 1, 2},
		{"bit flipped", func(b []byte) []byte {
			i := bytes.Index(b, []byte(`"two"`))
			b[i+1] ^= 1
			return b
		}, 1, 1},
		{"zeros appended", func(b []byte) []byte { return append(b, make([]byte, 4096)...) }, 1, 2},
		{"garbage", func([]byte) []byte { return []byte(strings.Repeat("\xff\n", 50)) }, 50, 0},
		{"empty", func([]byte) []byte { return nil }, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "journal"), tt.damage(lines()), 0o600); err != nil {
				t.Fatal(err)
			}
			j, _, bad, err := openJournal(dir, "b")
			if err != nil || bad != tt.bad || len(j.image) != tt.tasks {
				t.Errorf("bad %d tasks %d err %v, want %d and %d", bad, len(j.image), err, tt.bad, tt.tasks)
			}
			j.close()
		})
	}
}

func TestJournalIsRewrittenWhenOld(t *testing.T) {
	dir := t.TempDir()
	j, _, _, err := openJournal(dir, "b")
	if err != nil {
		t.Fatal(err)
	}
	note := strings.Repeat("x", 60_000)
	for range 40 {
		if err := j.append(entry{Op: "intent", ID: "a", Task: &Task{ID: "a", Note: note}}); err != nil {
			t.Fatal(err)
		}
	}
	j.close()
	if info, err := os.Stat(filepath.Join(dir, "journal")); err != nil || info.Size() > 2*rewriteAt {
		t.Errorf("%v %v", info.Size(), err)
	}
	if j, _, _, err = openJournal(dir, "b"); err != nil || len(j.image["a"].Note) != len(note) {
		t.Error(err)
	}
	j.close()
}

func TestFullDiskRefusesTheStartOnly(t *testing.T) {
	dir := t.TempDir()
	j, _, _, err := openJournal(dir, "b")
	if err != nil {
		t.Fatal(err)
	}
	good := j.file
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	j.file = full
	if err := j.append(entry{Op: "intent", ID: "a", Task: &Task{ID: "a"}}); err == nil {
		t.Error("a full disk took a record")
	}
	j.file = good
	full.Close()
	if err := j.append(entry{Op: "intent", ID: "b", Task: &Task{ID: "b"}}); err != nil {
		t.Error(err)
	}
	j.close()
	if j, _, _, err = openJournal(dir, "b"); err != nil || len(j.image) != 1 || j.image["b"].ID == "" {
		t.Error(err, j.image)
	}
	j.close()
}
