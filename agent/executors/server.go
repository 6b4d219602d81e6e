package executors

import (
	"context"
	"errors"
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
	// writeWait bounds one write to an executor, which may have stopped reading.
	writeWait = time.Minute
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
	agent     Agent
	log       *slog.Logger
	writeWait time.Duration

	mu      sync.Mutex // guards streams
	streams map[lifecycle.ExecutorKey]*stream
}

// New makes a server; it starts nothing.
func New(agent Agent, log *slog.Logger) *Server {
	return &Server{agent: agent, log: log, writeWait: writeWait, streams: map[lifecycle.ExecutorKey]*stream{}}
}

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
	if !st.put(ev.GetType(), b) {
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
	st := newStream(codec)
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
	write := func(events ...[]byte) error {
		for _, b := range events {
			if err := rc.SetWriteDeadline(time.Now().Add(s.writeWait)); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
			if err := out.WriteRecord(b); err != nil {
				return err
			}
		}
		return rc.Flush()
	}
	// The connection may serve other requests after a clean end.
	defer func() { _ = rc.SetWriteDeadline(time.Time{}) }()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var events [][]byte
		over := false
		select {
		case <-st.wake:
			events, over = st.take()
		case <-beat.C:
			b, err := st.codec.Marshal(&executor.Event{Type: executor.Event_HEARTBEAT.Enum()})
			if err != nil {
				return
			}
			events = [][]byte{b}
		case <-r.Context().Done():
			return
		}
		if err := write(events...); err != nil {
			s.log.Info("executor's stream broke", "framework", string(key.Framework), "executor", string(key.Executor), "err", err)
			return
		}
		if over {
			return
		}
	}
}
