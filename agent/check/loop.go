package check

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// runner is Runner's inside.
type runner struct {
	log *slog.Logger
	web *http.Client

	mu     sync.Mutex // guards below
	loops  map[string]*loop
	closed bool
	wg     sync.WaitGroup
}

// loop is the probing of one key.
type loop struct {
	cancel context.CancelFunc
	over   bool // guarded by runner.mu: nothing more is to be reported
}

func newRunner(log *slog.Logger) *Runner {
	return &Runner{runner{log: log, web: newWeb(), loops: map[string]*loop{}}}
}

func (r *runner) start(key string, spec Spec, target Target, report func(Result)) {
	r.stop(key)
	ctx, cancel := context.WithCancel(context.Background())
	l := &loop{cancel: cancel}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		cancel()
		return
	}
	r.loops[key] = l
	r.wg.Add(1)
	r.mu.Unlock()
	go func() {
		defer r.wg.Done()
		defer cancel()
		r.run(ctx, l, key, spec, target, report)
	}()
}

// run probes until ctx ends. The clock used is monotonic.
func (r *runner) run(ctx context.Context, l *loop, key string, spec Spec, target Target, report func(Result)) {
	timer := time.NewTimer(time.Until(spec.First(time.Now())))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		result := r.probe(ctx, spec, target)
		if ctx.Err() != nil {
			return
		}
		if !result.OK {
			r.log.Debug("probe failed", "key", key, "error", result.Err)
		}
		if r.over(l) {
			return
		}
		report(result)
		// An interval of 0 must not spin.
		timer.Reset(max(time.Until(spec.Next(time.Now())), 10*time.Millisecond))
	}
}

func (r *runner) over(l *loop) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return l.over
}

func (r *runner) stop(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.loops[key]; l != nil {
		l.over = true
		l.cancel()
		delete(r.loops, key)
	}
}

func (r *runner) close() {
	r.mu.Lock()
	r.closed = true
	for key, l := range r.loops {
		l.cancel()
		delete(r.loops, key)
	}
	r.mu.Unlock()
	r.wg.Wait()
}
