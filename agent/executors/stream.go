package executors

import (
	"sync"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/executor"
)

const (
	// queueSize and queueBytes bound the events that wait for a slow executor; tasks may
	// be large.
	queueSize  = 4096
	queueBytes = 64 << 20
)

// stream is one open subscription.
type stream struct {
	codec wire.Codec
	wake  chan struct{} // holds one token while there is something to see

	mu      sync.Mutex // guards the fields below
	queue   [][]byte   // encoded events
	bytes   int        // of them
	greeted bool       // SUBSCRIBED, or the order to end, was queued
	ended   bool       // write what is queued, then end
}

func newStream(codec wire.Codec) *stream {
	return &stream{codec: codec, wake: make(chan struct{}, 1)}
}

func (s *stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default: // a token is there
	}
}

// put queues an event; false when there is no room for it. What the core says before it
// has heard of the subscription was meant for the stream before this one, and is lost as
// it would be there: SUBSCRIBED is always the first event (mesos-agent.md 1.2, 1.5).
func (s *stream) put(kind executor.Event_Type, b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return true
	case kind == executor.Event_SUBSCRIBED, kind == executor.Event_SHUTDOWN, kind == executor.Event_ERROR:
		s.greeted = true
	case !s.greeted:
		return true
	}
	if len(s.queue) >= queueSize || len(s.queue) > 0 && s.bytes+len(b) > queueBytes {
		return false
	}
	s.queue = append(s.queue, b)
	s.bytes += len(b)
	s.poke()
	return true
}

// take gives what is queued, and whether anything follows.
func (s *stream) take() (events [][]byte, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, s.queue, s.bytes = s.queue, nil, 0
	return events, s.ended
}

// close ends the stream after what is queued.
func (s *stream) close() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.poke()
}
