package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/fault"
)

// Exec runs a program in a container, as `docker exec` does, and gives its exit code. When
// ctx ends before the program, it is killed with what it started. env is added to the
// container's; user is empty for the container's own.
func (r *Runtime) Exec(ctx context.Context, id container.ID, argv, env []string, user string) (int, error) {
	const op = "docker.Exec"
	b, err := r.live(op, id)
	if err != nil {
		return 0, err
	}
	made, err := r.api.ExecCreate(ctx, b.cid, client.ExecCreateOptions{Cmd: argv, Env: env, User: user, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, fault.New(op, fault.Unavailable, string(id), err)
	}
	conn, err := r.api.ExecAttach(ctx, made.ID, client.ExecAttachOptions{})
	if ctx.Err() != nil && err != nil { // the engine may have been asked, and start it yet
		r.killExec(made.ID)
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, fault.New(op, fault.Unavailable, string(id), err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	_, _ = io.Copy(io.Discard, conn.Reader) // ends with the program, or with ctx
	if ctx.Err() != nil {
		r.killExec(made.ID)
		return 0, ctx.Err()
	}
	for { // its exit is known a moment after its output ends
		seen, err := r.api.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
		switch {
		case err != nil && ctx.Err() != nil:
			r.killExec(made.ID)
			return 0, ctx.Err()
		case err != nil:
			return 0, fault.New(op, fault.Unavailable, string(id), err)
		case !seen.Running:
			return seen.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			r.killExec(made.ID)
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// killExec ends a program that the engine was asked to start by Exec, with its descendants;
// the engine has no call for this. It works for an engine on this host.
func (r *Runtime) killExec(exec string) {
	ctx, cancel := context.WithTimeout(r.ctx, shortCall)
	defer cancel()
	pid, err := r.started(ctx, exec)
	if err != nil || pid <= 1 {
		return
	}
	first, err := tree.Read(pid)
	if err != nil {
		return
	}
	for range 5 { // again while it forks
		c, err := tree.Take(false)
		if err != nil {
			return
		}
		members := c.Members(pid, first.Start, "")
		if len(members) == 0 {
			return
		}
		for _, m := range members {
			_ = m.Signal(syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}

// started waits until the engine has started a program that it was asked to, and gives its
// process id; 0 when the program has ended. It can be asked to before it has begun.
func (r *Runtime) started(ctx context.Context, exec string) (int, error) {
	for {
		seen, err := r.api.ExecInspect(ctx, exec, client.ExecInspectOptions{})
		if err != nil {
			return 0, err
		}
		if seen.PID > 1 {
			if !seen.Running {
				return 0, nil
			}
			return seen.PID, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Network gives the file of a container's network namespace, "" when it lives in the host's.
func (r *Runtime) Network(id container.ID) (string, error) {
	b, err := r.live("docker.Network", id)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case b.hosted:
		return "", nil
	case !tree.Alive(b.pid, b.ticks):
		return "", fault.New("docker.Network", fault.NotFound, string(id), errors.New("its process is gone"))
	}
	return fmt.Sprintf("/proc/%d/ns/net", b.pid), nil
}

// Output implements container.Runtime.
func (r *Runtime) Output(_ context.Context, id container.ID, _ func(), _ func(bool, []byte) error) error {
	return r.noAttach("docker.Output", id)
}

// Input implements container.Runtime.
func (r *Runtime) Input(_ context.Context, id container.ID, _ []byte, _ bool, _ *container.Terminal) error {
	return r.noAttach("docker.Input", id)
}

func (r *Runtime) noAttach(op string, id container.ID) error {
	if _, err := r.find(op, id); err != nil {
		return err
	}
	return fault.New(op, fault.Unsupported, string(id), errors.New("containers of the Docker engine cannot be attached to"))
}
