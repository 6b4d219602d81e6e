package lifecycle_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestSimulation plays random histories of one agent: frameworks run tasks, executors and
// pods, kill and go away; operators look into containers, limit and drain; processes end
// when they like; launches fail; messages are lost, late and repeated; the keeper is slow
// or lost; the agent crashes between any two effects, its host reboots, its folder is
// wiped. Order and number of updates are checked all along; at rest master, agent, disk
// and host have to agree, a restart changes nothing, and in the end nothing is left.
func TestSimulation(t *testing.T) {
	if text := os.Getenv("STOA_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("STOA_SEED: %v", err)
		}
		simulate(t, seed)
		return
	}
	first, seeds := uint64(0), uint64(300)
	switch {
	case os.Getenv("STOA_SOAK") == "1":
		seeds = 20000
	case raceDetector:
		seeds = 20
	}
	if text := os.Getenv("STOA_SEEDS"); text != "" {
		if _, err := fmt.Sscanf(text, "%d-%d", &first, &seeds); err != nil {
			t.Fatalf("STOA_SEEDS: %v", err)
		}
		seeds -= first
	}
	for seed := range seeds {
		seed += first
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			simulate(t, seed)
		})
	}
}

// The same seed gives the same history, to the last message; and a handful of them
// reaches everything that is simulated.
func TestSimulationReplays(t *testing.T) {
	if raceDetector {
		return // a matter of order, not of memory
	}
	reached := map[string]int{}
	for seed := range uint64(80) {
		first := simulate(t, seed)
		if seed < 5 {
			if second := simulate(t, seed); first.sum() != second.sum() {
				t.Errorf("seed %d: two histories", seed)
			}
		}
		for what, n := range first.deeds {
			reached[what] += n
		}
	}
	for _, what := range []string{"crash", "crash between effects", "crash before the records", "reboot", "wiped", "keeper lost",
		"books of the keeper lost", "connection broken", "reconciled", "framework torn down", "executor shut down", "executor subscribed",
		"task handed to an executor", "stream broken", "group", "docker", "limited", "out of memory", "resize failed", "drain",
		"all ended at a stop", "nested by an operator", "killed by an operator", "operation not saved", "OPERATION_FINISHED", "OPERATION_FAILED",
		"TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_DROPPED", "TASK_GONE"} {
		if reached[what] == 0 {
			t.Errorf("no history reaches %q", what)
		}
	}
}

// One history in which nothing else goes wrong, with a crash before each of its effects
// in turn: whatever was done by then, all comes to rest.
func TestSimulationCrashAtEveryEffect(t *testing.T) {
	stride, most := 7, 3
	switch {
	case os.Getenv("STOA_SOAK") == "1":
		stride, most = 1, 20
	case raceDetector:
		stride = 97
	}
	histories := 0
	for seed := uint64(1); histories < most; seed++ {
		effects := crashAt(t, seed, 0).count
		if effects < 100 {
			continue // too little happens in it
		}
		histories++
		for at := 1 + int(seed)%stride; at <= effects; at += stride {
			t.Run(fmt.Sprintf("%d/%d", seed, at), func(t *testing.T) {
				t.Parallel()
				crashAt(t, seed, at)
			})
		}
	}
}

func crashAt(t testing.TB, seed uint64, at int) *sim {
	s := newSim(t, seed)
	s.exact, s.fuse = true, at
	s.start()
	s.run(3 * time.Second)
	for range 40 {
		s.run(s.between(0, 2*time.Second))
		s.event()
	}
	count := s.count
	s.settle()
	s.count = count // what comes after is not a matter of this test
	return s
}

func simulate(t testing.TB, seed uint64) *sim {
	s := newSim(t, seed)
	s.start()
	s.run(3 * time.Second)
	for range 40 + s.rand.IntN(60) {
		s.run(s.between(0, 2*time.Second))
		s.event()
	}
	s.settle()
	return s
}
