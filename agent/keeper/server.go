package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
)

const socketName = "keeper.sock"

// lockName is the file that one keeper holds locked; without it no agent finds the keeper.
const lockName = "keeper.lock"

// parallel is how many requests of one connection are worked on at a time.
const parallel = 256

// socketPath gives a path for the socket that fits into an address, which has 108 bytes
// only. Long ones lead through a descriptor; release lets go of it.
func socketPath(dir string) (path string, release func(), err error) {
	path = filepath.Join(dir, socketName)
	if len(path) <= 100 {
		return path, func() {}, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketName), func() { d.Close() }, nil
}

// listen replaces the socket of an earlier keeper; the lock says that it is gone.
func listen(dir string) (*net.UnixListener, error) {
	path, release, err := socketPath(dir)
	if err != nil {
		return nil, fault.New("keeper.listen", fault.Unavailable, dir, err)
	}
	defer release()
	_ = os.Remove(filepath.Join(dir, socketName))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fault.New("keeper.listen", fault.Unavailable, dir, err)
	}
	l.SetUnlinkOnClose(false) // the path may have led through a descriptor
	return l, os.Chmod(filepath.Join(dir, socketName), 0o600)
}

// serve answers connections until ctx ends.
func (k *Keeper) serve(ctx context.Context, l *net.UnixListener) error {
	defer k.conns.Wait()
	go func() {
		<-ctx.Done()
		l.Close()
	}()
	k.conns.Add(1)
	go func() {
		defer k.conns.Done()
		k.minute(ctx)
	}()
	for {
		c, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			k.log.Error("out of file descriptors", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		case err != nil:
			k.stop()
			return fault.New("keeper.serve", fault.Unavailable, socketName, err)
		}
		k.conns.Add(1)
		go func() {
			defer k.conns.Done()
			k.talk(ctx, c)
		}()
	}
}

// minute ends an idle keeper.
func (k *Keeper) minute(ctx context.Context) {
	tick := time.NewTicker(min(time.Minute, k.cfg.Idle/2+1))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			lost := k.lost()
			k.mu.Lock()
			if len(k.tasks) > 0 && !(lost && k.over()) || k.clients > 0 {
				k.busy = now
			}
			idle, exits := now.Sub(k.busy), len(k.exits)
			k.mu.Unlock()
			if idle >= k.cfg.Idle {
				k.log.Info("nothing to keep, ending", "idle", idle, "folder_gone", lost, "exits", exits)
				k.stop()
				return
			}
		}
	}
}

// lost tells whether no agent can find this keeper any more: its lock is not in its folder.
func (k *Keeper) lost() bool {
	there, err := os.Stat(filepath.Join(k.cfg.Dir, lockName))
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	mine, err := k.lock.Stat()
	return err == nil && !os.SameFile(mine, there)
}

// over tells whether all tasks have ended. Callers hold the mutex.
func (k *Keeper) over() bool {
	for _, t := range k.tasks {
		if t.Exit == nil {
			return false
		}
	}
	return true
}

// talk serves one connection. Requests are answered as they finish, not in order.
func (k *Keeper) talk(ctx context.Context, c *net.UnixConn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopClose := context.AfterFunc(ctx, func() { c.Close() })
	defer stopClose()
	defer c.Close()
	if err := peerAllowed(c); err != nil {
		k.log.Warn("connection refused", "error", err)
		return
	}
	k.mu.Lock()
	k.clients++
	k.mu.Unlock()
	var wg sync.WaitGroup
	defer func() {
		cancel()
		c.Close()
		wg.Wait()
		k.mu.Lock()
		k.clients--
		k.busy = time.Now()
		k.mu.Unlock()
	}()
	var out sync.Mutex // one frame at a time
	send := func(r reply) error {
		out.Lock()
		defer out.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(30 * time.Second))
		err := writeFrame(c, r)
		if err != nil {
			c.Close()
		}
		return err
	}
	room := make(chan struct{}, parallel)
	in := bufio.NewReader(c)
	greeted := false
	for {
		var req request
		if err := readFrame(in, &req); err != nil {
			return
		}
		if req.Op == "upgrade" { // callers of any version may ask for it, before a greeting too
			_ = send(reply{Num: req.Num, Error: toWire(k.upgrade(req.Command))})
			continue
		}
		if !greeted {
			greeted = req.Op == "hello" && req.Version == Version
			if !greeted {
				_ = send(reply{Num: req.Num, Error: toWire(fault.New("keeper.hello", fault.Unsupported, "version",
					fmt.Errorf("this keeper speaks protocol %d, the caller %d: stop the keeper (process %d) once its tasks may end", Version, req.Version, os.Getpid())))})
				return
			}
			_ = send(reply{Num: req.Num, Info: k.info()})
			continue
		}
		room <- struct{}{}
		var reserved *task
		if req.Op == "start" {
			t, err := k.reserve(req.Spec)
			if err != nil {
				_ = send(reply{Num: req.Num, Error: toWire(err)})
				<-room
				continue
			}
			reserved = t
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			if req.Op == "watch" {
				<-room // lasts as long as the connection
				k.tell(ctx, req.Num, send)
				return
			}
			if req.Op == "output" {
				<-room
				k.output(ctx, req, send)
				return
			}
			r := k.answer(req, reserved)
			r.Num = req.Num
			_ = send(r)
			<-room
		}()
	}
}

