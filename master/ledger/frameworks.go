package ledger

import (
	"fmt"
	"math"
	"sort"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// framework is a framework that may have tasks: subscribed, disconnected within its
// failover timeout, or recovered (reported by an agent, not heard of in this term).
type framework struct {
	id           FrameworkID
	wireID       *mesos.FrameworkID   // id, for all who name it
	info         *mesos.FrameworkInfo // never changed in place
	caps         FrameworkCapabilities
	roles        []string
	suppressed   []string
	constraints  *scheduler.OfferConstraints
	conn         Conn // none: disconnected or recovered
	last         Conn // conn, or what it was before the framework was disconnected
	active       bool // takes offers
	recovered    bool
	registered   time.Time
	reregistered time.Time
	epoch        uint64 // of the connection: voids failover timers of earlier absences
	tasks        map[TaskID]*task
	line         line[*mesos.Task] // the descriptions of tasks, by launch
	completed    ring[*mesos.Task]
	unreachable  ring[*mesos.Task]
	executors    map[executorKey]*executor
	operations   map[string]*operation // by uuid
	executorLine line[ExecutorView]    // of executors, as they came
	offers       map[OfferID]*offer
	inverse      map[AgentID]*inverseOffer
	offerLine    line[*mesos.Offer] // of offers, as they were made
	used         resource.Resources
	count        FrameworkCounters
	offered      resource.Resources
}

func (l *Ledger) newFramework(id FrameworkID, info *mesos.FrameworkInfo) *framework {
	f := &framework{
		id: id, wireID: id.wire(), registered: l.now,
		tasks:       map[TaskID]*task{},
		completed:   newRing[*mesos.Task](l.cfg.MaxCompletedTasks),
		unreachable: newRing[*mesos.Task](l.cfg.MaxUnreachable),
		executors:   map[executorKey]*executor{},
		operations:  map[string]*operation{},
		offers:      map[OfferID]*offer{},
		inverse:     map[AgentID]*inverseOffer{},
	}
	f.setInfo(info)
	l.frameworks[id] = f
	l.adoptOperations(f)
	l.touchFramework(f)
	return f
}

func (f *framework) setInfo(info *mesos.FrameworkInfo) {
	f.info, f.caps, f.roles = info, frameworkCapabilities(info), frameworkRoles(info)
}

func (l *Ledger) sortedFrameworks() []*framework {
	list := make([]*framework, 0, len(l.frameworks))
	for _, f := range l.frameworks {
		list = append(list, f)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].id < list[j].id })
	return list
}

// roleOf gives the role that resources are allocated to; resources without one belong
// to the framework's single role (agents older than MULTI_ROLE).
func (f *framework) roleOf(list []*mesos.Resource) string {
	for _, r := range list {
		if role := r.GetAllocationInfo().GetRole(); role != "" {
			return role
		}
	}
	if len(f.roles) > 0 {
		return f.roles[0]
	}
	return "*"
}

func (f *framework) forgetUnreachable(id TaskID) {
	f.unreachable.cut(func(t *mesos.Task) bool { return t.GetTaskId().GetValue() == string(id) })
}

// send gives an event to the framework if it is connected.
func (l *Ledger) send(f *framework, e *scheduler.Event) {
	if !f.conn.None() {
		l.emit(ToFramework{To: f.conn, Framework: f.id, Event: e})
	}
}

// subscribe opens or takes over a subscription (mesos-master.md 1.3, libprocess.md
// 3.14). Refusals are an ERROR event and the end of the connection, not a status code.
func (l *Ledger) subscribe(c Call) {
	m := c.Call.GetSubscribe()
	info := proto.Clone(m.GetFrameworkInfo()).(*mesos.FrameworkInfo)
	id := FrameworkID(info.GetId().GetValue())
	v0 := c.From.PID != ""
	why := owned(info, c.Principal)
	switch {
	case why != "":
	case c.New && id != "":
		why = "Registering with 'id' already set"
	case c.Known && id == "":
		why = "Re-registering without an 'id'"
	default:
		if why = l.checkFramework(info); why == "" {
			why = l.checkOptions(frameworkRoles(info), m.GetSuppressedRoles(), m.GetOfferConstraints())
		}
		if why == "" {
			why = l.maySubscribe(info)
		}
	}
	if why != "" {
		l.refuse(c.From, why)
		return
	}
	if other, taken := l.byConn[c.From]; v0 && taken && other != id {
		if id != "" {
			return // an answer would reach the framework that is connected there
		}
		// A driver that has not heard our answer repeats itself: same pid, no id.
		l.subscribed(l.frameworks[other], c, false)
		return
	}
	f := l.frameworks[id]
	if f == nil {
		if id == "" {
			id = l.ids.framework()
		}
		info.Id = id.wire()
		f = l.newFramework(id, info)
		f.suppressed, f.constraints = m.GetSuppressedRoles(), m.GetOfferConstraints()
		l.connect(f, c.From)
		l.count.FrameworksAdded++
		l.link(c.From)
		l.subscribed(f, c, false)
		l.openFramework(f)
		l.operatorFrameworkAdded(f)
		return
	}
	if f.info.GetPrincipal() != info.GetPrincipal() {
		l.refuse(c.From, "Changing framework's principal is not allowed.")
		return
	}
	l.resubscribe(f, c, info)
}

