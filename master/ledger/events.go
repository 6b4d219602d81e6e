package ledger

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/maintenance"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// Event is one input of Step.
type Event interface{ event() }

// Conn is one connection of a framework: an HTTP stream by its Mesos-Stream-Id, or a
// v0 driver by its pid. Exactly one field is set; the zero Conn is no connection.
type Conn struct {
	Stream string
	PID    PID
}

// None reports whether c is no connection at all.
func (c Conn) None() bool { return c == Conn{} }

// Ticket names a request whose answer the shell waits for. Zero: nobody waits.
type Ticket uint64

// The inputs.
type (
	// Recovered opens a term: what the registry held. It must be the first event.
	Recovered struct {
		Admitted    []Admission
		Unreachable []Absence
		Gone        []Absence
		Quotas      []QuotaSet
		Weights     []WeightSet
		Maintenance Maintenance
	}

	// Call is a scheduler call, SUBSCRIBE included, that has the fields its type needs
	// (the shell checked, mesos-master.md 1.2 rows 7 to 10).
	Call struct {
		From   Conn
		Call   *scheduler.Call
		Ticket Ticket // answered by Answer; SUBSCRIBE is answered by events instead
		// Principal is who the shell authenticated; empty: nobody. It has to be the framework's.
		Principal string
		// Force is the v0 driver's: take the framework id over from another pid. HTTP
		// subscriptions always do.
		Force bool
		// Deactivate is DeactivateFrameworkMessage (v0): no more offers, still connected.
		Deactivate bool
		// New and Known tell the two legacy registrations apart: RegisterFrameworkMessage must
		// not and ReregisterFrameworkMessage must carry an id.
		New, Known bool
	}

	// ConnectionLost says that a framework's stream ended or its link broke.
	ConnectionLost struct {
		Conn   Conn
		Reason string
	}

	// AgentMessage is a libprocess message of the agent protocol (libprocess.md section 4). The
	// message is the ledger's from then on and must not be changed any more.
	AgentMessage struct {
		From      PID
		Message   proto.Message
		Principal string // of registrations: whom the agent authenticated as; empty: nobody
	}

	// AgentExited says that the link to an agent's address broke.
	AgentExited struct{ PID PID }

	// RegistryDone says that the facts of these Registry effects are durable.
	RegistryDone struct{ Tickets []Ticket }

	// Grants are the allocator's wishes; each is checked again and becomes an offer or a
	// Release effect.
	Grants struct{ Grants []Grant }

	// InverseGrants are the allocator's wishes for inverse offers; each is checked again.
	InverseGrants struct{ Grants []InverseGrant }

	// Tick lets time pass: timers that are due fire.
	Tick struct{}

	// OperatorCall is an operator's call that changes the book (mesos-master.md 5.1); an Answer
	// comes at once or when the registry has what changed.
	OperatorCall struct {
		Call      *masterapi.Call
		Principal string // who calls; empty: nobody in particular
		Ticket    Ticket
	}

	// Teardown is an operator's removal of a framework.
	Teardown struct {
		Framework FrameworkID
		Ticket    Ticket
	}
)

// Grant is one offer the allocator wants made.
type Grant struct {
	Framework  FrameworkID
	Role       string
	Agent      AgentID
	Generation uint64 // the agent's, as in AgentOpen; an older one is void
	Resources  resource.Resources
}

// InverseGrant asks a framework to leave an agent before its maintenance.
type InverseGrant struct {
	Framework  FrameworkID
	Agent      AgentID
	Generation uint64 // the agent's, as in AgentOpen; an older one is void
}

// Standing is what an operator ordered for an agent; it outlives absences and terms.
type Standing struct {
	Deactivated bool             // nothing of it is offered
	Drain       *mesos.DrainInfo // nil: it is not drained; never changed in place
}

// Admission is a registry fact: this agent may come back under its id.
type Admission struct {
	Info *mesos.AgentInfo
	PID  PID // where it registered from last; empty when not known
	Standing
}

// Absence is a registry fact: this agent was marked unreachable or gone.
type Absence struct {
	Agent AgentID
	Since time.Time
	Standing
}

// Maintenance is a registry fact: the whole of what is planned (mesos-master.md 11.1).
// A scheduled machine that is not down is draining.
type Maintenance struct {
	Schedule *maintenance.Schedule // nil: none; never changed in place
	Down     []*mesos.MachineID
}

func (Recovered) event()      {}
func (Call) event()           {}
func (ConnectionLost) event() {}
func (AgentMessage) event()   {}
func (AgentExited) event()    {}
func (RegistryDone) event()   {}
func (Grants) event()         {}
func (InverseGrants) event()  {}
func (Tick) event()           {}
func (OperatorCall) event()   {}
func (Teardown) event()       {}
