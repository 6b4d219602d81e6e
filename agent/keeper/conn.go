package keeper

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// errLost says that the keeper went away before it answered.
var errLost = errors.New("the keeper went away before it answered")

// conn is one connection to a keeper, shared by many calls. Its reader goroutine ends
// when the connection does.
type conn struct {
	nc   net.Conn
	in   *bufio.Reader
	info Info
	down chan struct{} // closed when it is unusable

	out sync.Mutex // one frame at a time

	mu      sync.Mutex // guards all below
	num     uint64
	waiting map[uint64]chan reply
	events  func(Event)
	chunks  func(Chunk)
	err     error // why down is closed
}

func (c *conn) alive() bool {
	select {
	case <-c.down:
		return false
	default:
		return true
	}
}

func (c *conn) close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.down)
		c.nc.Close()
	}
}

// read hands answers to those who wait, and events to the watcher.
func (c *conn) read() {
	for {
		var r reply
		if err := readFrame(c.in, &r); err != nil {
			c.close(fault.New("keeper", fault.Unavailable, "keeper", errLost))
			return
		}
		c.mu.Lock()
		events, chunks, ch := c.events, c.chunks, c.waiting[r.Num]
		delete(c.waiting, r.Num)
		c.mu.Unlock()
		switch {
		case r.Event != nil:
			if events != nil {
				events(*r.Event)
			}
		case r.Chunk != nil:
			if chunks != nil {
				chunks(*r.Chunk)
			}
		case ch != nil:
			ch <- r
		}
	}
}

func (c *conn) call(ctx context.Context, req request) (reply, error) {
	ch := make(chan reply, 1)
	c.mu.Lock()
	c.num++
	req.Num = c.num
	c.waiting[req.Num] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, req.Num)
		c.mu.Unlock()
	}()
	c.out.Lock()
	_ = c.nc.SetWriteDeadline(time.Now().Add(30 * time.Second))
	err := writeFrame(c.nc, req)
	c.out.Unlock()
	if fault.KindOf(err) == fault.TooLarge {
		return reply{}, err
	}
	if err != nil {
		c.close(fault.New("keeper", fault.Unavailable, "keeper", errLost))
	}
	select {
	case r := <-ch:
		return r, r.Error.fault()
	case <-c.down:
		select {
		case r := <-ch:
			return r, r.Error.fault()
		default:
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return reply{}, c.err
	case <-ctx.Done():
		return reply{}, fault.New("keeper."+req.Op, fault.Timeout, req.ID, ctx.Err())
	}
}

// watch uses the whole connection for events until it ends or ctx does.
func (c *conn) watch(ctx context.Context, f func(Event)) error {
	var mu sync.Mutex // held while f runs, so that none runs after watch has returned
	over := false
	c.mu.Lock()
	c.events = func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			f(e)
		}
	}
	c.mu.Unlock()
	defer func() {
		c.close(errClosed)
		mu.Lock()
		over = true
		mu.Unlock()
	}()
	if _, err := c.call(ctx, request{Op: "watch"}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.down:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	}
}

// ExitRunning is the exit code of a keeper that found another one running.
const ExitRunning = 3

// launch starts a keeper that does not depend on this process: a session of its own, no
// terminal, output to its log; by scope when that is not empty. ended gets its exit code if
// it ends while we live.
func launch(cfg ClientConfig, scope []string) (ended chan int, err error) {
	const op = "keeper.launch"
	if err := mkdir(cfg.Dir); err != nil {
		return nil, err
	}
	command := cfg.Command
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fault.New(op, fault.Unavailable, "executable", err)
		}
		command = []string{self}
	}
	logfile, err := os.OpenFile(filepath.Join(cfg.Dir, "keeper.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fault.New(op, fault.Unavailable, cfg.Dir, err)
	}
	defer logfile.Close()
	args := append(append(append([]string{}, scope...), command...), "keeper", "--runtime_dir="+cfg.Dir)
	keepDescriptors()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = logfile, logfile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fault.New(op, fault.Unavailable, command[0], err)
	}
	cfg.Log.Info("keeper started", "pid", cmd.Process.Pid, "dir", cfg.Dir)
	ended = make(chan int, 1)
	go func() { // ends with the keeper, or with this process
		_ = cmd.Wait()
		ended <- cmd.ProcessState.ExitCode()
	}()
	return ended, nil
}
