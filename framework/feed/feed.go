package feed

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/internal/web"
)

// Config shapes the feed.
type Config struct {
	MaxOutstanding int           // undelivered events after which a client is cut off (--event_stream_max_outstanding_messages); 0: 1024
	Heartbeat      time.Duration // between the empty lines that keep an idle stream alive; 0: 10 s
	BalancerGone   func(string)  // told of a load balancer whose last stream ended; nil: nobody
}

// Feed hands events to the attached clients.
type Feed struct {
	cfg Config
	log *slog.Logger
	fan *web.Fanout

	balancers balancers
}

// New builds a feed; it starts nothing.
func New(cfg Config, log *slog.Logger) *Feed {
	if cfg.MaxOutstanding <= 0 {
		cfg.MaxOutstanding = 1024
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = 10 * time.Second
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Feed{cfg: cfg, log: log, fan: web.NewFanout(cfg.MaxOutstanding)}
}

// Publish queues an event for every client that asked for its type. It never blocks.
func (f *Feed) Publish(e core.Event) {
	if !f.fan.Wanted(e.Type()) {
		return
	}
	data, err := render(e)
	if err != nil {
		f.log.Error("event not published", "event", e.Type(), "err", err)
		return
	}
	f.fan.Publish(e.Type(), web.SSE(e.Type(), data))
}

// Clients tells how many clients are attached.
func (f *Feed) Clients() int { return f.fan.Len() }

// EndAll ends every stream, for example with leadership; clients may attach again.
func (f *Feed) EndAll() { f.fan.EndAll() }

// ServeHTTP streams events until the client goes, falls behind, or EndAll. The caller
// has already judged the Accept header. Query parameters event_type (may be repeated)
// choose types by exact name; without any all events are sent but for instance_drain_event.
// The parameter drain is the name of a load balancer that answers that event.
func (f *Feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	want := func(kind string) bool { return kind != drainType }
	if types := r.URL.Query()["event_type"]; len(types) > 0 {
		chosen := map[string]bool{}
		for _, t := range types {
			chosen[t] = true
		}
		want = func(kind string) bool { return chosen[kind] }
	}
	sub := f.fan.Subscribe(want)
	if name := r.URL.Query().Get("drain"); name != "" && len(name) <= maxBalancer {
		f.balancers.add(name)
		defer func() {
			if f.balancers.remove(name) && f.cfg.BalancerGone != nil {
				f.cfg.BalancerGone(name)
			}
		}()
	}
	w.Header().Set("Content-Type", "text/event-stream;charset=utf-8")
	w.WriteHeader(http.StatusOK)
	f.Publish(streamEvent{now(), r.RemoteAddr, true})
	err := sub.Stream(r.Context(), w, []byte("\r\n"), f.cfg.Heartbeat)
	if errors.Is(err, web.ErrSlow) {
		f.log.Warn("event stream cut off: the client is too slow", "client", r.RemoteAddr, "limit", f.cfg.MaxOutstanding)
	}
	f.Publish(streamEvent{now(), r.RemoteAddr, false})
}

func now() core.At { return core.At(app.At(time.Now())) }
