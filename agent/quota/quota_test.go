package quota

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

func write(t *testing.T, path string, n int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, n), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestMeasureAsDu compares with the tool that users compare with.
func TestMeasureAsDu(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "b", "big"), 300_000)
	write(t, filepath.Join(dir, "small"), 1)
	for i := range 1500 { // more than one batch
		write(t, filepath.Join(dir, "many", strconv.Itoa(i)), 10)
	}
	for _, err := range []error{
		os.Link(filepath.Join(dir, "a", "b", "big"), filepath.Join(dir, "again")),
		os.Symlink("/usr", filepath.Join(dir, "out")),
		os.Symlink("..", filepath.Join(dir, "a", "loop")),
		syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	if err == nil {
		err = errors.Join(sparse.Truncate(1<<30), sparse.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("du", "-s", "-B1", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := strconv.ParseUint(strings.Fields(string(out))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Measure(t.Context(), dir)
	if err != nil || got != want || got < 300_000 || got > 100<<20 {
		t.Errorf("measured %d %v, du says %d", got, err, want)
	}
}

func TestMeasureLeavesOtherDisksOut(t *testing.T) {
	if os.Getuid() != 0 {
		return // only root can mount
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), 10_000)
	before, err := Measure(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	mount := filepath.Join(dir, "mount")
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("stoa-test", mount, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(mount, syscall.MNT_DETACH)
	write(t, filepath.Join(mount, "big"), 1<<20)
	if got, err := Measure(t.Context(), dir); err != nil || got != before {
		t.Errorf("%d %v, want %d", got, err, before)
	}
}

func TestMeasureErrors(t *testing.T) {
	if _, err := Measure(t.Context(), filepath.Join(t.TempDir(), "none")); fault.KindOf(err) != fault.NotFound {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Measure(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWatcher(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	write(t, filepath.Join(one, "f"), 100_000)
	write(t, filepath.Join(two, "f"), 100_000)
	over := make(chan string, 100)
	targets := []Target{
		{ID: "above", Places: []Place{{Dir: one, Limit: 50_000}}},
		{ID: "below", Places: []Place{{Dir: one, Limit: 1 << 20}, {Dir: two, Key: "v"}}},
		{ID: "exempt", Places: []Place{{Dir: two, Limit: 1, Exempt: true}}},
		{ID: "gone", Places: []Place{{Dir: filepath.Join(one, "none"), Limit: 1}}},
	}
	w := NewWatcher(Config{
		Interval: time.Millisecond, Targets: func(context.Context) ([]Target, error) { return targets, nil },
		Over: func(_ context.Context, id string, u Use) {
			select {
			case over <- id:
			default:
			}
		},
	}, slog.New(slog.DiscardHandler))
	if w.Use("below") != nil {
		t.Error("measured before it ran")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for range 2 {
		if id := <-over; id != "above" {
			t.Errorf("%s is over its limit", id)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if u := w.Use("below"); len(u) != 2 || u[0].Used < 100_000 || u[1].Key != "v" {
		t.Errorf("%+v", u)
	}
	if u := w.Use("gone"); len(u) != 0 {
		t.Errorf("%+v", u)
	}
}
