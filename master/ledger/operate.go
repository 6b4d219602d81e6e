package ledger

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// operate carries out one operation of an ACCEPT on reservations, volumes or disks: on
// what the operations before it left, all of it or nothing (mesos-master.md 1.6).
func (l *Ledger) operate(acc *acceptance, given *mesos.Offer_Operation) {
	f, a := acc.f, acc.a
	if given.Id != nil && f.conn.PID != "" {
		l.emit(Note{Warn: true, Framework: f.id, Agent: a.id, Text: "operation dropped: drivers get no operation feedback"})
		l.emit(ToFramework{To: f.conn, Framework: f.id, Event: errorEvent("The 'id' field was set in an offer operation, " +
			"but operation feedback is not supported for the SchedulerDriver API; please use the HTTP scheduler API for this feature")})
		return
	}
	op, why := prepare(given, acc.role)
	if why == "" && len(op.GetReserve().GetSource()) > 0 {
		why = "Reservation updates are for operators: 'source' must not be set by a framework"
	}
	if why == "" {
		why = checkFeedback(a, op)
	}
	if why == "" {
		why = l.checkOperation(a, asker{f: f, principal: f.info.GetPrincipal()}, op)
	}
	if why == "" {
		why = l.mayOperate(f, op)
	}
	if why == "" {
		why = l.perform(acc, op)
	}
	if why != "" {
		l.refuseOperation(f, given, why)
	}
}

// prepare gives the operation with its resources in the internal form, allocated to role
// (to nobody when it is empty); the second answer is the reason why they cannot be used.
func prepare(given *mesos.Offer_Operation, role string) (*mesos.Offer_Operation, string) {
	if why := checkResources(resource.Mentioned(given)); why != "" {
		return nil, "Operation attempted with invalid resources: " + why
	}
	op := proto.Clone(given).(*mesos.Offer_Operation)
	resource.UpgradeMessage(op)
	for _, r := range resource.Mentioned(op) {
		if role != "" && r.AllocationInfo == nil {
			r.AllocationInfo = &mesos.Resource_AllocationInfo{Role: proto.String(role)}
		}
	}
	return op, ""
}

// checkFeedback refuses feedback that the agent cannot give.
func checkFeedback(a *agent, op *mesos.Offer_Operation) string {
	switch {
	case op.Id == nil:
	case !a.caps.ResourceProvider:
		return fmt.Sprintf("Operation requested feedback, but agent %s does not have the required RESOURCE_PROVIDER capability", a.id)
	case providerOf(op) == "" && !a.caps.OperationFeedback:
		return fmt.Sprintf("Operation on agent default resources requested feedback, but agent %s does not have the "+
			"required AGENT_OPERATION_FEEDBACK and RESOURCE_PROVIDER capabilities", a.id)
	}
	return ""
}

// perform moves the resources of a good operation and tells the agent; the answer is
// empty, or why the resources are not there.
func (l *Ledger) perform(acc *acceptance, op *mesos.Offer_Operation) string {
	f, a := acc.f, acc.a
	if why := a.canApply(op); why != "" {
		return why
	}
	switch op.GetType() {
	case mesos.Offer_Operation_CREATE_DISK, mesos.Offer_Operation_DESTROY_DISK:
		consumed := resource.Resources(nil).Add(resource.Consumed(op))
		if !acc.remaining.Contains(consumed) {
			return fmt.Sprintf("Invalid %s Operation: %s does not contain %s", op.GetType(), acc.remaining, consumed)
		}
		acc.remaining, acc.used = acc.remaining.Subtract(consumed), true
		l.book(f, a, acc.role, consumed, false)
		l.apply(a, f, acc.role, op, nil, consumed)
		return ""
	case mesos.Offer_Operation_DESTROY:
		l.rescindVolumes(a, op.GetDestroy().GetVolumes())
	}
	conversions, err := resource.Conversions(op)
	if err != nil {
		return err.Error()
	}
	resize := op.GetType() == mesos.Offer_Operation_GROW_VOLUME || op.GetType() == mesos.Offer_Operation_SHRINK_VOLUME
	remaining, total := acc.remaining, a.total
	for _, c := range conversions {
		if remaining, err = remaining.Convert(c); err == nil {
			total, err = total.Convert(c.Unallocate())
		}
		if err != nil {
			return fmt.Sprintf("Invalid %s operation: %s", op.GetType(), cause(err))
		}
	}
	acc.remaining, acc.used = remaining, true
	for _, c := range conversions {
		if resize {
			acc.remaining = acc.remaining.Subtract(c.To)
			acc.resized = acc.resized.Add(c.To)
		}
		l.emit(Converted{Agent: a.id, Framework: f.id, Role: acc.role, From: c.From, To: c.To})
	}
	acc.shared = acc.remaining.Shared()
	l.setTotal(a, total)
	l.apply(a, f, acc.role, op, conversions, nil)
	return ""
}

