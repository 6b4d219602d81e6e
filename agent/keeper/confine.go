package keeper

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/agent/keeper/script"
	"github.com/stoa-project/stoa/internal/fault"
)

// boxPatience is how long a process that prepares itself may take to become the program.
const boxPatience = time.Minute

// boxed is a process that prepares itself, before it is started: its program, and what it
// is given beside stdin, stdout and stderr.
type boxed struct {
	script  *script.Script
	program *os.File
	report  *os.File // the end that is written to
	reader  *os.File // the other end
	status  *os.File // nil unless it becomes a process 1
	shared  *os.File // nil unless it shares a /dev/shm
	groups  []*os.File
}

// prepareBox makes all that while the calling thread still sees the host's files, and
// enters single namespaces of another task: entered tells that the thread must not be used
// for others then. groups are the cgroups that the new process enters itself. The caller
// closes b, also after an error.
func (s *spawner) prepareBox(job spawnJob, groups, args []string, changeUser bool) (b boxed, entered bool, err error) {
	spec, c := job.spec, job.spec.Confine
	if c == nil {
		c = new(Confine)
	}
	plan := box.Plan{
		Confine: *c, Path: spec.Path, Args: args, Env: markedEnv(spec.Env, s.dir, spec.ID), Dir: spec.Dir, Terminal: spec.Terminal != nil,
	}
	if changeUser {
		plan.User = spec.User
	}
	if spec.Root != nil {
		plan.ReadOnly, plan.Masked = procOnly()
	}
	if b.reader, b.report, err = os.Pipe(); err != nil {
		return b, false, err
	}
	fd := script.Report + 1
	for _, dir := range groups {
		f, err := openAs(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY)
		if err != nil {
			return b, false, err
		}
		b.groups, plan.Groups = append(b.groups, f), append(plan.Groups, fd)
		fd++
	}
	if c.PID {
		if b.status, err = openAs(statusPath(s.dir, spec.ID), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW); err != nil {
			return b, false, err
		}
		plan.Status = fd
		fd++
	}
	if c.JoinShm {
		if b.shared, err = sharedMemoryOf(job.joined); err != nil {
			return b, false, fmt.Errorf("/dev/shm of %s: %w", c.Join, err)
		}
		plan.Shared = fd
	}
	if b.script, err = plan.Script(); err != nil {
		return b, false, err
	}
	if b.program, err = b.script.File(); err != nil {
		return b, false, err
	}
	if job.joined == nil || len(c.Joined()) == 0 {
		return b, false, nil
	}
	if err := spaces.Enter(job.joined.PID, job.joined.Start, c.Joined()...); err != nil {
		return b, true, fmt.Errorf("entering namespaces of %s: %w", c.Join, err)
	}
	return b, true, nil
}

// openAs opens a file past Go's poller, which has no use for it.
func openAs(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// inherited lists what the process has from script.Report on.
func (b *boxed) inherited() []*os.File {
	out := append([]*os.File{b.report}, b.groups...)
	for _, f := range []*os.File{b.status, b.shared} {
		if f != nil {
			out = append(out, f)
		}
	}
	return out
}

// close lets go of what the child has, or does not need.
func (b *boxed) close() {
	for _, f := range append(b.inherited(), b.program, b.reader) {
		if f != nil {
			f.Close()
		}
	}
}

// spawnBox forks a process that prepares itself.
func (s *spawner) spawnBox(spec *Spec, b *boxed, files [3]*os.File, sys *syscall.SysProcAttr) spawned {
	fail := func(kind fault.Kind, subject string, err error) spawned {
		return spawned{err: fault.New("keeper.start", kind, subject, err)}
	}
	sys.Credential = nil // the process changes users itself, after all that needs rights
	if c := spec.Confine; c != nil {
		if c.PID {
			sys.Setctty = false // the terminal is the program's, not process 1's
		}
		sys.Cloneflags = c.CloneFlags()
	}
	attr := &syscall.ProcAttr{Dir: "/", Env: markedEnv(nil, s.dir, spec.ID), Sys: sys}
	for _, f := range append(files[:], b.inherited()...) {
		attr.Files = append(attr.Files, f.Fd())
	}
	program, err := above(b.program.Fd(), attr.Files)
	if err != nil {
		return fail(fault.Unavailable, spec.ID, err)
	}
	defer unix.Close(program)
	pid, err := s.forkExec(spec, "/proc/self/fd/"+strconv.Itoa(program), []string{box.Name, spec.ID}, attr)
	if err != nil {
		return fail(fault.Unavailable, spec.ID, fmt.Errorf("cannot start a process: %w", err))
	}
	pidfd := *sys.PidFD
	if pidfd < 0 {
		if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, 0, nil)
			return fail(fault.Unsupported, "pidfd", fmt.Errorf("%w: Linux 5.4 or newer is needed", err))
		}
	}
	out := spawned{pid: pid, pidfd: pidfd, report: b.reader, script: b.script}
	b.reader = nil
	return out
}

// above copies the descriptor by which a program is started to where the child still has
// it when it starts that: what it is given replaces what has the numbers from 0 on, and
// until then lies, like a pipe of Go's own, just above the highest of given.
func above(fd uintptr, given []uintptr) (int, error) {
	top := uintptr(len(given))
	for _, g := range given {
		top = max(top, g)
	}
	return unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, int(top)+len(given)+2)
}