func (k *Keeper) info() *Info {
	k.mu.Lock()
	defer k.mu.Unlock()
	return &Info{Version: Version, PID: os.Getpid(), Tasks: len(k.tasks), Boot: k.boot, Exe: k.exe, Since: k.since, Can: []string{"root", "confine", "devices"}}
}

// answer does what is asked; reserved is the task of a start.
func (k *Keeper) answer(req request, reserved *task) reply {
	var r reply
	var err error
	switch req.Op {
	case "start":
		var t Task
		if t, err = k.start(reserved, req.Spec); err == nil {
			r.Task = &t
		}
	case "signal":
		if sig := syscall.Signal(req.Signal); sig <= 0 || sig > 64 {
			err = fault.New("keeper.signal", fault.Invalid, "signal", fmt.Errorf("%d is no signal", req.Signal))
		} else {
			err = k.signal(req.ID, sig, req.First)
		}
	case "kill":
		err = k.killAfter(req.ID, req.Grace)
	case "list":
		r.Tasks = k.list()
	case "input":
		err = k.input(req)
	case "forget":
		err = k.forget(req.ID)
	case "shutdown":
		k.shutdown(req.Grace)
	default:
		err = fault.New("keeper", fault.Unsupported, req.Op, errors.New("no such request"))
	}
	if err != nil {
		r.Error = toWire(err)
	}
	return r
}

// list gives started and ended tasks. It waits for starts under way, whose caller may
// have gone away: nobody is to take them for never started.
func (k *Keeper) list() []Task {
	k.mu.Lock()
	var coming []*task
	for _, t := range k.tasks {
		coming = append(coming, t)
	}
	k.mu.Unlock()
	for _, t := range coming {
		<-t.ready
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Task, 0, len(k.tasks))
	for _, t := range k.tasks {
		select {
		case <-t.ready:
			out = append(out, t.Task)
		default:
		}
	}
	return out
}

// tell sends exits, those of the past first, as long as the connection lasts.
func (k *Keeper) tell(ctx context.Context, num uint64, send func(reply) error) {
	if send(reply{Num: num}) != nil {
		return
	}
	var last uint64
	for {
		k.mu.Lock()
		var batch []Event
		for _, t := range k.exits {
			if t.seq > last {
				batch = append(batch, Event{Seq: t.seq, Task: t.Task})
			}
		}
		news := k.news
		k.mu.Unlock()
		for i := range batch {
			last = batch[i].Seq
			if send(reply{Event: &batch[i]}) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
	}
}

// forget drops an ended task.
func (k *Keeper) forget(id string) error {
	k.mu.Lock()
	t := k.tasks[id]
	k.mu.Unlock()
	if t == nil {
		return nil
	}
	select {
	case <-t.ended:
	default:
		return fault.New("keeper.forget", fault.Conflict, id, errors.New("the task has not ended"))
	}
	if err := k.journal.append(entry{Op: "forget", ID: id}); err != nil {
		return err
	}
	crash.Here("keeper.forgot")
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tasks[id] == t {
		delete(k.tasks, id)
	}
	for i, e := range k.exits {
		if e == t {
			k.exits = append(k.exits[:i], k.exits[i+1:]...)
			break
		}
	}
	k.busy = time.Now()
	return nil
}

// shutdown ends every task and then the keeper.
func (k *Keeper) shutdown(grace time.Duration) {
	k.mu.Lock()
	var all []*task
	for _, t := range k.tasks {
		all = append(all, t)
	}
	k.mu.Unlock()
	var wg sync.WaitGroup
	for _, t := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := k.killAfter(t.ID, grace); err == nil {
				<-t.ended
			}
		}()
	}
	wg.Wait()
	k.log.Info("shut down by request", "tasks", len(all))
	time.AfterFunc(10*time.Millisecond, k.stop) // the answer goes out first
}
