package master

import (
	"math"
	"slices"
	"sync"
	"time"
)

// stopwatch is a timer as Mesos publishes it: the last time, and of the last hour count,
// least, greatest and percentiles (mesos-master.md section 9).
type stopwatch struct {
	mu      sync.Mutex // guards what follows
	samples []sample   // oldest first, at most maxSamples
}

type sample struct {
	at time.Time
	ms float64
}

// window is the time that percentiles look back; maxSamples is how many of them are kept.
const (
	window     = time.Hour
	maxSamples = 1000
)

func (w *stopwatch) observe(at time.Time, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.samples) >= 2*maxSamples {
		w.samples = append(w.samples[:0], w.samples[len(w.samples)-maxSamples:]...)
	}
	w.samples = append(w.samples, sample{at, float64(d) / 1e6})
}

// emit gives the figures under the names of a Mesos timer; nothing before the first
// observation.
func (w *stopwatch) emit(name string, now time.Time, emit func(string, float64)) {
	w.mu.Lock()
	kept := w.samples[max(0, len(w.samples)-maxSamples):]
	for len(kept) > 0 && now.Sub(kept[0].at) > window {
		kept = kept[1:]
	}
	values := make([]float64, len(kept))
	for i, s := range kept {
		values[i] = s.ms
	}
	w.mu.Unlock()
	if len(values) == 0 {
		return
	}
	name += "_ms"
	emit(name, values[len(values)-1])
	slices.Sort(values)
	emit(name+"/count", float64(len(values)))
	emit(name+"/min", values[0])
	emit(name+"/max", values[len(values)-1])
	for suffix, p := range map[string]float64{"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "p9999": 0.9999} {
		emit(name+"/"+suffix, percentile(values, p))
	}
}

// percentile interpolates between the two nearest of sorted values, as Mesos does.
func percentile(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	low := int(math.Floor(at))
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}
