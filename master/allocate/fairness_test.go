package allocate_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// TestOptimum: frameworks that take one task of each offer and give the rest back end
// where progressive filling ends: no role that could go on is behind another by more than
// the other's last task, dominant shares divided by weights.
func TestOptimum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := parse(t, fmt.Sprintf("cpus:%d;mem:%d", rapid.IntRange(20, 60).Draw(t, "cpus"), rapid.IntRange(200, 600).Draw(t, "mem")))
		all := total.Quantities()
		type user struct {
			role   string
			weight float64
			task   resource.Resources
			took   resource.Quantities
			done   bool
		}
		al := allocate.New(allocate.Config{Seed: rapid.Uint64().Draw(t, "seed")})
		al.Apply(start, ledger.AgentOpen{Agent: "big", Generation: 1, Total: total})
		users := map[ledger.FrameworkID]*user{}
		for i := range rapid.IntRange(2, 6).Draw(t, "users") {
			u := &user{role: fmt.Sprintf("r%d", i), weight: float64(rapid.IntRange(1, 4).Draw(t, "weight")),
				task: parse(t, fmt.Sprintf("cpus:%d;mem:%d", rapid.IntRange(1, 5).Draw(t, "cpus"), rapid.IntRange(1, 50).Draw(t, "mem")))}
			id := ledger.FrameworkID(u.role)
			users[id] = u
			al.Apply(start, ledger.WeightSet{Role: u.role, Weight: u.weight})
			al.Apply(start, framework(u.role, u.role))
		}
		share := func(u *user) float64 { return u.took.Share(&all) / u.weight }
		for {
			grants := al.Run(start)
			if len(grants) == 0 {
				break
			}
			g := grants[0]
			u := users[g.Framework]
			give := ledger.Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources}
			if !g.Resources.Contains(u.task) {
				u.done = true
				give.Declined, give.Refuse = true, time.Hour
				al.Apply(start, give)
				continue
			}
			before := share(u)
			for id, other := range users {
				if !other.done && share(other) < before-1e-9 {
					t.Fatalf("%s has %.4f and is served, %s has %.4f", u.role, before, id, share(other))
				}
			}
			u.took = u.took.Add(u.task.Quantities())
			give.Resources = g.Resources.Subtract(u.task)
			al.Apply(start, give)
		}
	})
}

// TestLeafAndParent: a role's own frameworks compete with its children as one, and all of
// them together with the role's siblings.
func TestLeafAndParent(t *testing.T) {
	al := allocate.New(allocate.Config{})
	for i, role := range []string{"a", "a", "a/x", "a/y", "b"} {
		al.Apply(start, framework(fmt.Sprintf("f%d", i), role))
	}
	for i := range 120 {
		al.Apply(start, agent(t, fmt.Sprintf("n%d", i), "cpus:1;mem:100"))
	}
	got := map[string]int{}
	for _, g := range al.Run(start) {
		got[string(g.Framework)+" "+g.Role]++
	}
	for who, want := range map[string]int{"f0 a": 10, "f1 a": 10, "f2 a/x": 20, "f3 a/y": 20, "f4 b": 60} {
		if got[who] != want {
			t.Errorf("%s got %d of 120, want %d: %v", who, got[who], want, got)
		}
	}
}

