package schedulers

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/internal/wire/schedulerv0"
	"github.com/stoa-project/stoa/master/ledger"
)

// Handle registers the messages of v0 drivers with the process "master": calls of newer
// drivers and the legacy messages of older ones (libprocess.md 3.14).
func (s *Shell) Handle(mux *libprocess.Mux) {
	const in = "mesos.internal."
	libprocess.Handle(mux, "mesos.scheduler.Call", func(from libprocess.UPID, m *schedulerv0.Call) {
		c, force := v1Call(m)
		if c == nil || validate(c) != "" {
			s.log.Debug("driver's call dropped", "from", from, "type", m.GetType())
			return
		}
		s.submit(ledger.Call{From: pid(from), Call: c, Force: force})
	})
	libprocess.Handle(mux, in+"RegisterFrameworkMessage", func(from libprocess.UPID, m *messages.RegisterFrameworkMessage) {
		s.submit(ledger.Call{From: pid(from), New: true, Call: subscribeCall(m.GetFramework(), nil)})
	})
	libprocess.Handle(mux, in+"ReregisterFrameworkMessage", func(from libprocess.UPID, m *messages.ReregisterFrameworkMessage) {
		s.submit(ledger.Call{From: pid(from), Known: true, Force: m.GetFailover(), Call: subscribeCall(m.GetFramework(), nil)})
	})
	libprocess.Handle(mux, in+"UnregisterFrameworkMessage", func(from libprocess.UPID, m *messages.UnregisterFrameworkMessage) {
		s.call(from, m.GetFrameworkId(), &scheduler.Call{Type: scheduler.Call_TEARDOWN.Enum()})
	})
	libprocess.Handle(mux, in+"DeactivateFrameworkMessage", func(from libprocess.UPID, m *messages.DeactivateFrameworkMessage) {
		s.submit(ledger.Call{From: pid(from), Deactivate: true, Call: &scheduler.Call{FrameworkId: m.GetFrameworkId()}})
	})
	libprocess.Handle(mux, in+"ResourceRequestMessage", func(from libprocess.UPID, m *messages.ResourceRequestMessage) {
		s.call(from, m.GetFrameworkId(), &scheduler.Call{Type: scheduler.Call_REQUEST.Enum(),
			Request: &scheduler.Call_Request{Requests: m.GetRequests()}})
	})
	libprocess.Handle(mux, in+"LaunchTasksMessage", func(from libprocess.UPID, m *messages.LaunchTasksMessage) {
		if len(m.GetTasks()) == 0 {
			s.call(from, m.GetFrameworkId(), &scheduler.Call{Type: scheduler.Call_DECLINE.Enum(),
				Decline: &scheduler.Call_Decline{OfferIds: m.GetOfferIds(), Filters: m.GetFilters()}})
			return
		}
		s.call(from, m.GetFrameworkId(), &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{
			OfferIds: m.GetOfferIds(), Filters: m.GetFilters(), Operations: []*mesos.Offer_Operation{{
				Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: &mesos.Offer_Operation_Launch{TaskInfos: m.GetTasks()}}}}})
	})
	libprocess.Handle(mux, in+"ReviveOffersMessage", func(from libprocess.UPID, m *messages.ReviveOffersMessage) {
		s.call(from, m.GetFrameworkId(), &scheduler.Call{Type: scheduler.Call_REVIVE.Enum(), Revive: &scheduler.Call_Revive{Roles: m.GetRoles()}})
	})
	libprocess.Handle(mux, in+"KillTaskMessage", func(from libprocess.UPID, m *messages.KillTaskMessage) {
		s.call(from, m.GetFrameworkId(), &scheduler.Call{Type: scheduler.Call_KILL.Enum(), Kill: &scheduler.Call_Kill{TaskId: m.GetTaskId()}})
	})
	libprocess.Handle(mux, in+"ReconcileTasksMessage", func(from libprocess.UPID, m *messages.ReconcileTasksMessage) {
		r := &scheduler.Call_Reconcile{}
		for _, st := range m.GetStatuses() {
			r.Tasks = append(r.Tasks, &scheduler.Call_Reconcile_Task{TaskId: st.GetTaskId(), AgentId: st.GetAgentId()})
		}
		s.call(from, m.GetFrameworkId(), &scheduler.Call{Type: scheduler.Call_RECONCILE.Enum(), Reconcile: r})
	})
	libprocess.Handle(mux, in+"StatusUpdateAcknowledgementMessage", func(from libprocess.UPID, m *messages.StatusUpdateAcknowledgementMessage) {
		s.call(from, m.GetFrameworkId(), &scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), Acknowledge: &scheduler.Call_Acknowledge{
			AgentId: m.GetSlaveId(), TaskId: m.GetTaskId(), Uuid: m.GetUuid()}})
	})
	libprocess.Handle(mux, in+"FrameworkToExecutorMessage", func(from libprocess.UPID, m *messages.FrameworkToExecutorMessage) {
		s.call(from, m.GetFrameworkId(), &scheduler.Call{Type: scheduler.Call_MESSAGE.Enum(), Message: &scheduler.Call_Message{
			AgentId: m.GetSlaveId(), ExecutorId: m.GetExecutorId(), Data: m.GetData()}})
	})
}

// Exited tells the ledger that the link to a driver's address broke.
func (s *Shell) Exited(peer libprocess.UPID) {
	s.callers.forget(ledger.PID(peer.String()))
	s.submit(ledger.ConnectionLost{Conn: pid(peer), Reason: "the link to the driver broke"})
}

