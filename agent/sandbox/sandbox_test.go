package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

func TestLayoutAndCreate(t *testing.T) {
	l := Layout{WorkDir: t.TempDir()}
	want := filepath.Join(l.WorkDir, "slaves/A/frameworks/F/executors/E/runs/C1")
	for _, c := range []string{"C1", "C2", "C2"} {
		if err := Create(l.Run("A", "F", "E", c), Self()); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(want)
	if err != nil || info.Mode().Perm() != 0o750 {
		t.Fatal(info, err)
	}
	for _, name := range []string{"stdout", "stderr"} {
		if info, err := os.Stat(filepath.Join(want, name)); err != nil || info.Mode() != 0o644 {
			t.Error(info, err)
		}
	}
	if to, err := os.Readlink(l.Latest("A", "F", "E")); err != nil || to != "C2" {
		t.Error(to, err)
	}
	if items, _ := os.ReadDir(filepath.Dir(want)); len(items) != 3 {
		t.Errorf("left over: %v", items)
	}
	if os.Geteuid() == 0 {
		run := l.Run("A", "F", "E2", "C")
		if err := Create(run, Owner{UID: 65534, GID: 65534}); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{run, run + "/stdout"} {
			info, _ := os.Lstat(p)
			if s := info.Sys().(*syscall.Stat_t); s.Uid != 65534 {
				t.Errorf("%s belongs to %d", p, s.Uid)
			}
		}
	}
	if _, err := OwnerOf("no-such-user-here"); fault.KindOf(err) != fault.Invalid {
		t.Error(err)
	}
}

// shown is a sandbox with good and bad things in it, under two virtual roots.
func shown(t *testing.T) *Files {
	run, outside := box(t)
	err := errors.Join(
		os.WriteFile(filepath.Join(run, "stdout"), []byte("hello from db\n"), 0o644),
		os.Mkdir(filepath.Join(run, "data"), 0o755),
		os.WriteFile(filepath.Join(run, "data", "file"), []byte("xy"), 0o644),
		os.Symlink(outside, filepath.Join(run, "leak")),
		os.Symlink("../..", filepath.Join(run, "up")),
		os.Symlink("data/file", filepath.Join(run, "inner")),
		syscall.Mkfifo(filepath.Join(run, "pipe"), 0o600),
		os.WriteFile(filepath.Join(run, "big"), make([]byte, 3*MaxRead), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	f := NewFiles()
	f.Attach("/slaves/x", run)
	f.Attach("/short/latest/", filepath.Join(filepath.Dir(run), "latest"))
	f.Attach("/slave/log", filepath.Join(run, "stdout"))
	return f
}

func TestBrowse(t *testing.T) {
	f := shown(t)
	for _, root := range []string{"/slaves/x", "/slaves/x/", "/short/latest", "/slaves/x/data/.."} {
		items, err := f.Browse(root)
		if err != nil {
			t.Fatalf("%s: %v", root, err)
		}
		var got []string
		for _, i := range items {
			got = append(got, i.Mode+" "+strings.TrimPrefix(i.Path, strings.TrimRight(root, "/")+"/"))
		}
		want := []string{"-rw-r--r-- big", "drwxr-xr-x data", "lrwxrwxrwx inner", "lrwxrwxrwx leak", "prw------- pipe", "-rw-r--r-- stderr", "-rw-r--r-- stdout", "lrwxrwxrwx up"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q", root, got)
		}
	}
	items, err := f.Browse("/slaves/x/data")
	if err != nil || len(items) != 1 {
		t.Fatal(items, err)
	}
	if e := items[0]; e.Path != "/slaves/x/data/file" || e.Size != 2 || e.NLink != 1 || e.MTime < 1e9 || e.UID == "" || e.GID == "" {
		t.Errorf("%+v", e)
	}
	if items, err := f.Browse("/slave/log"); err != nil || len(items) != 0 {
		t.Error(items, err)
	}
}

func TestReadRules(t *testing.T) {
	f := shown(t)
	tests := []struct {
		path           string
		offset, length int64
		data           string
		at             int64
	}{
		{"/slaves/x/stdout", 0, -1, "hello from db\n", 0},
		{"/slaves/x/stdout", 6, 4, "from", 6},
		{"/slaves/x/stdout", -1, -1, "", 14},
		{"/slaves/x/stdout", 999999, 10, "", 999999},
		{"/slaves/x/stdout", 0, 0, "", 0},
		{"/slaves/x/inner", 0, -1, "xy", 0},
		{"/short/latest/data/file", 0, -1, "xy", 0},
		{"/slave/log", 0, 5, "hello", 0},
	}
	for _, tt := range tests {
		data, at, err := f.Read(tt.path, tt.offset, tt.length)
		if err != nil || string(data) != tt.data || at != tt.at || data == nil {
			t.Errorf("%s %d %d: %q %d %v", tt.path, tt.offset, tt.length, data, at, err)
		}
	}
	if data, _, err := f.Read("/slaves/x/big", 0, 1<<40); err != nil || len(data) != MaxRead {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func TestReadRefusals(t *testing.T) {
	f := shown(t)
	tests := []struct {
		path string
		kind fault.Kind
		text string
	}{
		{"/slaves/x/none", fault.NotFound, ""},
		{"/slaves/y", fault.NotFound, ""},
		{"", fault.NotFound, ""},
		{"stdout", fault.NotFound, ""},
		{"/slaves/x/stdout/deeper", fault.NotFound, ""},
		{"/slave/log/deeper", fault.NotFound, ""},
		{"/slaves/x/data", fault.Invalid, "Cannot read a directory."},
		{"/slaves/x/leak", fault.Invalid, "'/slaves/x/leak' is inaccessible."},
		{"/slaves/x/up/outside", fault.Invalid, "'/slaves/x/up/outside' is inaccessible."},
		{"/slaves/x/../outside", fault.Invalid, "'/slaves/x/../outside' is inaccessible."},
		{"/slaves/x/data/../../outside", fault.Invalid, "'/slaves/x/data/../../outside' is inaccessible."},
		{"/slaves/x/pipe", fault.Invalid, "'/slaves/x/pipe' is neither a file nor a folder."},
		{"/slaves/x/std\x00out", fault.Invalid, "'/slaves/x/std\x00out' is inaccessible."},
	}
	for _, tt := range tests {
		_, _, err := f.Read(tt.path, 0, -1)
		if fault.KindOf(err) != tt.kind || tt.text != "" && err.Error() != tt.text {
			t.Errorf("%q: %v (%v), want %q", tt.path, err, fault.KindOf(err), tt.text)
		}
		if file, _, err := f.Open(tt.path); err == nil {
			file.Close()
			t.Errorf("%q could be downloaded", tt.path)
		}
	}
	if _, _, err := f.Read("/slaves/x/stdout", -5, 1); fault.KindOf(err) != fault.Invalid {
		t.Error(err)
	}
	f.Detach("/slaves/x")
	if _, err := f.Browse("/slaves/x"); fault.KindOf(err) != fault.NotFound {
		t.Error(err)
	}
}

func TestMaxAge(t *testing.T) {
	const week = 7 * 24 * time.Hour
	tests := []struct {
		headroom, usage float64
		want            time.Duration
	}{
		{0.1, 0, week * 9 / 10}, {0.1, 0.4, week / 2}, {0.1, 0.9, 0}, {0.1, 1, 0}, {-1, 0.5, week / 2},
	}
	for _, tt := range tests {
		if got := maxAge(week, tt.headroom, tt.usage); got.Round(time.Second) != tt.want {
			t.Errorf("%v %v: %v, want %v", tt.headroom, tt.usage, got, tt.want)
		}
	}
}

func TestCollector(t *testing.T) {
	dir := t.TempDir()
	removed := make(chan string, 10)
	c := NewCollector(CollectConfig{Delay: 100 * time.Hour, Headroom: -1, Interval: time.Hour, Path: dir}, quiet(), func(p string) { removed <- p })
	for _, name := range []string{"old", "young"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "deep"), 0o755); err != nil {
			t.Fatal(err)
		}
		since := time.Now().Add(-101 * time.Hour)
		if name == "young" {
			since = time.Now()
		}
		c.Add(filepath.Join(dir, name), since)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	if got := <-removed; got != filepath.Join(dir, "old") {
		t.Error(got)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "old")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "young")); err != nil {
		t.Error(err)
	}
	if c.MaxAge() <= 0 || c.MaxAge() > 360000 {
		t.Error(c.MaxAge())
	}
}
