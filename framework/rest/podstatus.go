package rest

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// podView is the status of a pod (marathon.md 3.4).
type podView struct {
	ID                 app.PathID                `json:"id"`
	Spec               *app.Pod                  `json:"spec"`
	Status             string                    `json:"status"` // DEGRADED, STABLE or TERMINAL
	StatusSince        app.Timestamp             `json:"statusSince"`
	LastUpdated        app.Timestamp             `json:"lastUpdated"`
	LastChanged        app.Timestamp             `json:"lastChanged"`
	Instances          app.List[podInstanceView] `json:"instances"`
	TerminationHistory app.List[endView]         `json:"terminationHistory"`
}

// podInstanceView is one instance in it.
type podInstanceView struct {
	ID            app.InstanceID          `json:"id"`
	Status        string                  `json:"status"` // PENDING, STAGING, STABLE, DEGRADED or TERMINAL
	StatusSince   app.Timestamp           `json:"statusSince"`
	Message       string                  `json:"message,omitempty"`
	Conditions    app.List[conditionView] `json:"conditions"`
	AgentHostname string                  `json:"agentHostname,omitempty"`
	AgentID       string                  `json:"agentId,omitempty"`
	AgentRegion   string                  `json:"agentRegion,omitempty"`
	AgentZone     string                  `json:"agentZone,omitempty"`
	Resources     app.PodResources        `json:"resources"`
	Networks      app.List[networkView]   `json:"networks"`
	Containers    app.List[containerView] `json:"containers"`
	SpecReference string                  `json:"specReference"`
	LocalVolumes  app.List[volumeView]    `json:"localVolumes"`
	LastUpdated   app.Timestamp           `json:"lastUpdated"`
	LastChanged   app.Timestamp           `json:"lastChanged"`
	Role          string                  `json:"role"`
}

type networkView struct {
	Name      string           `json:"name,omitempty"`
	Addresses app.List[string] `json:"addresses"`
}

// containerView is one container of an instance.
type containerView struct {
	Name        string                  `json:"name"`
	Status      string                  `json:"status"` // TASK_RUNNING …
	StatusSince app.Timestamp           `json:"statusSince"`
	Message     string                  `json:"message,omitempty"`
	Conditions  app.List[conditionView] `json:"conditions"`
	ContainerID app.TaskID              `json:"containerId,omitempty"`
	Endpoints   app.List[endpointView]  `json:"endpoints"`
	Resources   *app.PodResources       `json:"resources,omitempty"`
	Termination *terminationView        `json:"termination,omitempty"`
	LastUpdated app.Timestamp           `json:"lastUpdated"`
	LastChanged app.Timestamp           `json:"lastChanged"`
}

type conditionView struct {
	Name        string        `json:"name"`
	Value       string        `json:"value"`
	Reason      string        `json:"reason,omitempty"`
	LastChanged app.Timestamp `json:"lastChanged"`
	LastUpdated app.Timestamp `json:"lastUpdated"`
}

type endpointView struct {
	Name              string `json:"name"`
	AllocatedHostPort int    `json:"allocatedHostPort,omitempty"`
	Healthy           *bool  `json:"healthy,omitempty"`
}

type terminationView struct {
	ExitCode *int   `json:"exitCode,omitempty"`
	Message  string `json:"message,omitempty"`
}

// endView is the end of one instance's tasks.
type endView struct {
	InstanceID   app.InstanceID     `json:"instanceID"`
	StartedAt    app.Timestamp      `json:"startedAt"`
	TerminatedAt app.Timestamp      `json:"terminatedAt"`
	Message      string             `json:"message,omitempty"`
	Containers   []endContainerView `json:"containers"`
}

type endContainerView struct {
	ContainerID    app.TaskID       `json:"containerId"`
	LastKnownState string           `json:"lastKnownState,omitempty"`
	Termination    *terminationView `json:"termination,omitempty"`
}

// Reasons of the condition "healthy".
const (
	healthReported   = "health-reported-by-mesos"
	healthUnreported = "health-unreported-by-mesos"
)

