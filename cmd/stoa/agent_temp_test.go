package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What others made in the temporary folder, or may write in, is left alone.
func TestDefaultsInTemp(t *testing.T) {
	temp, work := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	base := filepath.Join(temp, "mesos")
	check := func(what, want string) {
		t.Helper()
		if got := inTemp(work, "mesos", "store", "docker"); got != filepath.Join(want, "store", "docker") {
			t.Errorf("%s: %s", what, got)
		}
	}
	check("absent", base)
	if info, err := os.Lstat(base); err != nil || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		t.Fatalf("it is not made: %v %v", info, err)
	}
	check("its own", base)
	if err := os.Chmod(base, 0o777); err != nil {
		t.Fatal(err)
	}
	check("everybody's", work)
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", base); err != nil {
		t.Fatal(err)
	}
	check("a link", work)
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Mkdir(base, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(base, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		check("another user's", work)
	}
	t.Setenv("TMPDIR", filepath.Join(temp, "nowhere"))
	check("no temporary folder", work)
}
