package lifecycle

import (
	"time"

	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// Output is the answer to one event.
type Output struct {
	Records []Record // to be durable, all or none, before any effect
	Effects []Effect // in order
}

// Effect is something the shells have to do.
type Effect interface{ effect() }

// Launch starts a container: make its sandbox, fetch its URIs, start its process.
// The answer is Started or LaunchFailed, later Exited.
type Launch struct {
	Container ContainerID
	Key       ExecutorKey
	Task      TaskID // empty for a custom executor
	Directory string // the sandbox on the host
	User      string // empty: the agent's own
	Command   *mesos.CommandInfo
	Box       *mesos.ContainerInfo // may be nil
	Env       []string             // "NAME=value", complete
	Resources []*mesos.Resource    // what the container may use, overhead included
	Limits    map[string]*mesos.Value_Scalar
	Volumes   []Volume // persistent ones to show in the sandbox
	Docker    bool     // a container of the Docker engine

	// Of a nested container: signals other than SIGKILL reach its first process only.
	Nested          bool
	Root            ContainerID // its root, whose cgroup it lives in when Share is set
	Share           bool
	ParentDirectory string      // sandbox of its parent: what SANDBOX_PATH of type PARENT means
	Session         bool        // its input and output go to whoever attaches
	Inside          ContainerID // of a session: the container it looks into
}

// Resize changes what a running container may use. The answer is Resized.
type Resize struct {
	Container ContainerID
	Resources []*mesos.Resource
	Limits    map[string]*mesos.Value_Scalar
	Share     // of a custom executor
}

// Kill sends SIGTERM to every process of a container and SIGKILL after Grace. A second
// Kill can only shorten the time, counted from the first.
type Kill struct {
	Container ContainerID
	Grace     time.Duration
}

// Destroy ends a container at once: a launch in progress is abandoned, every process
// gets SIGKILL. Exited follows unless the process was never started (then LaunchFailed).
type Destroy struct{ Container ContainerID }

// Forget says that the container's exit is recorded here; its exit record may go.
type Forget struct{ Container ContainerID }

// StartChecks begins the health check and check of a task that runs.
type StartChecks struct {
	Key       TaskKey
	Container ContainerID
	PID       int
	Box       *mesos.ContainerInfo // what the container was launched with; may be nil
	Task      *mesos.TaskInfo
	Env       []string
	User      string
	Directory string
}

// StopChecks ends them. Harmless when there are none.
type StopChecks struct{ Key TaskKey }

// SendUpdate gives a status update to the master. LatestState is filled in.
type SendUpdate struct{ Update *messages.StatusUpdate }

// SendExited tells the master that a custom executor is gone.
type SendExited struct {
	Key    ExecutorKey
	Status int32 // raw wait status, -1 unknown
}

// SendMessage carries an executor's bytes to its framework: directly to PID when that
// is set, through the master otherwise.
type SendMessage struct {
	Key  ExecutorKey
	PID  string
	Data []byte
}

// ToExecutor queues an event on an executor's stream; it is lost when there is none.
// With UPID it goes to that process as the message of the v0 API that means the same.
type ToExecutor struct {
	Key   ExecutorKey
	Event *executor.Event

	UPID         string // of a v0 executor
	Agent        *mesos.AgentID
	Framework    *mesos.FrameworkInfo
	FrameworkPID string // of a v0 framework, told to v0 executors with each task
	Again        bool   // of SUBSCRIBED: the executor had been here before the agent's restart
}

// Reconnect asks a v0 executor that lived on over a restart of the agent to register again.
type Reconnect struct {
	Key   ExecutorKey
	UPID  string
	Agent *mesos.AgentID
}

// CloseExecutor ends an executor's stream after what is queued on it, or its link.
type CloseExecutor struct {
	Key  ExecutorKey
	UPID string // of a v0 executor
}

// Collect says that a sandbox is no longer in use and may be removed after the
// garbage collector's delay.
type Collect struct{ Directory string }

// Note is something an operator may want to read in the log.
type Note struct {
	Message   string
	Framework FrameworkID
	Executor  ExecutorID
	Task      TaskID
	State     mesos.TaskState // of an update that was made, when Message is "task state"
	Detail    string
}

// Signal sends a signal to the first process of a container.
type Signal struct {
	Container ContainerID
	Signal    int
}

// Remove deletes the sandbox of a nested container that has ended.
type Remove struct{ Directory string }

// Answer is the answer to a ContainerCall.
type Answer struct {
	Request    uint64
	Code       int    // HTTP status
	Text       string // a sentence when the call failed
	Exit       *Exit  // of a wait
	Limitation *Limitation
}

func (Reconnect) effect()     {}
func (Signal) effect()        {}
func (Remove) effect()        {}
func (Answer) effect()        {}
func (Launch) effect()        {}
func (Resize) effect()        {}
func (Kill) effect()          {}
func (Destroy) effect()       {}
func (Forget) effect()        {}
func (StartChecks) effect()   {}
func (StopChecks) effect()    {}
func (SendUpdate) effect()    {}
func (SendExited) effect()    {}
func (SendMessage) effect()   {}
func (ToExecutor) effect()    {}
func (CloseExecutor) effect() {}
func (Collect) effect()       {}
func (Note) effect()          {}

// never is a deadline that does not come.
var never time.Time
