package ledger

import (
	"maps"
	"math"
	"slices"

	"github.com/stoa-project/stoa/internal/wire/maintenance"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
)

// policies are what operators set for the whole cluster: quotas, weights, maintenance.
// Calls that change them are carried out one after the other, each on what the one
// before left durable.
type policies struct {
	quotas   map[string]QuotaSet
	weights  map[string]float64
	schedule *maintenance.Schedule // nil: none; never changed in place

	busy    bool // a change is being written
	waiting []OperatorCall

	told *Policies // what the last snapshot says; nil when something changed since
}

func newPolicies() policies {
	return policies{quotas: map[string]QuotaSet{}, weights: map[string]float64{}}
}

// Policies are the policies as readers see them; never changed again.
type Policies struct {
	Quotas   []QuotaSet  // roles with a quota, by name
	Weights  []WeightSet // roles with a weight, by name
	Schedule *maintenance.Schedule
	Machines *maintenance.ClusterStatus
}

// policyCall carries out a call that changes a policy, or makes it wait for its turn.
func (l *Ledger) policyCall(c OperatorCall) {
	p := &l.policies
	if p.busy {
		if len(p.waiting) >= maxPolicies {
			l.reply(c, 503, "Too many calls that change policies wait already")
			return
		}
		p.waiting = append(p.waiting, c)
		return
	}
	switch m := c.Call; m.GetType() {
	case masterapi.Call_UPDATE_QUOTA:
		l.updateQuota(c, m.GetUpdateQuota())
	case masterapi.Call_SET_QUOTA:
		l.setQuota(c, m.GetSetQuota().GetQuotaRequest())
	case masterapi.Call_REMOVE_QUOTA:
		l.removeQuota(c, m.GetRemoveQuota().GetRole())
	case masterapi.Call_UPDATE_WEIGHTS:
		l.updateWeights(c, m.GetUpdateWeights().GetWeightInfos())
	case masterapi.Call_UPDATE_MAINTENANCE_SCHEDULE:
		l.updateSchedule(c, m.GetUpdateMaintenanceSchedule().GetSchedule())
	case masterapi.Call_START_MAINTENANCE:
		l.startMaintenance(c, m.GetStartMaintenance().GetMachines())
	case masterapi.Call_STOP_MAINTENANCE:
		l.stopMaintenance(c, m.GetStopMaintenance().GetMachines())
	}
}

// enact makes a change of policies durable; then carries it out and answers the call.
func (l *Ledger) enact(c OperatorCall, fact Registry, then func()) {
	p := &l.policies
	p.busy = true
	l.durable(fact, func() {
		then()
		l.policiesChanged()
		l.reply(c, 200, "")
		p.busy = false
		for len(p.waiting) > 0 && !p.busy {
			next := p.waiting[0]
			p.waiting = p.waiting[1:]
			l.policyCall(next)
		}
	})
}

func (l *Ledger) policiesChanged() { l.policies.told = nil }

// recoverPolicies takes what the registry held. Weights of the flag count only until an
// operator has set some: the first term writes them down (11.3).
func (l *Ledger) recoverPolicies(e Recovered) {
	p := &l.policies
	if len(e.Quotas) > 0 && len(e.Admitted) > 0 && l.cfg.RecoveryFactor > 0 {
		// Quotas cannot be kept before most agents have told what runs on them.
		l.emit(Awaiting{Agents: int(math.Ceil(float64(len(e.Admitted)) * l.cfg.RecoveryFactor)), Until: l.now.Add(l.cfg.RecoveryTimeout)})
	}
	for _, q := range e.Quotas {
		p.quotas[q.Role] = q
		l.emit(q)
	}
	weights := e.Weights
	if len(weights) == 0 && len(l.cfg.Weights) > 0 {
		weights = l.cfg.Weights
		l.durable(Registry{Weights: weights}, nil)
	}
	for _, w := range weights {
		p.weights[w.Role] = w.Weight
		l.emit(w)
	}
	p.schedule = e.Maintenance.Schedule
	l.planMachines(e.Maintenance)
}

// policyView gives the policies for readers.
func (l *Ledger) policyView() *Policies {
	p := &l.policies
	if p.told == nil {
		p.told = &Policies{Schedule: p.schedule, Machines: l.clusterStatus()}
		for _, role := range slices.Sorted(maps.Keys(p.quotas)) {
			p.told.Quotas = append(p.told.Quotas, p.quotas[role])
		}
		for _, role := range slices.Sorted(maps.Keys(p.weights)) {
			p.told.Weights = append(p.told.Weights, WeightSet{Role: role, Weight: p.weights[role]})
		}
	}
	return p.told
}

// whitelisted says whether --roles lets a role be used; "*" always is.
func (l *Ledger) whitelisted(role string) bool {
	return len(l.cfg.Roles) == 0 || role == "*" || slices.Contains(l.cfg.Roles, role)
}
