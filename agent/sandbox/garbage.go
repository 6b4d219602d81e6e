package sandbox

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/crash"
)

// collector is Collector's inside.
type collector struct {
	cfg     CollectConfig
	log     *slog.Logger
	removed func(string)
	wake    chan struct{}

	mu      sync.Mutex // guards below
	since   map[string]time.Time
	allowed time.Duration // age at which folders go at present
	gone    uint64        // folders removed
	failed  uint64        // tries to remove one that failed
}

func newCollector(cfg CollectConfig, log *slog.Logger, removed func(string)) *Collector {
	if cfg.Delay == 0 {
		cfg.Delay = 7 * 24 * time.Hour
	}
	if cfg.Headroom == 0 {
		cfg.Headroom = 0.1
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Minute
	}
	return &Collector{collector{
		cfg: cfg, log: log, removed: removed, wake: make(chan struct{}, 1),
		since: map[string]time.Time{}, allowed: cfg.Delay,
	}}
}

func (c *collector) add(path string, since time.Time) {
	c.mu.Lock()
	c.since[path] = since
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *collector) age() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allowed.Seconds()
}

// run removes folders when they are due, and looks at the disk each Interval.
func (c *collector) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			c.prune(ctx)
		case <-c.wake:
		}
		timer.Reset(c.next(time.Now()))
	}
}

// next is the time until the next look.
func (c *collector) next(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := c.cfg.Interval
	for _, since := range c.since {
		wait = min(wait, since.Add(c.allowed).Sub(now))
	}
	return max(wait, 10*time.Millisecond)
}

// maxAge is the rule of mesos-agent.md 10: the fuller the disk, the younger they go.
func maxAge(delay time.Duration, headroom, usage float64) time.Duration {
	return time.Duration(float64(delay) * max(0, 1-max(0, headroom)-usage))
}

func (c *collector) prune(ctx context.Context) {
	allowed := c.cfg.Delay
	if usage, err := diskUsage(c.cfg.Path); err != nil {
		c.log.Warn("the disk's use is unknown", "path", c.cfg.Path, "error", err)
	} else {
		allowed = maxAge(c.cfg.Delay, c.cfg.Headroom, usage)
	}
	now := time.Now()
	var due []string
	c.mu.Lock()
	c.allowed = allowed
	for path, since := range c.since {
		if now.Sub(since) >= allowed {
			due = append(due, path)
			delete(c.since, path) // from here on it cannot be taken back
		}
	}
	c.mu.Unlock()
	for i, path := range due {
		if ctx.Err() != nil {
			c.mu.Lock()
			for _, p := range due[i:] {
				c.since[p] = now.Add(-allowed)
			}
			c.mu.Unlock()
			return
		}
		crash.Here("agent.collecting")
		// RemoveAll works by descriptors and removes links, not what they lead to.
		if err := os.RemoveAll(path); err != nil {
			c.log.Warn("a folder cannot be removed; tried again later", "path", path, "error", err)
			c.count(&c.failed)
			c.add(path, now)
			continue
		}
		crash.Here("agent.collected")
		c.count(&c.gone)
		c.log.Info("folder removed", "path", path)
		if c.removed != nil {
			c.removed(path)
		}
	}
}

func (c *collector) count(n *uint64) {
	c.mu.Lock()
	*n++
	c.mu.Unlock()
}

// diskUsage gives the used share, 0 to 1, of the file system a path is on.
func diskUsage(path string) (float64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, err
	}
	if s.Blocks == 0 {
		return 0, nil
	}
	return 1 - float64(s.Bavail)/float64(s.Blocks), nil
}
