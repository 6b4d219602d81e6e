package schedulers

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// writeWait bounds one write to a framework, which may have stopped reading.
const writeWait = 30 * time.Second

// errSlow is the reason for closing a stream whose framework does not read.
var errSlow = errors.New("the framework does not read its events fast enough")

// stream is one subscription over HTTP: a queue that the ledger's owner fills and the
// request's goroutine drains.
type stream struct {
	id    string
	codec wire.Codec
	limit int           // bytes the queue may hold
	wake  chan struct{} // holds one token while there is something to do

	mu     sync.Mutex // guards the fields below
	queue  [][]byte   // framed records
	queued int        // bytes in queue
	over   bool       // nothing is added any more; the queue is still written
}

func newStream(id string, codec wire.Codec, limit int) *stream {
	return &stream{id: id, codec: codec, limit: limit, wake: make(chan struct{}, 1)}
}

// push encodes and queues an event. A full queue ends the stream at once.
func (s *stream) push(e *scheduler.Event) error {
	payload, err := s.codec.Marshal(e)
	if err != nil {
		s.end()
		return err
	}
	record := wire.AppendRecord(make([]byte, 0, len(payload)+12), payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	if s.queued+len(record) > s.limit {
		s.over, s.queue, s.queued = true, nil, 0
		s.signal()
		return errSlow
	}
	s.queue = append(s.queue, record)
	s.queued += len(record)
	// Beside the first event goes a heartbeat, as Mesos sends it (mesos-master.md 1.3).
	if e.GetType() == scheduler.Event_SUBSCRIBED {
		s.queue = append(s.queue, s.heartbeat())
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

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take gives what is queued; over means that nothing follows it.
func (s *stream) take() (records [][]byte, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records, over = s.queue, s.over
	s.queue, s.queued = nil, 0
	return records, over
}

func (s *stream) heartbeat() []byte {
	payload, err := s.codec.Marshal(&scheduler.Event{Type: scheduler.Event_HEARTBEAT.Enum()})
	if err != nil {
		return nil // an event of one enum always encodes
	}
	return wire.AppendRecord(nil, payload)
}

// serve writes the stream until it is over or the client is gone; it returns why.
func (s *stream) serve(w http.ResponseWriter, gone <-chan struct{}, interval time.Duration) string {
	control := http.NewResponseController(w)
	beat := time.NewTicker(interval)
	defer beat.Stop()
	quiet := s.heartbeat()
	for {
		records, over := s.take()
		if len(records) > 0 {
			if err := writeAll(w, control, records); err != nil {
				return "writing to the framework failed: " + err.Error()
			}
		}
		if over {
			return "the subscription ended"
		}
		select {
		case <-s.wake:
		case <-beat.C:
			if err := writeAll(w, control, [][]byte{quiet}); err != nil {
				return "writing to the framework failed: " + err.Error()
			}
		case <-gone:
			return "the framework closed its stream"
		}
	}
}

func writeAll(w http.ResponseWriter, control *http.ResponseController, records [][]byte) error {
	_ = control.SetWriteDeadline(time.Now().Add(writeWait)) // unsupported in tests' recorders
	for _, r := range records {
		if _, err := w.Write(r); err != nil {
			return err
		}
	}
	if err := control.Flush(); err != nil {
		return err
	}
	return control.SetWriteDeadline(time.Time{})
}
