package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/metrics"
)

// pullWindow is how many durations the percentiles are taken from.
const pullWindow = 1000

// pullTimes is how long image pulls took. It prints as Mesos' timers do
// (mesos-agent.md 12.1).
type pullTimes struct {
	mu    sync.Mutex // guards below
	ms    []float64  // the newest pullWindow ones, oldest first
	count uint64
}

func (p *pullTimes) took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	if len(p.ms) == pullWindow {
		p.ms = p.ms[1:]
	}
	p.ms = append(p.ms, float64(d)/1e6)
}

// emit gives the values below a name: the newest, the number of all, and of those in the
// window the extremes and percentiles.
func (p *pullTimes) emit(name string, emit func(string, float64)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	emit(name+"/count", float64(p.count))
	if len(p.ms) == 0 {
		return
	}
	emit(name, p.ms[len(p.ms)-1])
	all := slices.Sorted(slices.Values(p.ms))
	at := func(share float64) float64 { return all[min(int(share*float64(len(all))), len(all)-1)] }
	for suffix, v := range map[string]float64{
		"min": all[0], "max": all[len(all)-1], "p50": at(0.5), "p90": at(0.9), "p95": at(0.95), "p99": at(0.99), "p999": at(0.999), "p9999": at(0.9999),
	} {
		emit(name+"/"+suffix, v)
	}
}

func (p *pullTimes) register(r *metrics.Registry, name string) {
	r.FlatGroup(func(emit func(string, float64)) { p.emit(name, emit) })
}
