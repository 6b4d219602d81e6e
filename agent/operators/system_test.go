package operators

import (
	"encoding/json"
	"regexp"
	"testing"
)

// As recorded of a Mesos agent: the loads have a fraction, the counts have none.
func TestSystemStatsAreOfMesosKinds(t *testing.T) {
	stats, err := systemStats(nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(stats)
	if err != nil {
		t.Fatal(err)
	}
	const load, count = `:\d+\.\d+`, `:[1-9]\d*`
	want := `^\{"avg_load_15min"` + load + `,"avg_load_1min"` + load + `,"avg_load_5min"` + load +
		`,"cpus_total"` + count + `,"mem_free_bytes"` + count + `,"mem_total_bytes"` + count + `\}$`
	if !regexp.MustCompile(want).Match(raw) {
		t.Errorf("%s", raw)
	}
}