func (s *Shell) call(from libprocess.UPID, id *mesos.FrameworkID, c *scheduler.Call) {
	c.FrameworkId = id
	if why := validate(c); why != "" {
		s.log.Debug("driver's message dropped", "from", from, "reason", why)
		return
	}
	s.submit(ledger.Call{From: pid(from), Call: c})
}

// submit drops the event when this master does not lead: drivers repeat themselves.
func (s *Shell) submit(e ledger.Event) {
	if c, ok := e.(ledger.Call); ok {
		s.admit(c)
		return
	}
	_ = s.cfg.Book.Submit(context.Background(), e)
}

func pid(u libprocess.UPID) ledger.Conn { return ledger.Conn{PID: ledger.PID(u.String())} }

func subscribeCall(info *mesos.FrameworkInfo, suppressed []string) *scheduler.Call {
	return &scheduler.Call{Type: scheduler.Call_SUBSCRIBE.Enum(), FrameworkId: info.GetId(),
		Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: info, SuppressedRoles: suppressed}}
}

// v1Call translates a v0 call. All fields but Subscribe's have the same numbers in both,
// so the bytes are read again; it is nil when they cannot be.
func v1Call(m *schedulerv0.Call) (c *scheduler.Call, force bool) {
	sub := m.GetSubscribe()
	rest := &schedulerv0.Call{FrameworkId: m.FrameworkId, Type: m.Type, Accept: m.Accept, Decline: m.Decline,
		AcceptInverseOffers: m.AcceptInverseOffers, DeclineInverseOffers: m.DeclineInverseOffers, Revive: m.Revive,
		Kill: m.Kill, Shutdown: m.Shutdown, Acknowledge: m.Acknowledge, AcknowledgeOperationStatus: m.AcknowledgeOperationStatus,
		Reconcile: m.Reconcile, ReconcileOperations: m.ReconcileOperations, Message: m.Message, Request: m.Request,
		Suppress: m.Suppress, UpdateFramework: m.UpdateFramework}
	bytes, err := proto.Marshal(rest)
	if err != nil {
		return nil, false
	}
	c = &scheduler.Call{}
	if err := proto.Unmarshal(bytes, c); err != nil {
		return nil, false
	}
	if sub != nil {
		c.Subscribe = &scheduler.Call_Subscribe{FrameworkInfo: sub.FrameworkInfo, SuppressedRoles: sub.SuppressedRoles,
			OfferConstraints: sub.OfferConstraints}
	}
	return c, sub.GetForce()
}

// noPID is how libprocess prints "no address".
const noPID = "@0.0.0.0:0"

// toDriver sends an event as the legacy message that every driver understands;
// drivers mishandle mesos.scheduler.Event.
func (s *Shell) toDriver(e ledger.ToFramework) {
	to, err := libprocess.Parse(string(e.To.PID))
	if err != nil {
		return
	}
	if m := legacy(e); m != nil {
		if err := s.cfg.Send(to, m); err != nil {
			s.log.Debug("message to driver lost", "framework", e.Framework, "to", to, "error", err)
		}
	}
}

func legacy(e ledger.ToFramework) proto.Message {
	id := &mesos.FrameworkID{Value: proto.String(string(e.Framework))}
	switch v := e.Event; v.GetType() {
	case scheduler.Event_SUBSCRIBED:
		if e.Reregistered {
			return &messages.FrameworkReregisteredMessage{FrameworkId: id, MasterInfo: v.GetSubscribed().GetMasterInfo()}
		}
		return &messages.FrameworkRegisteredMessage{FrameworkId: id, MasterInfo: v.GetSubscribed().GetMasterInfo()}
	case scheduler.Event_OFFERS:
		m := &messages.ResourceOffersMessage{Offers: v.GetOffers().GetOffers()}
		for _, p := range e.AgentPIDs {
			m.Pids = append(m.Pids, string(p))
		}
		return m
	case scheduler.Event_RESCIND:
		return &messages.RescindResourceOfferMessage{OfferId: v.GetRescind().GetOfferId()}
	case scheduler.Event_UPDATE:
		sender := string(e.Sender)
		if sender == "" {
			sender = noPID
		}
		update := proto.Clone(e.Update).(*messages.StatusUpdate)
		update.Status.Uuid = update.Uuid // both or neither: old drivers read one, new ones the other
		return &messages.StatusUpdateMessage{Update: update, Pid: &sender}
	case scheduler.Event_MESSAGE:
		return &messages.ExecutorToFrameworkMessage{SlaveId: v.GetMessage().GetAgentId(), FrameworkId: id,
			ExecutorId: v.GetMessage().GetExecutorId(), Data: v.GetMessage().GetData()}
	case scheduler.Event_FAILURE:
		f := v.GetFailure()
		if f.GetExecutorId() == nil {
			return &messages.LostSlaveMessage{SlaveId: f.GetAgentId()}
		}
		return &messages.ExitedExecutorMessage{SlaveId: f.GetAgentId(), FrameworkId: id, ExecutorId: f.GetExecutorId(),
			Status: proto.Int32(f.GetStatus())}
	case scheduler.Event_ERROR:
		return &messages.FrameworkErrorMessage{Message: proto.String(v.GetError().GetMessage())}
	}
	return nil
}
