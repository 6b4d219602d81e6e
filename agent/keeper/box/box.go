// Package box is what runs between the keeper's fork and a task's program when a task
// wants more than cgroups, mounts and a user: a PID namespace, resource limits,
// capabilities, a system call filter. The keeper executes its own binary again under the
// name Name; that process reads a Plan, changes itself step by step in the order of
// mesos-agent.md 7.1, and becomes the program.
//
// A task with a PID namespace of its own has such a process as process 1 for all its
// life: it starts a second one that becomes the program, passes signals on, collects
// orphans, and writes down how the program ended.
//
// All this happens while the binary's packages are initialised, before those that have
// more to prepare. So it costs 2 ms instead of 15, and a process 1 holds 1 MiB instead of
// 20. For that this package may import little: the standard library without net, and
// golang.org/x/sys/unix.
package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Name is argv[0] of such a process; the task's id follows it.
const Name = "stoa-box"

// Descriptors that it is born with, beside stdin, stdout and stderr.
const (
	PlanFD   = 3 // a file with a Plan
	ReportFD = 4 // a pipe: a Report when the program could not be started, nothing otherwise
	StatusFD = 5 // a file for the raw wait status of the program; only used by process 1
	SharedFD = 6 // a detached mount for /dev/shm; only with Plan.Shared
)

// Confine is what a process is confined by, apart from its cgroups, mounts and user.
type Confine struct {
	// PID gives a PID namespace of its own, with its own /proc.
	PID bool `json:"pid,omitempty"`
	// IPC gives an IPC namespace of its own, Shm a /dev/shm of its own of ShmSize bytes
	// (0: the kernel's default, half of the memory).
	IPC     bool   `json:"ipc,omitempty"`
	Shm     bool   `json:"shm,omitempty"`
	ShmSize uint64 `json:"shm_size,omitempty"`
	// Join names a running task of which the process shares the PID namespace, the IPC
	// namespace or /dev/shm.
	Join    string `json:"join,omitempty"`
	JoinPID bool   `json:"join_pid,omitempty"`
	JoinIPC bool   `json:"join_ipc,omitempty"`
	JoinShm bool   `json:"join_shm,omitempty"`

	Rlimits      []Rlimit      `json:"rlimits,omitempty"`
	Capabilities *Capabilities `json:"capabilities,omitempty"` // nil: as the user has them
	NoNewPrivs   bool          `json:"no_new_privs,omitempty"`
	// Seccomp is a filter: struct sock_filter after struct sock_filter, in the host's byte
	// order; empty for none.
	Seccomp []byte `json:"seccomp,omitempty"`
}

// Rlimit is one resource limit, by the number setrlimit(2) knows it by. Unlimited is
// the largest number.
type Rlimit struct {
	Resource int    `json:"resource"`
	Soft     uint64 `json:"soft"`
	Hard     uint64 `json:"hard"`
}

// Capabilities are sets of capabilities: bit n is capability n. Effective must be a
// part of Bounding.
type Capabilities struct {
	Effective uint64 `json:"effective"`
	Bounding  uint64 `json:"bounding"`
}

// User is who the program runs as.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Plan is the whole order of one process.
type Plan struct {
	Confine  Confine  `json:"confine"`
	Path     string   `json:"path"` // without a slash it is searched in PATH of Env, then in Dir
	Args     []string `json:"args"`
	Env      []string `json:"env,omitempty"`
	Dir      string   `json:"dir"`
	User     *User    `json:"user,omitempty"`     // nil: the keeper's own
	Terminal bool     `json:"terminal,omitempty"` // stdin is to be the controlling terminal
	Shared   bool     `json:"shared,omitempty"`   // SharedFD is to be /dev/shm
	// ReadOnly and Masked are folders and files of /proc that are bound read-only from
	// themselves, or covered; for a /proc that is mounted here.
	ReadOnly []string `json:"read_only,omitempty"`
	Masked   []string `json:"masked,omitempty"`
}

// Report says why a program does not run. NotRun tells a program that could not be
// executed, which is the task's own fault, from a step before, named by Step.
type Report struct {
	NotRun bool   `json:"not_run,omitempty"`
	Step   string `json:"step,omitempty"`
	Errno  int    `json:"errno,omitempty"`
	Text   string `json:"text"`
}

// Err gives the report as an error: the bare error number when there is one.
func (r Report) Err() error {
	if r.NotRun && r.Errno != 0 {
		return syscall.Errno(r.Errno)
	}
	return fmt.Errorf("%s: %s", r.Step, r.Text)
}

// CloneFlags gives what the process has to be cloned with.
func (c *Confine) CloneFlags() uintptr {
	var flags uintptr
	if c.PID {
		flags |= unix.CLONE_NEWPID
	}
	if c.IPC {
		flags |= unix.CLONE_NEWIPC
	}
	if c.mounts() {
		flags |= unix.CLONE_NEWNS
	}
	return flags
}

// mounts tells whether anything is mounted here.
func (c *Confine) mounts() bool { return c.PID || c.Shm || c.JoinPID || c.JoinShm }

func init() {
	if len(os.Args) > 0 && os.Args[0] == Name {
		os.Exit(run())
	}
}

// second is the last argument of a process that is started by a process 1.
const second = "program"

// run is the whole life of the process. It is on the first thread, and nothing else runs.
func run() int {
	name := append([]byte(Name), 0) // it was executed by the number of a descriptor
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
	if os.Geteuid() == 0 {
		// Nobody in the namespaces it enters may look into it or at its binary.
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	}
	for _, fd := range []int{PlanFD, ReportFD, StatusFD, SharedFD} {
		unix.CloseOnExec(fd)
	}
	var p Plan
	raw, err := readPlan()
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil {
		return report(&failure{step: "plan", err: err})
	}
	if p.Confine.PID && os.Args[len(os.Args)-1] != second {
		return first(&p)
	}
	if !p.Confine.PID {
		if err := p.surroundings(); err != nil {
			return report(err)
		}
	}
	return report(p.become())
}

// readPlan reads the whole file and leaves it open, for the second process.
func readPlan() ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(PlanFD, &st); err != nil {
		return nil, err
	}
	raw := make([]byte, st.Size)
	for off := 0; off < len(raw); {
		n, err := unix.Pread(PlanFD, raw[off:], int64(off))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		off += n
	}
	return raw, nil
}

// failure is a step that did not work.
type failure struct {
	step   string
	err    error
	notRun bool
}

func (f *failure) Error() string { return f.step + ": " + f.err.Error() }

// report tells the keeper why, and gives the exit code.
func report(err error) int {
	r := Report{Text: err.Error()}
	var f *failure
	if errors.As(err, &f) {
		r.Step, r.NotRun, r.Text = f.step, f.notRun, f.err.Error()
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		r.Errno = int(errno)
	}
	raw, _ := json.Marshal(r)
	_, _ = unix.Write(ReportFD, raw)
	return 1
}

// Joined names the namespaces of Join, as /proc/PID/ns does.
func (c *Confine) Joined() []string {
	var out []string
	if c.JoinPID {
		out = append(out, "pid")
	}
	if c.JoinIPC {
		out = append(out, "ipc")
	}
	return out
}
