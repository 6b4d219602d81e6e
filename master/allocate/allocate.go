// Package allocate decides which framework is offered which agent's resources: weighted
// dominant resource fairness or weighted chance over a tree of roles and the frameworks
// below each, with quota, reservations, constraints and filters (mesos-master.md section
// 3). It is a core: a plain value that is fed the ledger's effects and, when asked to
// Run, answers with grants; each carries the generation of the agent it was made from,
// and the ledger checks it again.
//
// It runs when something became available (Dirty), not on a fixed cycle, and looks only at
// agents and frameworks that changed. What waits for time: what a framework declined (its
// refuse_seconds, at least one Interval), and, for the next Interval, agents whose
// resources quota held back and agents that were declined while very many were.
package allocate

import (
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/master/allocate/constraint"
	"github.com/stoa-project/stoa/master/ledger"
)

// Sorter is how those who wait are put in order.
type Sorter string

// The sorters.
const (
	DRF    Sorter = "drf"    // weighted dominant resource fairness
	Random Sorter = "random" // weighted chance
)

// Config sets the policy. Zero values are Mesos' defaults.
type Config struct {
	Interval        time.Duration         // --allocation_interval: least time before a declined resource comes back, 1 s
	RoleSorter      Sorter                // --role_sorter: drf
	FrameworkSorter Sorter                // --framework_sorter: drf
	Weights         map[string]float64    // --weights: by role path; others weigh 1; WeightSet changes them
	Minimum         []resource.Quantities // --min_allocatable_resources: an offer has at least one of these; nil: cpus:0.01 or mem:32; empty: no minimum
	Excluded        []string              // --fair_sharing_excluded_resource_names
	FilterGPU       bool                  // --filter_gpu_resources: agents with gpus only for GPU_RESOURCES frameworks
	Region          string                // the master's fault domain region; agents elsewhere only for REGION_AWARE
	Constraints     constraint.Limits     // of regular expressions
	Seed            uint64                // of the order in which agents are visited, and of the random sorters
	MaxGrants       int                   // grants of one Run, 10000; the rest waits for the next
	MaxFilters      int                   // declines remembered at once, 16,777,216 (half a GB); beyond it they count for one Interval only
	Declines        int                   // declined agents offered on at once in one Interval, 2000; more wait for its end
}

// Allocator is the policy's state. It is not safe for concurrent use.
type Allocator struct {
	cfg        Config
	weights    map[string]float64
	agents     map[ledger.AgentID]*agent
	slots      []*agent // by agent.slot; nil: free
	freeSlots  []int
	frameworks map[ledger.FrameworkID]*framework
	clients    []*client // by client.index; nil: free
	freeIndex  []int
	root       *role
	roles      map[string]*role

	total   resource.Quantities // scalars of all agents
	fair    resource.Quantities // the same without the excluded names: shares are of this
	totals  uint64              // grows when fair changes; never 0
	room    resource.Quantities // free common resources of all usable agents: what headroom is made of
	booked  resource.Quantities // everything offered and used: a metric
	openFor int                 // agents ever opened, for Awaiting

	quotas   []*role // top-level roles with quota, by name
	needs    ranking // top-level roles whose guarantee is not met and that want offers
	uncapped ranking // those that want offers and may have common resources; empty without quota
	required resource.Quantities
	requoted []*role

	stale   []*node
	fresh   []*client
	dirty   []*agent // to be visited
	idle    set      // slots of usable agents with something free
	stocks  stocks
	later   []*agent // to become dirty with the next interval
	held    []*agent // with resources that quota held back
	recheck bool     // what was held back may be free by now
	period  time.Time
	tokens  int // declined agents that may still be offered on at once

	epochs      uint32
	wheel       wheel
	ghosts      int // entries of the wheel whose filter no longer counts
	minimums    int // clients with a minimum of their own
	constrained int // clients with offer constraints

	whitelist   map[string]bool // hostnames; nil: all
	awaiting    *ledger.Awaiting
	maintenance map[*agent]bool
	inverse     bool // an inverse offer may be due
	seed        uint64
	runs        int
}

