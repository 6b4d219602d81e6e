package ledgersim

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// framework is a scheduler that forgets nothing: it launches, kills, reserves, and
// compares all it hears with what it heard before (I6).
type framework struct {
	w      *world
	n      int
	info   *mesos.FrameworkInfo
	driver bool
	aware  bool // of partitions

	leader  *master
	on      *stream // nil: not connected
	known   bool    // SUBSCRIBED came on it
	removed bool
	streams int
	out     *link

	offers   []*mesos.Offer
	tasks    map[string]*heard
	order    []string
	launched int
	executor int
	volumes  int
}

// heard is what a framework knows of one task.
type heard struct {
	id, agent string
	states    []mesos.TaskState
	end       mesos.TaskState
	ended     bool // for good: nothing but repetitions may follow
	unknown   bool // reconciliation says that nobody knows it
	acked     int  // updates of the agent, in order
	endAt     int  // which of them was the end
	heard     time.Time
}

func (w *world) addFramework() {
	n := len(w.frameworks)
	f := &framework{w: w, n: n, tasks: map[string]*heard{}, aware: n%2 == 0, driver: n == 2,
		info: &mesos.FrameworkInfo{User: proto.String("u"), Name: proto.String(fmt.Sprint("f", n)), Checkpoint: proto.Bool(n != 3),
			FailoverTimeout: proto.Float64(3600), Principal: proto.String("p")}}
	caps := []mesos.FrameworkInfo_Capability_Type{mesos.FrameworkInfo_Capability_RESERVATION_REFINEMENT, mesos.FrameworkInfo_Capability_MULTI_ROLE}
	f.info.Roles = []string{"eng", "ops"}[n%2 : n%2+1]
	if f.driver {
		caps = nil
		f.info.Roles, f.info.Role = nil, proto.String("ops")
	}
	if f.aware {
		caps = append(caps, mesos.FrameworkInfo_Capability_PARTITION_AWARE)
	}
	if n == 3 {
		f.info.FailoverTimeout = proto.Float64(20)
	}
	for _, c := range caps {
		f.info.Capabilities = append(f.info.Capabilities, &mesos.FrameworkInfo_Capability{Type: c.Enum()})
	}
	w.frameworks = append(w.frameworks, f)
}

func (f *framework) role() string {
	if f.driver {
		return "ops"
	}
	return f.info.Roles[0]
}

func (f *framework) follow(m *master) {
	if m.dead || m.epoch != f.w.epoch || f.leader == m && f.on != nil || f.removed {
		return
	}
	f.leader = m
	f.subscribe()
}

// subscribe connects, on a new stream or as a driver under its pid.
func (f *framework) subscribe() {
	m := f.leader
	if m == nil || m.dead || f.removed {
		return
	}
	f.streams++
	conn := ledger.Conn{Stream: fmt.Sprintf("f%d-%d", f.n, f.streams)}
	if f.driver {
		conn = ledger.Conn{PID: ledger.PID(fmt.Sprintf("scheduler(1)@10.0.1.%d:%d", f.n, 9000+f.streams))}
	}
	f.known, f.offers = false, nil
	f.out = &link{w: f.w}
	stream, again := f.streams, f.info.Id != nil
	call := &scheduler.Call{Type: scheduler.Call_SUBSCRIBE.Enum(), FrameworkId: f.info.Id, Subscribe: &scheduler.Call_Subscribe{FrameworkInfo: proto.Clone(f.info).(*mesos.FrameworkInfo)}}
	if f.on != nil {
		f.on.open = f.on.conn.PID != "" // an HTTP client closes the old one
	}
	f.on = nil
	f.w.after(f.w.delay(), func() {
		if m.dead || !m.ready || f.streams != stream {
			return
		}
		s := &stream0{f: f, m: m, conn: conn}
		s.open(call, again)
	})
	f.w.after(f.w.between(10*time.Second, 30*time.Second), func() {
		if f.streams == stream && !f.known {
			f.again()
		}
	})
}

// stream0 is a connection being made.
type stream0 struct {
	f    *framework
	m    *master
	conn ledger.Conn
}

func (s *stream0) open(call *scheduler.Call, again bool) {
	st := &stream{conn: s.conn, link: &link{w: s.f.w}, f: s.f, open: true}
	s.m.streams[key(s.conn)] = st
	s.f.on = st
	s.m.step(ledger.Call{From: s.conn, Call: call, Force: again})
}

