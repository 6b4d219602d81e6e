package fetch

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
)

// cache keeps what was fetched for URIs with cache=true (mesos-agent.md 8.4). A file is
// found by the task's user and the URI's text and is never asked for again at its source
// until it was evicted; who wants a file that is on its way waits for it. Files that
// nobody copies at the moment make room for others, those not used for longest first.
type cache struct {
	dir   string
	limit int64 // bytes

	mu      sync.Mutex // guards what follows, and the entries
	used    int64      // bytes of all entries, those on their way included
	serial  int
	entries map[string]*cached
	unused  *list.List // *cached with refs 0, not used for longest first
}

// cached is one file of the cache. path and err are set when ready is closed.
type cached struct {
	key   string
	path  string
	size  int64
	refs  int
	place *list.Element // in unused
	ready chan struct{}
	err   error
}

// errNotCached makes those who wait for a file fetch it themselves: it does not fit, its size
// is unknown, or the one who fetched it failed.
var errNotCached = errors.New("not in the cache")

// openCache empties the folder of what an earlier agent left there.
func openCache(dir string, limit int64, log *slog.Logger) (*cache, error) {
	c := &cache{dir: dir, limit: limit, entries: map[string]*cached{}, unused: list.New()}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New("cache", fault.OfSystem(err), dir, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return nil, fault.New("cache", fault.OfSystem(err), dir, err)
	}
	for _, e := range left {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			log.Warn("file of the fetcher cache not removed", "path", filepath.Join(dir, e.Name()), "error", err)
		}
	}
	return c, nil
}

// get gives the file for a key, whose place the caller gives back with put. When there is
// none fill makes it: fill is told the file and a way to reserve its bytes, which fails
// with errNotCached. The error errNotCached asks the caller to do without the cache.
func (c *cache) get(ctx context.Context, key, base string, fill func(f *os.File, reserve func(int64) error) error) (*cached, error) {
	c.mu.Lock()
	e := c.entries[key]
	if e != nil {
		c.take(e)
		c.mu.Unlock()
		select {
		case <-e.ready:
		case <-ctx.Done():
			c.put(e)
			return nil, context.Cause(ctx)
		}
		if e.err != nil {
			c.put(e)
			return nil, errNotCached
		}
		return e, nil
	}
	c.serial++
	user, _, _ := strings.Cut(key, "@")
	e = &cached{key: key, refs: 1, ready: make(chan struct{}), path: filepath.Join(c.dir, user, "c"+strconv.Itoa(c.serial)+"-"+clip(base))}
	c.entries[key] = e
	c.mu.Unlock()

	crash.Here("agent.fetch-cache-begun")
	err := c.fill(e, fill)
	c.mu.Lock()
	if e.err = err; err != nil {
		delete(c.entries, key)
		c.used -= e.size
		_ = os.Remove(e.path)
	}
	c.mu.Unlock()
	close(e.ready)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (c *cache) fill(e *cached, fill func(f *os.File, reserve func(int64) error) error) error {
	if err := os.MkdirAll(filepath.Dir(e.path), 0o700); err != nil {
		return fault.New("cache", fault.OfSystem(err), e.path, err)
	}
	f, err := os.OpenFile(e.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.New("cache", fault.OfSystem(err), e.path, err)
	}
	err = fill(f, func(n int64) error { return c.reserve(e, n) })
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fault.New("cache", fault.OfSystem(cerr), e.path, cerr)
	}
	return err
}

// reserve makes room for n bytes.
func (c *cache) reserve(e *cached, n int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n < 0 || n > c.limit {
		return errNotCached
	}
	for c.used+n > c.limit {
		oldest := c.unused.Front()
		if oldest == nil {
			return errNotCached
		}
		old := c.unused.Remove(oldest).(*cached)
		delete(c.entries, old.key)
		c.used -= old.size
		_ = os.Remove(old.path)
	}
	e.size = n
	c.used += n
	return nil
}

// take is called with mu held.
func (c *cache) take(e *cached) {
	if e.place != nil {
		c.unused.Remove(e.place)
		e.place = nil
	}
	e.refs++
}

// put ends one use.
func (c *cache) put(e *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.refs--; e.refs == 0 && e.err == nil && c.entries[e.key] == e {
		e.place = c.unused.PushBack(e)
	}
}

// size gives the bytes kept and the bytes that may be.
func (c *cache) size() (used, limit int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used, c.limit
}

// clip bounds a file name that gets a prefix.
func clip(name string) string {
	if len(name) > 200 {
		return name[len(name)-200:]
	}
	return name
}
