package match

import (
	"slices"
	"testing"
	"time"
)

// TestConformance_6_2_Operators asks for every operator whether an offer is taken, by the
// value of its attribute x and of those where instances are already.
func TestConformance_6_2_Operators(t *testing.T) {
	at := func(v string) Place { return Place{Hostname: "h-" + v, Attributes: []Attribute{{Name: "x", Value: v}}} }
	const none = "(none)"
	for _, c := range []struct {
		op, value string
		placed    []string
		offered   string
		taken     bool
	}{
		{"UNIQUE", "", nil, "a", true}, {"UNIQUE", "", []string{"a"}, "a", false}, {"UNIQUE", "", []string{"a"}, "b", true},
		{"CLUSTER", "a", nil, "a", true}, {"CLUSTER", "a", nil, "b", false}, {"CLUSTER", "", nil, "b", true}, {"CLUSTER", "", []string{"a", "b"}, "a", true}, {"CLUSTER", "", []string{"a"}, "b", false},
		{"GROUP_BY", "", nil, "a", true}, {"GROUP_BY", "", []string{"a"}, "a", true}, {"GROUP_BY", "", []string{"a", "b", "a"}, "a", false}, {"GROUP_BY", "", []string{"a", "b", "a"}, "b", true},
		{"GROUP_BY", "3", []string{"a", "b"}, "a", false}, {"GROUP_BY", "3", []string{"a", "b"}, "c", true}, {"GROUP_BY", "2", []string{"a", "b"}, "c", true},
		{"LIKE", "r.*", nil, "r1", true}, {"LIKE", "r", nil, "r1", false}, {"LIKE", "a|b", nil, "b", true}, {"LIKE", "a|bc", nil, "ac", false},
		{"UNLIKE", "r.*", nil, "r1", false}, {"UNLIKE", "r", nil, "r1", true},
		{"MAX_PER", "2", []string{"a"}, "a", true}, {"MAX_PER", "2", []string{"a", "a"}, "a", false}, {"MAX_PER", "2", []string{"a", "a"}, "b", true},
		{"IS", "a", nil, "a", true}, {"IS", "a", nil, "b", false}, {"IS", "4.0", nil, "4", true}, {"IS", "4.5000", nil, "4.5", true}, {"IS", "4.0001", nil, "4", true},
		// Without the attribute all refuse but UNLIKE.
		{"UNIQUE", "", nil, none, false}, {"CLUSTER", "", nil, none, false}, {"CLUSTER", "a", nil, none, false}, {"GROUP_BY", "", nil, none, false},
		{"LIKE", ".*", nil, none, false}, {"MAX_PER", "5", nil, none, false}, {"IS", "a", nil, none, false}, {"UNLIKE", ".*", nil, none, true},
		{"unique", "", []string{"a"}, "a", false}, {"Group_By", "", nil, "a", true}, // in any case
	} {
		s := constrained(1, "x", c.op, c.value)
		for _, v := range c.placed {
			s.Placed(at(v))
		}
		o := offer("o", 9000, 1e6)
		if c.offered != none {
			o.Attributes = at(c.offered).Attributes
		}
		if got := len(Match(rules(), []*Spec{s}, []*Offer{o}).Launches) == 1; got != c.taken {
			t.Errorf("%s %q with %v placed takes %s: %t", c.op, c.value, c.placed, c.offered, got)
		}
	}
}

// TestTrap31_UnlikeAcceptsAgentsWithoutTheAttribute is part of the table above; here with
// the reason that the others give.
func TestTrap31_UnlikeAcceptsAgentsWithoutTheAttribute(t *testing.T) {
	for op, value := range map[string]string{"UNIQUE": "", "CLUSTER": "", "GROUP_BY": "", "LIKE": ".*", "MAX_PER": "1", "IS": "a", "UNLIKE": "a"} {
		got := Match(rules(), []*Spec{constrained(1, "x", op, value)}, []*Offer{offer("o", 9000, 1e6)})
		if refused := got.Seen[0].Refused[UnfulfilledConstraint] == 1; refused == (op == "UNLIKE") {
			t.Errorf("%s refuses: %t", op, refused)
		}
	}
}

// TestTrap30_GroupByWithoutValue: the first one may be anywhere, the spread begins with
// the second.
func TestTrap30_GroupByWithoutValue(t *testing.T) {
	s := constrained(4, "hostname", "GROUP_BY", "")
	var got []int
	for _, l := range Match(rules(), []*Spec{s}, []*Offer{offer("a", 9000, 1e6), offer("b", 9000, 1e6)}).Launches {
		got = append(got, l.Offer)
	}
	if !slices.Equal(got, []int{0, 1, 0, 1}) {
		t.Errorf("placed on %v", got)
	}
}

