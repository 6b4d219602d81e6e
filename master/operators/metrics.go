package operators

import (
	"context"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// tally is what the shell counts of itself.
type tally struct {
	hits    atomic.Int64 // answers shared with another request
	waiting atomic.Int64 // polls that wait for an answer
}

// declareMetrics declares all metrics of the shell; those of the ledger are the door's.
func (s *Shell) declareMetrics() {
	m := s.cfg.Metrics
	m.GaugeFunc(metrics.Def{Name: "stoa_master_operator_streams", Flat: "master/operator_event_stream_subscribers",
		Help: "Subscribers of the operator event stream."}, func() float64 { return float64(s.hub.size()) })
	m.CounterFunc(metrics.Def{Name: "stoa_master_operator_shared_answers_total", Flat: "master/http_cache_hits",
		Help: "Polls answered with an encoding made for another one."}, func() float64 { return float64(s.tally.hits.Load()) })
	m.GaugeFunc(metrics.Def{Name: "stoa_master_operator_polls_waiting", Flat: "master/event_queue_http_requests",
		Help: "Polls waiting for their answer."}, func() float64 { return float64(s.tally.waiting.Load()) })
	m.CounterFunc(metrics.Def{Name: "stoa_master_operator_streams_dropped_total",
		Help: "Subscribers dropped because they read too slowly."}, func() float64 { return float64(s.hub.slow.Load()) })
	m.FlatGroup(func(emit func(string, float64)) {
		h := readHost()
		emit("system/cpus_total", float64(h.cpus))
		emit("system/load_1min", h.load[0])
		emit("system/load_5min", h.load[1])
		emit("system/load_15min", h.load[2])
		emit("system/mem_total_bytes", float64(h.total))
		emit("system/mem_free_bytes", float64(h.free))
	})
}

// unseen are Mesos' names for queues that this master does not have beside the one that
// event_queue_dispatches counts; dashboards ask for them.
var unseen = []string{"master/event_queue_messages"}

// metricValues gives the flat metrics by name (mesos-master.md section 9). Those that ctx
// does not leave time for are missing.
func (s *Shell) metricValues(ctx context.Context) []*mesos.Metric {
	all := s.snapshotMetrics(ctx)
	out := make([]*mesos.Metric, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, &mesos.Metric{Name: proto.String(name), Value: proto.Float64(all[name])})
	}
	return out
}

// getMetrics is GET_METRICS.
func (s *Shell) getMetrics(w http.ResponseWriter, r *http.Request, c *masterapi.Call_GetMetrics, codec wire.Codec) {
	ctx := r.Context()
	if t := c.GetTimeout(); t != nil {
		limited, cancel := context.WithTimeout(ctx, time.Duration(t.GetNanoseconds()))
		defer cancel()
		ctx = limited
	}
	s.respond(w, r, &masterapi.Response{Type: masterapi.Response_GET_METRICS.Enum(),
		GetMetrics: &masterapi.Response_GetMetrics{Metrics: s.metricValues(ctx)}}, codec)
}

// metricsSnapshot answers /metrics/snapshot, each at its turn.
func (s *Shell) metricsSnapshot(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if s.scrapes.wait(ctx) != nil {
		return // the client is gone
	}
	if q := r.URL.Query(); q.Has("timeout") {
		d, err := web.ParseDuration(q.Get("timeout"))
		if err != nil {
			text(w, http.StatusBadRequest, "Invalid timeout '"+q.Get("timeout")+"': "+err.Error()+".\n")
			return
		}
		limited, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		ctx = limited
	}
	e := &encoder{}
	e.open('{')
	for _, m := range s.metricValues(ctx) {
		e.named(m.GetName())
		e.double(m.GetValue())
	}
	e.shut('}')
	writeJSON(w, r, e.b)
}

// pace gives turns that are a time apart, in the order in which they are asked for.
type pace struct {
	every time.Duration

	mu   sync.Mutex // guards the field below
	next time.Time
}

// wait returns at the caller's turn, or with the error of ctx.
func (p *pace) wait(ctx context.Context) error {
	if p.every <= 0 {
		return nil
	}
	p.mu.Lock()
	now := time.Now()
	turn := p.next
	if turn.Before(now) {
		turn = now
	}
	p.next = turn.Add(p.every)
	p.mu.Unlock()
	timer := time.NewTimer(turn.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// snapshotMetrics is every flat name with its present value.
func (s *Shell) snapshotMetrics(ctx context.Context) map[string]float64 {
	all := s.cfg.Metrics.SnapshotWithin(ctx)
	for _, name := range unseen {
		if _, counted := all[name]; !counted {
			all[name] = 0
		}
	}
	return all
}

// host is the machine as the kernel sees it.
type host struct {
	load        [3]float64
	total, free uint64 // bytes
	cpus        int
}

func readHost() host {
	h := host{cpus: runtime.NumCPU()}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return h
	}
	for i, l := range info.Loads {
		h.load[i] = float64(l) / (1 << 16)
	}
	unit := uint64(info.Unit)
	h.total, h.free = uint64(info.Totalram)*unit, uint64(info.Freeram)*unit
	return h
}

// systemStats answers /system/stats.json.
func (s *Shell) systemStats(w http.ResponseWriter, r *http.Request) {
	h := readHost()
	e := &encoder{}
	e.open('{')
	e.num("avg_load_15min", h.load[2])
	e.num("avg_load_1min", h.load[0])
	e.num("avg_load_5min", h.load[1])
	e.key("cpus_total")
	e.int(int64(h.cpus))
	e.key("mem_free_bytes")
	e.int(int64(h.free))
	e.key("mem_total_bytes")
	e.int(int64(h.total))
	e.shut('}')
	writeJSON(w, r, e.b)
}
