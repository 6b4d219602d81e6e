package lifecycle

import (
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// View is a picture of the agent at one moment. It shares only messages that never
// change, so any goroutine may read it.
type View struct {
	Agent      string // id, empty before the first registration
	Recovering bool
	Frameworks []FrameworkView // by id
	Completed  []FrameworkView // oldest first
	Counters   Counters

	Total        []*mesos.Resource  // what the agent has, internal form
	Checkpointed []*mesos.Resource  // dynamic reservations and volumes among it
	Operations   []*mesos.Operation // not acknowledged, by arrival
	Drain        *DrainImage        // nil unless draining
}

// FrameworkView is one framework.
type FrameworkView struct {
	Info      *mesos.FrameworkInfo
	PID       string
	Executors []ExecutorView // by launch
	Completed []ExecutorView // oldest first
}

// ExecutorView is one executor with its tasks, which stand in exactly one of the lists.
type ExecutorView struct {
	Info       *mesos.ExecutorInfo
	Generated  bool // made up for a command task
	Container  ContainerID
	Directory  string
	PID        int
	Phase      string            // LAUNCHING REGISTERING RUNNING TERMINATING TERMINATED
	Queued     []*mesos.TaskInfo // not handed over yet
	QueuedAs   []*mesos.Task     // the same as tasks
	Launched   []*mesos.Task
	Terminated []*mesos.Task        // terminal, not acknowledged
	Completed  []*mesos.Task        // oldest first
	Resources  []*mesos.Resource    // of the container
	Networks   []*mesos.NetworkInfo // that its container joined, with its addresses; nil in the host's
	Nested     []NestedView         // live ones, by launch
}

// NestedView is one nested container that has not ended.
type NestedView struct {
	Container ContainerID // printed form
	PID       int         // 0 before its process runs
	Directory string
	Session   bool
	Resources []*mesos.Resource
	Networks  []*mesos.NetworkInfo // that it lives in: its own, or those of the container it is nested in
}

// Counters count since this agent process began.
type Counters struct {
	Updates         map[mesos.TaskState]uint64 // status updates made, by state
	LaunchErrors    uint64
	InvalidUpdates  uint64 // from executors, about tasks that are not theirs
	ValidMessages   uint64
	InvalidMessages uint64
}

func (c *Counters) update(s mesos.TaskState) {
	if c.Updates == nil {
		c.Updates = map[mesos.TaskState]uint64{}
	}
	c.Updates[s]++
}

// View takes the picture.
func (a *Agent) View() *View {
	v := &View{Agent: a.id, Recovering: a.recovering, Completed: append([]FrameworkView(nil), a.completed...), Counters: a.counters}
	v.Total, v.Checkpointed, v.Drain = a.has.total, a.has.checkpointed, a.draining
	for _, o := range a.operations {
		v.Operations = append(v.Operations, o.proto)
	}
	v.Counters.Updates = make(map[mesos.TaskState]uint64, len(a.counters.Updates))
	for k, n := range a.counters.Updates {
		v.Counters.Updates[k] = n
	}
	for _, f := range a.sortedFrameworks() {
		fv := FrameworkView{Info: f.info, PID: f.pid, Completed: f.completed}
		for _, e := range f.order {
			fv.Executors = append(fv.Executors, a.executorView(e))
		}
		v.Frameworks = append(v.Frameworks, fv)
	}
	return v
}

func (a *Agent) executorView(e *execution) ExecutorView {
	v := ExecutorView{
		Info: e.info, Generated: e.generated, Container: e.container, Directory: e.directory, PID: e.pid,
		Phase: e.phase.String(), Completed: append([]*mesos.Task(nil), e.completed...), Resources: e.resources(), Networks: e.networks,
	}
	for _, n := range e.nested {
		if n.live() {
			v.Nested = append(v.Nested, NestedView{Container: n.id, PID: n.pid, Directory: n.directory, Session: n.session, Resources: n.resources, Networks: a.networksOf(n)})
		}
	}
	for _, t := range e.tasks {
		w := a.wireTask(t)
		switch {
		case terminal(t.state):
			v.Terminated = append(v.Terminated, w)
		case t.delivered:
			v.Launched = append(v.Launched, w)
		default:
			v.Queued = append(v.Queued, t.info)
			v.QueuedAs = append(v.QueuedAs, w)
		}
	}
	return v
}

// Standing tells what an executor API call needs to know: whether the framework and the
// executor are here, and whether the executor may call (it has subscribed, or it ends).
func (a *Agent) Standing(k ExecutorKey) (framework, executor, subscribed bool) {
	f := a.frameworks[k.Framework]
	if f == nil {
		return false, false, false
	}
	e := f.executors[k.Executor]
	if e == nil || e.generated || e.native() {
		return true, false, false
	}
	return true, true, e.phase >= running
}

// ContainerOf gives the container of an executor, "" when there is none.
func (a *Agent) ContainerOf(k ExecutorKey) ContainerID {
	if f := a.frameworks[k.Framework]; f != nil {
		if e := f.executors[k.Executor]; e != nil {
			return e.container
		}
	}
	return ""
}

// Holding counts containers that are not gone.
func (a *Agent) Holding() int { return len(a.containers) }

// Uncheckpointed lists the frameworks that end with the agent.
func (a *Agent) Uncheckpointed() []FrameworkID {
	var ids []FrameworkID
	for _, f := range a.sortedFrameworks() {
		if !f.durable() {
			ids = append(ids, f.id)
		}
	}
	return ids
}