func TestConformance_6_2_Fields(t *testing.T) {
	o := offer("a", 9000, 1e6, Attribute{Name: "n", Kind: ScalarAttribute, Value: FormatScalar(8.0)}, Attribute{Name: "p", Kind: RangesAttribute, Value: "[1-3,5-7]"},
		Attribute{Name: "s", Kind: SetAttribute, Value: "{a,b}"})
	o.Region, o.Zone = "eu", "eu-1"
	for field, value := range map[string]string{"hostname": "h-a", "@hostname": "h-a", "@region": "eu", "@zone": "eu-1", "n": "8", "p": "[1-3,5-7]", "s": "{a,b}"} {
		if got := Match(rules(), []*Spec{constrained(1, field, "CLUSTER", value)}, []*Offer{o}); len(got.Launches) != 1 {
			t.Errorf("%s is not %s", field, value)
		}
	}
	for v, want := range map[float64]string{8: "8", 1.5: "1.5", 0.0625: "0.062", 2.0004: "2"} {
		if got := FormatScalar(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

func TestConformance_6_2_SeveralConstraints(t *testing.T) {
	s := spec(5)
	s.Constraints = []Constraint{must("hostname", "UNIQUE", ""), must("rack", "LIKE", "r1")}
	r1, r2 := Attribute{Name: "rack", Value: "r1"}, Attribute{Name: "rack", Value: "r2"}
	got := Match(rules(), []*Spec{s}, []*Offer{offer("a", 9000, 1e6, r1), offer("b", 9000, 1e6, r2), offer("c", 9000, 1e6, r1)})
	if len(got.Launches) != 2 || got.Launches[0].Offer != 0 || got.Launches[1].Offer != 2 {
		t.Errorf("%+v", got.Launches)
	}
}

func TestConformance_6_3_Roles(t *testing.T) {
	block := func(role string, cpus int64) Resource { return Resource{Name: "cpus", Role: role, Milli: cpus} }
	for _, c := range []struct {
		name      string
		accept    []string
		blocks    []Resource
		role      string // of the offer
		took      []string
		whyNot    Reason
		unwelcome bool
	}{
		{"any", []string{"*", "dev"}, []Resource{block("*", 9000)}, "dev", []string{"*"}, 0, false},
		{"unreserved only", []string{"*"}, []Resource{block("dev", 9000), block("*", 9000)}, "dev", []string{"*"}, 0, false},
		{"reserved only", []string{"dev"}, []Resource{block("*", 9000), block("dev", 9000)}, "dev", []string{"dev"}, 0, false},
		{"in the order of the offer, added up", []string{"*", "dev"}, []Resource{block("dev", 600), block("*", 9000)}, "dev", []string{"dev", "*"}, 0, false},
		{"not enough that is accepted", []string{"dev"}, []Resource{block("*", 9000), block("dev", 600)}, "dev", nil, InsufficientCpus, true},
		{"offer to another role", []string{"*", "dev"}, []Resource{block("*", 9000)}, "ops", nil, UnfulfilledRole, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Match(rules(), []*Spec{{Role: "dev", Accept: c.accept, Cpus: 1000, Want: 1}}, []*Offer{{ID: "o", AgentID: "S", Role: c.role, Resources: c.blocks}})
			if c.unwelcome {
				if len(got.Launches) != 0 || got.Seen[0].Refused[c.whyNot] != 1 {
					t.Errorf("%+v", got)
				}
				return
			}
			var took []string
			for _, r := range got.Launches[0].Resources {
				took = append(took, r.Role)
			}
			if !slices.Equal(took, c.took) {
				t.Errorf("took of %v", took)
			}
		})
	}
}

func TestConformance_6_5_HostPorts(t *testing.T) {
	for _, c := range []struct {
		name  string
		ports []Port
		ok    bool
	}{
		{"as many random ones as definitions", []Port{{}, {}, {}}, true},
		{"exactly those", []Port{{Number: 31002}, {Number: 31010}}, true},
		{"fixed and random", []Port{{}, {Number: 31000}, {}}, true},
		{"none on the host", []Port{{None: true}}, true},
		{"not offered", []Port{{Number: 9}}, false},
		{"more than offered", make([]Port, 7), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(20) {
				s := spec(1)
				s.Ports = c.ports
				r := rules()
				r.Rand = func() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed }
				got := Match(r, []*Spec{s}, []*Offer{offer("a", 9000, 1e6)})
				if (len(got.Launches) == 1) != c.ok {
					t.Fatalf("%+v", got)
				}
				if !c.ok {
					continue
				}
				seen := map[uint32]bool{}
				for i, p := range got.Launches[0].HostPorts {
					want := c.ports[i]
					if want.None != (p == 0) || want.Number != 0 && p != want.Number || p != 0 && seen[p] || p != 0 && !(p >= 31000 && p <= 31004 || p == 31010) {
						t.Fatalf("ports %v for %+v", got.Launches[0].HostPorts, c.ports)
					}
					seen[p] = true
				}
			}
		})
	}
}

func TestConformance_6_10_Maintenance(t *testing.T) {
	for _, c := range []struct {
		name   string
		start  int64 // seconds; the time is 1000
		lasts  time.Duration
		before time.Duration // --draining_seconds
		off    bool          // --disable_maintenance_mode
		taken  bool
	}{
		{"later", 1001, 0, 0, false, true}, {"now", 1000, 0, 0, false, false}, {"over", 900, 50 * time.Second, 0, false, true},
		{"not over", 900, 200 * time.Second, 0, false, false}, {"soon", 1050, 0, 60 * time.Second, false, false}, {"ignored", 900, 0, 0, true, true},
	} {
		o := offer("a", 9000, 1e6)
		o.Unavailable, o.UnavailableFor = time.Unix(c.start, 0), c.lasts
		r := rules()
		r.Draining, r.IgnoreMaintenance = c.before, c.off
		got := Match(r, []*Spec{spec(1)}, []*Offer{o})
		if (len(got.Launches) == 1) != c.taken || (got.Seen[0].Refused[AgentMaintenance] == 1) == c.taken {
			t.Errorf("%s: %+v", c.name, got.Seen)
		}
	}
}
