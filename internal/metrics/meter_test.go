package metrics

import (
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestMeterRates follows a meter through an hour: a steady rate, then silence.
func TestMeterRates(t *testing.T) {
	now := time.Unix(1000, 0)
	m := newMeter(func() time.Time { return now })
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > want/50+0.001 {
			t.Errorf("%s is %g, want about %g", what, got, want)
		}
	}
	for range 1800 {
		m.Mark()
		m.Mark()
		now = now.Add(time.Second)
	}
	count, r := m.Read()
	if count != 3600 {
		t.Errorf("%d counted", count)
	}
	near("mean", r.Mean, 2)
	near("one minute", r.M1, 2)
	near("fifteen minutes", r.M15, 2)
	now = now.Add(time.Minute)
	_, r = m.Read()
	near("one minute after a minute of silence", r.M1, 2/math.E)
	near("fifteen minutes after a minute of silence", r.M15, 2*math.Exp(-1.0/15))
	now = now.Add(1000 * time.Hour)
	if _, r = m.Read(); r.M1 > 1e-9 || math.IsNaN(r.M1) {
		t.Errorf("after weeks: %g", r.M1)
	}
}

func TestTimerShowsTheLastInterval(t *testing.T) {
	now := time.Unix(1000, 0)
	timer := newTimer(func() time.Time { return now })
	if d, _ := timer.Read(); d.Count != 0 || d.Max != 0 || d.Quantiles[0] != 0 {
		t.Errorf("unused: %+v", d)
	}
	for n := range 1000 {
		timer.Observe(time.Duration(n+1) * time.Millisecond)
	}
	now = now.Add(ResetEvery)
	d, _ := timer.Read()
	if d.Count != 1000 || d.Min != 0.001 || d.Max != 1 || math.Abs(d.Mean-0.5005) > 1e-9 || math.Abs(d.Quantiles[0]-0.501) > 1e-9 || d.Quantiles[4] != 0.991 || math.Abs(d.StdDev-0.2887) > 0.001 {
		t.Errorf("%+v", d)
	}
	for range 100_000 { // the reservoir stays as it is
		timer.Observe(7 * time.Second)
	}
	if len(timer.present) > reservoirSize {
		t.Errorf("%d kept", len(timer.present))
	}
	now = now.Add(ResetEvery)
	if d, _ = timer.Read(); d.Min != 7 || d.Count != 101_000 {
		t.Errorf("%+v", d)
	}
	now = now.Add(time.Hour)
	if d, _ = timer.Read(); d.Min != 7 {
		t.Errorf("after an idle hour %+v", d)
	}
}

func TestMetersInPrometheusText(t *testing.T) {
	r := New()
	r.Meter(Def{Name: "x_meter", Help: "X.", Flat: "x.meter"}).Mark()
	r.Timer(Def{Name: "y_timer_seconds", Help: "Y.", Flat: "y.timer.seconds"}).Observe(250 * time.Millisecond)
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{"# TYPE x_meter_count gauge", "x_meter_count 1", "x_meter_mean_rate ", "x_meter_m1_rate ", "x_meter_m5_rate ", "x_meter_m15_rate ",
		"# TYPE y_timer_seconds summary", `y_timer_seconds{quantile="0.5"} 0.25`, `y_timer_seconds{quantile="0.75"} 0.25`, `y_timer_seconds{quantile="0.95"} 0.25`, `y_timer_seconds{quantile="0.98"} 0.25`,
		`y_timer_seconds{quantile="0.99"} 0.25`, `y_timer_seconds{quantile="0.999"} 0.25`, "y_timer_seconds_count 1", "y_timer_seconds_min 0.25", "y_timer_seconds_mean 0.25", "y_timer_seconds_max 0.25",
		"y_timer_seconds_stddev 0", "y_timer_seconds_m1_rate "} {
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("no %q", line)
		}
	}
	names := ""
	r.EachMeter(func(name string, _ *Meter) { names += name + " " })
	r.EachTimer(func(name string, _ *Timer) { names += name })
	if names != "x.meter y.timer.seconds" {
		t.Errorf("names %q", names)
	}
}
