package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// operation is one that an agent was told to apply and whose end is not acknowledged
// yet. Only agents with RESOURCE_PROVIDER have any (mesos-master.md 1.9).
type operation struct {
	uuid        string      // raw
	id          string      // the framework's; empty: no feedback wanted
	framework   FrameworkID // empty: an operator's
	agent       AgentID
	provider    string // resource provider; empty: the agent itself
	role        string
	order       uint64                // of start or adoption, for listings
	conversions []resource.Conversion // made in the book already
	consumed    resource.Resources    // CREATE_DISK and DESTROY_DISK: booked until the end
	totals      uint64                // the agent's report that the conversions were made on
	orphan      bool                  // its framework is not known (any more): the master acknowledges
	proto       *mesos.Operation      // replaced, never changed in place: readers hold it
}

// provider is one resource provider of an agent.
type provider struct {
	info    *mesos.ResourceProviderInfo
	version []byte
}

// TerminalOperation reports whether an operation in state s has ended.
func TerminalOperation(s mesos.OperationState) bool {
	switch s {
	case mesos.OperationState_OPERATION_FINISHED, mesos.OperationState_OPERATION_FAILED, mesos.OperationState_OPERATION_ERROR,
		mesos.OperationState_OPERATION_DROPPED, mesos.OperationState_OPERATION_GONE_BY_OPERATOR:
		return true
	}
	return false
}

// canApply tells whether the agent can be told of the operation; the answer is the reason
// when not.
func (a *agent) canApply(op *mesos.Offer_Operation) string {
	if !a.caps.ResourceProvider {
		return ""
	}
	if p := providerOf(op); p != "" {
		if a.providers[p] == nil {
			return fmt.Sprintf("Resource provider %s is not on agent %s", p, a.id)
		}
		return ""
	}
	if len(a.version16) == 0 {
		return fmt.Sprintf("Agent %s has told no version of its resources", a.id)
	}
	return ""
}

// apply tells the agent of an operation that is in the book, and remembers it until it
// has ended. f is nil for an operator's.
func (l *Ledger) apply(a *agent, f *framework, role string, op *mesos.Offer_Operation, made []resource.Conversion, consumed resource.Resources) {
	if !a.caps.ResourceProvider {
		l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: a.checkpointMessage()})
		return
	}
	o := &operation{uuid: l.ids.operation(), id: op.GetId().GetValue(), agent: a.id, provider: providerOf(op), role: role,
		conversions: made, consumed: consumed, totals: a.totals}
	status := &mesos.OperationStatus{State: mesos.OperationState_OPERATION_PENDING.Enum(), OperationId: op.Id, AgentId: a.id.wire()}
	o.proto = &mesos.Operation{AgentId: a.id.wire(), Info: op, LatestStatus: status, Uuid: uuidOf(o.uuid)}
	version := &messages.ResourceVersionUUID{Uuid: &mesos.UUID{Value: a.version16}}
	if o.provider != "" {
		status.ResourceProviderId = &mesos.ResourceProviderID{Value: &o.provider}
		version = &messages.ResourceVersionUUID{ResourceProviderId: status.ResourceProviderId, Uuid: &mesos.UUID{Value: a.providers[o.provider].version}}
	}
	m := &messages.ApplyOperationMessage{OperationInfo: op, OperationUuid: o.proto.Uuid, ResourceVersionUuid: version}
	if f != nil {
		o.framework, o.proto.FrameworkId = f.id, f.id.wire()
		m.FrameworkId = f.id.wire()
	}
	l.openOperation(a, f, o)
	l.countOperation(op.GetType(), mesos.OperationState_OPERATION_PENDING)
	if !a.caps.Refinement {
		m = proto.Clone(m).(*messages.ApplyOperationMessage)
		_ = resource.DowngradeMessage(m) // refined reservations were refused
	}
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: m})
}

// openOperation puts an operation into the book of its agent and framework.
func (l *Ledger) openOperation(a *agent, f *framework, o *operation) {
	l.operationSeq++
	o.order = l.operationSeq
	a.operations[o.uuid] = o
	if f != nil {
		f.operations[o.uuid] = o
	} else if o.framework != "" {
		o.orphan = true
		l.orphans[o.uuid] = o
	}
	l.touchAgent(a)
}

// closeOperation takes an operation out of the book; what it consumed and did not return
// yet comes back.
func (l *Ledger) closeOperation(o *operation) {
	a, f := l.agents[o.agent], l.frameworks[o.framework]
	l.releaseConsumed(a, f, o, nil)
	delete(a.operations, o.uuid)
	l.emptied(a)
	delete(l.orphans, o.uuid)
	if f != nil {
		delete(f.operations, o.uuid)
	}
	l.touchAgent(a)
}

// releaseConsumed ends the booking of what an operation consumed. On success it became
// something else.
func (l *Ledger) releaseConsumed(a *agent, f *framework, o *operation, became resource.Resources) {
	from := o.consumed
	if len(from) == 0 {
		return
	}
	o.consumed = nil
	if o.orphan || f == nil {
		// Nobody's: it was out of the total.
		if became == nil {
			became = from
		}
		l.setTotal(a, a.total.Add(became.Unallocate()))
		l.reopen(a)
		return
	}
	if became != nil {
		l.setTotal(a, a.total.Subtract(from.Unallocate()).Add(became.Unallocate()))
		l.rebook(f, a, o.role, from, became)
		from = became
	}
	l.unbook(f, a, o.role, from)
}

