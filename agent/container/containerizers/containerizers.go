// Package containerizers makes one container.Runtime of those that --containerizers lists
// (mesos-agent.md 7.1): plain processes and the Docker engine. It decides nothing: a Spec
// says which one it is for, and everything later goes where its container is.
package containerizers

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Runtime is several runtimes in one.
type Runtime struct {
	mesos  container.Runtime // nil: there is none
	docker container.Runtime

	mu sync.Mutex // guards in
	in map[container.ID]container.Runtime
}

var _ container.Runtime = (*Runtime)(nil)

// New joins the runtime of plain processes and that of the Docker engine; either may be nil.
func New(mesos, docker container.Runtime) *Runtime {
	return &Runtime{mesos: mesos, docker: docker, in: map[container.ID]container.Runtime{}}
}

func (r *Runtime) all() (out []container.Runtime) {
	for _, x := range []container.Runtime{r.mesos, r.docker} {
		if x != nil {
			out = append(out, x)
		}
	}
	return out
}

// of gives the runtime that has a container. One that nobody has is asked for where plain
// processes are, which may know it from before.
func (r *Runtime) of(op string, id container.ID) (container.Runtime, error) {
	r.mu.Lock()
	x := r.in[id]
	r.mu.Unlock()
	if x == nil {
		x = r.mesos
	}
	if x == nil {
		return nil, fault.New(op, fault.NotFound, string(id), nil)
	}
	return x, nil
}

// InDocker tells whether a container is one of the Docker engine.
func (r *Runtime) InDocker(id container.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.docker != nil && r.in[id] == r.docker
}

// Recover implements container.Runtime.
func (r *Runtime) Recover(ctx context.Context) ([]container.State, error) {
	var out []container.State
	for _, x := range r.all() {
		states, err := x.Recover(ctx)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		for _, s := range states {
			r.in[s.ID] = x
		}
		r.mu.Unlock()
		out = append(out, states...)
	}
	return out, nil
}

// Start implements container.Runtime.
func (r *Runtime) Start(ctx context.Context, spec container.Spec) (container.Process, error) {
	x := r.mesos
	if spec.Docker != nil {
		x = r.docker
	}
	r.mu.Lock()
	if root := r.in[spec.Root]; spec.Root != "" && root != nil {
		x = root
	}
	if x == nil {
		r.mu.Unlock()
		return container.Process{}, fault.New("container.Start", fault.Unsupported, string(spec.ID), errors.New("no containerizer is enabled for it"))
	}
	had := r.in[spec.ID]
	if had == nil {
		r.in[spec.ID] = x // its end may be told before Start returns
	}
	r.mu.Unlock()
	p, err := x.Start(ctx, spec)
	if err != nil && had == nil {
		r.mu.Lock()
		delete(r.in, spec.ID)
		r.mu.Unlock()
	}
	return p, err
}

// Update implements container.Runtime.
func (r *Runtime) Update(ctx context.Context, id container.ID, l container.Limits) error {
	x, err := r.of("container.Update", id)
	if err != nil {
		return err
	}
	return x.Update(ctx, id, l)
}

// Terminate implements container.Runtime.
func (r *Runtime) Terminate(ctx context.Context, id container.ID) error {
	x, err := r.of("container.Terminate", id)
	if err != nil {
		return err
	}
	return x.Terminate(ctx, id)
}

// Signal implements container.Runtime.
func (r *Runtime) Signal(ctx context.Context, id container.ID, signal int) error {
	x, err := r.of("container.Signal", id)
	if err != nil {
		return err
	}
	return x.Signal(ctx, id, signal)
}

// Kill implements container.Runtime.
func (r *Runtime) Kill(ctx context.Context, id container.ID, grace time.Duration) error {
	x, err := r.of("container.Kill", id)
	if err != nil {
		return err
	}
	return x.Kill(ctx, id, grace)
}

// Destroy implements container.Runtime.
func (r *Runtime) Destroy(ctx context.Context, id container.ID) error {
	x, err := r.of("container.Destroy", id)
	if err != nil {
		return err
	}
	return x.Destroy(ctx, id)
}

// Output implements container.Runtime.
func (r *Runtime) Output(ctx context.Context, id container.ID, ready func(), f func(stderr bool, data []byte) error) error {
	x, err := r.of("container.Output", id)
	if err != nil {
		return err
	}
	return x.Output(ctx, id, ready, f)
}

// Input implements container.Runtime.
func (r *Runtime) Input(ctx context.Context, id container.ID, data []byte, eof bool, size *container.Terminal) error {
	x, err := r.of("container.Input", id)
	if err != nil {
		return err
	}
	return x.Input(ctx, id, data, eof, size)
}

// Usage implements container.Runtime.
func (r *Runtime) Usage(ctx context.Context, id container.ID) (*mesos.ResourceStatistics, error) {
	x, err := r.of("container.Usage", id)
	if err != nil {
		return nil, err
	}
	return x.Usage(ctx, id)
}

// Watch implements container.Runtime: f is called by one goroutine at a time. It ends when
// one of the runtimes cannot be heard any more.
func (r *Runtime) Watch(ctx context.Context, f func(container.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var one sync.Mutex // held while f runs
	all := r.all()
	ends := make(chan error, len(all))
	for _, x := range all {
		go func() { // ends with ctx or when its runtime cannot be heard
			ends <- x.Watch(ctx, func(ev container.Event) {
				one.Lock()
				defer one.Unlock()
				f(ev)
			})
		}()
	}
	var first error
	for range all {
		if err := <-ends; first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// Forget implements container.Runtime.
func (r *Runtime) Forget(ctx context.Context, id container.ID) error {
	x, err := r.of("container.Forget", id)
	if err != nil {
		return nil // an unknown one is no error
	}
	if err := x.Forget(ctx, id); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.in, id)
	r.mu.Unlock()
	return nil
}

// Shutdown leaves nothing behind: the keeper of plain processes ends, and containers of the
// engine that are due are removed.
func (r *Runtime) Shutdown(ctx context.Context, grace time.Duration) error {
	var errs []error
	for _, x := range r.all() {
		if k, ok := x.(interface {
			Shutdown(context.Context, time.Duration) error
		}); ok {
			errs = append(errs, k.Shutdown(ctx, grace))
		}
	}
	return errors.Join(errs...)
}

// Close implements container.Runtime.
func (r *Runtime) Close() error {
	var errs []error
	for _, x := range r.all() {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}
