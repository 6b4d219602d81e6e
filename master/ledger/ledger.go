package ledger

import (
	"time"
)

// Ledger is one term's book. It is not safe for concurrent use: one goroutine owns
// it; readers use Snapshot.
type Ledger struct {
	cfg Config
	ids generator
	now time.Time // of the present Step
	out []Effect  // of the present Step

	started time.Time // when the term's registry was recovered

	agents      map[AgentID]*agent
	byPID       map[PID]AgentID // connected and disconnected agents by their address
	recovered   map[AgentID]*recoveredAgent
	unreachable *absences
	gone        *absences

	frameworks map[FrameworkID]*framework
	byConn     map[Conn]FrameworkID
	completed  ring[*FrameworkView] // removed frameworks as they were at the end
	finished   map[FrameworkID]bool // ids in completed: they may not come back

	offers  map[OfferID]*offer
	orphans map[string]*operation // by uuid: whose framework is not known

	inverse map[OfferID]*inverseOffer

	pending  map[Ticket]pendingFact // registry writes under way
	ticket   Ticket
	busy     map[AgentID]RegistryState // agents with a registry write under way, and to which state: other transitions wait
	orders   map[AgentID][]func()      // that wait for such a write
	greeting map[PID]bool              // addresses whose first registration is being written

	policies policies
	machines map[machineID]*machine

	limit   *limiter           // of agents marked unreachable; nil: none
	doomed  map[AgentID]string // that wait for a permit, and why they must go
	awaited int                // agents that the registry held at the beginning of the term
	settle  map[AgentID]bool   // draining agents that may be drained now

	timers   timerHeap
	timerSeq uint64

	taskSeq      uint64 // grows with each task opened
	operationSeq uint64 // grows with each operation opened

	shared *sharing // parts that many tasks have

	count Counters
	view  viewCache
}

// pendingFact is what goes on when a registry write is durable.
type pendingFact struct {
	agent AgentID // empty: a policy
	then  func()  // may be nil
}

// New gives an empty book; the first event must be Recovered.
func New(cfg Config) *Ledger {
	cfg.defaults()
	return &Ledger{
		cfg:         cfg,
		ids:         generator{master: cfg.Master.GetId()},
		agents:      map[AgentID]*agent{},
		byPID:       map[PID]AgentID{},
		recovered:   map[AgentID]*recoveredAgent{},
		unreachable: newAbsences(),
		gone:        newAbsences(),
		frameworks:  map[FrameworkID]*framework{},
		byConn:      map[Conn]FrameworkID{},
		completed:   newRing[*FrameworkView](cfg.MaxCompleted),
		finished:    map[FrameworkID]bool{},
		offers:      map[OfferID]*offer{},
		orphans:     map[string]*operation{},
		pending:     map[Ticket]pendingFact{},
		inverse:     map[OfferID]*inverseOffer{},
		busy:        map[AgentID]RegistryState{},
		orders:      map[AgentID][]func(){},
		policies:    newPolicies(),
		machines:    map[machineID]*machine{},
		limit:       newLimiter(cfg.RemovalRate),
		doomed:      map[AgentID]string{},
		settle:      map[AgentID]bool{},
		greeting:    map[PID]bool{},
		view:        newViewCache(),
		shared:      newSharing(),
	}
}

// Step applies one event at a time and gives the effects, in the order in which they
// must be carried out. The slice is the caller's.
func (l *Ledger) Step(now time.Time, event Event) []Effect {
	if now.Before(l.now) {
		now = l.now // the book's time never runs backwards
	}
	l.now = now
	switch e := event.(type) {
	case Recovered:
		l.recover(e)
	case Call:
		l.call(e)
	case ConnectionLost:
		l.connectionLost(e)
	case AgentMessage:
		l.agentMessage(e)
	case AgentExited:
		l.agentExited(e.PID)
	case RegistryDone:
		for _, t := range e.Tickets {
			l.registryDone(t)
		}
	case Grants:
		l.granted(e.Grants)
	case InverseGrants:
		l.inverseGranted(e.Grants)
	case Tick:
		l.tick()
	case Teardown:
		l.teardown(e)
	case OperatorCall:
		l.operatorCall(e)
	}
	l.settleDrains()
	out := l.out
	l.out = nil
	return out
}

func (l *Ledger) emit(e Effect) {
	if to, ok := e.(ToFramework); ok {
		l.countEvent(to)
	}
	l.out = append(l.out, e)
}

// durable asks the registry for a fact; then runs when the registry has it. Everybody
// hears of the fact only after that.
func (l *Ledger) durable(fact Registry, then func()) {
	l.ticket++
	fact.Ticket = l.ticket
	l.pending[l.ticket] = pendingFact{agent: fact.Agent, then: then}
	if fact.Agent != "" {
		l.busy[fact.Agent] = fact.State
	}
	l.emit(fact)
}

func (l *Ledger) registryDone(t Ticket) {
	fact, known := l.pending[t]
	if !known {
		return
	}
	delete(l.pending, t)
	if fact.agent != "" {
		delete(l.busy, fact.agent)
	}
	if fact.then != nil {
		fact.then()
	}
	if fact.agent != "" {
		l.nextOrders(fact.agent)
	}
}
