package web

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// DefaultQueue is the number of events a subscriber may be behind.
const DefaultQueue = 1024

// writeWait bounds one write to a subscriber, which may stop reading.
const writeWait = 10 * time.Second

// ErrSlow ends a subscription whose queue ran full; ErrEnded one that was closed.
var (
	ErrSlow  = errors.New("the subscriber fell too far behind")
	ErrEnded = errors.New("the subscription was ended")
)

// Fanout hands events to subscribers. An event is serialised once by its publisher; all
// subscribers share the bytes, which nobody may change. Publishing never blocks: a
// subscriber whose queue is full is dropped.
type Fanout struct {
	limit int

	mu   sync.Mutex // guards the fields below
	subs map[*Subscription]struct{}
	over bool
}

// NewFanout makes a fan-out whose subscribers may be limit events behind; 0 means DefaultQueue.
func NewFanout(limit int) *Fanout {
	if limit <= 0 {
		limit = DefaultQueue
	}
	return &Fanout{limit: limit, subs: map[*Subscription]struct{}{}}
}

// Subscription is one subscriber's queue.
type Subscription struct {
	fan  *Fanout
	want func(kind string) bool // nil: all
	wake chan struct{}          // holds one token while there is something to see

	mu    sync.Mutex // guards the fields below
	queue [][]byte
	err   error // why it ended
}

// Subscribe starts a queue of the kinds that want accepts (nil: all), from now on. first
// are events for this subscriber alone, before all others.
func (f *Fanout) Subscribe(want func(kind string) bool, first ...[]byte) *Subscription {
	s := &Subscription{fan: f, want: want, wake: make(chan struct{}, 1), queue: first}
	if len(first) > 0 {
		s.wake <- struct{}{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		s.end(ErrEnded)
		return s
	}
	f.subs[s] = struct{}{}
	return s
}

// Publish queues one serialised event to all who want its kind.
func (f *Fanout) Publish(kind string, event []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		if s.want != nil && !s.want(kind) {
			continue
		}
		if !s.push(event, f.limit) {
			delete(f.subs, s)
		}
	}
}

// Wanted tells whether any subscriber wants a kind: what nobody wants need not be
// serialised.
func (f *Fanout) Wanted(kind string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		if s.want == nil || s.want(kind) {
			return true
		}
	}
	return false
}

// Len is the number of subscribers.
func (f *Fanout) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)
}

// EndAll ends all subscriptions, for example with leadership. New ones are possible.
func (f *Fanout) EndAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		s.end(ErrEnded)
		delete(f.subs, s)
	}
}

// Close is EndAll for good.
func (f *Fanout) Close() {
	f.EndAll()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}

// push queues an event; false when the subscription is over.
func (s *Subscription) push(event []byte, limit int) bool {
	s.mu.Lock()
	full, ended := len(s.queue) >= limit, s.err != nil
	if !full && !ended {
		s.queue = append(s.queue, event)
	}
	s.mu.Unlock()
	if ended {
		return false
	}
	if full {
		s.end(ErrSlow)
		return false
	}
	s.signal()
	return true
}

func (s *Subscription) end(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.signal()
}

func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next waits for events and takes all that are queued. After the end it gives what was
// queued first, then ErrSlow or ErrEnded; and ctx's error when ctx ends.
func (s *Subscription) Next(ctx context.Context) ([][]byte, error) {
	for {
		s.mu.Lock()
		events, err := s.queue, s.err
		s.queue = nil
		s.mu.Unlock()
		if len(events) > 0 {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Cancel ends the subscription from the subscriber's side.
func (s *Subscription) Cancel() {
	s.fan.mu.Lock()
	delete(s.fan.subs, s)
	s.fan.mu.Unlock()
	s.end(ErrEnded)
}

// Stream writes a subscription to a client until either ends; each wakeup is one write
// and one flush. While idle it writes beat each interval (no beats when interval is 0).
// Headers are the caller's and must be set before. It returns why the stream ended.
func (s *Subscription) Stream(ctx context.Context, w http.ResponseWriter, beat []byte, interval time.Duration) error {
	defer s.Cancel()
	control := http.NewResponseController(w)
	// The connection may serve other requests after a clean end.
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	send := func(b []byte) error {
		if err := control.SetWriteDeadline(time.Now().Add(writeWait)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if len(b) > 0 {
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return control.Flush()
	}
	if err := send(nil); err != nil { // the header, at once
		return err
	}
	var buf []byte
	for {
		events, err := s.nextWithin(ctx, interval)
		if errors.Is(err, errIdle) {
			err = send(beat)
		} else if err == nil {
			buf = buf[:0]
			for _, e := range events {
				buf = append(buf, e...)
			}
			err = send(buf)
			if cap(buf) > 1<<20 {
				buf = nil
			}
		}
		if err != nil {
			return err
		}
	}
}

var errIdle = errors.New("nothing to send")

func (s *Subscription) nextWithin(ctx context.Context, interval time.Duration) ([][]byte, error) {
	if interval <= 0 {
		return s.Next(ctx)
	}
	short, cancel := context.WithTimeout(ctx, interval)
	defer cancel()
	events, err := s.Next(short)
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, errIdle
	}
	return events, err
}

// SSE formats a server-sent event as Marathon does (marathon.md 9.1); data is one line.
func SSE(event string, data []byte) []byte {
	b := make([]byte, 0, len(event)+len(data)+20)
	b = append(b, "event: "...)
	b = append(b, event...)
	b = append(b, "\r\ndata: "...)
	b = append(b, data...)
	return append(b, "\r\n\r\n"...)
}