// rescindVolumes takes back the offers that hold one of the volumes.
func (l *Ledger) rescindVolumes(a *agent, volumes []*mesos.Resource) {
	for _, o := range sortedOffers(a.offers) {
		offered := o.resources.Unallocate()
		for _, v := range resource.Resources(volumes).Unallocate() {
			if offered.Contains(resource.Resources{v}) {
				l.rescind(o)
				break
			}
		}
	}
}

// refuseOperation answers an operation that breaks a rule: OPERATION_ERROR to who asked
// for feedback.
func (l *Ledger) refuseOperation(f *framework, op *mesos.Offer_Operation, why string) {
	l.emit(Note{Text: fmt.Sprintf("operation %s refused: %s", op.GetType(), why), Framework: f.id})
	l.countOperation(op.GetType(), mesos.OperationState_OPERATION_ERROR)
	if op.Id != nil && f.conn.PID == "" {
		l.sendOperationStatus(f, &mesos.OperationStatus{OperationId: op.Id,
			State: mesos.OperationState_OPERATION_ERROR.Enum(), Message: proto.String(why)})
	}
}

// sendOperationStatus tells a framework of an operation. Resources are in the form it
// reads.
func (l *Ledger) sendOperationStatus(f *framework, s *mesos.OperationStatus) {
	if f.conn.None() || f.conn.PID != "" {
		return
	}
	if len(s.GetConvertedResources()) > 0 && !(f.caps.Refinement && f.caps.MultiRole) {
		s = proto.Clone(s).(*mesos.OperationStatus)
		r := resource.Resources(s.ConvertedResources)
		if !f.caps.MultiRole {
			r = r.Unallocate()
		}
		s.ConvertedResources = inFormat(r, f.caps.Refinement)
	}
	l.send(f, &scheduler.Event{Type: scheduler.Event_UPDATE_OPERATION_STATUS.Enum(),
		UpdateOperationStatus: &scheduler.Event_UpdateOperationStatus{Status: s}})
}

// setTotal replaces what an agent has.
func (l *Ledger) setTotal(a *agent, total resource.Resources) {
	a.total = total
	a.audit()
	l.touchAgent(a)
}

// audit notes whether tasks use what the agent does not have in that form: it did not
// apply an operation that they were launched on, or told of them with less than they use.
func (a *agent) audit() {
	a.short = !a.total.Contains(a.usedSum.Exclusive().Unallocate())
}

// fits tells whether resources are free on the agent. Where tasks use other forms than
// there are, free is only what is left of the amounts (I5: never oversubscribed).
func (a *agent) fits(r resource.Resources) bool {
	if !a.free().Contains(r) {
		return false
	}
	if !a.short {
		return true
	}
	firm := func(r resource.Resources) resource.Quantities { return r.Exclusive().NonRevocable().Quantities() }
	total := a.total.NonRevocable().Quantities()
	taken := firm(a.usedSum).Add(firm(a.offered)).Add(firm(r))
	return total.Contains(&taken)
}

// checkpointMessage is the whole list of what the agent keeps across restarts, for agents
// that apply no single operations (libprocess.md 3.12, trap 17).
func (a *agent) checkpointMessage() *messages.CheckpointResourcesMessage {
	return &messages.CheckpointResourcesMessage{Resources: inFormat(a.total.Checkpointed(), a.caps.Refinement)}
}

// providerOf is the resource provider of an operation; empty: the agent itself.
func providerOf(op *mesos.Offer_Operation) string {
	for _, r := range resource.Mentioned(op) {
		return r.GetProviderId().GetValue()
	}
	return ""
}
