package keeper

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mountAll moves the calling thread into a mount namespace of its own and binds what a
// task wants to see. Mounts of the host still appear in it; its own do not leave it.
func mountAll(all []Mount) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("no mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mounts stay shared: %w", err)
	}
	for _, m := range all {
		if err := unix.Mount(m.Source, m.Target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("%s on %s: %w", m.Source, m.Target, err)
		}
		if !m.ReadOnly {
			continue
		}
		if err := unix.Mount("", m.Target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("%s read-only: %w", m.Target, err)
		}
	}
	return nil
}
