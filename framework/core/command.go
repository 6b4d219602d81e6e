package core

import (
	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/deploy"
	"github.com/stoa-project/stoa/internal/fault"
)

// Command is one thing a user asks for. The door submits it and gets an Outcome once
// everything the outcome promises is durable.
//
// Errors are *fault.Error values, or *Locked which unwraps to one; the kinds used are
// named at each command. A command that ends in an error has changed nothing.
type Command interface{ command() }

// Edit computes a new root group from the present one. It must be pure and must not
// change old; it returns a complete tree: normalised, validated, service ports
// assigned and every changed app stamped with version. version is unique and later
// than every version before it (marathon.md 2.9, 5.1). An error is handed to the
// caller of the command as it is. versions finds stored versions for a roll-back.
type Edit func(old *app.Group, versions History, version app.Timestamp) (*app.Group, error)

// History finds old definitions. Both give nil when the version is not kept.
type History interface {
	AppVersion(id app.PathID, version app.Timestamp) *app.App
	RootVersion(version app.Timestamp) *app.Group
}

// ChangeRoot changes what the user wants: put, patch and delete of apps and groups,
// restart, roll back to an old version. The difference between the old and the new
// root runs as one deployment (marathon.md 5.1).
//
// Errors: what Edit returns; *Locked when another deployment works on an affected app
// and Force is false; fault.Forbidden when too many deployments run; fault.TooLarge
// when an app or the tree does not fit a record of the store.
type ChangeRoot struct {
	// Group is what group_change_success names: the group, or the parent of the app.
	Group app.PathID
	Edit  Edit
	// Force cancels the deployments that are in the way instead of refusing.
	Force bool
	// Restart lists apps whose instances are replaced although their definition did not
	// change (POST …/restart); Edit must have given them a new version.
	Restart []app.PathID
	// DryRun asks for Outcome.Plan only.
	DryRun bool
}

// KillTasks kills instances (DELETE …/tasks, POST /v2/tasks/delete; marathon.md 1.5,
// 1.6, 7.7). Unknown ids are skipped; Outcome.Killed holds the others as they were
// before the kill.
//
// Without Scale each instance keeps its id and is started again. With Scale the
// instances are removed and the apps' instance counts lowered in one deployment.
// With Wipe they are forgotten and replaced by fresh instances.
//
// Errors: as ChangeRoot when Scale is set, none otherwise.
type KillTasks struct {
	Instances []app.InstanceID
	Scale     bool
	Wipe      bool
	Force     bool // only with Scale
}

// CancelDeployment stops a deployment (DELETE /v2/deployments/{id}; marathon.md 5.6).
// Without Force a new deployment undoes its changes; with Force it just ends.
//
// Errors: fault.NotFound for an unknown id, and those of ChangeRoot.
type CancelDeployment struct {
	ID    string
	Force bool
}

// ResetDelay forgets the launch back-off of an app (DELETE /v2/queue/{id}/delay).
// The app need not be delayed.
//
// Errors: fault.NotFound when the app is not in the launch queue.
type ResetDelay struct {
	App app.PathID
}

func (ChangeRoot) command()       {}
func (KillTasks) command()        {}
func (CancelDeployment) command() {}
func (ResetDelay) command()       {}

// Outcome is the answer to a command.
type Outcome struct {
	// Plan is the deployment that was made: by ChangeRoot, KillTasks with Scale and
	// CancelDeployment without Force; on a dry run the one that would be. nil otherwise.
	Plan *deploy.Plan
	// Killed lists the instances of KillTasks as they were before.
	Killed []*app.Instance
	// Snapshot is the state right after the command, for answers that show it.
	Snapshot *Snapshot
}

// Locked refuses a command because of running deployments. It unwraps to a
// fault.Conflict error.
type Locked struct {
	Deployments []string // ids of the deployments in the way
}

// Error gives the text that Marathon clients expect (marathon.md 1.2).
func (*Locked) Error() string {
	return "App is locked by one or more deployments. Override with the option '?force=true'. " +
		"View details at '/v2/deployments/<DEPLOYMENT_ID>'."
}

// Unwrap gives the fault.Conflict error.
func (l *Locked) Unwrap() error { return fault.New("deploy", fault.Conflict, l.Deployments[0], nil) }
