package lab

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// GroupsRoot is the --cgroups_root of an agent of tests that listens on a port.
func GroupsRoot(port int) string { return "stoa-lab/" + strconv.Itoa(port) }

// RemoveGroups removes the control groups below an agent's root, and the root, when the
// agent has ended. What lives in them is killed, also what is frozen (version 1) because a
// keeper was killed while it ended a task; so call it before KillUnder.
func RemoveGroups(t testing.TB, root string) {
	t.Helper()
	var left []string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		left = nil
		found, err := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", root))
		if err != nil {
			t.Fatal(err)
		}
		for _, top := range append(found, filepath.Join("/sys/fs/cgroup", root)) {
			left = append(left, removeGroup(top)...)
		}
		if len(left) == 0 {
			// Those above are shared with other agents of tests: they go with the last one.
			for _, top := range append(found, filepath.Join("/sys/fs/cgroup", root)) {
				_ = os.Remove(filepath.Dir(top))
			}
			return
		}
	}
	t.Errorf("control groups stay: %v", left)
}

// removeGroup tries once and gives what stays.
func removeGroup(top string) (left []string) {
	var dirs []string
	_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil // what vanishes meanwhile is fine
	})
	slices.Reverse(dirs) // the deepest first
	for _, dir := range dirs {
		raw, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for text := range strings.FieldsSeq(string(raw)) {
			if pid, err := strconv.Atoi(text); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if len(raw) > 0 {
			_ = os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0)
		}
		if err := syscall.Rmdir(dir); err != nil && err != syscall.ENOENT {
			left = append(left, dir)
		}
	}
	return left
}
