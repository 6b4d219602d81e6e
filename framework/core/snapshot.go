package core

import (
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
	// Versions lists the stored versions of each app in Root, oldest first; the newest is
	// the one in Root.
	Versions map[app.PathID][]*app.App
	// Roots lists the stored root versions, oldest first; the last one is Root.
	Roots []*app.Group
	// Instances holds each app's instances in order of creation. Apps without
	// instances have no entry. Instances of apps being deleted are still listed, and so
	// are instances that only wait for an offer (Condition Scheduled): counters and task
	// lists leave those out.
	Instances map[app.PathID][]*app.Instance
	// Health sums up the checks of instances: present only when every check has a result.
	Health map[app.InstanceID]bool
	// Ready holds the newest readiness results of instances that a deployment waits for.
	Ready map[app.InstanceID]*Readiness
	// Deployments lists the running deployments, oldest first.
	Deployments []*deploy.Deployment
	// Queue lists apps that want instances or are delayed, by app id.
	Queue []*Queued
	// Failures holds the last failure of each app.
	Failures map[app.PathID]*app.TaskFailure
	// FrameworkID is empty until the first subscription.
	FrameworkID string
	// Master is the address of the master subscribed to ("host:port"), empty while disconnected.
	Master string
	// Totals are for metrics.
	Totals Totals
}

// App finds a version of an app that instances may run: in the history, nil when it
// is not kept.
func (s *Snapshot) App(id app.PathID, version app.Timestamp) *app.App {
	for _, a := range s.Versions[id] {
		if a.Version == version {
			return a
		}
	}
	return nil
}

// Instance finds an instance by id, nil when there is none.
func (s *Snapshot) Instance(id app.InstanceID) *app.Instance {
	path, _ := id.App()
	for _, i := range s.Instances[path] {
		if i.ID == id {
			return i
		}
	}
	return nil
}

// Readiness is the newest result of a readiness check.
type Readiness struct {
	Name        string
	Ready       bool
	Status      int // HTTP status; 504 for a transport failure
	ContentType string
	Body        string // at most 10,000 bytes
}

// Queued is one app's line in the launch queue (marathon.md 1.11 and 6.9).
type Queued struct {
	Spec  *app.App // newest version that waits
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
	Updates        map[string]uint64 // status updates by Mesos task state
}
