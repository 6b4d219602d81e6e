package allocate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// world is an independent book beside the allocator: it knows the rules of
// mesos-master.md section 3 one grant at a time, and none of the allocator's short cuts.
type world struct {
	t          *rapid.T
	al         *allocate.Allocator
	now        time.Time
	interval   time.Duration
	agents     map[ledger.AgentID]*worldAgent
	frameworks map[ledger.FrameworkID]*ledger.FrameworkOpen
	suppressed map[ledger.FrameworkID]map[string]bool
	held       []ledger.Grant
	filters    []worldFilter
	quotas     map[string]ledger.QuotaSet
	hosts      map[string]bool // nil: all
}

type worldAgent struct {
	ledger.AgentOpen
	open bool
}

type worldFilter struct {
	ledger.Grant
	until time.Time
}

func (w *world) apply(e ledger.Effect) { w.al.Apply(w.now, e) }

var (
	worldRoles  = []string{"*", "a", "a/b", "a/b/c", "d", "d/e", "f"}
	worldShapes = []string{
		"cpus:4;mem:100", "cpus:8;mem:64;ports:[1-10]", "cpus:2;mem:40;gpus:1", "cpus(a):2;cpus:2;mem:100;mem(a/b):20",
		"cpus(d):3;mem(d):30", "cpus:1;mem:10", "cpus:6;mem:60;disk:100;disk(f):10", "mem:20",
	}
)

// wider adds what the text form of resources cannot say.
func wider(t *rapid.T, r resource.Resources) resource.Resources {
	switch rapid.IntRange(0, 4).Draw(t, "extra") {
	case 0:
		more := resource.Scalar("cpus", resource.Whole(1))
		more.Revocable = &mesos.Resource_RevocableInfo{}
		return r.Add(resource.Resources{more})
	case 1:
		more := resource.Scalar("mem", resource.Whole(40))
		for _, role := range []string{"a", "a/b"} {
			more.Reservations = append(more.Reservations, &mesos.Resource_ReservationInfo{
				Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: proto.String(role)})
		}
		return r.Add(resource.Resources{more})
	}
	return r
}

func (w *world) step() {
	t := w.t
	agentID := ledger.AgentID(rapid.SampledFrom([]string{"u", "v", "w", "x", "y"}).Draw(t, "agent"))
	f := ledger.FrameworkID(rapid.SampledFrom([]string{"1", "2", "3", "4"}).Draw(t, "framework"))
	switch rapid.IntRange(0, 15).Draw(t, "what") {
	case 0, 1, 2:
		w.openAgent(agentID)
	case 3:
		gone := rapid.Bool().Draw(t, "gone")
		if a := w.agents[agentID]; a != nil {
			w.release(func(g ledger.Grant) bool { return gone && g.Agent == agentID })
			w.apply(ledger.AgentClosed{Agent: agentID, Gone: gone})
			if a.open = false; gone {
				delete(w.agents, agentID)
				w.filters = slices.DeleteFunc(w.filters, func(x worldFilter) bool { return x.Agent == agentID })
			}
		}
	case 4, 5, 6:
		w.openFramework(f)
	case 7:
		gone := rapid.Bool().Draw(t, "gone")
		if w.frameworks[f] != nil {
			w.release(func(g ledger.Grant) bool { return gone && g.Framework == f })
			w.apply(ledger.FrameworkClosed{Framework: f, Gone: gone})
			delete(w.frameworks, f)
			w.filters = slices.DeleteFunc(w.filters, func(x worldFilter) bool { return x.Framework == f })
		}
	case 8, 9, 10:
		w.answer()
	case 11:
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "wait")) * 10 * time.Millisecond)
	case 12:
		if o := w.frameworks[f]; o != nil {
			roles := rapid.SampledFrom([][]string{nil, o.Roles[:1]}).Draw(t, "roles")
			w.apply(ledger.Revived{Framework: f, Roles: roles})
			w.filters = slices.DeleteFunc(w.filters, func(x worldFilter) bool {
				return x.Framework == f && (roles == nil || slices.Contains(roles, x.Role))
			})
			w.suppress(f, roles, false)
		}
	case 13:
		if o := w.frameworks[f]; o != nil {
			w.apply(ledger.Suppressed{Framework: f, Roles: o.Roles[:1]})
			w.suppress(f, o.Roles[:1], true)
		}
	case 14:
		w.setQuota()
	case 15:
		if w.hosts = nil; rapid.Bool().Draw(t, "listed") {
			w.hosts = map[string]bool{"host-u": true, "host-v": true, "host-w": true}
			w.al.SetWhitelist([]string{"host-u", "host-v", "host-w"})
		} else {
			w.al.SetWhitelist(nil)
		}
	}
}

