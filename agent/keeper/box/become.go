package box

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// become turns this process into the program. It returns only when that fails.
func (p *Plan) become() error {
	c := &p.Confine
	for _, l := range c.Rlimits {
		// syscall's, not unix's: only that one keeps exec from restoring the limit of open files.
		if err := syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return &failure{step: "rlimits", err: fmt.Errorf("limit %d to %d, %d: %w", l.Resource, l.Soft, l.Hard, err)}
		}
	}
	if len(c.Seccomp) > 0 && !c.NoNewPrivs { // needs rights that are given up next
		if err := loadFilter(c.Seccomp); err != nil {
			return &failure{step: "seccomp", err: err}
		}
	}
	if err := p.changeUser(); err != nil {
		return err
	}
	if err := os.Chdir(p.Dir); err != nil {
		return &failure{step: "dir", err: err}
	}
	program, err := LookPath(p.Path, p.Env, p.Dir)
	if err != nil {
		return p.notRun(err)
	}
	if c.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return &failure{step: "no_new_privs", err: err}
		}
		if len(c.Seccomp) > 0 {
			if err := loadFilter(c.Seccomp); err != nil {
				return &failure{step: "seccomp", err: err}
			}
		}
	}
	return p.notRun(syscall.Exec(program, p.Args, p.Env))
}

// notRun says why the program cannot be executed, to the task's owner as Mesos says it
// (mesos-agent.md 2.2), and to the keeper.
func (p *Plan) notRun(err error) error {
	SayNotRun(os.Stderr, p.Path, err)
	return &failure{step: "exec", err: err, notRun: true}
}

// SayNotRun writes the sentence about a program that cannot be executed.
func SayNotRun(to io.Writer, path string, err error) {
	text := err.Error()
	var errno syscall.Errno
	if errors.As(err, &errno) { // strerror(3), for what exec says most
		text = errno.Error()
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	fmt.Fprintf(to, "Failed to execute '%s': %s\n", path, text)
}

// changeUser gives up capabilities and changes the user of this thread, which is the
// one that becomes the program.
func (p *Plan) changeUser() error {
	c := p.Confine.Capabilities
	if c != nil {
		if err := dropBounding(c.Bounding); err != nil {
			return &failure{step: "capabilities", err: err}
		}
		if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
			return &failure{step: "capabilities", err: err}
		}
	}
	if u := p.User; u != nil {
		if err := setUser(u); err != nil {
			return &failure{step: "user", err: err}
		}
	}
	if c != nil {
		if err := setCapabilities(c.Effective); err != nil {
			return &failure{step: "capabilities", err: err}
		}
	}
	return nil
}

func setUser(u *User) error {
	var groups unsafe.Pointer
	if len(u.Groups) > 0 {
		groups = unsafe.Pointer(&u.Groups[0])
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(u.Groups)), uintptr(groups), 0); e != 0 {
		return fmt.Errorf("groups %v: %w", u.Groups, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(u.GID), uintptr(u.GID), uintptr(u.GID)); e != 0 {
		return fmt.Errorf("group %d: %w", u.GID, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(u.UID), uintptr(u.UID), uintptr(u.UID)); e != 0 {
		return fmt.Errorf("user %d: %w", u.UID, e)
	}
	return nil
}

// lastCapability is above every capability of a kernel; those it has not got answer EINVAL.
const lastCapability = 63

func dropBounding(keep uint64) error {
	for c := range lastCapability + 1 {
		if keep&(1<<c) != 0 {
			continue
		}
		held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil {
			return nil // no such capability, nor any after it
		}
		if held == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("capability %d cannot be dropped: %w", c, err)
		}
	}
	return nil
}

// setCapabilities sets effective, permitted, inheritable and ambient set alike, so that
// a program of a user other than root keeps them too.
func setCapabilities(effective uint64) error {
	if effective != 0 { // a capability this kernel lacks is none
		for c := range lastCapability + 1 {
			if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err != nil {
				effective &= 1<<c - 1
				break
			}
		}
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	for i := range sets {
		part := uint32(effective >> (32 * i))
		sets[i] = unix.CapUserData{Effective: part, Permitted: part, Inheritable: part}
	}
	if err := unix.Capset(&head, &sets[0]); err != nil {
		return fmt.Errorf("%#x: %w", effective, err)
	}
	for c := range lastCapability + 1 {
		if effective&(1<<c) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
			return fmt.Errorf("capability %d: %w", c, err)
		}
	}
	return nil
}

// loadFilter sets a system call filter for this thread.
func loadFilter(program []byte) error {
	const size = int(unsafe.Sizeof(unix.SockFilter{}))
	if len(program)%size != 0 || len(program)/size > 4096 {
		return fmt.Errorf("a filter of %d bytes is none", len(program))
	}
	prog := unix.SockFprog{Len: uint16(len(program) / size), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}

// LookPath finds a program: as given when it has a slash, else in PATH of its
// environment, else in its folder (mesos-agent.md 2.2).
func LookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil // relative ones count from dir, where the process is by then
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
		}
	}
	for _, folder := range append(filepath.SplitList(path), dir) {
		if folder == "" || !filepath.IsAbs(folder) {
			folder = filepath.Join(dir, folder)
		}
		file := filepath.Join(folder, name)
		info, err := os.Stat(file)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ENOTDIR) {
			return "", err
		}
	}
	return "", syscall.ENOENT
}
