package ledger

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// orphanPatience is how long after its agent came back an operation with feedback waits
// for its framework before the master acknowledges in its place (mesos-master.md 1.9).
const orphanPatience = 10 * time.Minute

// operationUpdate is a status that the agent repeats until it is acknowledged.
func (l *Ledger) operationUpdate(a *agent, m *messages.UpdateOperationStatusMessage) {
	f := l.frameworks[FrameworkID(m.GetFrameworkId().GetValue())]
	o := a.operations[string(m.GetOperationUuid().GetValue())]
	if o == nil {
		l.unknownOperation(a, f, m)
		return
	}
	l.count.ValidOperationUpdates++
	sent, latest := m.GetStatus(), m.GetStatus()
	if m.LatestStatus != nil {
		latest = m.GetLatestStatus()
	}
	if o.id != "" {
		sent, latest = named(sent, o), named(latest, o)
	}
	l.setOperationStatus(o, latest)
	if f = l.frameworks[o.framework]; o.id != "" && f != nil && !o.orphan {
		l.sendOperationStatus(f, sent)
		if TerminalOperation(latest.GetState()) && latest.Uuid == nil {
			l.closeOperation(o) // nobody will acknowledge it
		}
		return
	}
	if latest.Uuid != nil {
		if o.id != "" && !l.finished[o.framework] && l.now.Sub(a.reregistered) < orphanPatience {
			return // its framework may still come; the agent repeats the status
		}
		l.acknowledgeOperation(a, o, latest.GetUuid().GetValue())
	}
	if TerminalOperation(latest.GetState()) {
		l.closeOperation(o)
	}
}

// unknownOperation passes on what a framework may wait for, and ends what nobody does.
func (l *Ledger) unknownOperation(a *agent, f *framework, m *messages.UpdateOperationStatusMessage) {
	if m.GetOperationUuid() != nil {
		l.count.InvalidOperationUpdates++
	}
	switch {
	case f != nil:
		l.sendOperationStatus(f, m.GetStatus())
	case m.GetStatus().GetUuid() != nil && m.GetOperationUuid() != nil && m.GetStatus().GetOperationId() == nil:
		l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.AcknowledgeOperationStatusMessage{
			StatusUuid: m.GetStatus().GetUuid(), OperationUuid: m.GetOperationUuid(), ResourceProviderId: m.GetStatus().GetResourceProviderId()}})
	}
}

// named is a status with the id that the framework knows the operation by, and its agent.
func named(s *mesos.OperationStatus, o *operation) *mesos.OperationStatus {
	if s.GetOperationId().GetValue() == o.id && s.AgentId != nil {
		return s
	}
	s = proto.Clone(s).(*mesos.OperationStatus)
	s.OperationId, s.AgentId = &mesos.OperationID{Value: &o.id}, o.agent.wire()
	return s
}

func (l *Ledger) acknowledgeOperation(a *agent, o *operation, status []byte) {
	m := &messages.AcknowledgeOperationStatusMessage{StatusUuid: &mesos.UUID{Value: status}, OperationUuid: uuidOf(o.uuid)}
	if o.provider != "" {
		m.ResourceProviderId = &mesos.ResourceProviderID{Value: &o.provider}
	}
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: m})
}

// updateAgent takes an agent's word on what it has: oversubscribed resources, resource
// providers, operations (libprocess.md 3.12).
func (l *Ledger) updateAgent(a *agent, m *messages.UpdateSlaveMessage) {
	if why := checkUpdate(m); why != "" {
		l.emit(Note{Warn: true, Text: "update of the agent ignored: " + why, Agent: a.id})
		return
	}
	before := a.total
	if m.ResourceVersionUuid != nil {
		a.version16 = m.GetResourceVersionUuid().GetValue()
	}
	oversubscribed := m.UpdateOversubscribedResources == nil || m.GetUpdateOversubscribedResources()
	if oversubscribed {
		own := a.total.Filter(func(r *mesos.Resource) bool { return r.Revocable == nil || r.ProviderId != nil })
		l.setTotal(a, own.Add(resource.Of(m.GetOversubscribedResources()...).Unallocate()))
	}
	ask := &messages.ReconcileOperationsMessage{}
	l.learnOperations(a, "", m.GetOperations().GetOperations(), ask)
	if m.ResourceProviders != nil {
		l.updateProviders(a, m.GetResourceProviders().GetProviders(), ask)
	}
	if len(ask.Operations) > 0 {
		l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: ask})
	}
	for _, o := range sortedOffers(a.offers) {
		if oversubscribed && len(o.resources.Revocable()) > 0 || m.ResourceProviders != nil && hasProvider(o.resources) {
			l.rescind(o)
		}
	}
	if !before.Equal(a.total) {
		l.reopen(a)
	}
}

