package agent

import (
	"context"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
)

// Call carries out an operator call about a container and waits for its answer; a wait
// lasts as long as the container. ctx ends it.
func (e *engine) Call(ctx context.Context, c lifecycle.ContainerCall) (lifecycle.Answer, error) {
	c.Request = e.request.Add(1)
	ch := make(chan lifecycle.Answer, 1)
	if err := e.do(ctx, func() {
		e.calls[c.Request] = ch
		e.commit([]lifecycle.Output{e.step(c)})
	}); err != nil {
		e.gone(c)
		return lifecycle.Answer{}, err
	}
	select {
	case a := <-ch:
		return a, nil
	case <-ctx.Done():
		e.gone(c)
		return lifecycle.Answer{}, ctx.Err()
	case <-e.ctx.Done():
		return lifecycle.Answer{}, fault.New("agent", fault.Unavailable, "", errStopping)
	}
}

// gone forgets a call whose client went away.
func (e *engine) gone(c lifecycle.ContainerCall) {
	_ = e.do(e.ctx, func() { // fails only when the agent stops
		delete(e.calls, c.Request)
		e.commit([]lifecycle.Output{e.step(lifecycle.CallGone{Request: c.Request, ID: c.ID})})
	})
}

func (e *engine) answered(a lifecycle.Answer) {
	if ch := e.calls[a.Request]; ch != nil {
		delete(e.calls, a.Request)
		ch <- a // it has room for the only one
	}
}

// Output passes on what a container says; see container.Runtime.
func (e *engine) Output(ctx context.Context, id lifecycle.ContainerID, ready func(), f func(stderr bool, data []byte) error) error {
	return e.runtime.Output(ctx, container.ID(id), ready, f)
}

// Input passes input on; see container.Runtime.
func (e *engine) Input(ctx context.Context, id lifecycle.ContainerID, data []byte, eof bool, size *container.Terminal) error {
	return e.runtime.Input(ctx, container.ID(id), data, eof, size)
}
