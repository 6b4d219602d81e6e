package lifecycle

import (
	"container/heap"
	"time"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Config is what the core must know about its agent. It does not change.
type Config struct {
	PID               string            // "slave(1)@ip:port"
	Endpoint          string            // "ip:port", MESOS_AGENT_ENDPOINT
	IP                string            // address given in container_status of host-network tasks
	IP6               string            // a second one, of IPv6; may be empty
	WorkDir           string            // absolute
	DefaultUser       string            // of tasks that name none; empty: their framework's
	SwitchUser        bool              // run tasks as their user, not as the agent's
	ShutdownGrace     time.Duration     // --executionshutdown_grace_period
	RegisterTimeout   time.Duration     // --executionregistration_timeout
	ReregisterTimeout time.Duration     // --executionreregistration_timeout
	RecoveryTimeout   time.Duration     // --recovery_timeout, told to executors
	ExecutorEnv       map[string]string // --executionenvironment_variables
	LibprocessIP      string            // the agent's own LIBPROCESS_IP, may be empty
	MaxExecutors      int               // completed executors remembered per framework
	Info              *mesos.AgentInfo  // without id; told to custom executors; its resources are what the agent was started with
	CollectNested     bool              // sandboxes of nested containers go before their executor\'s
	ResourceVersion   []byte            // resource_version_uuid, 16 bytes; empty: not compared
	Containerizers    []string          // "mesos", "docker": who may run a container, empty: mesos
	SandboxDirectory  string            // the sandbox inside a container with a file system of its own; empty: /mnt/mesos/sandbox
	DockerStopTimeout time.Duration     // least time between a container's stop signal and SIGKILL without a kill policy
	Rules             *acl.List         // who may run tasks as which user; nil: everybody
	NewID             func() [16]byte   // fresh version-4 UUIDs; tests give a sequence

	// NoLimits tells that CPU and memory of containers without the engine are not limited, so
	// that tasks with limits of their own are refused.
	NoLimits bool
	// Images tells that containers without the engine may live in an image.
	Images bool
	// DefaultContainer is for command tasks and executors that bring none; may be nil.
	DefaultContainer *mesos.ContainerInfo
}

// agentInfo is the agent as its executors see it.
func (c Config) agentInfo(id string) *mesos.AgentInfo {
	return &mesos.AgentInfo{
		Hostname: ptr(c.Info.GetHostname()), Port: c.Info.Port, Resources: c.Info.GetResources(),
		Attributes: c.Info.GetAttributes(), Domain: c.Info.GetDomain(), Id: &mesos.AgentID{Value: ptr(id)},
	}
}

// History limits that have no flag (mesos-agent.md 6.3).
const (
	maxCompletedFrameworks = 50
	maxCompletedTasks      = 200
)

// defaultGrace lies between SIGTERM and SIGKILL when no kill policy says otherwise
// (mesos-agent.md 2.4).
const defaultGrace = 3 * time.Second

// Agent is the core's state. The zero value is not usable; see New.
type Agent struct {
	cfg        Config
	id         string // empty before the first registration
	connected  bool   // a master has taken us: updates may go out
	recovering bool   // between Restore and RecoveryEnded
	frameworks map[FrameworkID]*framework
	completed  []FrameworkView            // oldest first
	containers map[ContainerID]*execution // roots
	nested     map[ContainerID]*nested
	streams    map[TaskKey]*stream
	resizes    map[ContainerID]*execution // whose limits are being changed
	has        holdings
	operations []*operation // without acknowledgement, by arrival
	altering   *operation   // the newest one, which Unsaved would take back
	draining   *DrainImage  // nil unless draining
	timers     timerHeap
	version    uint64 // grows whenever a View would differ
	counters   Counters

	now time.Time // of the step in progress
	out Output    // of the step in progress
}

// New makes an agent that holds nothing.
func New(cfg Config) *Agent {
	if cfg.MaxExecutors <= 0 {
		cfg.MaxExecutors = 150
	}
	if len(cfg.Containerizers) == 0 {
		cfg.Containerizers = []string{"mesos"}
	}
	if cfg.SandboxDirectory == "" {
		cfg.SandboxDirectory = "/mnt/mesos/sandbox"
	}
	return &Agent{
		cfg:        cfg,
		frameworks: map[FrameworkID]*framework{},
		containers: map[ContainerID]*execution{},
		nested:     map[ContainerID]*nested{},
		streams:    map[TaskKey]*stream{},
		resizes:    map[ContainerID]*execution{},
		has:        newHoldings(cfg.Info.GetResources()),
	}
}

// ID is the agent id, empty before the first registration.
func (a *Agent) ID() string { return a.id }

// Version grows whenever View would give something else.
func (a *Agent) Version() uint64 { return a.version }

// Next is when a Tick is due at the latest; the zero time when none is.
func (a *Agent) Next() time.Time {
	if len(a.timers) == 0 {
		return never
	}
	return a.timers[0].at
}

// Step takes one event at a point in time that never goes back.
func (a *Agent) Step(now time.Time, ev Event) Output {
	a.now = now
	a.out = Output{}
	a.version++
	switch ev := ev.(type) {
	case RunTask:
		a.runTask(ev)
	case RunTaskGroup:
		a.runTaskGroup(ev)
	case KillTask:
		a.killTask(ev)
	case Acknowledge:
		a.acknowledge(ev)
	case UpdateFramework:
		a.updateFramework(ev)
	case ShutdownFramework:
		a.shutdownFramework(ev.ID)
	case ShutdownExecutor:
		a.shutdownExecutorEvent(ev.Key)
	case FrameworkMessage:
		a.frameworkMessage(ev)
	case Registered:
		a.registered(ev)
	case Disconnected:
		a.connected = false
	case Started:
		a.started(ev)
	case Progress:
		a.progressed(ev)
	case LaunchFailed:
		a.launchFailed(ev)
	case Exited:
		a.exited(ev)
	case Probe:
		a.probe(ev)
	case Checked:
		a.checked(ev)
	case Resized:
		a.resized(ev)
	case ExecutorSubscribed:
		a.executorSubscribed(ev)
	case ExecutorUpdate:
		a.executorUpdate(ev)
	case ExecutorMessage:
		a.executorMessage(ev)
	case RecoveryEnded:
		a.recoveryEnded()
	case KillAll:
		a.killAll(ev)
	case ContainerCall:
		a.containerCall(ev)
	case CallGone:
		a.callGone(ev)
	case ApplyOperation:
		a.applyOperation(ev)
	case CheckpointResources:
		a.checkpointResources(ev)
	case Unsaved:
		a.unsaved(ev)
	case VolumesRemoved:
		a.volumesRemoved(ev)
	case AcknowledgeOperation:
		a.acknowledgeOperation(ev)
	case ReconcileOperations:
		a.reconcileOperations(ev)
	case Limited:
		a.limited(ev)
	case Drain:
		a.drain(ev)
	case Tick:
	}
	a.fireTimers()
	out := a.out
	a.out = Output{}
	return out
}

func (a *Agent) do(e Effect)     { a.out.Effects = append(a.out.Effects, e) }
func (a *Agent) record(r Record) { a.out.Records = append(a.out.Records, r) }

// framework is one framework with something on this agent.
type framework struct {
	id          FrameworkID
	info        *mesos.FrameworkInfo
	pid         string
	executors   map[ExecutorID]*execution
	order       []*execution // by launch
	completed   []ExecutorView
	terminating bool
}

// durable tells whether anything of this framework is recorded: a framework that does
// not checkpoint loses its tasks with the agent (mesos-agent.md 9).
func (f *framework) durable() bool { return f.info.GetCheckpoint() }

func (f *framework) can(c mesos.FrameworkInfo_Capability_Type) bool {
	for _, have := range f.info.GetCapabilities() {
		if have.GetType() == c {
			return true
		}
	}
	return false
}

// lost is the state for a task that will never have run: old frameworks know only
// TASK_LOST.
func (f *framework) lost(precise mesos.TaskState) mesos.TaskState {
	if f != nil && f.can(mesos.FrameworkInfo_Capability_PARTITION_AWARE) {
		return precise
	}
	return mesos.TaskState_TASK_LOST
}

// ensureFramework gives the framework's record, making it when this is its first task.
func (a *Agent) ensureFramework(info *mesos.FrameworkInfo, pid string) *framework {
	id := FrameworkID(info.GetId().GetValue())
	f := a.frameworks[id]
	if f == nil {
		f = &framework{id: id, info: info, pid: pid, executors: map[ExecutorID]*execution{}}
		for i, c := range a.completed { // it comes back: its history comes along
			if FrameworkID(c.Info.GetId().GetValue()) == id {
				f.completed = c.Completed
				a.completed = append(a.completed[:i:i], a.completed[i+1:]...)
				break
			}
		}
		a.frameworks[id] = f
		a.recordFramework(f)
	}
	return f
}

func (a *Agent) recordFramework(f *framework) {
	if f.durable() {
		a.record(Record{Key: frameworkRecordKey(f.id), Framework: &FrameworkImage{Info: f.info, PID: f.pid}})
	}
}

// dropIdleFramework forgets a framework that has nothing here any more.
func (a *Agent) dropIdleFramework(f *framework) {
	if len(f.executors) > 0 {
		return
	}
	delete(a.frameworks, f.id)
	if f.durable() {
		a.record(Record{Key: frameworkRecordKey(f.id)})
	}
	a.completed = append(a.completed, FrameworkView{Info: f.info, PID: f.pid, Completed: f.completed})
	if n := len(a.completed) - maxCompletedFrameworks; n > 0 {
		a.completed = append([]FrameworkView(nil), a.completed[n:]...)
	}
	a.settleDrain()
}

func (a *Agent) updateFramework(ev UpdateFramework) {
	f := a.frameworks[ev.ID]
	if f == nil {
		return
	}
	f.pid = ev.PID
	if ev.Info != nil {
		f.info = ev.Info
	}
	a.recordFramework(f)
	a.resend(func(k TaskKey) bool { return k.Framework == ev.ID })
}

func (a *Agent) shutdownFramework(id FrameworkID) {
	for k := range a.streams {
		if k.Framework == id && a.streams[k].task == nil {
			delete(a.streams, k)
		}
	}
	f := a.frameworks[id]
	if f == nil || f.terminating {
		return
	}
	f.terminating = true
	a.do(Note{Message: "framework shuts down", Framework: id})
	for _, e := range append([]*execution(nil), f.order...) {
		a.shutdownExecutor(e)
		a.dropIfDone(e)
	}
	a.dropIdleFramework(f)
}

func (a *Agent) registered(ev Registered) {
	a.id = ev.Agent
	a.connected = true
	a.resend(func(TaskKey) bool { return true })
	a.resendOperations()
	a.exitedAgain()
	for _, r := range ev.Reconcile {
		id := FrameworkID(r.GetFrameworkId().GetValue())
		f := a.frameworks[id]
		if f == nil && r.GetFramework() != nil {
			f = &framework{id: id, info: r.GetFramework()}
		}
		for _, st := range r.GetStatuses() {
			key := TaskKey{id, TaskID(st.GetTaskId().GetValue())}
			if s := a.streams[key]; s != nil {
				continue
			}
			a.loose(key, &mesos.TaskStatus{
				State:   f.lost(mesos.TaskState_TASK_DROPPED).Enum(),
				Reason:  mesos.TaskStatus_REASON_RECONCILIATION.Enum(),
				Message: ptr("Reconciliation: Task is unknown to the agent"),
			})
		}
	}
}

func ptr[T any](v T) *T { return &v }

// timer is one point in time at which something has to be looked at again. Timers are
// never taken out of the heap: what they run checks whether it still applies.
type timer struct {
	at  time.Time
	seq uint64 // keeps equal times in order
	run func()
}

type timerHeap []timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)   { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return t
}

func (a *Agent) at(t time.Time, run func()) {
	a.version++
	heap.Push(&a.timers, timer{at: t, seq: a.version, run: run})
}

func (a *Agent) fireTimers() {
	for len(a.timers) > 0 && !a.timers[0].at.After(a.now) {
		t := heap.Pop(&a.timers).(timer)
		t.run()
	}
}
