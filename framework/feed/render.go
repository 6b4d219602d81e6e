package feed

import (
	"bytes"
	"encoding/json"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/deploy"
)

// The payloads of the event types, field by field as in marathon.md 9.2.
// head carries what all of them have.
type (
	head struct {
		EventType string        `json:"eventType"`
		Timestamp app.Timestamp `json:"timestamp"`
	}
	streamBody struct {
		head
		RemoteAddress string `json:"remoteAddress"`
	}
	apiPostBody struct {
		head
		ClientIP      string   `json:"clientIp"`
		URI           string   `json:"uri"`
		AppDefinition *app.App `json:"appDefinition"`
	}
	podBody struct {
		head
		ClientIP string `json:"clientIp"`
		URI      string `json:"uri"`
	}
	statusBody struct {
		head
		SlaveID     string                  `json:"slaveId"`
		TaskID      app.TaskID              `json:"taskId"`
		TaskStatus  string                  `json:"taskStatus"`
		Message     string                  `json:"message"`
		AppID       app.PathID              `json:"appId"`
		Host        string                  `json:"host"`
		IPAddresses app.List[app.IPAddress] `json:"ipAddresses"`
		Ports       app.List[int]           `json:"ports"`
		Version     app.Timestamp           `json:"version"`
	}
	instanceBody struct {
		head
		InstanceID     app.InstanceID `json:"instanceId"`
		Condition      app.Condition  `json:"condition"`
		RunSpecID      app.PathID     `json:"runSpecId"`
		AgentID        string         `json:"agentId"`
		Host           string         `json:"host"`
		RunSpecVersion app.Timestamp  `json:"runSpecVersion"`
	}
	unknownBody struct {
		head
		InstanceID app.InstanceID `json:"instanceId"`
		RunSpecID  app.PathID     `json:"runSpecId"`
		Condition  app.Condition  `json:"condition"`
	}
	instanceHealthBody struct {
		head
		InstanceID     app.InstanceID `json:"instanceId"`
		RunSpecID      app.PathID     `json:"runSpecId"`
		Healthy        *bool          `json:"healthy,omitempty"`
		RunSpecVersion app.Timestamp  `json:"runSpecVersion"`
	}
	appBody struct {
		head
		AppID app.PathID `json:"appId"`
	}
	checkAddedBody struct {
		head
		AppID       app.PathID       `json:"appId"`
		Version     app.Timestamp    `json:"version"`
		HealthCheck *app.HealthCheck `json:"healthCheck"`
	}
	checkFailedBody struct {
		head
		AppID       app.PathID       `json:"appId"`
		TaskID      app.InstanceID   `json:"taskId"` // an instance id: trap 40
		InstanceID  app.InstanceID   `json:"instanceId"`
		HealthCheck *app.HealthCheck `json:"healthCheck"`
	}
	healthBody struct {
		head
		AppID      app.PathID     `json:"appId"`
		InstanceID app.InstanceID `json:"instanceId"`
		TaskID     app.TaskID     `json:"taskId"`
		Version    app.Timestamp  `json:"version"`
		Alive      bool           `json:"alive"`
	}
	unhealthyKillBody struct {
		head
		AppID      app.PathID     `json:"appId"`
		TaskID     app.TaskID     `json:"taskId"`
		InstanceID app.InstanceID `json:"instanceId"`
		Version    app.Timestamp  `json:"version"`
		Reason     string         `json:"reason"`
		Host       string         `json:"host"`
		SlaveID    string         `json:"slaveId"`
	}
	groupBody struct {
		head
		GroupID app.PathID    `json:"groupId"`
		Version app.Timestamp `json:"version"`
		Reason  string        `json:"reason,omitempty"`
	}
	stepBody struct {
		head
		Plan        deploy.Light `json:"plan"`
		CurrentStep deploy.Step  `json:"currentStep"`
	}
	deploymentBody struct {
		head
		ID     string       `json:"id"`
		Plan   deploy.Light `json:"plan"`
		Reason string       `json:"reason,omitempty"`
	}
	schedulerBody struct {
		head
		FrameworkID string `json:"frameworkId,omitempty"`
		Master      string `json:"master,omitempty"`
	}
	messageBody struct {
		head
		SlaveID    string        `json:"slaveId"`
		ExecutorID string        `json:"executorId"`
		Message    app.List[int] `json:"message"` // byte values
	}
)

