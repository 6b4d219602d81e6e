package allocate_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// TestFiltersDropped: each way in which a filter ends before its time (3.4).
func TestFiltersDropped(t *testing.T) {
	rack := func(a ledger.AgentOpen, text string) ledger.AgentOpen {
		a.Attributes, _ = resource.ParseAttributes(text)
		return a
	}
	a := rack(agent(t, "a", "cpus:4"), "rack:1")
	two := ledger.FrameworkOpen{Framework: "f", Roles: []string{"x", "y"}}
	for name, c := range map[string]struct {
		effects []ledger.Effect
		want    []string
	}{
		"nothing":                  {nil, nil},
		"revive of the role":       {[]ledger.Effect{ledger.Revived{Framework: "f", Roles: []string{"x"}}}, []string{"f x a cpus:4"}},
		"revive of another role":   {[]ledger.Effect{ledger.Revived{Framework: "f", Roles: []string{"y"}}}, []string{"f y a cpus:4"}},
		"revive of all":            {[]ledger.Effect{ledger.Revived{Framework: "f"}}, []string{"f x a cpus:4"}},
		"disconnection":            {[]ledger.Effect{ledger.FrameworkClosed{Framework: "f"}, two}, []string{"f x a cpus:4"}},
		"update of the framework":  {[]ledger.Effect{two}, nil},
		"role removed and back":    {[]ledger.Effect{framework("f", "y"), two}, []string{"f x a cpus:4"}},
		"other attributes":         {[]ledger.Effect{rack(a, "rack:2")}, []string{"f x a cpus:4"}},
		"agent back as it was":     {[]ledger.Effect{ledger.AgentClosed{Agent: "a"}, a}, nil},
		"agent removed, new again": {[]ledger.Effect{ledger.AgentClosed{Agent: "a", Gone: true}, a}, []string{"f x a cpus:4"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, allocate.Config{}, a, two)
			for range 2 { // x first, then y: both decline
				s.apply(refuse(s.al.Run(s.now)[0], time.Hour))
			}
			s.grants()
			if n := s.al.View().Filters; n["x"] != 1 || n["y"] != 1 {
				t.Fatalf("filters in force: %v", n)
			}
			s.apply(c.effects...)
			s.grants(c.want...)
		})
	}
}

// TestConstraints: agents that offer constraints rule out are not offered, and the debug
// view says which (1.12).
func TestConstraints(t *testing.T) {
	rack := func(id, text string) ledger.AgentOpen {
		a := agent(t, id, "cpus:4")
		a.Attributes, _ = resource.ParseAttributes(text)
		return a
	}
	constrained := ledger.FrameworkOpen{Framework: "f", Roles: []string{"x", "y"}, Suppressed: []string{"y"},
		Constraints: &scheduler.OfferConstraints{RoleConstraints: map[string]*scheduler.OfferConstraints_RoleConstraints{
			"x": {Groups: []*scheduler.OfferConstraints_RoleConstraints_Group{{AttributeConstraints: []*scheduler.AttributeConstraint{{
				Selector: &scheduler.AttributeConstraint_Selector{Selector: &scheduler.AttributeConstraint_Selector_AttributeName{AttributeName: "rack"}},
				Predicate: &scheduler.AttributeConstraint_Predicate{Predicate: &scheduler.AttributeConstraint_Predicate_TextMatches_{
					TextMatches: &scheduler.AttributeConstraint_Predicate_TextMatches{Regex: proto.String("r[12]")}}},
			}}}}}}}}
	s := newScript(t, allocate.Config{}, rack("a", "rack:r1"), rack("b", "rack:r2"), rack("c", "rack:r3"), constrained)
	s.grants("f x a cpus:4", "f x b cpus:4")
	got := s.al.Constrained()
	if len(got) != 1 || got[0].Framework != "f" || !slices.Equal(got[0].Suppressed, []string{"y"}) ||
		!slices.Equal(got[0].Excluded["x"], []ledger.AgentID{"c"}) || len(got[0].Excluded["y"]) != 0 || len(got[0].Excluded) != 2 {
		t.Errorf("debug view: %+v", got)
	}
	s.apply(rack("c", "rack:r1"))
	s.grants("f x c cpus:4")
	s.apply(rack("d", "rack:r9"))
	s.grants()
	constrained.Constraints = nil
	s.apply(constrained)
	s.grants("f x d cpus:4")
}

