package core

import (
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/match"
)

// Effect is work for a shell. Effects are carried out in the order given; a shell that
// cannot carry one out lets the connection or the leadership end, it never skips one.
type Effect interface{ effect() }

// Persist asks to make a batch of changes durable, all or none, and to answer with
// Persisted. No second Persist is emitted before that.
type Persist struct {
	Batch   uint64
	Changes []Change
}

// Change writes or deletes one record. Value is what encoding/json writes; nil deletes.
type Change struct {
	Key   string // "instances/<id>"
	Value any
}

// Reply answers the command with this token.
type Reply struct {
	Token   uint64
	Outcome Outcome
	Err     error
}

// Show makes a new snapshot visible to readers.
type Show struct{ Snapshot *Snapshot }

// Publish puts an event on the event stream.
type Publish struct{ Event Event }

// Accept launches instances on one offer; what is left of it may be offered again after Refuse.
// The operations on reservations come first.
type Accept struct {
	Offer   string
	Free    []match.Resource // reservations of ours, with their volumes, to give back
	Reserve []Reserve
	Tasks   []Launch
	Refuse  time.Duration
}

// Reserve is what one instance is to own on the offer's agent: unreserved blocks, and
// disk for its volumes with their ids.
type Reserve struct {
	Instance  *app.Instance
	Resources []match.Resource
	Volumes   []match.Resource
}

// Launch is one instance to start. Instance holds its id, agent and host ports; the shell
// builds the TaskInfo of each task from it and Spec.
type Launch struct {
	Instance *app.Instance
	Spec     *app.RunSpec
	// HostPorts has one entry for each of Spec's Ports, 0 where it has no host port.
	HostPorts []uint32
	// Resources are the blocks taken from the offer for all its tasks, and Executor those
	// for the executor that runs them.
	Resources []match.Resource
	// Executor are the blocks of the executor that comes with the task.
	Executor []match.Resource
	// EnforceRole tells whether the app's top-level group demands its name as role.
	EnforceRole bool
}

// Decline gives offers back for at least Refuse.
type Decline struct {
	Offers []string
	Refuse time.Duration
}

// Acknowledge confirms a status update.
type Acknowledge struct {
	AgentID string
	Task    app.TaskID
	UUID    []byte
}

// Kill ends a task.
type Kill struct {
	Task    app.TaskID
	AgentID string // empty when not known
}

// Roles names every role that offers are taken in, and those of them in which none are
// wanted now. It comes before the first Revive of a new role; a subscription that is made
// later starts with the last Roles (marathon.md 4.5).
type Roles struct{ Roles, Suppressed []string }

// Revive asks for offers in these roles again; Suppress asks for none in them
// (marathon.md 6.7).
type (
	Revive   struct{ Roles []string }
	Suppress struct{ Roles []string }
)

// Reconcile asks for the state of the tasks, of all tasks when the list is empty.
type Reconcile struct{ Tasks []TaskRef }

// TaskRef names a task and where it runs.
type TaskRef struct {
	Task    app.TaskID
	AgentID string
}

// StartProbes begins the health checks made by the framework for a running task, and
// its readiness check when Readiness is set. Probes that run already are left alone.
type StartProbes struct {
	Instance  *app.Instance
	Spec      *app.App
	Readiness bool
}

// StopProbes ends all probes of an instance.
type StopProbes struct{ Instance app.InstanceID }

// Note is a line for the log.
type Note struct {
	Text string
	Args []any // slog key-value pairs
}

func (Persist) effect()     {}
func (Reply) effect()       {}
func (Show) effect()        {}
func (Publish) effect()     {}
func (Accept) effect()      {}
func (Decline) effect()     {}
func (Acknowledge) effect() {}
func (Kill) effect()        {}
func (Roles) effect()       {}
func (Revive) effect()      {}
func (Suppress) effect()    {}
func (Reconcile) effect()   {}
func (StartProbes) effect() {}
func (StopProbes) effect()  {}
func (Note) effect()        {}
