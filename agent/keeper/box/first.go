package box

import (
	"encoding/binary"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// first is the life of process 1 of a PID namespace: it prepares the surroundings, starts
// the process that becomes the program, and lives until that one's program ends. With it the kernel ends
// every other process of the namespace.
func first(p *Plan) int {
	// All that can be caught reaches the program, and nothing gets lost before it is there.
	caught := make(chan os.Signal, 64)
	signal.Notify(caught)
	if err := p.surroundings(); err != nil {
		return report(err)
	}
	attr := &syscall.ProcAttr{
		Env:   []string{"GOMAXPROCS=1"},
		Files: []uintptr{0, 1, 2, PlanFD, ReportFD},
		Sys:   &syscall.SysProcAttr{},
	}
	if p.Terminal {
		attr.Sys.Setsid, attr.Sys.Setctty, attr.Sys.Ctty = true, true, 0
	}
	child, err := syscall.ForkExec("/proc/self/exe", append(append([]string{}, os.Args...), second), attr)
	if err != nil {
		return report(&failure{step: "fork", err: err})
	}
	for _, fd := range []int{0, 1, 2, PlanFD, ReportFD} {
		unix.Close(fd)
	}
	go func() { // ends with the process
		for s := range caught {
			switch s {
			case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE:
			default:
				_ = syscall.Kill(child, s.(syscall.Signal))
			}
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 1 // no child is left, so the program was not seen to end
		case pid == child:
			return ended(status)
		}
	}
}

// ended writes the program's end down before the namespace goes, since process 1 cannot
// die by the signal its program died by.
func ended(status syscall.WaitStatus) int {
	_, _ = unix.Pwrite(StatusFD, binary.LittleEndian.AppendUint32(nil, uint32(status)), 0)
	if status.Exited() {
		return status.ExitStatus()
	}
	return 128 + int(status.Signal())
}

// StatusOf reads what a process 1 wrote down; ok is false when it wrote nothing.
func StatusOf(raw []byte) (status syscall.WaitStatus, ok bool) {
	if len(raw) < 4 {
		return 0, false
	}
	return syscall.WaitStatus(binary.LittleEndian.Uint32(raw)), true
}
