package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/stoa-project/stoa/internal/fault"
)

// lockDir keeps a second agent out of a folder that can have only one: it would take the
// first one's tasks for strangers and end them. The lock goes with the process.
func lockDir(dir, flag string) (*os.File, error) {
	const op = "agent"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.New(op, fault.Invalid, flag, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "agent.lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fault.New(op, fault.Invalid, flag, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fault.New(op, fault.Conflict, flag, fmt.Errorf("another agent uses %s: give each agent its own", dir))
	}
	return f, nil
}
