package feed

import (
	"bytes"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// Config shapes the feed.
type Config struct {
	MaxOutstanding int           // undelivered events after which a client is cut off (--event_stream_max_outstanding_messages)
	Heartbeat      time.Duration // between the empty lines that keep an idle stream alive
	WriteTimeout   time.Duration // for one write to a client
}

// Defaults are Marathon's.
func Defaults() Config {
	return Config{MaxOutstanding: 1024, Heartbeat: 10 * time.Second, WriteTimeout: 30 * time.Second}
}

// Feed hands events to the attached clients.
type Feed struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex // guards clients, closed, and the queues of all clients
	clients map[*client]struct{}
	closed  bool
	dropped uint64 // clients cut off since the start
}

type client struct {
	types  map[string]bool // nil: all
	queue  [][]byte        // guarded by Feed.mu
	cut    bool            // guarded by Feed.mu; set: the stream must end
	wakeup chan struct{}   // holds one token when queue or cut changed
}

// New builds a feed; it starts nothing.
func New(cfg Config, log *slog.Logger) *Feed {
	return &Feed{cfg: cfg, log: log, clients: map[*client]struct{}{}}
}

// Publish queues an event for every client that asked for its type. It never blocks.
func (f *Feed) Publish(e core.Event) {
	frame, err := render(e)
	if err != nil {
		f.log.Error("event not published", "event", e.Type(), "err", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.clients {
		f.enqueue(c, e.Type(), frame)
	}
}

func (f *Feed) enqueue(c *client, eventType string, frame []byte) {
	if c.cut || c.types != nil && !c.types[eventType] {
		return
	}
	if len(c.queue) >= f.cfg.MaxOutstanding {
		c.cut, c.queue = true, nil
		f.dropped++
	} else {
		c.queue = append(c.queue, frame)
	}
	select {
	case c.wakeup <- struct{}{}:
	default:
	}
}

// Clients tells how many clients are attached and how many were ever cut off for
// being slow.
func (f *Feed) Clients() (attached int, dropped uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.clients), f.dropped
}

// Close ends every stream and refuses new ones until Open: leadership is lost.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for c := range f.clients {
		c.cut = true
		select {
		case c.wakeup <- struct{}{}:
		default:
		}
	}
}

// Open lets clients attach again after Close: this process leads.
func (f *Feed) Open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = false
}

// attach registers a client, nil when the feed is closed.
func (f *Feed) attach(types []string) *client {
	c := &client{wakeup: make(chan struct{}, 1)}
	if len(types) > 0 {
		c.types = map[string]bool{}
		for _, t := range types {
			c.types[t] = true
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.clients[c] = struct{}{}
	return c
}

func (f *Feed) detach(c *client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.clients, c)
}

// take empties a client's queue; ok is false when the stream must end.
func (f *Feed) take(c *client) (frames [][]byte, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	frames, c.queue = c.queue, nil
	return frames, !c.cut
}

// ServeHTTP streams events until the client goes, falls behind, or the feed closes.
// The caller has already judged the Accept header. Query parameters event_type (may be
// repeated) choose types by exact name.
func (f *Feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := f.attach(r.URL.Query()["event_type"])
	if c == nil {
		http.Error(w, `{"message":"not leading"}`, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream;charset=utf-8")
	w.WriteHeader(http.StatusOK)
	f.Publish(streamEvent{now(), r.RemoteAddr, true})
	defer func() {
		f.detach(c)
		f.Publish(streamEvent{now(), r.RemoteAddr, false})
	}()
	ctl := http.NewResponseController(w)
	beat := time.NewTicker(f.cfg.Heartbeat)
	defer beat.Stop()
	for {
		var text []byte
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			text = []byte("\r\n")
		case <-c.wakeup:
			frames, ok := f.take(c)
			if !ok {
				f.log.Info("event stream ended", "client", r.RemoteAddr)
				return
			}
			// One write for everything that waits.
			text = bytes.Join(frames, nil)
		}
		// A writer without deadlines (a recorder in a test) is fine without one.
		_ = ctl.SetWriteDeadline(time.Now().Add(f.cfg.WriteTimeout))
		if _, err := w.Write(text); err != nil {
			return
		}
		if err := ctl.Flush(); err != nil {
			return
		}
	}
}

func now() core.At { return core.At(app.At(time.Now())) }
