package names_test

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/dns/names"
)

var epoch = time.Unix(1_700_000_000, 0)

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func rules(sources ...names.Source) names.Rules {
	if len(sources) == 0 {
		sources = []names.Source{names.SourceNetInfo, names.SourceMesos, names.SourceHost}
	}
	return names.Rules{Domain: "mesos", Sources: sources}
}

// dump prints a zone, one line per record, sorted. Names without records end in "-".
func dump(z *names.Zone) []string {
	var out []string
	for n := range z.All() {
		name := n.Name()
		if n.Empty() {
			out = append(out, name+" -")
		}
		for _, a := range n.IPs() {
			kind := "A"
			if a.Is6() {
				kind = "AAAA"
			}
			out = append(out, fmt.Sprintf("%s %s %s", name, kind, a))
		}
		for _, s := range n.SRV() {
			out = append(out, fmt.Sprintf("%s SRV %s %d", name, s.Target, s.Port))
		}
	}
	sort.Strings(out)
	return out
}

func compare(t *testing.T, z *names.Zone, want string) {
	t.Helper()
	got := dump(z)
	wanted := strings.Split(strings.TrimSpace(want), "\n")
	for i := range wanted {
		wanted[i] = strings.TrimSpace(wanted[i])
	}
	sort.Strings(wanted)
	for _, l := range got {
		if !slices.Contains(wanted, l) {
			t.Errorf("unwanted: %s", l)
		}
	}
	for _, l := range wanted {
		if !slices.Contains(got, l) {
			t.Errorf("missing:  %s", l)
		}
	}
}