func (w *world) suppress(f ledger.FrameworkID, roles []string, yes bool) {
	if roles == nil {
		roles = w.frameworks[f].Roles
	}
	for _, role := range roles {
		w.suppressed[f][role] = yes
	}
}

func (w *world) openAgent(id ledger.AgentID) {
	old := w.agents[id]
	a := &worldAgent{open: true}
	if old != nil {
		a.AgentOpen = old.AgentOpen
		a.Generation++
		if rapid.Bool().Draw(w.t, "attributes") {
			a.Attributes, _ = resource.ParseAttributes(fmt.Sprintf("rack:r%d", a.Generation))
			w.filters = slices.DeleteFunc(w.filters, func(x worldFilter) bool { return x.Agent == id })
		}
	} else {
		a.AgentOpen = ledger.AgentOpen{Agent: id, Generation: 1, Hostname: "host-" + string(id),
			Total:        wider(w.t, parse(w.t, rapid.SampledFrom(worldShapes).Draw(w.t, "shape"))),
			Capabilities: ledger.AgentCapabilities{MultiRole: rapid.Bool().Draw(w.t, "multi"), HierarchicalRole: rapid.Bool().Draw(w.t, "hierarchical")},
			Region:       rapid.SampledFrom([]string{"", "here", "there"}).Draw(w.t, "region")}
	}
	w.agents[id] = a
	w.apply(a.AgentOpen)
}

func (w *world) openFramework(id ledger.FrameworkID) {
	b := func(name string) bool { return rapid.Bool().Draw(w.t, name) }
	roles := rapid.SliceOfNDistinct(rapid.SampledFrom(worldRoles), 1, 3, rapid.ID).Draw(w.t, "roles")
	o := &ledger.FrameworkOpen{Framework: id, Roles: roles, Capabilities: ledger.FrameworkCapabilities{
		Revocable: b("revocable"), GPU: b("gpu"), MultiRole: b("multi"), Refinement: b("refinement"), RegionAware: b("region")}}
	if b("minimum") {
		o.Filters = map[string]*mesos.OfferFilters{roles[0]: rapid.SampledFrom([]*mesos.OfferFilters{
			{MinAllocatableResources: &mesos.OfferFilters_MinAllocatableResources{}},
			{MinAllocatableResources: &mesos.OfferFilters_MinAllocatableResources{Quantities: []*mesos.OfferFilters_ResourceQuantities{
				{Quantities: map[string]*mesos.Value_Scalar{"cpus": {Value: proto.Float64(2)}}}}}},
		}).Draw(w.t, "group")}
	}
	if b("constrained") {
		o.Constraints = &scheduler.OfferConstraints{RoleConstraints: map[string]*scheduler.OfferConstraints_RoleConstraints{
			roles[0]: {Groups: []*scheduler.OfferConstraints_RoleConstraints_Group{{AttributeConstraints: []*scheduler.AttributeConstraint{{
				Selector: &scheduler.AttributeConstraint_Selector{Selector: &scheduler.AttributeConstraint_Selector_PseudoattributeType_{
					PseudoattributeType: scheduler.AttributeConstraint_Selector_HOSTNAME}},
				Predicate: &scheduler.AttributeConstraint_Predicate{Predicate: &scheduler.AttributeConstraint_Predicate_TextNotEquals_{
					TextNotEquals: &scheduler.AttributeConstraint_Predicate_TextNotEquals{Value: proto.String("host-u")}}},
			}}}}}}}
	}
	w.frameworks[id] = o
	w.suppressed[id] = map[string]bool{}
	w.filters = slices.DeleteFunc(w.filters, func(x worldFilter) bool {
		return x.Framework == id && !slices.Contains(roles, x.Role)
	})
	w.apply(*o)
}

