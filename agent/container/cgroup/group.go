// Package cgroup drives control groups of version 1 and 2 over their files: folders per
// container with limits, their processes, statistics and removal. It needs the right to
// write below its root and nothing else.
package cgroup

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/crash"
)

// Procs lists the processes in a group and the groups below it. An absent group has none.
func Procs(path string) ([]int, error) {
	var pids []int
	err := walk(path, func(dir string) error {
		p, err := numbers(filepath.Join(dir, "cgroup.procs"))
		pids = append(pids, p...)
		return err
	})
	return pids, err
}

// walk calls f for a group and each below it, parents first; groups that vanish are fine.
func walk(path string, f func(dir string) error) error {
	if err := f(path); err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	var st syscall.Stat_t
	if syscall.Stat(path, &st) == nil && st.Nlink == 2 {
		return nil // it has no folders
	}
	items, err := os.ReadDir(path)
	if err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	for _, i := range items {
		if i.IsDir() {
			if err := walk(filepath.Join(path, i.Name()), f); err != nil {
				return err
			}
		}
	}
	return nil
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) }

func numbers(file string) ([]int, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, f := range bytes.Fields(raw) {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// Signal sends sig to every process of a group, catching those that are forked
// meanwhile: with version 2 and SIGKILL by cgroup.kill, else by going round until no new
// process appears, with the freezer of version 1 while the group is frozen: all have the
// signal then before one acts on another's end. A group of one process is not frozen. It gives
// the number of processes that were found. Those in spare are left out, but not by SIGKILL.
func Signal(path string, sig syscall.Signal, spare ...int) (int, error) {
	if sig == syscall.SIGKILL {
		err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0)
		if err == nil {
			pids, err := Procs(path)
			return len(pids), err
		}
	}
	self := os.Getpid()
	seen := map[int]bool{}
	frozen := false
	for range 16 {
		pids, err := Procs(path)
		if err != nil {
			return len(seen), err
		}
		pids = slices.DeleteFunc(pids, func(pid int) bool {
			return seen[pid] || pid == self || (sig != syscall.SIGKILL && slices.Contains(spare, pid))
		})
		if len(pids) == 0 {
			break
		}
		if !frozen && len(seen)+len(pids) > 1 {
			thaw := freeze(path)
			crash.Here("cgroup.frozen")
			defer thaw()
			frozen = true
			continue // there may be more by now
		}
		for _, pid := range pids {
			seen[pid] = true
			if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
				return len(seen), err
			}
		}
	}
	return len(seen), nil
}

// freeze stops a group where it can and gives the way to let it go on.
func freeze(path string) (thaw func()) {
	for _, f := range []struct{ name, stop, run, done string }{
		{"freezer.state", "FROZEN", "THAWED", "FROZEN"},
	} {
		file := filepath.Join(path, f.name)
		if err := os.WriteFile(file, []byte(f.stop), 0); err != nil {
			continue
		}
		// A process in an uninterruptible wait may not freeze: go on without, soon.
		for wait := time.Millisecond; wait < 50*time.Millisecond; wait *= 2 {
			now, err := os.ReadFile(file)
			if err != nil || string(bytes.TrimSpace(now)) == f.done {
				break
			}
			time.Sleep(wait)
		}
		return func() { _ = os.WriteFile(file, []byte(f.run), 0) }
	}
	return func() {}
}

// Freeze stops all processes of a group and those below it until thaw is called; frozen
// tells whether all have stopped.
func Freeze(path string) (thaw func(), frozen bool) {
	for _, f := range []struct{ file, stop, run, state, done string }{
		{"cgroup.freeze", "1", "0", "cgroup.events", "frozen 1"},
		{"freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN"},
	} {
		file := filepath.Join(path, f.file)
		if err := os.WriteFile(file, []byte(f.stop), 0); err != nil {
			continue
		}
		for wait := time.Millisecond; wait < time.Second && !frozen; wait *= 2 {
			now, err := os.ReadFile(filepath.Join(path, f.state))
			frozen = err == nil && bytes.Contains(now, []byte(f.done))
			if !frozen {
				time.Sleep(wait)
			}
		}
		return func() { _ = os.WriteFile(file, []byte(f.run), 0) }, frozen
	}
	return func() {}, false
}

// Remove removes a group and those below it. Processes must have ended; the kernel may
// need a moment more, which Remove waits for, up to patience.
func Remove(path string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := removeAll(path)
		if err == nil || !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(wait)
	}
}

func removeAll(path string) error {
	items, err := os.ReadDir(path)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, i := range items {
		if i.IsDir() {
			if err := removeAll(filepath.Join(path, i.Name())); err != nil {
				return err
			}
		}
	}
	// Never os.RemoveAll: it would try to unlink the kernel's files.
	if err := inTurn(func() error { return syscall.Rmdir(path) }); err != nil && !gone(err) {
		return &fs.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

// IsV2 tells whether a folder is a version 2 group.
func IsV2(path string) bool {
	var s syscall.Statfs_t
	return syscall.Statfs(path, &s) == nil && s.Type == magicV2
}

const magicV2 = 0x63677270