func TestTaskRecords(t *testing.T) {
	agent := names.Agent{ID: "C-S1", PID: names.Endpoint{Host: "10.0.0.1", Port: 5051}}
	const around = `
		mesos. -
		slave.mesos. A 10.0.0.1
		_slave._tcp.mesos. SRV slave.mesos. 5051
		_tcp.mesos. -
		`
	for _, c := range []struct {
		name, framework string
		task            names.Task
		want            string
	}{
		{
			"no DiscoveryInfo: T1 to T6", "Some FW",
			names.Task{ID: "test", Name: "My_App.v1", Ports: []names.Range{{First: 31000, Last: 31001}}, Addresses: names.Addresses{NetInfo: addrs("172.16.0.2", "fd00::2")}},
			`somefw.mesos. -
			slave.somefw.mesos. -` + "\n" + `
			_tcp.somefw.mesos. -
			_udp.somefw.mesos. -
			_tcp.somefw.slave.mesos. -
			_udp.somefw.slave.mesos. -
			somefw.slave.mesos. -
			my-app-v1.somefw.mesos. A 172.16.0.2
			my-app-v1.somefw.mesos. AAAA fd00::2
			my-app-v1-iffe9-s1.somefw.mesos. A 172.16.0.2
			my-app-v1-iffe9-s1.somefw.mesos. AAAA fd00::2
			my-app-v1.somefw.slave.mesos. A 10.0.0.1
			my-app-v1-iffe9-s1.somefw.slave.mesos. A 10.0.0.1
			_my-app-v1._tcp.somefw.mesos. SRV my-app-v1-iffe9-s1.somefw.slave.mesos. 31000
			_my-app-v1._tcp.somefw.mesos. SRV my-app-v1-iffe9-s1.somefw.slave.mesos. 31001
			_my-app-v1._udp.somefw.mesos. SRV my-app-v1-iffe9-s1.somefw.slave.mesos. 31000
			_my-app-v1._udp.somefw.mesos. SRV my-app-v1-iffe9-s1.somefw.slave.mesos. 31001
			_my-app-v1._tcp.somefw.slave.mesos. SRV my-app-v1-iffe9-s1.somefw.slave.mesos. 31000
			_my-app-v1._tcp.somefw.slave.mesos. SRV my-app-v1-iffe9-s1.somefw.slave.mesos. 31001
			_my-app-v1._udp.somefw.slave.mesos. SRV my-app-v1-iffe9-s1.somefw.slave.mesos. 31000
			_my-app-v1._udp.somefw.slave.mesos. SRV my-app-v1-iffe9-s1.somefw.slave.mesos. 31001`,
		},
		{
			"DiscoveryInfo: T7, T8, protocols, no T6", "fw",
			names.Task{
				ID: "plain.1", Name: "ignored", Discovery: "db", Ports: []names.Range{{First: 31005, Last: 31005}},
				DiscoveryPorts: []names.Port{{Number: 5432, Name: "PG", Protocol: "TCP"}, {Number: 53}, {Number: 80, Protocol: "tcp,udp"}},
			},
			`fw.mesos. -
			_tcp.fw.mesos. -
			_udp.fw.mesos. -
			_tcp.fw.slave.mesos. -
			_udp.fw.slave.mesos. -
			fw.slave.mesos. -
			db.fw.mesos. A 10.0.0.1
			db-khsdw-s1.fw.mesos. A 10.0.0.1
			db.fw.slave.mesos. A 10.0.0.1
			db-khsdw-s1.fw.slave.mesos. A 10.0.0.1
			_db._tcp.fw.slave.mesos. SRV db-khsdw-s1.fw.slave.mesos. 31005
			_db._udp.fw.slave.mesos. SRV db-khsdw-s1.fw.slave.mesos. 31005
			_db._tcp.fw.mesos. SRV db-khsdw-s1.fw.mesos. 5432
			_db._tcp.fw.mesos. SRV db-khsdw-s1.fw.mesos. 53
			_db._tcp.fw.mesos. SRV db-khsdw-s1.fw.mesos. 80
			_db._udp.fw.mesos. SRV db-khsdw-s1.fw.mesos. 53
			_db._udp.fw.mesos. SRV db-khsdw-s1.fw.mesos. 80
			_pg._db._tcp.fw.mesos. SRV db-khsdw-s1.fw.mesos. 5432`,
		},
		{
			"dotted names exist in both spellings, in lower case", "fw",
			names.Task{ID: "test", Name: "x", Discovery: "Web.prod", DiscoveryPorts: []names.Port{{Number: 80, Protocol: "tcp"}}},
			`fw.mesos. -
			_tcp.fw.mesos. -
			_tcp.prod.fw.mesos. -` + "\n" + `
			fw.slave.mesos. -
			prod.fw.mesos. -
			prod.fw.slave.mesos. -
			prod-iffe9-s1.fw.mesos. -
			web-prod.fw.mesos. A 10.0.0.1
			web-prod-iffe9-s1.fw.mesos. A 10.0.0.1
			web-prod.fw.slave.mesos. A 10.0.0.1
			web-prod-iffe9-s1.fw.slave.mesos. A 10.0.0.1
			_web-prod._tcp.fw.mesos. SRV web-prod-iffe9-s1.fw.mesos. 80
			web.prod.fw.mesos. A 10.0.0.1
			web.prod-iffe9-s1.fw.mesos. A 10.0.0.1
			web.prod.fw.slave.mesos. A 10.0.0.1
			web.prod-iffe9-s1.fw.slave.mesos. A 10.0.0.1
			_web.prod._tcp.fw.mesos. SRV web.prod-iffe9-s1.fw.mesos. 80`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.task.Framework, c.task.Agent, c.task.State = "F", "C-S1", names.Running
			s := names.NewState(rules())
			s.Reset(names.Snapshot{
				Frameworks: []names.Framework{{ID: "F", Name: c.framework}}, Agents: []names.Agent{agent}, Tasks: []names.Task{c.task},
			}, epoch)
			z := s.Commit()
			got := dump(z)
			for _, want := range strings.Split(c.want+around, "\n") {
				want = strings.TrimSpace(want)
				if want == "" || strings.HasSuffix(want, " -") {
					continue // empty names are checked as a set below
				}
				if !slices.Contains(got, want) {
					t.Errorf("missing:  %s", want)
				}
			}
			for _, line := range got {
				if strings.HasSuffix(line, " -") {
					continue
				}
				if !strings.Contains(c.want+around, line) {
					t.Errorf("unwanted: %s", line)
				}
			}
			for n := range z.All() { // every name above a name exists
				name := n.Name()
				for name != "mesos." {
					name = name[strings.IndexByte(name, '.')+1:]
					if z.Lookup(name) == nil {
						t.Fatalf("%s does not exist", name)
					}
				}
			}
		})
	}
}

