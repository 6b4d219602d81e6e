package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// Listener hears when a group of version 1 runs out of memory. There the kernel ends one
// process and leaves the rest of a container as it is; version 2 ends all of it.
type Listener struct {
	d     *Driver
	epoll int
	wake  int // eventfd that ends Run

	mu     sync.Mutex // guards what follows
	last   int32      // token that was given last; 0 is wake
	groups map[int32]heard
	tokens map[string]int32
	closed bool
}

// heard is one group: the eventfd that the kernel writes to.
type heard struct {
	id string
	fd int
}

// Listen makes a listener; nil where it is not needed, because version 2 or nobody limits
// memory.
func (d *Driver) Listen() (*Listener, error) {
	if d.layout.v2("memory") || !d.has("memory") {
		return nil, nil
	}
	l := &Listener{d: d, groups: map[int32]heard{}, tokens: map[string]int32{}}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(l.epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.wake, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		unix.Close(l.epoll)
		unix.Close(l.wake)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return l, nil
}

// Add has a group heard, which costs one descriptor until Remove.
func (l *Listener) Add(id string) error {
	const op = "cgroup.Listen"
	dir := l.d.dir("memory", id)
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return fault.New(op, fault.Unavailable, id, err)
	}
	defer control.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fault.New(op, fault.Unavailable, id, os.NewSyscallError("eventfd", err))
	}
	if err := write(dir, "cgroup.event_control", fmt.Sprintf("%d %d", fd, control.Fd())); err != nil {
		unix.Close(fd)
		return fault.New(op, fault.Unavailable, id, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, twice := l.tokens[id]; twice || l.closed {
		unix.Close(fd)
		return nil
	}
	l.last++
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: l.last}); err != nil {
		unix.Close(fd)
		return fault.New(op, fault.Unavailable, id, os.NewSyscallError("epoll_ctl", err))
	}
	l.groups[l.last], l.tokens[id] = heard{id: id, fd: fd}, l.last
	return nil
}

// Remove forgets a group; one that was not added is no error.
func (l *Listener) Remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if token, ok := l.tokens[id]; ok {
		unix.Close(l.groups[token].fd)
		delete(l.groups, token)
		delete(l.tokens, id)
	}
}

// Run calls f for each group in which a process was killed for memory, until Close.
func (l *Listener) Run(f func(id string)) {
	defer unix.Close(l.epoll)
	defer unix.Close(l.wake)
	events := make([]unix.EpollEvent, 16)
	for {
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, e := range events[:max(n, 0)] {
			if e.Fd == 0 {
				return
			}
			if id := l.take(e.Fd); id != "" && l.killed(id) {
				f(id)
			}
		}
	}
}

// take empties a group's eventfd and names the group.
func (l *Listener) take(token int32) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	g, ok := l.groups[token]
	if !ok {
		return ""
	}
	var count [8]byte
	_, _ = unix.Read(g.fd, count[:])
	return g.id
}

// killed waits a moment for what the kernel has announced: it tells before it kills. It
// tells of a group's removal too, and need not kill when memory gets free meanwhile.
func (l *Listener) killed(id string) bool {
	for wait := time.Millisecond; wait < 500*time.Millisecond; wait *= 2 {
		if l.d.OOM(id).Kills > 0 {
			return true
		}
		if _, err := os.Stat(l.d.dir("memory", id)); err != nil {
			return false
		}
		time.Sleep(wait)
	}
	return false
}

// Close ends Run, or what it would have used.
func (l *Listener) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	for id, token := range l.tokens {
		unix.Close(l.groups[token].fd)
		delete(l.tokens, id)
		delete(l.groups, token)
	}
	_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}