// answer gives one held grant back: all or a part, declined or not.
func (w *world) answer() {
	if len(w.held) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.held)-1).Draw(w.t, "held")
	g := w.held[i]
	e := ledger.Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources}
	if rapid.Bool().Draw(w.t, "part") && len(g.Resources) > 1 {
		e.Resources = g.Resources[:1]
		w.held[i].Resources = g.Resources.Subtract(e.Resources)
	} else {
		w.held = slices.Delete(w.held, i, i+1)
	}
	if rapid.Bool().Draw(w.t, "declined") {
		e.Declined, e.Refuse = true, time.Duration(rapid.IntRange(0, 900).Draw(w.t, "refuse"))*10*time.Millisecond
		if o := w.frameworks[g.Framework]; o != nil && slices.Contains(o.Roles, g.Role) {
			refused := g
			refused.Resources = e.Resources
			w.filters = append(w.filters, worldFilter{refused, w.now.Add(max(e.Refuse, w.interval))})
		}
	}
	e.Resources = e.Resources.Allocate(g.Role)
	w.apply(e)
}

func (w *world) release(which func(ledger.Grant) bool) {
	w.held = slices.DeleteFunc(w.held, func(g ledger.Grant) bool {
		if !which(g) {
			return false
		}
		w.apply(ledger.Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources.Allocate(g.Role)})
		return true
	})
}

func (w *world) setQuota() {
	q := ledger.QuotaSet{Role: rapid.SampledFrom([]string{"a", "d", "f", "*"}).Draw(w.t, "role")}
	for _, name := range []string{"cpus", "mem"} {
		n := rapid.IntRange(-1, 12).Draw(w.t, name)
		if n > 0 {
			q.Guarantees = q.Guarantees.With(name, resource.Whole(int64(n)))
		}
		if rapid.Bool().Draw(w.t, "limited") {
			if q.Limits == nil {
				q.Limits = map[string]resource.Fixed{}
			}
			q.Limits[name] = resource.Whole(int64(max(0, n) + rapid.IntRange(0, 6).Draw(w.t, "more")))
		}
	}
	w.apply(q)
	w.quotas[q.Role] = q
}

func topOf(role string) string { top, _, _ := strings.Cut(role, "/"); return top }

func common(r resource.Resources) resource.Quantities {
	return r.Unreserved().NonRevocable().Filter(func(r *mesos.Resource) bool { return r.GetType() == mesos.Value_SCALAR }).Quantities()
}

// consumed is reservations plus what is held of common resources, of the whole subtree.
func (w *world) consumed(top string) resource.Quantities {
	var q resource.Quantities
	for _, a := range w.agents {
		q = q.Add(a.Total.Filter(func(r *mesos.Resource) bool {
			held := resource.RoleOf(r)
			return r.GetType() == mesos.Value_SCALAR && held != "*" && topOf(held) == top
		}).Quantities())
	}
	for _, g := range w.held {
		if topOf(g.Role) == top {
			q = q.Add(common(g.Resources))
		}
	}
	return q
}

// required is what must stay free for guarantees that are not met.
func (w *world) required() resource.Quantities {
	var q resource.Quantities
	for role, each := range w.quotas {
		q = q.Add(each.Guarantees.Subtract(w.consumed(role)))
	}
	return q
}

func (w *world) free(id ledger.AgentID) resource.Resources {
	left := w.agents[id].Total
	for _, g := range w.held {
		if g.Agent == id {
			left = left.Subtract(g.Resources)
		}
	}
	return left
}

