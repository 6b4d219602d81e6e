package executors

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/executor"
)

const (
	// heartbeat is Mesos' own interval; more often breaks clients (mesos-agent.md 1.2).
	heartbeat = 30 * time.Minute
	// queueSize bounds the events that wait for a slow executor.
	queueSize = 4096
	// maxBody bounds one call; updates may carry any data.
	maxBody = 16 << 20
)

// Phase is how far the agent's recovery is.
type Phase uint8

// The phases: nothing is known yet; executors may subscribe again; all calls are taken.
const (
	Starting Phase = iota
	Reconnecting
	Ready
)

// Agent is the owner of the core.
type Agent interface {
	// Phase tells how far recovery is.
	Phase() Phase
	// Standing tells what is known of an executor: its framework, itself, and whether
	// it has subscribed.
	Standing(ctx context.Context, key lifecycle.ExecutorKey) (framework, executor, subscribed bool, err error)
	// Container gives the container of an executor, "" when there is none.
	Container(ctx context.Context, key lifecycle.ExecutorKey) (lifecycle.ContainerID, error)
	// Deliver passes an event on; it waits while the agent is busy.
	Deliver(ctx context.Context, ev lifecycle.Event)
}

// Server is the executor API.
type Server struct {
	agent Agent
	log   *slog.Logger

	mu      sync.Mutex // guards streams
	streams map[lifecycle.ExecutorKey]*stream
}

// New makes a server; it starts nothing.
func New(agent Agent, log *slog.Logger) *Server {
	return &Server{agent: agent, log: log, streams: map[lifecycle.ExecutorKey]*stream{}}
}

// stream is one open subscription.
type stream struct {
	codec wire.Codec
	queue chan []byte   // encoded events
	end   chan struct{} // closed: write what is queued, then end
	once  sync.Once
}

func (s *stream) close() { s.once.Do(func() { close(s.end) }) }

// Send queues an event for an executor. Without a stream it is lost: the executor
// subscribes again and is told what it needs (mesos-agent.md 1.5).
func (s *Server) Send(key lifecycle.ExecutorKey, ev *executor.Event) {
	s.mu.Lock()
	st := s.streams[key]
	s.mu.Unlock()
	if st == nil {
		return
	}
	b, err := st.codec.Marshal(ev)
	if err != nil {
		s.log.Error("event for executor does not encode", "executor", string(key.Executor), "type", ev.GetType().String(), "err", err)
		return
	}
	select {
	case st.queue <- b:
	default:
		s.log.Warn("executor reads too slowly, its stream is closed", "framework", string(key.Framework), "executor", string(key.Executor))
		s.drop(key, st)
	}
}

// Close ends an executor's stream after what is queued on it.
func (s *Server) Close(key lifecycle.ExecutorKey) {
	s.mu.Lock()
	st := s.streams[key]
	delete(s.streams, key)
	s.mu.Unlock()
	if st != nil {
		st.close()
	}
}

func (s *Server) drop(key lifecycle.ExecutorKey, st *stream) {
	s.mu.Lock()
	if s.streams[key] == st {
		delete(s.streams, key)
	}
	s.mu.Unlock()
	st.close()
}

// open makes a stream the executor's only one.
func (s *Server) open(key lifecycle.ExecutorKey, codec wire.Codec) *stream {
	st := &stream{codec: codec, queue: make(chan []byte, queueSize), end: make(chan struct{})}
	s.mu.Lock()
	old := s.streams[key]
	s.streams[key] = st
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
	return st
}

// serve writes a stream until it ends or the executor goes away.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, key lifecycle.ExecutorKey, st *stream) {
	defer s.drop(key, st)
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", st.codec.MediaType)
	w.WriteHeader(http.StatusOK)
	if rc.Flush() != nil { // at once: clients wait for the header
		return
	}
	out := wire.NewWriter(w)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	write := func(b []byte) bool {
		return out.WriteRecord(b) == nil && rc.Flush() == nil
	}
	for {
		select {
		case b := <-st.queue:
			if !write(b) {
				return
			}
		case <-beat.C:
			b, err := st.codec.Marshal(&executor.Event{Type: executor.Event_HEARTBEAT.Enum()})
			if err != nil || !write(b) {
				return
			}
		case <-st.end:
			for {
				select {
				case b := <-st.queue:
					if !write(b) {
						return
					}
				default:
					return
				}
			}
		case <-r.Context().Done():
			return
		}
	}
}
