// Package spaces moves threads into the Linux namespaces of running containers, so that
// checks and sessions see what the container's own processes see: its root file system,
// its network, its processes.
package spaces

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/tree"
)

// kinds are the namespaces that are entered. The mount namespace is the last, because
// the others are found through the caller's /proc.
var kinds = []struct {
	name string // in /proc/PID/ns
	own  string // the same of the calling thread
	flag int
}{
	{"ipc", "ipc", unix.CLONE_NEWIPC},
	{"uts", "uts", unix.CLONE_NEWUTS},
	{"net", "net", unix.CLONE_NEWNET},
	{"cgroup", "cgroup", unix.CLONE_NEWCGROUP},
	{"pid", "pid_for_children", unix.CLONE_NEWPID},
	{"mnt", "mnt", unix.CLONE_NEWNS},
}

// Enter moves the calling thread into those namespaces of a process that are not its own
// already, and to its root folder. start is field 22 of /proc/PID/stat, which tells the
// process from a later one of the same number; 0 takes any. The thread must be locked
// (runtime.LockOSThread), must not be the process's first one, and is of no other use
// afterwards; what it forks then lives in the container. The new pid namespace holds for
// children only. only limits the namespaces, by their names in /proc/PID/ns; none means all.
func Enter(pid int, start uint64, only ...string) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	dir := fmt.Sprintf("/proc/%d/", pid)
	type space struct {
		file *os.File
		flag int
	}
	var differ []space
	defer func() {
		for _, s := range differ {
			s.file.Close()
		}
	}()
	var root *os.File
	for _, k := range kinds {
		if len(only) > 0 && !contains(only, k.name) {
			continue
		}
		same, err := sameFile(dir+"ns/"+k.name, "/proc/thread-self/ns/"+k.own)
		if err != nil {
			return err
		}
		if same {
			continue
		}
		f, err := os.Open(dir + "ns/" + k.name)
		if err != nil {
			return err
		}
		differ = append(differ, space{f, k.flag})
		if k.flag == unix.CLONE_NEWNS {
			if root, err = os.OpenFile(dir+"root", unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
				return err
			}
			defer root.Close()
		}
	}
	// All is bound by now: it was the right process if it still lives.
	if start != 0 && !tree.Alive(pid, start) {
		return fmt.Errorf("process %d: %w", pid, unix.ESRCH)
	}
	for _, s := range differ {
		if s.flag == unix.CLONE_NEWNS {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return os.NewSyscallError("unshare", err)
			}
		}
		if err := unix.Setns(int(s.file.Fd()), s.flag); err != nil {
			return fmt.Errorf("setns %s: %w", s.file.Name(), err)
		}
	}
	if root == nil {
		return nil
	}
	// The namespace's own root may lie above the container's.
	if err := unix.Fchdir(int(root.Fd())); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	return os.NewSyscallError("chroot", unix.Chroot("."))
}

func contains(all []string, one string) bool {
	for _, x := range all {
		if x == one {
			return true
		}
	}
	return false
}

func sameFile(a, b string) (bool, error) {
	x, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y), err
}

// OnThread runs f on a thread of its own, which ends with it, and waits. f may change what
// belongs to the thread (namespaces, root folder, capabilities). The process's first
// thread, which /proc/PID shows as the process, is never used.
func OnThread(f func()) {
	done := make(chan struct{})
	var run func()
	run = func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if unix.Gettid() != os.Getpid() {
			defer close(done)
			f()
			return
		}
		go run()
		<-done
		runtime.UnlockOSThread()
	}
	go run()
	<-done
}
