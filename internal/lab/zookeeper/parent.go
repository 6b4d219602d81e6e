package zookeeper

import (
	"os/exec"
	"runtime"
	"sync"
)

// startLocked starts cmd from a thread that lives as long as the process, because the
// parent death signal is bound to the thread that forked. A test binary that crashes
// or runs into its time limit then leaves no server behind.
func startLocked(cmd *exec.Cmd) error {
	parentOnce.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range parentWork {
				f()
			}
		}()
	})
	result := make(chan error)
	parentWork <- func() { result <- cmd.Start() }
	return <-result
}

var (
	parentOnce sync.Once
	parentWork = make(chan func())
)
