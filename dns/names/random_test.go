package names_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/dns/names"
)

// random makes up a cluster's life from few names, so that much collides.
type random struct{ *rand.Rand }

func (r random) pick(list ...string) string { return list[r.IntN(len(list))] }

func (r random) ips() []netip.Addr {
	var out []netip.Addr
	for range r.IntN(3) {
		if r.IntN(4) == 0 {
			out = append(out, netip.MustParseAddr(fmt.Sprintf("fd00::%d", r.IntN(4))))
		} else {
			out = append(out, netip.AddrFrom4([4]byte{172, 16, 0, byte(r.IntN(4))}))
		}
	}
	return out
}

func (r random) agent() names.Agent {
	i := r.IntN(4)
	return names.Agent{ID: names.AgentID(fmt.Sprint("A-S", i)), PID: names.Endpoint{
		Host: r.pick(fmt.Sprint("10.0.0.", i), fmt.Sprint("10.0.0.", i), "10.0.0.9", "fd00::7", "host.example.org"), Port: uint16(5051 + r.IntN(2)),
	}}
}

func (r random) framework() names.Framework {
	return names.Framework{
		ID: names.FrameworkID(r.pick("F", "G")), Name: r.pick("fw", "fw", "a.fw", "?"),
		Hostname: r.pick("10.1.0.1", "sched.example.org"), PID: names.Endpoint{Host: r.pick("", "10.1.0.2"), Port: uint16(r.IntN(2))},
	}
}

func (r random) task() names.Task {
	t := names.Task{
		ID: names.TaskID(fmt.Sprint("t", r.IntN(12))), Framework: names.FrameworkID(r.pick("F", "G")), Agent: names.AgentID(fmt.Sprint("A-S", r.IntN(5))),
		Name: r.pick("web", "web", "db.prod", "???", "Web"), Discovery: r.pick("", "", "web", "web.prod", "a..b", "x y"),
		State: r.pick(names.Running, names.Running, "TASK_STAGING", "TASK_KILLING"), Health: names.Health(r.IntN(3)),
		Addresses: names.Addresses{NetInfo: r.ips(), Network: r.pick("", "bridge", "calico")}, Stamp: float64(r.IntN(5)),
	}
	for range r.IntN(3) {
		t.Ports = append(t.Ports, names.Range{First: 31000, Last: uint16(31000 + r.IntN(3))})
		t.DiscoveryPorts = append(t.DiscoveryPorts, names.Port{Number: uint16(r.IntN(3)), Name: r.pick("", "http", "Ht tp"), Protocol: r.pick("", "tcp", "tcp,udp", "UDP")})
	}
	return t
}

func (r random) snapshot() names.Snapshot {
	var s names.Snapshot
	seen := map[string]bool{}
	for range r.IntN(4) {
		if f := r.framework(); !seen[string(f.ID)] {
			seen[string(f.ID)] = true
			s.Frameworks = append(s.Frameworks, f)
		}
	}
	for range r.IntN(5) {
		if a := r.agent(); !seen[string(a.ID)] {
			seen[string(a.ID)] = true
			s.Agents = append(s.Agents, a)
		} else {
			s.Recovered = append(s.Recovered, "A-S3")
		}
	}
	for range r.IntN(12) {
		if t := r.task(); !seen[string(t.Framework)+string(t.ID)] {
			seen[string(t.Framework)+string(t.ID)] = true
			s.Tasks = append(s.Tasks, t)
		}
	}
	return s
}

