package operators

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
)

// hub hands events to subscribers. An event is encoded by the first stream that writes
// it, once for each codec, and the others share the bytes; the ledger's owner, who
// publishes, only queues.
type hub struct {
	limit int // subscribers
	queue int // events that one may be behind
	log   *slog.Logger
	slow  atomic.Int64 // dropped because they did not read

	mu   sync.Mutex    // guards the field below
	subs []*subscriber // oldest first
}

func newHub(limit, queue int, log *slog.Logger) *hub {
	return &hub{limit: limit, queue: queue, log: log}
}

// subscriber is one open stream: a queue that the ledger's owner fills and the request's
// goroutine drains.
type subscriber struct {
	codec wire.Codec
	from  string        // for the log
	wake  chan struct{} // holds one token while there is something to do
	watch *watch        // the request's goroutine's alone; nil: it sees every event

	mu    sync.Mutex // guards the fields below
	queue []*event
	over  string // why nothing follows; empty while open
}

func newSubscriber(codec wire.Codec, from string) *subscriber {
	return &subscriber{codec: codec, from: from, wake: make(chan struct{}, 1)}
}

// add begins to queue events for sub; they follow the snapshot that its subscription
// starts with. It does nothing when sub has ended meanwhile. Beyond the limit the oldest
// stream ends.
func (h *hub) add(sub *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if sub.ended() {
		return
	}
	if len(h.subs) >= h.limit {
		oldest := h.subs[0]
		h.subs = append([]*subscriber(nil), h.subs[1:]...)
		oldest.end("too many subscribers")
		h.log.Warn("operator stream closed", "subscriber", oldest.from, "reason", "too many subscribers", "limit", h.limit)
	}
	h.subs = append(h.subs, sub)
}

// remove ends sub from its own side.
func (h *hub) remove(sub *subscriber) {
	sub.end("closed")
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range h.subs {
		if s == sub {
			h.subs = append(h.subs[:i:i], h.subs[i+1:]...)
			return
		}
	}
}

func (h *hub) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

// endAll ends every stream after what is queued.
func (h *hub) endAll(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.subs {
		s.end(reason)
	}
	h.subs = nil
}

// publish queues one event for all. Who is too far behind is dropped: its stream ends,
// and it has to subscribe and list again.
func (h *hub) publish(e *masterapi.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.subs) == 0 {
		return
	}
	shared := &event{message: e}
	kept := h.subs[:0]
	for _, s := range h.subs {
		if !s.push(shared, h.queue) {
			h.slow.Add(1)
			h.log.Warn("operator stream closed", "subscriber", s.from, "reason", slowReader, "queued_events", h.queue)
			continue
		}
		kept = append(kept, s)
	}
	clear(h.subs[len(kept):])
	h.subs = kept
}

// endpointEvent gives the event with resources in the form of operator endpoints. The
// one it got stays as it is.
func endpointEvent(e *masterapi.Event) *masterapi.Event {
	agent := e.GetAgentAdded().GetAgent()
	if agent == nil {
		return e
	}
	out := &masterapi.Response_GetAgents_Agent{AgentInfo: agent.AgentInfo, Active: agent.Active, Deactivated: agent.Deactivated,
		Version: agent.Version, Pid: agent.Pid, RegisteredTime: agent.RegisteredTime, ReregisteredTime: agent.ReregisteredTime,
		TotalResources: agent.TotalResources, AllocatedResources: agent.AllocatedResources, OfferedResources: agent.OfferedResources,
		Capabilities: agent.Capabilities, ResourceProviders: agent.ResourceProviders, DrainInfo: agent.DrainInfo,
		EstimatedDrainStartTime: agent.EstimatedDrainStartTime}
	return &masterapi.Event{Type: e.Type, AgentAdded: &masterapi.Event_AgentAdded{Agent: endpointAgent(out)}}
}

// event is one event on its way to all subscribers. Nobody changes the message.
type event struct {
	message *masterapi.Event

	pb, json encoding
}

// encoding is made once.
type encoding struct {
	once   sync.Once
	record []byte
	err    error
}

// record is the event framed for one codec.
func (e *event) record(codec wire.Codec) ([]byte, error) {
	in := &e.pb
	if codec.MediaType == wire.MediaJSON {
		in = &e.json
	}
	in.once.Do(func() {
		payload, err := codec.Marshal(endpointEvent(e.message))
		in.record, in.err = wire.AppendRecord(make([]byte, 0, len(payload)+12), payload), err
	})
	return in.record, in.err
}

// slowReader is why a subscriber with a full queue is dropped.
const slowReader = "it reads too slowly"

// push queues an event; false when there is no room, which ends the stream at once.
func (s *subscriber) push(e *event, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != "" {
		return true // its goroutine is about to remove it
	}
	room := len(s.queue) < limit
	if room {
		s.queue = append(s.queue, e)
	} else {
		s.over, s.queue = slowReader, nil
	}
	s.signal()
	return room
}

func (s *subscriber) end(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over == "" {
		s.over = reason
	}
	s.signal()
}

func (s *subscriber) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over != ""
}

func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take gives what is queued, and why nothing follows it.
func (s *subscriber) take() (events []*event, over string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, over = s.queue, s.over
	s.queue = nil
	return events, over
}