// payload gives the value whose JSON is the event's data.
func payload(e core.Event) any {
	h := head{e.Type(), e.When()}
	switch e := e.(type) {
	case streamEvent:
		return streamBody{h, e.remote}
	case APIPost:
		return apiPostBody{h, e.ClientIP, e.URI, e.App}
	case PodEvent:
		return podBody{h, e.ClientIP, e.URI}
	case core.StatusUpdate:
		return statusBody{h, e.AgentID, e.Task, e.State, e.Message, e.App, e.Host, e.IPs, e.Ports, e.Version}
	case core.InstanceChanged:
		return instanceBody{h, e.Instance, e.Condition, e.App, e.AgentID, e.Host, e.Version}
	case core.UnknownInstanceTerminated:
		return unknownBody{h, e.Instance, e.App, e.Condition}
	case core.InstanceHealthChanged:
		return instanceHealthBody{h, e.Instance, e.App, e.Healthy, e.Version}
	case core.AppTerminated:
		return appBody{h, e.App}
	case core.HealthCheckAdded:
		return checkAddedBody{h, e.App, e.Version, e.Check}
	case core.HealthCheckRemoved:
		return appBody{h, e.App}
	case core.HealthCheckFailed:
		return checkFailedBody{h, e.App, e.Instance, e.Instance, e.Check}
	case core.HealthStatusChanged:
		return healthBody{h, e.App, e.Instance, e.Task, e.Version, e.Alive}
	case core.UnhealthyKill:
		return unhealthyKillBody{h, e.App, e.Task, e.Instance, e.Version, e.Reason, e.Host, e.AgentID}
	case core.GroupChanged:
		return groupBody{h, e.Group, e.Version, e.Reason}
	case core.DeploymentInfo:
		return stepBody{h, e.Plan.Light(), e.Step}
	case core.DeploymentStep:
		return stepBody{h, e.Plan.Light(), e.Step}
	case core.DeploymentEnded:
		return deploymentBody{h, e.Plan.ID, e.Plan.Light(), e.Reason}
	case core.SchedulerRegistered:
		b := schedulerBody{head: h, Master: e.Master}
		if !e.Again {
			b.FrameworkID = e.FrameworkID
		}
		return b
	case DrainStarted:
		return drainBody{h, e.App, e.Instance, e.Task, e.Seconds}
	case core.FrameworkMessage:
		b := messageBody{head: h, SlaveID: e.AgentID, ExecutorID: e.ExecutorID}
		for _, c := range e.Message {
			b.Message = append(b.Message, int(c))
		}
		return b
	}
	return h
}

// render gives the one-line JSON of an event.
func render(e core.Event) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(payload(e)); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// APIPost tells that a user changed one app through the API: api_post_event.
type APIPost struct {
	core.At
	ClientIP string
	URI      string
	App      *app.App
}

// Type is api_post_event.
func (APIPost) Type() string { return "api_post_event" }

// PodChange is what a user did to a pod.
type PodChange string

// The changes, as the names of their events begin.
const (
	PodCreated PodChange = "pod_created"
	PodUpdated PodChange = "pod_updated"
	PodDeleted PodChange = "pod_deleted"
)

// PodEvent tells that a user changed a pod through the API: pod_created_event,
// pod_updated_event or pod_deleted_event.
type PodEvent struct {
	core.At
	What     PodChange
	ClientIP string
	URI      string
}

// Type is the change with _event behind it.
func (p PodEvent) Type() string { return string(p.What) + "_event" }

// streamEvent tells of a client that attached or detached.
type streamEvent struct {
	core.At
	remote   string
	attached bool
}

func (s streamEvent) Type() string {
	if s.attached {
		return "event_stream_attached"
	}
	return "event_stream_detached"
}