// setOperationStatus records a status. When the operation ends by it, its resources move:
// what a disk operation made becomes available, and what the book took for done comes
// back when it was not.
func (l *Ledger) setOperationStatus(o *operation, s *mesos.OperationStatus) {
	before := o.proto.GetLatestStatus().GetState()
	next := &mesos.Operation{FrameworkId: o.proto.FrameworkId, AgentId: o.proto.AgentId, Info: o.proto.Info,
		LatestStatus: o.proto.LatestStatus, Statuses: o.proto.Statuses, Uuid: o.proto.Uuid}
	if !TerminalOperation(before) {
		next.LatestStatus = s
	}
	if n := len(next.Statuses); n == 0 || !proto.Equal(next.Statuses[n-1], s) {
		next.Statuses = append(next.Statuses[:n:n], s)
	}
	o.proto = next
	a, f := l.agents[o.agent], l.frameworks[o.framework]
	l.touchAgent(a)
	if TerminalOperation(before) || !TerminalOperation(s.GetState()) {
		return
	}
	l.countOperation(o.proto.GetInfo().GetType(), s.GetState())
	if s.GetState() == mesos.OperationState_OPERATION_FINISHED {
		l.releaseConsumed(a, f, o, resource.Of(s.GetConvertedResources()...).Allocate(o.role))
		return
	}
	l.releaseConsumed(a, f, o, nil)
	l.takeBack(a, o)
}

// takeBack undoes conversions of an operation that the agent did not apply, unless the
// agent has reported its resources anew since then or they are in use.
func (l *Ledger) takeBack(a *agent, o *operation) {
	if o.totals != a.totals {
		return
	}
	var need resource.Resources
	for _, c := range o.conversions {
		need = need.Add(c.To.Unallocate())
	}
	for _, out := range sortedOffers(a.offers) {
		if a.free().Contains(need) {
			break
		}
		if held := out.resources.Unallocate(); !held.Subtract(need).Equal(held) {
			l.rescind(out)
		}
	}
	if !a.free().Contains(need) {
		l.emit(Note{Warn: true, Agent: a.id, Text: fmt.Sprintf("operation %s was not applied by the agent, but its outcome %s is in use", o.id, need)})
		return
	}
	for _, c := range slices.Backward(o.conversions) {
		c = c.Unallocate().Reverse()
		total, err := a.total.Convert(c)
		if err != nil {
			return // the total has changed in another way since then
		}
		l.emit(Converted{Agent: a.id, From: c.From, To: c.To})
		l.setTotal(a, total)
	}
}

// orphanOperations leaves the operations of a framework that is removed to the master.
// What they consume is nobody's until they end.
func (l *Ledger) orphanOperations(f *framework) {
	for _, o := range sortedOperations(f.operations) {
		a := l.agents[o.agent]
		if len(o.consumed) > 0 {
			l.setTotal(a, a.total.Subtract(o.consumed.Unallocate()))
			l.unbook(f, a, o.role, o.consumed)
			l.reopen(a)
		}
		o.orphan = true
		l.orphans[o.uuid] = o
	}
	clear(f.operations)
}

// adoptOperations gives a framework that became known the operations which agents
// reported for it.
func (l *Ledger) adoptOperations(f *framework) {
	for _, o := range sortedOperations(l.orphans) {
		if o.framework != f.id {
			continue
		}
		o.orphan = false
		delete(l.orphans, o.uuid)
		f.operations[o.uuid] = o
		if a := l.agents[o.agent]; len(o.consumed) > 0 {
			l.setTotal(a, a.total.Add(o.consumed.Unallocate()))
			l.reopen(a)
			l.book(f, a, o.role, o.consumed, true)
		}
	}
}

// endOperations takes the operations of an agent that goes away out of the book and tells
// their frameworks, when there is something to tell.
func (l *Ledger) endOperations(a *agent, state mesos.OperationState, why string) {
	for _, o := range sortedOperations(a.operations) {
		if f := l.frameworks[o.framework]; f != nil && o.id != "" && why != "" {
			l.sendOperationStatus(f, l.operationVerdict(o.id, state, why, a.id, o.provider))
		}
		l.closeOperation(o)
	}
}

// operationVerdict is the master's own word on an operation: without uuid, so that nobody
// acknowledges it.
func (l *Ledger) operationVerdict(id string, state mesos.OperationState, why string, on AgentID, provider string) *mesos.OperationStatus {
	s := &mesos.OperationStatus{OperationId: &mesos.OperationID{Value: &id}, State: state.Enum(), Message: &why}
	if on != "" {
		s.AgentId = on.wire()
	}
	if provider != "" {
		s.ResourceProviderId = &mesos.ResourceProviderID{Value: &provider}
	}
	return s
}

func sortedOperations(m map[string]*operation) []*operation {
	list := make([]*operation, 0, len(m))
	for _, o := range m {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b *operation) int { return cmp.Compare(a.order, b.order) })
	return list
}

func uuidOf(raw string) *mesos.UUID { return &mesos.UUID{Value: []byte(raw)} }

// cause is the reason inside a wrapped error, for texts that say the rest themselves.
func cause(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
