package box

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/keeper/script"
)

// Plan is all that one process is to do.
type Plan struct {
	Confine  Confine
	Path     string // without a slash it is searched in PATH of Env, then in Dir
	Args     []string
	Env      []string
	Dir      string
	User     *User // nil: the keeper's own
	Terminal bool  // stdin is to be the controlling terminal
	// ReadOnly and Masked are folders and files of /proc that are bound read-only from
	// themselves, or covered; for a /proc that is mounted by the plan.
	ReadOnly []string
	Masked   []string
	// Descriptors that the process is born with, beside stdin, stdout, stderr and
	// script.Report.
	Groups []int // files of cgroups through which it enters them
	Status int   // a file for the raw wait status of the program; only used by process 1
	Shared int   // a detached mount that becomes /dev/shm; 0 for none
}

// writer is a script with the plan that it is made of.
type writer struct {
	*script.Script
	*Plan
}

// Script gives the list of system calls. It is made where /proc is the host's.
func (p *Plan) Script() (*script.Script, error) {
	w := writer{new(script.Script), p}
	if len(p.Confine.Seccomp)%sockFilter != 0 {
		return nil, fmt.Errorf("seccomp: a filter of %d bytes is none", len(p.Confine.Seccomp))
	}
	w.begin()
	if p.Confine.PID {
		w.first()
	} else {
		w.surroundings()
	}
	w.limits()
	if !p.Confine.NoNewPrivs { // needs rights that are given up next
		w.filter()
	}
	w.changeUser()
	w.Call("dir", "", unix.SYS_CHDIR, w.text(p.Dir))
	if p.Confine.NoNewPrivs {
		w.prctl("no_new_privs", "", unix.PR_SET_NO_NEW_PRIVS, 1)
		w.filter()
	}
	w.Exec(candidates(p.Path, p.Env, p.Dir), p.Args, p.Env)
	return w.Script, nil
}

func (w writer) text(s string) uint64 { return uint64(w.Text(s)) }

func (w writer) prctl(step, text string, args ...uint64) *script.Script {
	return w.Call(step, text, unix.SYS_PRCTL, args...)
}

func (w writer) mount(source, target, kind string, flags uint64, data string) *script.Script {
	var options uint64
	if data != "" {
		options = w.text(data)
	}
	return w.Call("mounts", target, unix.SYS_MOUNT, w.text(source), w.text(target), w.text(kind), flags, options)
}

// begin enters cgroups and makes sure that neither the program nor other tasks can look
// into the process.
func (w writer) begin() {
	zero := w.text("0")
	for _, fd := range w.Groups {
		w.Call("cgroup", "", unix.SYS_WRITE, uint64(fd), zero, 1)
		w.Call("cgroup", "", unix.SYS_CLOSE, uint64(fd))
	}
	w.prctl("name", "", unix.PR_SET_NAME, w.text(Name)).OrNot()
	if os.Geteuid() == 0 {
		w.prctl("dumpable", "", unix.PR_SET_DUMPABLE, 0).OrNot()
	}
	for _, fd := range []int{script.Report, w.Status, w.Shared} {
		if fd > 0 {
			w.Call("descriptors", "", unix.SYS_FCNTL, uint64(fd), unix.F_SETFD, unix.FD_CLOEXEC)
		}
	}
}

// first makes the process process 1 for good; what follows is its child's.
func (w writer) first() {
	all, none := w.Words(^uint64(0)), w.Words(0)
	mask := func(set script.Pointer) {
		w.Call("signals", "", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uint64(set), 0, 8)
	}
	mask(all)
	w.surroundings()
	w.Fork()
	for _, fd := range []int{0, 1, 2, script.Report, w.Shared} {
		w.Call("descriptors", "", unix.SYS_CLOSE, uint64(fd)).OrNot()
	}
	w.First(w.Status, all)
	w.Child()
	mask(none)
	if w.Terminal {
		w.Call("terminal", "setsid", unix.SYS_SETSID)
		w.Call("terminal", "stdin", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
}

func (w writer) limits() {
	for _, l := range w.Confine.Rlimits {
		w.Call("rlimits", fmt.Sprintf("limit %d to %d, %d", l.Resource, l.Soft, l.Hard),
			unix.SYS_PRLIMIT64, 0, uint64(l.Resource), uint64(w.Words(l.Soft, l.Hard)), 0)
	}
}

const sockFilter = 8 // bytes of struct sock_filter

func (w writer) filter() {
	f := w.Confine.Seccomp
	if len(f) == 0 {
		return
	}
	prog := make([]byte, 8, 16) // struct sock_fprog: the length, and where the filter is
	binary.NativeEndian.PutUint16(prog, uint16(len(f)/sockFilter))
	prog = binary.NativeEndian.AppendUint64(prog, uint64(w.Bytes(f)))
	w.prctl("seccomp", "", unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uint64(w.Bytes(prog)))
}

// changeUser gives up capabilities and changes the user.
func (w writer) changeUser() {
	c := w.Confine.Capabilities
	if c != nil {
		for n := range capabilities() {
			if c.Bounding&(1<<n) == 0 { // one that is not held can be dropped, too
				w.prctl("capabilities", fmt.Sprintf("capability %d cannot be dropped", n), unix.PR_CAPBSET_DROP, uint64(n))
			}
		}
		w.prctl("capabilities", "", unix.PR_SET_KEEPCAPS, 1)
	}
	if u := w.User; u != nil {
		var groups []byte
		for _, g := range u.Groups {
			groups = binary.NativeEndian.AppendUint32(groups, g)
		}
		w.Call("user", fmt.Sprintf("groups %v", u.Groups), unix.SYS_SETGROUPS, uint64(len(u.Groups)), uint64(w.Bytes(groups)))
		gid, uid := uint64(u.GID), uint64(u.UID)
		w.Call("user", fmt.Sprintf("group %d", gid), unix.SYS_SETRESGID, gid, gid, gid)
		w.Call("user", fmt.Sprintf("user %d", uid), unix.SYS_SETRESUID, uid, uid, uid)
	}
	if c != nil {
		w.holdCapabilities(c.Effective)
	}
}

// holdCapabilities sets effective, permitted, inheritable and ambient set alike, so that
// a program of a user other than root keeps them too. A capability that this kernel lacks is none.
func (w writer) holdCapabilities(effective uint64) {
	effective &= 1<<capabilities() - 1
	var head, sets []byte
	head = binary.NativeEndian.AppendUint32(head, unix.LINUX_CAPABILITY_VERSION_3)
	head = binary.NativeEndian.AppendUint32(head, 0)
	for _, part := range []uint32{uint32(effective), uint32(effective >> 32)} {
		for range 3 { // effective, permitted, inheritable
			sets = binary.NativeEndian.AppendUint32(sets, part)
		}
	}
	w.Call("capabilities", fmt.Sprintf("%#x", effective), unix.SYS_CAPSET, uint64(w.Bytes(head)), uint64(w.Bytes(sets)))
	for n := range capabilities() {
		if effective&(1<<n) != 0 {
			w.prctl("capabilities", fmt.Sprintf("capability %d", n), unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uint64(n))
		}
	}
}

// capabilities tells how many this kernel has.
var capabilities = sync.OnceValue(func() int {
	for n := range 64 {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err != nil {
			return n
		}
	}
	return 63
})