func (w *world) usable(a *worldAgent) bool {
	return a != nil && a.open && (w.hosts == nil || w.hosts[a.Hostname])
}

func (w *world) room() resource.Quantities {
	var q resource.Quantities
	for id, a := range w.agents {
		if w.usable(a) {
			q = q.Add(common(w.free(id)))
		}
	}
	return q
}

// check says what is wrong with one grant, before it is booked.
func (w *world) check(g ledger.Grant) string {
	a, f := w.agents[g.Agent], w.frameworks[g.Framework]
	switch {
	case !w.usable(a):
		return "the agent is not to be offered"
	case g.Generation != a.Generation:
		return "generation"
	case f == nil || !slices.Contains(f.Roles, g.Role) || w.suppressed[g.Framework][g.Role]:
		return "the framework wants nothing"
	case !w.free(g.Agent).Contains(g.Resources):
		return fmt.Sprintf("over-allocation: free is %v", w.free(g.Agent))
	case a.Total.Get("gpus") > 0 && !f.Capabilities.GPU:
		return "gpus"
	case a.Region == "there" && !f.Capabilities.RegionAware:
		return "region"
	case f.Capabilities.MultiRole && !a.Capabilities.MultiRole, strings.Contains(g.Role, "/") && !a.Capabilities.HierarchicalRole:
		return "capabilities of the agent"
	case f.Constraints.GetRoleConstraints()[g.Role] != nil && a.Hostname == "host-u":
		return "offer constraints"
	}
	for _, r := range g.Resources {
		held := resource.RoleOf(r)
		if held != "*" && held != g.Role && !resource.IsSubrole(g.Role, held) ||
			r.Revocable != nil && !f.Capabilities.Revocable || len(r.Reservations) > 1 && !f.Capabilities.Refinement {
			return "not for this framework: " + resource.Text(r)
		}
	}
	q := g.Resources.Quantities()
	groups := []resource.Quantities{resource.Quantities{}.With("cpus", 10), resource.Quantities{}.With("mem", resource.Whole(32))}
	if own := f.Filters[g.Role]; own != nil {
		groups = nil
		for _, each := range own.MinAllocatableResources.Quantities {
			groups = append(groups, resource.QuantitiesOf(each.Quantities))
		}
	}
	if groups != nil && !slices.ContainsFunc(groups, func(m resource.Quantities) bool { return q.Contains(&m) }) || q.IsZero() {
		return "too little"
	}
	for _, x := range w.filters {
		if x.Agent == g.Agent && x.Framework == g.Framework && x.Role == g.Role && x.until.After(w.now) && x.Resources.Contains(g.Resources) {
			return fmt.Sprintf("declined until %v", x.until.Sub(w.now))
		}
	}
	return w.checkQuota(g)
}

// checkQuota: no limit is passed, and beyond its guarantee a role takes nothing of what
// others' unmet guarantees need.
func (w *world) checkQuota(g ledger.Grant) string {
	top, give := topOf(g.Role), common(g.Resources)
	consumed, quota := w.consumed(top), w.quotas[top]
	required, room := w.required(), w.room()
	for name, amount := range give.All() {
		if limit, limited := quota.Limits[name]; limited && consumed.Get(name)+amount > limit {
			return fmt.Sprintf("limit of %s %v: %v consumed", name, limit, consumed.Get(name))
		}
		own := max(0, quota.Guarantees.Get(name)-consumed.Get(name))
		if need := required.Get(name); need > 0 {
			if extra := amount - own; extra > 0 && room.Get(name)-amount < need-min(own, amount) {
				return fmt.Sprintf("headroom of %s: room %v, required %v, own %v", name, room.Get(name), need, own)
			}
		}
	}
	return ""
}

