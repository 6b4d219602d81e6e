package ledgersim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// master is one term: the cores and what the shell around them does with their effects.
type master struct {
	w       *world
	epoch   int
	book    *ledger.Ledger
	al      *allocate.Allocator
	dead    bool
	ready   bool // the registry is read
	queue   []ledger.Registry
	writing bool
	agents  map[ledger.PID]*link // to agents
	streams map[string]*stream
	ticket  ledger.Ticket
	waiting map[ledger.Ticket]string // operators' calls without an answer yet
}

// stream is a framework's connection: an HTTP stream or a driver's pid.
type stream struct {
	conn ledger.Conn
	link *link
	f    *framework
	open bool
}

// elect makes a new leader out of what the registry holds.
func (w *world) elect() {
	w.epoch++
	m := &master{w: w, epoch: w.epoch, agents: map[ledger.PID]*link{}, streams: map[string]*stream{}, waiting: map[ledger.Ticket]string{}}
	info := &mesos.MasterInfo{Id: proto.String(fmt.Sprintf("M%d", m.epoch)), Ip: proto.Uint32(1), Port: proto.Uint32(5050)}
	m.book = ledger.New(ledger.Config{Master: info, MaxCompletedTasks: 50, MaxUnreachable: 50, MaxCompleted: 5, OfferTimeout: 5 * time.Minute})
	m.al = allocate.New(allocate.Config{Seed: w.seed})
	w.leader = m
	w.masters = append(w.masters, m)
	w.note("M%d leads", m.epoch)
	m.step(w.recovered())
	m.ready = !m.dead
	m.beat()
	for _, a := range w.agents {
		w.after(w.between(0, 5*time.Second), func() { a.follow(m) })
	}
	for _, f := range w.frameworks {
		w.after(w.between(0, 5*time.Second), func() { f.follow(m) })
	}
}

// recovered is what a new leader reads.
func (w *world) recovered() ledger.Recovered {
	var e ledger.Recovered
	agents := map[ledger.AgentID]ledger.Registry{}
	quotas, weights := map[string]ledger.QuotaSet{}, map[string]ledger.WeightSet{}
	for _, f := range w.facts {
		if f.Agent != "" {
			agents[f.Agent] = f
		}
		for _, q := range f.Quotas {
			quotas[q.Role] = q
		}
		for _, s := range f.Weights {
			weights[s.Role] = s
		}
		if f.Maintenance != nil {
			e.Maintenance = *f.Maintenance
		}
	}
	for _, id := range slices.Sorted(maps.Keys(agents)) {
		f := agents[id]
		switch f.State {
		case ledger.Admitted:
			e.Admitted = append(e.Admitted, ledger.Admission{Info: f.Info, PID: f.PID, Standing: f.Standing})
		case ledger.Unreachable:
			e.Unreachable = append(e.Unreachable, ledger.Absence{Agent: id, Since: f.Since, Standing: f.Standing})
		case ledger.Gone:
			e.Gone = append(e.Gone, ledger.Absence{Agent: id, Since: f.Since})
		}
	}
	for _, role := range slices.Sorted(maps.Keys(quotas)) {
		if !quotas[role].None() {
			e.Quotas = append(e.Quotas, quotas[role])
		}
	}
	for _, role := range slices.Sorted(maps.Keys(weights)) {
		e.Weights = append(e.Weights, weights[role])
	}
	return e
}

// durable tells the state the registry has of an agent.
func (w *world) durable(id ledger.AgentID) ledger.RegistryState {
	for _, f := range slices.Backward(w.facts) {
		if f.Agent == id {
			return f.State
		}
	}
	return 0
}

// beat lets time pass for the cores, as the owner's loop does.
func (m *master) beat() {
	if m.dead {
		return
	}
	if at, any := m.book.Next(); any && !at.After(m.w.now) {
		m.step(ledger.Tick{})
	}
	m.allocate()
	m.w.after(m.w.between(200*time.Millisecond, 1200*time.Millisecond), m.beat)
}

func (m *master) allocate() {
	if m.dead {
		return
	}
	if at, any := m.al.Next(); m.al.Dirty() || any && !at.After(m.w.now) {
		if g := m.al.Run(m.w.now); len(g) > 0 {
			m.step(ledger.Grants{Grants: g})
		}
		if m.dead {
			return
		}
		if g := m.al.Inverse(m.w.now); len(g) > 0 {
			m.step(ledger.InverseGrants{Grants: g})
		}
	}
}

