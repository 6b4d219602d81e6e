package keeper

import (
	"fmt"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// nodes makes device files and gives a detached mount of each: the task's own /dev allows no
// devices, nor does anything else in its root, but what is mounted of a file system that does.
// That file system has no place when nodes returns.
func (s *stage) nodes(list []Device) (mounts []int, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	place, err := s.target("/dev", true, true)
	if err != nil {
		return nil, err
	}
	defer place.Close()
	if err := unix.Mount("devices", fdPath(place), "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755,size=64k"); err != nil {
		return nil, err
	}
	scratch, err := s.target("/dev", true, false) // the mount, not what it covers
	if err != nil {
		return nil, err
	}
	at := int(scratch.Fd())
	defer scratch.Close()
	defer unix.Unmount(fdPath(scratch), unix.MNT_DETACH)
	for i, d := range list {
		kind := uint32(unix.S_IFCHR)
		if d.Block {
			kind = unix.S_IFBLK
		}
		name := fmt.Sprint(i)
		err := unix.Mknodat(at, name, kind|0o600, int(unix.Mkdev(d.Major, d.Minor)))
		if err == nil {
			err = unix.Fchmodat(at, name, d.Mode, 0) // whatever this process's mask is
		}
		fd := -1
		if err == nil {
			fd, err = unix.OpenTree(at, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		}
		if err != nil {
			closeAll(mounts)
			return nil, fmt.Errorf("device %s: %w", d.Path, err)
		}
		mounts = append(mounts, fd)
	}
	return mounts, nil
}

// attachNodes puts them where the task finds them.
func (s *stage) attachNodes(list []Device, mounts []int) error {
	for i, d := range list {
		at, err := s.target(path.Join("/dev", d.Path), false, true)
		if err == nil {
			err = unix.MoveMount(mounts[i], "", int(at.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
			at.Close()
		}
		if err != nil {
			return fmt.Errorf("/dev/%s: %w", d.Path, err)
		}
	}
	return nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// maxDevices keeps /dev within its size.
const maxDevices = 1024

func validateDevices(list []Device) error {
	if len(list) > maxDevices {
		return fmt.Errorf("%d devices, at most %d", len(list), maxDevices)
	}
	for _, d := range list {
		if !filepath.IsLocal(d.Path) || filepath.Clean(d.Path) == "." || d.Mode&^0o666 != 0 {
			return fmt.Errorf("device %q with mode %#o: must be a path below /dev, and permissions of at most 0666", d.Path, d.Mode)
		}
	}
	return nil
}