// reopen tells the allocator that the agent has something else than before. While it is
// disconnected its return does.
func (l *Ledger) reopen(a *agent) {
	if a.connected && l.agents[a.id] == a {
		l.openForOffers(a)
	}
}

func hasProvider(r resource.Resources) bool {
	return slices.ContainsFunc(r, func(each *mesos.Resource) bool { return each.ProviderId != nil })
}

// maxProviders and maxOperations bound what one agent may report.
const (
	maxProviders  = 1000
	maxOperations = 100_000
)

func checkUpdate(m *messages.UpdateSlaveMessage) string {
	if why := checkResources(m.GetOversubscribedResources()); why != "" {
		return "oversubscribed_resources: " + why
	}
	if len(m.GetResourceProviders().GetProviders()) > maxProviders {
		return fmt.Sprintf("more than %d resource providers", maxProviders)
	}
	if why := checkReportedOperations(m.GetOperations().GetOperations()); why != "" {
		return why
	}
	seen := map[string]bool{}
	for _, p := range m.GetResourceProviders().GetProviders() {
		id := p.GetInfo().GetId().GetValue()
		switch {
		case id == "" || seen[id]:
			return fmt.Sprintf("resource provider %q has no id or one that another has", p.GetInfo().GetName())
		case checkResources(p.GetTotalResources()) != "":
			return fmt.Sprintf("resource provider %s: %s", id, checkResources(p.GetTotalResources()))
		}
		seen[id] = true
		for _, r := range p.GetTotalResources() {
			if r.GetProviderId().GetValue() != id {
				return fmt.Sprintf("resource provider %s: resource %s names another provider", id, resource.Text(r))
			}
		}
		if why := checkReportedOperations(p.GetOperations().GetOperations()); why != "" {
			return why
		}
	}
	return ""
}

func checkReportedOperations(list []*mesos.Operation) string {
	if len(list) > maxOperations {
		return fmt.Sprintf("more than %d operations", maxOperations)
	}
	for _, o := range list {
		if len(o.GetUuid().GetValue()) == 0 || len(o.GetUuid().GetValue()) > maxIDLength {
			return "an operation without uuid"
		}
		if why := checkResources(resource.Mentioned(o.GetInfo())); why != "" {
			return fmt.Sprintf("operation %x: %s", o.GetUuid().GetValue(), why)
		}
	}
	return ""
}

// learnOperations compares the operations of an agent (or of one of its providers) with
// the book: unknown ones are taken over, missing ones asked for.
func (l *Ledger) learnOperations(a *agent, provider string, reported []*mesos.Operation, ask *messages.ReconcileOperationsMessage) {
	there := map[string]bool{}
	for _, p := range reported {
		uuid := string(p.GetUuid().GetValue())
		there[uuid] = true
		if o := a.operations[uuid]; o != nil {
			if latest := p.GetLatestStatus(); !TerminalOperation(o.proto.GetLatestStatus().GetState()) && TerminalOperation(latest.GetState()) && len(o.consumed) > 0 {
				// The reported total has the outcome already: only the booking ends.
				o.conversions = nil
				l.forgetConsumed(a, o)
				l.setOperationStatus(o, latest)
			}
			continue
		}
		l.learnOperation(a, provider, p)
	}
	for _, o := range sortedOperations(a.operations) {
		if o.provider == provider && !there[o.uuid] {
			known := &messages.ReconcileOperationsMessage_Operation{OperationUuid: uuidOf(o.uuid)}
			if provider != "" {
				known.ResourceProviderId = &mesos.ResourceProviderID{Value: &provider}
			}
			ask.Operations = append(ask.Operations, known)
		}
	}
}

