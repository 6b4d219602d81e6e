package match

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func offer(id string, cpus, mem int64, attrs ...Attribute) *Offer {
	return &Offer{ID: id, AgentID: "S-" + id, Hostname: "h-" + id, Role: "*", Attributes: attrs,
		Resources: []Resource{
			{Name: "cpus", Role: "*", Milli: cpus}, {Name: "mem", Role: "*", Milli: mem},
			{Name: "disk", Role: "*", Milli: 1_000_000},
			{Name: "ports", Role: "*", Ranges: []Range{{31000, 31004}, {31010, 31010}}},
		}}
}

func spec(want int) *Spec {
	return &Spec{Role: "*", Accept: []string{"*"}, Cpus: 1000, Mem: 128_000, Want: want}
}

func rules() Rules {
	r := rand.New(rand.NewPCG(1, 2))
	return Rules{Now: time.Unix(1000, 0), Rand: r.Uint64}
}

func TestConformance_6_9_RejectReasons(t *testing.T) {
	big := offer("a", 4000, 1_000_000)
	for _, c := range []struct {
		name   string
		spec   func(*Spec)
		offer  func(*Offer)
		reason Reason
	}{
		{"role", func(s *Spec) { s.Role = "dev" }, nil, UnfulfilledRole},
		{"constraint", func(s *Spec) { s.Constraints = []Constraint{must("hostname", "LIKE", "other")} }, nil, UnfulfilledConstraint},
		{"maintenance", nil, func(o *Offer) { o.Unavailable = time.Unix(900, 0) }, AgentMaintenance},
		{"cpus", func(s *Spec) { s.Cpus = 4001 }, nil, InsufficientCpus},
		{"cpus of a role not accepted", nil, func(o *Offer) { o.Resources[0].Role = "dev" }, InsufficientCpus},
		{"what is reserved for an instance is not taken", nil, func(o *Offer) { o.Resources[0].Reservation = reserved("F", "x") }, InsufficientCpus},
		{"a reservation needs unreserved resources", func(s *Spec) { s.Reserve = true }, func(o *Offer) { o.Resources[0].Reservation = &Reservation{} }, InsufficientCpus},
		{"nothing of an accepted role", func(s *Spec) { s.Accept = []string{"dev"} }, nil, UnfulfilledRole},
		{"another region", nil, func(o *Offer) { o.Region = "far" }, UnfulfilledConstraint},
		{"gpus kept for who needs them", nil, func(o *Offer) {
			o.Resources = append(o.Resources, Resource{Name: "gpus", Role: "*", Milli: 1000})
		}, DeclinedScarceResources},
		{"mem", func(s *Spec) { s.Mem = 1_000_001 }, nil, InsufficientMemory},
		{"disk", func(s *Spec) { s.Disk = 1_000_001 }, nil, InsufficientDisk},
		{"disk with a source", func(s *Spec) { s.Disk = 1 }, func(o *Offer) { o.Resources[2].Disk = &Disk{Source: PathDisk, Root: "/d"} }, InsufficientDisk},
		{"gpus", func(s *Spec) { s.Gpus = 1000 }, nil, InsufficientGpus},
		{"ports", func(s *Spec) { s.Ports = make([]Port, 7) }, nil, InsufficientPorts},
		{"fixed port", func(s *Spec) { s.Ports = []Port{{Number: 31005}} }, nil, InsufficientPorts},
		{"fixed port twice", func(s *Spec) { s.Ports = []Port{{Number: 31000}, {Number: 31000}} }, nil, InsufficientPorts},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, o := spec(1), *big
			o.Resources = slices.Clone(big.Resources)
			if c.spec != nil {
				c.spec(s)
			}
			if c.offer != nil {
				c.offer(&o)
			}
			r := rules()
			r.HomeRegion, r.KeepGPUs = "home", true
			got := Match(r, []*Spec{s}, []*Offer{&o})
			if len(got.Launches) != 0 || got.Seen[0].Refused[c.reason] != 1 || got.Seen[0].Offers != 1 {
				t.Errorf("got %+v, want one refusal for %s", got, c.reason)
			}
		})
	}
}

func must(field, op, value string) Constraint {
	c, err := ParseConstraint(field, op, value)
	if err != nil {
		panic(err)
	}
	return c
}

