package load

import (
	"testing"
	"time"
)

func TestReportLine(t *testing.T) {
	var all []time.Duration
	for i := 1000; i > 0; i-- {
		all = append(all, time.Duration(i)*time.Millisecond)
	}
	r := Report{Tasks: 5, Running: 4, Lost: 1, Seconds: 1.5, Rate: 2.667, Launch: spreadOf(all), Offer: spreadOf(nil)}
	const want = `{"tasks":5,"running":4,"lost":1,"seconds":1.5,"tasks_per_second":2.667,"launch_latency_ms":{"p50":500,"p99":990,"max":1000},"offer_latency_ms":{"p50":0,"p99":0,"max":0}}`
	if got := string(r.Line()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s := spreadOf([]time.Duration{time.Millisecond}); s != (Spread{1, 1, 1}) {
		t.Errorf("of one: %v", s)
	}
}