func TestClusterRecords(t *testing.T) {
	r := rules()
	r.NameHost, r.NameAddrs = "ns1.mesos.", addrs("10.3.0.1")
	s := names.NewState(r)
	s.Reset(names.Snapshot{
		Frameworks: []names.Framework{
			{ID: "1", Name: "a..c", PID: names.Endpoint{Host: "10.1.0.1", Port: 9000}},
			{ID: "2", Name: "(@ host . com", Hostname: "sched.example.org"},
			{ID: "3", Name: "?!", Hostname: "10.1.0.3"},
		},
		Agents: []names.Agent{
			{ID: "A-S0", PID: names.Endpoint{Host: "10.0.0.1", Port: 5051}},
			{ID: "A-S1", PID: names.Endpoint{Host: "fd00::1", Port: 5052}},
			{ID: "A-S2", PID: names.Endpoint{Host: "nowhere.example.org", Port: 5051}},
		},
	}, epoch)
	s.SetMasters(names.Endpoint{Host: "10.2.0.9", Port: 5050}, []names.Endpoint{
		{Host: "10.2.0.1", Port: 5050}, {Host: "10.2.0.2", Port: 5050}, {Host: "10.2.0.1", Port: 5050},
	})
	unresolved := s.Unresolved()
	if asked, ok := unresolved["sched.example.org"]; !ok || asked || len(unresolved) != 2 {
		t.Errorf("unresolved: %v", unresolved)
	}
	s.SetHost("sched.example.org", addrs("10.1.0.2"))
	s.SetHost("nowhere.example.org", nil)
	z := s.Commit()
	compare(t, z, `
		mesos. -
		_tcp.mesos. -
		_udp.mesos. -
		com.mesos. -
		_tcp.a.c.mesos. -
		c.mesos. -
		leader.mesos. A 10.2.0.9
		_leader._tcp.mesos. SRV leader.mesos. 5050
		_leader._udp.mesos. SRV leader.mesos. 5050
		master.mesos. A 10.2.0.1
		master.mesos. A 10.2.0.2
		master.mesos. A 10.2.0.9
		master0.mesos. A 10.2.0.1
		master1.mesos. A 10.2.0.2
		master2.mesos. A 10.2.0.9
		_master._tcp.mesos. SRV master0.mesos. 5050
		_master._tcp.mesos. SRV master1.mesos. 5050
		_master._tcp.mesos. SRV master2.mesos. 5050
		_master._udp.mesos. SRV master0.mesos. 5050
		_master._udp.mesos. SRV master1.mesos. 5050
		_master._udp.mesos. SRV master2.mesos. 5050
		slave.mesos. A 10.0.0.1
		slave.mesos. AAAA fd00::1
		_slave._tcp.mesos. SRV slave.mesos. 5051
		_slave._tcp.mesos. SRV slave.mesos. 5052
		a.c.mesos. A 10.1.0.1
		_framework._tcp.a.c.mesos. SRV a.c.mesos. 9000
		host.com.mesos. A 10.1.0.2
		ns1.mesos. A 10.3.0.1`)
	if z.Skipped["empty framework label"] != 1 || z.Skipped["agent host not resolved"] != 1 {
		t.Errorf("skipped: %v", z.Skipped)
	}
}

