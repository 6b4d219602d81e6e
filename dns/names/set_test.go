package names

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// Sets of every size hold what was added and not dropped, each as often as it was, and
// copies of them stay as they are. The seed is the subtest's name.
func TestSeedSets(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			span := []int{20, 200, 3000}[seed%3] // different values
			s := NewState(Rules{Domain: "mesos"})
			const name = "many.mesos."
			want := map[Service]int{}
			type copied struct {
				zone *Zone
				want map[Service]int
			}
			var copies []copied
			check := func(c copied) {
				t.Helper()
				got := map[Service]int{}
				if n := c.zone.Lookup(name); n != nil {
					all := n.Services()
					for i := range all.Len() {
						got[all.At(i)]++
					}
					if len(n.SRV()) != all.Len() {
						t.Fatalf("%d values listed, %d there", len(n.SRV()), all.Len())
					}
				}
				for v, n := range got {
					if n != 1 || c.want[v] == 0 {
						t.Fatalf("%v is there %d times, wanted %d", v, n, c.want[v])
					}
				}
				if len(got) != len(c.want) || c.zone.Counts.SRV != len(c.want) {
					t.Fatalf("%d values, counted %d, want %d", len(got), c.zone.Counts.SRV, len(c.want))
				}
			}
			growing := true
			for i := range 20_000 {
				if i%4000 == 3999 {
					growing = !growing
				}
				v := Service{Target: "t.mesos.", Port: uint16(1 + r.IntN(span))}
				o := op{name: name, target: v.Target, port: v.Port}
				if add := r.IntN(5) > 0; add == growing {
					s.assert(o)
					want[v]++
				} else if want[v] > 0 {
					s.retract(o)
					if want[v]--; want[v] == 0 {
						delete(want, v)
					}
				}
				if r.IntN(300) == 0 {
					copies = append(copies, copied{s.Commit(), maps.Clone(want)})
				}
			}
			for _, c := range append(copies, copied{s.Commit(), want}) {
				check(c)
			}
			for v, n := range want {
				for range n {
					s.retract(op{name: name, target: v.Target, port: v.Port})
				}
			}
			if z := s.Commit(); z.Lookup(name) != nil || len(s.bigSRV) != 0 {
				t.Errorf("something is left: %v", z.Lookup(name))
			}
		})
	}
}

// A move in an app of ten thousand instances writes little more than in one of a
// thousand, though their names have as many values.
func TestChangeInLargeSets(t *testing.T) {
	perMove := func(n int) float64 {
		s := NewState(Rules{Domain: "mesos", Sources: []Source{SourceNetInfo, SourceHost}})
		snap := clusterOf(n)
		for i := range snap.Tasks {
			x := &snap.Tasks[i]
			x.Name, x.Discovery = "web", "web"
		}
		s.Reset(snap, time.Unix(0, 0))
		s.Commit()
		const moves = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range moves {
			x := snap.Tasks[i*7919%n]
			s.UpdateTask(Update{Framework: "F", Task: x.ID, State: "TASK_KILLED"})
			s.Commit()
			x.Agent = snap.Agents[i*31%len(snap.Agents)].ID
			s.PutTask(x)
			s.Commit()
		}
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / moves
	}
	small, large := perMove(1_000), perMove(10_000)
	t.Logf("octets per move in an app of 1,000: %.0f, of 10,000: %.0f", small, large)
	if large > 3*small {
		t.Errorf("octets per move in an app of 1,000: %.0f, of 10,000: %.0f", small, large)
	}
}
