package ledger

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/quota"
)

// Limits of quota amounts (mesos-master.md 11.2).
const (
	maxStorage    = 1 << 40 // of mem and disk, in MB
	maxAmount     = 1e12    // of everything else
	maxQuotaNames = 100     // resource names in one map
)

// updateQuota replaces the quotas of some roles, all of them or none.
func (l *Ledger) updateQuota(c OperatorCall, m *masterapi.Call_UpdateQuota) {
	configs := m.GetQuotaConfigs()
	if len(configs) > maxPolicyRoles {
		l.reply(c, 400, fmt.Sprintf("Invalid QuotaConfig: %d roles are more than %d; set them in several calls", len(configs), maxPolicyRoles))
		return
	}
	set := map[string]QuotaSet{}
	var order []string
	for _, config := range configs {
		if why := l.checkQuota(config); why != "" {
			l.reply(c, 400, why)
			return
		}
		role := config.GetRole()
		if _, twice := set[role]; !twice {
			order = append(order, role)
		}
		set[role] = quotaOf(role, config.GetGuarantees(), config.GetLimits())
	}
	const bypass = " (use 'force' flag to bypass this check)"
	for _, role := range order {
		if used := l.consumed(role); !m.GetForce() && !within(set[role].Limits, used) {
			l.reply(c, 400, fmt.Sprintf("Invalid QuotaConfig: Role '%s' is already consuming '%s'; this is more than the requested limits '%s'%s",
				role, used, limitText(set[role].Limits), bypass))
			return
		}
	}
	if total, capacity := l.guaranteed(set), l.capacity(); !m.GetForce() && !capacity.Contains(&total) {
		l.reply(c, 400, fmt.Sprintf("Invalid QuotaConfig: total quota guarantees '%s' exceed cluster capacity '%s'%s", total, capacity, bypass))
		return
	}
	l.enactQuotas(c, order, set, func() {
		for _, role := range order {
			l.enforceQuota(set[role])
		}
	})
}

// checkQuota gives the text of the refusal of one config, or nothing.
func (l *Ledger) checkQuota(config *quota.QuotaConfig) string {
	role := config.GetRole()
	const invalid = "Invalid QuotaConfig: "
	switch {
	case !l.whitelisted(role):
		return fmt.Sprintf("%s'%s' is not on the roles whitelist", invalid, role)
	case strings.Contains(role, "/"):
		return fmt.Sprintf("Updating quota on nested role '%s' is not supported yet", role)
	case len(role) > maxRole:
		return fmt.Sprintf("%sInvalid 'QuotaConfig.role': it has more than %d bytes", invalid, maxRole)
	}
	if why := validRole(role); why != "" {
		return invalid + "Invalid 'QuotaConfig.role': " + why
	}
	for _, each := range []struct {
		field, word string
		amounts     map[string]*mesos.Value_Scalar
	}{{"guarantees", "guarantee", config.GetGuarantees()}, {"limits", "limit", config.GetLimits()}} {
		if len(each.amounts) > maxQuotaNames {
			return fmt.Sprintf("%sInvalid 'QuotaConfig.%s': %d names are more than %d", invalid, each.field, len(each.amounts), maxQuotaNames)
		}
		for _, name := range slices.Sorted(maps.Keys(each.amounts)) {
			v := each.amounts[name].GetValue()
			if why := tooLarge(name, v); why != "" {
				return fmt.Sprintf("%sInvalid 'QuotaConfig.%s': {'%s': %s} is invalid: %s", invalid, each.field, name, plain(v), why)
			}
			if why := validAmount(v); why != "" {
				return fmt.Sprintf("%sInvalid %s configuration {'%s': %s}: %s", invalid, each.word, name, plain(v), why)
			}
		}
	}
	q := quotaOf(role, config.GetGuarantees(), config.GetLimits())
	if !within(q.Limits, q.Guarantees) {
		return fmt.Sprintf("%s'QuotaConfig.guarantees' %s is not contained within the 'QuotaConfig.limits' %s", invalid, q.Guarantees, limitText(q.Limits))
	}
	return ""
}

func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func tooLarge(name string, v float64) string {
	switch {
	case name == "mem" || name == "disk":
		if v > maxStorage {
			return fmt.Sprintf("values greater than 1 exabyte (%d) are not supported", int64(maxStorage))
		}
	case v > maxAmount:
		return fmt.Sprintf("values greater than 1 trillion (%d) are not supported", int64(maxAmount))
	}
	return ""
}

func validAmount(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN not supported"
	case math.IsInf(v, 0):
		return "Infinite values not supported"
	case v < 0:
		return "Negative values not supported"
	case v != 0 && v < 0x1p-1022:
		return "Subnormal values not supported"
	}
	return ""
}

