package names_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/dns/names"
)

func TestUnusableNames(t *testing.T) {
	s := names.NewState(rules())
	s.Reset(one(
		names.Task{ID: "1", Name: "???"},
		names.Task{ID: "2", Name: "x", Discovery: "a..b"},
		names.Task{ID: "3", Name: "x", Discovery: "we ird\\name"},
		names.Task{ID: "4", Name: "x", Discovery: strings.Repeat("l", 64) + ".c"},
		names.Task{ID: "5", Name: "x", Discovery: strings.Repeat("l.", 130)},
		names.Task{ID: "6", Name: strings.Repeat("n", 63)}, // no room for the unique label
	), epoch)
	z := s.Commit()
	for n := range z.All() {
		name := n.Name()
		if len(name) > 254 {
			t.Errorf("too long: %s", name)
		}
		for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
			if label == "" || len(label) > 63 || strings.ContainsAny(label, ` \"`) {
				t.Errorf("unusable: %q", name)
			}
		}
	}
	for _, name := range []string{"a--b.fw.mesos.", "weirdname.fw.mesos.", strings.Repeat("n", 63) + ".fw.mesos."} {
		if z.Lookup(name) == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if z.Skipped["empty task label"] != 1 || z.Skipped["unusable task label"] == 0 || z.Skipped["unusable name"] != 6 {
		t.Errorf("skipped: %v", z.Skipped)
	}
}

// Ten thousand agents share one name.
func TestLargeSets(t *testing.T) {
	var snap names.Snapshot
	for i := range 10_000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		snap.Agents = append(snap.Agents, names.Agent{ID: names.AgentID(fmt.Sprint("A-S", i)), PID: names.Endpoint{Host: a.String(), Port: 5051}})
		snap.Agents = append(snap.Agents, names.Agent{ID: names.AgentID(fmt.Sprint("B-S", i)), PID: names.Endpoint{Host: a.String(), Port: 5051}})
	}
	s := names.NewState(rules())
	s.Reset(snap, epoch)
	n := s.Commit().Lookup("slave.mesos.")
	if len(n.V4()) != 10_000 {
		t.Errorf("%d addresses, want 10000 different ones", len(n.V4()))
	}
}

// cluster makes n tasks, ten per app, on a twentieth as many agents.
func cluster(n int) names.Snapshot {
	var snap names.Snapshot
	snap.Frameworks = []names.Framework{{ID: "F", Name: "marathon", Hostname: "10.0.0.1"}}
	agents := max(1, n/20)
	for i := range agents {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		snap.Agents = append(snap.Agents, names.Agent{ID: names.AgentID(fmt.Sprint("A-S", i)), PID: names.Endpoint{Host: a.String(), Port: 5051}})
	}
	for i := range n {
		snap.Tasks = append(snap.Tasks, names.Task{
			ID: names.TaskID(fmt.Sprint("prod_web.instance-", i)), Framework: "F", Agent: names.AgentID(fmt.Sprint("A-S", i%agents)),
			Name: fmt.Sprintf("web%d.prod", i/10), Discovery: fmt.Sprintf("web%d.prod", i/10), State: names.Running,
			Ports: []names.Range{{First: 31000, Last: 31000}}, DiscoveryPorts: []names.Port{{Number: 31000, Name: "http", Protocol: "tcp"}},
		})
	}
	return snap
}

// The first zone of a cluster, and the memory that view and zone take together.
func BenchmarkReset(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			snap := cluster(n)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var s *names.State
			var z *names.Zone
			for b.Loop() {
				s = names.NewState(rules())
				s.Reset(snap, epoch)
				z = s.Commit()
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
			runtime.KeepAlive(s)
			runtime.KeepAlive(z)
			runtime.KeepAlive(snap)
		})
	}
}

// A task ends and another one starts elsewhere, each with a zone of its own.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			snap := cluster(n)
			s := names.NewState(rules())
			s.Reset(snap, epoch)
			s.Commit()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				t := snap.Tasks[i%n]
				s.UpdateTask(names.Update{Framework: "F", Task: t.ID, State: "TASK_KILLED"})
				s.Commit()
				t.Agent = snap.Agents[i%len(snap.Agents)].ID
				s.PutTask(t)
				s.Commit()
			}
		})
	}
}

// Names of a thousand apps, asked again and again.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := names.NewState(rules())
			s.Reset(cluster(n), epoch)
			z := s.Commit()
			var asked [][]byte
			for i := range 1000 {
				asked = append(asked, fmt.Appendf(nil, "web%d-prod.marathon.mesos.", i*7919%(n/10)))
			}
			for i := 0; b.Loop(); i++ {
				if len(z.LookupBytes(asked[i%len(asked)]).V4()) == 0 {
					b.Fatal("not found")
				}
			}
		})
	}
}
