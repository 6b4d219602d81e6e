package lifecycle

import (
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// Record is one change of the durable picture: the whole new image of one thing, or
// its removal when all images are nil. The newest record of a key counts.
type Record struct {
	Key       string // "f/<framework>", "e/<framework>/<executor>", "t/<framework>/<task>", "n/<container>"
	Framework *FrameworkImage
	Executor  *ExecutorImage
	Task      *TaskImage
	Nested    *NestedImage
	Resources *ResourcesImage // of key "r", which outlives the agent's id
	Drain     *DrainImage     // of key "d"
}

// Removal tells whether the record says that its key is no more.
func (r Record) Removal() bool {
	return r.Framework == nil && r.Executor == nil && r.Task == nil && r.Nested == nil && r.Resources == nil && r.Drain == nil
}

// FrameworkImage is what must survive about a framework.
type FrameworkImage struct {
	Info *mesos.FrameworkInfo
	PID  string
}

// ExecutorImage is what must survive about an executor.
type ExecutorImage struct {
	Framework FrameworkID
	Info      *mesos.ExecutorInfo
	Generated bool // made up for a command task
	Container ContainerID
	Directory string
	Started   bool // its process was seen running
	PID       int
	Networks  []*mesos.NetworkInfo // of the container when it has its own
	UPID      string               // of a v0 executor that registered
	Unheard   bool                 // a custom executor that has never subscribed
	Limit     *Limitation          // that it is ended for
	Ending    bool                 // a pod whose containers are being destroyed
}

// TaskImage is what must survive about a task and its stream of updates.
type TaskImage struct {
	Framework FrameworkID
	Executor  ExecutorID
	Info      *mesos.TaskInfo
	State     mesos.TaskState          // newest
	Delivered bool                     // handed to its executor
	Statuses  []*mesos.TaskStatus      // one per run of equal states, oldest first
	Pending   []*messages.StatusUpdate // not acknowledged, oldest first
	Seen      [][]byte                 // uuids of updates taken from a custom executor
	Killing   *KillImage               // nil unless being killed
	Acked     *mesos.TaskStatus        // the status acknowledged last, without data
	Group     string                   // of the LAUNCH_GROUP it came with, else empty
	Began     time.Time                // when its process was seen to run, if it has a max_completion_time
}

// KillImage is a kill in progress.
type KillImage struct {
	Since     time.Time
	Deadline  time.Time // SIGKILL then
	Unhealthy bool      // because of its health check
	Overdue   bool      // because max_completion_time passed
}

func frameworkRecordKey(id FrameworkID) string { return "f/" + string(id) }

func executorRecordKey(k ExecutorKey) string {
	return "e/" + string(k.Framework) + "/" + string(k.Executor)
}

func taskRecordKey(k TaskKey) string { return "t/" + string(k.Framework) + "/" + string(k.Task) }
