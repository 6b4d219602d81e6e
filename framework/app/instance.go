package app

import (
	"fmt"
	"strconv"
	"strings"
)

// InstanceID names one instance: <safe path>.instance-<uuid>. It survives relaunches
// of its task.
type InstanceID string

// NewInstanceID builds the id of a new instance of the app; uuid in its usual text form.
func NewInstanceID(app PathID, uuid string) InstanceID {
	return InstanceID(app.Safe() + ".instance-" + uuid)
}

// App gives the app the instance belongs to; ok is false for text that is no instance id.
func (id InstanceID) App() (path PathID, ok bool) {
	safe := string(id)
	i := strings.LastIndex(safe, ".instance-")
	if i < 0 {
		i = strings.LastIndex(safe, ".marathon-")
	}
	if i <= 0 {
		return "", false
	}
	return FromSafe(safe[:i]), true
}

// Task gives the id of the n-th launch of the instance's task, counted from 1.
func (id InstanceID) Task(n int) TaskID {
	return TaskID(string(id) + "._app." + strconv.Itoa(n))
}

// TaskID names one launch of a task: <instance>._app.<n> (marathon.md 7.1).
type TaskID string

// Parse splits the id. It also reads the forms without a launch number, for which n is 0.
func (t TaskID) Parse() (id InstanceID, n int, err error) {
	s := string(t)
	head, tail, found := strings.Cut(s, "._app")
	if found {
		id = InstanceID(head)
		if tail != "" {
			n, err = strconv.Atoi(strings.TrimPrefix(tail, "."))
			if err != nil || !strings.HasPrefix(tail, ".") || n < 1 {
				return "", 0, fmt.Errorf("invalid task id '%s': the launch number %q is not a positive number", s, tail)
			}
		}
	} else {
		// <safe path>.<uuid> of Marathon before 1.8.
		i := strings.LastIndexByte(s, '.')
		if i <= 0 || len(s)-i-1 != 36 {
			return "", 0, fmt.Errorf("invalid task id '%s': want <app>.instance-<uuid>._app.<n>", s)
		}
		return InstanceID(s[:i] + ".marathon-" + s[i+1:]), 0, nil
	}
	if _, ok := id.App(); !ok {
		return "", 0, fmt.Errorf("invalid task id '%s': want <app>.instance-<uuid>._app.<n>", s)
	}
	return id, n, nil
}

// Goal is what the framework wants of an instance.
type Goal string

// The goals (marathon.md 7.5).
const (
	GoalRunning        Goal = "Running"        // relaunched whenever its task ends
	GoalStopped        Goal = "Stopped"        // task killed, reservation kept
	GoalDecommissioned Goal = "Decommissioned" // task killed, then forgotten
)

// Condition is where an instance is in its life, as events name it.
type Condition string

// The conditions (marathon.md 7.5).
const (
	Scheduled           Condition = "Scheduled"   // waits for an offer
	Provisioned         Condition = "Provisioned" // launch sent, no status yet
	Staging             Condition = "Staging"
	Starting            Condition = "Starting"
	Running             Condition = "Running"
	Killing             Condition = "Killing"
	Finished            Condition = "Finished"
	Failed              Condition = "Failed"
	Killed              Condition = "Killed"
	Errored             Condition = "Error"
	Dropped             Condition = "Dropped"
	Gone                Condition = "Gone"
	Unknown             Condition = "Unknown"
	Unreachable         Condition = "Unreachable"
	UnreachableInactive Condition = "UnreachableInactive"
)

// Terminal tells whether the task has ended for good.
func (c Condition) Terminal() bool {
	switch c {
	case Finished, Failed, Killed, Errored, Dropped, Gone, Unknown:
		return true
	}
	return false
}

// Active tells whether a task of this condition may hold resources on an agent.
func (c Condition) Active() bool {
	switch c {
	case Provisioned, Staging, Starting, Running, Killing, Unreachable:
		return true
	}
	return false
}

