package allocate

import (
	"sort"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// Run visits every agent on which something became available and grants all of what it
// has free to the most deserving client that may have it, one client after the other.
// After each grant the order is made anew, so the next agent sees the new shares.
func (al *Allocator) Run(now time.Time) []ledger.Grant {
	al.runs++
	al.expire(now)
	if len(al.dirty) == 0 {
		return nil
	}
	ids := make([]ledger.AgentID, 0, len(al.dirty))
	for id := range al.dirty {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	for i := len(ids) - 1; i > 0; i-- {
		j := int(al.random() % uint64(i+1))
		ids[i], ids[j] = ids[j], ids[i]
	}
	var grants []ledger.Grant
	order := al.order()
	for _, id := range ids {
		if len(grants) >= al.cfg.MaxGrants {
			break // the agents not visited stay dirty
		}
		delete(al.dirty, id)
		a := al.agents[id]
		if a == nil || !a.open {
			continue
		}
		before := len(grants)
		for _, c := range order {
			if len(a.free) == 0 {
				break
			}
			if g, ok := al.grant(a, c); ok {
				grants = append(grants, g)
			}
		}
		if len(grants) > before {
			order = al.order()
		}
	}
	return grants
}

// grant gives a client all it may have of an agent, or nothing.
func (al *Allocator) grant(a *agent, c *client) (ledger.Grant, bool) {
	f := c.framework
	name := c.role.name
	switch {
	case a.gpus && al.cfg.FilterGPU && !f.capabilities.GPU:
		return ledger.Grant{}, false
	case a.region != "" && al.cfg.Region != "" && a.region != al.cfg.Region && !f.capabilities.RegionAware:
		return ledger.Grant{}, false
	case f.capabilities.MultiRole && !a.capabilities.MultiRole:
		return ledger.Grant{}, false
	case strings.Contains(name, "/") && !a.capabilities.HierarchicalRole:
		return ledger.Grant{}, false
	}
	r := a.free.Allocatable(name).Filter(func(r *mesos.Resource) bool {
		return (r.Revocable == nil || f.capabilities.Revocable) && (r.Shared == nil || f.capabilities.Shared) &&
			(len(r.Reservations) < 2 || f.capabilities.Refinement)
	})
	if len(r) == 0 || !al.enough(f, name, r) || c.filtered(a.id, r) {
		return ledger.Grant{}, false
	}
	a.taken = a.taken.Add(r)
	a.free = a.free.Subtract(r)
	al.charge(c, r)
	return ledger.Grant{Framework: f.id, Role: name, Agent: a.id, Generation: a.generation, Resources: r}, true
}

// enough tells whether an offer is worth making: it has one of the minimal groups.
func (al *Allocator) enough(f *framework, name string, r resource.Resources) bool {
	groups, own := f.minimum[name]
	if !own {
		groups = al.cfg.Minimum
	}
	if len(groups) == 0 {
		return true
	}
	q := r.Quantities()
	for i := range groups {
		if q.Contains(&groups[i]) {
			return true
		}
	}
	return false
}

// random is the splitmix64 generator: a good shuffle from a given seed, without the
// global source.
func (al *Allocator) random() uint64 {
	al.shuffle += 0x9e3779b97f4a7c15
	z := al.shuffle
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
