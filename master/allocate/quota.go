package allocate

import (
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// quota is what a top-level role is guaranteed and limited to, with all roles below it
// (mesos-master.md 3.5, 11.2).
type quota struct {
	guarantee resource.Quantities
	limits    []resource.Quantity // what is not named is not limited
	unmet     resource.Quantities // guarantee - consumed: kept free for it
	capped    bool                // the limits leave no common resources that make an offer
}

func (al *Allocator) setQuota(e ledger.QuotaSet) {
	r := al.role(e.Role).top
	at, had := slices.BinarySearchFunc(al.quotas, r.name, func(r *role, name string) int { return strings.Compare(r.name, name) })
	if had {
		al.required = al.required.Subtract(r.quota.unmet)
		r.quota = nil
	}
	al.recheck = true
	if e.Guarantees.IsZero() && len(e.Limits) == 0 {
		if had {
			al.quotas = slices.Delete(al.quotas, at, at+1)
		}
		al.reenlist(r)
		al.settle() // before the role may be forgotten
		al.pruneRole(r)
		return
	}
	r.quota = &quota{guarantee: e.Guarantees}
	for _, name := range slices.Sorted(maps.Keys(e.Limits)) {
		r.quota.limits = append(r.quota.limits, resource.Quantity{Name: name, Amount: e.Limits[name]})
	}
	if !had {
		al.quotas = slices.Insert(al.quotas, at, r)
	}
	al.requote(r)
	al.reenlist(r)
}

// reenlist makes the lists of roles anew that exist only while there is quota at all.
func (al *Allocator) reenlist(r *role) {
	if al.requoted = append(al.requoted, r); len(al.quotas) > 1 {
		return // no change of that
	}
	for _, name := range slices.Sorted(maps.Keys(al.root.children)) {
		al.requoted = append(al.requoted, al.root.children[name])
	}
}

// consumed is what counts against a role's quota: reservations, whoever has them, and
// what is taken of unreserved resources. Both with all roles below.
func (r *role) consumed() resource.Quantities { return r.reserved.Add(r.used) }

// requote makes what follows from a change of a role's consumption, or of its demand.
func (al *Allocator) requote(top *role) {
	if len(al.quotas) > 0 {
		al.requoted = append(al.requoted, top)
	}
	q := top.quota
	if q == nil {
		return
	}
	consumed := top.consumed()
	al.required = al.required.Subtract(q.unmet)
	q.unmet = q.guarantee.Subtract(consumed)
	al.required = al.required.Add(q.unmet)
	q.capped = al.capped(q, &consumed)
}

// enlist puts a role among those in need, and among those that common resources may be
// offered to, or takes it away.
func (al *Allocator) enlist(top *role) {
	q, live := top.quota, top.queues[everyone].live > 0
	if live && q != nil && !q.unmet.IsZero() {
		al.join(&al.needs, &top.node)
	} else {
		leave(&top.node, needy)
	}
	if live && len(al.quotas) > 0 && (q == nil || !q.capped) {
		al.join(&al.uncapped, &top.node)
	} else {
		leave(&top.node, uncapped)
	}
}

// capped tells whether no offer can be made of common resources alone: each minimal
// group needs more of something than the limits leave. Frameworks with a minimum of
// their own are looked at one by one instead.
func (al *Allocator) capped(q *quota, consumed *resource.Quantities) bool {
	if len(q.limits) == 0 || al.minimums > 0 || len(al.cfg.Minimum) == 0 {
		return false
	}
	for _, group := range al.cfg.Minimum {
		fits := true
		for _, l := range q.limits {
			if need := group.Get(l.Name); need > 0 && l.Amount-consumed.Get(l.Name) < need {
				fits = false
			}
		}
		if fits {
			return false
		}
	}
	return true
}

// chop cuts the common resources of a stock down to what the role may take: all that its
// guarantee lacks when guaranteed, and beyond that what its limits and the headroom for
// the unmet guarantees of all roles leave (3.1, 3.5). progress says that the guarantee
// gets something. What is not common stays whole.
func (al *Allocator) chop(r *role, s *stock, guaranteed bool) (list resource.Resources, progress bool) {
	q := r.top.quota
	var lacks, extra resource.Quantities // still to be given for the guarantee; given beyond it
	var limit []resource.Quantity
	var consumed resource.Quantities
	if q != nil {
		limit, consumed = q.limits, r.top.consumed()
		if guaranteed {
			lacks = q.unmet
		}
	}
	list = s.list
	changed := false
	for i, each := range s.list {
		if !common(each) {
			if changed {
				list = append(list, each)
			}
			continue
		}
		name, amount := each.GetName(), resource.FromFloat(each.GetScalar().GetValue())
		owed := min(amount, lacks.Get(name)) // what counts for the guarantee
		most := resource.Fixed(math.MaxInt64)
		for _, l := range limit {
			if l.Name == name {
				most = max(0, l.Amount-consumed.Get(name)-owed)
			}
		}
		if need := al.required.Get(name); need > 0 {
			most = min(most, max(0, al.room.Get(name)-need-extra.Get(name)))
		}
		beyond := min(amount-owed, most)
		take := owed + beyond
		if take < amount && !divisible(each) {
			owed, beyond, take = 0, 0, 0
		}
		if take < amount && !changed {
			changed = true
			list = slices.Clone(s.list[:i])
		}
		if owed > 0 {
			progress = true
			lacks = lacks.With(name, lacks.Get(name)-owed)
		}
		extra = extra.With(name, extra.Get(name)+beyond)
		consumed = consumed.With(name, consumed.Get(name)+take)
		switch {
		case !changed || take == 0:
		case take == amount:
			list = append(list, each)
		default:
			list = append(list, portion(each, take))
		}
	}
	return list, progress
}

// divisible tells whether a part of the resource can be taken: some disks only go whole.
func divisible(r *mesos.Resource) bool {
	return r.Disk == nil || resource.Resources{r}.Contains(resource.Resources{portion(r, resource.FromFloat(r.GetScalar().GetValue())-1)})
}

// portion is the same resource with another amount.
func portion(r *mesos.Resource, amount resource.Fixed) *mesos.Resource {
	if r.Disk == nil && r.ProviderId == nil {
		return resource.Scalar(r.GetName(), amount)
	}
	out := proto.CloneOf(r)
	out.Scalar = amount.Scalar()
	return out
}