// Lost tells whether the agent of the task cannot be reached.
func (c Condition) Lost() bool { return c == Unreachable || c == UnreachableInactive }

// TaskState is the word the REST API shows for the condition: a Mesos task state.
func (c Condition) TaskState() string {
	switch c {
	case Scheduled, Provisioned, Staging:
		return "TASK_STAGING"
	case Starting:
		return "TASK_STARTING"
	case Running:
		return "TASK_RUNNING"
	case Killing:
		return "TASK_KILLING"
	case Finished:
		return "TASK_FINISHED"
	case Failed:
		return "TASK_FAILED"
	case Killed:
		return "TASK_KILLED"
	case Errored:
		return "TASK_ERROR"
	case Dropped:
		return "TASK_DROPPED"
	case Gone:
		return "TASK_GONE"
	case Unreachable, UnreachableInactive:
		return "TASK_UNREACHABLE"
	}
	return "TASK_UNKNOWN"
}

// Instance is one wanted copy of an app and what is known of its present task.
type Instance struct {
	ID         InstanceID        `json:"id"`
	App        PathID            `json:"app"`
	Goal       Goal              `json:"goal"`
	Condition  Condition         `json:"condition"`
	Since      Timestamp         `json:"since"`                // when Condition was entered
	AppVersion Timestamp         `json:"appVersion"`           // version of the definition the task runs or will run
	Role       string            `json:"role"`                 // whose resources it takes
	Launch     int               `json:"launch"`               // number of the present or last launch; 0 before the first
	StagedAt   Timestamp         `json:"stagedAt,omitzero"`    // 0 until launched
	StartedAt  Timestamp         `json:"startedAt,omitzero"`   // 0 until running
	ActiveAt   Timestamp         `json:"activeAt,omitzero"`    // since when it runs without interruption
	AgentID    string            `json:"agentId,omitempty"`    // "" while Scheduled
	Host       string            `json:"host,omitempty"`       // agent hostname
	Attributes map[string]string `json:"attributes,omitempty"` // agent attributes in constraint form
	Region     string            `json:"region,omitempty"`
	Zone       string            `json:"zone,omitempty"`
	HostPorts  []int             `json:"hostPorts,omitempty"` // one per port that has a host port, in order
	IPs        []IPAddress       `json:"ips,omitempty"`       // as the last status reported them
	Health     []HealthResult    `json:"health,omitempty"`    // one per health check that has a result
}

// TaskID is the id of the present or last task; "" before the first launch.
func (i *Instance) TaskID() TaskID {
	if i.Launch == 0 {
		return ""
	}
	return i.ID.Task(i.Launch)
}

// IPAddress is one address of a task.
type IPAddress struct {
	IPAddress string `json:"ipAddress"`
	Protocol  string `json:"protocol"` // IPv4 or IPv6
}

// HealthResult is what one health check knows of one instance; the JSON is the entry of
// healthCheckResults (marathon.md 1.16) without its instance and task id.
type HealthResult struct {
	Alive               bool      `json:"alive"`
	ConsecutiveFailures int       `json:"consecutiveFailures"`
	FirstSuccess        Timestamp `json:"firstSuccess,omitzero"`
	LastSuccess         Timestamp `json:"lastSuccess,omitzero"`
	LastFailure         Timestamp `json:"lastFailure,omitzero"`
	LastFailureCause    string    `json:"lastFailureCause,omitempty"`
}

// TaskFailure is the last failure of an app, in its REST form.
type TaskFailure struct {
	AppID     PathID    `json:"appId"`
	Host      string    `json:"host"`
	Message   string    `json:"message"`
	State     string    `json:"state"` // TASK_*
	TaskID    TaskID    `json:"taskId"`
	Timestamp Timestamp `json:"timestamp"`
	Version   Timestamp `json:"version"`
	SlaveID   string    `json:"slaveId,omitempty"`
}