// resubscribe puts a known framework on a new (or the same) connection.
func (l *Ledger) resubscribe(f *framework, c Call, info *mesos.FrameworkInfo) {
	old := f.conn
	wasRecovered := f.recovered
	if !wasRecovered && f.last != c.From && c.From.PID != "" && !c.Force {
		l.refuse(c.From, "Framework failed over") // another run of the driver is newer
		return
	}
	samePID := f.last == c.From
	if !old.None() && !samePID {
		l.emit(ToFramework{To: old, Framework: f.id, Event: errorEvent("Framework failed over")})
		delete(l.byConn, old)
		l.emit(CloseFramework{To: old, Reason: "the framework subscribed on another connection"})
	}
	if samePID && !c.Force {
		l.rescindFramework(f)
	} else {
		l.discardFramework(f) // silently: the new instance never saw them (T17)
	}
	l.dropInverse(f, samePID && !c.Force)
	// user and checkpoint keep their values, without an error (T40).
	info.User, info.Checkpoint = f.info.User, f.info.Checkpoint
	info.Id = f.id.wire()
	f.setInfo(info)
	f.suppressed, f.constraints = c.Call.GetSubscribe().GetSuppressedRoles(), c.Call.GetSubscribe().GetOfferConstraints()
	if wasRecovered {
		f.registered, f.recovered = l.now, false
		l.count.FrameworksAdded++
	} else {
		l.emit(FrameworkClosed{Framework: f.id}) // filters of the old instance are void (T20)
	}
	f.reregistered = l.now
	l.connect(f, c.From)
	l.link(c.From)
	l.subscribed(f, c, samePID && !c.Force && !wasRecovered)
	l.openFramework(f)
	for _, a := range l.sortedAgents() {
		if a.connected {
			l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: f.updateMessage()})
		}
	}
	l.operatorFrameworkUpdated(f)
}

// link asks for a link to a v0 framework's address; of a stream the shell sees the end
// by itself.
func (l *Ledger) link(c Conn) {
	if c.PID != "" {
		l.emit(LinkPID{PID: c.PID})
	}
}

func (l *Ledger) connect(f *framework, c Conn) {
	f.conn, f.last, f.active = c, c, true
	f.epoch++
	l.byConn[c] = f.id
	l.touchFramework(f)
}

func (l *Ledger) subscribed(f *framework, c Call, again bool) {
	l.countMessage(f)
	if c.From.Stream != "" {
		l.countCall(f, c) // a driver's registration is no call
	}
	interval := Heartbeat.Seconds()
	l.emit(ToFramework{To: c.From, Framework: f.id, Reregistered: again, Event: &scheduler.Event{
		Type: scheduler.Event_SUBSCRIBED.Enum(),
		Subscribed: &scheduler.Event_Subscribed{FrameworkId: f.id.wire(), HeartbeatIntervalSeconds: &interval,
			MasterInfo: l.cfg.Master}}})
}

func (l *Ledger) openFramework(f *framework) {
	l.emit(FrameworkOpen{Framework: f.id, Roles: f.roles, Suppressed: f.suppressed,
		Capabilities: f.caps, Filters: f.info.GetOfferFilters(), Constraints: f.constraints})
}

func (l *Ledger) refuse(c Conn, why string) {
	l.emit(Note{Text: "subscription refused: " + why})
	l.emit(ToFramework{To: c, Event: errorEvent(why)})
	l.emit(CloseFramework{To: c, Reason: why})
}

func errorEvent(text string) *scheduler.Event {
	return &scheduler.Event{Type: scheduler.Event_ERROR.Enum(), Error: &scheduler.Event_Error{Message: proto.String(text)}}
}

// updateMessage tells an agent where the framework is now; every agent hears it.
func (f *framework) updateMessage() proto.Message {
	pid := string(f.conn.PID)
	if pid == "" {
		pid = noPID
	}
	return &messages.UpdateFrameworkMessage{FrameworkId: f.id.wire(), Pid: &pid, FrameworkInfo: f.info}
}

// noPID is how libprocess prints "no address" (libprocess.md 1.1).
const noPID = "@0.0.0.0:0"

