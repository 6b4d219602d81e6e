package uplink

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/stoa-project/stoa/internal/auth/crammd5"
	"github.com/stoa-project/stoa/internal/libprocess"
)

// Authentication is how an agent shows the master who it is, before it registers
// (libprocess.md 3.1 and 3.13). The zero value is none.
type Authentication struct {
	// Do shows master who the process me is. crammd5.ErrRefused ends the agent; any other
	// error is worth another try.
	Do func(ctx context.Context, master, me libprocess.UPID) error
	// One attempt may take Min, and with each failure up to Factor·2ⁿ more, at most Max in
	// all. 0 means 5 s, 1 s and 1 min.
	Min, Factor, Max time.Duration
}

func (a *Authentication) defaults() {
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{{&a.Min, 5 * time.Second}, {&a.Factor, time.Second}, {&a.Max, time.Minute}} {
		if *d.at <= 0 {
			*d.at = d.value
		}
	}
}

// timeout of the next attempt.
func (a *Authentication) timeout(tries int) time.Duration {
	span := min(a.Factor<<min(tries+1, 16), a.Max-a.Min)
	return a.Min + rand.N(max(span, 0)+1)
}

// authenticated says whether the registration may be sent. When not, an attempt is under
// way, whose end asks again. A result that comes when the leader has changed, or the link
// broke, counts for nothing: the master has forgotten it.
func (u *Uplink) authenticated(ctx context.Context, leader libprocess.UPID) bool {
	a := u.cfg.Authentication
	if a.Do == nil || u.loop.known {
		return true
	}
	if u.loop.asking {
		return false
	}
	u.loop.asking = true
	u.loop.round++
	round, wait := u.loop.round, a.timeout(u.loop.refused)
	go func() {
		attempt, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		err := a.Do(attempt, leader, u.me)
		select {
		case u.inbox <- func(ctx context.Context) { u.answered(ctx, round, err) }:
		case <-u.done:
		}
	}()
	return false
}

// answered takes the end of an attempt.
func (u *Uplink) answered(ctx context.Context, round uint64, err error) {
	if round != u.loop.round {
		return
	}
	u.loop.asking = false
	switch {
	case err == nil:
		u.loop.known, u.loop.refused = true, 0
		u.loop.attempt.Reset(0)
	case errors.Is(err, crammd5.ErrRefused):
		if fail, ok := ctx.Value(failKey{}).(func(error)); ok {
			fail(err)
		}
	default:
		u.log.Warn("not authenticated yet", "err", err)
		u.loop.refused++
		u.schedule()
	}
}

// unknown forgets that the master knows us.
func (u *Uplink) unknown() {
	u.loop.known, u.loop.asking = false, false
	u.loop.round++
}
