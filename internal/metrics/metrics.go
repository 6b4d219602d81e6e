// Package metrics is the one registry a room declares its metrics in: Prometheus text for
// /metrics, and the flat names with numbers that Mesos serves on /metrics/snapshot.
package metrics

import (
	"context"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry holds the metrics of one room.
type Registry struct {
	prom *prometheus.Registry

	mu      sync.Mutex                // guards the fields below
	flat    map[string]func() float64 // Mesos name -> present value
	groups  []func(emit func(name string, value float64))
	sources []func(ctx context.Context, emit func(Sample))
	meters  []named[*Meter]
	timers  []named[*Timer]
}

// Def names one metric.
type Def struct {
	Name    string    // Prometheus name: stoa_<room>_<what>_<unit>
	Help    string    // one sentence
	Flat    string    // Mesos name ("master/tasks_running"); empty: none
	Labels  []string  // for the Vec kinds
	Buckets []float64 // for histograms; nil: Prometheus' default seconds
}

// Sample is one present value of a source. Samples of one Name have the same Help, Kind
// and Labels, and differ in Values.
type Sample struct {
	Name   string   // Prometheus name; empty: only Flat is published
	Help   string   // one sentence
	Kind   Kind     // of Name
	Labels []string // of Name
	Values []string // of Labels
	Flat   string   // Mesos name; empty: only Name is published
	Value  float64
}

// Kind of a metric.
type Kind uint8

// The kinds of samples.
const (
	IsGauge Kind = iota
	IsCounter
)

// New makes a registry with the Go runtime's and the process' own metrics.
func New() *Registry {
	r := &Registry{prom: prometheus.NewRegistry(), flat: map[string]func() float64{}}
	live := collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile("^/gc/heap/live:bytes$")} // what a collection left
	r.prom.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(live)), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// The labelled kinds are Prometheus' own; use their WithLabelValues.
type (
	CounterVec   = prometheus.CounterVec
	GaugeVec     = prometheus.GaugeVec
	HistogramVec = prometheus.HistogramVec
	Histogram    = prometheus.Histogram
)

// Counter only grows.
type Counter struct{ v number }

// Inc adds one.
func (c *Counter) Inc() { c.v.add(1) }

// Add adds n, which must not be negative.
func (c *Counter) Add(n float64) {
	if n < 0 {
		panic("metrics: a counter cannot shrink")
	}
	c.v.add(n)
}

// Value is the present count.
func (c *Counter) Value() float64 { return c.v.get() }

// Gauge goes up and down.
type Gauge struct{ v number }

// Set replaces the value.
func (g *Gauge) Set(n float64) { g.v.set(n) }

// Add changes the value by n.
func (g *Gauge) Add(n float64) { g.v.add(n) }

// Value is the present value.
func (g *Gauge) Value() float64 { return g.v.get() }

// Counter declares a counter. Declaring a name twice panics, as in all methods below.
func (r *Registry) Counter(d Def) *Counter {
	c := &Counter{}
	r.CounterFunc(d, c.Value)
	return c
}

// Gauge declares a gauge.
func (r *Registry) Gauge(d Def) *Gauge {
	g := &Gauge{}
	r.GaugeFunc(d, g.Value)
	return g
}

// CounterFunc declares a counter that f reads; f may be called from any goroutine.
func (r *Registry) CounterFunc(d Def, f func() float64) {
	r.prom.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, f))
	r.addFlat(d.Flat, f)
}

// GaugeFunc declares a gauge that f reads; f may be called from any goroutine.
func (r *Registry) GaugeFunc(d Def, f func() float64) {
	r.prom.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, f))
	r.addFlat(d.Flat, f)
}

// CounterVec declares counters by label.
func (r *Registry) CounterVec(d Def) *CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels)
	r.prom.MustRegister(v)
	return v
}

// GaugeVec declares gauges by label.
func (r *Registry) GaugeVec(d Def) *GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, d.Labels)
	r.prom.MustRegister(v)
	return v
}

// Histogram declares a histogram.
func (r *Registry) Histogram(d Def) Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: d.Name, Help: d.Help, Buckets: d.Buckets})
	r.prom.MustRegister(h)
	return h
}

// HistogramVec declares histograms by label.
func (r *Registry) HistogramVec(d Def) *HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: d.Name, Help: d.Help, Buckets: d.Buckets}, d.Labels)
	r.prom.MustRegister(v)
	return v
}

// Flat adds values under Mesos names only: a single one that f reads.
func (r *Registry) Flat(name string, f func() float64) { r.addFlat(name, f) }

// FlatGroup adds Mesos names that come and go, such as one set per framework.
func (r *Registry) FlatGroup(f func(emit func(name string, value float64))) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups = append(r.groups, f)
}

// Source adds metrics that come and go and are read together: f is called once for each
// answer, from any goroutine, and emits what there is. When ctx leaves no time to find
// out, it emits nothing.
func (r *Registry) Source(f func(ctx context.Context, emit func(Sample))) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources = append(r.sources, f)
	r.prom.MustRegister(sourceCollector(f))
}

// sourceCollector gives a source's samples to Prometheus.
type sourceCollector func(ctx context.Context, emit func(Sample))

// Describe tells nothing: what is collected changes.
func (sourceCollector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the source.
func (f sourceCollector) Collect(out chan<- prometheus.Metric) {
	descs := map[string]*prometheus.Desc{}
	f(context.Background(), func(s Sample) {
		if s.Name == "" {
			return
		}
		desc := descs[s.Name]
		if desc == nil {
			desc = prometheus.NewDesc(s.Name, s.Help, s.Labels, nil)
			descs[s.Name] = desc
		}
		kind := prometheus.GaugeValue
		if s.Kind == IsCounter {
			kind = prometheus.CounterValue
		}
		m, err := prometheus.NewConstMetric(desc, kind, s.Value, s.Values...)
		if err != nil {
			m = prometheus.NewInvalidMetric(desc, err)
		}
		out <- m
	})
}

// Snapshot gives all Mesos names with their present values. Values that are no finite
// numbers, which JSON cannot carry, are left out.
func (r *Registry) Snapshot() map[string]float64 { return r.SnapshotWithin(context.Background()) }

// SnapshotWithin is Snapshot without the sources that ctx leaves no time for.
func (r *Registry) SnapshotWithin(ctx context.Context) map[string]float64 {
	r.mu.Lock()
	flat := maps.Clone(r.flat)
	groups := slices.Clone(r.groups)
	sources := slices.Clone(r.sources)
	r.mu.Unlock()
	out := make(map[string]float64, len(flat))
	emit := func(name string, v float64) {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			out[name] = v
		}
	}
	for name, f := range flat {
		emit(name, f())
	}
	for _, g := range groups {
		g(emit)
	}
	for _, f := range sources {
		f(ctx, func(s Sample) {
			if s.Flat != "" {
				emit(s.Flat, s.Value)
			}
		})
	}
	return out
}

// Handler serves Prometheus text for /metrics.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{})
}

func (r *Registry) addFlat(name string, f func() float64) {
	if name == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.flat[name]; taken {
		panic("metrics: " + name + " is declared twice")
	}
	r.flat[name] = f
}

// number is a float64 that several goroutines change.
type number struct{ bits atomic.Uint64 }

func (n *number) get() float64  { return math.Float64frombits(n.bits.Load()) }
func (n *number) set(v float64) { n.bits.Store(math.Float64bits(v)) }

func (n *number) add(v float64) {
	for {
		old := n.bits.Load()
		if n.bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}
