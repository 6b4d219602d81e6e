package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sync"

	"github.com/stoa-project/stoa/agent/fetch/carry"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// courier is the agent's side of one fetch.
type courier struct {
	f        *Fetcher
	run      string
	owner    sandbox.Owner
	uris     []carry.URI
	progress Progress

	conn  *carry.Conn
	heard []chan carry.Message // by URI: what is said about the cache; nil before Ask
	asks  sync.WaitGroup
}

func (f *Fetcher) courier(run string, owner sandbox.Owner, uris []*mesos.CommandInfo_URI, progress Progress) *courier {
	c := &courier{f: f, run: run, owner: owner, progress: progress, heard: make([]chan carry.Message, len(uris))}
	for _, u := range uris {
		c.uris = append(c.uris, carry.URI{
			Value: u.GetValue(), Output: u.GetOutputFile(), Executable: u.GetExecutable(), Extract: u.GetExtract(),
			Cache: u.GetCache() && f.cache != nil,
		})
	}
	return c
}

// request is all that the process is told at first; bounded says that a control group
// holds its memory.
func (c *courier) request(bounded bool) carry.Request {
	cfg := &c.f.cfg
	return carry.Request{
		Run: c.run, URIs: c.uris, Env: environment(os.Environ(), anyHadoop(c.uris)),
		Limits: carry.Limits{
			FrameworksHome: cfg.FrameworksHome, HadoopHome: cfg.HadoopHome, StallTimeout: cfg.StallTimeout, Timeout: cfg.Timeout,
			MaxBytes: cfg.MaxBytes, MaxEntries: cfg.MaxEntries, MaxRatio: cfg.MaxRatio, RatioFrom: cfg.ratioFrom,
			Redirects: cfg.Redirects, Parallel: cfg.Parallel, Memory: cfg.Memory, Data: !bounded,
		},
	}
}

// carry runs the process from its start to its end.
func (c *courier) carry(ctx context.Context, out io.Writer) error {
	folder, err := os.Open(c.run)
	if err != nil {
		return fault.New("fetch", fault.OfSystem(err), c.run, err)
	}
	defer folder.Close()
	conn, theirs, err := carry.Pair()
	if err != nil {
		return fault.New("fetch", fault.Unavailable, "socket", err)
	}
	defer conn.Close()
	defer theirs.Close()
	c.conn = conn
	home, err := c.f.groups.make(c.run)
	if err != nil {
		home.end()
		return err
	}
	crash.Here("agent.fetch-group-made")
	p, err := start(c.owner, home, theirs, folder, out)
	if err != nil {
		home.end()
		return err
	}
	theirs.Close() // so that the socket ends with the process
	crash.Here("agent.fetch-started")
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	var said *carry.Message
	if err = p.tell(c.request(home.bounded())); err == nil {
		crash.Here("agent.fetch-told")
		said, err = c.listen(inner)
	}
	if said == nil {
		p.kill() // if it has not ended: it does not keep to what was agreed
	}
	cancel()
	c.asks.Wait()
	end := p.wait()
	kills := home.end()
	crash.Here("agent.fetch-ended")
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case said != nil && said.Error == nil:
		return nil
	case kills > 0 || end.hungry():
		return fault.New("fetch", fault.TooLarge, "memory",
			fmt.Errorf("fetching takes more than %s of memory, which --fetcher_memory_limit allows", bytesText(c.f.cfg.Memory)))
	case said != nil:
		return said.Error.Err()
	case err != nil:
		return fault.New("fetch", fault.Other, "", fmt.Errorf("the process that fetches was ended: %w", err))
	}
	return fault.New("fetch", fault.Other, "", fmt.Errorf("the process that fetches ended by itself: %s", end))
}

// listen hears the process until it is done or gone; said is nil in the latter case.
func (c *courier) listen(ctx context.Context) (said *carry.Message, err error) {
	for {
		m, file, err := c.conn.Receive()
		if file != nil {
			file.Close() // none is ever meant
		}
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if m.URI < 0 || m.URI >= len(c.uris) {
			return nil, fmt.Errorf("it spoke of URI %d", m.URI)
		}
		switch m.Kind {
		case carry.Done:
			return &m, nil
		case carry.Progress:
			if c.progress != nil {
				c.progress(carry.Redact(c.uris[m.URI].Value), m.Done, m.Total)
			}
		case carry.Ask:
			if !c.uris[m.URI].Cache || c.heard[m.URI] != nil {
				return nil, errors.New("it asked for what it may not have")
			}
			c.heard[m.URI] = make(chan carry.Message, 4)
			c.asks.Go(func() { c.fromCache(ctx, m.URI) })
		default:
			if ch := c.heard[m.URI]; ch == nil || len(ch) == cap(ch) {
				return nil, fmt.Errorf("it said %q out of turn", m.Kind)
			}
			c.heard[m.URI] <- m
		}
	}
}

// hear waits for what the process says about a URI.
func (c *courier) hear(ctx context.Context, i int, kind carry.Kind) (carry.Message, error) {
	select {
	case m := <-c.heard[i]:
		if m.Kind != kind {
			return m, fmt.Errorf("%q came instead of %q", m.Kind, kind)
		}
		return m, nil
	case <-ctx.Done():
		return carry.Message{}, context.Cause(ctx)
	}
}

// fromCache gives the process a file of the cache, which it may have to fill first. It
// ends when the file is no longer read, or with the process.
func (c *courier) fromCache(ctx context.Context, i int) {
	skip := func() { _ = c.conn.Send(carry.Message{Kind: carry.Skip, URI: i}, nil) }
	store := c.f.cache
	key := fmt.Sprintf("%d@%s", c.owner.UID, c.uris[i].Value)
	e, err := store.get(ctx, key, path.Base(c.uris[i].Value), func(f *os.File, reserve func(int64) error) error {
		return c.fill(ctx, i, f, reserve)
	})
	if errors.Is(err, errNotCached) {
		skip()
		return
	}
	if err != nil {
		if ctx.Err() == nil {
			c.f.log.Warn("file of the fetcher cache not made", "error", err)
			skip()
		}
		return
	}
	defer store.put(e)
	f, err := os.Open(e.path)
	if err != nil {
		c.f.log.Warn("file of the fetcher cache cannot be read", "path", e.path, "error", err)
		skip()
		return
	}
	err = c.conn.Send(carry.Message{Kind: carry.Have, URI: i}, f)
	f.Close()
	if err == nil {
		_, _ = c.hear(ctx, i, carry.Used)
	}
}

// fill has the process write a new file of the cache.
func (c *courier) fill(ctx context.Context, i int, f *os.File, reserve func(int64) error) error {
	if err := c.conn.Send(carry.Message{Kind: carry.Fill, URI: i}, nil); err != nil {
		return err
	}
	size, err := c.hear(ctx, i, carry.Size)
	if err != nil {
		return err
	}
	if err := reserve(size.Total); err != nil {
		return err
	}
	crash.Here("agent.fetch-cache-reserved")
	if err := c.conn.Send(carry.Message{Kind: carry.Write, URI: i}, f); err != nil {
		return err
	}
	if _, err := c.hear(ctx, i, carry.Filled); err != nil {
		return err
	}
	crash.Here("agent.fetch-cache-filled")
	if info, err := f.Stat(); err != nil || info.Size() != size.Total {
		return fault.New("cache", fault.Unavailable, f.Name(), fmt.Errorf("%d bytes were announced, the file has not as many: %w", size.Total, err))
	}
	return nil
}

// bytesText prints a limit.
func bytesText(n int64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%dMB", n>>20)
	}
	return fmt.Sprintf("%dB", n)
}
