package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/internal/fault"
)

// away tells whether an error means that the engine is not there or hangs, so that nothing
// is known about what was asked.
func away(err error) bool {
	var network net.Error
	switch {
	case err == nil:
		return false
	case client.IsErrConnectionFailed(err), cerrdefs.IsUnavailable(err),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrNotExist),
		errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, context.DeadlineExceeded):
		return true
	}
	return errors.As(err, &network)
}

// insist makes a short call again while the engine is away, until ctx ends or patience is
// over; then it is fault.Unavailable.
func (r *Runtime) insist(ctx context.Context, f func(context.Context) error) error {
	return r.try(ctx, shortCall, patience, f)
}

func (r *Runtime) try(ctx context.Context, each, all time.Duration, f func(context.Context) error) error {
	end := time.Now().Add(all)
	pause := 50 * time.Millisecond
	for {
		call, cancel := context.WithTimeout(ctx, each)
		err := f(call)
		cancel()
		if !away(err) || ctx.Err() != nil {
			return err
		}
		if time.Now().After(end) {
			return fault.New("docker", fault.Unavailable, r.cfg.Socket, fmt.Errorf("the engine does not answer: %w", err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, 2*time.Second)
		}
	}
}

// once makes a call for somebody who asks again by himself.
func (r *Runtime) once(ctx context.Context, op string, each time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, each)
	defer cancel()
	err := f(ctx)
	switch {
	case err == nil:
		return nil
	case away(err):
		return fault.New(op, fault.Unavailable, r.cfg.Socket, err)
	case cerrdefs.IsNotFound(err):
		return fault.New(op, fault.NotFound, "container", err)
	case cerrdefs.IsConflict(err):
		return fault.New(op, fault.Conflict, "container", err)
	case cerrdefs.IsInvalidArgument(err):
		return fault.New(op, fault.Invalid, "container", err)
	}
	return fault.New(op, fault.Other, "container", err)
}
