package operators

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// roleView is what one role holds, together with the roles below it.
type roleView struct {
	name                string
	weight              float64
	quota               ledger.QuotaSet // empty: none
	allocated, offered  resource.Quantities
	reserved, unclaimed resource.Quantities // all reservations; and allocations out of what nobody reserved
	frameworks          []string            // subscribed to it, or using resources under it
}

// consumed is what counts against a quota: reservations, used or not, and what is used
// without one.
func (r *roleView) consumed() resource.Quantities { return r.reserved.Add(r.unclaimed) }

// held is what is allocated and offered.
func (r *roleView) held() resource.Quantities { return r.allocated.Add(r.offered) }

// rolesOf lists the roles that are in use or have a weight or quota, by name; roles above them
// are among them when they hold something.
func rolesOf(b *ledger.Snapshot) []*roleView {
	roles := map[string]*roleView{}
	role := func(name string) *roleView {
		r := roles[name]
		if r == nil {
			r = &roleView{name: name, weight: 1}
			roles[name] = r
		}
		return r
	}
	for _, w := range policies(b).Weights {
		role(w.Role).weight = w.Weight
	}
	for _, q := range policies(b).Quotas {
		role(q.Role).quota = q
	}
	add := func(list []*mesos.Resource, to func(*mesos.Resource) string, where func(*roleView) *resource.Quantities) {
		for _, each := range list {
			q := resource.Resources{each}.Quantities()
			for name := range lineage(to(each)) {
				at := where(role(name))
				*at = at.Add(q)
			}
		}
	}
	allocation := func(r *mesos.Resource) string { return r.GetAllocationInfo().GetRole() }
	for _, a := range b.Agents {
		add(a.Total.Reserved(), resource.RoleOf, func(r *roleView) *resource.Quantities { return &r.reserved })
	}
	for _, f := range b.Frameworks {
		add(f.Used, allocation, func(r *roleView) *resource.Quantities { return &r.allocated })
		add(f.Used.Unreserved(), allocation, func(r *roleView) *resource.Quantities { return &r.unclaimed })
		add(f.Offered, allocation, func(r *roleView) *resource.Quantities { return &r.offered })
		in := map[string]bool{}
		for _, name := range f.Roles {
			in[name] = true
		}
		for _, r := range f.Used {
			in[allocation(r)] = true
		}
		delete(in, "")
		for name := range in {
			r := role(name)
			r.frameworks = append(r.frameworks, string(f.ID))
		}
	}
	out := make([]*roleView, 0, len(roles))
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		out = append(out, roles[name])
	}
	return out
}

// lineage gives a role and the roles above it: a/b/c, a/b, a. No role gives none.
func lineage(role string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for role != "" && yield(role) {
			i := strings.LastIndexByte(role, '/')
			if i < 0 {
				return
			}
			role = role[:i]
		}
	}
}

// quantities is a member with those amounts that are not zero.
func (e *encoder) quantities(name string, q resource.Quantities) {
	e.key(name)
	e.open('{')
	for each, amount := range q.All() {
		e.named(each)
		e.double(amount.Float())
	}
	e.shut('}')
}

// seenRoles are those that the shell's reader may see.
func (s *Shell) seenRoles(b *ledger.Snapshot) []*roleView {
	return permittedOf(rolesOf(b), func(v *roleView) bool { return s.sight.role(v.name) })
}

// roles answers /roles.
func (s *Shell) roles(w http.ResponseWriter, r *http.Request) {
	s.fresh(w, r, func(b *ledger.Snapshot) []part {
		return []part{
			one(func(e *encoder) { e.open('{') }),
			listOpens("roles"), each(s.seenRoles(b), (*encoder).roleEntry), listShuts,
			one(func(e *encoder) { e.shut('}') }),
		}
	})
}

func (e *encoder) roleEntry(v *roleView) {
	e.open('{')
	e.str("name", v.name)
	e.num("weight", v.weight)
	e.key("quota")
	e.open('{')
	e.str("role", v.name)
	e.quantities("guarantee", v.quota.Guarantees)
	e.key("limit")
	e.open('{')
	for _, name := range slices.Sorted(maps.Keys(v.quota.Limits)) {
		e.named(name)
		e.double(v.quota.Limits[name].Float())
	}
	e.shut('}')
	e.quantities("consumed", v.consumed())
	e.shut('}')
	e.quantities("resources", v.held())
	e.quantities("allocated", v.allocated)
	e.quantities("offered", v.offered)
	e.quantities("reserved", v.reserved)
	e.strings("frameworks", v.frameworks)
	e.shut('}')
}

// getRoles is GET_ROLES, whose resources are only the four scalars.
func (s *Shell) getRoles(b *ledger.Snapshot) *masterapi.Response_GetRoles {
	out := &masterapi.Response_GetRoles{}
	for _, v := range s.seenRoles(b) {
		role := &mesos.Role{Name: proto.String(v.name), Weight: proto.Float64(v.weight)}
		for _, id := range v.frameworks {
			role.Frameworks = append(role.Frameworks, &mesos.FrameworkID{Value: proto.String(id)})
		}
		held := v.held()
		for name, amount := range held.All() {
			if usualIndex(name) >= 0 {
				role.Resources = append(role.Resources, &mesos.Resource{Name: proto.String(name),
					Type: mesos.Value_SCALAR.Enum(), Scalar: amount.Scalar()})
			}
		}
		out.Roles = append(out.Roles, role)
	}
	return out
}
