// Package follow keeps dns' view of the cluster true: it finds the leading master, reads
// its operator event stream (v1 SUBSCRIBE), lists everything again after each reconnect,
// and polls /master/state where the stream is not offered. It works against any Mesos
// master (mesos-dns.md sections 10 and 14).
package follow

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
)

// Mode tells where the view comes from.
type Mode string

// The modes; Auto is for Config.Source only.
const (
	Auto      Mode = "auto" // Subscribe, and Poll where that is not offered
	Subscribe Mode = "subscribe"
	Poll      Mode = "poll"
	Cached    Mode = "cached" // from an earlier run; for Published.Mode only
)

// Config of a follower.
type Config struct {
	ZK      string   // zk://… of the masters; empty: Masters are used
	Masters []string // host:port
	Source  Mode
	Rules   names.Rules
	Hold    time.Duration // how long names of agents that a new list lacks stay; 0: names.DefaultHold

	Refresh          time.Duration // between polls
	StateTimeout     time.Duration // of one poll
	DetectionTimeout time.Duration // without a leader, before Run fails; 0: never

	TLS               *tls.Config // https to the master; nil: http
	Principal, Secret string      // basic authentication; empty: none

	// Lookup resolves host names in pids; nil means they stay unresolved.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Before is a view from an earlier run: it is published at once, as Cached, and replaced
	// by the first list of a master. Nil: none.
	Before *names.Snapshot
	// Keep is handed the view every KeepEvery while it changes, to keep it for a later run;
	// false asks to come again. It must not wait. Nil: nobody wants it.
	Keep      func(names.Snapshot) bool
	KeepEvery time.Duration
	// Notify hears what happens, for metrics; nil: nobody.
	Notify func(Event)
}

// Event is something that happened, for metrics.
type Event string

// The events.
const (
	EventReceived  Event = "event"     // from the stream
	EventListed    Event = "listed"    // a whole state arrived
	EventFailed    Event = "failed"    // a stream or poll ended with an error
	EventConnected Event = "connected" // a stream began
)

// Published is one zone with what is known about its making.
type Published struct {
	Zone *names.Zone
	Mode Mode
	At   time.Time     // when the newest event in it arrived
	Took time.Duration // to work it out

	Listed bool // follows from a new list of the whole cluster
}

// Follower follows the masters.
type Follower struct {
	cfg  Config
	log  *slog.Logger
	find func(ctx context.Context) <-chan masters
	http *client

	heard atomic.Int64 // Unix nanoseconds of the last word from a master; 0: none
}

