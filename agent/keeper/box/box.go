// Package box is what happens between the keeper's fork and a task's program when a task
// wants more than cgroups, mounts and a user: a PID namespace, resource limits,
// capabilities, a system call filter. A Plan becomes a list of system calls, in the order
// of mesos-agent.md 7.1, which the new process carries out; see package script.
//
// A task with a PID namespace of its own has such a process as process 1 for all its
// life: it starts a second one that becomes the program, passes signals on, collects
// orphans, and writes down how the program ended.
package box

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// Name is argv[0] and the name of such a process; the task's id follows it.
const Name = "stoa-box"

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

// StatusOf reads what a process 1 wrote down about the end of its program; ok is false
// when it wrote nothing.
func StatusOf(raw []byte) (status syscall.WaitStatus, ok bool) {
	if len(raw) < 4 {
		return 0, false
	}
	return syscall.WaitStatus(binary.NativeEndian.Uint32(raw)), true
}
