package ledger

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/allocator"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// call carries a scheduler's call out once it is known to come from the framework's
// present connection (mesos-master.md 1.2 rows 11 to 18).
func (l *Ledger) call(c Call) {
	l.count.call(c)
	if c.Call.GetType() == scheduler.Call_SUBSCRIBE {
		l.subscribe(c)
		return
	}
	f := l.frameworks[FrameworkID(c.Call.GetFrameworkId().GetValue())]
	if c.From.PID != "" {
		if f == nil || !l.fromDriver(f, c.From) {
			l.count.Dropped++
			return
		}
	} else if code, why := l.fromStream(f, c); code != 0 {
		l.answer(c, code, why)
		return
	}
	l.countMessage(f)
	if c.Deactivate {
		l.emit(Note{Text: "framework deactivated by its driver", Framework: f.id})
		l.deactivate(f)
		return
	}
	m := c.Call
	l.countCall(f, c)
	switch m.GetType() {
	case scheduler.Call_TEARDOWN:
		l.answer(c, 202, "")
		l.emit(Note{Text: "framework tears itself down", Framework: f.id})
		l.removeFramework(f)
		return
	case scheduler.Call_ACCEPT:
		l.accept(f, m.GetAccept())
	case scheduler.Call_DECLINE:
		l.decline(f, m.GetDecline())
	case scheduler.Call_REVIVE:
		l.revive(f, m.GetRevive().GetRoles())
	case scheduler.Call_SUPPRESS:
		l.suppress(f, m.GetSuppress().GetRoles())
	case scheduler.Call_KILL:
		l.kill(f, m.GetKill())
	case scheduler.Call_SHUTDOWN:
		l.shutdownExecutor(f, m.GetShutdown())
	case scheduler.Call_ACKNOWLEDGE:
		l.acknowledge(f, m.GetAcknowledge())
	case scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS:
		l.acknowledgeStatus(f, m.GetAcknowledgeOperationStatus())
	case scheduler.Call_RECONCILE_OPERATIONS:
		l.reconcileOperations(f, m.GetReconcileOperations())
	case scheduler.Call_RECONCILE:
		l.reconcile(f, m.GetReconcile())
	case scheduler.Call_MESSAGE:
		l.toExecutor(f, m.GetMessage())
	case scheduler.Call_UPDATE_FRAMEWORK:
		code, why := l.updateFramework(f, m.GetUpdateFramework())
		if why != "" && c.From.PID != "" {
			l.send(f, errorEvent(why)) // a driver gets no answer otherwise (libprocess.md 3.14)
		}
		l.answer(c, code, why)
		return
	case scheduler.Call_ACCEPT_INVERSE_OFFERS:
		l.answerInverse(f, m.GetAcceptInverseOffers().GetInverseOfferIds(), m.GetAcceptInverseOffers().GetFilters(), allocator.InverseOfferStatus_ACCEPT)
	case scheduler.Call_DECLINE_INVERSE_OFFERS:
		l.answerInverse(f, m.GetDeclineInverseOffers().GetInverseOfferIds(), m.GetDeclineInverseOffers().GetFilters(), allocator.InverseOfferStatus_DECLINE)
	case scheduler.Call_REQUEST:
		// Counted; the hierarchical allocator has no use for it.
	case scheduler.Call_UNKNOWN:
		l.answer(c, 501, "Received 'UNKNOWN' call")
		return
	default:
		l.emit(Note{Text: fmt.Sprintf("call %s has no effect on this master", m.GetType()), Framework: f.id})
	}
	l.answer(c, 202, "")
}

func (l *Ledger) answer(c Call, code int, body string) {
	if c.Ticket != 0 {
		l.emit(Answer{Ticket: c.Ticket, Code: code, Body: body})
	}
}

// fromStream checks that an HTTP call comes from the subscribed instance; 0 means yes.
func (l *Ledger) fromStream(f *framework, c Call) (int, string) {
	from := c.From
	switch {
	case f == nil:
		return 400, "Framework cannot be found"
	case c.Principal != "" && c.Principal != f.info.GetPrincipal():
		return 400, ForeignPrincipal(c.Principal, f.info.GetPrincipal())
	case f.conn.None():
		return 403, "Framework is not subscribed"
	case f.conn.PID != "":
		return 403, "Framework is not connected via HTTP"
	case from.Stream == "":
		return 400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"
	case from != f.conn:
		return 400, fmt.Sprintf("The stream ID '%s' included in this request didn't match "+
			"the stream ID currently associated with framework ID %s", from.Stream, f.id)
	}
	return 0, ""
}

// fromDriver checks that a v0 call comes from the framework's own pid. One that was
// disconnected is told so: a driver never notices by itself (libprocess.md trap 22).
func (l *Ledger) fromDriver(f *framework, from Conn) bool {
	if f.conn == from {
		return true
	}
	if f.conn.None() && f.last == from {
		l.emit(ToFramework{To: from, Framework: f.id, Event: errorEvent("Framework disconnected")})
	}
	return false
}

// decline gives offers back; unknown ones are ignored one by one.
func (l *Ledger) decline(f *framework, m *scheduler.Call_Decline) {
	refuse := refuseDuration(m.GetFilters())
	for _, id := range m.GetOfferIds() {
		if o := f.offers[OfferID(id.GetValue())]; o != nil {
			l.count.OffersDeclined++
			f.count.OffersDeclined++
			l.closeOffer(o)
			l.emit(Released{Agent: o.agent, Framework: f.id, Role: o.role, Resources: o.resources, Declined: true, Refuse: refuse})
		}
	}
}

