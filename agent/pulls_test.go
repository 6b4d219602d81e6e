package agent_test

import (
	"encoding/json"
	"testing"
)

// timed looks at a timer among the metrics (mesos-agent.md 12.1): its newest value, how many
// there were, and the extremes and percentiles in their order.
func timed(t *testing.T, p *process, name string, count float64) {
	t.Helper()
	var all map[string]float64
	if err := json.Unmarshal(p.get("/metrics/snapshot"), &all); err != nil {
		t.Fatal(err)
	}
	if got := all[name+"/count"]; got != count {
		t.Errorf("%s/count is %v, not %v", name, got, count)
	}
	if all[name] <= 0 || all[name] > all[name+"/max"] || all[name] < all[name+"/min"] {
		t.Errorf("%s is %v, from %v to %v", name, all[name], all[name+"/min"], all[name+"/max"])
	}
	last := all[name+"/min"]
	for _, key := range []string{"/min", "/p50", "/p90", "/p95", "/p99", "/p999", "/p9999", "/max"} {
		v, ok := all[name+key]
		if !ok || v < last {
			t.Errorf("%s%s is %v (%v) after %v", name, key, v, ok, last)
		}
		last = v
	}
}