// TestGuarantees: whatever greedy others took before, a guarantee that the cluster can
// hold is met as soon as somebody wants it.
func TestGuarantees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		al := allocate.New(allocate.Config{Seed: rapid.Uint64().Draw(t, "seed")})
		agents := rapid.IntRange(1, 12).Draw(t, "agents")
		each := int64(rapid.IntRange(1, 8).Draw(t, "size"))
		for i := range agents {
			al.Apply(start, agent(t, fmt.Sprintf("n%d", i), fmt.Sprintf("cpus:%d;mem:%d", each, each*100)))
		}
		left := int64(agents) * each
		guaranteed := map[string]int64{}
		for i := range rapid.IntRange(1, 3).Draw(t, "roles") {
			role := fmt.Sprintf("q%d", i)
			n := int64(rapid.IntRange(0, int(left)).Draw(t, "guarantee"))
			left -= n
			guaranteed[role] = n
			al.Apply(start, ledger.QuotaSet{Role: role, Guarantees: resource.Quantities{}.With("cpus", resource.Whole(n)).With("mem", resource.Whole(n*100))})
		}
		got := map[string]resource.Fixed{}
		runs := func() {
			now := start
			for range 5 {
				for _, g := range al.Run(now) {
					got[g.Role] += g.Resources.Get("cpus")
				}
				now = now.Add(2 * time.Second)
			}
		}
		for i := range rapid.IntRange(1, 3).Draw(t, "greedy") {
			al.Apply(start, framework(fmt.Sprintf("g%d", i), fmt.Sprintf("greedy%d", i)))
		}
		runs()
		for role := range guaranteed {
			// One of the role's frameworks sits in a role below: it counts as well.
			al.Apply(start, framework("of-"+role, rapid.SampledFrom([]string{role, role + "/x"}).Draw(t, "where")))
		}
		runs()
		for role, n := range guaranteed {
			if have := got[role] + got[role+"/x"]; have < resource.Whole(n) {
				t.Fatalf("role %s is guaranteed %d cpus and has %v: %v", role, n, have, got)
			}
		}
	})
}

// TestNobodyStarves: however many frameworks decline all they see, each of them is offered
// something again and again, and sees each agent within a bounded time. (The latter unless
// all decline for the very same time: then who sees which agent can repeat itself, as it
// can in Mesos.)
func TestNobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frameworks, agents := rapid.IntRange(1, 8).Draw(t, "frameworks"), rapid.IntRange(1, 8).Draw(t, "agents")
		refuse := time.Duration(rapid.IntRange(0, 6).Draw(t, "refuse")) * time.Second
		sorter := rapid.SampledFrom([]allocate.Sorter{allocate.DRF, allocate.Random}).Draw(t, "sorter")
		al := allocate.New(allocate.Config{Seed: rapid.Uint64().Draw(t, "seed"), RoleSorter: sorter, FrameworkSorter: sorter,
			Declines: rapid.IntRange(1, 100).Draw(t, "declines")})
		for i := range agents {
			al.Apply(start, agent(t, fmt.Sprintf("n%d", i), "cpus:1;mem:100"))
		}
		for i := range frameworks {
			al.Apply(start, framework(fmt.Sprintf("f%d", i), []string{"a", "b/c", "b"}[i%3]))
		}
		uneven := rapid.Bool().Draw(t, "uneven")
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "dice"), 0))
		seen, last := map[string]bool{}, map[ledger.FrameworkID]time.Time{}
		now := start
		rounds := 0
		for now.Before(start.Add(20 * time.Duration(frameworks+2) * time.Second)) {
			grants := al.Run(now)
			for _, g := range grants {
				seen[string(g.Framework)+string(g.Agent)], last[g.Framework] = true, now
				d := refuse
				if uneven {
					d += time.Duration(dice.Int64N(int64(3 * time.Second)))
				}
				al.Apply(now, ledger.Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources, Declined: true, Refuse: d})
			}
			if rounds++; rounds > 50000 {
				t.Fatal("frameworks that decline keep the allocator spinning")
			}
			if al.Dirty() {
				continue
			}
			next, any := al.Next()
			if !any || !next.After(now) {
				t.Fatalf("nothing to wait for: %v %v", next, any)
			}
			now = next
		}
		for i := range frameworks {
			if idle := now.Sub(last[ledger.FrameworkID(fmt.Sprintf("f%d", i))]); idle > time.Duration(4*frameworks)*time.Second+refuse {
				t.Fatalf("f%d was offered nothing for %v", i, idle)
			}
		}
		if uneven && len(seen) != frameworks*agents {
			t.Fatalf("%d of %d pairs of framework and agent were offered", len(seen), frameworks*agents)
		}
	})
}
