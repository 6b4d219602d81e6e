package follow

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/election"
)

// Pauses after a failure.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
	// subscribeAgain is how long a master that offers no stream is polled before it is
	// asked for one again.
	subscribeAgain = 5 * time.Minute
)

// source reads one leading master until it is replaced.
type source struct {
	f       *Follower
	number  int
	leader  election.Master
	changes chan<- change
}

// errNotOffered says that this master has no event stream for us.
var errNotOffered = errors.New("the master offers no event stream")

func (s *source) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		var err error
		switch s.f.cfg.Source {
		case Poll:
			err = s.poll(ctx, time.Time{})
		case Subscribe:
			err = s.subscribe(ctx)
		default:
			err = s.subscribe(ctx)
			if errors.Is(err, errNotOffered) {
				s.f.log.Info("polling instead of following events", "master", s.leader.Addr(), "reason", err)
				err = s.poll(ctx, time.Now().Add(subscribeAgain))
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		s.f.cfg.Notify(EventFailed)
		if time.Since(began) > lastPause { // it worked for a while
			pause = firstPause
		}
		s.f.log.Warn("master cannot be followed, trying again", "master", s.leader.Addr(), "pause", pause, "error", err)
		jitter := time.Duration(rand.Int64N(int64(pause)/2 + 1)) //nolint:gosec // spreads load
		select {
		case <-time.After(pause/2 + jitter):
		case <-ctx.Done():
		}
		pause = min(2*pause, lastPause)
	}
}

// answered notes the leader when a standby has redirected us there.
func (s *source) answered(ctx context.Context, mode Mode, resp *http.Response) error {
	host := resp.Request.URL.Host
	if host == s.leader.Addr() {
		return nil
	}
	leader, err := election.MasterAt(host)
	if err != nil {
		return err
	}
	return s.send(ctx, mode, func(v *names.State, _ time.Time) { v.SetLeader(endpoint(leader)) })
}

// send hands a change to the loop.
func (s *source) send(ctx context.Context, mode Mode, apply func(*names.State, time.Time)) error {
	return s.put(ctx, change{mode: mode, apply: apply})
}

// sendList hands the whole cluster to the loop.
func (s *source) sendList(ctx context.Context, mode Mode, snap names.Snapshot) error {
	return s.put(ctx, change{mode: mode, list: true, apply: func(v *names.State, now time.Time) { v.Reset(snap, now) }})
}

func (s *source) put(ctx context.Context, c change) error {
	c.source, c.at = s.number, time.Now()
	select {
	case s.changes <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
