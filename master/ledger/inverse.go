package ledger

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/allocator"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// inverseOffer asks a framework to leave an agent before its machine's maintenance
// (mesos-master.md 11.1). A framework has at most one for each agent.
type inverseOffer struct {
	id        OfferID
	framework FrameworkID
	agent     AgentID
	wire      *mesos.InverseOffer
}

// inverseGranted turns the allocator's wishes into inverse offers, after checking each.
func (l *Ledger) inverseGranted(grants []InverseGrant) {
	offers := map[FrameworkID][]*mesos.InverseOffer{}
	var order []FrameworkID
	for _, g := range grants {
		f, a := l.frameworks[g.Framework], l.agents[g.Agent]
		if f == nil || a == nil || !f.active || f.conn.None() || !a.active() || a.generation != g.Generation ||
			l.unavailability(a.machine) == nil || a.inverse[f.id] != nil {
			continue
		}
		if len(offers[f.id]) == 0 {
			order = append(order, f.id)
		}
		offers[f.id] = append(offers[f.id], l.openInverse(f, a).wire)
	}
	for _, id := range order {
		f := l.frameworks[id]
		for list := range slices.Chunk(offers[id], MaxOffersPerEvent) {
			l.send(f, &scheduler.Event{Type: scheduler.Event_INVERSE_OFFERS.Enum(),
				InverseOffers: &scheduler.Event_InverseOffers{InverseOffers: list}})
		}
	}
}

func (l *Ledger) openInverse(f *framework, a *agent) *inverseOffer {
	o := &inverseOffer{id: l.ids.offer(), framework: f.id, agent: a.id}
	o.wire = &mesos.InverseOffer{Id: o.id.wire(), Url: agentURL(a), FrameworkId: f.id.wire(), AgentId: a.id.wire(),
		Unavailability: l.unavailability(a.machine)}
	l.inverse[o.id], a.inverse[f.id] = o, o
	f.inverse[a.id] = o
	l.touchFramework(f)
	if l.cfg.OfferTimeout > 0 {
		l.after(l.cfg.OfferTimeout, inverseTimer, string(o.id), 0)
	}
	return o
}

// closeInverse takes an inverse offer out of the book.
func (l *Ledger) closeInverse(o *inverseOffer) {
	delete(l.inverse, o.id)
	if a := l.agents[o.agent]; a != nil {
		delete(a.inverse, o.framework)
	}
	if f := l.frameworks[o.framework]; f != nil {
		delete(f.inverse, o.agent)
		l.touchFramework(f)
	}
}

// takeBackInverse closes an inverse offer, says so, and lets the next one come.
func (l *Ledger) takeBackInverse(o *inverseOffer) {
	l.closeInverse(o)
	if f := l.frameworks[o.framework]; f != nil {
		l.send(f, &scheduler.Event{Type: scheduler.Event_RESCIND_INVERSE_OFFER.Enum(),
			RescindInverseOffer: &scheduler.Event_RescindInverseOffer{InverseOfferId: o.id.wire()}})
	}
	l.emit(InverseAnswered{Agent: o.agent, Framework: o.framework, Rescinded: true})
}

// rescindInverse takes all inverse offers for an agent back.
func (l *Ledger) rescindInverse(a *agent) {
	for _, id := range slices.Sorted(maps.Keys(a.inverse)) {
		l.takeBackInverse(a.inverse[id])
	}
}

// dropInverse closes all inverse offers to a framework, which hears of it only if told.
func (l *Ledger) dropInverse(f *framework, tell bool) {
	for _, id := range slices.Sorted(maps.Keys(f.inverse)) {
		o := f.inverse[id]
		if tell {
			l.takeBackInverse(o)
			continue
		}
		l.closeInverse(o)
		l.emit(InverseAnswered{Agent: o.agent, Framework: o.framework, Rescinded: true})
	}
}

func (l *Ledger) inverseDue(id OfferID) {
	if o := l.inverse[id]; o != nil {
		l.takeBackInverse(o)
	}
}

// answerInverse is a framework's word on inverse offers; unknown ones are ignored.
func (l *Ledger) answerInverse(f *framework, ids []*mesos.OfferID, filters *mesos.Filters, status allocator.InverseOfferStatus_Status) {
	refuse := refuseDuration(filters)
	for _, id := range ids {
		o := l.inverse[OfferID(id.GetValue())]
		if o == nil || o.framework != f.id {
			l.emit(Note{Text: "answer to an inverse offer that is no longer valid", Framework: f.id, Offer: OfferID(id.GetValue())})
			continue
		}
		l.closeInverse(o)
		if a := l.agents[o.agent]; a != nil {
			m := l.machine(a.machine)
			if m.statuses == nil {
				m.statuses = map[FrameworkID]*allocator.InverseOfferStatus{}
			}
			m.statuses[f.id] = &allocator.InverseOfferStatus{Status: status.Enum(), FrameworkId: f.id.wire(),
				Timestamp: &mesos.TimeInfo{Nanoseconds: proto.Int64(l.now.UnixNano())}}
			l.policiesChanged()
		}
		l.emit(InverseAnswered{Agent: o.agent, Framework: f.id, Refuse: refuse})
	}
}

// inverseList gives the framework's inverse offers by agent.
func (f *framework) inverseList() []*mesos.InverseOffer {
	var out []*mesos.InverseOffer
	for _, id := range slices.Sorted(maps.Keys(f.inverse)) {
		out = append(out, f.inverse[id].wire)
	}
	return out
}
