package framework

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/feed"
	"github.com/stoa-project/stoa/framework/repo"
	"github.com/stoa-project/stoa/framework/rest"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/zk"
)

// stateDir holds the records below the path of --zk.
const stateDir = "stoa"

// termPause is between the end of a term and the next campaign.
const termPause = time.Second

// Framework is one process of the room.
type Framework struct {
	cfg     Config
	log     *slog.Logger
	self    string // host:port others know us by; set when the listener is bound
	feed    *feed.Feed
	metrics *metrics.Registry
	traffic *rest.Traffic

	ended  atomic.Pointer[error]  // why the last term ended, nil before any did
	term   atomic.Pointer[term]   // the present leadership, nil while standing by
	leader atomic.Pointer[string] // host:port of whoever leads, as the election says

	mu       sync.Mutex         // guards abdicate
	abdicate context.CancelFunc // ends the present term, nil without one
}

// New makes a framework; it opens and starts nothing.
func New(cfg Config, log *slog.Logger) *Framework {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Framework{cfg: cfg.withDefaults(), log: log, metrics: metrics.New()}
	f.feed = feed.New(feed.Config{MaxOutstanding: cfg.EventsPending, BalancerGone: f.balancerGone}, log)
	f.declareMetrics()
	return f
}

// Run serves the API and leads whenever it is elected, until ctx ends (nil) or
// something fails that a new campaign cannot cure.
func (f *Framework) Run(ctx context.Context) error {
	listeners, err := f.listen()
	if err != nil {
		return err
	}
	listener := closers(listeners)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	records, contender, detector, closeAll, err := f.open(ctx)
	if err != nil {
		listener.Close()
		return err
	}
	defer closeAll()
	masters, err := election.DetectorFor(f.cfg.Master, f.zkConfig(), election.Over(f.cfg.MasterTLS.Scheme(), f.cfg.MasterTLS.Transport(nil)))
	if err != nil {
		listener.Close()
		return err
	}

	var work sync.WaitGroup
	defer work.Wait()
	defer cancel(nil)
	work.Go(func() { f.follow(ctx, detector) })
	for _, to := range f.cfg.StatsD {
		work.Go(func() { pushMetrics(ctx, to, f.metrics, f.log) })
	}
	api := f.api()
	for _, l := range listeners {
		work.Go(func() {
			if err := web.Serve(ctx, l, api, f.log); err != nil {
				cancel(err)
			}
		})
	}
	f.log.Info("framework listens", "address", listeners[0].Addr().String(), "known as", f.self)
	err = f.campaigns(ctx, records, contender, masters)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// campaigns leads again and again.
func (f *Framework) campaigns(ctx context.Context, records store.Store, contender election.Contender, masters election.Detector) error {
	for {
		lease, err := contender.Campaign(ctx, []byte(f.self))
		if err != nil {
			return err
		}
		f.log.Info("elected")
		err = f.lead(ctx, lease, records, masters)
		lease.Resign()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.log.Warn("leadership ended", "error", err)
		f.ended.Store(&err)
		switch fault.KindOf(err) {
		case fault.Malformed, fault.Invalid, fault.Unsupported:
			return err // the records cannot be used; trying again does not mend them
		}
		select {
		case <-time.After(termPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow keeps the address of whoever leads.
func (f *Framework) follow(ctx context.Context, d election.Detector) {
	for l := range d.Watch(ctx) {
		address := string(l.Data)
		f.leader.Store(&address)
	}
}

// listen binds the API's addresses and settles the name others know us by, which is that
// of the first.
func (f *Framework) listen() (_ []net.Listener, err error) {
	var all []net.Listener
	defer func() {
		if err != nil {
			closers(all).Close()
		}
	}()
	switch {
	case f.cfg.Listener != nil:
		all = append(all, f.cfg.Listener)
	case !f.cfg.NoHTTP:
		l, err := net.Listen("tcp", net.JoinHostPort(f.cfg.HTTPAddress, strconv.Itoa(f.cfg.HTTPPort)))
		if err != nil {
			return nil, fault.New("framework.Run", fault.Unavailable, "http_port", err)
		}
		all = append(all, l)
	}
	if f.cfg.TLS != nil {
		l, err := net.Listen("tcp", net.JoinHostPort(f.cfg.HTTPSAddress, strconv.Itoa(f.cfg.HTTPSPort)))
		if err != nil {
			return nil, fault.New("framework.Run", fault.Unavailable, "https_port", err)
		}
		all = append(all, f.cfg.TLS.Listen(l))
	}
	if len(all) == 0 {
		return nil, fault.New("framework.Run", fault.Invalid, "disable_http", errors.New("no address is left: give --ssl_keystore_path"))
	}
	l := all[0]
	host := f.cfg.Hostname
	if host == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fault.New("framework.Run", fault.Invalid, "hostname", fmt.Errorf("the machine has no name, give --hostname: %w", err))
		}
		host = name
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, fault.New("framework.Run", fault.Invalid, "http_port", err)
	}
	f.self = net.JoinHostPort(host, port)
	return all, nil
}

// closers closes listeners together.
type closers []net.Listener

// Close closes all of them.
func (c closers) Close() {
	for _, l := range c {
		l.Close()
	}
}

// scheme is that of URLs under the name others know us by.
func (f *Framework) scheme() string {
	if f.cfg.NoHTTP {
		return f.cfg.TLS.Scheme()
	}
	return "http"
}

// open opens the records and the election: ZooKeeper's, or those of a single process.
func (f *Framework) open(ctx context.Context) (store.Store, election.Contender, election.Detector, func(), error) {
	if f.cfg.ZK == nil {
		if f.cfg.WorkDir == "" {
			return nil, nil, nil, nil, fault.New("framework.Run", fault.Invalid, "work_dir",
				errors.New("records need a place: give --zk zk://host:port/marathon, or --work_dir for a single framework"))
		}
		file, err := store.OpenFile(filepath.Join(f.cfg.WorkDir, "framework.db"))
		if err != nil {
			return nil, nil, nil, nil, err
		}
		alone := election.NewStatic([]byte(f.self))
		return file, alone, alone, func() { file.Close() }, nil
	}
	session, err := zk.Dial(context.WithoutCancel(ctx), *f.cfg.ZK, f.zkConfig())
	if err != nil {
		return nil, nil, nil, nil, err
	}
	group := election.NewZK(session, f.cfg.ZK.Join(election.FrameworkPath), election.LatchPrefix, f.log)
	records := store.NewZK(session, f.cfg.ZK.Join(stateDir))
	return records, group, group, session.Close, nil
}

func (f *Framework) zkConfig() zk.Config {
	return zk.Config{SessionTimeout: f.cfg.SessionTimeout, Logger: f.log}
}

// Leader implements rest.Leadership.
func (f *Framework) Leader() (address string, self bool) {
	if f.Snapshot() != nil {
		return f.self, true
	}
	if l := f.leader.Load(); l != nil {
		return *l, false
	}
	return "", false
}

// Abdicate implements rest.Leadership: the term ends and another process, or this one
// again, is elected and does what is left to it.
func (f *Framework) Abdicate(ctx context.Context, h repo.Handover) error {
	t := f.term.Load()
	if t == nil {
		return fault.New("abdicate", fault.Unavailable, "", errors.New("this process does not lead any more"))
	}
	if h != (repo.Handover{}) {
		limited, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		if err := t.repo.Leave(limited, t.fence, h); err != nil {
			return err
		}
	}
	// The answer to the caller goes out first.
	time.AfterFunc(abdicateAfter, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.abdicate != nil && f.term.Load() == t {
			f.abdicate()
		}
	})
	return nil
}

// Snapshot implements rest.Core: nil while this process does not lead.
func (f *Framework) Snapshot() *core.Snapshot {
	if t := f.term.Load(); t != nil {
		return t.shown.Load()
	}
	return nil
}

// Do implements rest.Core. Errors: the command's, fault.Unavailable when leadership is
// not held or ends meanwhile (the command may then have been carried out), and ctx's.
func (f *Framework) Do(ctx context.Context, cmd core.Command) (core.Outcome, error) {
	t := f.term.Load()
	if t == nil {
		return core.Outcome{}, f.notLeading()
	}
	return t.do(ctx, cmd)
}

// notLeading is the error of a command that finds no term, with the reason why the last
// one ended where that was a failure.
func (f *Framework) notLeading() error {
	if why := f.ended.Load(); why != nil {
		return termEnded(*why)
	}
	return termEnded(nil)
}

// termEnded words the end of a term for a client. A full disk is told as such: trying
// again does not help.
func termEnded(why error) error {
	const text = "this process does not lead: try again"
	switch {
	case why == nil:
		return fault.New("framework", fault.Unavailable, "", errors.New(text))
	case fault.KindOf(why) == fault.Full:
		return fault.New("framework", fault.Full, "", fmt.Errorf("nothing can be recorded, make space: %w", why))
	}
	return fault.New("framework", fault.Unavailable, "", fmt.Errorf("%s (its last term ended: %w)", text, why))
}

// Compile-time checks.
var (
	_ rest.Core       = (*Framework)(nil)
	_ rest.Leadership = (*Framework)(nil)
)
