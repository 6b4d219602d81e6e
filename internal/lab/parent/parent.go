// Package parent starts processes that must not outlive a test binary which crashes or
// runs into its time limit.
package parent

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Start starts cmd, which gets SIGKILL when this process ends. The parent death signal is
// bound to the thread that forked, and threads of Go end too, those that a goroutine was
// locked to; so one thread, which lives as long as the process, starts them all.
func Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	once.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range work {
				f()
			}
		}()
	})
	result := make(chan error)
	work <- func() { result <- cmd.Start() }
	return <-result
}

var (
	once sync.Once
	work = make(chan func())
)
