// Package schedulers speaks with frameworks: the v1 scheduler API over HTTP streams
// (mesos-master.md section 1) and libprocess drivers, old and new (libprocess.md 3.14).
// It checks the form of calls, hands them to the ledger's owner and writes the ledger's
// events out; it decides nothing about offers and tasks.
package schedulers

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/ratelimit"
	"github.com/stoa-project/stoa/master/ledger"

	"google.golang.org/protobuf/proto"
)

// Book is the way to the ledger's owner.
type Book interface {
	// Submit hands an event over. It waits while the owner is busy; the error says that
	// this master does not lead (any more).
	Submit(context.Context, ledger.Event) error
	// Ask submits a call and waits for the answer to its ticket, which Ask sets.
	Ask(context.Context, ledger.Call) (ledger.Answer, error)
	// AskAll submits calls to be carried out one after the other and gives their answers.
	AskAll(context.Context, []ledger.Call) ([]ledger.Answer, error)
}

// Sender sends libprocess messages as the process "master". *libprocess.Transport with
// a fixed sender is one.
type Sender func(to libprocess.UPID, m proto.Message) error

// Config of the shell. Zero limits stand for the defaults.
type Config struct {
	Book      Book
	Send      Sender
	Logger    *slog.Logger
	BodyLimit int64 // bytes of one call, 32 MiB
	Gate      Gate  // nil: no driver authenticates
	// RequireDrivers refuses drivers that did not authenticate (--authenticate_frameworks).
	RequireDrivers bool
	Limiter        *ratelimit.Limiter // --rate_limits; nil: none

	QueueBytes int           // bytes of events that one stream may be behind, 64 MiB
	Heartbeat  time.Duration // ledger.Heartbeat
}

// Shell holds the frameworks' connections of this process.
type Shell struct {
	cfg Config
	log *slog.Logger

	callers *callers

	together atomic.Uint64 // calls that lanes took

	ended atomic.Bool // between terms: no stream may open; written under mu

	mu      sync.Mutex // guards the fields below
	streams map[string]*stream
	beats   map[string]int // heartbeats on streams that ended in this term, by framework
}

// New makes the shell; it starts nothing.
func New(cfg Config) *Shell {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.BodyLimit <= 0 {
		cfg.BodyLimit = 32 << 20
	}
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = 64 << 20
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = ledger.Heartbeat
	}
	s := &Shell{cfg: cfg, log: cfg.Logger, callers: newCallers(cfg.Limiter), streams: map[string]*stream{}, beats: map[string]int{}}
	s.ended.Store(true)
	return s
}

// Open lets frameworks subscribe: a term has begun.
func (s *Shell) Open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended.Store(false)
	clear(s.beats)
}

// EndAll closes every stream: the term is over, and a broken stream is what tells a
// framework (mesos-master.md T9).
func (s *Shell) EndAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callers.end()
	s.ended.Store(true)
	for id, st := range s.streams {
		st.end()
		delete(s.streams, id)
	}
}

// Streams is the number of open HTTP streams.
func (s *Shell) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Heartbeats gives the number of heartbeats that each framework was sent in this term,
// and forgets frameworks that are not known any more.
func (s *Shell) Heartbeats(known func(framework string) bool) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.beats, func(id string, _ int) bool { return !known(id) })
	all := maps.Clone(s.beats)
	for _, st := range s.streams {
		id, n := st.heartbeats()
		all[id] += n
	}
	return all
}

// Together is how many calls went to the ledger past the HTTP server.
func (s *Shell) Together() uint64 { return s.together.Load() }

// Deliver carries out one ToFramework effect; it never blocks.
func (s *Shell) Deliver(e ledger.ToFramework) {
	if e.To.PID != "" {
		s.toDriver(e)
		return
	}
	s.mu.Lock()
	st := s.streams[e.To.Stream]
	s.mu.Unlock()
	if st == nil {
		return // gone: ConnectionLost is on its way
	}
	if err := st.push(e.Event); err != nil {
		s.log.Warn("framework's stream closed", "framework", e.Framework, "stream", e.To.Stream, "reason", err)
	}
}

// Close carries out one CloseFramework effect: what was delivered before is still
// written.
func (s *Shell) Close(e ledger.CloseFramework) {
	if e.To.PID != "" {
		return // a driver's connection is its own; the address is unlinked by its next exit
	}
	s.mu.Lock()
	st := s.streams[e.To.Stream]
	delete(s.streams, e.To.Stream)
	s.mu.Unlock()
	if st != nil {
		st.end()
	}
}

// principal is whose framework has a stream; empty when it is not known.
func (s *Shell) principal(stream string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.streams[stream]; st != nil {
		return st.principal
	}
	return ""
}

func (s *Shell) add(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.Load() {
		return false
	}
	s.streams[st.id] = st
	return true
}

func (s *Shell) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[st.id] == st {
		delete(s.streams, st.id)
	}
	if id, n := st.heartbeats(); id != "" {
		s.beats[id] += n
	}
}
