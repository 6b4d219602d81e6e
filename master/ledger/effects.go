package ledger

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// Effect is one output of Step. Effects are carried out in order.
type Effect interface{ effect() }

// The outputs.
type (
	// ToFramework sends an event on a framework's connection. The extra fields serve v0
	// drivers, whose messages carry more than the v1 event.
	ToFramework struct {
		To           Conn
		Framework    FrameworkID
		Event        *scheduler.Event
		AgentPIDs    []PID                  // OFFERS: one for each offer, same order
		Update       *messages.StatusUpdate // UPDATE: envelope of the same status
		Sender       PID                    // UPDATE: the agent; empty when the master made it
		Reregistered bool                   // SUBSCRIBED: this driver's registration was known
	}

	// CloseFramework ends a connection after what was sent before; a v0 pid is only unlinked.
	CloseFramework struct {
		To     Conn
		Reason string
	}

	// LinkPID asks to be told (AgentExited, ConnectionLost) when the address goes away. It
	// comes before the first message to that address.
	LinkPID struct{ PID PID }

	// ToAgent sends a message of the agent protocol.
	ToAgent struct {
		Agent   AgentID
		PID     PID
		Message proto.Message
	}

	// Answer ends a request.
	Answer struct {
		Ticket Ticket
		Code   int    // HTTP status
		Body   string // text; empty for 202 and 200
	}

	// Registry makes a fact durable; RegistryDone with the ticket answers.
	Registry struct {
		Ticket Ticket
		Agent  AgentID
		State  RegistryState
		Info   *mesos.AgentInfo // Admitted only
		PID    PID              // Admitted only: where it registered from
		Since  time.Time        // Unreachable and Gone only
	}

	// Operator publishes an event to the operator API's subscribers.
	Operator struct{ Event *masterapi.Event }

	// Note is a reason for the log.
	Note struct {
		Warn      bool
		Text      string
		Agent     AgentID
		Framework FrameworkID
		Task      TaskID
		Offer     OfferID
	}
)

// The outputs for the allocator.
type (
	// AgentOpen tells of an agent whose resources may be offered, new or changed. Used
	// resources are told apart, by Taken.
	AgentOpen struct {
		Agent        AgentID
		Generation   uint64
		Total        resource.Resources
		Hostname     string
		Capabilities AgentCapabilities
		Region       string // fault domain; empty means local
	}
	// AgentClosed says that nothing of the agent may be offered until AgentOpen. Gone: it is
	// removed together with all it held; otherwise its bookkeeping stays.
	AgentClosed struct {
		Agent AgentID
		Gone  bool
	}
	// FrameworkOpen tells of a framework that takes offers, new or changed.
	FrameworkOpen struct {
		Framework    FrameworkID
		Roles        []string
		Suppressed   []string
		Capabilities FrameworkCapabilities
		Filters      map[string]*mesos.OfferFilters // role -> least resources worth offering
	}
	// FrameworkClosed says that the framework takes no offers. Gone: it is removed for good.
	FrameworkClosed struct {
		Framework FrameworkID
		Gone      bool
	}
	// Taken books resources that the allocator did not grant itself (tasks that an agent
	// reports).
	Taken struct {
		Agent     AgentID
		Framework FrameworkID
		Role      string
		Resources resource.Resources
	}
	// Released gives resources back. Declined: this framework and role are not to be offered
	// a subset of them on that agent for Refuse, or one allocation interval if that is longer.
	Released struct {
		Agent     AgentID
		Framework FrameworkID
		Role      string
		Resources resource.Resources
		Declined  bool
		Refuse    time.Duration
	}
	// Revived drops the filters of the roles (all of the framework's when empty) and wants
	// offers for them again.
	Revived struct {
		Framework FrameworkID
		Roles     []string
	}
	// Suppressed wants no offers for the roles (all of the framework's when empty).
	Suppressed struct {
		Framework FrameworkID
		Roles     []string
	}
)

// RegistryState is what the registry says of an agent.
type RegistryState uint8

// The registry's states.
const (
	Admitted    RegistryState = iota + 1 // may (re-)register under its id
	Unreachable                          // stopped answering; may come back
	Gone                                 // will never come back; told to shut down if it does
	Removed                              // left by itself: the record is deleted
)

// String gives the word the registry stores.
func (s RegistryState) String() string {
	switch s {
	case Admitted:
		return "admitted"
	case Unreachable:
		return "unreachable"
	case Gone:
		return "gone"
	case Removed:
		return "removed"
	}
	return "unknown"
}

func (ToFramework) effect()     {}
func (CloseFramework) effect()  {}
func (LinkPID) effect()         {}
func (ToAgent) effect()         {}
func (Answer) effect()          {}
func (Registry) effect()        {}
func (Operator) effect()        {}
func (Note) effect()            {}
func (AgentOpen) effect()       {}
func (AgentClosed) effect()     {}
func (FrameworkOpen) effect()   {}
func (FrameworkClosed) effect() {}
func (Taken) effect()           {}
func (Released) effect()        {}
func (Revived) effect()         {}
func (Suppressed) effect()      {}
