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

	// Registry makes facts durable, all of them or none; RegistryDone with the ticket
	// answers. Agent is empty when only policies change.
	Registry struct {
		Ticket   Ticket
		Agent    AgentID
		State    RegistryState
		Info     *mesos.AgentInfo // Admitted only
		PID      PID              // Admitted only: where it registered from
		Since    time.Time        // Unreachable and Gone only
		Standing                  // Admitted and Unreachable only

		Quotas      []QuotaSet   // of these roles; both empty: the record is deleted
		Weights     []WeightSet  // of these roles
		Maintenance *Maintenance // replaces the whole plan; nil: unchanged
	}

	// Abandon ends the process: going on would do more harm than good. Nothing after it
	// counts.
	Abandon struct{ Reason string }

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
		Region, Zone string                // fault domain; empty means the master's own
		Attributes   []*mesos.Attribute    // for offer constraints
		Unavailable  *mesos.Unavailability // planned maintenance: inverse offers are wanted
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
		Constraints  *scheduler.OfferConstraints    // validated; nil: none
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

// The outputs for the allocator that operators and operations cause.
type (
	// Converted replaces, on one agent, resources that are booked for a framework by others
	// of the same quantities in another form (RESERVE, UNRESERVE, CREATE, DESTROY: mesos-master.md
	// 1.6), or of other quantities (GROW_VOLUME, SHRINK_VOLUME). The agent's total changes with
	// it. Framework is empty when an operator converts what nobody holds.
	Converted struct {
		Agent     AgentID
		Framework FrameworkID
		Role      string
		From, To  resource.Resources
	}
	// QuotaSet replaces guarantees and limits of a role; both empty: the role has no quota. A
	// name that Limits lacks is not limited, one that is zero there is not given at all (11.2).
	QuotaSet struct {
		Role       string
		Guarantees resource.Quantities
		Limits     map[string]resource.Fixed
	}
	// WeightSet gives a role path its weight; 1 is the default (11.3).
	WeightSet struct {
		Role   string
		Weight float64
	}
	// InverseAnswered says that a framework took or declined an inverse offer; the next one for
	// this agent waits for Refuse, and with Rescinded it may come at once (11.1).
	InverseAnswered struct {
		Agent     AgentID
		Framework FrameworkID
		Refuse    time.Duration
		Rescinded bool
	}
	// Awaiting holds offers back after a failover until this many agents are back, or until
	// Until, because quotas cannot be kept with part of the cluster (section 0, allocator
	// recovery). It comes first in a term, and only when a quota is set.
	Awaiting struct {
		Agents int
		Until  time.Time
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
func (Abandon) effect()         {}
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
func (Converted) effect()       {}
func (QuotaSet) effect()        {}
func (WeightSet) effect()       {}
func (InverseAnswered) effect() {}
func (Awaiting) effect()        {}
