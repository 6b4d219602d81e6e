package names_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/dns/names"
)

func TestUnusableNames(t *testing.T) {
	s := names.NewState()
	s.Reset(one(
		names.Task{ID: "1", Name: "???"},
		names.Task{ID: "2", Name: "x", Discovery: "a..b"},
		names.Task{ID: "3", Name: "x", Discovery: "we ird\\name"},
		names.Task{ID: "4", Name: "x", Discovery: strings.Repeat("l", 64) + ".c"},
		names.Task{ID: "5", Name: "x", Discovery: strings.Repeat("l.", 130)},
		names.Task{ID: "6", Name: strings.Repeat("n", 63)}, // no room for the unique label
	), epoch)
	z := s.Build(rules())
	for name := range z.Nodes {
		if len(name) > 254 {
			t.Errorf("too long: %s", name)
		}
		for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
			if label == "" || len(label) > 63 || strings.ContainsAny(label, ` \"`) {
				t.Errorf("unusable: %q", name)
			}
		}
	}
	for _, name := range []string{"a--b.fw.mesos.", "weirdname.fw.mesos."} {
		if z.Nodes[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if z.Skipped["empty task label"] != 1 || z.Skipped["unusable task label"] == 0 {
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
	s := names.NewState()
	s.Reset(snap, epoch)
	n := s.Build(rules()).Nodes["slave.mesos."]
	if len(n.A) != 10_000 {
		t.Errorf("%d addresses, want 10000 different ones", len(n.A))
	}
}

// A cluster of 50,000 tasks on 2,000 agents.
func BenchmarkBuild(b *testing.B) {
	var snap names.Snapshot
	snap.Frameworks = []names.Framework{{ID: "F", Name: "marathon", Hostname: "10.0.0.1"}}
	for i := range 2000 {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		snap.Agents = append(snap.Agents, names.Agent{ID: names.AgentID(fmt.Sprint("A-S", i)), PID: names.Endpoint{Host: a.String(), Port: 5051}})
	}
	for i := range 50_000 {
		snap.Tasks = append(snap.Tasks, names.Task{
			ID: names.TaskID(fmt.Sprint("prod_web.instance-", i)), Framework: "F", Agent: names.AgentID(fmt.Sprint("A-S", i%2000)),
			Name: fmt.Sprintf("web%d.prod", i/10), Discovery: fmt.Sprintf("web%d.prod", i/10), State: names.Running,
			Ports: []names.Range{{First: 31000, Last: 31000}}, DiscoveryPorts: []names.Port{{Number: 31000, Name: "http", Protocol: "tcp"}},
		})
	}
	s := names.NewState()
	s.Reset(snap, epoch)
	b.ReportAllocs()
	for b.Loop() {
		s.Build(rules())
	}
}
