package spaces

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Network moves the calling thread into the network namespace that a file names, and into a
// new UTS namespace with the given host name; an empty name leaves the host's. What Enter
// says of the thread holds here too.
func Network(file, hostname string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("setns %s: %w", file, err)
	}
	if hostname == "" {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	return os.NewSyscallError("sethostname", unix.Sethostname([]byte(hostname)))
}
