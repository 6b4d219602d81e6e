package agent

import (
	"context"
	"sync"
	"time"
)

const (
	firstLaunches = 4                      // launches at a time at first
	gatePatience  = 100 * time.Millisecond // after which more go on although none has ended
)

// gate bounds how many launches are at work at a time: a few at first, one more for each
// that has ended, up to a limit. So the first of a thousand have the processors for
// themselves and are done long before the last, and the others lose nothing by it. Launches
// that take long, with much to download, do not keep others out: the bound doubles each
// gatePatience while some wait. When none is at work it is low again.
type gate struct {
	limit int

	mu      sync.Mutex // guards all below
	open    int        // the bound
	inside  int
	waiting []chan struct{} // in the order they came; closed to let one in
	timer   *time.Timer     // runs while some wait; nil when none do
}

func newGate(limit int) *gate { return &gate{limit: limit, open: min(firstLaunches, limit)} }

// enter waits until there is room and takes it; with an error, ctx's, it has not.
func (g *gate) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.mu.Lock()
	if g.inside < g.open && len(g.waiting) == 0 {
		g.inside++
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	g.waiting = append(g.waiting, turn)
	if g.timer == nil {
		g.timer = time.AfterFunc(gatePatience, g.widen)
	}
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.waiting {
		if w == turn {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return ctx.Err()
		}
	}
	g.inside-- // let in meanwhile
	g.admit()
	return ctx.Err()
}

// leave gives room back.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.open = min(g.open+1, g.limit)
	g.admit()
	if g.inside == 0 {
		g.open = min(firstLaunches, g.limit)
	}
}

// admit lets in who has room. The caller holds mu.
func (g *gate) admit() {
	for len(g.waiting) > 0 && g.inside < g.open {
		g.inside++
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
	}
	if len(g.waiting) == 0 {
		g.waiting = nil
	}
}

func (g *gate) widen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer = nil
	if len(g.waiting) == 0 {
		return
	}
	g.open = min(2*g.open, g.limit)
	g.admit()
	if len(g.waiting) > 0 {
		g.timer = time.AfterFunc(gatePatience, g.widen)
	}
}
