package zk

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// DefaultSessionTimeout is Mesos' zk_session_timeout.
const DefaultSessionTimeout = 10 * time.Second

// Config tunes a session. The zero value is usable.
type Config struct {
	// SessionTimeout asked of the servers, which may shorten or lengthen it;
	// 0 means DefaultSessionTimeout.
	SessionTimeout time.Duration
	// Logger hears changes of the session at info and the client's chatter at debug; nil: none.
	Logger *slog.Logger
}

// Session keeps one ZooKeeper session alive, and opens a new one after each that
// ended. What belongs to one session (ephemeral nodes, leadership) is tied to a Term.
//
// A term is over when the servers say so or, without waiting for them, when this
// process had no word from them for one session timeout by its own monotonic clock.
// The connection of a term that is over is thrown away with everything queued on it.
type Session struct {
	url URL
	cfg Config
	log *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended

	mu      sync.Mutex    // guards cur and changed
	cur     *epoch        // never nil after Dial
	changed chan struct{} // closed and replaced when cur changes
}

// Term is one ZooKeeper session of a Session.
type Term struct {
	ID   int64 // ZooKeeper's session id, owner of the term's ephemeral nodes
	Over <-chan struct{}
	ep   *epoch
}

// Dial starts keeping a session and returns at once; calls wait until there is one.
// It ends with ctx or Close. Errors: fault.Invalid for a URL without hosts.
func Dial(ctx context.Context, url URL, cfg Config) (*Session, error) {
	if len(url.Hosts) == 0 {
		return nil, fault.New("zk.Dial", fault.Invalid, url.String(), errors.New("no hosts"))
	}
	if cfg.SessionTimeout <= 0 {
		cfg.SessionTimeout = DefaultSessionTimeout
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Session{
		url: url, cfg: cfg, log: log.With("zk", url.String()),
		done: make(chan struct{}), changed: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.cur = newEpoch(s.url, s.cfg, s.log)
	go s.run()
	return s, nil
}

// Close ends the session, so that its ephemeral nodes go at once when a server can be
// reached, and returns when nothing of it runs any more.
func (s *Session) Close() {
	s.cancel()
	<-s.done
}

// Path is the path of the URL the session was dialled with.
func (s *Session) Path() string { return s.url.Path }

// URL is the address the session was dialled with.
func (s *Session) URL() URL { return s.url }

// Term waits until there is a live session. Errors: fault.Timeout when ctx ends
// first, fault.Unavailable when the Session is closed.
func (s *Session) Term(ctx context.Context) (Term, error) {
	for {
		s.mu.Lock()
		ep, changed := s.cur, s.changed
		s.mu.Unlock()
		select {
		case <-ep.ready:
			select {
			case <-ep.over:
			default:
				return Term{ID: ep.id, Over: ep.over, ep: ep}, nil
			}
		case <-changed:
			continue
		case <-ctx.Done():
			return Term{}, s.noSession(ctx.Err())
		case <-s.ctx.Done():
			return Term{}, s.noSession(errClosed)
		}
		select { // over: wait for the next one
		case <-changed:
		case <-ctx.Done():
			return Term{}, s.noSession(ctx.Err())
		case <-s.ctx.Done():
			return Term{}, s.noSession(errClosed)
		}
	}
}

var errClosed = errors.New("the session was closed")

func (s *Session) noSession(cause error) error {
	kind := fault.Unavailable
	if errors.Is(cause, context.DeadlineExceeded) {
		kind = fault.Timeout
		cause = errors.New("no ZooKeeper session before the deadline; are the servers up and reachable?")
	}
	return fault.New("zk", kind, s.url.String(), cause)
}

// run replaces each epoch that is over by a new one until the session is closed.
func (s *Session) run() {
	defer close(s.done)
	var closing sync.WaitGroup
	defer closing.Wait()
	ep := s.cur
	for {
		ep.start()
		select {
		case <-s.ctx.Done():
			ep.end("closed")
			ep.shutdown()
			return
		case <-ep.over:
		}
		s.log.Warn("ZooKeeper session is over, opening a new one", "reason", ep.why())
		closing.Add(1)
		go func(old *epoch) {
			defer closing.Done()
			old.shutdown()
		}(ep)
		ep = newEpoch(s.url, s.cfg, s.log)
		s.mu.Lock()
		s.cur = ep
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}
