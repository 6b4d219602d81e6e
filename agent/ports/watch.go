// Package ports finds containers that listen on ports of the host that they have no resources
// for (isolator network/ports, mesos-agent.md 7.10). The kernel lists listening sockets over
// netlink; whose they are is looked up in /proc once per socket, when it is new.
package ports

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/resource"
)

// Target is a container in the host's network. Nested ones in control groups of their own are
// targets of their own, with what their root is allowed.
type Target struct {
	Root    string // id of the root container, which is ID when it is one
	ID      string
	PID     int // of its first process
	Allowed resource.Ranges
}

// Config is how a Watcher works.
type Config struct {
	Interval time.Duration   // --container_ports_watch_interval; 0 means 30 s
	Watched  resource.Ranges // ports outside of it are anybody's; nil: all are watched
	// Targets gives the containers that run now.
	Targets func(ctx context.Context) ([]Target, error)
	// Found is told of ports that a container listens on and has not, again when they change.
	Found func(ctx context.Context, t Target, ports resource.Ranges)
}

// Watcher looks at all containers again and again. It is used by one goroutine.
type Watcher struct {
	cfg Config
	log *slog.Logger

	known map[uint32]owner           // by inode: the sockets that listened at the last look
	told  map[string]resource.Ranges // by container: what Found was told last
}

// owner is who has a socket. A socket whose process nobody has found is looked for a few
// times, as it may be handed on to a container that is only starting; then it is the host's.
type owner struct {
	container string // empty: nobody known
	looks     int
}

// maxLooks is how often.
const maxLooks = 3

// NewWatcher prepares a watcher; Run starts it.
func NewWatcher(cfg Config, log *slog.Logger) *Watcher {
	if cfg.Interval <= 0 {
		cfg.Interval = 30 * time.Second
	}
	return &Watcher{cfg: cfg, log: log, known: map[uint32]owner{}, told: map[string]resource.Ranges{}}
}

// Run looks until ctx ends, whose error it returns.
func (w *Watcher) Run(ctx context.Context) error {
	timer := time.NewTimer(w.cfg.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			if err := w.Look(ctx); err != nil && ctx.Err() == nil {
				w.log.Warn("ports of containers are not watched: listening sockets cannot be listed", "error", err)
			}
			timer.Reset(w.cfg.Interval)
		}
	}
}

// Look does it once.
func (w *Watcher) Look(ctx context.Context) error {
	targets, err := w.cfg.Targets(ctx)
	if err != nil {
		return nil // the agent stops, or is busy: next time
	}
	listening, err := Listening()
	if err != nil {
		return err
	}
	w.identify(listening, targets)
	open := map[string]resource.Ranges{}
	for inode, port := range listening {
		if id := w.known[inode].container; id != "" && (w.cfg.Watched == nil || w.cfg.Watched.Has(uint64(port))) {
			open[id] = open[id].Add(resource.Ranges{{Begin: uint64(port), End: uint64(port)}})
		}
	}
	told := map[string]resource.Ranges{}
	for _, t := range targets {
		more := open[t.ID].Subtract(t.Allowed)
		if len(more) == 0 {
			continue
		}
		told[t.ID] = more
		if before := w.told[t.ID]; !before.Contains(more) || !more.Contains(before) {
			w.cfg.Found(ctx, t, more)
		}
	}
	w.told = told
	return nil
}

// identify finds out whose the new ones among the sockets are.
func (w *Watcher) identify(listening map[uint32]uint16, targets []Target) {
	next := make(map[uint32]owner, len(listening))
	left := 0
	for inode := range listening {
		o := w.known[inode]
		if o.container == "" && o.looks < maxLooks {
			o.looks++
			left++
		} else if o.container == "" {
			o.looks = maxLooks + 1 // the host's
		}
		next[inode] = o
	}
	w.known = next
	census := sync.OnceValues(func() (*tree.Census, error) { return tree.Take(false) })
	for _, t := range targets {
		if left == 0 {
			return
		}
		for _, pid := range processes(t, census) {
			sockets(pid, func(inode uint32) bool {
				o, listens := next[inode]
				return listens && o.container == "" && o.looks <= maxLooks
			}, func(inode uint32) {
				next[inode] = owner{container: t.ID}
				left--
			})
		}
	}
}

// processes lists those of a container: by its control group, else by its first process.
func processes(t Target, census func() (*tree.Census, error)) []int {
	groups, err := cgroup.Of(t.PID)
	if err == nil && len(groups) > 0 && isGroupOf(groups[0], t) {
		if pids, err := cgroup.Procs(groups[0]); err == nil {
			return pids
		}
	}
	first, err := tree.Read(t.PID)
	if err != nil {
		return nil
	}
	all, err := census()
	if err != nil {
		return nil
	}
	var out []int
	for _, s := range all.Members(t.PID, first.Start, "") {
		out = append(out, s.PID)
	}
	return out
}

// isGroupOf tells a container's own group from one that others are in too.
func isGroupOf(dir string, t Target) bool {
	for _, part := range strings.Split(dir, string(filepath.Separator)) {
		if part == t.ID || part == t.Root {
			return true
		}
	}
	return false
}
