package lifecycle

import (
	"path"
	"slices"
	"time"

	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// phase is where an execution stands. It only grows.
type phase uint8

const (
	launching   phase = iota // sandbox, fetch and fork are under way
	registering              // custom executors: the process runs and has not subscribed
	running                  // command task: the process runs; custom executor: subscribed
	terminating              // it was told to end
	terminated               // its container is gone
)

func (p phase) String() string {
	return [...]string{"LAUNCHING", "REGISTERING", "RUNNING", "TERMINATING", "TERMINATED"}[p]
}

// execution is one executor: the books of a command task's container, or a custom
// executor's process with its tasks.
type execution struct {
	fw        *framework
	info      *mesos.ExecutorInfo
	generated bool // made up for a command task: tasks has at most one entry
	container ContainerID
	directory string
	phase     phase
	started   bool
	pid       int
	networks  []*mesos.NetworkInfo // of the container when it has its own, else nil
	tasks     []*task              // not completed, by arrival
	completed []*mesos.Task        // oldest first
	verdict   *verdict             // why it was told to end, for its tasks' last update
	recovered bool                 // it lived on over a restart of the agent
	nested    []*nested            // by launch; those that ended stay until their root ends
	limit     *Limitation          // the limit that ends this pod
	ending    bool                 // its containers are being destroyed
	doomed    bool                 // they were, by the agent process before this one
	orderly   bool                 // a pod that ended as an executor would have, with status 0
	waiters   []uint64             // calls that wait for its end
	status    int32                // raw wait status, of a custom executor or pod that is gone
	shown     []Volume             // that a custom executor was given last
	subscribe bool                 // it subscribed at least once since this agent process began
	unheard   bool                 // a custom executor that has never subscribed
	upid      string               // where a v0 executor listens; empty for others
	fed       bool                 // a task was handed to it
	early     *ExecutorSubscribed  // came before its container's start was told
	resizing  resizing
}

// verdict is what the tasks of an ended executor are told.
type verdict struct {
	state   mesos.TaskState
	reason  mesos.TaskStatus_Reason
	message string
}

func (e *execution) id() ExecutorID   { return ExecutorID(e.info.GetExecutorId().GetValue()) }
func (e *execution) key() ExecutorKey { return ExecutorKey{e.fw.id, e.id()} }

// only is the task of a command executor, nil when it is completed.
func (e *execution) only() *task {
	if e.generated && len(e.tasks) > 0 {
		return e.tasks[0]
	}
	return nil
}

func (a *Agent) addExecution(f *framework, info *mesos.ExecutorInfo, generated bool) *execution {
	id := a.cfg.NewID()
	e := &execution{fw: f, info: info, generated: generated, container: ContainerID(uuidText(id))}
	e.directory = path.Join(a.cfg.WorkDir, "slaves", a.id, "frameworks", string(f.id),
		"executors", string(e.id()), "runs", string(e.container))
	f.executors[e.id()] = e
	f.order = append(f.order, e)
	a.containers[e.container] = e
	return e
}

func (a *Agent) recordExecution(e *execution) {
	if !e.fw.durable() {
		return
	}
	a.record(Record{Key: executorRecordKey(e.key()), Executor: &ExecutorImage{
		Framework: e.fw.id, Info: e.info, Generated: e.generated, Container: e.container,
		Directory: e.directory, Started: e.started, PID: e.pid, UPID: e.upid, Unheard: e.unheard, Networks: e.networks, Limit: e.limit, Ending: e.ending,
	}})
}

// dropIfDone takes an executor out of the books when its container is gone and all
// updates of its tasks are acknowledged.
func (a *Agent) dropIfDone(e *execution) {
	if e.phase != terminated || (len(e.tasks) > 0 && !e.fw.terminating) || e.fw.executors[e.id()] != e {
		return
	}
	for _, t := range append([]*task(nil), e.tasks...) { // only of a framework that is shut down
		a.stopChecks(t) // its end was told to nobody
		delete(a.streams, t.key())
		if e.fw.durable() {
			a.record(Record{Key: taskRecordKey(t.key())})
		}
		e.completed = append(e.completed, a.wireTask(t))
	}
	e.tasks = nil
	f := e.fw
	delete(f.executors, e.id())
	if i := slices.Index(f.order, e); i >= 0 {
		f.order = slices.Delete(f.order, i, i+1)
	}
	if f.durable() {
		a.record(Record{Key: executorRecordKey(e.key())})
	}
	// Views share the list: what they see of it does not change, more comes behind that.
	f.completed = append(f.completed, a.executorView(e))
	f.completed = f.completed[max(0, len(f.completed)-a.cfg.MaxExecutors):]
	a.do(Collect{Directory: e.directory})
	a.dropIdleFramework(f)
}

// resources is what an executor's container may use: its own and its live tasks'.
func (e *execution) resources() []*mesos.Resource {
	all := append([]*mesos.Resource(nil), e.info.GetResources()...)
	for _, t := range e.tasks {
		if !terminal(t.state) {
			all = append(all, t.info.GetResources()...)
		}
	}
	return all
}

func (e *execution) shutdownGrace(def time.Duration) time.Duration {
	if g := e.info.GetShutdownGracePeriod(); g != nil {
		return time.Duration(g.GetNanoseconds())
	}
	return def
}

// launch starts the container of an executor.
func (a *Agent) launch(e *execution) {
	cmd, box := e.info.GetCommand(), a.box(e)
	limits := e.limits()
	id := TaskID("")
	if e.native() {
		cmd = pauseCommand()
	}
	if t := e.only(); t != nil {
		cmd, id = t.info.GetCommand(), t.id()
	}
	why := a.unfitBox(box)
	if e.native() && rooted(box) {
		why = "A DEFAULT executor takes no image: give it to its tasks"
	}
	if why != "" {
		a.launchFailed(LaunchFailed{Container: e.container, Message: why})
		return
	}
	ef := Launch{
		Container: e.container, Key: e.key(), Task: id, Directory: e.directory, User: a.user(e),
		Command: cmd, Box: box, Env: a.environment(e), Resources: e.resources(), Limits: limits, Docker: e.inDocker(),
		Volumes: a.mounts(e, e.resources()),
	}
	if t := e.only(); t != nil && ef.Docker { // nothing but the task is in there
		ef.Resources, ef.Limits = t.info.GetResources(), t.info.GetLimits()
	}
	a.do(ef)
	e.shown = ef.Volumes
	if !e.generated && !e.native() {
		a.armRegistration(e)
	}
}

func (a *Agent) armRegistration(e *execution) {
	a.at(a.now.Add(a.cfg.RegisterTimeout), func() {
		if e.phase <= registering && a.containers[e.container] == e {
			e.verdict = &verdict{mesos.TaskState_TASK_FAILED, mesos.TaskStatus_REASON_EXECUTOR_REGISTRATION_TIMEOUT,
				"Executor did not register within " + DurationText(a.cfg.RegisterTimeout)}
			e.phase = terminating
			a.do(Destroy{Container: e.container})
		}
	})
}

// user is who runs the processes; empty means the agent's own user.
func (a *Agent) user(e *execution) string {
	if !a.cfg.SwitchUser {
		return ""
	}
	cmd := e.info.GetCommand()
	if t := e.only(); t != nil {
		cmd = t.info.GetCommand()
	}
	if u := cmd.GetUser(); u != "" {
		return u
	}
	if u := a.cfg.DefaultUser; u != "" {
		return u
	}
	return e.fw.info.GetUser()
}

// shutdownExecutor tells an executor to end and destroys it after its grace period.
func (a *Agent) shutdownExecutor(e *execution) {
	switch {
	case e.phase >= terminating:
		return
	case e.phase == launching:
		e.phase = terminating
		a.do(Destroy{Container: e.container})
		return
	case e.generated:
		t := e.only()
		if t == nil { // killed before its process ran
			e.phase = terminating
			a.do(Destroy{Container: e.container})
			return
		}
		grace := max(0, e.shutdownGrace(a.cfg.ShutdownGrace)-2*time.Second)
		a.beginKill(t, grace, KillImage{})
		return
	case e.native():
		a.shutdownPod(e)
		return
	}
	if e.verdict == nil {
		e.verdict = &verdict{mesos.TaskState_TASK_FAILED, mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, ""}
	}
	e.phase = terminating
	a.tell(e, &executor.Event{Type: executor.Event_SHUTDOWN.Enum()})
	a.at(a.now.Add(e.shutdownGrace(a.cfg.ShutdownGrace)), func() { a.destroyIfThere(e) })
}

func (a *Agent) destroyIfThere(e *execution) {
	if e.phase != terminated {
		a.do(Destroy{Container: e.container})
	}
}

func (a *Agent) shutdownExecutorEvent(key ExecutorKey) {
	f := a.frameworks[key.Framework]
	if f == nil || f.executors[key.Executor] == nil {
		return
	}
	a.shutdownExecutor(f.executors[key.Executor])
}

// killAll ends everything, within the given grace for command tasks.
func (a *Agent) killAll(ev KillAll) {
	for _, f := range a.sortedFrameworks() {
		for _, e := range append([]*execution(nil), f.order...) {
			t := e.only()
			switch {
			case e.generated && e.phase == running && t != nil:
				a.beginKill(t, min(ev.Grace, a.grace(t, nil)), KillImage{})
			case e.phase == launching && t != nil:
				a.killQueued(t)
			default:
				a.shutdownExecutor(e)
			}
		}
	}
}