// sharedMemoryOf gives a detached copy of another task's /dev/shm.
func sharedMemoryOf(t *Task) (f *os.File, err error) {
	spaces.OnThread(func() {
		if err = spaces.Enter(t.PID, t.Start, "mnt"); err != nil {
			return
		}
		var fd int
		if fd, err = unix.OpenTree(unix.AT_FDCWD, "/dev/shm", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC); err == nil {
			f = os.NewFile(uintptr(fd), "/dev/shm")
		}
	})
	return f, err
}

// procOnly gives what is read-only and what is masked in the /proc of a root of a task's own.
func procOnly() (readOnly, hidden []string) {
	for _, s := range special {
		if s.kind == "" && strings.HasPrefix(s.at, "/proc/") {
			readOnly = append(readOnly, s.at)
		}
	}
	for _, m := range masked {
		if strings.HasPrefix(m, "/proc/") {
			hidden = append(hidden, m)
		}
	}
	return readOnly, hidden
}

// await waits until a process that prepares itself has become the program. Otherwise it is
// gone when await returns: notRun is the task's own fault, and said on its stderr; err is not.
func (out *spawned) await(spec *Spec) (notRun, err error) {
	defer func() {
		out.report.Close()
		if out.stderr != nil {
			out.stderr.Close()
		}
	}()
	_ = out.report.SetReadDeadline(time.Now().Add(boxPatience))
	var said [64]byte
	n, err := io.ReadFull(out.report, said[:])
	if err == io.EOF {
		return nil, nil
	}
	_ = unix.PidfdSendSignal(out.pidfd, unix.SIGKILL, nil, 0)
	_, _ = syscall.Wait4(out.pid, nil, 0, nil)
	unix.Close(out.pidfd)
	if err != nil && err != io.ErrUnexpectedEOF {
		return nil, fault.New("keeper.start", fault.Timeout, spec.ID, fmt.Errorf("the process was not ready within %s: %w", boxPatience, err))
	}
	step, why, notExecuted := out.script.Failed(said[:n])
	if notExecuted {
		if out.says != nil {
			box.SayNotRun(out.says, spec.Path, why)
		}
		return why, nil
	}
	return nil, fault.New("keeper.start", fault.Invalid, step, why)
}

// statusFolder holds what processes 1 write down about the end of their programs.
const statusFolder = "status"

func statusPath(dir, id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(dir, statusFolder, hex.EncodeToString(sum[:16]))
}

// firstStatus reads how the program of a task with a process 1 ended.
func (k *Keeper) firstStatus(t *task) (syscall.WaitStatus, bool) {
	if !t.First {
		return 0, false
	}
	raw, err := os.ReadFile(statusPath(k.cfg.Dir, t.ID))
	if err != nil {
		return 0, false
	}
	return box.StatusOf(raw)
}

// joins gives the task of which a spec wants single namespaces; empty for none.
func (s *Spec) joins() string {
	if s.Confine == nil {
		return ""
	}
	return s.Confine.Join
}

// spaces gives the namespaces that a process of a spec does not share with the host, as
// far as the spec says so.
func (s *Spec) spaces() uint64 {
	var flags uint64
	if len(s.Mounts) > 0 || s.Root != nil {
		flags |= unix.CLONE_NEWNS
	}
	if c := s.Confine; c != nil {
		flags |= uint64(c.CloneFlags())
		if c.JoinPID {
			flags |= unix.CLONE_NEWPID
		}
		if c.JoinIPC {
			flags |= unix.CLONE_NEWIPC
		}
	}
	return flags
}

// validateConfine says what is wrong with how a task is to be confined.
func (s *Spec) validateConfine() error {
	if s.OOMScore < -1000 || s.OOMScore > 1000 {
		return fmt.Errorf("oom_score %d is not from -1000 to 1000", s.OOMScore)
	}
	c := s.Confine
	if c == nil {
		return nil
	}
	switch {
	case c.Join == "" && (c.JoinPID || c.JoinIPC || c.JoinShm):
		return errors.New("join is missing: it names the task whose namespaces are shared")
	case c.Join != "" && !c.JoinPID && !c.JoinIPC && !c.JoinShm:
		return errors.New("join names a task of which nothing is shared")
	case c.PID && c.JoinPID, c.IPC && c.JoinIPC, c.Shm && c.JoinShm:
		return errors.New("a namespace cannot be both its own and another task's")
	case s.Inside != "" && (c.PID || c.IPC || c.Shm || c.Join != ""):
		return errors.New("a process inside another task has no namespaces of its own")
	case c.Capabilities != nil && c.Capabilities.Effective&^c.Capabilities.Bounding != 0:
		return errors.New("effective capabilities must be bounding ones too")
	case len(c.Seccomp) > 4096*8:
		return fmt.Errorf("a filter of %d bytes is larger than the kernel takes, %d", len(c.Seccomp), 4096*8)
	}
	return nil
}

// needs names what a keeper must be able to do for a spec; see Info.Can.
func (s *Spec) needs() []string {
	var out []string
	if s.needsRoot() {
		out = append(out, "root")
	}
	if s.Confine != nil || s.OOMScore != 0 {
		out = append(out, "confine")
	}
	if s.Root != nil && len(s.Root.Devices) > 0 {
		out = append(out, "devices")
	}
	return slices.Clip(out)
}