// step gives the ledger an event and carries the effects out; the process may die
// between any two of them.
func (m *master) step(e ledger.Event) {
	if m.dead {
		return
	}
	moved := false
	for _, effect := range m.book.Step(m.w.now, e) {
		switch effect.(type) {
		case ledger.AgentOpen, ledger.Taken, ledger.Released, ledger.Converted, ledger.ToFramework:
			moved = true
		}
		m.w.count++
		if m.w.count == m.w.crash || !m.w.lasts && m.w.chance(4000) {
			m.w.note("M%d crashes before %T", m.epoch, effect)
			m.w.did("crash between effects")
			m.die()
			return
		}
		m.al.Apply(m.w.now, effect)
		m.carryOut(effect)
		if m.dead {
			return
		}
	}
	if moved {
		m.check()
	}
}

func (m *master) carryOut(effect ledger.Effect) {
	w := m.w
	switch e := effect.(type) {
	case ledger.Registry:
		m.queue = append(m.queue, e)
		m.write()
	case ledger.AgentClosed:
		if e.Gone {
			// Who stays away so long that it is given up has no living connection: what was on
			// its way is lost. Else launches that come out of a partition late could meet a
			// registration that knows nothing of them, and nobody could tell.
			for _, a := range w.agents {
				if l := m.agents[a.pid]; l != nil && a.cut() && a.id.GetValue() == string(e.Agent) {
					l.gen++
				}
			}
		}
	case ledger.Abandon:
		m.die()
	case ledger.ToAgent:
		m.toAgent(e)
	case ledger.LinkPID:
		m.linkTo(e.PID)
	case ledger.ToFramework:
		m.toFramework(e)
	case ledger.CloseFramework:
		if s := m.streams[key(e.To)]; s != nil && s.open && e.To.PID == "" {
			s.link.send(func() { s.end("closed by the master") })
		}
	case ledger.Answer:
		if what, open := m.waiting[e.Ticket]; open {
			delete(m.waiting, e.Ticket)
			w.note("M%d answers %d to %s %s", m.epoch, e.Code, what, e.Body)
			if e.Code < 300 {
				w.did(what)
			}
		}
	}
}

func key(c ledger.Conn) string { return c.Stream + string(c.PID) }

// write gives what waits to the registry, one batch at a time. The fence lets only the
// newest leader write; a write that fails, or is refused, ends the term.
func (m *master) write() {
	if m.writing || m.dead || len(m.queue) == 0 {
		return
	}
	m.writing = true
	batch := m.queue
	m.queue = nil
	w := m.w
	w.after(w.delay(), func() {
		switch fails := !w.lasts && w.chance(60); {
		case m.epoch != w.epoch:
			w.note("M%d: write refused, M%d leads", m.epoch, w.epoch)
			w.did("write refused by the fence")
			m.die()
			return
		case fails && w.rand.IntN(2) == 0:
			w.note("M%d: write failed", m.epoch)
			w.did("write failed")
			m.die()
			return
		default:
			// It arrives also when its master died meanwhile.
			for _, f := range batch {
				if f.Agent != "" {
					w.note("registry: %s is %s", f.Agent, f.State)
				}
			}
			w.facts = append(w.facts, batch...)
			if fails {
				w.note("M%d: write in doubt", m.epoch)
				w.did("write in doubt")
				m.die()
				return
			}
		}
		w.after(w.delay(), func() {
			if m.dead {
				return
			}
			m.writing = false
			var done []ledger.Ticket
			for _, f := range batch {
				done = append(done, f.Ticket)
			}
			m.step(ledger.RegistryDone{Tickets: done})
			m.write()
		})
	})
}

// linkTo opens the outbound link that an address is watched by.
func (m *master) linkTo(pid ledger.PID) {
	if m.agents[pid] == nil {
		m.agents[pid] = &link{w: m.w}
		if a := m.w.agentAt(pid); a != nil {
			m.agents[pid].till = a.till
		}
	}
}

