package allocate_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

var start = time.Unix(1000, 0)

func parse(t interface{ Fatal(...any) }, text string) resource.Resources {
	r, err := resource.Parse(text, resource.AnyRole)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func agent(t interface{ Fatal(...any) }, id, resources string) ledger.AgentOpen {
	return ledger.AgentOpen{Agent: ledger.AgentID(id), Generation: 1, Total: parse(t, resources),
		Capabilities: ledger.AgentCapabilities{MultiRole: true, HierarchicalRole: true}}
}

func framework(id string, roles ...string) ledger.FrameworkOpen {
	return ledger.FrameworkOpen{Framework: ledger.FrameworkID(id), Roles: roles}
}

// TestGrants is the table of who is offered what.
func TestGrants(t *testing.T) {
	for _, c := range []struct {
		name    string
		cfg     allocate.Config
		effects []ledger.Effect
		want    []string // "framework role agent resources", in any order
	}{
		{"all of an agent goes to one framework", allocate.Config{},
			[]ledger.Effect{agent(t, "a", "cpus:4;mem:100"), framework("f", "*"), framework("g", "*")},
			[]string{"f * a cpus:4; mem:100"}},
		{"the next agent goes to the other", allocate.Config{},
			[]ledger.Effect{agent(t, "a", "cpus:4"), agent(t, "b", "cpus:4"), framework("f", "*"), framework("g", "*")},
			[]string{"f * ? cpus:4", "g * ? cpus:4"}},
		{"suppressed from the start", allocate.Config{},
			[]ledger.Effect{agent(t, "a", "cpus:4"), ledger.FrameworkOpen{Framework: "f", Roles: []string{"x", "y"}, Suppressed: []string{"x"}}},
			[]string{"f y a cpus:4"}},
		{"suppress and revive", allocate.Config{},
			[]ledger.Effect{agent(t, "a", "cpus:4"), framework("f", "*"), ledger.Suppressed{Framework: "f"}, ledger.Revived{Framework: "f", Roles: []string{"*"}}},
			[]string{"f * a cpus:4"}},
		{"reserved only for the role and those below", allocate.Config{},
			[]ledger.Effect{agent(t, "a", "cpus(eng):2;cpus(ops):1"), framework("f", "eng/web"), framework("g", "dev")},
			[]string{"f eng/web a cpus(reservations: [(STATIC,eng)]):2"}},
		{"too little to be worth an offer", allocate.Config{},
			[]ledger.Effect{agent(t, "a", "cpus:0.001;mem:10"), framework("f", "*")}, nil},
		{"a role with less of its own takes it", allocate.Config{},
			[]ledger.Effect{agent(t, "a", "cpus:0.001;mem:10"), ledger.FrameworkOpen{Framework: "f", Roles: []string{"*"},
				Filters: map[string]*mesos.OfferFilters{"*": {MinAllocatableResources: &mesos.OfferFilters_MinAllocatableResources{}}}}},
			[]string{"f * a cpus:0.001; mem:10"}},
		{"gpus only for those who ask", allocate.Config{FilterGPU: true},
			[]ledger.Effect{agent(t, "a", "cpus:4;gpus:1"), framework("f", "*"),
				ledger.FrameworkOpen{Framework: "g", Roles: []string{"*"}, Capabilities: ledger.FrameworkCapabilities{GPU: true}}},
			[]string{"g * a cpus:4; gpus:1"}},
		{"no hierarchical roles on old agents", allocate.Config{},
			[]ledger.Effect{ledger.AgentOpen{Agent: "a", Total: parse(t, "cpus:4")}, framework("f", "x/y")}, nil},
		{"weights", allocate.Config{Weights: map[string]float64{"b": 4}},
			[]ledger.Effect{ledger.Taken{Agent: "u", Framework: "f", Role: "a", Resources: parse(t, "cpus:1")},
				ledger.Taken{Agent: "u", Framework: "g", Role: "b", Resources: parse(t, "cpus:3")},
				agent(t, "u", "cpus:4"), agent(t, "v", "cpus:4"), framework("f", "a"), framework("g", "b")},
			[]string{"g b v cpus:4"}},
		{"a role competes with its siblings, not its frameworks", allocate.Config{},
			[]ledger.Effect{ledger.Taken{Agent: "u", Framework: "f", Role: "a/x", Resources: parse(t, "cpus:2")},
				ledger.Taken{Agent: "u", Framework: "h", Role: "b", Resources: parse(t, "cpus:1")},
				agent(t, "u", "cpus:3"), agent(t, "v", "cpus:3"), framework("f", "a/x"), framework("g", "a/y"), framework("h", "b")},
			[]string{"h b v cpus:3"}},
		{"closed agents offer nothing", allocate.Config{},
			[]ledger.Effect{agent(t, "a", "cpus:4"), framework("f", "*"), ledger.AgentClosed{Agent: "a"}}, nil},
		{"what is taken is not offered", allocate.Config{},
			[]ledger.Effect{ledger.Taken{Agent: "a", Framework: "x", Role: "*", Resources: parse(t, "cpus:3")}, agent(t, "a", "cpus:4"), framework("f", "*")},
			[]string{"f * a cpus:1"}},
		{"and comes back when it ends", allocate.Config{},
			[]ledger.Effect{ledger.Taken{Agent: "a", Framework: "x", Role: "*", Resources: parse(t, "cpus:3")}, agent(t, "a", "cpus:4"), framework("f", "*"),
				ledger.Released{Agent: "a", Framework: "x", Role: "*", Resources: parse(t, "cpus:3")}},
			[]string{"f * a cpus:4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			al := allocate.New(c.cfg)
			for _, e := range c.effects {
				al.Apply(start, e)
			}
			got := al.Run(start)
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			left := append([]string(nil), c.want...)
		grants:
			for _, g := range got {
				for i, w := range left {
					for _, on := range []string{string(g.Agent), "?"} {
						if w == fmt.Sprintf("%s %s %s %v", g.Framework, g.Role, on, g.Resources) {
							left = append(left[:i], left[i+1:]...)
							continue grants
						}
					}
				}
				t.Errorf("%s %s %s %v is not among %q", g.Framework, g.Role, g.Agent, g.Resources, left)
			}
		})
	}
}

// TestFilters: what a framework declined it is not offered again, until the time is over,
// more is free, or it revives.
func TestFilters(t *testing.T) {
	al := allocate.New(allocate.Config{})
	now := start
	grant := func(want int) []ledger.Grant {
		t.Helper()
		got := al.Run(now)
		if len(got) != want {
			t.Fatalf("%d grants, want %d: %v", len(got), want, got)
		}
		return got
	}
	al.Apply(now, agent(t, "a", "cpus:4"))
	al.Apply(now, framework("f", "*"))
	decline := func(g ledger.Grant, d time.Duration) {
		al.Apply(now, ledger.Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources, Declined: true, Refuse: d})
	}
	decline(grant(1)[0], 5*time.Second)
	grant(0)
	if at, any := al.Next(); !any || at != now.Add(5*time.Second) {
		t.Fatalf("next %v %v", at, any)
	}
	now = now.Add(5 * time.Second)
	decline(grant(1)[0], 0) // 0: until the next interval
	grant(0)
	now = now.Add(time.Second)
	decline(grant(1)[0], time.Hour)
	// another framework is not bound by it
	al.Apply(now, framework("g", "*"))
	other := grant(1)[0]
	al.Apply(now, ledger.Suppressed{Framework: "g"})
	al.Apply(now, ledger.Released{Agent: other.Agent, Framework: other.Framework, Role: other.Role, Resources: other.Resources})
	grant(0)
	al.Apply(now, ledger.AgentOpen{Agent: "a", Generation: 2, Total: parse(t, "cpus:5")}) // more than was declined
	decline(grant(1)[0], time.Hour)
	grant(0)
	al.Apply(now, ledger.Revived{Framework: "f"})
	decline(grant(1)[0], time.Hour)
	al.Apply(now, ledger.FrameworkClosed{Framework: "f"}) // disconnected: filters are void
	al.Apply(now, framework("f", "*"))
	grant(1)
}

