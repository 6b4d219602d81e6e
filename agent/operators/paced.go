package operators

import (
	"context"
	"sync"
	"time"
)

// measureEvery is the least time between two rounds of measurements for
// /monitor/statistics (mesos-agent.md 0.1).
const measureEvery = 500 * time.Millisecond

// paced lets what many ask for be done at most once in an interval: who asks meanwhile
// waits for the next time, and all who wait get the same.
type paced[T any] struct {
	every time.Duration
	f     func(context.Context) (T, error)

	mu   sync.Mutex // guards the fields below
	last time.Time  // the begin of the newest round
	next *round[T]  // has not begun; nil: nobody waits
}

// round is done once for all who wait for it.
type round[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// get waits for a round that has not begun before the call.
func (p *paced[T]) get(ctx context.Context) (T, error) {
	p.mu.Lock()
	r := p.next
	if r == nil {
		r = &round[T]{done: make(chan struct{})}
		p.next = r
		wait := max(0, time.Until(p.last.Add(p.every)))
		time.AfterFunc(wait, func() {
			p.mu.Lock()
			p.next, p.last = nil, time.Now()
			p.mu.Unlock()
			// Of its own: whoever asked first may have gone.
			own, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			r.value, r.err = p.f(own)
			close(r.done)
		})
	}
	p.mu.Unlock()
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