func (a *api) viewPod(s *core.Snapshot, p *app.Pod) podView {
	now := app.At(a.now())
	v := podView{ID: p.ID, Spec: p, LastUpdated: now, TerminationHistory: endsOf(s.Of(p.ID).Failure)}
	stable := 0
	for i := range s.Of(p.ID).All() {
		if i.Launch == 0 && i.AgentID == "" {
			continue // waits for its first offer
		}
		spec := p
		if own := s.Spec(p.ID, i.AppVersion); own != nil && own.Pod != nil {
			spec = own.Pod
		}
		view := a.viewPodInstance(spec, i)
		if view.Status == "STABLE" {
			stable++
		}
		v.StatusSince = max(v.StatusSince, view.StatusSince)
		v.Instances = append(v.Instances, view)
	}
	if len(v.Instances) == 0 {
		v.StatusSince = now
	}
	v.LastChanged = v.StatusSince
	switch {
	case s.Root.Pod(p.ID) == nil || terminating(s, p.ID):
		v.Status = "TERMINAL"
	case stable >= p.Scaling.Instances:
		v.Status = "STABLE"
	default:
		v.Status = "DEGRADED"
	}
	return v
}

// endsOf is the history of terminations: the last failure.
func endsOf(f *app.TaskFailure) []endView {
	if f == nil {
		return nil
	}
	id, _, err := f.TaskID.Parse()
	if err != nil {
		return nil
	}
	return []endView{{InstanceID: id, StartedAt: f.Started(), TerminatedAt: f.Timestamp, Message: f.Message,
		Containers: []endContainerView{{f.TaskID, f.State, viewTermination(f.Message)}}}}
}

// viewTermination reads the exit code out of what agents say of an ended process.
func viewTermination(message string) *terminationView {
	t := &terminationView{Message: message}
	if _, rest, found := strings.Cut(message, "exited with status "); found {
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		if code, err := strconv.Atoi(rest[:digits]); err == nil {
			t.ExitCode = &code
		}
	}
	return t
}

func (a *api) viewPodInstance(p *app.Pod, i *app.Instance) podInstanceView {
	v := podInstanceView{ID: i.ID, StatusSince: i.Since, LastUpdated: i.Since, LastChanged: i.Since, Role: i.Role,
		AgentHostname: i.Host, AgentID: i.AgentID, AgentRegion: i.Region, AgentZone: i.Zone, Networks: a.networksOf(p, i),
		Resources:     app.PodResources{Cpus: p.ExecutorResources.Cpus, Mem: p.ExecutorResources.Mem, Disk: p.ExecutorResources.Disk},
		SpecReference: "/v2/pods" + string(i.App) + "::versions/" + i.AppVersion.String()}
	ports := i.HostPorts
	for k := range i.Tasks {
		if k < len(p.Containers) {
			var c containerView
			c, ports = viewContainer(&p.Containers[k], i, k, ports)
			v.Containers = append(v.Containers, c)
			if r := c.Resources; r != nil {
				v.Resources.Cpus += r.Cpus
				v.Resources.Mem += r.Mem
				v.Resources.Disk += r.Disk
				v.Resources.GPUs += r.GPUs
			}
		}
	}
	if i.Reservation != nil {
		for _, l := range i.Reservation.Volumes {
			v.LocalVolumes = append(v.LocalVolumes, volumeView{i.App, l})
		}
	}
	v.Status, v.Message = podInstanceState(i, v.Containers)
	return v
}

// podInstanceState sums an instance up (marathon.md 3.4).
func podInstanceState(i *app.Instance, containers []containerView) (status, message string) {
	switch i.Condition {
	case app.Scheduled, app.Provisioned:
		if i.Goal != app.GoalRunning {
			return "TERMINAL", ""
		}
		return "PENDING", ""
	case app.Staging, app.Starting:
		return "STAGING", ""
	case app.Unreachable, app.UnreachableInactive:
		return "DEGRADED", "pod instance has become unreachable"
	case app.Running:
		for k := range containers {
			for _, c := range containers[k].Conditions {
				if c.Value == "false" {
					return "DEGRADED", "at least one container is not healthy"
				}
			}
		}
		return "STABLE", ""
	}
	return "TERMINAL", ""
}