// again tries once more, with whoever leads now.
func (f *framework) again() {
	if f.w.leader != nil {
		f.leader = f.w.leader
		f.subscribe()
		return
	}
	f.w.after(5*time.Second, func() {
		if f.on == nil {
			f.again()
		}
	})
}

// lost is the end of the stream as the framework sees it.
func (f *framework) lost(why string) {
	f.w.note("f%d lost its stream: %s", f.n, why)
	f.on, f.known, f.offers = nil, false, nil
	if !f.removed {
		longest := 20 * time.Second
		if f.n == 3 && !f.w.calm {
			longest = 50 * time.Second // its failover timeout is shorter
		}
		f.w.after(f.w.between(time.Second, longest), func() {
			if f.on == nil && !f.removed {
				f.again()
			}
		})
	}
}

// disconnect breaks the stream; the master hears of it later.
func (f *framework) disconnect() {
	s, m := f.on, f.leader
	if s == nil || m == nil {
		return
	}
	s.open = false
	s.link.breaks()
	f.out.breaks()
	f.w.after(f.w.delay(), func() { m.step(ledger.ConnectionLost{Conn: s.conn, Reason: "broken"}) })
	f.lost("broken")
}

// call sends a call on the present subscription.
func (f *framework) call(c *scheduler.Call) {
	s, m := f.on, f.leader
	if s == nil || !f.known {
		return
	}
	c.FrameworkId = f.info.Id
	f.out.send(func() {
		if !m.dead {
			m.step(ledger.Call{From: s.conn, Call: c, Ticket: 0})
		}
	})
}

func (f *framework) receive(m *master, s *stream, e *scheduler.Event) {
	switch e.GetType() {
	case scheduler.Event_SUBSCRIBED:
		f.info.Id, f.known = e.GetSubscribed().GetFrameworkId(), true
		f.w.note("f%d is %s at M%d", f.n, f.info.GetId().GetValue(), m.epoch)
		f.reconcile()
	case scheduler.Event_OFFERS:
		for _, o := range e.GetOffers().GetOffers() {
			f.offers = append(f.offers, o)
			f.w.after(f.w.between(0, 20*time.Second), func() { f.answer(o) })
		}
	case scheduler.Event_INVERSE_OFFERS:
		f.w.did("inverse offer")
	case scheduler.Event_RESCIND:
		f.offers = slices.DeleteFunc(f.offers, func(o *mesos.Offer) bool {
			return o.GetId().GetValue() == e.GetRescind().GetOfferId().GetValue()
		})
	case scheduler.Event_UPDATE:
		f.update(e.GetUpdate().GetStatus())
	case scheduler.Event_UPDATE_OPERATION_STATUS:
		f.w.did("feedback")
		if st := e.GetUpdateOperationStatus().GetStatus(); st.GetUuid() != nil {
			f.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS.Enum(), AcknowledgeOperationStatus: &scheduler.Call_AcknowledgeOperationStatus{
				AgentId: st.AgentId, Uuid: st.GetUuid().GetValue(), OperationId: st.OperationId, ResourceProviderId: st.ResourceProviderId}})
		}
	case scheduler.Event_ERROR:
		f.w.note("f%d: error %s", f.n, e.GetError().GetMessage())
		if e.GetError().GetMessage() == "Framework has been removed" {
			f.removed = true
			f.w.did("framework removed")
			return
		}
		s.open = false
		f.lost("error")
	}
}

