package allocate

import (
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/master/ledger"
)

// View is what metrics tell of the allocator (mesos-master.md section 9).
type View struct {
	Runs     int
	Total    resource.Quantities // scalars of all agents
	Booked   resource.Quantities // scalars offered and used
	Dominant map[string]float64  // dominant share by its weight, of roles with frameworks
	Filters  map[string]int      // filters in force, by role
	Quotas   map[string]QuotaView
}

// QuotaView is one role's quota and how it is used.
type QuotaView struct {
	Guarantees resource.Quantities
	Limits     map[string]resource.Fixed
	Consumed   resource.Quantities // reservations, and what is taken of unreserved resources
	Booked     resource.Quantities // offered and used
}

// View gives the present figures; it copies all it gives.
func (al *Allocator) View() *View {
	v := &View{Runs: al.runs, Total: al.total, Booked: al.booked,
		Dominant: map[string]float64{}, Filters: make(map[string]int, len(al.roles)), Quotas: map[string]QuotaView{}}
	for name, r := range al.roles {
		v.Filters[name] = r.declined
		if len(r.clients) > 0 {
			v.Dominant[name] = r.own.allocated.Share(&al.fair)
			if len(r.children) == 0 {
				v.Dominant[name] /= r.node.weight
			}
		}
	}
	for _, r := range al.quotas {
		q := QuotaView{Guarantees: r.quota.guarantee, Limits: map[string]resource.Fixed{}, Consumed: r.consumed(), Booked: r.node.allocated}
		for _, l := range r.quota.limits {
			q.Limits[l.Name] = l.Amount
		}
		v.Quotas[r.name] = q
	}
	return v
}

// Constrained is what /allocator/offer_constraints_debug tells of one framework (1.12).
type Constrained struct {
	Framework  ledger.FrameworkID
	Suppressed []string
	Excluded   map[string][]ledger.AgentID // by role: agents that its offer constraints rule out
}

// Constrained evaluates the offer constraints of every framework that was told of, by id.
func (al *Allocator) Constrained() []Constrained {
	out := make([]Constrained, 0, len(al.frameworks))
	for _, f := range al.sortedFrameworks() {
		d := Constrained{Framework: f.id, Suppressed: []string{}, Excluded: map[string][]ledger.AgentID{}}
		for _, name := range f.names() {
			c := f.roles[name]
			if !c.subscribed {
				continue
			}
			if c.suppressed {
				d.Suppressed = append(d.Suppressed, name)
			}
			d.Excluded[name] = []ledger.AgentID{}
			for _, a := range al.slots {
				if a != nil && a.known && al.excludes(c, a) {
					d.Excluded[name] = append(d.Excluded[name], a.id)
				}
			}
		}
		out = append(out, d)
	}
	return out
}
