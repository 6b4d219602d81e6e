package allocate_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// script drives an allocator and says what it expects.
type script struct {
	t   *testing.T
	al  *allocate.Allocator
	now time.Time
}

func newScript(t *testing.T, cfg allocate.Config, effects ...ledger.Effect) *script {
	s := &script{t: t, al: allocate.New(cfg), now: start}
	s.apply(effects...)
	return s
}

func (s *script) apply(effects ...ledger.Effect) {
	for _, e := range effects {
		s.al.Apply(s.now, e)
	}
}

// grants runs and compares with "framework role agent resources" in any order.
func (s *script) grants(want ...string) []ledger.Grant {
	s.t.Helper()
	got := s.al.Run(s.now)
	var text []string
	for _, g := range got {
		text = append(text, fmt.Sprintf("%s %s %s %v", g.Framework, g.Role, g.Agent, g.Resources))
	}
	slices.Sort(text)
	slices.Sort(want)
	if !slices.Equal(text, want) {
		s.t.Fatalf("granted %q, want %q", text, want)
	}
	return got
}

func (s *script) wait(d time.Duration) { s.now = s.now.Add(d) }

func give(g ledger.Grant) ledger.Released {
	return ledger.Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources.Allocate(g.Role)}
}

func refuse(g ledger.Grant, d time.Duration) ledger.Released {
	r := give(g)
	r.Declined, r.Refuse = true, d
	return r
}

func amounts(cpus, mem int64) resource.Quantities {
	return resource.Quantities{}.With("cpus", resource.Whole(cpus)).With("mem", resource.Whole(mem))
}

// TestQuotaChops: an agent is cut to what limits and headroom leave, the rest goes on to
// others or waits (3.5).
func TestQuotaChops(t *testing.T) {
	limit := map[string]resource.Fixed{"cpus": resource.Whole(3)}
	s := newScript(t, allocate.Config{}, agent(t, "a", "cpus:8;mem:100;ports:[1-5]"),
		ledger.QuotaSet{Role: "x", Limits: limit}, framework("f", "x"))
	g := s.grants("f x a cpus:3; mem:100; ports:[1-5]")[0]
	s.apply(framework("g", "y"))
	s.grants("g y a cpus:5")
	s.apply(give(g), ledger.Suppressed{Framework: "g"}) // the limit counts anew
	s.grants("f x a cpus:3; mem:100; ports:[1-5]")

	// A limit of zero gives none at all; what is not limited is given.
	s = newScript(t, allocate.Config{}, agent(t, "a", "cpus:8;mem:100"),
		ledger.QuotaSet{Role: "x", Limits: map[string]resource.Fixed{"cpus": 0}}, framework("f", "x"))
	s.grants("f x a mem:100")

	// The subtree counts, and reservations count whether taken or not.
	s = newScript(t, allocate.Config{}, agent(t, "a", "cpus:8;mem:100;cpus(x/z):2"), ledger.QuotaSet{Role: "x", Limits: limit}, framework("f", "x/y"))
	s.grants("f x/y a cpus:1; mem:100")

	// Headroom: others leave what a guarantee still lacks, wherever it is.
	s = newScript(t, allocate.Config{}, agent(t, "a", "cpus:8;mem:100"),
		ledger.QuotaSet{Role: "x", Guarantees: amounts(6, 0)}, framework("g", "y"))
	s.grants("g y a cpus:2; mem:100")
	s.apply(framework("f", "x"))
	s.grants("f x a cpus:6")

	// A quota that goes away frees what it held back, with the next interval.
	s = newScript(t, allocate.Config{}, agent(t, "a", "cpus:8;mem:100"),
		ledger.QuotaSet{Role: "x", Guarantees: amounts(6, 0)}, framework("g", "y"))
	s.grants("g y a cpus:2; mem:100")
	s.apply(ledger.QuotaSet{Role: "x"})
	s.wait(time.Second)
	s.grants("g y a cpus:6")

	// Revocable resources are outside of quota.
	revocable := resource.Scalar("cpus", resource.Whole(4))
	revocable.Revocable = &mesos.Resource_RevocableInfo{}
	open := agent(t, "a", "cpus:8;mem:100")
	open.Total = open.Total.Add(resource.Resources{revocable})
	s = newScript(t, allocate.Config{}, open, ledger.QuotaSet{Role: "x", Limits: limit},
		ledger.FrameworkOpen{Framework: "f", Roles: []string{"x"}, Capabilities: ledger.FrameworkCapabilities{Revocable: true}})
	s.grants("f x a cpus:3; mem:100; cpus{REV}:4")

	// Disks that only go whole are given whole or not at all.
	disk := func(gb int64) *mesos.Resource {
		r := resource.Scalar("disk", resource.Whole(gb))
		r.Disk = &mesos.Resource_DiskInfo{Source: &mesos.Resource_DiskInfo_Source{Type: mesos.Resource_DiskInfo_Source_MOUNT.Enum(),
			Mount: &mesos.Resource_DiskInfo_Source_Mount{Root: proto.String(fmt.Sprintf("/m%d", gb))}}}
		return r
	}
	open = agent(t, "a", "cpus:1;mem:100")
	open.Total = open.Total.Add(resource.Resources{disk(50), disk(30)})
	s = newScript(t, allocate.Config{}, open,
		ledger.QuotaSet{Role: "x", Limits: map[string]resource.Fixed{"disk": resource.Whole(40)}}, framework("f", "x"))
	s.grants("f x a cpus:1; mem:100; disk[MOUNT:/m30]:30")
}

