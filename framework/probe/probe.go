// Package probe runs the health and readiness checks that the framework makes itself
// (protocols HTTP, HTTPS and TCP). It only runs and reports: what a result means,
// grace periods and kills included, is the core's to decide.
package probe

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// firstRun is the longest pause before the first run of a health check (marathon.md 8).
const firstRun = 5 * time.Second

// Config tunes the prober.
type Config struct {
	// Concurrent is how many checks may be under way at once; 0 means 256.
	Concurrent int
	// Deliver takes results, from many goroutines.
	Deliver func(core.Input)
}

// Prober runs one goroutine for each check of each running task.
type Prober struct {
	cfg   Config
	log   *slog.Logger
	slots chan struct{} // one token for each check under way
	ctx   context.Context
	end   context.CancelFunc
	work  sync.WaitGroup

	mu      sync.Mutex // guards running
	running map[app.InstanceID]*probes
}

// probes are the checks of one instance.
type probes struct {
	ctx       context.Context
	cancel    context.CancelFunc
	launch    int
	readiness bool // the readiness check was started
}

// New makes a prober; it runs nothing before Start.
func New(cfg Config, log *slog.Logger) *Prober {
	if cfg.Concurrent <= 0 {
		cfg.Concurrent = 256
	}
	p := &Prober{cfg: cfg, log: log, slots: make(chan struct{}, cfg.Concurrent), running: map[app.InstanceID]*probes{}}
	p.ctx, p.end = context.WithCancel(context.Background())
	return p
}

// Start begins the checks of a running task. Those that run already go on.
func (p *Prober) Start(s core.StartProbes) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := s.Instance.ID
	have := p.running[id]
	if have != nil && have.launch != s.Instance.Launch {
		have.cancel()
		have = nil
	}
	if have == nil {
		have = &probes{launch: s.Instance.Launch}
		have.ctx, have.cancel = context.WithCancel(p.ctx)
		p.running[id] = have
		for i := range s.Spec.HealthChecks {
			if h := &s.Spec.HealthChecks[i]; h.ByFramework() {
				p.work.Go(func() { p.watch(have.ctx, s, i, h) })
			}
		}
	}
	if s.Readiness && !have.readiness && len(s.Spec.ReadinessChecks) > 0 {
		have.readiness = true
		p.work.Go(func() { p.poll(have.ctx, s, &s.Spec.ReadinessChecks[0]) })
	}
}

// Stop ends the checks of an instance; a result under way is not delivered any more.
func (p *Prober) Stop(id app.InstanceID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.running[id]; have != nil {
		have.cancel()
		delete(p.running, id)
	}
}

// Close ends all checks and waits for them.
func (p *Prober) Close() {
	p.end()
	p.work.Wait()
}

// watch runs a health check at its interval.
func (p *Prober) watch(ctx context.Context, s core.StartProbes, index int, h *app.HealthCheck) {
	interval := max(time.Second, time.Duration(h.IntervalSeconds)*time.Second)
	first := min(interval, firstRun)
	// Spread the checks of an app that started all at once, never later than contracted.
	timer := time.NewTimer(first/2 + rand.N(first/2))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(interval)
		if !p.enter(ctx) {
			return
		}
		result := check(ctx, s.Instance, s.Spec, h)
		<-p.slots
		if ctx.Err() != nil {
			return
		}
		if result.ignore {
			continue
		}
		p.cfg.Deliver(core.Probed{Instance: s.Instance.ID, Launch: s.Instance.Launch, Check: index,
			OK: result.err == nil, Cause: result.cause()})
	}
}

// poll runs a readiness check until it passes.
func (p *Prober) poll(ctx context.Context, s core.StartProbes, r *app.ReadinessCheck) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(max(time.Second, time.Duration(r.IntervalSeconds)*time.Second))
		if !p.enter(ctx) {
			return
		}
		result := ready(ctx, s.Instance, s.Spec, r)
		<-p.slots
		if ctx.Err() != nil {
			return
		}
		p.cfg.Deliver(core.Readied{Instance: s.Instance.ID, Launch: s.Instance.Launch, Result: result})
		if result.Ready {
			return
		}
	}
}

// enter waits for a free slot; false when ctx ended first.
func (p *Prober) enter(ctx context.Context) bool {
	select {
	case p.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}
