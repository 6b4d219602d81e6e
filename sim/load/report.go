package load

import (
	"encoding/json"
	"math"
	"slices"
	"time"
)

// Report is the result, printed as one JSON line.
type Report struct {
	Tasks   int     `json:"tasks"`
	Running int     `json:"running"` // reached TASK_RUNNING
	Lost    int     `json:"lost"`    // ended without having run
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"tasks_per_second"`
	Launch  Spread  `json:"launch_latency_ms"`
	Offer   Spread  `json:"offer_latency_ms"`
}

// Spread is what is told of many durations, in milliseconds.
type Spread struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// spreadOf sorts all in place; none give zeros.
func spreadOf(all []time.Duration) Spread {
	if len(all) == 0 {
		return Spread{}
	}
	slices.Sort(all)
	ms := func(share float64) float64 {
		// The smallest value that at least this share of all does not exceed.
		i := int(math.Ceil(share*float64(len(all)))) - 1
		return rounded(float64(all[i]) / 1e6)
	}
	return Spread{P50: ms(0.5), P99: ms(0.99), Max: ms(1)}
}

func rounded(v float64) float64 { return math.Round(v*1000) / 1000 }

// Line is the report as it is printed, without a line feed.
func (r Report) Line() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic("load: a report of finite numbers does not encode: " + err.Error())
	}
	return b
}