func (w *world) run() int {
	grants := w.al.Run(w.now)
	seen := map[string]bool{}
	for _, g := range grants {
		key := fmt.Sprint(g.Framework, " ", g.Role, " ", g.Agent)
		if seen[key] {
			w.t.Fatalf("%s is granted twice in one run", key)
		}
		seen[key] = true
		if why := w.check(g); why != "" {
			w.t.Fatalf("%s in %s is granted %v of %s: %s", g.Framework, g.Role, g.Resources, g.Agent, why)
		}
		w.held = append(w.held, g)
	}
	return len(grants)
}

// TestRules: whatever happens, each grant keeps every rule of section 3, and the
// allocator's sums are those of the book.
func TestRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sorter := rapid.SampledFrom([]allocate.Sorter{allocate.DRF, allocate.Random})
		w := &world{t: t, now: start, interval: time.Second, agents: map[ledger.AgentID]*worldAgent{}, frameworks: map[ledger.FrameworkID]*ledger.FrameworkOpen{},
			suppressed: map[ledger.FrameworkID]map[string]bool{}, quotas: map[string]ledger.QuotaSet{},
			al: allocate.New(allocate.Config{Seed: rapid.Uint64().Draw(t, "seed"), FilterGPU: true, Region: "here", RoleSorter: sorter.Draw(t, "roles"),
				FrameworkSorter: sorter.Draw(t, "frameworks"), Declines: rapid.IntRange(1, 3).Draw(t, "declines"),
				MaxGrants: rapid.SampledFrom([]int{1, 2, 100}).Draw(t, "most"), Weights: map[string]float64{"a": 2, "d/e": 3}})}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			w.step()
			w.run()
			w.compare()
		}
		w.settle()
	})
}

// compare holds the allocator's sums against the book.
func (w *world) compare() {
	v := w.al.View()
	var total, booked resource.Quantities
	scalars := func(r resource.Resources) resource.Quantities {
		return r.Filter(func(r *mesos.Resource) bool { return r.GetType() == mesos.Value_SCALAR }).Quantities()
	}
	for _, a := range w.agents {
		total = total.Add(scalars(a.Total))
	}
	for _, g := range w.held {
		booked = booked.Add(scalars(g.Resources))
	}
	if !v.Total.Equal(&total) || !v.Booked.Equal(&booked) {
		w.t.Fatalf("the allocator counts %v of %v, the book %v of %v", v.Booked, v.Total, booked, total)
	}
	for role, q := range v.Quotas {
		if want := w.consumed(role); !q.Consumed.Equal(&want) {
			w.t.Fatalf("quota of %s: the allocator counts %v consumed, the book %v", role, q.Consumed, want)
		}
	}
	for role, q := range w.quotas {
		if _, told := v.Quotas[role]; told != (!q.Guarantees.IsZero() || len(q.Limits) > 0) {
			w.t.Fatalf("quota of %s: %v", role, told)
		}
	}
	active := map[string]int{}
	for _, n := range v.Filters {
		active["all"] += n
	}
	if live := len(slices.DeleteFunc(slices.Clone(w.filters), func(x worldFilter) bool { return !x.until.After(w.now) })); active["all"] > live {
		w.t.Fatalf("%d filters in force, %d were declined and not dropped", active["all"], live)
	}
}

// settle: when nothing happens any more, a few intervals bring the allocator to rest, and
// then a look at everything anew finds nothing that was overlooked.
func (w *world) settle() {
	for i := 0; ; i++ {
		grants := w.al.Run(w.now)
		if len(grants) == 0 && !w.al.Dirty() && i > 40 {
			break
		}
		w.held = append(w.held, grants...)
		if i > 500 {
			w.t.Fatal("no rest")
		}
		w.now = w.now.Add(w.interval)
	}
	if w.hosts == nil {
		w.al.SetWhitelist(nil) // every agent is looked at
	} else {
		w.al.SetWhitelist([]string{"host-u", "host-v", "host-w"})
	}
	if grants := w.al.Run(w.now); len(grants) > 0 {
		w.t.Fatalf("overlooked: %v", grants)
	}
}