// TestInverse: who has something on an agent in planned maintenance is asked once to
// leave, and again when its answer's time is over (11.1).
func TestInverse(t *testing.T) {
	open := agent(t, "a", "cpus:8")
	s := newScript(t, allocate.Config{}, open, framework("f", "*"),
		ledger.Taken{Agent: "a", Framework: "g", Role: "*", Resources: parse(t, "cpus:2")},
		ledger.Taken{Agent: "a", Framework: "absent", Role: "*", Resources: parse(t, "cpus:2")},
		framework("g", "*"), framework("none", "*"))
	asked := func(want ...string) {
		t.Helper()
		var got []string
		for _, g := range s.al.Inverse(s.now) {
			got = append(got, fmt.Sprintf("%s %s %d", g.Framework, g.Agent, g.Generation))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("asked %q, want %q", got, want)
		}
	}
	s.grants("f * a cpus:4")
	asked()
	plan := open
	plan.Generation, plan.Unavailable = 2, &mesos.Unavailability{Start: &mesos.TimeInfo{Nanoseconds: proto.Int64(5)}}
	s.apply(plan)
	if !s.al.Dirty() {
		t.Fatal("a plan makes no work")
	}
	asked("f a 2", "g a 2")
	asked() // until they answer
	s.apply(ledger.InverseAnswered{Agent: "a", Framework: "f", Refuse: 5 * time.Second})
	s.apply(ledger.InverseAnswered{Agent: "a", Framework: "g", Rescinded: true})
	asked()
	if at, any := s.al.Next(); !any || at != s.now.Add(time.Second) {
		t.Fatalf("next %v %v", at, any)
	}
	s.wait(time.Second)
	asked("g a 2")
	s.wait(4 * time.Second)
	asked("f a 2")
	s.apply(ledger.InverseAnswered{Agent: "a", Framework: "f", Refuse: time.Hour})
	asked()
	s.apply(ledger.Revived{Framework: "f"}) // drops all inverse filters (1.5)
	asked("f a 2")
	s.apply(ledger.FrameworkClosed{Framework: "f"}, framework("f", "*")) // so does a failover
	asked("f a 2")
	again := plan
	again.Generation, again.Unavailable = 3, &mesos.Unavailability{Start: &mesos.TimeInfo{Nanoseconds: proto.Int64(9)}}
	s.apply(again) // another plan: everyone is asked anew
	asked("f a 3", "g a 3")
	s.apply(ledger.Taken{Agent: "a", Framework: "none", Role: "*", Resources: parse(t, "cpus:1")})
	asked("none a 3")
	s.apply(ledger.Released{Agent: "a", Framework: "none", Role: "*", Resources: parse(t, "cpus:1")},
		ledger.InverseAnswered{Agent: "a", Framework: "none"})
	asked() // it has nothing there any more
	open.Generation = 4
	s.apply(open, ledger.InverseAnswered{Agent: "a", Framework: "g"})
	asked()
}

// TestConverted: what a framework reserves is its role's from then on, and counts as
// before (1.6).
func TestConverted(t *testing.T) {
	s := newScript(t, allocate.Config{}, agent(t, "a", "cpus:4;mem:100"), framework("f", "x"))
	g := s.grants("f x a cpus:4; mem:100")[0]
	plain, reserved := parse(t, "cpus:3"), parse(t, "cpus(x):3")
	s.apply(ledger.Converted{Agent: "a", Framework: "f", Role: "x", From: plain.Allocate("x"), To: reserved.Allocate("x")})
	if v := s.al.View(); v.Booked.Get("cpus") != resource.Whole(4) || v.Dominant["x"] != 1 {
		t.Errorf("after RESERVE: %v booked, share %v", v.Booked, v.Dominant["x"])
	}
	g.Resources = parse(t, "cpus(x):3;cpus:1;mem:100")
	s.apply(ledger.Suppressed{Framework: "f"}, give(g), framework("h", "y"))
	s.grants("h y a cpus:1; mem:100")
	// An operator unreserves what nobody holds.
	s.apply(ledger.Converted{Agent: "a", From: reserved, To: plain})
	s.grants("h y a cpus:3")
	if v := s.al.View(); v.Total.Get("cpus") != resource.Whole(4) || v.Booked.Get("cpus") != resource.Whole(4) {
		t.Errorf("at the end: %v of %v", v.Booked, v.Total)
	}
}

