package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/stoa-project/stoa/internal/auth/crammd5"
)

const (
	attempts    = 128              // agents that authenticate at once
	attemptTime = 15 * time.Second // of one
	attemptWait = 100 * time.Millisecond
)

// known says whether the master knows who an agent is. When not, an attempt to show it
// begins, and the registration follows its end. f.mu held.
func (f *Fleet) known(a *agent) bool {
	if f.cfg.Credential == nil || a.knownAt == f.link {
		return true
	}
	if a.asking {
		f.schedule(a, 0)
		return false
	}
	select {
	case f.slots <- struct{}{}:
	default:
		f.schedule(a, attemptWait)
		return false
	}
	a.asking = true
	link, leader := f.link, f.leader
	f.work.Go(func() {
		ctx, cancel := context.WithTimeout(f.ctx, attemptTime)
		err := crammd5.Authenticate(ctx, f.tr, leader, a.pid, *f.cfg.Credential)
		cancel()
		<-f.slots
		f.mu.Lock()
		defer f.mu.Unlock()
		a.asking = false
		switch {
		case errors.Is(err, crammd5.ErrRefused):
			select {
			case f.ended <- err:
			default:
			}
		case err == nil && link == f.link && f.linked:
			a.knownAt = link
			f.register(a, a.seq)
		default:
			f.schedule(a, 0)
		}
	})
	return false
}