func quotaOf(role string, guarantees, limits map[string]*mesos.Value_Scalar) QuotaSet {
	q := QuotaSet{Role: role, Guarantees: resource.QuantitiesOf(guarantees)}
	if len(limits) > 0 {
		q.Limits = make(map[string]resource.Fixed, len(limits))
		for name, v := range limits {
			q.Limits[name] = resource.FromFloat(v.GetValue())
		}
	}
	return q
}

// None says whether the role has no quota at all.
func (q QuotaSet) None() bool { return q.Guarantees.IsZero() && len(q.Limits) == 0 }

// within says whether the limits allow the amounts; a name without limit is free.
func within(limits map[string]resource.Fixed, amounts resource.Quantities) bool {
	for name, limit := range limits {
		if amounts.Get(name) > limit {
			return false
		}
	}
	return true
}

func limitText(limits map[string]resource.Fixed) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		parts = append(parts, name+":"+limits[name].String())
	}
	if len(parts) == 0 {
		return "{}"
	}
	return strings.Join(parts, "; ")
}

// setQuota is the older form: one role that has none yet, its guarantee is its limit.
func (l *Ledger) setQuota(c OperatorCall, m *quota.QuotaRequest) {
	why := l.checkQuotaRequest(m)
	role := m.GetRole()
	_, known := l.policies.quotas[role]
	const invalid = "Failed to validate set quota request: "
	switch {
	case why != "":
		why = invalid + why
	case !l.whitelisted(role):
		why = fmt.Sprintf("%sUnknown role '%s'", invalid, role)
	case known:
		why = fmt.Sprintf("%sCannot set quota for role '%s' which already has quota", invalid, role)
	case strings.Contains(role, "/"):
		why = fmt.Sprintf("Setting quota on nested role '%s' is not supported yet", role)
	}
	if why != "" {
		l.reply(c, 400, why)
		return
	}
	amounts := map[string]*mesos.Value_Scalar{}
	for _, r := range m.GetGuarantee() {
		amounts[r.GetName()] = r.GetScalar()
	}
	q := quotaOf(role, amounts, amounts)
	if total, capacity := l.guaranteed(map[string]QuotaSet{role: q}), l.capacity(); !m.GetForce() && !capacity.Contains(&total) {
		l.reply(c, 409, fmt.Sprintf("Quota guarantees overcommit the cluster (use 'force' to bypass this check): "+
			"Total quota guarantees '%s' exceed cluster capacity '%s'", total, capacity))
		return
	}
	l.enactQuotas(c, []string{role}, map[string]QuotaSet{role: q}, func() { l.rescindForQuota(q) })
}

// checkQuotaRequest gives the reason against the resources of a request, or nothing.
func (l *Ledger) checkQuotaRequest(m *quota.QuotaRequest) string {
	for _, r := range m.GetGuarantee() {
		if why := tooLarge(r.GetName(), r.GetScalar().GetValue()); why != "" {
			return fmt.Sprintf("QuotaInfo with invalid resource: %s: %s", r.GetName(), why)
		}
	}
	if why := checkResources(m.GetGuarantee()); why != "" {
		return "QuotaInfo with invalid resource: " + why
	}
	switch {
	case m.Role == nil:
		return "QuotaInfo must specify a role"
	case len(m.GetRole()) > maxRole:
		return fmt.Sprintf("QuotaInfo with invalid role: it has more than %d bytes", maxRole)
	}
	if why := validRole(m.GetRole()); why != "" {
		return "QuotaInfo with invalid role: " + why
	}
	if len(m.GetGuarantee()) == 0 {
		return "QuotaInfo with empty 'guarantee'"
	}
	if len(m.GetGuarantee()) > maxQuotaNames {
		return fmt.Sprintf("QuotaInfo with %d resources, more than %d", len(m.GetGuarantee()), maxQuotaNames)
	}
	names := map[string]bool{}
	for _, r := range resource.Upgrade(m.GetGuarantee()) {
		switch {
		case len(r.GetReservations()) > 0:
			return "QuotaInfo must not contain any ReservationInfo"
		case r.Disk != nil:
			return "QuotaInfo must not contain DiskInfo"
		case r.Revocable != nil:
			return "QuotaInfo must not contain RevocableInfo"
		case r.GetType() != mesos.Value_SCALAR:
			return "QuotaInfo must not include non-scalar resources"
		case names[r.GetName()]:
			return fmt.Sprintf("QuotaInfo contains duplicate resource name '%s'", r.GetName())
		}
		names[r.GetName()] = true
	}
	return ""
}