// update compares a status with all that was heard of the task (I6).
func (f *framework) update(s *mesos.TaskStatus) {
	id := s.GetTaskId().GetValue()
	h := f.tasks[id]
	f.w.note("f%d hears %s is %s %s %s", f.n, id, s.GetState(), s.GetReason(), s.GetMessage())
	if h == nil && f.w.lasts {
		f.ack(s) // forgotten meanwhile
		return
	}
	if h == nil {
		f.w.fail("f%d hears of task %s, which it never launched", f.n, id)
		return
	}
	h.heard = f.w.now
	state := s.GetState()
	if len(s.GetUuid()) > 0 {
		n, err := strconv.Atoi(s.GetMessage())
		if err != nil {
			f.w.fail("update of %s with message %q", id, s.GetMessage())
		}
		switch {
		case n > h.acked+1:
			f.w.fail("f%d hears update %d of %s, but acknowledged only %d", f.n, n, id, h.acked)
		case n <= h.acked:
			f.ack(s)
			return // a repetition
		}
		if f.w.chance(8) {
			return // lost before it was stored: it comes again
		}
		h.acked = n
		f.ack(s)
		if ledger.Terminal(state) {
			h.endAt = n
		}
	}
	if s.GetReason() == mesos.TaskStatus_REASON_AGENT_REREGISTERED {
		h.unknown = false
		return // the latest state, though earlier updates may still come
	}
	final := ledger.Terminal(state) && (state != mesos.TaskState_TASK_LOST || len(s.GetUuid()) > 0)
	switch {
	case state == mesos.TaskState_TASK_UNKNOWN, s.GetReason() == mesos.TaskStatus_REASON_RECONCILIATION && s.GetSource() == mesos.TaskStatus_SOURCE_MASTER && ledger.Terminal(state):
		h.unknown = true
		if s.GetReason() == mesos.TaskStatus_REASON_RECONCILIATION {
			return
		}
	case !ledger.Terminal(state):
		h.unknown = false
	}
	if h.ended && state != h.end && h.end != mesos.TaskState_TASK_LOST {
		f.w.fail("f%d hears that %s is %s (%s), but it had ended as %s", f.n, id, state, s.GetMessage(), h.end)
	}
	f.w.did(state.String())
	if len(h.states) == 0 || h.states[len(h.states)-1] != state {
		h.states = append(h.states, state)
	}
	if final {
		h.ended, h.end = true, state
	}
	if s.GetState() == mesos.TaskState_TASK_LOST && len(s.GetUuid()) == 0 {
		h.unknown = true // nobody runs it, as far as the master knows
	}
}

func (f *framework) ack(s *mesos.TaskStatus) {
	f.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), Acknowledge: &scheduler.Call_Acknowledge{AgentId: s.AgentId, TaskId: s.TaskId, Uuid: s.Uuid}})
}

// open are the tasks whose end is not known.
func (f *framework) open() []*heard {
	var out []*heard
	for _, id := range f.order {
		if h := f.tasks[id]; !h.ended && !h.unknown {
			out = append(out, h)
		}
	}
	return out
}

func (f *framework) reconcile() {
	r := &scheduler.Call_Reconcile{}
	for _, h := range f.open() {
		r.Tasks = append(r.Tasks, &scheduler.Call_Reconcile_Task{TaskId: &mesos.TaskID{Value: &h.id}, AgentId: &mesos.AgentID{Value: &h.agent}})
	}
	if f.w.calm { // also what was thought lost
		f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE.Enum(), Reconcile: &scheduler.Call_Reconcile{}})
	}
	if len(r.Tasks) > 0 {
		f.call(&scheduler.Call{Type: scheduler.Call_RECONCILE.Enum(), Reconcile: r})
	}
}

func (f *framework) kill(h *heard) {
	k := &scheduler.Call_Kill{TaskId: &mesos.TaskID{Value: &h.id}, AgentId: &mesos.AgentID{Value: &h.agent}}
	f.call(&scheduler.Call{Type: scheduler.Call_KILL.Enum(), Kill: k})
}

// answer takes an offer, or declines it. Now and then it is one that was rescinded.
func (f *framework) answer(o *mesos.Offer) {
	if !slices.Contains(f.offers, o) && !f.w.chance(10) {
		return
	}
	f.offers = slices.DeleteFunc(f.offers, func(each *mesos.Offer) bool { return each == o })
	filters := &mesos.Filters{RefuseSeconds: proto.Float64(float64(f.w.rand.IntN(20)))}
	if f.w.calm || f.w.rand.IntN(4) == 0 {
		f.call(&scheduler.Call{Type: scheduler.Call_DECLINE.Enum(), Decline: &scheduler.Call_Decline{OfferIds: []*mesos.OfferID{o.Id}, Filters: filters}})
		return
	}
	left := resource.Of(o.GetResources()...).Unallocate()
	var ops []*mesos.Offer_Operation
	for range 1 + f.w.rand.IntN(3) {
		if op := f.operation(o, &left); op != nil {
			ops = append(ops, op)
		}
	}
	f.call(&scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{OfferIds: []*mesos.OfferID{o.Id}, Operations: ops, Filters: filters}})
}