// TestGuaranteeFirst: who is guaranteed something is served before who is due by shares,
// and gets what makes the offer whole (3.1).
func TestGuaranteeFirst(t *testing.T) {
	s := newScript(t, allocate.Config{}, agent(t, "u", "cpus:4;mem:100"),
		ledger.Taken{Agent: "u", Framework: "f", Role: "x", Resources: parse(t, "cpus:1")},
		agent(t, "a", "cpus:4;mem:100;ports:[1-5]"),
		ledger.QuotaSet{Role: "x", Guarantees: amounts(8, 0)}, framework("f", "x"), framework("g", "y"))
	s.grants("f x a cpus:4; mem:100; ports:[1-5]", "f x u cpus:3; mem:100")
}

// TestOneOffer: what both stages give of one agent to one framework in one role is one
// grant (3.1).
func TestOneOffer(t *testing.T) {
	open := agent(t, "a", "cpus:2;mem:100;cpus(x):2")
	reserved := resource.Scalar("cpus", resource.Whole(1)) // stage 1 leaves it: refined
	for _, role := range []string{"x", "x/y"} {
		reserved.Reservations = append(reserved.Reservations, &mesos.Resource_ReservationInfo{
			Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: proto.String(role)})
	}
	open.Total = open.Total.Add(resource.Resources{reserved})
	s := newScript(t, allocate.Config{}, open, ledger.QuotaSet{Role: "x", Guarantees: amounts(6, 0), Limits: map[string]resource.Fixed{"cpus": resource.Whole(5)}},
		framework("f", "x"))
	if got := s.al.Run(s.now); len(got) != 1 {
		t.Fatalf("%d grants: %v", len(got), got)
	}
}

// TestSuppressedCount: who wants no offers is not asked, and what it has counts for its
// role (3.2).
func TestSuppressedCount(t *testing.T) {
	s := newScript(t, allocate.Config{}, ledger.Taken{Agent: "u", Framework: "rich", Role: "a", Resources: parse(t, "cpus:2")},
		agent(t, "u", "cpus:2"), agent(t, "v", "cpus:2"), framework("rich", "a"), ledger.Suppressed{Framework: "rich"},
		framework("f", "a"), framework("g", "b"))
	s.grants("g b v cpus:2")
	s = newScript(t, allocate.Config{}, ledger.Taken{Agent: "u", Framework: "gone", Role: "a", Resources: parse(t, "cpus:2")},
		agent(t, "u", "cpus:2"), agent(t, "v", "cpus:2"), framework("gone", "a"), ledger.FrameworkClosed{Framework: "gone"},
		framework("f", "a"), framework("g", "b"))
	s.grants("g b v cpus:2")
}

