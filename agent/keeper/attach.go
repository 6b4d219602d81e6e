package keeper

import (
	"context"
	"errors"

	"github.com/stoa-project/stoa/internal/fault"
)

// SignalFirst sends a signal to the first process of a task only.
func (c *Client) SignalFirst(ctx context.Context, id string, signal int) error {
	_, err := c.call(ctx, request{Op: "signal", ID: id, Signal: signal, First: true})
	return err
}

// Output calls f with what a task says from now on, one chunk at a time, until its
// output ends, which gives nil, or ctx does. ready, when not nil, is called once the
// reader is attached. fault.NotFound: there is no such task; fault.Unsupported: it has
// neither terminal nor session; fault.Unavailable: the reader was too slow, or the keeper
// went away.
func (c *Client) Output(ctx context.Context, id string, ready func(), f func(Chunk) error) error {
	cn, err := connect(ctx, c.cfg.Dir)
	if err != nil {
		return err
	}
	chunks := make(chan Chunk)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cn.mu.Lock()
	cn.chunks = func(ch Chunk) {
		select {
		case chunks <- ch:
		case <-ctx.Done():
		}
	}
	cn.mu.Unlock()
	defer cn.close(errClosed)
	if _, err := cn.call(ctx, request{Op: "output", ID: id}); err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	for {
		select {
		case ch := <-chunks:
			switch {
			case ch.Cut:
				return fault.New("keeper.output", fault.Unavailable, id, errors.New("the reader is too slow"))
			case ch.End:
				return nil
			}
			if err := f(ch); err != nil {
				return err
			}
		case <-cn.down:
			return fault.New("keeper.output", fault.Unavailable, id, errLost)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Input gives a task data on stdin, ends its stdin, or changes the size of its terminal.
// It returns when the data is written. fault.Invalid: there is no terminal to resize;
// fault.NotFound and fault.Unsupported as with Output.
func (c *Client) Input(ctx context.Context, id string, data []byte, eof bool, window *Window) error {
	_, err := c.call(ctx, request{Op: "input", ID: id, Data: data, EOF: eof, Window: window})
	return err
}
