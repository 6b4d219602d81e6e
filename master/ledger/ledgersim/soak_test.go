package ledgersim

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stoa-project/stoa/master/ledger"
)

// TestSoak lets one master work through a long time, a day with STOA_SOAK=1, of tasks,
// operations, faults of agents and frameworks, and orders of operators. What it keeps
// must not grow, nor goroutines or file descriptors.
func TestSoak(t *testing.T) {
	if raceDetector {
		return // heap figures mean something else there
	}
	span := 2 * time.Hour
	if os.Getenv("STOA_SOAK") == "1" {
		span = 24 * time.Hour
	}
	w := newWorld(t, 1)
	w.lasts = true
	for range 3 {
		w.addAgent()
	}
	for range 4 {
		w.addFramework()
	}
	w.elect()
	w.soak(span / 4) // lists of ended tasks and frameworks are full by then
	m := w.leader
	early := w.measure(span / 4)
	late := w.measure(span / 2)
	if w.leader != m {
		t.Fatal("the master did not last")
	}
	t.Logf("heap %d KiB, then %d KiB; %d goroutines, then %d; %d descriptors, then %d; %v", early.heap>>10, late.heap>>10, early.goroutines, late.goroutines, early.files, late.files, w.deeds)
	if late.heap > early.heap+early.heap/4+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", early.heap, late.heap)
	}
	if late.goroutines > early.goroutines || late.files > early.files {
		t.Errorf("goroutines %d to %d, descriptors %d to %d", early.goroutines, late.goroutines, early.files, late.files)
	}
	if w.deeds["TASK_FINISHED"] == 0 || w.deeds["feedback"] == 0 {
		t.Error("nothing happened")
	}
}

// soak lets things happen for a time, and forgets what the simulation itself keeps.
func (w *world) soak(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.run(w.between(0, 2*time.Second))
		w.event()
		w.forget()
	}
}

// forget drops the simulation's own memory of what is over.
func (w *world) forget() {
	for _, f := range w.frameworks {
		var keep []string
		for _, id := range f.order {
			if h := f.tasks[id]; h.ended && h.endAt > 0 && w.now.Sub(h.heard) > 10*time.Minute || w.now.Sub(h.heard) > time.Hour {
				delete(f.tasks, id)
				continue
			}
			keep = append(keep, id)
		}
		f.order = keep
		if f.removed { // a new one takes its place
			f.removed, f.info.Id = false, nil
			f.on, f.tasks, f.order = nil, map[string]*heard{}, nil
			f.again()
		}
	}
	for _, m := range w.masters {
		for k, s := range m.streams {
			if !s.open {
				delete(m.streams, k)
			}
		}
	}
	// Of facts about agents the newest counts.
	last := map[ledger.AgentID]int{}
	for i, fact := range w.facts {
		last[fact.Agent] = i
	}
	kept := w.facts[:0]
	for i, fact := range w.facts {
		if last[fact.Agent] == i {
			kept = append(kept, fact)
		}
	}
	clear(w.facts[len(kept):])
	w.facts = kept
}

// figures of a stretch: the least heap seen, since garbage comes and goes.
type figures struct {
	heap              uint64
	goroutines, files int
}

func (w *world) measure(d time.Duration) figures {
	least := figures{heap: 1 << 62, goroutines: 1 << 30, files: 1 << 30}
	for range 8 {
		w.soak(d / 8)
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		least.heap = min(least.heap, s.HeapAlloc)
		least.goroutines = min(least.goroutines, runtime.NumGoroutine())
		if files, err := os.ReadDir("/proc/self/fd"); err == nil {
			least.files = min(least.files, len(files))
		}
	}
	return least
}
