// Package allocate decides which framework is offered which agent's resources: weighted
// dominant resource fairness over a tree of roles and the frameworks below each
// (mesos-master.md section 3). It is a core: a plain value that is fed the ledger's
// effects and, when asked to Run, answers with grants; each carries the generation of
// the agent it was made from, and the ledger checks it again.
//
// It runs when something became available (Dirty), not on a fixed cycle; only what a
// framework just declined waits, for its refuse_seconds and at least one Interval.
package allocate

import (
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// Config sets the policy. Zero values are Mesos' defaults.
type Config struct {
	Interval  time.Duration         // --allocation_interval: least time before a declined resource comes back, 1 s
	Weights   map[string]float64    // --weights: by role path; others weigh 1
	Minimum   []resource.Quantities // --min_allocatable_resources: an offer has at least one of these; nil: cpus:0.01 or mem:32
	Excluded  []string              // --fair_sharing_excluded_resource_names
	FilterGPU bool                  // --filter_gpu_resources: agents with gpus only for GPU_RESOURCES frameworks
	Region    string                // the master's fault domain region; agents elsewhere only for REGION_AWARE
	Seed      uint64                // of the order in which agents are visited
	MaxGrants int                   // grants of one Run, 10000; the rest waits for the next
}

// Allocator is the policy's state. It is not safe for concurrent use.
type Allocator struct {
	cfg        Config
	agents     map[ledger.AgentID]*agent
	frameworks map[ledger.FrameworkID]*framework
	root       *role
	roles      map[string]*role
	total      resource.Quantities // scalars of all agents, without the excluded names
	filters    filterHeap
	dropped    int // entries of filters that no longer count
	dirty      map[ledger.AgentID]bool
	shuffle    uint64
	sequence   uint64 // of filters
	runs       int
}

// agent is one agent's resources.
type agent struct {
	id           ledger.AgentID
	open         bool // its resources may be offered
	generation   uint64
	total        resource.Resources
	free         resource.Resources // total without what is offered or used
	scalars      resource.Quantities
	gpus         bool
	capabilities ledger.AgentCapabilities
	region       string
	// taken is what is booked before the agent's total is known (re-registration tells
	// tasks first).
	taken resource.Resources
}

// framework is one framework's demand.
type framework struct {
	id           ledger.FrameworkID
	open         bool
	capabilities ledger.FrameworkCapabilities
	roles        map[string]*client // all roles with demand or allocations
	minimum      map[string][]resource.Quantities
}

// client is a framework in one role: a leaf of the tree.
type client struct {
	framework  *framework
	role       *role
	subscribed bool
	suppressed bool
	allocated  resource.Quantities // scalars, offered and used
	count      int                 // grants so far: breaks ties
	filters    map[ledger.AgentID][]*filter
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
	root := newRole("", nil, 1)
	return &Allocator{cfg: cfg, agents: map[ledger.AgentID]*agent{}, frameworks: map[ledger.FrameworkID]*framework{},
		root: root, roles: map[string]*role{}, dirty: map[ledger.AgentID]bool{}, shuffle: cfg.Seed}
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
	case ledger.Revived:
		al.revive(e)
	case ledger.Suppressed:
		al.suppress(e)
	}
}

// Dirty tells whether a Run may grant something.
func (al *Allocator) Dirty() bool { return len(al.dirty) > 0 }

// Runs is how often Run was asked.
func (al *Allocator) Runs() int { return al.runs }

func (al *Allocator) agent(id ledger.AgentID) *agent {
	a := al.agents[id]
	if a == nil {
		a = &agent{id: id}
		al.agents[id] = a
	}
	return a
}

func (al *Allocator) openAgent(e ledger.AgentOpen) {
	a := al.agent(e.Agent)
	al.total = al.total.Subtract(a.scalars)
	a.open, a.generation, a.total = true, e.Generation, e.Total.Unallocate()
	a.capabilities, a.region = e.Capabilities, e.Region
	a.scalars = al.scalars(a.total)
	a.gpus = a.total.Get("gpus") > 0
	al.total = al.total.Add(a.scalars)
	a.free = a.total.Subtract(a.taken)
	al.dirty[a.id] = true
}

func (al *Allocator) closeAgent(e ledger.AgentClosed) {
	a := al.agents[e.Agent]
	if a == nil {
		return
	}
	a.open = false
	delete(al.dirty, a.id)
	if !e.Gone {
		return
	}
	al.total = al.total.Subtract(a.scalars)
	delete(al.agents, a.id)
	for _, f := range al.frameworks {
		for _, c := range f.roles {
			al.drop(c.filters[a.id])
			delete(c.filters, a.id)
		}
	}
}

func (al *Allocator) framework(id ledger.FrameworkID) *framework {
	f := al.frameworks[id]
	if f == nil {
		f = &framework{id: id, roles: map[string]*client{}}
		al.frameworks[id] = f
	}
	return f
}