// TestShared: a shared volume is offered again while it is in use, one copy in each run,
// and counts once (3.5).
func TestShared(t *testing.T) {
	volume := resource.Scalar("disk", resource.Whole(10))
	volume.Reservations = []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: proto.String("x")}}
	volume.Disk = &mesos.Resource_DiskInfo{Persistence: &mesos.Resource_DiskInfo_Persistence{Id: proto.String("v")},
		Volume: &mesos.Volume{ContainerPath: proto.String("p"), Mode: mesos.Volume_RW.Enum()}}
	volume.Shared = &mesos.Resource_SharedInfo{}
	open := agent(t, "a", "cpus:4;mem:100")
	open.Total = open.Total.Add(resource.Resources{volume})
	sharing := func(id string) ledger.FrameworkOpen {
		return ledger.FrameworkOpen{Framework: ledger.FrameworkID(id), Roles: []string{"x"}, Capabilities: ledger.FrameworkCapabilities{Shared: true}}
	}
	text := resource.Text(volume)
	s := newScript(t, allocate.Config{}, open, sharing("f"), sharing("g"))
	g := s.grants("f x a cpus:4; mem:100; " + text)[0]
	if v := s.al.View(); v.Total.Get("disk") != resource.Whole(10) || v.Dominant["x"] != 1 {
		t.Errorf("%v, %v", v.Total, v.Dominant)
	}
	half := g
	half.Resources = parse(t, "cpus:2;mem:50")
	s.apply(ledger.Suppressed{Framework: "f"}, give(half))
	second := s.grants("g x a cpus:2; mem:50; " + text)[0]
	// Both have it, and it counts once for the role.
	s.apply(give(ledger.Grant{Agent: "a", Framework: "f", Role: "x", Resources: parse(t, "cpus:2;mem:50")}))
	s.apply(give(ledger.Grant{Agent: "a", Framework: "g", Role: "x", Resources: parse(t, "cpus:2;mem:50")}))
	if v := s.al.View(); v.Dominant["x"] != 1 {
		t.Errorf("the volume in two hands: share %v", v.Dominant["x"])
	}
	third := s.grants("g x a cpus:4; mem:100; " + text)[0]
	for _, r := range []ledger.Grant{g, second, third} {
		r.Resources = resource.Resources{volume}
		s.apply(give(r))
	}
	third.Resources = parse(t, "cpus:4;mem:100")
	s.apply(give(third))
	if v := s.al.View(); v.Dominant["x"] != 0 || !v.Booked.IsZero() {
		t.Errorf("all given back: share %v, booked %v", v.Dominant["x"], v.Booked)
	}
	// Who does not know sharing does not see it.
	s = newScript(t, allocate.Config{}, open, framework("f", "x"))
	s.grants("f x a cpus:4; mem:100")
	// The agent goes with the volume in use.
	s = newScript(t, allocate.Config{}, open, sharing("f"))
	s.grants("f x a cpus:4; mem:100; " + text)
	s.apply(ledger.AgentClosed{Agent: "a", Gone: true}, agent(t, "b", "cpus:1;mem:100"))
	if v := s.al.View(); v.Dominant["x"] != 0 {
		t.Errorf("after the agent went: %v", v.Dominant)
	}
}

// TestStormsWait: when very many agents are declined in one interval, the rest is offered
// on with the next, as in Mesos; a few go on at once.
func TestStormsWait(t *testing.T) {
	s := newScript(t, allocate.Config{Declines: 3})
	for i := range 10 {
		s.apply(agent(t, fmt.Sprintf("n%d", i), "cpus:1;mem:100"))
	}
	s.apply(framework("f", "*"))
	grants := s.al.Run(s.now)
	for _, g := range grants {
		s.apply(refuse(g, time.Hour))
	}
	s.apply(framework("g", "*"))
	// New demand is served whatever the storm.
	if got := s.al.Run(s.now); len(got) != 10 {
		t.Fatalf("%d agents for a new framework", len(got))
	} else {
		s.apply(framework("h", "*"))
		s.al.Run(s.now)
		for _, g := range got {
			s.apply(refuse(g, time.Hour))
		}
	}
	s.wait(10 * time.Millisecond)
	if got := s.al.Run(s.now); len(got) != 0 {
		t.Fatalf("%d agents offered on within the interval; its budget was spent", len(got))
	}
	if at, any := s.al.Next(); !any || at != start.Add(time.Second) {
		t.Fatalf("next %v %v", at, any)
	}
	s.wait(time.Second)
	if got := s.al.Run(s.now); len(got) != 10 {
		t.Fatalf("%d agents with the next interval", len(got))
	}
}