// TestFiltersDoNotPileUp: declining for a year and reviving, again and again, costs no
// memory in the end.
func TestFiltersDoNotPileUp(t *testing.T) {
	al := allocate.New(allocate.Config{})
	al.Apply(start, agent(t, "a", "cpus:4"))
	al.Apply(start, framework("f", "*"))
	for range 6000 {
		for _, g := range al.Run(start) {
			al.Apply(start, ledger.Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources, Declined: true, Refuse: 8760 * time.Hour})
		}
		al.Apply(start, ledger.Revived{Framework: "f"})
	}
	if n := al.Remembered(); n > 5000 {
		t.Errorf("%d filters remembered after all were dropped", n)
	}
}

// TestNeverTooMuch: whatever frameworks and agents do, what is granted and not given back
// never exceeds what an agent has.
func TestNeverTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		al := allocate.New(allocate.Config{Seed: rapid.Uint64().Draw(t, "seed")})
		now := start
		totals := map[ledger.AgentID]resource.Resources{}
		open := map[ledger.AgentID]bool{}
		var held []ledger.Grant
		roles := []string{"*", "a", "a/b", "c"}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := ledger.AgentID(rapid.SampledFrom([]string{"u", "v", "w"}).Draw(t, "agent"))
			f := ledger.FrameworkID(rapid.SampledFrom([]string{"f", "g", "h"}).Draw(t, "framework"))
			switch rapid.IntRange(0, 8).Draw(t, "what") {
			case 0, 1:
				if totals[id] == nil {
					e := agent(t, string(id), fmt.Sprintf("cpus:%d;cpus(a):2;mem:%d;ports:[31000-31009]", rapid.IntRange(1, 8).Draw(t, "cpus"), rapid.IntRange(1, 64).Draw(t, "mem")))
					totals[id] = e.Total
					open[id] = true
					al.Apply(now, e)
				}
			case 2:
				if totals[id] != nil {
					for i := 0; i < len(held); i++ {
						if held[i].Agent == id {
							al.Apply(now, ledger.Released{Agent: id, Framework: held[i].Framework, Role: held[i].Role, Resources: held[i].Resources})
							held = append(held[:i], held[i+1:]...)
							i--
						}
					}
					al.Apply(now, ledger.AgentClosed{Agent: id, Gone: true})
					delete(totals, id)
				}
			case 3, 4:
				al.Apply(now, framework(string(f), rapid.SampledFrom(roles).Draw(t, "role")))
			case 5:
				al.Apply(now, ledger.FrameworkClosed{Framework: f, Gone: rapid.Bool().Draw(t, "gone")})
			case 6:
				if len(held) > 0 {
					i := rapid.IntRange(0, len(held)-1).Draw(t, "held")
					al.Apply(now, ledger.Released{Agent: held[i].Agent, Framework: held[i].Framework, Role: held[i].Role, Resources: held[i].Resources,
						Declined: rapid.Bool().Draw(t, "declined"), Refuse: time.Duration(rapid.IntRange(0, 10).Draw(t, "refuse")) * time.Second})
					held = append(held[:i], held[i+1:]...)
				}
			case 7:
				now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "wait")) * time.Second)
			case 8:
				al.Apply(now, ledger.Revived{Framework: f})
			}
			for _, g := range al.Run(now) {
				if totals[g.Agent] == nil {
					t.Fatalf("grant of an agent that is not there: %v", g)
				}
				held = append(held, g)
			}
			for id, total := range totals {
				var sum resource.Resources
				for _, g := range held {
					if g.Agent == id {
						sum = sum.Add(g.Resources.Unallocate())
					}
				}
				if !total.Contains(sum) {
					t.Fatalf("agent %s has %v, granted %v", id, total, sum)
				}
			}
		}
	})
}

// TestFairShares: roles that always take what they are offered, in units of one agent,
// end with shares in proportion to their weights.
func TestFairShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := map[string]float64{"a": float64(rapid.IntRange(1, 4).Draw(t, "a")), "b": float64(rapid.IntRange(1, 4).Draw(t, "b")), "c": 1}
		al := allocate.New(allocate.Config{Weights: weights, Seed: rapid.Uint64().Draw(t, "seed")})
		for role := range weights {
			al.Apply(start, framework("f-"+role, role))
		}
		const agents = 90
		for i := range agents {
			al.Apply(start, agent(t, fmt.Sprintf("n%02d", i), "cpus:1;mem:100"))
		}
		got := map[string]int{}
		for _, g := range al.Run(start) {
			got[g.Role]++
		}
		sum := weights["a"] + weights["b"] + weights["c"]
		for role, w := range weights {
			want := agents * w / sum
			if d := float64(got[role]) - want; d > 1.01 || d < -1.01 {
				t.Fatalf("role %s got %d agents, its share is %.1f (%v)", role, got[role], want, got)
			}
		}
	})
}