func TestConformance_6_1_MatchingOrder(t *testing.T) {
	rack := func(v string) Attribute { return Attribute{Name: "rack", Value: v} }
	for _, c := range []struct {
		name   string
		spec   *Spec
		placed []Place
		offers []*Offer
		want   []int // offers launched on, in order
	}{
		{"spread before piling up", spec(4), nil, []*Offer{offer("a", 4000, 1e6), offer("b", 4000, 1e6)}, []int{0, 1, 0, 1}},
		{"at most five on one offer", spec(9), nil, []*Offer{offer("a", 90000, 1e9)}, []int{0, 0, 0, 0, 0}},
		{"several blocks add up", &Spec{Role: "dev", Accept: []string{"*", "dev"}, Cpus: 3000, Want: 1}, nil, []*Offer{{ID: "a", Role: "dev",
			Resources: []Resource{{Name: "cpus", Role: "dev", Milli: 2000}, {Name: "cpus", Role: "*", Milli: 2000}}}}, []int{0}},
		{"UNIQUE", constrained(3, "hostname", "UNIQUE", ""), nil, []*Offer{offer("a", 9000, 1e6), offer("b", 9000, 1e6)}, []int{0, 1}},
		{"UNIQUE counts who is there", constrained(3, "hostname", "unique", ""), []Place{{Hostname: "h-a"}}, []*Offer{offer("a", 9000, 1e6), offer("b", 9000, 1e6)}, []int{1}},
		{"CLUSTER with a value", constrained(1, "rack", "CLUSTER", "r2"), nil, []*Offer{offer("a", 9000, 1e6, rack("r1")), offer("b", 9000, 1e6, rack("r2"))}, []int{1}},
		{"CLUSTER with the first", constrained(2, "rack", "CLUSTER", ""), nil, []*Offer{offer("a", 1000, 1e6, rack("r1")), offer("b", 9000, 1e6, rack("r2"))}, []int{0}},
		{"GROUP_BY", constrained(3, "rack", "GROUP_BY", "2"), []Place{{Attributes: []Attribute{rack("r1")}}},
			[]*Offer{offer("a", 9000, 1e6, rack("r1")), offer("b", 9000, 1e6, rack("r2"))}, []int{1, 0, 1}},
		{"GROUP_BY waits for another value", constrained(2, "rack", "GROUP_BY", "2"), []Place{{Attributes: []Attribute{rack("r1")}}},
			[]*Offer{offer("a", 9000, 1e6, rack("r1"))}, nil},
		{"MAX_PER", constrained(9, "rack", "MAX_PER", "2"), nil, []*Offer{offer("a", 9000, 1e6, rack("r1")), offer("b", 9000, 1e6, rack("r1"))}, []int{0, 1}},
		{"UNLIKE takes what lacks the attribute", constrained(1, "rack", "UNLIKE", "r.*"), nil, []*Offer{offer("a", 9000, 1e6, rack("r1")), offer("b", 9000, 1e6)}, []int{1}},
		{"LIKE matches the whole value", constrained(2, "rack", "LIKE", "r1"), nil, []*Offer{offer("a", 9000, 1e6, rack("r11")), offer("b", 1000, 1e6, rack("r1"))}, []int{1}},
		{"IS compares numbers", constrained(1, "cores", "IS", "4.0"), nil, []*Offer{offer("a", 9000, 1e6, Attribute{Name: "cores", Kind: ScalarAttribute, Value: "4"})}, []int{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range c.placed {
				c.spec.Placed(p)
			}
			var got []int
			for _, l := range Match(rules(), []*Spec{c.spec}, c.offers).Launches {
				got = append(got, l.Offer)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("launched on %v, want %v", got, c.want)
			}
		})
	}
}

func constrained(want int, field, op, value string) *Spec {
	s := spec(want)
	s.Constraints = []Constraint{must(field, op, value)}
	return s
}

func TestBadConstraints(t *testing.T) {
	for _, c := range [][3]string{{"h", "NEAR", ""}, {"h", "LIKE", ""}, {"h", "LIKE", "("}, {"h", "MAX_PER", "x"}, {"h", "GROUP_BY", "x"}} {
		if _, err := ParseConstraint(c[0], c[1], c[2]); err == nil {
			t.Errorf("%v accepted", c)
		}
	}
}

func TestSummaryIsAFunnel(t *testing.T) {
	s := Summary{Offers: 10}
	s.Refused[UnfulfilledRole], s.Refused[InsufficientCpus] = 3, 2
	for r, want := range map[Reason]int{UnfulfilledRole: 10, UnfulfilledConstraint: 7, InsufficientCpus: 7, InsufficientMemory: 5} {
		if got := s.Processed(r); got != want {
			t.Errorf("%s: processed %d, want %d", r, got, want)
		}
	}
}