// New gives an allocator without agents.
func New(cfg Config) *Allocator {
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	if cfg.Minimum == nil {
		cfg.Minimum = []resource.Quantities{
			resource.Quantities{}.With("cpus", resource.FromFloat(0.01)),
			resource.Quantities{}.With("mem", resource.Whole(32)),
		}
	}
	if cfg.MaxGrants <= 0 {
		cfg.MaxGrants = 10000
	}
	if cfg.MaxFilters <= 0 {
		cfg.MaxFilters = 16 << 20
	}
	if cfg.Declines <= 0 {
		cfg.Declines = 2000
	}
	al := &Allocator{cfg: cfg, weights: map[string]float64{}, agents: map[ledger.AgentID]*agent{},
		frameworks: map[ledger.FrameworkID]*framework{}, roles: map[string]*role{}, maintenance: map[*agent]bool{},
		stocks: stocks{}, wheel: wheel{at: map[int64][]where{}}, totals: 1, tokens: cfg.Declines, seed: cfg.Seed,
		needs:    ranking{slot: needy, random: cfg.RoleSorter == Random},
		uncapped: ranking{slot: uncapped, random: cfg.RoleSorter == Random}}
	for role, w := range cfg.Weights {
		al.weights[role] = w
	}
	al.root = al.newRole("", nil)
	return al
}

// Apply takes one effect of the ledger; those that do not concern resources are
// passed over.
func (al *Allocator) Apply(now time.Time, effect ledger.Effect) {
	switch e := effect.(type) {
	case ledger.AgentOpen:
		al.openAgent(e)
	case ledger.AgentClosed:
		al.closeAgent(e)
	case ledger.FrameworkOpen:
		al.openFramework(e)
	case ledger.FrameworkClosed:
		al.closeFramework(e)
	case ledger.Taken:
		al.take(e)
	case ledger.Released:
		al.release(now, e)
	case ledger.Converted:
		al.convert(e)
	case ledger.Revived:
		al.revive(e)
	case ledger.Suppressed:
		al.suppress(e)
	case ledger.QuotaSet:
		al.setQuota(e)
	case ledger.WeightSet:
		al.setWeight(e)
	case ledger.InverseAnswered:
		al.inverseAnswered(now, e)
	case ledger.Awaiting:
		al.await(e)
	}
}

// Dirty tells whether a Run may grant something at once.
func (al *Allocator) Dirty() bool {
	return al.awaiting == nil && (len(al.dirty) > 0 || (len(al.fresh) > 0 && al.idle.size > 0) || al.inverse)
}

// Next gives the time at which Run is worth asking again although nothing else happens:
// a filter ends, an interval is over, the wait after a failover ends. False when there is
// none.
func (al *Allocator) Next() (at time.Time, any bool) {
	if al.awaiting != nil {
		return al.awaiting.Until, true
	}
	at, any = al.wheel.next()
	sooner := func(t time.Time) {
		if !any || t.Before(at) {
			at, any = t, true
		}
	}
	if len(al.later) > 0 || (al.recheck && len(al.held) > 0) {
		sooner(al.period.Add(al.cfg.Interval))
	}
	if t, waits := al.nextInverse(); waits {
		sooner(t)
	}
	return at, any
}

// SetWhitelist names the hosts whose agents are offered; nil: all (--whitelist).
func (al *Allocator) SetWhitelist(hosts []string) {
	al.whitelist = nil
	if hosts != nil {
		al.whitelist = map[string]bool{}
		for _, h := range hosts {
			al.whitelist[h] = true
		}
	}
	for _, a := range al.slots {
		if a != nil {
			al.enable(a, a.open)
		}
	}
}

// await holds grants back after a failover while quota could not be kept (section 0).
func (al *Allocator) await(e ledger.Awaiting) {
	if al.awaiting = nil; e.Agents > al.openFor {
		al.awaiting = &e
	}
}

// turn begins a new interval when the present one is over: what waited for it is dirty.
func (al *Allocator) turn(now time.Time) {
	if now.Before(al.period.Add(al.cfg.Interval)) && !now.Before(al.period) {
		return
	}
	al.period, al.tokens = now, al.cfg.Declines
	for _, a := range al.later {
		a.later = false
		al.soil(a)
	}
	al.later = al.later[:0]
	if al.recheck {
		al.recheck = false
		for _, a := range al.held {
			a.held = false
			al.soil(a)
		}
		al.held = al.held[:0]
	}
}
