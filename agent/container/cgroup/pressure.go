package cgroup

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// Pressure tells how often the kernel found a group of version 1 short of memory, since it
// was watched: Low counts every such finding, Medium those from which swapping or worse is
// near, Critical those before processes are killed. So Low >= Medium >= Critical.
type Pressure struct{ Low, Medium, Critical uint64 }

// pressureLevels are the kernel's names, in the order of Pressure's fields.
var pressureLevels = [3]string{"low", "medium", "critical"}

// Pressures counts the findings of many groups (mesos-agent.md 7.2, cgroups/mem). The kernel
// adds up in eventfds that are read when somebody asks: nobody waits for them. A group costs
// three descriptors. Groups are registered one after the other, by a goroutine that lives
// while there are some, and while others are not being made: no start of a container waits
// for that.
type Pressures struct {
	d      *Driver
	failed func(id string, err error)
	worker sync.WaitGroup

	closing chan struct{} // closed with closed

	mu      sync.Mutex // guards what follows
	groups  map[string]*pressed
	queue   []*pressed // not registered yet
	last    time.Time  // of Watch
	working bool
	closed  bool
}

// A group is registered when no other has come for registerPause, at the latest after
// registerWait: it takes 50 us, which a burst of starts has better use for.
const (
	registerPause = 200 * time.Millisecond
	registerWait  = 2 * time.Second
)

// pressed is one group; the mutex of Pressures guards all but id and since.
type pressed struct {
	id         string
	since      time.Time // it is watched
	left       bool      // forgotten
	registered bool
	fds        [3]int
	counts     [3]uint64
}

// Pressures makes them; nil where the kernel does not tell, because version 2 or nobody
// limits memory. failed is called for groups that cannot be registered.
func (d *Driver) Pressures(failed func(id string, err error)) *Pressures {
	if d.layout.v2("memory") || !d.has("memory") {
		return nil
	}
	return &Pressures{d: d, failed: failed, closing: make(chan struct{}), groups: map[string]*pressed{}}
}

// Watch has a group counted, soon.
func (p *Pressures) Watch(id string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.groups[id] != nil {
		return
	}
	g := &pressed{id: id, since: time.Now()}
	p.groups[id], p.queue, p.last = g, append(p.queue, g), g.since
	if !p.working {
		p.working = true
		p.worker.Go(p.work)
	}
}

// work registers what waits.
func (p *Pressures) work() {
	for {
		p.mu.Lock()
		if len(p.queue) == 0 || p.closed {
			p.working, p.queue = false, nil
			p.mu.Unlock()
			return
		}
		g := p.queue[0]
		left, wait := g.left, time.Until(p.last.Add(registerPause))
		if latest := time.Until(g.since.Add(registerWait)); latest < wait {
			wait = latest
		}
		if left || wait <= 0 {
			p.queue = p.queue[1:]
		}
		p.mu.Unlock()
		switch {
		case left:
			continue
		case wait > 0:
			select {
			case <-time.After(wait):
			case <-p.closing:
			}
			continue
		}
		fds, err := p.register(g.id)
		if err != nil && !gone(err) {
			p.failed(g.id, fault.New("cgroup.Pressures", fault.Unavailable, g.id, err))
		}
		p.mu.Lock()
		switch {
		case err != nil && !g.left:
			p.leave(g)
		case err == nil && (g.left || p.closed):
			closeAll(fds)
		case err == nil:
			g.fds, g.registered = fds, true
		}
		p.mu.Unlock()
	}
}

// register asks the kernel to count for one group.
func (p *Pressures) register(id string) (fds [3]int, err error) {
	dir := p.d.dir("memory", id)
	level, err := os.Open(filepath.Join(dir, "memory.pressure_level"))
	if err != nil {
		return fds, err
	}
	defer level.Close()
	control, err := os.OpenFile(filepath.Join(dir, "cgroup.event_control"), os.O_WRONLY, 0)
	if err != nil {
		return fds, err
	}
	defer control.Close()
	for i, name := range pressureLevels {
		if fds[i], err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
			if _, err = fmt.Fprintf(control, "%d %d %s", fds[i], level.Fd(), name); err == nil {
				continue
			}
			unix.Close(fds[i])
		} else {
			err = os.NewSyscallError("eventfd", err)
		}
		for _, fd := range fds[:i] {
			unix.Close(fd)
		}
		return fds, err
	}
	return fds, nil
}

// Read gives what was counted for a group; false when it is not registered.
func (p *Pressures) Read(id string) (Pressure, bool) {
	if p == nil {
		return Pressure{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.groups[id]
	if g == nil || !g.registered {
		return Pressure{}, false
	}
	// The lower level is read later: what happens meanwhile counts there alone.
	for i := len(g.fds) - 1; i >= 0; i-- {
		var more [8]byte
		if n, err := unix.Read(g.fds[i], more[:]); err == nil && n == len(more) { // else nothing happened
			g.counts[i] += binary.NativeEndian.Uint64(more[:])
		}
	}
	return Pressure{Low: g.counts[0], Medium: g.counts[1], Critical: g.counts[2]}, true
}

// Forget gives back what a group costs; one that is not watched is no error.
func (p *Pressures) Forget(id string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.groups[id]; g != nil {
		p.leave(g)
	}
}

// leave takes a group out. Callers hold the mutex.
func (p *Pressures) leave(g *pressed) {
	delete(p.groups, g.id)
	g.left = true
	if g.registered {
		closeAll(g.fds)
		g.registered = false
	}
}

// Close forgets all groups and waits for the goroutine.
func (p *Pressures) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.closing)
	}
	for _, g := range p.groups {
		p.leave(g)
	}
	p.mu.Unlock()
	p.worker.Wait()
}

func closeAll(fds [3]int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
