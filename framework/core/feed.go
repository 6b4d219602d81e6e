package core

import (
	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/deploy"
)

// Event is one fact for the event stream (marathon.md 9.2). Type gives the eventType;
// the feed turns the fields into its JSON. Events are published after what they
// tell is durable, in the order in which it happened.
//
// api_post_event, event_stream_attached and event_stream_detached are the REST shell's own.
type Event interface {
	// Type is the eventType: "status_update_event".
	Type() string
	// When is the event's timestamp.
	When() app.Timestamp
}

// At is the moment of an event.
type At app.Timestamp

// When gives the moment.
func (a At) When() app.Timestamp { return app.Timestamp(a) }

// StatusUpdate tells a Mesos task status that changed the stored task: status_update_event.
type StatusUpdate struct {
	At
	AgentID string
	Task    app.TaskID
	State   string // TASK_RUNNING …
	Message string
	App     app.PathID
	Host    string
	IPs     []app.IPAddress
	Ports   []int
	Version app.Timestamp // of the app
}

// InstanceChanged tells a new condition of an instance: instance_changed_event.
type InstanceChanged struct {
	At
	Instance  app.InstanceID
	Condition app.Condition
	App       app.PathID
	AgentID   string
	Host      string
	Version   app.Timestamp
}

// UnknownInstanceTerminated tells the end of a task of no known instance: unknown_instance_terminated_event.
type UnknownInstanceTerminated struct {
	At
	Instance  app.InstanceID
	App       app.PathID
	Condition app.Condition
}

// InstanceHealthChanged tells a new sum of an instance's checks: instance_health_changed_event.
type InstanceHealthChanged struct {
	At
	Instance app.InstanceID
	App      app.PathID
	Healthy  *bool // nil: unknown again, the key is left out
	Version  app.Timestamp
}

// AppTerminated tells that a deleted app's last instance is gone: app_terminated_event.
type AppTerminated struct {
	At
	App app.PathID
}

// HealthCheckAdded tells that a check made by the framework was activated: add_health_check_event.
type HealthCheckAdded struct {
	At
	App     app.PathID
	Version app.Timestamp
	Check   *app.HealthCheck
}

// HealthCheckRemoved is remove_health_check_event.
type HealthCheckRemoved struct {
	At
	App app.PathID
}

// HealthCheckFailed tells one counted failure: failed_health_check_event.
type HealthCheckFailed struct {
	At
	App      app.PathID
	Instance app.InstanceID
	Task     app.TaskID
	Check    *app.HealthCheck
}

// HealthStatusChanged tells that a check's result flipped: health_status_changed_event.
type HealthStatusChanged struct {
	At
	App      app.PathID
	Instance app.InstanceID
	Task     app.TaskID
	Version  app.Timestamp
	Alive    bool
}

// UnhealthyKill tells that failed checks killed a task: unhealthy_instance_kill_event.
type UnhealthyKill struct {
	At
	App      app.PathID
	Instance app.InstanceID
	Task     app.TaskID
	Version  app.Timestamp
	Reason   string
	Host     string
	AgentID  string
}

// GroupChanged tells an accepted or refused change of the root: group_change_success,
// or group_change_failed when Reason is set.
type GroupChanged struct {
	At
	Group   app.PathID
	Version app.Timestamp
	Reason  string
}

// DeploymentInfo tells that a step starts: deployment_info.
type DeploymentInfo struct {
	At
	Plan *deploy.Plan
	Step deploy.Step
}

// DeploymentStep tells that a step ended: deployment_step_success, or
// deployment_step_failure when Failed is set.
type DeploymentStep struct {
	At
	Plan   *deploy.Plan
	Step   deploy.Step
	Failed bool
}

// DeploymentEnded is deployment_success, or deployment_failed when Reason is set.
type DeploymentEnded struct {
	At
	Plan   *deploy.Plan
	Reason string
}

// SchedulerRegistered is scheduler_registered_event, or scheduler_reregistered_event when Again is set.
type SchedulerRegistered struct {
	At
	FrameworkID string
	Master      string // host:port
	Again       bool
}

// SchedulerDisconnected is scheduler_disconnected_event.
type SchedulerDisconnected struct{ At }

// FrameworkMessage is framework_message_event.
type FrameworkMessage struct {
	At
	AgentID    string
	ExecutorID string
	Message    []byte
}

// The types without variants.
func (StatusUpdate) Type() string              { return "status_update_event" }
func (InstanceChanged) Type() string           { return "instance_changed_event" }
func (UnknownInstanceTerminated) Type() string { return "unknown_instance_terminated_event" }
func (InstanceHealthChanged) Type() string     { return "instance_health_changed_event" }
func (AppTerminated) Type() string             { return "app_terminated_event" }
func (HealthCheckAdded) Type() string          { return "add_health_check_event" }
func (HealthCheckRemoved) Type() string        { return "remove_health_check_event" }
func (HealthCheckFailed) Type() string         { return "failed_health_check_event" }
func (HealthStatusChanged) Type() string       { return "health_status_changed_event" }
func (UnhealthyKill) Type() string             { return "unhealthy_instance_kill_event" }
func (DeploymentInfo) Type() string            { return "deployment_info" }
func (SchedulerDisconnected) Type() string     { return "scheduler_disconnected_event" }
func (FrameworkMessage) Type() string          { return "framework_message_event" }

// Type tells success from refusal.
func (g GroupChanged) Type() string {
	return either(g.Reason == "", "group_change_success", "group_change_failed")
}

// Type tells success from failure.
func (d DeploymentStep) Type() string {
	return either(!d.Failed, "deployment_step_success", "deployment_step_failure")
}

// Type tells success from cancellation.
func (d DeploymentEnded) Type() string {
	return either(d.Reason == "", "deployment_success", "deployment_failed")
}

// Type tells the first subscription from later ones.
func (s SchedulerRegistered) Type() string {
	return either(!s.Again, "scheduler_registered_event", "scheduler_reregistered_event")
}

func either(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}
