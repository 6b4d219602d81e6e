package keeper

import (
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keepDescriptors keeps what this process was given open beside stdin, stdout and stderr
// from its children: a task must not inherit a lock or a socket of whoever started the
// agent. What Go opens itself is not inherited anyway.
func keepDescriptors() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	names, _ := os.ReadDir("/proc/self/fd") // Linux before 5.11
	for _, n := range names {
		if fd, err := strconv.Atoi(n.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

func bootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
}

// reap collects the exit status of a child that has ended. ok is false when it is not
// ours to collect.
func reap(pid int) (status syscall.WaitStatus, ok bool) {
	for {
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		return status, err == nil && got == pid
	}
}

// pidfdInfo is struct pidfd_info of linux/pidfd.h, in its first size.
type pidfdInfo struct {
	mask   uint64
	cgroup uint64
	ids    [11]uint32
	exit   int32
}

const (
	pidfdGetInfo  = 0xc040ff0b // _IOWR(0xff, 11, 64 bytes)
	pidfdInfoExit = 1 << 3
)

// exitOf reads the exit status of a process that is no child from its pidfd, which Linux
// 6.15 and newer keep there once its parent has reaped it. ok is false on others, or when
// the parent takes too long.
func exitOf(fd int) (status syscall.WaitStatus, ok bool) {
	for wait, end := time.Millisecond, time.Now().Add(5*time.Second); ; wait = min(2*wait, 50*time.Millisecond) {
		info := pidfdInfo{mask: pidfdInfoExit}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
		switch {
		case errno == 0 && info.mask&pidfdInfoExit != 0:
			return syscall.WaitStatus(info.exit), true
		case errno == unix.ENOTTY, errno == unix.EINVAL, errno == unix.ENOSYS, time.Now().After(end):
			return 0, false
		}
		time.Sleep(wait)
	}
}

// poller tells when processes end: pidfds in one epoll set, one thread for all.
type poller struct {
	epoll int
	wake  int // eventfd that ends run
}

func newPoller() (*poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(ep)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &poller{epoll: ep, wake: wake}
	if err := p.add(wake); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// add watches a pidfd; an ended process is told at once.
func (p *poller) add(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &ev))
}

// run calls ended with the pidfd of each process that ended, once, until stop.
func (p *poller) run(ended func(fd int)) error {
	events := make([]unix.EpollEvent, 128)
	for {
		n, err := unix.EpollWait(p.epoll, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("epoll_wait", err)
		}
		for _, e := range events[:n] {
			if int(e.Fd) == p.wake {
				return nil
			}
			_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, int(e.Fd), nil)
			ended(int(e.Fd))
		}
	}
}

func (p *poller) stop() { _, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (p *poller) close() {
	unix.Close(p.epoll)
	unix.Close(p.wake)
}

// regularForAppend opens a log file of a task: made when absent, a symbolic link or
// anything but a regular file refused, since the task's user may own the folder.
func regularForAppend(path string, user *User) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	made := false
	if errors.Is(err, os.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
		made = true
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if err == nil && made && user != nil && os.Getuid() == 0 {
		err = f.Chown(int(user.UID), int(user.GID))
	}
	if err == nil { // the program must see an ordinary blocking file
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_APPEND)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