// Heard is when a master was last heard of, be it a heartbeat; zero: never.
func (f *Follower) Heard() time.Time {
	if n := f.heard.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

func (f *Follower) hear() { f.heard.Store(time.Now().UnixNano()) }

// New makes a follower; nothing is contacted before Run. Errors: fault.Invalid.
func New(cfg Config, log *slog.Logger) (*Follower, error) {
	if cfg.Notify == nil {
		cfg.Notify = func(Event) {}
	}
	find, err := finder(cfg, log)
	if err != nil {
		return nil, err
	}
	return &Follower{cfg: cfg, log: log, find: find, http: newClient(cfg)}, nil
}

// change is one step of the view, sent by the goroutine that reads a master.
type change struct {
	source int // number of the leader's term that it came from
	mode   Mode
	apply  func(*names.State, time.Time)
	at     time.Time
	list   bool // of the whole cluster
}

// Times of the loop.
const (
	changeQueue = 4096 // changes that wait for the loop
	batch       = 256  // changes that are applied before one zone
	// A storm of events would cost a zone each: on the average one per commitRest is
	// published, with all that came meanwhile. The first few of a storm do not wait.
	commitRest      = 2 * time.Millisecond
	commitBurst     = 20
	manyTasks       = 10_000      // of a view whose list leaves much garbage behind
	lookupEvery     = time.Minute // host names are resolved again
	expiryPrecision = time.Second
)

// Run follows until ctx ends and hands each new zone to publish. It fails only after
// DetectionTimeout without a leader.
func (f *Follower) Run(ctx context.Context, publish func(Published)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &loop{
		f: f, ctx: ctx, publish: publish, state: names.NewState(f.cfg.Rules), mode: Poll,
		changes: make(chan change, changeQueue), resolved: make(chan resolution, lookups),
		lookups: newLookupPlan(f.cfg),
	}
	defer l.stopSource()
	if f.cfg.Hold > 0 {
		l.state.Hold = f.cfg.Hold
	}
	if f.cfg.Before != nil {
		l.state.Reset(*f.cfg.Before, time.Now())
		f.cfg.Before = nil // it is large
		l.mode = Cached
		l.commit()
	}
	return l.run(f.find(ctx))
}

// loop owns the view.
type loop struct {
	f       *Follower
	ctx     context.Context
	publish func(Published)

	state  *names.State
	mode   Mode
	leader election.Master // zero: none
	dirty  bool
	took   time.Duration // to apply the changes that are not published
	earned time.Time     // when the next zone is earned; behind the present by commitBurst at most
	newest time.Time     // arrival of the newest change that is not published
	untidy bool          // a list has left several times its size behind, which is to be given back
	listed bool          // a list is among the changes that are not published
	unkept bool          // changed since cfg.Keep took it
	kept   time.Time

	source     int // counts leaders
	stop       context.CancelFunc
	sourceDone chan struct{}

	changes  chan change
	resolved chan resolution
	lookups  *lookupPlan
}

func (l *loop) run(found <-chan masters) error {
	detection := newTimer(l.f.cfg.DetectionTimeout)
	defer detection.Stop()
	housekeeping := time.NewTicker(expiryPrecision)
	defer housekeeping.Stop()
	rest := newTimer(0)
	defer rest.Stop()
	for {
		select {
		case m, ok := <-found:
			if !ok {
				return l.ended()
			}
			l.found(m)
			if l.leader != (election.Master{}) {
				detection.Stop()
			} else if l.f.cfg.DetectionTimeout > 0 {
				detection.Reset(l.f.cfg.DetectionTimeout)
			}
		case c := <-l.changes:
			l.take(c)
		case r := <-l.resolved:
			l.dirty = l.lookups.done(l.state, r) || l.dirty
		case now := <-housekeeping.C:
			if expired, _ := l.state.Expire(now); expired {
				l.touch(now)
			}
			l.lookups.start(l.ctx, l.state, l.resolved)
			if l.untidy { // by now nobody holds on to the list any more
				l.untidy = false
				go debug.FreeOSMemory()
			}
			if l.unkept && now.Sub(l.kept) >= l.f.cfg.KeepEvery && l.f.cfg.Keep(l.state.Snapshot()) {
				l.unkept, l.kept = false, now
			}
		case <-rest.C:
		case <-detection.C:
			return fault.New("dns.follow", fault.Timeout, l.f.where(), errors.New("no leading master was found in time"))
		case <-l.ctx.Done():
			return nil
		}
		if !l.dirty || !l.state.Loaded() {
			continue
		}
		now := time.Now()
		if oldest := now.Add(-commitBurst * commitRest); l.earned.Before(oldest) {
			l.earned = oldest
		}
		if wait := l.earned.Sub(now); wait > 0 && !l.listed {
			rest.Reset(wait)
			continue
		}
		l.earned = l.earned.Add(commitRest)
		l.commit()
	}
}

// ended tells why the detector stopped: with the context, or because it cannot work.
func (l *loop) ended() error {
	if l.ctx.Err() != nil {
		return nil
	}
	return fault.New("dns.follow", fault.Unavailable, l.f.where(), errors.New("master detection ended"))
}

func (f *Follower) where() string {
	if f.cfg.ZK != "" {
		return "zk"
	}
	return "masters"
}

// take applies a change and those that wait behind it.
func (l *loop) take(c change) {
	began := time.Now()
	defer func() { l.took += time.Since(began) }()
	for n := 0; ; n++ {
		if c.source == l.source {
			c.apply(l.state, c.at)
			l.listed = l.listed || c.list
			l.mode = c.mode
			l.touch(c.at)
		}
		if n == batch {
			return
		}
		runtime.Gosched() // queries come first
		select {
		case c = <-l.changes:
		default:
			return
		}
	}
}

func (l *loop) touch(at time.Time) {
	l.dirty = true
	if at.After(l.newest) {
		l.newest = at
	}
}

func (l *loop) commit() {
	l.untidy = l.untidy || l.listed && l.state.Tasks() > manyTasks
	began := time.Now()
	zone := l.state.Commit()
	l.dirty = false
	l.unkept = l.f.cfg.Keep != nil && l.mode != Cached
	l.publish(Published{Zone: zone, Mode: l.mode, At: l.newest, Took: l.took + time.Since(began), Listed: l.listed})
	l.took, l.listed = 0, false
	l.lookups.start(l.ctx, l.state, l.resolved)
}

// found changes what is known about masters; a new leader gets a new source. Without a
// leader the last view stays.
func (l *loop) found(m masters) {
	if m.leader == (election.Master{}) {
		if l.leader != m.leader {
			l.f.log.Warn("no leading master, the last records stay")
		}
		l.stopSource()
		l.leader = election.Master{}
		return
	}
	l.state.SetMasters(endpoint(m.leader), endpoints(m.all))
	l.touch(time.Now())
	if l.leader.Addr() == m.leader.Addr() && l.stop != nil {
		return
	}
	l.stopSource()
	l.leader = m.leader
	l.source++
	ctx, stop := context.WithCancel(l.ctx)
	l.stop, l.sourceDone = stop, make(chan struct{})
	s := &source{f: l.f, number: l.source, leader: m.leader, changes: l.changes}
	l.f.log.Info("following master", "master", m.leader.Addr())
	go func(done chan struct{}) {
		defer close(done)
		s.run(ctx)
	}(l.sourceDone)
}

func (l *loop) stopSource() {
	if l.stop == nil {
		return
	}
	l.stop()
	<-l.sourceDone
	l.stop = nil
}

// newTimer gives a timer that never fires for 0.
func newTimer(d time.Duration) *time.Timer {
	t := time.NewTimer(max(d, time.Hour))
	if d <= 0 {
		t.Stop()
	} else {
		t.Reset(d)
	}
	return t
}
