// Package deploy turns a change of the app tree into an ordered plan, and says at every
// moment of a rolling restart how many instances may be killed and started. All of it
// is pure: the core feeds it trees and counts, and acts on the answers.
package deploy

import (
	"encoding/json"
	"strings"

	"github.com/stoa-project/stoa/framework/app"
)

// Verb is what a step does with one app or pod.
type Verb string

// The verbs.
const (
	Start   Verb = "Start"   // bookkeeping: the app exists, nothing launches
	Scale   Verb = "Scale"   // to the target's number of instances
	Restart Verb = "Restart" // replace old instances within the upgrade limits
	Stop    Verb = "Stop"    // kill everything and forget the app
)

// Action is one piece of work inside a step; the actions of a step run concurrently.
type Action struct {
	Verb Verb
	ID   app.PathID
	Pod  bool // ID is a pod's, not an app's
}

// Names of what actions work on, as GET /v2/deployments has them after the verb and as
// key of the id.
const (
	appWord, appKey = "Application", "app"
	podWord, podKey = "Pod", "pod"
)

// Name is the verb with what it works on: RestartApplication, ScalePod.
func (a Action) Name() string {
	if a.Pod {
		return string(a.Verb) + podWord
	}
	return string(a.Verb) + appWord
}

// String is for logs and tests.
func (a Action) String() string { return a.Name() + " " + string(a.ID) }

// Fields are the members of the action's JSON.
func (a Action) Fields() map[string]any {
	key := appKey
	if a.Pod {
		key = podKey
	}
	return map[string]any{"action": a.Name(), key: a.ID}
}

// MarshalJSON writes {"action":"RestartApplication","app":"/x"} or, for a pod,
// {"action":"RestartPod","pod":"/x"}.
func (a Action) MarshalJSON() ([]byte, error) { return json.Marshal(a.Fields()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (a *Action) UnmarshalJSON(b []byte) error {
	var f struct {
		Action   string
		App, Pod app.PathID
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	if verb, ok := strings.CutSuffix(f.Action, podWord); ok {
		*a = Action{Verb(verb), f.Pod, true}
		return nil
	}
	*a = Action{Verb(strings.TrimSuffix(f.Action, appWord)), f.App, false}
	return nil
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

// Pod tells whether it is a pod that comes, changes or goes.
func (c *Change) Pod() bool {
	if c.New != nil {
		return c.New.Pod != nil
	}
	return c.Old.Pod != nil
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
