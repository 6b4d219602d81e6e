package deploy

import (
	"testing"

	"github.com/stoa-project/stoa/framework/app"
	"pgregory.net/rapid"
)

// The table of marathon.md 5.4.
func TestConformance_5_4_RestartMaths(t *testing.T) {
	for _, c := range []struct {
		n                  int
		min, over          float64
		old, healthy       int
		resident           bool
		minHealthy, maxCap int
		kill, launch       int
	}{
		{1, 1, 1, 1, 1, false, 1, 2, 0, 1},
		{1, 1, 0, 1, 1, false, 1, 2, 0, 1},
		{1, 0, 0, 1, 1, false, 0, 1, 1, 0},
		{3, 0.7, 0, 3, 3, false, 3, 4, 0, 1},
		{10, 0.5, 0.2, 10, 10, false, 5, 12, 5, 2},
		{10, 1, 0.05, 10, 10, false, 10, 11, 0, 1},
		{4, 0.25, 0.5, 4, 4, false, 1, 6, 3, 2},
		{20, 0.6, 1, 20, 20, false, 12, 40, 8, 20},
		{2, 0.5, 0, 2, 2, true, 1, 2, 1, 0},
		{1, 0.5, 0, 1, 1, true, 1, 1, 1, 0},
		{2, 0.5, 0, 3, 3, false, 1, 2, 2, 0},
		{5, 1, 1, 5, 2, false, 5, 10, 0, 5},
		{100, 0.55, 0, 100, 100, false, 56, 100, 44, 0},
		{10, 0, 0, 10, 10, false, 0, 10, 10, 0},
	} {
		r := RestartState{c.n, app.UpgradeStrategy{MinimumHealthCapacity: c.min, MaximumOverCapacity: c.over}, c.resident, c.old, c.healthy}
		l, kill := r.Begin()
		launch := l.Launch(c.n, c.old, 0)
		if l.MinHealthy != c.minHealthy || l.MaxCapacity != c.maxCap || kill != c.kill || launch != c.launch {
			t.Errorf("%+v: got %+v, kill %d, launch %d", c, l, kill, launch)
		}
	}
}

// TestRestartKeepsLimits plays rolling restarts in random order of events and checks at
// every moment that capacity stays in bounds and that the restart comes to its end.
func TestRestartKeepsLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "instances")
		up := app.UpgradeStrategy{
			MinimumHealthCapacity: float64(rapid.IntRange(0, 100).Draw(t, "min")) / 100,
			MaximumOverCapacity:   float64(rapid.IntRange(0, 100).Draw(t, "over")) / 100,
		}
		resident := rapid.Bool().Draw(t, "resident")
		if resident {
			up.MaximumOverCapacity = 0
		}
		l, kill := RestartState{n, up, resident, n, n}.Begin()
		// old: healthy old ones; dying: old ones told to stop; fresh: started and not yet healthy.
		old, dying, fresh, done := n, 0, 0, 0
		allowed := kill
		floor := l.MinHealthy
		if resident && l.MinHealthy == l.MaxCapacity {
			floor--
		}
		for step := 0; done < n || old+dying > 0; step++ {
			if step > 10*n+10 {
				t.Fatalf("stuck: limits %+v, old %d, dying %d, fresh %d, done %d", l, old, dying, fresh, done)
			}
			for ; allowed > 0 && old > 0; allowed-- {
				old--
				dying++
			}
			fresh += l.Launch(n, old+dying, fresh+done)
			if healthy := old + done; healthy < floor {
				t.Fatalf("only %d healthy, limit %d", healthy, floor)
			}
			if running := old + dying + fresh + done; running > l.MaxCapacity {
				t.Fatalf("%d run at once, limit %d", running, l.MaxCapacity)
			}
			if dying > 0 && (fresh == 0 || rapid.Bool().Draw(t, "old one ends")) {
				dying--
			} else if fresh > 0 {
				fresh--
				done++
				allowed++
			}
		}
	})
}
