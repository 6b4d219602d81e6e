package master

import (
	"context"
	"strconv"
	"time"

	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master/ledger"
)

// viewWait bounds what a scrape waits for the ledger's owner, if the client set no limit.
const viewWait = 10 * time.Second

// declareMetrics declares all metrics of the master: Prometheus names with their Mesos
// twins (mesos-master.md section 9). What the ledger knows is read from one snapshot for
// each answer.
func (d *Door) declareMetrics() {
	m := d.metrics
	m.GaugeFunc(metrics.Def{Name: "stoa_master_uptime_seconds", Flat: "master/uptime_secs", Help: "Time since the start."},
		func() float64 { return time.Since(d.started).Seconds() })
	m.GaugeFunc(metrics.Def{Name: "stoa_master_elected", Flat: "master/elected", Help: "1 while this master leads."},
		func() float64 {
			if d.leads.Load() != nil {
				return 1
			}
			return 0
		})
	m.GaugeFunc(metrics.Def{Name: "stoa_master_events_queued", Flat: "master/event_queue_dispatches", Help: "Events waiting for the ledger."},
		func() float64 {
			if t := d.term.Load(); t != nil {
				return float64(len(t.inbox) + len(t.reports))
			}
			return 0
		})
	m.GaugeFunc(metrics.Def{Name: "stoa_master_scheduler_streams", Help: "Open streams of HTTP frameworks."},
		func() float64 { return float64(d.schedulers.Streams()) })
	m.CounterFunc(metrics.Def{Name: "stoa_master_scheduler_calls_together_total",
		Help: "Calls of HTTP frameworks that went to the ledger past the HTTP server; its request metrics do not count them."},
		func() float64 { return float64(d.schedulers.Together()) })
	d.snapshots = m.Histogram(metrics.Def{Name: "stoa_master_snapshot_seconds", Help: "Time the ledger stood still for a snapshot of it.",
		Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3}})
	m.Source(d.bookMetrics)
	d.declareRegistrar()
	d.declareAllocator()
}

// bookMetrics emits what is in the ledger. A master that does not lead emits the same
// names with zeros; one that does, but has no time to answer before ctx ends, nothing.
func (d *Door) bookMetrics(ctx context.Context, emit func(metrics.Sample)) {
	if _, limited := ctx.Deadline(); !limited {
		waiting, cancel := context.WithTimeout(ctx, viewWait)
		defer cancel()
		ctx = waiting
	}
	s, err := d.View(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return
	case err != nil:
		s = &ledger.Snapshot{}
	}
	p := printer{emit}
	p.agents(s)
	p.tasks(s)
	p.resources(s)
	p.counters(&s.Counters)
	p.message("authenticate", int(d.authenticated.Attempts()))
	p.operations(s)
	p.principals(s)
	if !d.cfg.NoFrameworkMetrics {
		known := map[string]bool{}
		for _, list := range [][]*ledger.FrameworkView{s.Frameworks, s.Completed} {
			for _, f := range list {
				known[string(f.ID)] = true
			}
		}
		beats := d.schedulers.Heartbeats(func(id string) bool { return known[id] })
		for _, list := range [][]*ledger.FrameworkView{s.Frameworks, s.Completed} {
			for _, f := range list {
				p.framework(f, beats[string(f.ID)])
			}
		}
	}
}

// printer emits metrics of the master.
type printer struct{ emit func(metrics.Sample) }

func (p printer) gauge(name, flat, help string, v float64) {
	p.emit(metrics.Sample{Name: "stoa_master_" + name, Flat: flat, Help: help, Value: v})
}

func (p printer) counter(name, flat, help string, v int) {
	p.emit(metrics.Sample{Name: "stoa_master_" + name + "_total", Flat: flat, Help: help + " In this term.", Kind: metrics.IsCounter, Value: float64(v)})
}

// by emits one of several metrics of a name that differ in labels.
func (p printer) by(name, flat, help string, kind metrics.Kind, labels, values []string, v float64) {
	p.emit(metrics.Sample{Name: "stoa_master_" + name, Flat: flat, Help: help, Kind: kind, Labels: labels, Values: values, Value: v})
}

func (d *Door) declareRegistrar() {
	stat := func(name, flat, help string, pick func(queued, writes, bytes int) int) {
		d.metrics.GaugeFunc(metrics.Def{Name: "stoa_master_registry_" + name, Flat: flat, Help: help}, func() float64 {
			if t := d.term.Load(); t != nil {
				return float64(pick(t.registry.Stats()))
			}
			return 0
		})
	}
	stat("facts_queued", "registrar/queued_operations", "Facts waiting to be written.", func(q, _, _ int) int { return q })
	stat("writes", "", "Writes made in this term.", func(_, w, _ int) int { return w })
	stat("bytes", "registrar/registry_size_bytes", "Size of all records.", func(_, _, b int) int { return b })
	d.metrics.GaugeFunc(metrics.Def{Name: "stoa_master_registry_fetch_seconds", Help: "Time that reading the registry took at the last election."},
		func() float64 { return time.Duration(d.registry.fetch.Load()).Seconds() })
	d.registry.stores = d.metrics.Histogram(metrics.Def{Name: "stoa_master_registry_store_seconds", Help: "Time of one write to the registry."})
	d.metrics.GaugeFunc(metrics.Def{Name: "stoa_master_registry_recovered", Flat: "registrar/log/recovered", Help: "1 when the registry was read in this term."},
		func() float64 {
			if d.term.Load() != nil {
				return 1
			}
			return 0
		})
	d.metrics.Flat("registrar/log/ensemble_size", func() float64 { return float64(d.ensemble()) })
	d.metrics.FlatGroup(func(emit func(string, float64)) {
		emit("registrar/state_fetch_ms", float64(d.registry.fetch.Load())/1e6)
		d.registry.store.emit("registrar/state_store", time.Now(), emit)
	})
}

// ensemble is how many masters share the registry, as far as --quorum tells.
func (d *Door) ensemble() int {
	quorum, err := strconv.Atoi(d.cfg.Flags["quorum"])
	if err != nil {
		return 1
	}
	return max(1, 2*quorum-1)
}

// timed measures the writes of a store.
type timed struct {
	store.Store
	took func(time.Duration)
}

// Apply is the store's, measured when it succeeds.
func (t timed) Apply(ctx context.Context, fence zk.Fence, ops ...store.Op) error {
	began := time.Now()
	err := t.Store.Apply(ctx, fence, ops...)
	if err == nil {
		t.took(time.Since(began))
	}
	return err
}