// recoverFramework makes a framework known that only an agent has told of.
func (l *Ledger) recoverFramework(info *mesos.FrameworkInfo) *framework {
	id := FrameworkID(info.GetId().GetValue())
	if f := l.frameworks[id]; f != nil {
		return f
	}
	if id == "" || l.finished[id] {
		return nil
	}
	f := l.newFramework(id, info)
	f.recovered = true
	l.operatorFrameworkAdded(f)
	return f
}

// connectionLost starts the failover timeout of the framework behind a connection; a
// late notice of an old connection finds nobody.
func (l *Ledger) connectionLost(e ConnectionLost) {
	id, known := l.byConn[e.Conn]
	if !known {
		return
	}
	delete(l.byConn, e.Conn)
	f := l.frameworks[id]
	if f == nil || f.conn != e.Conn {
		return
	}
	l.emit(Note{Text: "framework disconnected: " + e.Reason, Framework: f.id})
	if e.Conn.PID != "" {
		// Reaches the driver only when the break was one-way; then it must know (2.7).
		l.emit(ToFramework{To: e.Conn, Framework: f.id, Event: errorEvent("Framework disconnected")})
	}
	l.deactivate(f)
	f.conn = Conn{}
	f.epoch++
	l.after(failoverTimeout(f.info), failoverTimer, string(f.id), f.epoch)
}

// deactivate stops offers: what is out is rescinded, filters are dropped (1.4).
func (l *Ledger) deactivate(f *framework) {
	f.active = false
	l.touchFramework(f)
	l.rescindFramework(f)
	l.dropInverse(f, true)
	l.emit(FrameworkClosed{Framework: f.id})
}

// failoverTimeout converts seconds, already checked by checkFramework.
func failoverTimeout(info *mesos.FrameworkInfo) time.Duration {
	s := info.GetFailoverTimeout()
	if s <= 0 || math.IsNaN(s) {
		return 0
	}
	if s >= maxSeconds {
		return math.MaxInt64
	}
	return time.Duration(s * 1e9)
}

func (l *Ledger) failoverDue(id FrameworkID, epoch uint64) {
	f := l.frameworks[id]
	if f != nil && f.epoch == epoch && f.conn.None() && !f.recovered {
		l.emit(Note{Warn: true, Text: "framework removed: absent longer than its failover_timeout", Framework: id})
		l.removeFramework(f)
	}
}

// teardown removes a framework for an operator.
func (l *Ledger) teardown(e Teardown) {
	f := l.frameworks[e.Framework]
	if f == nil {
		l.emit(Answer{Ticket: e.Ticket, Code: 400, Body: fmt.Sprintf("No framework found with ID '%s'", e.Framework)})
		return
	}
	l.removeFramework(f)
	l.emit(Answer{Ticket: e.Ticket, Code: 200})
}

// removeFramework ends a framework for good: every agent is told to shut its executors
// down, its tasks count as killed, its id may not come back (mesos-master.md 1.5).
func (l *Ledger) removeFramework(f *framework) {
	l.discardFramework(f)
	l.dropInverse(f, false)
	f.active = false
	for _, a := range l.sortedAgents() {
		l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.ShutdownFrameworkMessage{FrameworkId: f.id.wire()}})
	}
	for _, t := range f.sortedTasks() {
		if !t.released {
			l.setState(t, mesos.TaskState_TASK_KILLED, &mesos.TaskStatus{TaskId: t.id.wire(),
				State: mesos.TaskState_TASK_KILLED.Enum(), AgentId: t.agent.wire(), Timestamp: l.seconds(),
				Source: mesos.TaskStatus_SOURCE_MASTER.Enum(), Reason: mesos.TaskStatus_REASON_FRAMEWORK_REMOVED.Enum(),
				Message: proto.String(fmt.Sprintf("Framework %s removed", f.id))})
		}
		l.dropTask(t)
	}
	for _, a := range l.sortedAgents() {
		for _, key := range f.executorsOn(a) {
			l.closeExecutor(f, a, key)
		}
	}
	l.orphanOperations(f)
	if !f.conn.None() {
		delete(l.byConn, f.conn)
		l.emit(CloseFramework{To: f.conn, Reason: "the framework was removed"})
		f.conn = Conn{}
	}
	delete(l.frameworks, f.id)
	l.finished[f.id] = true
	last := f.view(l.now)
	if old, full := l.completed.push(last); full {
		delete(l.finished, old.ID)
	}
	l.forgetFramework(f.id)
	l.emit(FrameworkClosed{Framework: f.id, Gone: true})
	l.operatorFrameworkRemoved(f)
}

func (l *Ledger) sortedAgents() []*agent {
	list := make([]*agent, 0, len(l.agents))
	for _, a := range l.agents {
		list = append(list, a)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].id < list[j].id })
	return list
}

func (f *framework) sortedTasks() []*task {
	list := make([]*task, 0, len(f.tasks))
	for _, t := range f.tasks {
		list = append(list, t)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].order < list[j].order })
	return list
}
