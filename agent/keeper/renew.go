package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// renewEvery is how often a keeper that refused to change its program is asked again.
const renewEvery = time.Minute

// renewTime bounds a change of program. The keeper sees off what has ended first.
const renewTime = 30 * time.Second

// program gives the file that a keeper of this client should run and what identifies it;
// empty texts when it cannot be told. This program itself is named by its process, which
// leads to the very same file when that has been replaced on disk.
func program(command []string) (path, exe string) {
	if len(command) == 0 {
		path = fmt.Sprintf("/proc/%d/exe", os.Getpid())
		return path, ExeOf(path)
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return "", ""
	}
	return path, ExeOf(path)
}

// current connects, and has a keeper of another build become the one that this client
// would start. One that refuses, because somebody is attached to a session, serves as it
// is, and is asked again from Watch; one of another protocol does not.
func (c *Client) current(ctx context.Context) (*conn, error) {
	cn, err := connect(ctx, c.cfg.Dir)
	switch {
	case err == nil && (c.exe == "" || cn.info.Exe == c.exe):
		return cn, nil
	case err != nil && fault.KindOf(err) != fault.Unsupported:
		return nil, err
	case c.exe == "":
		return nil, err
	}
	asked := c.renew(ctx)
	if asked == nil {
		var was Info
		if cn != nil {
			was = cn.info
			cn.close(errClosed)
		}
		return c.successor(ctx, was)
	}
	if cn == nil {
		return nil, fault.New("keeper.dial", fault.Unsupported, c.cfg.Dir, fmt.Errorf("%w; and it does not change its program: %w", err, asked))
	}
	c.cfg.Log.Warn("the keeper is of another build and stays so for now", "process", cn.info.PID, "reason", asked)
	return cn, nil
}

// renew asks the keeper to change its program, on a connection of its own: a keeper of
// any version understands it.
func (c *Client) renew(ctx context.Context) error {
	path, release, err := socketPath(c.cfg.Dir)
	if err != nil {
		return err
	}
	defer release()
	d := net.Dialer{Timeout: 5 * time.Second}
	nc, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	command := append([]string{c.path}, c.cfg.Command[min(1, len(c.cfg.Command)):]...)
	var r reply
	if err := writeFrame(nc, request{Op: "upgrade", Command: command}); err != nil {
		return err
	}
	if err := readFrame(bufio.NewReader(nc), &r); err != nil {
		return err
	}
	return r.Error.fault()
}

// successor waits for the keeper to answer with its new program. It is the same process,
// so nobody else may be started meanwhile, unless it is gone. One that began anew after was
// and is of the old build could not change.
func (c *Client) successor(ctx context.Context, was Info) (*conn, error) {
	gone := func() bool { return false }
	if was.PID != 0 {
		fd, err := unix.PidfdOpen(was.PID, 0)
		if err == nil {
			defer unix.Close(fd)
		}
		// Not by /proc: a process whose program changes may look like a zombie there.
		gone = func() bool {
			if fd < 0 {
				return err == unix.ESRCH
			}
			n, perr := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return perr == nil && n > 0
		}
	}
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	for {
		cn, err := connect(ctx, c.cfg.Dir)
		if err == nil {
			if cn.info.Exe == c.exe {
				c.cfg.Log.Info("the keeper has changed its program", "process", cn.info.PID, "tasks", cn.info.Tasks)
				return cn, nil
			}
			if was.PID != 0 && !cn.info.Since.Equal(was.Since) {
				c.cfg.Log.Error("the keeper could not change its program: see keeper.log in its folder", "process", cn.info.PID)
				return cn, nil
			}
			cn.close(errClosed)
			err = errors.New("it still is of another build")
		} else if gone() {
			return nil, fault.New("keeper.dial", fault.Unavailable, c.cfg.Dir, fmt.Errorf("the keeper ended while it was to change its program: %w", err))
		}
		select {
		case <-ctx.Done():
			return nil, fault.New("keeper.dial", fault.Unavailable, c.cfg.Dir, fmt.Errorf("the keeper was to change its program: %w: see keeper.log there", err))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// watchOn watches on one connection. While that is to a keeper of another build, it is
// asked in intervals to change; then the connection ends.
func (c *Client) watchOn(ctx context.Context, cn *conn, f func(Event)) error {
	if c.exe == "" || cn.info.Exe == c.exe {
		return cn.watch(ctx, f)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the watch
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := c.renew(ctx); err == nil {
					return
				}
			}
		}
	}()
	return cn.watch(ctx, f)
}
