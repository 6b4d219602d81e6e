package ledger

import (
	"fmt"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// acceptance is one ACCEPT under way: what its offers promised and is not used yet.
type acceptance struct {
	f         *framework
	a         *agent
	role      string
	offered   resource.Resources // all that the offers promised
	remaining resource.Resources // of it, what later operations may use
	resized   resource.Resources // volumes grown or shrunk: for nobody in this ACCEPT
	shared    resource.Resources // shared volumes that tasks may use
	tasks     int
	used      bool // something was taken from the offers
}

// accept turns offers into tasks, reservations and volumes (mesos-master.md 1.6). All
// offers must be of one agent and one role; one bad offer voids the call.
func (l *Ledger) accept(f *framework, m *scheduler.Call_Accept) {
	ops := m.GetOperations()
	if why := l.checkOffers(f, m.GetOfferIds()); why != "" {
		for _, id := range m.GetOfferIds() {
			if o := f.offers[OfferID(id.GetValue())]; o != nil {
				l.returnOffer(o)
			}
		}
		l.invalidOffers(f, ops, why)
		return
	}
	first := f.offers[OfferID(m.GetOfferIds()[0].GetValue())]
	acc := &acceptance{f: f, a: l.agents[first.agent], role: first.role}
	for _, id := range m.GetOfferIds() {
		o := f.offers[OfferID(id.GetValue())]
		acc.offered = acc.offered.Add(o.resources)
		l.closeOffer(o)
	}
	acc.remaining, acc.shared = acc.offered, acc.offered.Shared()
	f.count.OffersAccepted += len(m.GetOfferIds()) // also when nothing is done with them, as in Mesos
	if len(ops) == 0 {
		l.count.OffersDeclined += len(m.GetOfferIds())
	} else {
		l.count.OffersAccepted += len(m.GetOfferIds())
	}
	for _, op := range ops {
		f.count.Operations.add(int32(op.GetType()))
		l.operation(acc, op)
	}
	l.returnRest(acc, m.GetFilters())
}

// operation carries out one operation of an ACCEPT on what those before it left.
func (l *Ledger) operation(acc *acceptance, op *mesos.Offer_Operation) {
	switch op.GetType() {
	case mesos.Offer_Operation_LAUNCH:
		l.launchAll(acc, op)
	case mesos.Offer_Operation_LAUNCH_GROUP:
		l.launchGroup(acc, op)
	case mesos.Offer_Operation_UNKNOWN:
		l.emit(Note{Warn: true, Framework: acc.f.id, Agent: acc.a.id, Text: "operation of an unknown type ignored"})
	default:
		l.operate(acc, op)
	}
}

// returnRest gives back what the operations left. What they converted comes back to the
// framework at the next allocation; the rest was declined for as long as the filters say.
func (l *Ledger) returnRest(acc *acceptance, filters *mesos.Filters) {
	f, a := acc.f, acc.a
	declined := acc.remaining
	if converted := acc.remaining.Add(acc.resized).Subtract(acc.offered); len(converted) > 0 {
		l.emit(Released{Agent: a.id, Framework: f.id, Role: acc.role, Resources: converted})
		declined = acc.remaining.Subtract(converted)
	}
	if len(declined) > 0 {
		// refuse_seconds 0 asks for the rest at once, and gets it from who used a part: an
		// exchange without progress waits for the allocation interval.
		refuse := refuseDuration(filters)
		l.emit(Released{Agent: a.id, Framework: f.id, Role: acc.role, Resources: declined,
			Declined: refuse > 0 || !acc.used, Refuse: refuse})
	}
}

// checkOffers gives the reason why an offer list cannot be accepted, or nothing.
func (l *Ledger) checkOffers(f *framework, ids []*mesos.OfferID) string {
	if len(ids) == 0 {
		return "No offers specified"
	}
	seen := map[OfferID]bool{}
	var first *offer
	for _, each := range ids {
		id := OfferID(each.GetValue())
		if seen[id] {
			return fmt.Sprintf("Duplicate offer %s in offer list", id)
		}
		seen[id] = true
		o := l.offers[id]
		switch {
		case o == nil:
			return fmt.Sprintf("Offer %s is no longer valid", id)
		case o.framework != f.id:
			return fmt.Sprintf("Offer %s has invalid framework %s while framework %s is expected", id, o.framework, f.id)
		case first == nil:
			first = o
		case o.role != first.role:
			return fmt.Sprintf("Aggregated offers must be allocated to the same role. Offer %s uses role '%s' but another is using role '%s'", id, o.role, first.role)
		case o.agent != first.agent:
			return fmt.Sprintf("Aggregated offers must belong to one single agent. Offer %s uses agent %s and agent %s", id, o.agent, first.agent)
		}
	}
	return ""
}

// invalidOffers answers the operations of an ACCEPT whose offers were no good.
func (l *Ledger) invalidOffers(f *framework, ops []*mesos.Offer_Operation, why string) {
	l.emit(Note{Text: "ACCEPT with invalid offers: " + why, Framework: f.id})
	state := mesos.TaskState_TASK_LOST
	if f.caps.PartitionAware {
		state = mesos.TaskState_TASK_DROPPED
	}
	for _, op := range ops {
		switch op.GetType() {
		case mesos.Offer_Operation_LAUNCH, mesos.Offer_Operation_LAUNCH_GROUP:
			for _, info := range tasksOf(op) {
				l.countEnd(f, state)
				l.sendUpdate(f, AgentID(info.GetAgentId().GetValue()), l.verdict(info, state,
					mesos.TaskStatus_REASON_INVALID_OFFERS, "Task launched with invalid offers: "+why))
			}
		default:
			l.refuseOperation(f, op, "Operation attempted with invalid offers: "+why)
		}
	}
}

// tasksOf gives the tasks of a LAUNCH or LAUNCH_GROUP.
func tasksOf(op *mesos.Offer_Operation) []*mesos.TaskInfo {
	if op.GetType() == mesos.Offer_Operation_LAUNCH_GROUP {
		return op.GetLaunchGroup().GetTaskGroup().GetTasks()
	}
	return op.GetLaunch().GetTaskInfos()
}
