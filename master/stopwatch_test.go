package master

import (
	"testing"
	"time"
)

// TestStopwatch: a timer has Mesos' names, its percentiles interpolate, and what is older
// than the window or beyond the number of samples does not count.
func TestStopwatch(t *testing.T) {
	var w stopwatch
	got := map[string]float64{}
	emit := func(name string, v float64) { got[name] = v }
	now := time.Unix(100_000, 0)
	if w.emit("x", now, emit); len(got) != 0 {
		t.Fatalf("before the first observation: %v", got)
	}
	w.observe(now.Add(-2*time.Hour), time.Hour)
	for i := range 5 {
		w.observe(now, time.Duration(5-i)*time.Millisecond)
	}
	w.emit("x", now, emit)
	for name, want := range map[string]float64{"x_ms": 1, "x_ms/count": 5, "x_ms/min": 1, "x_ms/max": 5, "x_ms/p50": 3, "x_ms/p90": 4.6,
		"x_ms/p95": 4.8, "x_ms/p99": 4.96, "x_ms/p999": 4.996, "x_ms/p9999": 4.9996} {
		if d := got[name] - want; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if len(got) != 10 {
		t.Errorf("%d names: %v", len(got), got)
	}
	for range 10 * maxSamples {
		w.observe(now, time.Second)
	}
	if w.emit("x", now, emit); got["x_ms/count"] != maxSamples || got["x_ms/min"] != 1000 || len(w.samples) > 2*maxSamples {
		t.Errorf("after many: %v, %d kept", got, len(w.samples))
	}
}
