package docker

import (
	"context"
	"sync"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/crash"
)

// killRetry lies between SIGKILLs until a container is gone (mesos-agent.md 7.5, row health).
const killRetry = 5 * time.Second

// killing is one container's end under way.
type killing struct {
	first    time.Time
	mu       sync.Mutex // guards deadline and done
	deadline time.Time
	done     bool
	news     chan struct{} // deadline came nearer, or it is over
}

// shorten brings the deadline nearer, never farther.
func (k *killing) shorten(deadline time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if deadline.Before(k.deadline) {
		k.deadline = deadline
		k.tell()
	}
}

func (k *killing) over() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.done = true
	k.tell()
}

func (k *killing) tell() {
	select {
	case k.news <- struct{}{}:
	default: // one is enough
	}
}

func (k *killing) state() (deadline time.Time, done bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deadline, k.done
}

// Kill implements container.Runtime: the stop signal of the image, SIGTERM by default,
// reaches the first process; SIGKILL everything.
func (r *Runtime) Kill(_ context.Context, id container.ID, grace time.Duration) error {
	return r.end(id, grace, true)
}

// Terminate implements container.Runtime.
func (r *Runtime) Terminate(ctx context.Context, id container.ID) error {
	return r.Signal(ctx, id, int(syscall.SIGTERM))
}

// Destroy implements container.Runtime.
func (r *Runtime) Destroy(_ context.Context, id container.ID) error { return r.end(id, 0, false) }

// Signal implements container.Runtime.
func (r *Runtime) Signal(ctx context.Context, id container.ID, signal int) error {
	const op = "docker.Signal"
	b, err := r.live(op, id)
	if err != nil {
		return err
	}
	return r.once(ctx, op, shortCall, func(ctx context.Context) error {
		_, err := r.api.ContainerKill(ctx, b.cid, client.ContainerKillOptions{Signal: signalText(signal)})
		return err
	})
}

func (r *Runtime) end(id container.ID, grace time.Duration, gently bool) error {
	b, err := r.live("docker.Kill", id)
	if err != nil {
		return err
	}
	now := time.Now()
	r.mu.Lock()
	k := b.killing
	if k != nil {
		r.mu.Unlock()
		k.shorten(k.first.Add(grace))
		return nil
	}
	k = &killing{first: now, deadline: now.Add(grace), news: make(chan struct{}, 1)}
	b.killing = k
	r.mu.Unlock()
	if gently && grace > 0 {
		// The engine counts the time too, for the case that this agent is gone by then.
		r.spawn(func() { r.stop(b, k) })
	}
	r.spawn(func() { r.kill(b, k, gently && grace <= 0) })
	return nil
}

// stop asks the engine to end the container orderly, until it has understood.
func (r *Runtime) stop(b *box, k *killing) {
	for r.ctx.Err() == nil {
		deadline, done := k.state()
		left := time.Until(deadline)
		if done || left <= 0 {
			return
		}
		seconds := int((left + time.Second - 1) / time.Second)
		ctx, cancel := context.WithTimeout(r.ctx, left+shortCall)
		_, err := r.api.ContainerStop(ctx, b.cid, client.ContainerStopOptions{Timeout: &seconds})
		crash.Here("agent.engine-stopped")
		cancel()
		switch {
		case err == nil, cerrdefs.IsNotFound(err):
			r.look(b)
			return
		case !away(err) && r.ctx.Err() == nil:
			r.log.Warn("docker stop failed and is tried again", "container", string(b.id), "error", err)
		}
		k.wait(r.ctx, time.Now().Add(200*time.Millisecond))
	}
}

// wait gives back at a point in time, or when the deadline moved or the container ended.
func (k *killing) wait(ctx context.Context, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-k.news:
	}
}

// kill sends SIGKILL at the deadline and again until the container has ended.
func (r *Runtime) kill(b *box, k *killing, term bool) {
	send := func(signal string) error {
		ctx, cancel := context.WithTimeout(r.ctx, shortCall)
		defer cancel()
		_, err := r.api.ContainerKill(ctx, b.cid, client.ContainerKillOptions{Signal: signal})
		return err
	}
	if term {
		if err := send("SIGTERM"); err != nil && !gone(err) {
			r.log.Warn("SIGTERM failed", "container", string(b.id), "error", err)
		}
	}
	for r.ctx.Err() == nil {
		deadline, done := k.state()
		if done {
			return
		}
		if time.Now().Before(deadline) {
			k.wait(r.ctx, deadline)
			continue
		}
		pause := killRetry
		err := send("SIGKILL")
		crash.Here("agent.engine-killed")
		switch {
		case err == nil:
		case gone(err):
			r.look(b)
		case away(err):
			pause = 200 * time.Millisecond
		default:
			r.log.Warn("SIGKILL failed", "container", string(b.id), "error", err)
		}
		k.wait(r.ctx, time.Now().Add(pause))
	}
}

// gone tells whether there is nothing to signal any more.
func gone(err error) bool { return cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) }
