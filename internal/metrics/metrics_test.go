package metrics_test

import (
	"math"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stoa-project/stoa/internal/metrics"
)

func TestBothForms(t *testing.T) {
	r := metrics.New()
	c := r.Counter(metrics.Def{Name: "stoa_x_total", Help: "X.", Flat: "master/x"})
	g := r.Gauge(metrics.Def{Name: "stoa_y", Help: "Y."})
	r.CounterVec(metrics.Def{Name: "stoa_z_total", Help: "Z.", Labels: []string{"kind"}}).WithLabelValues("a").Add(7)
	r.Histogram(metrics.Def{Name: "stoa_h_seconds", Help: "H."}).Observe(0.2)
	r.Flat("master/elected", func() float64 { return 1 })
	r.Flat("master/broken", math.NaN)
	r.FlatGroup(func(emit func(string, float64)) { emit("master/frameworks/a/x", 3) })

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				c.Inc()
				g.Add(0.5)
			}
		})
	}
	wg.Wait()
	g.Add(-100)

	want := map[string]float64{"master/x": 800, "master/elected": 1, "master/frameworks/a/x": 3}
	if got := r.Snapshot(); !reflect.DeepEqual(got, want) {
		t.Errorf("snapshot %v, want %v", got, want)
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{"stoa_x_total 800\n", "stoa_y 300\n", `stoa_z_total{kind="a"} 7`, "stoa_h_seconds_count 1\n", "go_goroutines ", "go_gc_heap_live_bytes ", "process_open_fds "} {
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("/metrics lacks %q", line)
		}
	}
}

func TestDeclaredTwice(t *testing.T) {
	r := metrics.New()
	r.Flat("a", func() float64 { return 0 })
	defer func() {
		if recover() == nil {
			t.Error("a second declaration was accepted")
		}
	}()
	r.Flat("a", func() float64 { return 0 })
}
