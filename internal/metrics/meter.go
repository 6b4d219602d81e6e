package metrics

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Meters and timers in the forms of Marathon's metrics library (marathon.md 12): rates are
// moving averages that advance every five seconds, quantiles are those of an interval
// that begins anew again and again.

const (
	rateTick      = 5 * time.Second
	reservoirSize = 2048 // observations kept of one interval
)

// ResetEvery is the length of the intervals whose quantiles timers show.
const ResetEvery = 5 * time.Second

// Quantiles are those that timers show, with their names in JSON.
var Quantiles = []struct {
	Name  string
	Value float64
}{{"p50", 0.5}, {"p75", 0.75}, {"p95", 0.95}, {"p98", 0.98}, {"p99", 0.99}, {"p999", 0.999}}

// Rates are events per second: since the beginning, and as moving averages of minutes.
type Rates struct{ Mean, M1, M5, M15 float64 }

// Meter counts events and their rates.
type Meter struct {
	now   func() time.Time
	began time.Time

	mu     sync.Mutex // guards the fields below
	count  uint64
	fresh  uint64 // of those, since the last tick
	ticked time.Time
	rates  [3]float64
	moving bool // there was a first tick
}

func newMeter(now func() time.Time) *Meter {
	t := now()
	return &Meter{now: now, began: t, ticked: t}
}

// Mark counts an event.
func (m *Meter) Mark() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(m.now())
	m.count++
	m.fresh++
}

// Read gives the count and the rates.
func (m *Meter) Read() (uint64, Rates) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.advance(now)
	r := Rates{M1: m.rates[0], M5: m.rates[1], M15: m.rates[2]}
	if age := now.Sub(m.began).Seconds(); age > 0 {
		r.Mean = float64(m.count) / age
	}
	return m.count, r
}

// maxTicks is after how many ticks without an event the longest average is as good as 0.
const maxTicks = 24 * 60 * 12

// advance moves the averages up to now.
func (m *Meter) advance(now time.Time) {
	n := int(now.Sub(m.ticked) / rateTick)
	if n <= 0 {
		return
	}
	m.ticked = m.ticked.Add(time.Duration(n) * rateTick)
	present := float64(m.fresh) / rateTick.Seconds()
	m.fresh = 0
	for i, minutes := range [...]float64{1, 5, 15} {
		alpha := 1 - math.Exp(-rateTick.Seconds()/60/minutes)
		if !m.moving {
			m.rates[i] = present
		} else {
			m.rates[i] += alpha * (present - m.rates[i])
		}
		m.rates[i] *= math.Pow(1-alpha, float64(min(n, maxTicks)-1))
	}
	m.moving = true
}

// Distribution is what is known of observed values: Count is of all times, the rest of
// the last interval that had any.
type Distribution struct {
	Count                  uint64
	Min, Mean, Max, StdDev float64
	Quantiles              []float64 // in the order of the table of that name
}

// Timer observes durations in seconds, and meters them.
type Timer struct {
	meter *Meter

	mu       sync.Mutex // guards the fields below
	began    time.Time  // of the present interval
	present  []float64
	seen     int // observations of the present interval
	complete []float64
}

func newTimer(now func() time.Time) *Timer {
	return &Timer{meter: newMeter(now), began: now()}
}

// Observe takes a duration.
func (t *Timer) Observe(d time.Duration) {
	t.meter.Mark()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn()
	t.seen++
	switch {
	case len(t.present) < reservoirSize:
		t.present = append(t.present, d.Seconds())
	default:
		if at := rand.IntN(t.seen); at < reservoirSize {
			t.present[at] = d.Seconds()
		}
	}
}

// turn begins a new interval when the present one is over.
func (t *Timer) turn() {
	now := t.meter.now()
	if now.Sub(t.began) < ResetEvery {
		return
	}
	if len(t.present) > 0 {
		t.complete, t.present = t.present, t.complete[:0]
	}
	t.began, t.seen = now, 0
}

