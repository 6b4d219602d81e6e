package check

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/agent/keeper/script"
)

// placed is how a process comes into control groups.
type placed struct {
	born *os.File   // the group of version 2 that it is born in; may be nil
	move []*os.File // of version 1: files through which it moves itself
}

// into opens the groups where this process still sees them. No thread of this process may
// be in a group of version 1, not even to fork: who kills the group would kill this process.
func into(cmd *exec.Cmd, groups []string) (p placed, err error) {
	for _, dir := range groups {
		if cgroup.IsV2(dir) {
			if p.born, err = os.Open(dir); err != nil {
				return p, err
			}
			cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(p.born.Fd())
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
		if err != nil {
			return p, err
		}
		p.move = append(p.move, f)
	}
	return p, nil
}

func (p placed) close() {
	if p.born != nil {
		p.born.Close()
	}
	for _, f := range p.move {
		f.Close()
	}
}

// boxed is a process that prepares itself before it becomes the program of a probe.
type boxed struct {
	script            *script.Script
	program           *os.File // by whose descriptor it is executed
	report, reporting *os.File // what it says before, and the end that it has
}

func (b boxed) close() {
	for _, f := range []*os.File{b.program, b.report, b.reporting} {
		if f != nil {
			f.Close()
		}
	}
}

// prepare makes cmd start such a process: it moves into the groups, confines itself as
// target is, and changes its user. It must be called where /proc is the host's.
func prepare(cmd *exec.Cmd, path string, cred *syscall.Credential, target Target, move []*os.File) (b boxed, err error) {
	plan := box.Plan{Path: path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir}
	if target.Confine != nil {
		plan.Confine = *target.Confine
	}
	if cred != nil {
		plan.User = &box.User{UID: cred.Uid, GID: cred.Gid, Groups: cred.Groups}
	}
	for i := range move {
		plan.Groups = append(plan.Groups, script.Report+1+i)
	}
	if b.script, err = plan.Script(); err != nil {
		return b, err
	}
	file, err := b.script.File()
	if err != nil {
		return b, err
	}
	defer file.Close()
	// Above the descriptors that it is given, which replace what has their numbers.
	high, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 64)
	if err != nil {
		return b, os.NewSyscallError("fcntl", err)
	}
	b.program = os.NewFile(uintptr(high), file.Name())
	if b.report, b.reporting, err = os.Pipe(); err != nil {
		return b, err
	}
	cmd.Path, cmd.Args, cmd.Env, cmd.Dir = "/proc/self/fd/"+strconv.Itoa(high), []string{box.Name, "check"}, cmd.Env[len(cmd.Env)-1:], "/"
	cmd.SysProcAttr.Credential = nil // it changes users itself, after all that needs rights
	cmd.ExtraFiles = append([]*os.File{b.reporting}, move...)
	return b, nil
}

// reported waits until the process has become the program; nil then.
func (b boxed) reported() *Result {
	b.reporting.Close()
	var said [64]byte
	n, err := io.ReadFull(b.report, said[:])
	switch {
	case err == io.EOF:
		return nil
	case err != nil && err != io.ErrUnexpectedEOF:
		return &Result{Err: err.Error()}
	}
	step, why, notRun := b.script.Failed(said[:n])
	if notRun {
		return &Result{Seen: true, ExitCode: 1, Err: why.Error()} // as Mesos' exec helper ends
	}
	return &Result{Err: fmt.Sprintf("%s: %v", step, why)}
}

// awaitEnd waits for the end of a child and leaves it to be reaped.
func awaitEnd(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}
