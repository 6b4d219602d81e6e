package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/fault"
)

// ClientConfig is how a keeper is found or started.
type ClientConfig struct {
	Dir     string   // the keeper's folder, absolute; made 0700 when absent
	Command []string // starts a keeper; empty means this program; "keeper --runtime_dir=DIR" is appended
	// Scope is what the command is started by, so that whoever stops this process and all that
	// it started leaves the keeper alone: a program and its arguments, which runs what follows
	// in its own place (systemd-run --scope). When it fails the keeper is started without.
	Scope []string
	Log   *slog.Logger
}

// Client talks to the keeper of one folder. All methods may be called from several
// goroutines. When the keeper goes away the next call starts another one, which takes
// over the tasks.
//
// Errors: fault.Invalid, fault.Conflict, fault.NotFound, fault.Unsupported as the
// methods say; fault.Unavailable when no keeper answers or its disk takes no record.
type Client struct {
	cfg  ClientConfig
	path string // of the program a keeper should be
	exe  string // identifies it, see ExeOf

	mu     sync.Mutex // guards conn and closed, and is held while a connection is made
	conn   *conn
	closed bool
}

// Dial connects to the keeper of cfg.Dir and starts one, detached and in a session of
// its own, when none answers.
func Dial(ctx context.Context, cfg ClientConfig) (*Client, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg}
	c.path, c.exe = program(cfg.Command)
	if _, err := c.get(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Close lets go of the keeper, which goes on.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		c.conn.close(errClosed)
	}
	return nil
}

var errClosed = fault.New("keeper", fault.Unavailable, "client", errors.New("closed"))

// Start runs a process and returns when it is recorded. fault.Invalid names the field
// that is wrong; fault.Conflict: the id is known. A program that cannot be executed is
// no error: PID is 0, the reason is on the task's stderr, and an exit with code 1 is
// told as Mesos tells it (mesos-agent.md 2.2).
func (c *Client) Start(ctx context.Context, spec Spec) (Task, error) {
	if need := spec.needs(); len(need) > 0 {
		info, err := c.Info(ctx)
		if err != nil {
			return Task{}, err
		}
		for _, n := range need {
			if !slices.Contains(info.Can, n) { // it would run the program with less around it
				return Task{}, fault.New("keeper.start", fault.Unsupported, n,
					fmt.Errorf("the keeper (process %d) is older than this agent and cannot start such a process: stop it once its tasks may end", info.PID))
			}
		}
	}
	r, err := c.call(ctx, request{Op: "start", Spec: &spec})
	if err != nil && errors.Is(err, errLost) {
		// The keeper went away with the answer: its successor knows whether it began.
		tasks, lerr := c.List(ctx)
		if lerr != nil {
			return Task{}, err
		}
		for _, t := range tasks {
			if t.ID == spec.ID {
				return t, nil
			}
		}
		r, err = c.call(ctx, request{Op: "start", Spec: &spec})
	}
	if err != nil {
		return Task{}, err
	}
	if r.Task == nil {
		return Task{}, fault.New("keeper.start", fault.Malformed, "reply", errors.New("no task in it"))
	}
	return *r.Task, nil
}

// Signal sends a signal to every process of a task. fault.NotFound when it has ended.
func (c *Client) Signal(ctx context.Context, id string, signal int) error {
	_, err := c.call(ctx, request{Op: "signal", ID: id, Signal: signal})
	return err
}

// Kill sends SIGTERM to every process of a task and SIGKILL after grace, which the
// keeper counts. Again, it can only shorten what is left, counted from the first time;
// fault.NotFound when it has ended.
func (c *Client) Kill(ctx context.Context, id string, grace time.Duration) error {
	_, err := c.call(ctx, request{Op: "kill", ID: id, Grace: grace})
	return err
}

// List gives every task that is not forgotten, running and ended.
func (c *Client) List(ctx context.Context) ([]Task, error) {
	r, err := c.call(ctx, request{Op: "list"})
	return r.Tasks, err
}

// Forget drops the record of an ended task. An unknown one is no error; one that has
// not ended is fault.Conflict.
func (c *Client) Forget(ctx context.Context, id string) error {
	_, err := c.call(ctx, request{Op: "forget", ID: id})
	return err
}

// Info asks the keeper about itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	cn, err := c.get(ctx)
	if err != nil {
		return Info{}, err
	}
	return cn.info, nil
}

