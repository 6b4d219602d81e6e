package core

import (
	"iter"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/framework/match"
)

// Snapshot is the whole state at one moment. It is immutable: readers share it
// without locks and must not write to anything reachable from it. Everything in it
// that a command was answered for is durable.
type Snapshot struct {
	// Root is what the user wants now.
	Root *app.Group
	// Roots lists the stored root versions, oldest first; the last one is Root.
	Roots []*app.Group
	// Deployments lists the running deployments, oldest first.
	Deployments []*deploy.Deployment
	// Queue lists apps that want instances or are delayed, by app id and role.
	Queue []*Queued
	// FrameworkID is empty until the first subscription.
	FrameworkID string
	// Master is the address of the master subscribed to ("host:port"), empty while disconnected.
	Master string
	// Totals are for metrics.
	Totals Totals

	apps *table
}

// AppState is what a snapshot knows of one app or pod besides its definition.
type AppState struct {
	// Versions are the stored versions of an app in Root, oldest first; the newest is the one
	// in Root. None for an app that is being deleted.
	Versions []*app.RunSpec
	// Failure is the last one, nil without.
	Failure *app.TaskFailure

	instances *roster
}

// NewAppState makes what a snapshot knows of an app with these instances.
func NewAppState(versions []*app.RunSpec, instances ...*app.Instance) *AppState {
	e := (*roster)(nil).edit()
	for slot, i := range instances {
		e.put(slot, i)
	}
	return &AppState{Versions: versions, instances: e.next}
}

// All goes over the instances in order of creation. Those of apps being deleted are still
// there, and so are those that only wait for an offer (Condition Scheduled): counters and
// task lists leave them out.
func (a *AppState) All() iter.Seq[*app.Instance] { return a.instances.all() }

// Len is the number of instances.
func (a *AppState) Len() int {
	if a.instances == nil {
		return 0
	}
	return a.instances.n
}

// Instances lists All.
func (a *AppState) Instances() []*app.Instance {
	out := make([]*app.Instance, 0, a.Len())
	for i := range a.All() {
		out = append(out, i)
	}
	return out
}

var noState = &AppState{}

// Of gives what is known of an app; never nil.
func (s *Snapshot) Of(id app.PathID) *AppState {
	if s.apps != nil {
		if a := s.apps.get(id); a != nil {
			return a
		}
	}
	return noState
}

// Apps goes over all apps that are defined or have instances, in no order.
func (s *Snapshot) Apps() iter.Seq2[app.PathID, *AppState] {
	if s.apps == nil {
		return func(func(app.PathID, *AppState) bool) {}
	}
	return s.apps.all()
}

// With gives a snapshot that differs in what it knows of one app.
func (s *Snapshot) With(id app.PathID, state *AppState) *Snapshot {
	out := *s
	edit := s.apps.edit()
	edit.put(id, state)
	out.apps = edit.next
	return &out
}

// App finds a version of an app that instances may run: in the history, nil when it
// is not kept.
func (s *Snapshot) App(id app.PathID, version app.Timestamp) *app.App {
	if r := s.Spec(id, version); r != nil {
		return r.App
	}
	return nil
}

// Spec finds a version of an app or pod that instances may run: in the history, nil when
// it is not kept.
func (s *Snapshot) Spec(id app.PathID, version app.Timestamp) *app.RunSpec {
	for _, r := range s.Of(id).Versions {
		if r.Version == version {
			return r
		}
	}
	return nil
}

// Instance finds an instance by id, nil when there is none.
func (s *Snapshot) Instance(id app.InstanceID) *app.Instance {
	path, _ := id.App()
	for i := range s.Of(path).All() {
		if i.ID == id {
			return i
		}
	}
	return nil
}

// Readiness is the newest result of a readiness check.
type Readiness = app.Readiness

// Queued is one app's line in the launch queue (marathon.md 1.11 and 6.9).
type Queued struct {
	Spec  *app.RunSpec // newest version that waits
	Role  string
	Count int // instances waiting for an offer
	// InProgress counts launched tasks the agents have not confirmed yet.
	InProgress int
	Since      app.Timestamp // when the app began to wait
	// DelayedUntil is when the next launch may happen; zero or past: now.
	DelayedUntil app.Timestamp
	// Unused counts the offers that were looked at and not used since Since.
	Unused     int
	LastUnused app.Timestamp // zero when never
	LastUsed   app.Timestamp // zero when never
	// Attempt counts offers and refusals since Since by reason; Last counts the newest
	// offer of each agent.
	Attempt match.Summary
	Last    match.Summary
	// LastOffers are the newest unused offers, at most one for each agent and at most 10.
	LastOffers []UnusedOffer
}

// UnusedOffer is an offer that an app could not use.
type UnusedOffer struct {
	Offer  *match.Offer
	Reason match.Reason
	At     app.Timestamp
}

// Totals counts since this process began to lead.
type Totals struct {
	Deployments    uint64
	TasksLaunched  uint64
	OffersIncoming uint64
	OffersUsed     uint64
	OffersDeclined uint64
	Revives        uint64
	Suppresses     uint64
	KillsInFlight  int
	KillAttempts   int               // repetitions of the kills in flight
	Dismissed      uint64            // deployments cancelled
	Overdue        int               // instances whose launch takes too long
	Updates        map[string]uint64 // status updates by Mesos task state
	Launches       uint64            // LAUNCH operations, each of one or more tasks
	GroupLaunches  uint64            // LAUNCH_GROUP operations
	Reserves       uint64            // RESERVE operations
	OutOfMemory    uint64            // tasks that ended for lack of memory
}
