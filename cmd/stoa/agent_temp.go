package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// inTemp gives the default place of what Mesos keeps in the system's temporary folder: below
// name there, or below work where somebody else has made a folder of that name or may write in
// it. Then it is not for this agent to use or to empty. The folder name is made.
func inTemp(work, name string, below ...string) string {
	base := filepath.Join(os.TempDir(), name)
	if err := os.Mkdir(base, 0o755); err != nil && (!errors.Is(err, os.ErrExist) || !ours(base)) {
		base = work
		if abs, err := filepath.Abs(work); err == nil {
			base = abs
		}
	}
	return filepath.Join(append([]string{base}, below...)...)
}

// ours tells whether a path is a folder of this process's user in which no other one writes.
func ours(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
