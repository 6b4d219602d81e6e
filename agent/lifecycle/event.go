package lifecycle

import (
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// FrameworkID, ExecutorID, TaskID and ContainerID keep the kinds of ids apart.
type (
	FrameworkID string
	ExecutorID  string
	TaskID      string
	ContainerID string
)

// ExecutorKey names one executor of this agent.
type ExecutorKey struct {
	Framework FrameworkID
	Executor  ExecutorID
}

// TaskKey names one task of this agent, and its stream of updates.
type TaskKey struct {
	Framework FrameworkID
	Task      TaskID
}

// Event is something that happened. Messages inside an event belong to the core from
// then on and must not be changed any more.
type Event interface{ event() }

// RunTask asks for a task to be started (RunTaskMessage, libprocess.md 3.4).
type RunTask struct {
	Framework      *mesos.FrameworkInfo // with id
	FrameworkPID   string               // empty for v1 frameworks
	Task           *mesos.TaskInfo
	LaunchExecutor *bool // what the master expects: a new executor, a running one, or unsaid
	Versions       []*messages.ResourceVersionUUID
}

// RunTaskGroup asks for the tasks of a group to be handed to an executor at once.
type RunTaskGroup struct {
	Framework      *mesos.FrameworkInfo
	Executor       *mesos.ExecutorInfo
	Tasks          []*mesos.TaskInfo
	LaunchExecutor *bool
	Versions       []*messages.ResourceVersionUUID
}

// KillTask asks for the end of a task. Policy may be nil; its grace period goes before
// the task's own.
type KillTask struct {
	Framework FrameworkID
	Task      TaskID
	Policy    *mesos.KillPolicy
}

// Acknowledge says that the framework has taken the status update with this uuid.
type Acknowledge struct {
	Framework FrameworkID
	Task      TaskID
	UUID      []byte
}

// UpdateFramework tells of a framework that subscribed again or changed; its pending
// updates are sent again at once.
type UpdateFramework struct {
	ID   FrameworkID
	PID  string
	Info *mesos.FrameworkInfo // nil when unchanged
}

// ShutdownFramework ends everything of a framework; no updates are sent for it any more.
type ShutdownFramework struct{ ID FrameworkID }

// ShutdownExecutor ends one executor and with it its tasks.
type ShutdownExecutor struct{ Key ExecutorKey }

// FrameworkMessage carries bytes from a framework to its executor, best effort.
type FrameworkMessage struct {
	Key  ExecutorKey
	From string // of a v0 framework that sent it itself; empty: it came through the master
	Data []byte
}

// Registered says that a master has taken this agent; updates may be sent from now on.
// Reconcile lists what that master believes to run here (SlaveReregisteredMessage).
type Registered struct {
	Agent     string
	Reconcile []*messages.ReconcileTasksMessage
}

// Disconnected says that there is no master: sending of updates pauses.
type Disconnected struct{}

// Started says that a container's first process runs.
type Started struct {
	Container ContainerID
	PID       int // as seen on the host, 0 when unknown
	// Networks are those that the container has for itself, with its addresses; nil when
	// it lives in the host's.
	Networks []*mesos.NetworkInfo
	Data     []byte // for the framework, with TASK_RUNNING
}

// Progress says how far the launch of a container has come, for its framework.
type Progress struct {
	Container ContainerID
	Message   string // a sentence without full stop
}

// LaunchFailed says that a container's process was never started: the sandbox could
// not be made, a URI not fetched, or the process not forked.
type LaunchFailed struct {
	Container ContainerID
	Message   string // a sentence for the framework, without full stop
	// Executor says that Message is what the task's executor would have told: its
	// container was made ready and could not be run.
	Executor bool
}

// Exit is how the first process of a container ended.
type Exit struct {
	Known      bool // false: the exit status was lost
	Code       int  // exit code, when Signal is 0
	Signal     int  // number of the signal that ended it, or 0
	CoreDumped bool
	Why        string // it is not Known
}

// Limitation is a limit that ended a container from outside of it.
type Limitation struct {
	Reason    mesos.TaskStatus_Reason
	Message   string
	Resources []*mesos.Resource // the limit that was reached
}

// Exited says that a container is gone, with every process in it.
type Exited struct {
	Container  ContainerID
	Exit       Exit
	Limitation *Limitation // nil unless a limit ended it
}

// Probe is the result of one health check run, unfiltered.
type Probe struct {
	Key     TaskKey
	Healthy bool
	Message string
}

// Checked is the result of one check run (CheckInfo), unfiltered.
type Checked struct {
	Key    TaskKey
	Status *mesos.CheckStatusInfo // with its type; the sub-message empty after a timeout
}

// Resized says that a Resize was carried out, or why it could not be.
type Resized struct {
	Container ContainerID
	Failure   string // empty: it was
}

// ExecutorSubscribed says that an executor opened its event stream (mesos-agent.md 1.5), or
// that one of the v0 API registered or, asked by Reconnect, registered again
// (libprocess.md 3.16).
type ExecutorSubscribed struct {
	Key     ExecutorKey
	UPID    string              // of a v0 executor
	Again   bool                // a v0 executor's answer to Reconnect
	Tasks   []*mesos.TaskInfo   // not acknowledged to the executor yet
	Updates []*mesos.TaskStatus // ditto, oldest first
}

// ExecutorUpdate is a status made by an executor, already validated.
type ExecutorUpdate struct {
	Key    ExecutorKey
	UPID   string // of a v0 executor: who sent it and is to be acknowledged
	Status *mesos.TaskStatus
}

// ExecutorMessage carries bytes from an executor to its framework.
type ExecutorMessage struct {
	Key  ExecutorKey
	UPID string // of a v0 executor: who sent it
	Data []byte
}

// RecoveryEnded says that containers that lived on have been reported and executors
// have had their time to come back; those still away are given up.
type RecoveryEnded struct{}

// KillAll ends every task and executor, as before a stop that leaves nothing behind.
type KillAll struct{ Grace time.Duration }

// ContainerCall is an operator call about one container (mesos-agent.md 3.5). Exactly
// one Answer with its Request follows, unless CallGone comes first.
type ContainerCall struct {
	Request   uint64
	Op        CallOp
	ID        ContainerID // printed form
	Command   *mesos.CommandInfo
	Box       *mesos.ContainerInfo
	Resources []*mesos.Resource
	Limits    map[string]*mesos.Value_Scalar
	Session   bool
	Signal    int // of CallKill
}

// CallOp is what a ContainerCall wants.
type CallOp uint8

// The operations.
const (
	CallLaunch CallOp = iota
	CallWait
	CallKill
	CallRemove
	CallDestroy // the end of a session: SIGKILL to all of it; answered like CallKill
)

// CallGone says that nobody waits for the answer of a call any more.
type CallGone struct {
	Request uint64
	ID      ContainerID
}

// Tick lets time pass: due resends, kills and time-outs happen.
type Tick struct{}

func (RunTask) event()            {}
func (RunTaskGroup) event()       {}
func (KillTask) event()           {}
func (Acknowledge) event()        {}
func (UpdateFramework) event()    {}
func (ShutdownFramework) event()  {}
func (ShutdownExecutor) event()   {}
func (FrameworkMessage) event()   {}
func (Registered) event()         {}
func (Disconnected) event()       {}
func (Started) event()            {}
func (Progress) event()           {}
func (LaunchFailed) event()       {}
func (Exited) event()             {}
func (Probe) event()              {}
func (Checked) event()            {}
func (Resized) event()            {}
func (ExecutorSubscribed) event() {}
func (ExecutorUpdate) event()     {}
func (ExecutorMessage) event()    {}
func (RecoveryEnded) event()      {}
func (KillAll) event()            {}
func (ContainerCall) event()      {}
func (CallGone) event()           {}
func (Tick) event()               {}