// TestAwaiting: after a failover with quota nothing is granted before enough agents are
// back, or the time is over (section 0).
func TestAwaiting(t *testing.T) {
	until := start.Add(10 * time.Minute)
	s := newScript(t, allocate.Config{}, ledger.Awaiting{Agents: 2, Until: until}, framework("f", "*"), agent(t, "a", "cpus:1"))
	s.grants()
	if at, any := s.al.Next(); s.al.Dirty() || !any || at != until {
		t.Fatalf("while waiting: dirty %v, next %v %v", s.al.Dirty(), at, any)
	}
	s.apply(ledger.AgentClosed{Agent: "a"}, agent(t, "a", "cpus:1")) // the same one twice
	s.grants()
	s.apply(agent(t, "b", "cpus:2"))
	s.grants("f * a cpus:1", "f * b cpus:2")

	s = newScript(t, allocate.Config{}, ledger.Awaiting{Agents: 2, Until: until}, framework("f", "*"), agent(t, "a", "cpus:1"))
	s.wait(10 * time.Minute)
	s.grants("f * a cpus:1")

	s = newScript(t, allocate.Config{}, ledger.Awaiting{Until: until}, framework("f", "*"), agent(t, "a", "cpus:1"))
	s.grants("f * a cpus:1") // nobody to wait for
}

// TestWeightsAtRunTime: a new weight counts from the next grant on (11.3).
func TestWeightsAtRunTime(t *testing.T) {
	s := newScript(t, allocate.Config{Weights: map[string]float64{"a": 3}}, framework("f", "a"), framework("g", "b"))
	count := func() map[string]int {
		got := map[string]int{}
		for _, g := range s.al.Run(s.now) {
			got[g.Role]++
			s.apply(give(g), ledger.AgentClosed{Agent: g.Agent, Gone: true})
		}
		return got
	}
	fill := func() {
		for i := range 40 {
			s.apply(agent(t, fmt.Sprintf("n%d", i), "cpus:1;mem:100"))
		}
	}
	fill()
	if got := count(); got["a"] != 30 {
		t.Errorf("weight 3: %v", got)
	}
	s.apply(ledger.WeightSet{Role: "a", Weight: 1}, ledger.WeightSet{Role: "b", Weight: 3})
	fill()
	if got := count(); got["b"] != 30 {
		t.Errorf("weight 1 to 3: %v", got)
	}
}

// TestExcludedNames: what --fair_sharing_excluded_resource_names says does not count for
// shares.
func TestExcludedNames(t *testing.T) {
	effects := []ledger.Effect{
		ledger.Taken{Agent: "u", Framework: "f", Role: "a", Resources: parse(t, "gpus:4;cpus:1")},
		ledger.Taken{Agent: "u", Framework: "g", Role: "b", Resources: parse(t, "cpus:2")},
		agent(t, "u", "cpus:3;gpus:4"), agent(t, "v", "cpus:9"), framework("f", "a"), framework("g", "b")}
	newScript(t, allocate.Config{}, effects...).grants("g b v cpus:9")
	newScript(t, allocate.Config{Excluded: []string{"gpus"}}, effects...).grants("f a v cpus:9")
}

// TestWhitelist: agents on hosts that are not listed offer nothing.
func TestWhitelist(t *testing.T) {
	a, b := agent(t, "a", "cpus:1"), agent(t, "b", "cpus:2")
	a.Hostname, b.Hostname = "one", "two"
	s := newScript(t, allocate.Config{}, framework("f", "*"))
	s.al.SetWhitelist([]string{"two"})
	s.apply(a, b)
	s.grants("f * b cpus:2")
	s.al.SetWhitelist([]string{"one", "two"})
	s.grants("f * a cpus:1")
	s.al.SetWhitelist([]string{})
	s.apply(ledger.Released{Agent: "a", Framework: "f", Role: "*", Resources: parse(t, "cpus:1")})
	s.grants()
	s.al.SetWhitelist(nil)
	s.grants("f * a cpus:1")
}
