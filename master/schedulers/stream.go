package schedulers

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// writeWait bounds one write to a framework, which may have stopped reading.
const writeWait = 30 * time.Second

// errSlow is the reason for closing a stream whose framework does not read.
var errSlow = errors.New("the framework does not read its events fast enough")

// stream is one subscription over HTTP: a queue that the ledger's owner fills and the
// request's goroutine encodes and writes. Events are never changed once queued.
type stream struct {
	id    string
	codec wire.Codec
	// principal of the framework; set before the stream opens.
	principal string
	limit     int           // bytes the queue may hold, counted in protobuf
	wake      chan struct{} // holds one token while there is something to do

	mu        sync.Mutex // guards the fields below
	queue     []*scheduler.Event
	queued    int    // bytes in queue
	over      bool   // nothing is added any more; the queue is still written
	framework string // known from its first event
	beats     int    // heartbeats queued or written
}

func newStream(id string, codec wire.Codec, limit int) *stream {
	return &stream{id: id, codec: codec, limit: limit, wake: make(chan struct{}, 1)}
}

// push queues an event. A full queue ends the stream at once.
func (s *stream) push(e *scheduler.Event) error {
	size := proto.Size(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	if s.queued+size > s.limit {
		s.over, s.queue, s.queued = true, nil, 0
		s.signal()
		return errSlow
	}
	s.queue = append(s.queue, e)
	s.queued += size
	// Beside the first event goes a heartbeat, as Mesos sends it (mesos-master.md 1.3).
	if e.GetType() == scheduler.Event_SUBSCRIBED {
		s.queue = append(s.queue, heartbeat)
		s.framework = e.GetSubscribed().GetFrameworkId().GetValue()
		s.beats++
	}
	s.signal()
	return nil
}

func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.signal()
}

// heartbeats gives whose stream this is and how many heartbeats it had, once.
func (s *stream) heartbeats() (framework string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.framework, s.beats
}

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take gives what is queued; over means that nothing follows it.
func (s *stream) take() (events []*scheduler.Event, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, over = s.queue, s.over
	s.queue, s.queued = nil, 0
	return events, over
}

// heartbeat is the event of every 15 s.
var heartbeat = &scheduler.Event{Type: scheduler.Event_HEARTBEAT.Enum()}

// serve writes the stream until it is over or the client is gone; it returns why.
func (s *stream) serve(w http.ResponseWriter, gone <-chan struct{}, interval time.Duration) string {
	control := http.NewResponseController(w)
	beat := time.NewTicker(interval)
	defer beat.Stop()
	for {
		events, over := s.take()
		if err := s.write(w, control, events); err != nil {
			return "writing to the framework failed: " + err.Error()
		}
		if over {
			return "the subscription ended"
		}
		select {
		case <-s.wake:
		case <-beat.C:
			s.mu.Lock()
			s.beats++
			s.mu.Unlock()
			if err := s.write(w, control, []*scheduler.Event{heartbeat}); err != nil {
				return "writing to the framework failed: " + err.Error()
			}
		case <-gone:
			return "the framework closed its stream"
		}
	}
}

// write frames events and flushes once for all of them.
func (s *stream) write(w http.ResponseWriter, control *http.ResponseController, events []*scheduler.Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := control.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	for _, e := range events {
		payload, err := s.codec.Marshal(readable(s.codec, e))
		if err != nil {
			return err
		}
		if _, err := w.Write(wire.AppendRecord(make([]byte, 0, len(payload)+12), payload)); err != nil {
			return err
		}
	}
	if err := control.Flush(); err != nil {
		return err
	}
	return control.SetWriteDeadline(time.Time{})
}
