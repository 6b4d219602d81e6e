// Package deploy turns a change of the app tree into an ordered plan, and says at every
// moment of a rolling restart how many instances may be killed and started. All of it
// is pure: the core feeds it trees and counts, and acts on the answers.
package deploy

import "github.com/stoa-project/stoa/framework/app"

// ActionKind is what a step does with one app, under the names of GET /v2/deployments.
type ActionKind string

// The actions of Marathon 1.8 and later on apps.
const (
	StartApplication   ActionKind = "StartApplication"   // bookkeeping: the app exists, nothing launches
	ScaleApplication   ActionKind = "ScaleApplication"   // to the target's number of instances
	RestartApplication ActionKind = "RestartApplication" // replace old instances within the upgrade limits
	StopApplication    ActionKind = "StopApplication"    // kill everything and forget the app
)

// Action is one piece of work inside a step; the actions of a step run concurrently.
type Action struct {
	Kind ActionKind `json:"action"`
	App  app.PathID `json:"app"`
}

// Step is done when all its actions are.
type Step struct {
	Actions []Action `json:"actions"`
}

// Change is one app or pod as it was before and as it shall be after the plan; Old is nil
// for a created one, New for a removed one. Both carry their versions.
type Change struct {
	ID  app.PathID
	Old *app.RunSpec
	New *app.RunSpec
}

// GroupChange is one group the plan created, removed or gave other dependencies;
// it lets Revert undo the tree without holding two whole trees.
type GroupChange struct {
	ID      app.PathID   `json:"id"`
	Created bool         `json:"created,omitempty"`
	Removed bool         `json:"removed,omitempty"`
	OldDeps []app.PathID `json:"oldDependencies,omitempty"`
	NewDeps []app.PathID `json:"newDependencies,omitempty"`
	Enforce bool         `json:"enforceRole,omitempty"` // what a removed group had
}

// Plan is one accepted change of the tree. It holds only what changed, so its size
// follows the change and not the tree.
type Plan struct {
	ID      string        `json:"id"`      // uuid
	Version app.Timestamp `json:"version"` // of the root it leads to
	Steps   []Step        `json:"steps"`
	Changes []Change      `json:"changes"` // sorted by ID
	Groups  []GroupChange `json:"groups,omitempty"`
	// Sentenced names, per app, the instances a kill-with-scale chose; a Scale action
	// takes them first.
	Sentenced map[app.PathID][]app.InstanceID `json:"sentenced,omitempty"`
}

// Deployment is a plan under way.
type Deployment struct {
	Plan *Plan `json:"plan"`
	Step int   `json:"step"` // index of the running step, from 0; len(Plan.Steps) when done
}
