package ledger

import (
	"sort"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// offer is an outstanding offer: resources of one agent promised to one framework in
// one role.
type offer struct {
	id        OfferID
	framework FrameworkID
	agent     AgentID
	role      string
	resources resource.Resources
	wire      *mesos.Offer // as the operator API shows it: with allocation_info
	place     int          // in its framework's line
}

// unfitRefuse is how long a framework is not granted again what did not fit.
const unfitRefuse = 5 * time.Second

// granted turns the allocator's grants into offers, after checking each against the
// book: a grant made from an older view gives its resources back (I5: never oversubscribed).
func (l *Ledger) granted(grants []Grant) {
	type batch struct {
		offers []*mesos.Offer
		pids   []PID
	}
	batches := map[FrameworkID]*batch{}
	var order []FrameworkID
	for _, g := range grants {
		f, a := l.frameworks[g.Framework], l.agents[g.Agent]
		if f == nil || a == nil || !f.active || f.conn.None() || !a.active() || a.generation != g.Generation ||
			len(g.Resources) == 0 {
			l.emit(Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources})
			continue
		}
		if !a.fits(g.Resources) {
			// Granted on other numbers than the book's: not again at once, they may stay so.
			l.emit(Released{Agent: g.Agent, Framework: g.Framework, Role: g.Role, Resources: g.Resources, Declined: true, Refuse: unfitRefuse})
			continue
		}
		o := l.openOffer(f, a, g.Role, g.Resources)
		b := batches[f.id]
		if b == nil {
			b = &batch{}
			batches[f.id] = b
			order = append(order, f.id)
		}
		b.offers = append(b.offers, l.offerFor(f, o))
		b.pids = append(b.pids, a.pid)
	}
	for _, id := range order {
		b, f := batches[id], l.frameworks[id]
		for len(b.offers) > 0 {
			n := fitting(b.offers)
			l.emit(ToFramework{To: f.conn, Framework: f.id, AgentPIDs: b.pids[:n], Event: &scheduler.Event{
				Type: scheduler.Event_OFFERS.Enum(), Offers: &scheduler.Event_Offers{Offers: b.offers[:n]}}})
			b.offers, b.pids = b.offers[n:], b.pids[n:]
		}
	}
}

// fitting is how many of the offers go into one event, at least one: MaxOffersPerEvent,
// and fewer of agents that say much about themselves.
func fitting(offers []*mesos.Offer) int {
	for n, size := 0, 0; n < len(offers); n++ {
		size += proto.Size(offers[n])
		if n == MaxOffersPerEvent || (n > 0 && size > maxOffersBytes) {
			return n
		}
	}
	return len(offers)
}

// free is what the agent has beyond tasks, executors and offers. A shared volume is always
// free: neither tasks nor offers use it up (mesos-master.md 3.5).
func (a *agent) free() resource.Resources {
	return a.total.Subtract(a.usedSum.Exclusive().Unallocate()).Subtract(a.offered.Exclusive().Unallocate())
}

func (l *Ledger) openOffer(f *framework, a *agent, role string, r resource.Resources) *offer {
	o := &offer{id: l.ids.offer(), framework: f.id, agent: a.id, role: role, resources: r.Allocate(role)}
	o.wire = &mesos.Offer{
		Id: o.id.wire(), FrameworkId: f.id.wire(), AgentId: a.id.wire(), Hostname: proto.String(a.info.GetHostname()),
		Url: agentURL(a), Domain: a.info.GetDomain(), Resources: o.resources, Attributes: a.info.GetAttributes(),
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: proto.String(role)},
	}
	o.wire.Unavailability = l.unavailability(a.machine)
	for _, key := range f.executorsOn(a) {
		o.wire.ExecutorIds = append(o.wire.ExecutorIds, &mesos.ExecutorID{Value: proto.String(string(key.executor))})
	}
	l.offers[o.id], f.offers[o.id], a.offers[o.id] = o, o, o
	f.offerLine.add(o.wire, &o.place)
	a.offered = a.offered.Add(o.resources)
	f.offered = f.offered.Add(o.resources)
	l.touchAgent(a)
	l.touchFramework(f)
	l.count.OffersSent++
	if l.cfg.OfferTimeout > 0 {
		l.after(l.cfg.OfferTimeout, offerTimer, string(o.id), 0)
	}
	return o
}

