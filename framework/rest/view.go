package rest

import (
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// appInfo is an app with live facts beside its definition (marathon.md 1.16).
type appInfo struct {
	*app.App
	counts
	Deployments *[]deploymentRef `json:"deployments,omitempty"`
	Tasks       *[]taskView      `json:"tasks,omitempty"`
	Readiness   *[]readinessView `json:"readinessCheckResults,omitempty"`
	LastFailure *app.TaskFailure `json:"lastTaskFailure,omitempty"`
	TasksStats  *taskStats       `json:"tasksStats,omitempty"`
	TaskStats   *taskStats       `json:"taskStats,omitempty"`
}

// counts are the four counters; nil when they are not asked for.
type counts struct {
	Staged    *int `json:"tasksStaged,omitempty"`
	Running   *int `json:"tasksRunning,omitempty"`
	Healthy   *int `json:"tasksHealthy,omitempty"`
	Unhealthy *int `json:"tasksUnhealthy,omitempty"`
}

func (c *counts) init() {
	c.Staged, c.Running, c.Healthy, c.Unhealthy = new(int), new(int), new(int), new(int)
}

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
	LocalVolumes       app.List[struct{}]      `json:"localVolumes"`
	SlaveID            string                  `json:"slaveId,omitempty"`
	StagedAt           app.Timestamp           `json:"stagedAt,omitzero"`
	StartedAt          app.Timestamp           `json:"startedAt,omitzero"`
	Version            app.Timestamp           `json:"version,omitzero"`
	Region             string                  `json:"region,omitempty"`
	Zone               string                  `json:"zone,omitempty"`
	Role               string                  `json:"role,omitempty"`
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

// shown tells whether an instance is listed as a task: it was launched.
func shown(i *app.Instance) bool { return i.Condition != app.Scheduled && i.Launch > 0 }

func viewTask(i *app.Instance) taskView {
	v := taskView{
		ID: i.TaskID(), AppID: i.App, Host: i.Host, State: i.Condition.TaskState(),
		IPAddresses: i.IPs, Region: i.Region, Zone: i.Zone, Role: i.Role,
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

// count fills the counters from the instances of one app.
func (c *counts) count(s *core.Snapshot, id app.PathID) {
	c.init()
	for _, i := range s.Instances[id] {
		if !shown(i) {
			continue
		}
		switch i.Condition {
		case app.Provisioned, app.Staging:
			*c.Staged++
		case app.Running:
			*c.Running++
		}
		if healthy, known := s.Health[i.ID]; known && healthy {
			*c.Healthy++
		} else if sick(i) {
			*c.Unhealthy++
		}
	}
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

// viewApp gives an app with what the embeds ask for.
func viewApp(s *core.Snapshot, deployments map[app.PathID][]deploymentRef, a *app.App, e embeds, now time.Time) appInfo {
	v := appInfo{App: a}
	if e.counts {
		v.counts.count(s, a.ID)
	}
	if e.deployments {
		refs := deployments[a.ID]
		if refs == nil {
			refs = []deploymentRef{}
		}
		v.Deployments = &refs
	}
	if e.tasks {
		tasks := viewTasks(s, a.ID)
		v.Tasks = &tasks
	}
	if e.readiness {
		r := viewReadiness(s, a.ID)
		v.Readiness = &r
	}
	if e.lastFailure {
		v.LastFailure = s.Failures[a.ID]
	}
	if e.stats {
		st := newTaskStats(s, a, now)
		v.TasksStats, v.TaskStats = st, st
	}
	return v
}

func viewTasks(s *core.Snapshot, id app.PathID) []taskView {
	out := []taskView{}
	for _, i := range s.Instances[id] {
		if shown(i) {
			out = append(out, viewTask(i))
		}
	}
	return out
}

func viewReadiness(s *core.Snapshot, id app.PathID) []readinessView {
	out := []readinessView{}
	for _, i := range s.Instances[id] {
		if r := s.Ready[i.ID]; r != nil {
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
