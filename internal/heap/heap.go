// Package heap paces the garbage collector of a long-lived process. Go collects when the
// heap has doubled: frequent work for a process of some hundred MiB that makes much
// garbage, and an unaffordable reserve for one of some GiB. Pace keeps the room for
// garbage about the same in between.
package heap

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	small    = 64 << 20  // bytes live, below which Go's own pace is kept
	room     = 512 << 20 // bytes of garbage that a larger heap may collect
	slowest  = 400       // percent of the live heap
	quickest = 50
	ordinary = 100 // Go's own
)

// Percent is the value for debug.SetGCPercent at a live heap of so many bytes.
func Percent(live uint64) int {
	if live < small {
		return ordinary
	}
	return min(max(int(room*100/live), quickest), slowest)
}

// Pace follows the live heap until ctx ends; then Go's own pace is back. A GOGC in the
// environment is the user's word: nothing is changed then.
func Pace(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(ordinary)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for now := ordinary; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		// Setting it stops the world for a moment: only when it makes a difference.
		if want := Percent(live[0].Value.Uint64()); want > now+now/8 || want < now-now/8 {
			now = want
			debug.SetGCPercent(now)
		}
	}
}