func (al *Allocator) openFramework(e ledger.FrameworkOpen) {
	f := al.framework(e.Framework)
	f.open, f.capabilities, f.minimum = true, e.Capabilities, minimums(e.Filters)
	for _, c := range f.roles {
		c.subscribed = false
	}
	for _, name := range e.Roles {
		c := al.client(f, name)
		c.subscribed, c.suppressed = true, false
	}
	for _, name := range e.Suppressed {
		if c := f.roles[name]; c != nil {
			c.suppressed = true
		}
	}
	for name, c := range f.roles {
		if !c.subscribed {
			al.dropAll(c)
			al.prune(f, name)
		}
	}
	al.dirtyAll()
}

func (al *Allocator) closeFramework(e ledger.FrameworkClosed) {
	f := al.frameworks[e.Framework]
	if f == nil {
		return
	}
	f.open = false
	for name, c := range f.roles {
		al.dropAll(c)
		if e.Gone {
			c.subscribed = false
			al.prune(f, name)
		}
	}
	if e.Gone && len(f.roles) == 0 {
		delete(al.frameworks, f.id)
	}
}

// client gives the framework's leaf in a role, made when missing.
func (al *Allocator) client(f *framework, name string) *client {
	c := f.roles[name]
	if c == nil {
		c = &client{framework: f, role: al.role(name)}
		f.roles[name] = c
		c.role.clients[f.id] = c
	}
	return c
}

// prune drops a leaf that neither wants nor has anything.
func (al *Allocator) prune(f *framework, name string) {
	c := f.roles[name]
	if c == nil || c.subscribed || !c.allocated.IsZero() {
		return
	}
	delete(f.roles, name)
	delete(c.role.clients, f.id)
	al.pruneRole(c.role)
}

// take books what the ledger learned of without a grant.
func (al *Allocator) take(e ledger.Taken) {
	a := al.agent(e.Agent)
	r := e.Resources.Unallocate()
	a.taken = a.taken.Add(r)
	a.free = a.free.Subtract(r)
	al.charge(al.client(al.framework(e.Framework), e.Role), r)
}

func (al *Allocator) charge(c *client, r resource.Resources) {
	q := al.scalars(r)
	c.allocated = c.allocated.Add(q)
	c.count++
	for n := c.role; n != nil; n = n.parent {
		n.allocated = n.allocated.Add(q)
		n.count++
	}
}

// release gives resources back and, when they were declined, remembers that.
func (al *Allocator) release(now time.Time, e ledger.Released) {
	r := e.Resources.Unallocate()
	if f := al.frameworks[e.Framework]; f != nil {
		if c := f.roles[e.Role]; c != nil {
			q := al.scalars(r)
			c.allocated = c.allocated.Subtract(q)
			for n := c.role; n != nil; n = n.parent {
				n.allocated = n.allocated.Subtract(q)
			}
			if e.Declined && f.open && c.subscribed && al.agents[e.Agent] != nil {
				al.refuse(now, c, e.Agent, r, e.Refuse)
			}
			al.prune(f, e.Role)
		}
		if !f.open && len(f.roles) == 0 {
			delete(al.frameworks, f.id)
		}
	}
	a := al.agents[e.Agent]
	if a == nil {
		return
	}
	a.taken = a.taken.Subtract(r)
	a.free = a.total.Subtract(a.taken)
	if a.open {
		al.dirty[a.id] = true
	}
}

func (al *Allocator) revive(e ledger.Revived) {
	f := al.frameworks[e.Framework]
	if f == nil {
		return
	}
	for _, c := range f.named(e.Roles) {
		c.suppressed = false
		al.dropAll(c)
	}
	al.dirtyAll()
}

func (al *Allocator) suppress(e ledger.Suppressed) {
	if f := al.frameworks[e.Framework]; f != nil {
		for _, c := range f.named(e.Roles) {
			c.suppressed = true
		}
	}
}

// named gives the clients of the roles, all of them when none is named.
func (f *framework) named(names []string) []*client {
	var out []*client
	if len(names) == 0 {
		for _, c := range f.roles {
			out = append(out, c)
		}
		return out
	}
	for _, name := range names {
		if c := f.roles[name]; c != nil {
			out = append(out, c)
		}
	}
	return out
}

func (al *Allocator) dirtyAll() {
	for id, a := range al.agents {
		if a.open && len(a.free) > 0 {
			al.dirty[id] = true
		}
	}
}

// scalars counts what fair sharing is about: scalar resources that are not excluded.
func (al *Allocator) scalars(r resource.Resources) resource.Quantities {
	q := r.Filter(func(r *mesos.Resource) bool { return r.GetType() == mesos.Value_SCALAR }).Quantities()
	for _, name := range al.cfg.Excluded {
		q = q.With(name, 0)
	}
	return q
}

func minimums(filters map[string]*mesos.OfferFilters) map[string][]resource.Quantities {
	out := map[string][]resource.Quantities{}
	for role, f := range filters {
		if f.MinAllocatableResources == nil {
			continue
		}
		groups := []resource.Quantities{}
		for _, g := range f.GetMinAllocatableResources().GetQuantities() {
			groups = append(groups, resource.QuantitiesOf(g.GetQuantities()))
		}
		out[role] = groups
	}
	return out
}