// Read gives the distribution and the rates.
func (t *Timer) Read() (Distribution, Rates) {
	count, rates := t.meter.Read()
	t.mu.Lock()
	t.turn()
	values := slices.Clone(t.complete)
	if len(values) == 0 {
		values = slices.Clone(t.present)
	}
	t.mu.Unlock()
	d := Distribution{Count: count, Quantiles: make([]float64, len(Quantiles))}
	if len(values) == 0 {
		return d, rates
	}
	slices.Sort(values)
	sum, squares := 0.0, 0.0
	for _, v := range values {
		sum += v
		squares += v * v
	}
	n := float64(len(values))
	d.Min, d.Max, d.Mean = values[0], values[len(values)-1], sum/n
	d.StdDev = math.Sqrt(max(0, squares/n-d.Mean*d.Mean))
	for i, q := range Quantiles {
		d.Quantiles[i] = values[min(len(values)-1, int(q.Value*n))]
	}
	return d, rates
}

// Meter declares a meter. Its Prometheus names are those of gauges below Def.Name.
func (r *Registry) Meter(d Def) *Meter {
	m := newMeter(time.Now)
	r.prom.MustRegister(ratesCollector{d, m})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.meters = append(r.meters, named[*Meter]{d.Flat, m})
	return m
}

// Timer declares a timer: a summary of Def.Name, and gauges below it.
func (r *Registry) Timer(d Def) *Timer {
	t := newTimer(time.Now)
	r.prom.MustRegister(timerCollector{d, t})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timers = append(r.timers, named[*Timer]{d.Flat, t})
	return t
}

// named is a metric with its flat name.
type named[T any] struct {
	name   string
	metric T
}

// EachMeter goes over the meters by their flat names.
func (r *Registry) EachMeter(f func(name string, m *Meter)) {
	r.mu.Lock()
	all := slices.Clone(r.meters)
	r.mu.Unlock()
	for _, m := range all {
		f(m.name, m.metric)
	}
}

// EachTimer goes over the timers by their flat names.
func (r *Registry) EachTimer(f func(name string, t *Timer)) {
	r.mu.Lock()
	all := slices.Clone(r.timers)
	r.mu.Unlock()
	for _, t := range all {
		f(t.name, t.metric)
	}
}

type ratesCollector struct {
	def   Def
	meter *Meter
}

// Describe tells nothing: the names follow from one.
func (ratesCollector) Describe(chan<- *prometheus.Desc) {}

// Collect gives the meter's gauges.
func (c ratesCollector) Collect(out chan<- prometheus.Metric) {
	count, rates := c.meter.Read()
	emitGauges(out, c.def, map[string]float64{"_count": float64(count)})
	emitRates(out, c.def, rates)
}

func emitRates(out chan<- prometheus.Metric, d Def, r Rates) {
	emitGauges(out, d, map[string]float64{"_mean_rate": r.Mean, "_m1_rate": r.M1, "_m5_rate": r.M5, "_m15_rate": r.M15})
}

func emitGauges(out chan<- prometheus.Metric, d Def, values map[string]float64) {
	for suffix, v := range values {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(d.Name+suffix, d.Help, nil, nil), prometheus.GaugeValue, v)
	}
}

type timerCollector struct {
	def   Def
	timer *Timer
}

// Describe tells nothing: the names follow from one.
func (timerCollector) Describe(chan<- *prometheus.Desc) {}

// Collect gives the summary and the gauges beside it.
func (c timerCollector) Collect(out chan<- prometheus.Metric) {
	d, rates := c.timer.Read()
	quantiles := make(map[float64]float64, len(Quantiles))
	for i, q := range Quantiles {
		quantiles[q.Value] = d.Quantiles[i]
	}
	out <- prometheus.MustNewConstSummary(prometheus.NewDesc(c.def.Name, c.def.Help, nil, nil), d.Count, d.Mean*float64(d.Count), quantiles)
	emitGauges(out, c.def, map[string]float64{"_min": d.Min, "_mean": d.Mean, "_max": d.Max, "_stddev": d.StdDev})
	emitRates(out, c.def, rates)
}