// TestManyFilters: declines beyond the limit count for one interval only.
func TestManyFilters(t *testing.T) {
	s := newScript(t, allocate.Config{MaxFilters: 3}, framework("f", "*"))
	for i := range 5 {
		s.apply(agent(t, fmt.Sprintf("n%d", i), "cpus:1;mem:100"))
	}
	for _, g := range s.al.Run(s.now) {
		s.apply(refuse(g, time.Hour))
	}
	if n := len(s.al.Run(s.now)); n != 0 {
		t.Fatalf("%d agents at once", n)
	}
	s.wait(time.Second)
	if n := len(s.al.Run(s.now)); n != 2 {
		t.Fatalf("%d agents after an interval, want the two beyond the limit", n)
	}
}

// TestCut: what one run does not get to comes with the next.
func TestCut(t *testing.T) {
	s := newScript(t, allocate.Config{MaxGrants: 3}, framework("f", "*"),
		ledger.QuotaSet{Role: "q", Guarantees: amounts(2, 0)}, framework("g", "q"))
	for i := range 10 {
		s.apply(agent(t, fmt.Sprintf("n%d", i), "cpus:1;mem:100"))
	}
	total := 0
	for range 20 {
		total += len(s.al.Run(s.now))
	}
	if total != 10 || s.al.Dirty() {
		t.Errorf("%d of 10 agents granted, dirty %v", total, s.al.Dirty())
	}
}

// TestMinimum: RANGES and SET count elements; a group needs all it names (3.3).
func TestMinimum(t *testing.T) {
	group := func(m map[string]float64) map[string]*mesos.OfferFilters {
		q := map[string]*mesos.Value_Scalar{}
		for name, n := range m {
			q[name] = &mesos.Value_Scalar{Value: proto.Float64(n)}
		}
		return map[string]*mesos.OfferFilters{"*": {MinAllocatableResources: &mesos.OfferFilters_MinAllocatableResources{
			Quantities: []*mesos.OfferFilters_ResourceQuantities{{Quantities: q}}}}}
	}
	for _, c := range []struct {
		min  map[string]float64
		want bool
	}{
		{map[string]float64{"ports": 10}, true}, {map[string]float64{"ports": 11}, false}, {map[string]float64{"zones": 2}, true},
		{map[string]float64{"zones": 3}, false}, {map[string]float64{"ports": 1, "cpus": 4}, true}, {map[string]float64{"ports": 1, "cpus": 5}, false},
	} {
		s := newScript(t, allocate.Config{}, agent(t, "a", "cpus:4;ports:[1-10];zones:{x,y}"),
			ledger.FrameworkOpen{Framework: "f", Roles: []string{"*"}, Filters: group(c.min)})
		if got := len(s.al.Run(s.now)) == 1; got != c.want {
			t.Errorf("minimum %v: offered %v", c.min, got)
		}
	}
	// --min_allocatable_resources= (empty): whatever there is.
	newScript(t, allocate.Config{Minimum: []resource.Quantities{}}, agent(t, "a", "cpus:0.001"), framework("f", "*")).grants("f * a cpus:0.001")
}

// TestRandomSorters: the weighted random sorters give roles their weights' part, and the
// same seed gives the same grants.
func TestRandomSorters(t *testing.T) {
	run := func(seed uint64) (map[string]int, string) {
		s := newScript(t, allocate.Config{RoleSorter: allocate.Random, FrameworkSorter: allocate.Random, Seed: seed,
			Weights: map[string]float64{"a": 3}}, framework("f", "a"), framework("g", "a"), framework("h", "b"))
		got, text := map[string]int{}, ""
		for i := range 2000 {
			s.apply(agent(t, fmt.Sprintf("n%d", i), "cpus:1;mem:100"))
		}
		for _, g := range s.al.Run(s.now) {
			got[string(g.Framework)]++
			text += string(g.Framework) + string(g.Agent) + " "
		}
		return got, text
	}
	got, text := run(1)
	for who, want := range map[string]int{"f": 750, "g": 750, "h": 500} {
		if d := got[who] - want; d < -80 || d > 80 {
			t.Errorf("%s got %d, its chance was %d of 2000", who, got[who], want)
		}
	}
	if _, again := run(1); again != text {
		t.Error("the same seed gave other grants")
	}
	if _, other := run(2); other == text {
		t.Error("another seed gave the same grants")
	}
}
