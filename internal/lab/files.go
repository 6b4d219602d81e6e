package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// LegacyArchive packs apps/legacy as an operator would and gives the folder that
// holds legacy.tar.gz.
func LegacyArchive(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	// Fetched by the task's user, who may not be the test's.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tar", "-czf", filepath.Join(dir, "legacy.tar.gz"), "--transform", "s,^legacy,billing,", "legacy")
	cmd.Dir = filepath.Join(Root(t), "apps")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return dir
}

// Touch makes an empty file.
func Touch(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}