// removeQuota takes a role's quota away.
func (l *Ledger) removeQuota(c OperatorCall, role string) {
	if _, known := l.policies.quotas[role]; !known {
		l.reply(c, 400, fmt.Sprintf("Failed to remove quota: Role '%s' has no quota set", role))
		return
	}
	l.enactQuotas(c, []string{role}, map[string]QuotaSet{role: {Role: role}}, func() {})
}

// enactQuotas makes quotas durable, tells the allocator and then rescinds offers.
func (l *Ledger) enactQuotas(c OperatorCall, roles []string, set map[string]QuotaSet, rescind func()) {
	fact := Registry{}
	for _, role := range roles {
		fact.Quotas = append(fact.Quotas, set[role])
	}
	if len(roles) == 0 {
		l.reply(c, 200, "")
		return
	}
	l.enact(c, fact, func() {
		for _, q := range fact.Quotas {
			if q.None() {
				delete(l.policies.quotas, q.Role) // nothing is left to list
			} else {
				l.policies.quotas[q.Role] = q
			}
			l.emit(q)
		}
		rescind()
	})
}

// guaranteed sums the guarantees of all roles as they will be with the changes.
func (l *Ledger) guaranteed(changes map[string]QuotaSet) resource.Quantities {
	var sum resource.Quantities
	for role, q := range l.policies.quotas {
		if _, changed := changes[role]; !changed {
			sum = sum.Add(q.Guarantees)
		}
	}
	for _, q := range changes {
		sum = sum.Add(q.Guarantees)
	}
	return sum
}

// capacity is what all registered agents have, disconnected ones too: those are expected
// back.
func (l *Ledger) capacity() resource.Quantities {
	var sum resource.Quantities
	for _, a := range l.agents {
		sum = sum.Add(lasting(a.total))
	}
	return sum
}

// lasting counts scalars that are not revocable.
func lasting(r resource.Resources) resource.Quantities {
	return r.Filter(func(r *mesos.Resource) bool { return r.Revocable == nil && r.GetType() == mesos.Value_SCALAR }).Quantities()
}

// under says whether a role is top or below it.
func under(role, top string) bool {
	return role == top || strings.HasPrefix(role, top+"/")
}

// consumed is what counts against a quota: reservations, used or not, and what tasks and
// executors use without one (mesos-master.md 3.5).
func (l *Ledger) consumed(role string) resource.Quantities {
	var sum resource.Quantities
	for _, a := range l.agents {
		sum = sum.Add(a.total.Filter(func(r *mesos.Resource) bool {
			owner := resource.RoleOf(r)
			return owner != "*" && owner != "" && under(owner, role) && r.Revocable == nil
		}).Quantities())
	}
	for _, f := range l.frameworks {
		sum = sum.Add(f.used.Filter(func(r *mesos.Resource) bool {
			return len(r.GetReservations()) == 0 && r.Revocable == nil && under(r.GetAllocationInfo().GetRole(), role)
		}).Quantities())
	}
	return sum
}

// enforceQuota rescinds what stands in the way of a new quota: first offers to the role
// itself beyond its limits, then others' offers until the guarantee can be given.
func (l *Ledger) enforceQuota(q QuotaSet) {
	held := l.consumed(q.Role)
	var own, foreign []*offer
	for _, a := range l.sortedAgents() {
		for _, o := range sortedOffers(a.offers) {
			if under(o.role, q.Role) {
				own = append(own, o)
				held = held.Add(o.resources.Quantities())
			} else {
				foreign = append(foreign, o)
			}
		}
	}
	for _, o := range own {
		if within(q.Limits, held) {
			break
		}
		held = held.Subtract(o.resources.Quantities())
		l.rescind(o)
	}
	for _, o := range foreign {
		if held.Contains(&q.Guarantees) {
			break
		}
		held = held.Add(o.resources.Quantities())
		l.rescind(o)
	}
}

// rescindForQuota is what the older call rescinds: all offers of one agent after the
// other, until the guarantee is covered and as many agents were visited as the role has
// frameworks.
func (l *Ledger) rescindForQuota(q QuotaSet) {
	frameworks := 0
	for _, f := range l.frameworks {
		if f.active && !f.conn.None() && slices.Contains(f.roles, q.Role) {
			frameworks++
		}
	}
	var freed resource.Quantities
	visited := 0
	for _, a := range l.sortedAgents() {
		if freed.Contains(&q.Guarantees) && visited >= frameworks {
			return
		}
		if !a.active() || len(a.offers) == 0 {
			continue
		}
		for _, o := range sortedOffers(a.offers) {
			freed = freed.Add(o.resources.Quantities())
			l.rescind(o)
		}
		visited++
	}
}
