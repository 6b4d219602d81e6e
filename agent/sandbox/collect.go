package sandbox

import (
	"context"
	"log/slog"
	"time"
)

// CollectConfig is when folders that are no longer in use go (mesos-agent.md 10, GC).
type CollectConfig struct {
	Delay    time.Duration // --gc_delay, 0 means 1 week
	Headroom float64       // --gc_disk_headroom, share of the disk to keep free; 0 means 0.1, negative none
	Interval time.Duration // --disk_watch_interval, 0 means 1 min
	Path     string        // a folder on the disk that is watched
}

// Collector removes folders some time after they were given to it, sooner when the
// disk fills up.
type Collector struct{ collector }

// NewCollector prepares a collector; Run starts it. removed, which may be nil, is
// called after each removal, from Run's goroutine.
func NewCollector(cfg CollectConfig, log *slog.Logger, removed func(path string)) *Collector {
	return newCollector(cfg, log, removed)
}

// Add gives a folder whose Delay counts from since, usually its modification time.
// Adding it again changes since.
func (c *Collector) Add(path string, since time.Time) { c.add(path, since) }

// Run removes what is due until ctx ends.
func (c *Collector) Run(ctx context.Context) error { return c.run(ctx) }

// MaxAge is the age in seconds at which folders go at present (metric
// slave/executor_directory_max_allowed_age_secs).
func (c *Collector) MaxAge() float64 { return c.age() }

// Counts gives how many folders were removed, how many tries failed, and how many wait
// (metrics gc/path_removals_…).
func (c *Collector) Counts() (succeeded, failed, pending uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone, c.failed, uint64(len(c.since))
}

// Prune removes all that is allowed by the disk's use now (PRUNE and tests).
func (c *Collector) Prune(ctx context.Context) { c.prune(ctx) }