// ownRoles says whether all roles are the framework's; one foreign role voids a call.
func (l *Ledger) ownRoles(f *framework, roles []string, what string) bool {
	for _, role := range roles {
		if !slices.Contains(f.roles, role) {
			l.emit(Note{Text: fmt.Sprintf("%s ignored: the framework is not subscribed to role %q", what, role), Framework: f.id})
			return false
		}
	}
	return true
}

func (l *Ledger) revive(f *framework, roles []string) {
	if !l.ownRoles(f, roles, "REVIVE") {
		return
	}
	if len(roles) == 0 {
		f.suppressed = nil
	} else {
		f.suppressed = without(f.suppressed, roles)
	}
	l.touchFramework(f)
	l.emit(Revived{Framework: f.id, Roles: roles})
}

func (l *Ledger) suppress(f *framework, roles []string) {
	if !l.ownRoles(f, roles, "SUPPRESS") {
		return
	}
	if len(roles) == 0 {
		f.suppressed = slices.Clone(f.roles)
	} else {
		f.suppressed = append(without(f.suppressed, roles), roles...)
	}
	l.touchFramework(f)
	l.emit(Suppressed{Framework: f.id, Roles: roles})
}

func without(list, drop []string) []string {
	out := make([]string, 0, len(list))
	for _, each := range list {
		if !slices.Contains(drop, each) {
			out = append(out, each)
		}
	}
	return out
}

// kill forwards a kill; a task that is not known is answered like a reconciliation.
func (l *Ledger) kill(f *framework, m *scheduler.Call_Kill) {
	id := TaskID(m.GetTaskId().GetValue())
	t := f.tasks[id]
	if t == nil {
		l.reconcileOne(f, id, AgentID(m.GetAgentId().GetValue()))
		return
	}
	if m.GetAgentId() != nil && AgentID(m.GetAgentId().GetValue()) != t.agent {
		l.emit(Note{Text: fmt.Sprintf("KILL ignored: the task is on agent %s", t.agent), Framework: f.id, Task: id})
		return
	}
	a := l.agents[t.agent]
	if !a.connected {
		a.killed[t.key()] = m.GetKillPolicy()
		return
	}
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.KillTaskMessage{
		FrameworkId: f.id.wire(), TaskId: m.GetTaskId(), KillPolicy: m.GetKillPolicy()}})
}

func (l *Ledger) shutdownExecutor(f *framework, m *scheduler.Call_Shutdown) {
	a := l.agents[AgentID(m.GetAgentId().GetValue())]
	if a == nil || !a.connected {
		l.count.Dropped++
		return
	}
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.ShutdownExecutorMessage{
		ExecutorId: m.GetExecutorId(), FrameworkId: f.id.wire()}})
}

func (l *Ledger) toExecutor(f *framework, m *scheduler.Call_Message) {
	a := l.agents[AgentID(m.GetAgentId().GetValue())]
	if a == nil || !a.connected {
		l.count.InvalidFrameworkMessages++
		return
	}
	l.count.ValidFrameworkMessages++
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.FrameworkToExecutorMessage{
		SlaveId: m.GetAgentId(), FrameworkId: f.id.wire(), ExecutorId: m.GetExecutorId(), Data: m.GetData()}})
}

// updateFramework changes a FrameworkInfo in place (mesos-master.md 1.7).
func (l *Ledger) updateFramework(f *framework, m *scheduler.Call_UpdateFramework) (int, string) {
	info := m.GetFrameworkInfo()
	if why := l.checkFramework(info); why != "" {
		return 400, "Supplied FrameworkInfo is not valid: " + why
	}
	const unsupported = "FrameworkInfo update is not valid: Updating 'FrameworkInfo.%s' is unsupported; attempted to update from '%v' to '%v'"
	switch {
	case info.GetPrincipal() != f.info.GetPrincipal():
		return 400, "FrameworkInfo update is not valid: Changing framework's principal is not allowed."
	case info.GetUser() != f.info.GetUser():
		return 400, fmt.Sprintf(unsupported, "user", f.info.GetUser(), info.GetUser())
	case info.GetCheckpoint() != f.info.GetCheckpoint():
		return 400, fmt.Sprintf(unsupported, "checkpoint", f.info.GetCheckpoint(), info.GetCheckpoint())
	}
	if why := l.checkOptions(frameworkRoles(info), m.GetSuppressedRoles(), m.GetOfferConstraints()); why != "" {
		return 400, "'UpdateFramework' call is not valid: " + why
	}
	if why := l.maySubscribe(info); why != "" {
		return 403, why
	}
	changed := !sameInfo(f.info, info)
	before := f.suppressed
	f.setInfo(info)
	f.suppressed, f.constraints = m.GetSuppressedRoles(), m.GetOfferConstraints()
	l.touchFramework(f)
	for _, o := range sortedOffers(f.offers) {
		if !slices.Contains(f.roles, o.role) {
			l.rescind(o)
		}
	}
	l.openFramework(f)
	if again := without(before, f.suppressed); len(again) > 0 {
		l.emit(Revived{Framework: f.id, Roles: again})
	}
	if changed {
		for _, a := range l.sortedAgents() {
			if a.connected {
				l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: f.updateMessage()})
			}
		}
		l.operatorFrameworkUpdated(f)
	}
	return 200, ""
}

// sameInfo compares without regard to the order of roles and capabilities.
func sameInfo(a, b *mesos.FrameworkInfo) bool {
	sorted := func(info *mesos.FrameworkInfo) *mesos.FrameworkInfo {
		c := proto.Clone(info).(*mesos.FrameworkInfo)
		slices.Sort(c.Roles)
		slices.SortFunc(c.Capabilities, func(x, y *mesos.FrameworkInfo_Capability) int { return int(x.GetType()) - int(y.GetType()) })
		return c
	}
	return proto.Equal(sorted(a), sorted(b))
}
