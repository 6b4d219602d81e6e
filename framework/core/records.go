package core

import (
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/deploy"
)

// Keys of the records. Path ids are written in their safe form, which has no slash.
const (
	FrameworkKey     = "framework"
	RootPrefix       = "roots"       // roots/<milliseconds>: RootRecord
	AppPrefix        = "apps"        // apps/<safe id>/<milliseconds>: app.App
	PodPrefix        = "pods"        // pods/<safe id>/<milliseconds>: app.PodRecord
	InstancePrefix   = "instances"   // instances/<instance id>: app.Instance
	DeploymentPrefix = "deployments" // deployments/<id>: PlanRecord
	LeftoverPrefix   = "leftovers"   // leftovers/<instance id>: app.Leftover
	FailurePrefix    = "failures"    // failures/<safe id>: app.TaskFailure
)

// FrameworkRecord is the identity given by the master at the first subscription.
type FrameworkRecord struct {
	ID string `json:"id"`
}

// RootRecord is one version of the tree; apps are named with their versions and stored
// by themselves, so that no record grows with the size of the apps.
type RootRecord struct {
	Root    *GroupRecord `json:"root"`
	Changed []app.PathID `json:"changed,omitempty"` // apps and pods whose version began with this root
}

// GroupRecord is one group of a RootRecord.
type GroupRecord struct {
	ID           app.PathID                   `json:"id"`
	Apps         map[app.PathID]app.Timestamp `json:"apps,omitempty"`
	Pods         map[app.PathID]app.Timestamp `json:"pods,omitempty"`
	Groups       []*GroupRecord               `json:"groups,omitempty"`
	Dependencies []app.PathID                 `json:"dependencies,omitempty"`
	EnforceRole  bool                         `json:"enforceRole,omitempty"`
	Version      app.Timestamp                `json:"version"`
}

// PlanRecord is a deployment that runs. Apps are named with their versions, as in
// RootRecord; those versions are kept until it ends.
type PlanRecord struct {
	ID        string                          `json:"id"`
	Version   app.Timestamp                   `json:"version"`
	Steps     []deploy.Step                   `json:"steps"`
	Changes   []ChangeRecord                  `json:"changes"`
	Groups    []deploy.GroupChange            `json:"groups,omitempty"`
	Sentenced map[app.PathID][]app.InstanceID `json:"sentenced,omitempty"`
}

// ChangeRecord is one deploy.Change; 0 stands for no definition.
type ChangeRecord struct {
	ID  app.PathID    `json:"id"`
	Old app.Timestamp `json:"old,omitempty"`
	New app.Timestamp `json:"new,omitempty"`
}

func planRecord(p *deploy.Plan) *PlanRecord {
	r := &PlanRecord{ID: p.ID, Version: p.Version, Steps: p.Steps, Groups: p.Groups, Sentenced: p.Sentenced, Changes: make([]ChangeRecord, len(p.Changes))}
	for i, ch := range p.Changes {
		r.Changes[i] = ChangeRecord{ID: ch.ID}
		if ch.Old != nil {
			r.Changes[i].Old = ch.Old.Version
		}
		if ch.New != nil {
			r.Changes[i].New = ch.New.Version
		}
	}
	return r
}

// Stored is everything a leader finds in the store.
type Stored struct {
	FrameworkID string
	Roots       []*RootRecord // oldest first
	Apps        map[app.PathID][]*app.App
	Pods        map[app.PathID][]*app.Pod
	Instances   []*app.Instance
	Plans       []*PlanRecord // oldest first
	Failures    []*app.TaskFailure
	Leftovers   []*app.Leftover
}

func rootKey(v app.Timestamp) string { return RootPrefix + "/" + stamp(v) }

func appKey(id app.PathID, v app.Timestamp) string {
	return AppPrefix + "/" + id.Safe() + "/" + stamp(v)
}

func podKey(id app.PathID, v app.Timestamp) string {
	return PodPrefix + "/" + id.Safe() + "/" + stamp(v)
}

func specKey(s *app.RunSpec) string {
	if s.Pod != nil {
		return podKey(s.ID, s.Version)
	}
	return appKey(s.ID, s.Version)
}

func instanceKey(id app.InstanceID) string { return InstancePrefix + "/" + string(id) }

func leftoverKey(id app.InstanceID) string { return LeftoverPrefix + "/" + string(id) }

func planKey(id string) string { return DeploymentPrefix + "/" + id }

func failureKey(id app.PathID) string { return FailurePrefix + "/" + id.Safe() }

// stamp pads so that keys sort by time.
func stamp(v app.Timestamp) string {
	s := strconv.FormatInt(int64(v), 10)
	return strings.Repeat("0", max(0, 14-len(s))) + s
}

func groupRecord(g *app.Group) *GroupRecord {
	r := &GroupRecord{ID: g.ID, Dependencies: g.Dependencies, EnforceRole: g.EnforceRole, Version: g.Version}
	for _, a := range g.Apps {
		if r.Apps == nil {
			r.Apps = make(map[app.PathID]app.Timestamp, len(g.Apps))
		}
		r.Apps[a.ID] = a.Version
	}
	for _, p := range g.Pods {
		if r.Pods == nil {
			r.Pods = make(map[app.PathID]app.Timestamp, len(g.Pods))
		}
		r.Pods[p.ID] = p.Version
	}
	for _, sub := range g.Groups {
		r.Groups = append(r.Groups, groupRecord(sub))
	}
	return r
}
