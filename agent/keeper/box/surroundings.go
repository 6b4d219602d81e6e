package box

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// surroundings makes the mounts that go with PID and IPC namespaces, with all rights
// still held. The process is in a mount namespace of its own.
func (p *Plan) surroundings() error {
	if !p.Confine.mounts() {
		return nil
	}
	// Where the root is no mount point, the thread that forked has cut the ties already.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil && !errors.Is(err, unix.EINVAL) {
		return &failure{step: "mounts", err: fmt.Errorf("mounts stay shared: %w", err)}
	}
	if p.Confine.PID || p.Confine.JoinPID {
		if err := p.processes(); err != nil {
			return &failure{step: "mounts", err: err}
		}
	}
	if err := p.sharedMemory(); err != nil {
		return &failure{step: "mounts", err: fmt.Errorf("/dev/shm: %w", err)}
	}
	return nil
}

// processes mounts a /proc of this PID namespace.
func (p *Plan) processes() error {
	const hard = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", "/proc", "proc", hard, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	for _, path := range p.ReadOnly {
		err := unix.Mount(path, path, "", unix.MS_BIND, "")
		if err == nil {
			err = unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|hard, "")
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, path := range p.Masked {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err == nil && info.IsDir():
			err = unix.Mount("tmpfs", path, "tmpfs", unix.MS_RDONLY|hard, "size=4k")
		case err == nil:
			err = unix.Mount(os.DevNull, path, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// sharedMemory puts a /dev/shm in place that is not the host's.
func (p *Plan) sharedMemory() error {
	if !p.Confine.Shm && !p.Shared {
		return nil
	}
	if _, err := os.Stat("/dev/shm"); errors.Is(err, os.ErrNotExist) {
		return nil // nothing to stand in for
	}
	if p.Shared {
		return unix.MoveMount(SharedFD, "", unix.AT_FDCWD, "/dev/shm", unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	options := "mode=1777"
	if p.Confine.ShmSize > 0 {
		options += fmt.Sprintf(",size=%d", p.Confine.ShmSize)
	}
	return unix.Mount("shm", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options)
}
