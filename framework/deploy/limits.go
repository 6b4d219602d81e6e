package deploy

import (
	"math"

	"github.com/stoa-project/stoa/framework/app"
)

// Limits bound a rolling restart (marathon.md 5.4; the float64 arithmetic is part
// of the contract).
type Limits struct {
	MinHealthy  int // healthy instances to keep
	MaxCapacity int // instances that may run at once
}

// RestartState is what a rolling restart knows when it begins, or when a new leader takes
// it up again.
type RestartState struct {
	Instances int // wanted
	Upgrade   app.UpgradeStrategy
	Resident  bool // instances own reservations: nothing may run beside the old one
	Current   int  // instances with goal Running, old and new
	Healthy   int  // of those, healthy: no check configured, or the last results good
}

// Begin gives the limits of a restart and how many old instances to kill at once. After
// that each new instance that becomes healthy and ready allows one more kill.
func (r RestartState) Begin() (l Limits, kill int) {
	n := float64(r.Instances)
	l.MinHealthy = int(math.Ceil(n * r.Upgrade.MinimumHealthCapacity))
	l.MaxCapacity = int(math.Floor(n * (1 + r.Upgrade.MaximumOverCapacity)))
	kill = max(0, r.Healthy-l.MinHealthy)
	if l.MinHealthy == l.MaxCapacity && l.MaxCapacity <= r.Healthy {
		// Neither a kill nor a start would be allowed, for ever.
		if r.Resident {
			kill = r.Healthy - l.MinHealthy + 1
		} else {
			l.MaxCapacity++
		}
	}
	if r.Instances < r.Current {
		kill = max(r.Current-r.Instances, kill)
	}
	return l, kill
}

// Launch tells how many new instances may be started now, of n wanted, when oldActive
// old ones still hold resources and startedNew new ones were started already.
func (l Limits) Launch(n, oldActive, startedNew int) int {
	return max(0, min(n-startedNew, max(0, l.MaxCapacity-oldActive-startedNew)))
}