// After any life the zone is the one that the same view gives at once, zones handed out
// before are as they were, and what enumerate lists is in the zone.
func TestSeedChangesAddUp(t *testing.T) {
	hosts := map[string][]netip.Addr{}
	usual := names.KeepPages(4) // in half of the runs
	defer names.KeepPages(usual)
	for seed := range uint64(300) {
		names.KeepPages([]int{4, usual}[seed%2])
		r := random{rand.New(rand.NewPCG(seed, 0))}
		clear(hosts)
		ru := rules([][]names.Source{{names.SourceNetInfo, names.SourceHost}, {names.SourceAuto}}[r.IntN(2)]...)
		ru.Filter = names.Filter(r.IntN(3))
		s := names.NewState(ru)
		now := epoch
		var leader names.Endpoint
		var masters []names.Endpoint
		var kept *names.Zone
		var keptDump []string
		s.Reset(r.snapshot(), now)
		for step := range 60 {
			switch r.IntN(10) {
			case 0:
				if r.IntN(4) == 0 {
					s.Reset(r.snapshot(), now)
				}
			case 1:
				s.PutAgent(r.agent())
			case 2:
				s.RemoveAgent(names.AgentID(fmt.Sprint("A-S", r.IntN(4))))
			case 3:
				s.PutFramework(r.framework())
			case 4:
				if r.IntN(5) == 0 {
					s.RemoveFramework(names.FrameworkID(r.pick("F", "G")))
				}
			case 5:
				leader = names.Endpoint{Host: r.pick("", "10.2.0.1", "10.2.0.2", "host.example.org"), Port: 5050}
				masters = []names.Endpoint{{Host: "10.2.0.2", Port: 5050}, {Host: r.pick("10.2.0.1", "host.example.org"), Port: 5050}}
				s.SetMasters(leader, masters)
			case 6:
				for name := range s.Unresolved() {
					hosts[name] = r.ips()
					s.SetHost(name, hosts[name])
				}
			case 7:
				now = now.Add(time.Duration(r.IntN(10)) * time.Second)
				s.Expire(now)
			case 8:
				s.UpdateTask(names.Update{
					Framework: names.FrameworkID(r.pick("F", "G")), Task: names.TaskID(fmt.Sprint("t", r.IntN(12))),
					State:   r.pick(names.Running, "TASK_KILLED", "TASK_UNREACHABLE"),
					Running: &names.Status{Stamp: float64(r.IntN(9)), Health: names.Health(r.IntN(3)), Addresses: names.Addresses{NetInfo: r.ips()}},
				})
			default:
				s.PutTask(r.task())
			}
			z := s.Commit()
			got := dump(z)
			if r.IntN(8) == 0 {
				kept, keptDump = z, got
			}
			again := names.NewState(ru)
			again.SetMasters(leader, masters)
			again.Reset(s.Snapshot(), now)
			for name := range again.Unresolved() {
				if _, told := s.Unresolved()[name]; told && s.Unresolved()[name] {
					again.SetHost(name, hosts[name])
				}
			}
			fresh := again.Commit()
			if want := dump(fresh); !slices.Equal(got, want) || fresh.Counts != z.Counts || fmt.Sprint(fresh.Skipped) != fmt.Sprint(z.Skipped) {
				t.Fatalf("seed %d step %d: %+v %v\n%s\nwant %+v %v\n%s", seed, step, z.Counts, z.Skipped, strings.Join(got, "\n"), fresh.Counts, fresh.Skipped, strings.Join(want, "\n"))
			}
			for n := range z.All() {
				for _, v := range n.SRV() {
					if glue := v.Glue(); glue != nil {
						target := z.Lookup(v.Target)
						for i := range glue.V4().Len() {
							ip := glue.V4().At(i)
							if target == nil || !slices.Contains(target.V4(), ip) {
								t.Fatalf("seed %d: %s points to %s, which has no %v", seed, n.Name(), v.Target, ip)
							}
						}
					}
				}
			}
			for _, f := range z.Enumerate() {
				for _, task := range f.Tasks {
					for _, rec := range task.Records {
						if z.Lookup(rec.Name) == nil {
							t.Fatalf("seed %d: %s is listed and not in the zone", seed, rec.Name)
						}
					}
				}
			}
		}
		if kept != nil && !slices.Equal(dump(kept), keptDump) {
			t.Fatalf("seed %d: a zone changed after it was handed out", seed)
		}
	}
}

// Whatever a task is called, its names can be sent.
func FuzzTaskNames(f *testing.F) {
	f.Add("web.prod", "Web.prod", "fw", "http", "tcp,udp", "A-S0")
	f.Add("", "..", "a..b", "\x00", ",", "")
	f.Add(strings.Repeat("l.", 130), strings.Repeat("x", 64), strings.Repeat("n.", 90), "\\", "\xff", "S-\xffü")
	f.Fuzz(func(t *testing.T, name, discovery, framework, port, protocol, agent string) {
		s := names.NewState(rules())
		s.Reset(names.Snapshot{
			Frameworks: []names.Framework{{ID: "F", Name: framework, Hostname: "10.0.0.1"}},
			Agents:     []names.Agent{{ID: names.AgentID(agent), PID: names.Endpoint{Host: "10.0.0.1", Port: 5051}}},
			Tasks: []names.Task{{
				ID: "t", Framework: "F", Agent: names.AgentID(agent), Name: name, Discovery: discovery, State: names.Running,
				Ports: []names.Range{{First: 1, Last: 2}}, DiscoveryPorts: []names.Port{{Number: 80, Name: port, Protocol: protocol}},
			}},
		}, epoch)
		check := func(n string) {
			if len(n) > 254 || !strings.HasSuffix(n, ".mesos.") && n != "mesos." {
				t.Errorf("%q", n)
			}
			for label := range strings.SplitSeq(strings.TrimSuffix(n, "."), ".") {
				if label == "" || len(label) > 63 || strings.ToLower(label) != label || strings.ContainsFunc(label, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
					t.Errorf("%q has label %q", n, label)
				}
			}
		}
		for n := range s.Commit().All() {
			check(n.Name())
			for _, v := range n.SRV() {
				check(v.Target)
			}
		}
		s.Reset(names.Snapshot{}, epoch)
		s.Expire(epoch.Add(time.Hour))
		if z := s.Commit(); z.Len() != 1 {
			t.Errorf("%d names are left of nothing", z.Len())
		}
	})
}