// offerFor gives the offer in the form the framework's capabilities ask for
// (mesos-master.md 1.10, T25).
func (l *Ledger) offerFor(f *framework, o *offer) *mesos.Offer {
	if f.caps.MultiRole && f.caps.Refinement {
		return o.wire
	}
	w := &mesos.Offer{Id: o.wire.Id, FrameworkId: o.wire.FrameworkId, AgentId: o.wire.AgentId, Hostname: o.wire.Hostname,
		Url: o.wire.Url, Domain: o.wire.Domain, Attributes: o.wire.Attributes, ExecutorIds: o.wire.ExecutorIds,
		Unavailability: o.wire.Unavailability}
	r := o.resources
	if f.caps.MultiRole {
		w.AllocationInfo = o.wire.AllocationInfo
	} else {
		r = r.Unallocate()
	}
	w.Resources = inFormat(r, f.caps.Refinement)
	return w
}

// agentURL is where the agent's HTTP endpoints are; always scheme http, as in Mesos.
func agentURL(a *agent) *mesos.URL {
	id, addr, _ := strings.Cut(string(a.pid), "@")
	host, portText, _ := strings.Cut(addr, ":")
	port, _ := strconv.Atoi(portText)
	return &mesos.URL{Scheme: proto.String("http"), Path: proto.String("/" + id), Address: &mesos.Address{
		Hostname: proto.String(a.info.GetHostname()), Ip: proto.String(host), Port: proto.Int32(int32(port))}}
}

// closeOffer takes an offer out of the book. Its resources are the caller's to place.
func (l *Ledger) closeOffer(o *offer) {
	delete(l.offers, o.id)
	if f := l.frameworks[o.framework]; f != nil {
		delete(f.offers, o.id)
		f.offerLine.remove(o.place)
		f.offered = f.offered.Subtract(o.resources)
		l.touchFramework(f)
	}
	if a := l.agents[o.agent]; a != nil {
		delete(a.offers, o.id)
		a.offered = a.offered.Subtract(o.resources)
		l.touchAgent(a)
	}
}

// returnOffer closes an offer and gives all of it back to the allocator.
func (l *Ledger) returnOffer(o *offer) {
	l.closeOffer(o)
	l.emit(Released{Agent: o.agent, Framework: o.framework, Role: o.role, Resources: o.resources})
}

// rescind takes an offer back and says so.
func (l *Ledger) rescind(o *offer) { l.rescindWith(o, 0) }

// rescindWith also keeps the resources from being offered to the same framework again for
// a time, when it is not zero.
func (l *Ledger) rescindWith(o *offer, refuse time.Duration) {
	if f := l.frameworks[o.framework]; f != nil {
		l.count.OffersRescinded++
		l.send(f, &scheduler.Event{Type: scheduler.Event_RESCIND.Enum(), Rescind: &scheduler.Event_Rescind{OfferId: o.id.wire()}})
	}
	l.closeOffer(o)
	l.emit(Released{Agent: o.agent, Framework: o.framework, Role: o.role, Resources: o.resources, Declined: refuse > 0, Refuse: refuse})
}

func (l *Ledger) rescindAgent(a *agent) {
	for _, o := range sortedOffers(a.offers) {
		l.rescind(o)
	}
}

func (l *Ledger) rescindFramework(f *framework) {
	for _, o := range sortedOffers(f.offers) {
		l.rescind(o)
	}
}

// discardFramework takes all offers of a framework back without a word.
func (l *Ledger) discardFramework(f *framework) {
	for _, o := range sortedOffers(f.offers) {
		l.returnOffer(o)
	}
}

func (l *Ledger) offerDue(id OfferID) {
	if o := l.offers[id]; o != nil {
		l.emit(Note{Text: "offer rescinded: not answered within --offer_timeout", Offer: id, Framework: o.framework})
		l.rescind(o)
	}
}

// sortedOffers gives offers in the order they were made: ids differ only in their
// number, so the shorter is the older.
func sortedOffers(m map[OfferID]*offer) []*offer {
	list := make([]*offer, 0, len(m))
	for _, o := range m {
		list = append(list, o)
	}
	sort.Slice(list, func(i, j int) bool {
		if a, b := list[i].id, list[j].id; len(a) != len(b) {
			return len(a) < len(b)
		} else {
			return a < b
		}
	})
	return list
}

// refuseDuration reads Filters: default 5 s, bad values count as the default, at most
// 365 days (mesos-master.md 3.4).
func refuseDuration(f *mesos.Filters) time.Duration {
	s := f.GetRefuseSeconds() // proto default 5.0
	switch {
	case s != s || s < 0:
		s = 5
	case s > 31536000:
		s = 31536000
	}
	return time.Duration(s * float64(time.Second))
}
