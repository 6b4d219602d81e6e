package volume

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func vol(role, id string, source *mesos.Resource_DiskInfo_Source) *mesos.Resource {
	return &mesos.Resource{
		Name: proto.String("disk"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(1)},
		Reservations: []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: &role}},
		Disk:         &mesos.Resource_DiskInfo{Persistence: &mesos.Resource_DiskInfo_Persistence{Id: &id}, Source: source},
	}
}

func pathDisk(root string) *mesos.Resource_DiskInfo_Source {
	return &mesos.Resource_DiskInfo_Source{Type: mesos.Resource_DiskInfo_Source_PATH.Enum(), Path: &mesos.Resource_DiskInfo_Source_Path{Root: &root}}
}

func mountDisk(root string) *mesos.Resource_DiskInfo_Source {
	return &mesos.Resource_DiskInfo_Source{Type: mesos.Resource_DiskInfo_Source_MOUNT.Enum(), Mount: &mesos.Resource_DiskInfo_Source_Mount{Root: &root}}
}

func TestPath(t *testing.T) {
	s := New("/w", slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		v    *mesos.Resource
		want string
	}{
		{vol("db", "a", nil), "/w/volumes/roles/db/a"},
		{vol("eng/db/x", "a b", nil), "/w/volumes/roles/eng db x/a b"},
		{vol("db", "a", pathDisk("/data/one/")), "/data/one/volumes/roles/db/a"},
		{vol("db", "a", pathDisk("below")), "/w/below/volumes/roles/db/a"},
		{vol("db", "a", mountDisk("/mnt/one")), "/mnt/one"},
		{vol("db", "..", nil), ""},
		{vol("..", "a", nil), ""},
		{vol("db", "a/b", nil), ""},
		{vol("db", "a\x00b", nil), ""},
		{vol("db", "", nil), ""},
		{vol("db", "a", pathDisk("")), ""},
		{vol("db", "a", &mesos.Resource_DiskInfo_Source{Type: mesos.Resource_DiskInfo_Source_RAW.Enum()}), ""},
	} {
		got, err := s.Path(c.v)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v: %q %v, want %q", c.v, got, err, c.want)
		}
	}
}

func TestMakeRemoveMake(t *testing.T) {
	dir := t.TempDir()
	s := New(dir, slog.New(slog.DiscardHandler))
	v := vol("db", "a", nil)
	path, _ := s.Path(v)
	if fresh, err := s.Make(v); err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	keep(t, path, "file")
	if err := os.Symlink("/etc", filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	if fresh, err := s.Make(v); err != nil || fresh { // what is there stays
		t.Fatal(fresh, err)
	}
	if _, err := os.Stat(filepath.Join(path, "file")); err != nil {
		t.Fatal(err)
	}
	if !s.Remove(t.Context(), v, func() { t.Error("done was called") }) {
		t.Error("it is still there")
	}
	if fresh, err := s.Make(v); err != nil || !fresh { // at once, while the old files go
		t.Fatal(fresh, err)
	}
	s.Wait()
	if left, _ := os.ReadDir(path); len(left) != 0 {
		t.Errorf("%v", left)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "volumes", bin)); len(left) != 0 {
		t.Errorf("%v", left)
	}
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Error("a link was followed")
	}
	if !s.Remove(t.Context(), vol("db", "never", nil), nil) {
		t.Error("what never was is gone")
	}
	if err := os.WriteFile(filepath.Join(dir, "volumes", "roles", "db", "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Make(vol("db", "f", nil)); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a file as volume: %v", err)
	}
}

func keep(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestMountIsEmptied: the root of a disk stays, what is in it goes.
func TestMountIsEmptied(t *testing.T) {
	root := t.TempDir()
	s := New(t.TempDir(), slog.New(slog.DiscardHandler))
	v := vol("db", "a", mountDisk(root))
	keep(t, root, "file")
	if err := os.MkdirAll(filepath.Join(root, "deep", "er"), 0o755); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	if s.Remove(t.Context(), v, func() { close(done) }) {
		t.Fatal("a disk cannot be moved away")
	}
	<-done
	if left, err := os.ReadDir(root); len(left) != 0 || err != nil {
		t.Errorf("%v %v", left, err)
	}
	if _, err := s.Make(vol("db", "a", mountDisk(filepath.Join(root, "gone")))); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a disk that is not mounted: %v", err)
	}
}

// TestSweep: a removal that a crash cut short is ended by the next run, and nothing else.
func TestSweep(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	s := New(dir, slog.New(slog.DiscardHandler))
	for _, base := range []string{dir, data} {
		if err := os.MkdirAll(filepath.Join(base, "volumes", bin, "1", "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(base, "volumes", "roles", "db", "stranger"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.Sweep(t.Context(), []*mesos.Resource{vol("db", "a", pathDisk(data)), vol("db", "a", pathDisk(data)), vol("db", "m", mountDisk("/"))})
	s.Wait()
	for _, base := range []string{dir, data} {
		if left, _ := os.ReadDir(filepath.Join(base, "volumes", bin)); len(left) != 0 {
			t.Errorf("%v", left)
		}
		if _, err := os.Stat(filepath.Join(base, "volumes", "roles", "db", "stranger")); err != nil {
			t.Error("a folder that nobody destroyed went")
		}
	}
}

// TestRemoveIsRepeated: what cannot be removed is tried until ctx ends.
func TestRemoveIsRepeated(t *testing.T) {
	if os.Getuid() != 0 {
		return // only root can mount
	}
	root := t.TempDir()
	busy := filepath.Join(root, "busy")
	if err := os.Mkdir(busy, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("stoa-test", busy, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(busy, syscall.MNT_DETACH) })
	s := New(t.TempDir(), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), patience.For(20*time.Second))
	defer cancel()
	done := make(chan struct{})
	s.Remove(ctx, vol("db", "a", mountDisk(root)), func() { close(done) })
	select {
	case <-done:
		t.Fatal("a mount was removed")
	case <-time.After(100 * time.Millisecond):
	}
	if err := syscall.Unmount(busy, 0); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("it was not tried again")
	}
}