// forgetConsumed ends the booking of an operation's resources without touching the total.
func (l *Ledger) forgetConsumed(a *agent, o *operation) {
	if f := l.frameworks[o.framework]; f != nil && !o.orphan {
		l.unbook(f, a, o.role, o.consumed)
	}
	o.consumed = nil
}

// learnOperation takes an operation over that an earlier master started.
func (l *Ledger) learnOperation(a *agent, provider string, p *mesos.Operation) {
	f := l.frameworks[FrameworkID(p.GetFrameworkId().GetValue())]
	o := &operation{uuid: string(p.GetUuid().GetValue()), id: p.GetInfo().GetId().GetValue(), provider: provider, agent: a.id,
		framework: FrameworkID(p.GetFrameworkId().GetValue()), totals: a.totals, proto: p}
	for _, r := range resource.Mentioned(p.GetInfo()) {
		o.role = r.GetAllocationInfo().GetRole()
	}
	l.openOperation(a, f, o)
	if consumes(p.GetInfo()) && !TerminalOperation(p.GetLatestStatus().GetState()) {
		o.consumed = resource.Resources(nil).Add(resource.Consumed(p.GetInfo())).Allocate(o.role)
		if f != nil {
			l.book(f, a, o.role, o.consumed, true)
		} else {
			l.setTotal(a, a.total.Subtract(o.consumed.Unallocate()))
		}
	}
}

func consumes(op *mesos.Offer_Operation) bool {
	return op.GetType() == mesos.Offer_Operation_CREATE_DISK || op.GetType() == mesos.Offer_Operation_DESTROY_DISK
}

// updateProviders makes the agent's providers those it reported.
func (l *Ledger) updateProviders(a *agent, reported []*messages.UpdateSlaveMessage_ResourceProvider, ask *messages.ReconcileOperationsMessage) {
	there := map[string]bool{}
	for _, p := range reported {
		id := p.GetInfo().GetId().GetValue()
		there[id] = true
		l.setTotal(a, a.total.Subtract(a.total.Filter(ofProvider(id))).Add(resource.Of(p.GetTotalResources()...).Unallocate()))
		a.providers[id] = &provider{info: p.GetInfo(), version: p.GetResourceVersionUuid().GetValue()}
		l.learnOperations(a, id, p.GetOperations().GetOperations(), ask)
		// What orphans consume is nobody's to use before they end.
		for _, o := range sortedOperations(a.operations) {
			if o.provider == id && o.orphan && len(o.consumed) > 0 {
				l.setTotal(a, a.total.Subtract(o.consumed.Unallocate()))
			}
		}
	}
	for _, id := range a.providerIDs() {
		if there[id] {
			continue
		}
		for _, o := range sortedOperations(a.operations) {
			if o.provider == id {
				l.forgetConsumed(a, o)
				l.closeOperation(o)
			}
		}
		delete(a.providers, id)
		l.setTotal(a, a.total.Subtract(a.total.Filter(ofProvider(id))))
	}
}

func ofProvider(id string) func(*mesos.Resource) bool {
	return func(r *mesos.Resource) bool { return r.GetProviderId().GetValue() == id }
}

// providerIDs lists the agent's resource providers in order of their ids.
func (a *agent) providerIDs() []string {
	if len(a.providers) == 0 {
		return nil
	}
	ids := make([]string, 0, len(a.providers))
	for id := range a.providers {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}

// reportedTotal is what an agent that comes back has. Its own word on reservations and
// volumes counts when it applies operations; otherwise the book's does, and is told to
// it (libprocess.md 3.2). Providers and oversubscription follow by their own message.
func (l *Ledger) reportedTotal(a *agent, own, checkpointed []*mesos.Resource) resource.Resources {
	a.totals++
	if !a.caps.ResourceProvider {
		checkpointed = a.total.Checkpointed()
	}
	total := agentTotal(own, checkpointed)
	return total.Add(a.total.Filter(func(r *mesos.Resource) bool { return r.Revocable != nil || r.ProviderId != nil }))
}