func TestIPSources(t *testing.T) {
	host := addrs("10.0.0.1")
	all := names.Addresses{NetInfo: addrs("172.17.0.2", "fd00::2"), Mesos: addrs("10.5.0.1"), Docker: addrs("172.18.0.2")}
	named := all
	named.Network = "calico"
	bridge := all
	bridge.Network = "bridge"
	for _, c := range []struct {
		sources string
		have    names.Addresses
		want    []netip.Addr
	}{
		{"netinfo host", all, all.NetInfo},
		{"mesos host", all, all.Mesos},
		{"docker host", all, all.Docker},
		{"host netinfo", all, host},
		{"netinfo mesos host", names.Addresses{}, host},
		{"netinfo", names.Addresses{}, nil},
		{"auto", all, host},
		{"auto", bridge, host},
		{"auto", named, named.NetInfo},
	} {
		var sources []names.Source
		for _, w := range strings.Fields(c.sources) {
			sources = append(sources, names.Source(w))
		}
		s := names.NewState(rules(sources...))
		s.Reset(one(names.Task{Name: "t", Addresses: c.have}), epoch)
		z := s.Commit()
		var got []netip.Addr
		if n := z.Lookup("t.fw.mesos."); n != nil && !n.Empty() {
			got = n.IPs()
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s of %+v: %v, want %v", c.sources, c.have, got, c.want)
		}
		if z.Lookup("t.fw.slave.mesos.") == nil {
			t.Errorf("%s: the agent's record is missing", c.sources)
		}
	}
}

// one is a cluster of one framework, one agent and the given tasks, which run there.
func one(tasks ...names.Task) names.Snapshot {
	snap := names.Snapshot{
		Frameworks: []names.Framework{{ID: "F", Name: "fw"}},
		Agents:     []names.Agent{{ID: "A-S0", PID: names.Endpoint{Host: "10.0.0.1", Port: 5051}}},
	}
	for i, t := range tasks {
		if t.ID == "" {
			t.ID = names.TaskID(fmt.Sprint("t", i))
		}
		if t.State == "" {
			t.State = names.Running
		}
		t.Framework, t.Agent = "F", "A-S0"
		snap.Tasks = append(snap.Tasks, t)
	}
	return snap
}

func addrsOf(s *names.State, name string) string {
	n := s.Commit().Lookup(name)
	if n == nil {
		return "none"
	}
	ips := n.IPs()
	slices.SortFunc(ips, netip.Addr.Compare)
	return fmt.Sprint(ips)
}