// TestLaws checks on random input that nothing is taken that was not offered, nothing
// twice, and that every launch has all it asked for.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var offers []*Offer
		for i := range rapid.IntRange(1, 5).Draw(t, "offers") {
			o := offer(fmt.Sprint(i), rapid.Int64Range(0, 5000).Draw(t, "cpus"), rapid.Int64Range(0, 900_000).Draw(t, "mem"))
			if rapid.Bool().Draw(t, "two blocks") {
				o.Resources = append(o.Resources, Resource{Name: "cpus", Role: "dev", Milli: 700})
			}
			offers = append(offers, o)
		}
		var specs []*Spec
		for range rapid.IntRange(1, 4).Draw(t, "specs") {
			s := spec(rapid.IntRange(0, 7).Draw(t, "want"))
			s.Cpus = rapid.Int64Range(0, 2000).Draw(t, "need")
			s.Accept = rapid.SampledFrom([][]string{{"*"}, {"*", "dev"}, {"dev"}}).Draw(t, "accept")
			for range rapid.IntRange(0, 3).Draw(t, "ports") {
				s.Ports = append(s.Ports, rapid.SampledFrom([]Port{{}, {None: true}, {Number: 31002}, {Number: 9}}).Draw(t, "port"))
			}
			if rapid.Bool().Draw(t, "unique") {
				s.Constraints = []Constraint{must("hostname", "UNIQUE", "")}
			}
			specs = append(specs, s)
		}
		r := rules()
		seed := rapid.Uint64().Draw(t, "seed")
		r.Rand = func() uint64 { seed++; return seed }
		got := Match(r, specs, offers)

		launched := make([]int, len(specs))
		perOffer := make([]int, len(offers))
		ports := map[string]bool{}
		scalars := map[string]int64{}
		hosts := map[string]bool{}
		for _, l := range got.Launches {
			s := specs[l.Spec]
			launched[l.Spec]++
			perOffer[l.Offer]++
			var cpus int64
			have := map[uint32]bool{}
			for _, b := range l.Resources {
				if !s.accepts(b.Role) {
					t.Fatalf("took role %s, accepted are %v", b.Role, s.Accept)
				}
				if b.Name == "cpus" {
					cpus += b.Milli
				}
				scalars[fmt.Sprint(l.Offer, b.Name, b.Role)] += b.Milli
				for _, g := range b.Ranges {
					for p := g.Begin; p <= g.End; p++ {
						key := fmt.Sprint(l.Offer, ":", p)
						if ports[key] {
							t.Fatalf("port %s taken twice", key)
						}
						ports[key], have[p] = true, true
					}
				}
			}
			if cpus != s.Cpus {
				t.Fatalf("got %d cpus, asked for %d", cpus, s.Cpus)
			}
			for i, p := range s.Ports {
				switch {
				case p.None && l.HostPorts[i] != 0, p.Number != 0 && l.HostPorts[i] != p.Number:
					t.Fatalf("port %d is %d, asked for %+v", i, l.HostPorts[i], p)
				case !p.None && !have[l.HostPorts[i]]:
					t.Fatalf("port %d given and not taken", l.HostPorts[i])
				}
			}
			if len(s.Constraints) > 0 {
				key := fmt.Sprint(l.Spec, offers[l.Offer].Hostname)
				if hosts[key] {
					t.Fatalf("UNIQUE broken on %s", key)
				}
				hosts[key] = true
			}
		}
		for i, s := range specs {
			if launched[i] > s.Want {
				t.Fatalf("spec %d: %d launched, %d wanted", i, launched[i], s.Want)
			}
		}
		for i, o := range offers {
			if perOffer[i] > 5 {
				t.Fatalf("%d on offer %d", perOffer[i], i)
			}
			for _, b := range o.Resources {
				if took := scalars[fmt.Sprint(i, b.Name, b.Role)]; b.Ranges == nil && took > b.Milli {
					t.Fatalf("offer %d: %d of %d %s taken", i, took, b.Milli, b.Name)
				}
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, agents := range []int{1_000, 10_000} {
		for name, c := range map[string][]Constraint{
			"plain": nil, "UNIQUE": {must("hostname", "UNIQUE", "")}, "GROUP_BY": {must("rack", "GROUP_BY", "20")}, "LIKE": {must("rack", "LIKE", "r1.*")},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, agents), func(b *testing.B) {
				offers := make([]*Offer, agents)
				for i := range offers {
					offers[i] = offer(fmt.Sprint(i), 8000, 1e7, Attribute{Name: "rack", Value: fmt.Sprintf("r%d", i%20)})
				}
				placed := 0
				for b.Loop() {
					s := spec(agents / 2)
					s.Ports = []Port{{}}
					s.Constraints = c
					placed += len(Match(rules(), []*Spec{s}, offers).Launches)
				}
				b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "placed/s")
			})
		}
	}
}