// Shutdown ends every task, with SIGKILL after grace, waits until all exits are on disk,
// and ends the keeper, whose process is gone when it returns without error.
func (c *Client) Shutdown(ctx context.Context, grace time.Duration) error {
	cn, err := c.get(ctx)
	if err != nil {
		return err
	}
	if _, err = cn.call(ctx, request{Op: "shutdown", Grace: grace}); err != nil && !errors.Is(err, errLost) {
		return err
	}
	for start := startTicks(cn.info.PID); tree.Alive(cn.info.PID, start); {
		select {
		case <-ctx.Done():
			return fault.New("keeper.shutdown", fault.Timeout, c.cfg.Dir, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// Watch calls f with each exit that is not forgotten, those of the past first, until
// ctx ends; it gives ctx's error. After the keeper was replaced all of them are told
// again. f is called by one goroutine.
func (c *Client) Watch(ctx context.Context, f func(Event)) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		cn, err := c.dial(ctx)
		if err == nil {
			began := time.Now()
			err = c.watchOn(ctx, cn, f)
			if time.Since(began) > 5*time.Second {
				wait = 50 * time.Millisecond
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.mu.Lock()
		closed := c.closed
		c.mu.Unlock()
		if closed {
			return errClosed
		}
		c.cfg.Log.Warn("watching the keeper was interrupted", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// call sends one request and waits for its answer.
func (c *Client) call(ctx context.Context, req request) (reply, error) {
	cn, err := c.get(ctx)
	if err != nil {
		return reply{}, err
	}
	return cn.call(ctx, req)
}

// get gives the shared connection, making one when there is none that works.
func (c *Client) get(ctx context.Context) (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if c.conn != nil && c.conn.alive() {
		return c.conn, nil
	}
	cn, err := c.dial(ctx)
	if err == nil {
		c.conn = cn
	}
	return cn, err
}

// dial connects and shakes hands; when nobody answers it starts a keeper.
func (c *Client) dial(ctx context.Context) (*conn, error) {
	cn, err := c.current(ctx)
	if err == nil || fault.KindOf(err) == fault.Unsupported {
		return cn, err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	scope := c.cfg.Scope
	ended, err := launch(c.cfg, scope)
	if err != nil {
		return nil, err
	}
	for {
		cn, err := connect(ctx, c.cfg.Dir)
		if err == nil || fault.KindOf(err) == fault.Unsupported {
			return cn, err
		}
		select {
		case <-ctx.Done():
			return nil, fault.New("keeper.dial", fault.Unavailable, c.cfg.Dir, errors.Join(ctx.Err(), err))
		case exit := <-ended:
			// Another one may have been faster; if not, its log says why.
			cn, err := connect(ctx, c.cfg.Dir)
			if err == nil || exit == ExitRunning {
				if err == nil {
					return cn, nil
				}
				ended = nil
				continue
			}
			if len(scope) > 0 {
				c.cfg.Log.Warn("the keeper is started without a scope of its own: a stop of this agent's unit may end it and all tasks", "by", scope[0], "status", exit)
				scope = nil
				if ended, err = launch(c.cfg, nil); err != nil {
					return nil, err
				}
				continue
			}
			return nil, fault.New("keeper.dial", fault.Unavailable, c.cfg.Dir,
				errors.New("the keeper that was started has ended: see keeper.log there"))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func connect(ctx context.Context, dir string) (*conn, error) {
	path, release, err := socketPath(dir)
	if err != nil {
		return nil, fault.New("keeper.dial", fault.Unavailable, dir, err)
	}
	defer release()
	d := net.Dialer{Timeout: 5 * time.Second}
	nc, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fault.New("keeper.dial", fault.Unavailable, dir, err)
	}
	cn := &conn{nc: nc, in: bufio.NewReader(nc), waiting: map[uint64]chan reply{}, down: make(chan struct{})}
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	var r reply
	if err = writeFrame(nc, request{Op: "hello", Version: Version}); err == nil {
		err = readFrame(cn.in, &r)
	}
	if err == nil && r.Error != nil {
		err = r.Error.fault()
	}
	if err == nil && r.Info == nil {
		err = fault.New("keeper.dial", fault.Malformed, dir, errors.New("no greeting"))
	}
	if err != nil {
		nc.Close()
		if fault.KindOf(err) == fault.Unsupported {
			return nil, err
		}
		return nil, fault.New("keeper.dial", fault.Unavailable, dir, err)
	}
	_ = nc.SetDeadline(time.Time{})
	cn.info = *r.Info
	go cn.read()
	return cn, nil
}

func mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.New("keeper.dial", fault.Unavailable, dir, err)
	}
	return nil
}