func (m *master) toAgent(e ledger.ToAgent) {
	w := m.w
	to := w.agentAt(e.PID)
	if to == nil {
		return
	}
	switch msg := e.Message.(type) {
	case *messages.SlaveRegisteredMessage:
		// A deposed master may repeat what a newer one has changed, and one whose write is on its way what it changes.
		if s := w.durable(e.Agent); s == 0 || m.epoch == w.epoch && !m.writing && s != ledger.Admitted {
			w.fail("agent %s is told its id before it is durable", e.Agent)
		}
	case *messages.SlaveReregisteredMessage:
		// A deposed master may not know better; nobody follows it any more.
		if m.epoch == w.epoch && !m.writing && w.durable(e.Agent) != ledger.Admitted {
			w.fail("agent %s is taken back before that is durable: %s", e.Agent, w.durable(e.Agent))
		}
	case *messages.RunTaskMessage:
		w.note("M%d -> %s run %s", m.epoch, to.pid, msg.GetTask().GetTaskId().GetValue())
	}
	m.linkTo(e.PID)
	switch e.Message.(type) {
	case *messages.PingSlaveMessage, *messages.StatusUpdateAcknowledgementMessage, *messages.AcknowledgeOperationStatusMessage:
		m.agents[e.PID].loose(func() { to.receive(m, e.Message) })
	default:
		m.agents[e.PID].send(func() { to.receive(m, e.Message) })
	}
}

func (m *master) toFramework(e ledger.ToFramework) {
	s := m.streams[key(e.To)]
	if s == nil || !s.open {
		return
	}
	if u := e.Event.GetUpdate().GetStatus(); u.GetState() == mesos.TaskState_TASK_UNREACHABLE && u.GetReason() == mesos.TaskStatus_REASON_AGENT_REMOVED &&
		m.w.durable(ledger.AgentID(u.GetAgentId().GetValue())) != ledger.Unreachable && m.epoch == m.w.epoch {
		m.w.fail("task %s is told unreachable before its agent is durably so", u.GetTaskId().GetValue())
	}
	f := s.f
	s.link.send(func() {
		if s.open && f.on == s {
			f.receive(m, s, e.Event)
		}
	})
}

// end closes a stream: the framework sees it, and the master hears of it later.
func (s *stream) end(why string) {
	if !s.open {
		return
	}
	s.open = false
	f := s.f
	if f.on == s {
		f.lost(why)
	}
}

// order is an operator's call; its answer has to come while the master lives.
func (m *master) order(c *masterapi.Call) {
	m.ticket++
	m.waiting[m.ticket] = c.GetType().String()
	m.w.note("M%d order %s", m.epoch, c)
	m.step(ledger.OperatorCall{Call: c, Ticket: m.ticket})
}

// die ends the process: every connection breaks, and somebody else leads later.
func (m *master) die() {
	if m.dead {
		return
	}
	w := m.w
	m.dead = true
	w.note("M%d is dead", m.epoch)
	w.masters = slices.DeleteFunc(w.masters, func(o *master) bool { return o == m })
	for _, pid := range slices.Sorted(maps.Keys(m.agents)) {
		m.agents[pid].breaks()
	}
	for _, k := range slices.Sorted(maps.Keys(m.streams)) {
		s := m.streams[k]
		if s.conn.PID == "" {
			w.after(w.delay(), func() { s.end("the master died") })
		}
	}
	if w.leader == m {
		w.leader = nil
		w.after(w.between(time.Second, 20*time.Second), w.electAnew)
	}
}

func (w *world) electAnew() {
	if w.leader == nil {
		w.elect()
	}
}

// depose takes the lead from the leader, which goes on for a while without knowing it.
func (w *world) depose() {
	m := w.leader
	if m == nil {
		return
	}
	w.note("M%d is deposed", m.epoch)
	w.leader = nil
	w.after(w.between(time.Second, 10*time.Second), w.electAnew)
	w.after(w.between(10*time.Second, 2*time.Minute), m.die)
}

// check looks at the book after every step (I5): on no agent is more used and offered
// than there is.
func (m *master) check() {
	for _, a := range m.book.Snapshot().Agents {
		total := a.Total.NonRevocable().Quantities()
		taken := a.Used.Exclusive().NonRevocable().Quantities().Add(a.Offered.Exclusive().NonRevocable().Quantities())
		if !total.Contains(&taken) {
			m.w.fail("agent %s has %s, but %s is used and %s offered", a.ID, a.Total, a.Used, a.Offered)
		}
	}
}