func TestTasksComeAndGo(t *testing.T) {
	s := names.NewState(rules())
	if s.Loaded() {
		t.Error("loaded before a snapshot")
	}
	s.Reset(one(names.Task{ID: "1", Name: "a", State: "TASK_STAGING"}), epoch)
	step := func(what, want string) {
		t.Helper()
		if got := addrsOf(s, "a.fw.mesos."); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	run := func(stamp float64, h names.Health, ip ...string) *names.Status {
		return &names.Status{Stamp: stamp, Health: h, Addresses: names.Addresses{NetInfo: addrs(ip...)}}
	}
	step("staging", "none")
	s.UpdateTask(names.Update{Framework: "F", Task: "1", State: names.Running, Running: run(1, 0, "172.16.0.1")})
	step("running", "[172.16.0.1]")
	s.UpdateTask(names.Update{Framework: "F", Task: "1", State: names.Running, Running: run(2, names.Healthy)})
	step("a status without network information", "[172.16.0.1]")
	s.UpdateTask(names.Update{Framework: "F", Task: "1", State: names.Running, Running: run(1.5, 0, "172.16.0.9")})
	step("an older status", "[172.16.0.1]")
	s.UpdateTask(names.Update{Framework: "F", Task: "1", State: "TASK_UNREACHABLE"})
	step("unreachable", "none")
	s.UpdateTask(names.Update{Framework: "F", Task: "1", State: names.Running})
	step("reachable again", "[172.16.0.1]")
	s.UpdateTask(names.Update{Framework: "F", Task: "1", State: "TASK_KILLING"})
	step("killing", "none")
	s.UpdateTask(names.Update{Framework: "F", Task: "1", State: "TASK_KILLED"})
	s.UpdateTask(names.Update{Framework: "F", Task: "1", State: names.Running})
	step("killed for good", "none")
	s.PutTask(names.Task{ID: "2", Framework: "F", Agent: "A-S1", Name: "a", State: names.Running})
	step("agent not known yet", "none")
	s.PutAgent(names.Agent{ID: "A-S1", PID: names.Endpoint{Host: "10.0.0.2", Port: 5051}})
	step("agent known", "[10.0.0.2]")
	s.RemoveAgent("A-S1")
	step("agent removed", "none")
	s.PutTask(names.Task{ID: "3", Framework: "G", Agent: "A-S0", Name: "a", State: names.Running})
	step("another framework's", "none")
	s.PutFramework(names.Framework{ID: "G", Name: "fw"})
	step("two frameworks of one name share records", "[10.0.0.1]")
	s.RemoveFramework("G")
	step("framework removed", "none")
}

func TestHealthFilter(t *testing.T) {
	snap := one(
		names.Task{ID: "good", Name: "a", Health: names.Healthy, Addresses: names.Addresses{NetInfo: addrs("10.1.0.1")}},
		names.Task{ID: "bad", Name: "a", Health: names.Unhealthy, Addresses: names.Addresses{NetInfo: addrs("10.1.0.2")}},
		names.Task{ID: "lone", Name: "b", Health: names.Unhealthy, Addresses: names.Addresses{NetInfo: addrs("10.1.0.3")}},
	)
	for filter, want := range map[names.Filter][2]string{
		names.FilterOff:    {"[10.1.0.1 10.1.0.2]", "[10.1.0.3]"},
		names.FilterSoft:   {"[10.1.0.1]", "[10.1.0.3]"},
		names.FilterStrict: {"[10.1.0.1]", "none"},
	} {
		r := rules()
		r.Filter = filter
		s := names.NewState(r)
		s.Reset(snap, epoch)
		if a, b := addrsOf(s, "a.fw.mesos."), addrsOf(s, "b.fw.mesos."); a != want[0] || b != want[1] {
			t.Errorf("filter %d: %s and %s, want %s", filter, a, b, want)
		}
	}
}

func TestFailoverHolds(t *testing.T) {
	before := one(names.Task{ID: "1", Name: "a"})
	for _, c := range []struct {
		name      string
		recovered []names.AgentID
		held      time.Duration
	}{
		{"unknown to the new master", nil, 10 * time.Second},
		{"awaited by the new master", []names.AgentID{"A-S0"}, 10 * time.Minute},
	} {
		s := names.NewState(rules())
		s.Reset(before, epoch)
		s.Reset(names.Snapshot{Recovered: c.recovered}, epoch)
		s.Reset(names.Snapshot{Recovered: c.recovered}, epoch.Add(time.Second)) // a second failover does not prolong it
		if changed, next := s.Expire(epoch.Add(c.held - time.Nanosecond)); changed || !next.Equal(epoch.Add(c.held)) {
			t.Errorf("%s: changed=%v next=%v", c.name, changed, next.Sub(epoch))
		}
		if got := addrsOf(s, "a.fw.mesos."); got != "[10.0.0.1]" {
			t.Errorf("%s: %s", c.name, got)
		}
		if changed, next := s.Expire(epoch.Add(c.held)); !changed || !next.IsZero() {
			t.Errorf("%s: at the end changed=%v next=%v", c.name, changed, next)
		}
		if got := addrsOf(s, "a.fw.mesos."); got != "none" {
			t.Errorf("%s: %s at the end", c.name, got)
		}
	}
	// A snapshot that has the agent is the truth about its tasks.
	s := names.NewState(rules())
	s.Reset(before, epoch)
	s.Reset(one(), epoch)
	if got := addrsOf(s, "a.fw.mesos."); got != "none" {
		t.Errorf("a task that ended meanwhile: %s", got)
	}
}

func TestEnumerate(t *testing.T) {
	s := names.NewState(rules())
	snap := one(names.Task{ID: "1", Name: "a"}, names.Task{ID: "2", Name: "a"}, names.Task{ID: "3", Name: "a", State: "TASK_STAGING"})
	snap.Frameworks = append(snap.Frameworks, names.Framework{ID: "Z", Name: "Idle FW"})
	s.Reset(snap, epoch)
	enum := s.Commit().Enumerate()
	if len(enum) != 2 || enum[1].Name != "Idle FW" || enum[1].Tasks == nil || len(enum[0].Tasks) != 2 {
		t.Fatalf("%+v", enum)
	}
	first, second := enum[0].Tasks[0], enum[0].Tasks[1]
	if first.ID != "1" || len(first.Records) != 4 || len(second.Records) != 2 { // the second shares two values with the first
		t.Errorf("%+v\n%+v", first, second)
	}
}
