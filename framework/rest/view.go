package rest

import (
	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// taskView is one task (marathon.md 1.16).
type taskView struct {
	ID                 app.TaskID              `json:"id"`
	AppID              app.PathID              `json:"appId"`
	Host               string                  `json:"host"`
	State              string                  `json:"state"`
	Ports              app.List[int]           `json:"ports"`
	ServicePorts       app.List[int]           `json:"servicePorts"`
	IPAddresses        app.List[app.IPAddress] `json:"ipAddresses"`
	HealthCheckResults app.List[healthView]    `json:"healthCheckResults"`
	LocalVolumes       app.List[volumeView]    `json:"localVolumes"`
	SlaveID            string                  `json:"slaveId,omitempty"`
	StagedAt           app.Timestamp           `json:"stagedAt,omitzero"`
	StartedAt          app.Timestamp           `json:"startedAt,omitzero"`
	Version            app.Timestamp           `json:"version,omitzero"`
	Region             string                  `json:"region,omitempty"`
	Zone               string                  `json:"zone,omitempty"`
	Role               string                  `json:"role,omitempty"`
}

// volumeView is one persistent volume of a task.
type volumeView struct {
	RunSpecID app.PathID `json:"runSpecId"`
	app.LocalVolume
}

type healthView struct {
	app.HealthResult
	InstanceID app.InstanceID `json:"instanceId"`
	TaskID     app.TaskID     `json:"taskId"`
}

type readinessView struct {
	Name         string           `json:"name"`
	TaskID       app.TaskID       `json:"taskId"`
	Ready        bool             `json:"ready"`
	LastResponse *readinessAnswer `json:"lastResponse,omitempty"`
}

type readinessAnswer struct {
	Status      int    `json:"status"`
	ContentType string `json:"contentType"`
	Body        string `json:"body"`
}

// shown tells whether an instance is listed as a task: it was launched, and is not again
// only a place in the launch queue; one with a reservation always has its volumes to show.
func shown(i *app.Instance) bool {
	return i.Launch > 0 && (i.Condition != app.Scheduled || i.Reservation != nil)
}

func viewTask(i *app.Instance) taskView {
	v := taskView{
		ID: i.TaskID(), AppID: i.App, Host: i.Host, State: i.Condition.TaskState(),
		IPAddresses: i.IPs, Region: i.Region, Zone: i.Zone, Role: i.Role,
	}
	if i.Reservation != nil {
		for _, l := range i.Reservation.Volumes {
			v.LocalVolumes = append(v.LocalVolumes, volumeView{i.App, l})
		}
	}
	for _, h := range i.Health {
		v.HealthCheckResults = append(v.HealthCheckResults, healthView{h, i.ID, v.ID})
	}
	if i.Condition.Active() {
		v.SlaveID, v.StagedAt, v.StartedAt, v.Version = i.AgentID, i.StagedAt, i.StartedAt, i.AppVersion
		v.Ports = i.HostPorts
	}
	return v
}

// counts are the four counters of an app.
type counts struct{ staged, running, healthy, unhealthy int }

// count makes the counters from the instances of one app.
func count(s *core.Snapshot, id app.PathID) (c counts) {
	state := s.Of(id)
	for i := range state.All() {
		if !shown(i) {
			continue
		}
		switch i.Condition {
		case app.Provisioned, app.Staging:
			c.staged++
		case app.Running:
			c.running++
		}
		if healthy, known := i.Healthiness(); known && healthy {
			c.healthy++
		} else if sick(i) {
			c.unhealthy++
		}
	}
	return c
}

// sick tells whether any check of the instance has failed last.
func sick(i *app.Instance) bool {
	for _, h := range i.Health {
		if !h.Alive {
			return true
		}
	}
	return false
}

func viewReadiness(s *core.Snapshot, id app.PathID) []readinessView {
	out := []readinessView{}
	state := s.Of(id)
	for i := range state.All() {
		if r := i.Ready; r != nil {
			v := readinessView{Name: r.Name, TaskID: i.TaskID(), Ready: r.Ready}
			if r.Status != 0 {
				v.LastResponse = &readinessAnswer{r.Status, r.ContentType, r.Body}
			}
			out = append(out, v)
		}
	}
	return out
}

// deploymentsByApp lists the running deployments of every app.
func deploymentsByApp(s *core.Snapshot) map[app.PathID][]deploymentRef {
	out := map[app.PathID][]deploymentRef{}
	for _, d := range s.Deployments {
		for _, id := range d.Plan.Affected() {
			out[id] = append(out[id], deploymentRef{d.Plan.ID})
		}
	}
	return out
}
