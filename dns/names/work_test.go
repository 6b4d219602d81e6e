package names

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// clusterOf makes n tasks, three per app, on a twentieth as many agents.
func clusterOf(n int) Snapshot {
	snap := Snapshot{Frameworks: []Framework{{ID: "F", Name: "marathon", Hostname: "10.0.0.1"}}}
	agents := max(4, n/20)
	for i := range agents {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		snap.Agents = append(snap.Agents, Agent{ID: AgentID(fmt.Sprint("A-S", i)), PID: Endpoint{a.String(), 5051}})
	}
	for i := range n {
		name, port := fmt.Sprintf("web%d", i/3), uint16(31000+i%1000)
		snap.Tasks = append(snap.Tasks, Task{
			ID: TaskID(fmt.Sprintf("%s.instance-%08d-0000-0000-0000-000000000000._app.1", name, i)), Framework: "F",
			Agent: AgentID(fmt.Sprint("A-S", i%agents)), Name: name, Discovery: name, State: Running,
			DiscoveryPorts: []Port{{port, "http", "tcp"}}, Ports: []Range{{port, port}},
		})
	}
	return snap
}

// A moved task costs the same work whatever the size of the cluster: in thirty times as
// many tasks about as many branches are made, pieces of memory taken and octets written.
// (Time is not looked at: larger memory is slower memory.)
func TestChangeWorkIsIndependentOfSize(t *testing.T) {
	type work struct{ branches, pieces, octets float64 }
	perMove := func(n int) work {
		s := NewState(Rules{Domain: "mesos", Sources: []Source{SourceNetInfo, SourceHost}, Filter: FilterSoft})
		snap := clusterOf(n)
		s.Reset(snap, time.Unix(0, 0))
		s.Commit()
		const moves = 500
		var before, after runtime.MemStats
		made := s.nodes.made + s.tasks.made
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
		return work{
			float64(s.nodes.made+s.tasks.made-made) / moves,
			float64(after.Mallocs-before.Mallocs) / moves, float64(after.TotalAlloc-before.TotalAlloc) / moves,
		}
	}
	small, large := perMove(1_000), perMove(30_000)
	t.Logf("per move in 1,000 tasks: %+v, in 30,000: %+v", small, large)
	// One or two more levels of the trie on each of a few paths is what thirtyfold may cost.
	if large.branches > 1.5*small.branches || large.pieces > 1.3*small.pieces || large.octets > 1.7*small.octets {
		t.Errorf("per move in 1,000 tasks: %+v, in 30,000: %+v", small, large)
	}
}
