package agent

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// entered tells how many of the waiting have been let in, once it is as many as wanted.
func entered(t *testing.T, g *gate, want int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		g.mu.Lock()
		inside, waiting := g.inside, len(g.waiting)
		g.mu.Unlock()
		if inside == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d are inside, not %d; %d wait", inside, want, waiting)
		}
	}
}

func TestGateOpensWithEachEnd(t *testing.T) {
	g := newGate(16)
	var wg sync.WaitGroup
	defer wg.Wait()
	most := 0
	for range 200 {
		wg.Go(func() {
			if err := g.enter(context.Background()); err != nil {
				t.Error(err)
				return
			}
			g.mu.Lock()
			most = max(most, g.inside)
			if g.inside > g.open || g.open > 16 {
				t.Errorf("%d inside, %d allowed", g.inside, g.open)
			}
			g.mu.Unlock()
			g.leave()
		})
	}
	wg.Wait()
	if most == 0 || g.inside != 0 || g.open != firstLaunches || len(g.waiting) != 0 {
		t.Errorf("at most %d; at the end %d inside, %d allowed, %d wait", most, g.inside, g.open, len(g.waiting))
	}
}

// Launches that do not end keep nobody out but up to the limit.
func TestGateWidensWhileNoneEnds(t *testing.T) {
	g := newGate(10)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			if g.enter(ctx) == nil {
				<-ctx.Done()
				g.leave()
			}
		})
	}
	entered(t, g, 10)
	cancel()
	wg.Wait()
	entered(t, g, 0)
}

func TestGateGivenUp(t *testing.T) {
	g := newGate(1)
	if err := g.enter(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- g.enter(ctx) }()
	for waits := false; !waits; time.Sleep(time.Millisecond) {
		g.mu.Lock()
		waits = len(g.waiting) == 1
		g.mu.Unlock()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	g.leave()
	if err := g.enter(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := g.enter(context.Background()); err != nil {
		t.Error(err)
	}
	g.leave()
	if g.inside != 0 || len(g.waiting) != 0 {
		t.Errorf("%d inside, %d wait", g.inside, len(g.waiting))
	}
}
