package gids

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
)

func open(t *testing.T, text, file string) *Groups {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("groups of volumes need root")
	}
	g, err := Open(text, file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// look gives group and permissions.
func look(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d %o %v", st.Gid, info.Mode().Perm(), info.Mode()&fs.ModeSetgid != 0)
}

// A volume gets the lowest free group, also for what is in it, keeps it over restarts, and
// gives it back with its container; links are not followed out of it.
func TestGroupsOfVolumes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "meta", "gids.json")
	g := open(t, "[5000-5001]", file)
	outside, volume, other, third := dir+"/outside", dir+"/sandbox/v", dir+"/volumes/w", dir+"/x"
	for _, d := range []string{volume + "/sub", other, third} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{outside, volume + "/sub/file"} {
		if err := os.WriteFile(f, nil, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, volume+"/link"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if gid, err := g.Give(dir, volume, "root"); err != nil || gid != 5000 {
			t.Fatalf("%d %v", gid, err)
		}
	}
	for path, want := range map[string]string{volume: "5000 775 true", volume + "/sub": "5000 775 true", volume + "/sub/file": "5000 640 false", outside: "0 640 false"} {
		if got := look(t, path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := look(t, volume+"/link"); !strings.HasPrefix(got, "5000 ") {
		t.Errorf("the link itself: %s", got)
	}
	g = open(t, "[5000-5001]", file) // another run
	if gid, err := g.Give(dir, other, ""); err != nil || gid != 5001 {
		t.Errorf("%d %v", gid, err)
	}
	if total, free := g.Counts(); total != 2 || free != 0 {
		t.Errorf("%d of %d", free, total)
	}
	if _, err := g.Give(dir, third, "root"); err == nil || !strings.Contains(err.Error(), "exhausted") {
		t.Errorf("a third group: %v", err)
	}
	if gid, err := g.Give(dir, volume+"/sub", "child"); err != nil || gid != 5000 { // the same volume by another path
		t.Errorf("%d %v", gid, err)
	}
	// A folder that was made anew gets its group again.
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	if gid, err := g.Give(dir, other, ""); err != nil || gid != 5001 || look(t, other) != "5001 720 true" {
		t.Errorf("%d %v %s", gid, err, look(t, other))
	}
	if err := os.Symlink("/etc", volume+"/out"); err != nil {
		t.Fatal(err)
	}
	if gid, err := g.Give(dir, volume+"/out", "root"); err == nil {
		t.Errorf("a volume that leads out got group %d", gid)
	}
	g.Release("root")
	if got := look(t, volume); got != "0 755 false" {
		t.Errorf("released: %s", got)
	}
	if gid, err := g.Give(dir, third, "root2"); err != nil || gid != 5000 {
		t.Errorf("%d %v", gid, err)
	}
	if err := os.RemoveAll(other); err != nil {
		t.Fatal(err)
	}
	g.Recover(func(id string) bool { return id != "root2" })
	if _, free := g.Counts(); free != 2 || look(t, third) != "0 755 false" {
		t.Errorf("%d free, %s", free, look(t, third))
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, text := range []string{"", "5", "[]", "[5-1]", "{a}", "[0-9]", "[1-4294967295]", "[1-2];cpus:1"} {
		if g, err := Open(text, filepath.Join(t.TempDir(), "f"), slog.New(slog.DiscardHandler)); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v %v", text, g, err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("[1-2]", file, slog.New(slog.DiscardHandler)); fault.KindOf(err) != fault.Malformed {
		t.Errorf("%v", err)
	}
}
