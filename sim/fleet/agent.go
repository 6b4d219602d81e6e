package fleet

import (
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"google.golang.org/protobuf/proto"
)

// agent is one simulated agent.
type agent struct {
	pid      libprocess.UPID
	hostname string
	id       *mesos.AgentID // nil before the first registration
	// registered says that the leading master has taken this agent.
	registered bool
	gone       bool // a master told it to shut down
	// draining is the order to empty this agent; nil when there is none or nothing is left.
	draining  *mesos.DrainConfig
	tries     uint8  // registrations sent since the last success or leader
	seq       uint32 // of the newest registration timer
	pinged    int64  // tick of the last sign of life
	patience  int64  // ticks without a ping after which it registers again
	tasks     map[taskKey]*task
	executors map[executorKey]*executor
	// checkpointed are the reservations and volumes the master told, or that operations made.
	checkpointed resource.Resources
	operations   map[string]*operation // by uuid: those not acknowledged yet

	knownAt uint64 // generation of the link over which the master came to know who this is
	asking  bool   // an attempt to authenticate is under way
}

type taskKey struct {
	framework *framework
	id        string
}

type executorKey struct {
	framework *framework
	id        string
}

// executor is one that a framework brought along; it ends with its last task.
type executor struct {
	info  []byte // mesos.ExecutorInfo
	tasks int
}

// framework is what all agents share about one framework.
type framework struct {
	id    *mesos.FrameworkID
	info  *mesos.FrameworkInfo
	tasks int // on all agents
}

func (f *framework) has(c mesos.FrameworkInfo_Capability_Type) bool {
	for _, x := range f.info.GetCapabilities() {
		if x.GetType() == c {
			return true
		}
	}
	return false
}

// lost gives the state for a task that is not here: frameworks that do not know about
// partitions are told TASK_LOST.
func (f *framework) lost() mesos.TaskState {
	if f.has(mesos.FrameworkInfo_Capability_PARTITION_AWARE) {
		return mesos.TaskState_TASK_DROPPED
	}
	return mesos.TaskState_TASK_LOST
}

// task is one simulated task.
type task struct {
	key      taskKey
	executor *executorKey // nil for commands
	group    *[]*task     // tasks that end together; nil outside groups
	record   []byte       // mesos.Task without state, nil for a task that was never here
	state    mesos.TaskState
	// pending are the updates not acknowledged yet; only the first is ever sent.
	pending []update
	sent    uint32 // counts sends of first updates, so that an old timer knows it is old
	waits   int64  // ticks until the next resend
	// told is the newest update that was sent.
	told update
}

type update struct {
	state   mesos.TaskState
	reason  mesos.TaskStatus_Reason // 0 is none
	uuid    [16]byte
	seconds float64 // since 1970
	message string
}

func terminal(s mesos.TaskState) bool {
	switch s {
	case mesos.TaskState_TASK_FINISHED, mesos.TaskState_TASK_FAILED, mesos.TaskState_TASK_KILLED, mesos.TaskState_TASK_LOST,
		mesos.TaskState_TASK_ERROR, mesos.TaskState_TASK_DROPPED, mesos.TaskState_TASK_GONE,
		mesos.TaskState_TASK_GONE_BY_OPERATOR:
		return true
	}
	return false
}

// recordOf encodes what a re-registration says about a task. Tasks of generated
// executors carry no executor id (libprocess.md 3.2).
func recordOf(framework *mesos.FrameworkID, info *mesos.TaskInfo, executor *mesos.ExecutorID) ([]byte, error) {
	t := &mesos.Task{
		Name: proto.String(info.GetName()), TaskId: info.GetTaskId(), FrameworkId: framework, ExecutorId: executor,
		AgentId: info.GetAgentId(), State: mesos.TaskState_TASK_STAGING.Enum(), Resources: info.GetResources(),
		Labels: info.GetLabels(), Discovery: info.GetDiscovery(), Container: info.GetContainer(),
		HealthCheck: info.GetHealthCheck(), KillPolicy: info.GetKillPolicy(), Limits: info.GetLimits(),
	}
	if u := info.GetCommand().GetUser(); u != "" {
		t.User = &u
	}
	return proto.Marshal(t)
}