// networksOf tells the addresses of an instance. All its containers share them.
func (a *api) networksOf(p *app.Pod, i *app.Instance) []networkView {
	if len(i.IPs) == 0 {
		return nil
	}
	var v networkView
	if len(p.Networks) == 1 {
		if v.Name = p.Networks[0].Name; p.Networks[0].Mode == app.NetworkBridge {
			v.Name = a.Rules.BridgeName
		}
	}
	for _, ip := range i.IPs {
		if !slices.Contains(v.Addresses, ip.IPAddress) {
			v.Addresses = append(v.Addresses, ip.IPAddress)
		}
	}
	return []networkView{v}
}

// viewContainer shows one container; ports are the instance's host ports from this
// container on, and what it returns those of the containers behind it.
func viewContainer(c *app.PodContainer, i *app.Instance, k int, ports []int) (containerView, []int) {
	t := &i.Tasks[k]
	since := i.StagedAt
	if t.StartedAt != 0 {
		since = t.StartedAt
	}
	since = max(since, t.Since)
	v := containerView{Name: t.Name, Status: t.Condition.TaskState(), StatusSince: since, Message: t.Message,
		ContainerID: i.TaskIDAt(k), LastUpdated: since, LastChanged: since}
	active := t.Condition.Active()
	for _, e := range c.Endpoints {
		out := endpointView{Name: e.Name}
		if e.HostPort != nil && len(ports) > 0 {
			out.AllocatedHostPort, ports = ports[0], ports[1:]
		}
		if c.HealthCheck != nil && c.HealthCheck.Endpoint() == e.Name {
			out.Healthy = t.Healthy
		}
		if active {
			v.Endpoints = append(v.Endpoints, out)
		}
	}
	if active && t.Condition != app.Provisioned || i.Reservation != nil {
		v.Resources = &c.Resources
	}
	if t.Condition.Terminal() {
		v.Termination = viewTermination(t.Message)
	}
	if c.HealthCheck != nil && t.StartedAt != 0 && !(t.Condition.Terminal() && i.Reservation != nil) {
		h := conditionView{Name: "healthy", Value: "false", Reason: healthUnreported, LastChanged: since, LastUpdated: since}
		if t.Healthy != nil {
			h.Value, h.Reason = strconv.FormatBool(*t.Healthy), healthReported
			h.LastChanged, h.LastUpdated = t.HealthyAt, t.HealthyAt
		}
		v.Conditions = append(v.Conditions, h)
	}
	return v, ports
}

// instanceView is an instance as the routes that kill instances show it.
type instanceView struct {
	InstanceID  app.InstanceID          `json:"instanceId"`
	AgentInfo   *agentView              `json:"agentInfo,omitempty"`
	State       instanceState           `json:"state"`
	Version     app.Timestamp           `json:"runSpecVersion"`
	Unreachable app.UnreachableStrategy `json:"unreachableStrategy"`
}

type agentView struct {
	Host       string                  `json:"host"`
	AgentID    string                  `json:"agentId,omitempty"`
	Region     string                  `json:"region,omitempty"`
	Zone       string                  `json:"zone,omitempty"`
	Attributes app.List[attributeView] `json:"attributes"`
}

type instanceState struct {
	Condition   app.Condition `json:"condition"`
	Since       app.Timestamp `json:"since"`
	ActiveSince app.Timestamp `json:"activeSince,omitzero"`
	Healthy     *bool         `json:"healthy,omitempty"`
	Goal        app.Goal      `json:"goal"`
}

func viewInstance(s *core.Snapshot, i *app.Instance) instanceView {
	v := instanceView{InstanceID: i.ID, Version: i.AppVersion,
		State: instanceState{Condition: i.Condition, Since: i.Since, ActiveSince: i.ActiveAt, Goal: i.Goal}}
	if healthy, known := i.Healthiness(); known {
		v.State.Healthy = &healthy
	}
	if i.AgentID != "" {
		v.AgentInfo = &agentView{Host: i.Host, AgentID: i.AgentID, Region: i.Region, Zone: i.Zone}
		for _, k := range slices.Sorted(maps.Keys(i.Attributes)) {
			v.AgentInfo.Attributes = append(v.AgentInfo.Attributes, attributeView{k, i.Attributes[k]})
		}
	}
	if spec := s.Spec(i.App, i.AppVersion); spec != nil {
		v.Unreachable = spec.Unreachable
	}
	return v
}
