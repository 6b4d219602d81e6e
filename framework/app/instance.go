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

// Task gives the id of the n-th launch of the only task of an app's instance, counted
// from 1.
func (id InstanceID) Task(n int) TaskID { return id.NamedTask("", n) }

// NamedTask gives the id of the n-th launch of one task of the instance, counted from 1.
func (id InstanceID) NamedTask(name string, n int) TaskID {
	if name == "" {
		name = onlyTask
	}
	return TaskID(string(id) + "." + name + "." + strconv.Itoa(n))
}

// onlyTask stands for the name of an app's task; no container may be called so.
const onlyTask = "_app"

// TaskID names one launch of a task: <instance>._app.<n>, or <instance>.<container>.<n>
// for a pod (marathon.md 7.1).
type TaskID string

// Parse gives the instance and the launch number. It also reads the forms without a
// launch number, for which n is 0.
func (t TaskID) Parse() (id InstanceID, n int, err error) {
	id, _, n, err = t.Split()
	return id, n, err
}

// Split is Parse that also gives the name of the task, "" for that of an app.
func (t TaskID) Split() (id InstanceID, name string, n int, err error) {
	s := string(t)
	bad := func(why string) (InstanceID, string, int, error) {
		return "", "", 0, fmt.Errorf("invalid task id '%s': %s", s, why)
	}
	const want = "want <app>.instance-<uuid>._app.<n>"
	if head, found := strings.CutSuffix(s, "."+onlyTask); found {
		if _, ok := InstanceID(head).App(); !ok {
			return bad(want)
		}
		return InstanceID(head), "", 0, nil
	}
	if head, number, ok := cutLast(s); ok {
		if head, name, ok := cutLast(head); ok && InstanceID(head).whole() {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 || number[0] == '+' {
				return bad(fmt.Sprintf("the launch number %q is not a positive number", number))
			}
			if name == onlyTask {
				name = ""
			}
			return InstanceID(head), name, n, nil
		}
		if len(number) == 36 { // <safe path>.<uuid> of Marathon before 1.8
			return InstanceID(head + ".marathon-" + number), "", 0, nil
		}
	}
	return bad(want)
}

// whole tells whether the text is an instance id and nothing else.
func (id InstanceID) whole() bool {
	for _, mark := range []string{".instance-", ".marathon-"} {
		if i := strings.LastIndex(string(id), mark); i > 0 {
			rest := id[i+len(mark):]
			return rest != "" && !strings.Contains(string(rest), ".")
		}
	}
	return false
}

// cutLast splits at the last dot; both sides must hold something.
func cutLast(s string) (head, tail string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i <= 0 || i == len(s)-1 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
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

// Instance is one wanted copy of an app or a pod and what is known of its tasks. The one
// task of an app has its condition, start and health in the instance's own fields.
type Instance struct {
	ID         InstanceID        `json:"id"`
	App        PathID            `json:"app"` // or pod
	Goal       Goal              `json:"goal"`
	Condition  Condition         `json:"condition"`            // of all tasks together
	Since      Timestamp         `json:"since"`                // when Condition was entered
	AppVersion Timestamp         `json:"appVersion"`           // version of the definition the tasks run or will run
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
	Healthy    *bool             `json:"-"`                   // all checks alive; nil while one has no result
	Ready      *Readiness        `json:"-"`                   // newest result of the readiness check that a deployment waits for
	// Reservation is what it owns on its agent, nil for instances that own nothing.
	Reservation *Reservation `json:"reservation,omitempty"`
	Tasks       []Task       `json:"tasks,omitempty"` // of a pod, one per container in order; nil while Scheduled
}

// Task is what is known of one container of a pod's instance.
type Task struct {
	Name      string    `json:"name"`
	Condition Condition `json:"condition"`
	Since     Timestamp `json:"since"`              // when Condition was entered
	StartedAt Timestamp `json:"startedAt,omitzero"` // 0 until running
	Message   string    `json:"message,omitempty"`  // of the last status
	Healthy   *bool     `json:"-"`                  // result of its health check; nil: none yet
	HealthyAt Timestamp `json:"-"`                  // when Healthy was last reported
}

// TaskID is the id of the present or last task, of a pod's first one; "" before the
// first launch.
func (i *Instance) TaskID() TaskID { return i.TaskIDAt(0) }

// TaskIDAt is the id of the k-th task; "" before the first launch.
func (i *Instance) TaskIDAt(k int) TaskID {
	if i.Launch == 0 {
		return ""
	}
	if i.Tasks == nil {
		return i.ID.Task(i.Launch)
	}
	return i.ID.NamedTask(i.Tasks[k].Name, i.Launch)
}

// OfPod tells whether it was launched for a pod.
func (i *Instance) OfPod() bool { return i.Tasks != nil }

// TaskCount is the number of its tasks.
func (i *Instance) TaskCount() int { return max(1, len(i.Tasks)) }

// TaskCondition is where the k-th task is in its life.
func (i *Instance) TaskCondition(k int) Condition {
	if i.Tasks == nil {
		return i.Condition
	}
	return i.Tasks[k].Condition
}

// Lost tells whether no task of the instance is left but some whose agent cannot be reached.
func (i *Instance) Lost() bool {
	lost := false
	for k := range i.TaskCount() {
		c := i.TaskCondition(k)
		if !c.Lost() && !c.Terminal() {
			return false
		}
		lost = lost || c.Lost()
	}
	return lost
}

// Ended tells whether every task has ended for good.
func (i *Instance) Ended() bool {
	for k := range i.TaskCount() {
		if !i.TaskCondition(k).Terminal() {
			return false
		}
	}
	return true
}

// precedence is in which order conditions of tasks decide about their instance
// (marathon.md 7.5).
var precedence = []Condition{
	Errored, Failed, Gone, Dropped, UnreachableInactive, Unreachable, Killing, Starting, Staging, Unknown, Provisioned, Running, Finished, Killed,
}

// Sum gives the condition of an instance out of those of its tasks.
func Sum(tasks []Task) Condition {
	for _, c := range precedence {
		for k := range tasks {
			if tasks[k].Condition == c {
				return c
			}
		}
	}
	return Unknown
}

// Healthiness sums up the health checks; known only when every one has a result.
func (i *Instance) Healthiness() (healthy, known bool) {
	return i.Healthy != nil && *i.Healthy, i.Healthy != nil
}

// Readiness is the result of a readiness check.
type Readiness struct {
	Name        string
	Ready       bool
	Status      int // HTTP status; 504 for a transport failure
	ContentType string
	Body        string // at most 10,000 bytes
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

// TaskFailure is the last failure of an app or pod, in its REST form.
type TaskFailure struct {
	AppID     PathID    `json:"appId"`
	Host      string    `json:"host"`
	Message   string    `json:"message"`
	State     string    `json:"state"` // TASK_*
	TaskID    TaskID    `json:"taskId"`
	Timestamp Timestamp `json:"timestamp"`
	Version   Timestamp `json:"version"`
	SlaveID   string    `json:"slaveId,omitempty"`
	// StartedAt is when the task ran, or else was launched; kept for pods only.
	StartedAt Timestamp `json:"startedAt,omitzero"`
}

// Started is when the task that failed was started, as far as it is known.
func (f *TaskFailure) Started() Timestamp {
	if f.StartedAt != 0 {
		return f.StartedAt
	}
	return f.Timestamp
}
