package quota

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Place is one folder of a container with a limit of its own: its sandbox, or a volume.
type Place struct {
	Dir    string
	Limit  uint64 // bytes; 0 none
	Exempt bool   // over the limit is no offence: the disk itself is the limit
	Key    any    // the caller's
}

// Target is a container. Its first place is the sandbox.
type Target struct {
	ID     string
	Places []Place
}

// Use is what was measured of a place.
type Use struct {
	Place
	Used uint64 // bytes
}

// Config is how a Watcher works.
type Config struct {
	Interval time.Duration // --container_disk_watch_interval; 0 means 15 s
	// Targets gives the containers that run now.
	Targets func(ctx context.Context) ([]Target, error)
	// Over is told of a place that uses more than its limit, once per measurement; nil: nobody is.
	Over func(ctx context.Context, id string, use Use)
}

// Watcher measures all containers again and again.
type Watcher struct {
	cfg Config
	log *slog.Logger

	mu  sync.RWMutex // guards use
	use map[string][]Use
}

// NewWatcher prepares a watcher; Run starts it.
func NewWatcher(cfg Config, log *slog.Logger) *Watcher {
	if cfg.Interval <= 0 {
		cfg.Interval = 15 * time.Second
	}
	return &Watcher{cfg: cfg, log: log, use: map[string][]Use{}}
}

// Use gives what was measured of a container last; nil before the first time.
func (w *Watcher) Use(id string) []Use {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.use[id]
}

// Run measures until ctx ends, whose error it returns.
func (w *Watcher) Run(ctx context.Context) error {
	timer := time.NewTimer(w.cfg.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			w.Look(ctx)
			timer.Reset(w.cfg.Interval)
		}
	}
}

// Look measures everything once.
func (w *Watcher) Look(ctx context.Context) {
	targets, err := w.cfg.Targets(ctx)
	if err != nil {
		return // the agent stops, or is busy: next time
	}
	next := make(map[string][]Use, len(targets))
	for _, t := range targets {
		for _, p := range t.Places {
			used, err := Measure(ctx, p.Dir)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				w.log.Debug("disk use not measured", "container", t.ID, "err", err) // it ends at this moment
				continue
			}
			u := Use{Place: p, Used: used}
			next[t.ID] = append(next[t.ID], u)
			if p.Limit > 0 && used > p.Limit && !p.Exempt && w.cfg.Over != nil {
				w.cfg.Over(ctx, t.ID, u)
			}
		}
	}
	w.mu.Lock()
	w.use = next
	w.mu.Unlock()
}
