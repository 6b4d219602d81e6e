package box

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// hard is what special file systems are mounted with.
const hard = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// surroundings makes the mounts that go with PID and IPC namespaces, with all rights
// still held. The process is in a mount namespace of its own.
func (w writer) surroundings() {
	if !w.Confine.mounts() {
		return
	}
	// Where the root is no mount point, the thread that forked has cut the ties already.
	w.Call("mounts", "mounts stay shared", unix.SYS_MOUNT, w.text(""), w.text("/"), 0, unix.MS_REC|unix.MS_SLAVE, 0).OrElse(unix.EINVAL)
	if w.Confine.PID || w.Confine.JoinPID {
		w.processes()
	}
	w.sharedMemory()
}

// processes mounts a /proc of this PID namespace. What there is to be hidden in it is
// the same in every /proc of a kernel.
func (w writer) processes() {
	w.mount("proc", "/proc", "proc", hard, "")
	for _, path := range w.ReadOnly {
		w.mount(path, path, "", unix.MS_BIND, "").OrSkip(1, unix.ENOENT)
		w.mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|hard, "")
	}
	for _, path := range w.Masked {
		info, err := os.Stat(path)
		switch {
		case err != nil: // not in this kernel
		case info.IsDir():
			w.mount("tmpfs", path, "tmpfs", unix.MS_RDONLY|hard, "size=4k").OrElse(unix.ENOENT)
		default:
			w.mount(os.DevNull, path, "", unix.MS_BIND, "").OrElse(unix.ENOENT)
		}
	}
}

// sharedMemory puts a /dev/shm in place that is not the host's, where there is one.
func (w writer) sharedMemory() {
	const at = "/dev/shm"
	switch {
	case w.Shared > 0:
		here := int64(unix.AT_FDCWD)
		w.Call("mounts", at, unix.SYS_MOVE_MOUNT, uint64(w.Shared), w.text(""), uint64(here), w.text(at), unix.MOVE_MOUNT_F_EMPTY_PATH).OrElse(unix.ENOENT)
	case w.Confine.Shm:
		options := "mode=1777"
		if w.Confine.ShmSize > 0 {
			options += fmt.Sprintf(",size=%d", w.Confine.ShmSize)
		}
		w.mount("shm", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options).OrElse(unix.ENOENT)
	}
}
