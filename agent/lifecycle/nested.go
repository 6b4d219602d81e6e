package lifecycle

import (
	"path"
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// nested is a container below another one: a member of a pod, or what somebody launched
// with a call. Its id is the printed one, "root.child" (mesos-agent.md 0.4).
type nested struct {
	id        ContainerID
	root      *execution
	parent    ContainerID
	task      *task // nil: launched by a call
	command   *mesos.CommandInfo
	box       *mesos.ContainerInfo
	resources []*mesos.Resource // of a container with a cgroup of its own
	limits    map[string]*mesos.Value_Scalar
	session   bool // a debugging session: ends with its client, and at a restart of the agent
	directory string
	phase     phase // launching, running, terminating, terminated
	pid       int
	networks  []*mesos.NetworkInfo // that it joined for itself, else nil: it lives in its parent's
	exit      Exit                 // when terminated
	limit     *Limitation          // when a limit ended it
	waiters   []uint64             // calls that wait for its end
	launcher  uint64               // the call that launched it and has no answer yet
}

// NestedImage is what must survive about a nested container. Sessions have none: what
// nobody recorded is destroyed at a restart (mesos-agent.md 3.7).
type NestedImage struct {
	Root       ExecutorKey
	Container  ContainerID
	Parent     ContainerID
	Task       TaskID // empty: launched by a call
	Command    *mesos.CommandInfo
	Box        *mesos.ContainerInfo
	Resources  []*mesos.Resource
	Limits     map[string]*mesos.Value_Scalar
	Directory  string
	Started    bool
	PID        int
	Networks   []*mesos.NetworkInfo // of the container when it has its own
	Ended      bool
	Exit       Exit
	Limitation *Limitation
}

func nestedRecordKey(id ContainerID) string { return "n/" + string(id) }

// native tells whether this agent itself plays the executor: type DEFAULT, whose root
// container holds the cgroup and whose tasks are nested containers (mesos-agent.md 3).
func (e *execution) native() bool { return e.info.GetType() == mesos.ExecutorInfo_DEFAULT }

// pauseCommand is the root container's only process: it waits. It gives the pod a
// process id, a wait status and an owner of its cgroup that outlives every task.
func pauseCommand() *mesos.CommandInfo {
	return &mesos.CommandInfo{Value: ptr("exec sleep 2147483647")}
}

// shared tells whether a container lives in its root's cgroup, which is the default.
func shared(box *mesos.ContainerInfo) bool {
	info := box.GetLinuxInfo()
	return info == nil || info.ShareCgroups == nil || info.GetShareCgroups()
}

func (n *nested) live() bool { return n.phase != terminated }

// value is the last part of the printed id.
func (id ContainerID) value() string { return string(id[strings.LastIndexByte(string(id), '.')+1:]) }

// Wire gives the id as messages carry it, with its parents.
func (id ContainerID) Wire() *mesos.ContainerID {
	out := &mesos.ContainerID{Value: ptr(id.value())}
	if at := strings.LastIndexByte(string(id), '.'); at >= 0 {
		out.Parent = id[:at].Wire()
	}
	return out
}

// PrintedID is the printed form of an id: "root.child.grandchild".
func PrintedID(id *mesos.ContainerID) ContainerID {
	if id.GetParent() == nil {
		return ContainerID(id.GetValue())
	}
	return PrintedID(id.GetParent()) + "." + ContainerID(id.GetValue())
}

func (a *Agent) addNested(e *execution, n *nested) {
	n.root = e
	dir := e.directory
	if p := a.nested[n.parent]; p != nil {
		dir = p.directory
	}
	n.directory = path.Join(dir, "containers", n.id.value())
	e.nested = append(e.nested, n)
	a.nested[n.id] = n
}

func (a *Agent) recordNested(n *nested) {
	if !n.root.fw.durable() || n.session {
		return
	}
	img := &NestedImage{
		Root: n.root.key(), Container: n.id, Parent: n.parent, Command: n.command, Box: n.box, Resources: n.resources,
		Limits: n.limits, Directory: n.directory, Started: n.phase != launching, PID: n.pid, Networks: n.networks,
		Ended: n.phase == terminated, Exit: n.exit, Limitation: n.limit,
	}
	if n.task != nil {
		img.Task = n.task.id()
	}
	a.record(Record{Key: nestedRecordKey(n.id), Nested: img})
}

// launchNested starts the process of a nested container.
func (a *Agent) launchNested(n *nested) {
	why := a.unfitBox(n.box)
	if isDocker(n.box) {
		why = "Docker ContainerInfo is not supported on the task"
	}
	if n.root.inDocker() {
		why = "Nested containers are not supported"
	}
	if n.command.GetShell() && n.command.Value == nil {
		why = "the container has no command"
	}
	if why != "" {
		a.nestedFailed(n, why)
		return
	}
	parentDir := n.root.directory
	if p := a.nested[n.parent]; p != nil {
		parentDir = p.directory
	}
	ef := Launch{
		Container: n.id, Key: n.root.key(), Directory: n.directory, User: a.nestedUser(n), Command: n.command, Box: n.box,
		Env: a.nestedEnvironment(n), Nested: true, Root: n.root.container, Share: shared(n.box), ParentDirectory: parentDir,
		Session: n.session,
	}
	if n.task != nil { // what an executor of Mesos would pass on (mesos-agent.md 3.2)
		ef.Volumes = a.mounts(n.root, append(append([]*mesos.Resource(nil), n.root.info.GetResources()...), n.task.info.GetResources()...))
	}
	if !ef.Share {
		ef.Resources, ef.Limits = n.resources, n.limits
	}
	if n.task != nil {
		ef.Task = n.task.id()
	}
	if n.session {
		ef.Inside = n.parent
	}
	a.do(ef)
}

// nestedUser is command.user, else the parent's user (mesos-agent.md 3.4).
func (a *Agent) nestedUser(n *nested) string {
	if u := n.command.GetUser(); u != "" && a.cfg.SwitchUser {
		return u
	}
	if p := a.nested[n.parent]; p != nil {
		return a.nestedUser(p)
	}
	return a.user(n.root)
}

// nestedStarted says that the process of a nested container runs.
func (a *Agent) nestedStarted(n *nested, pid int, networks []*mesos.NetworkInfo) {
	switch n.phase {
	case terminating:
		n.pid, n.networks = pid, networks
		a.do(Destroy{Container: n.id})
		return
	case launching:
	default:
		return
	}
	n.phase, n.pid, n.networks = running, pid, networks
	a.recordNested(n)
	if n.launcher != 0 {
		a.do(Answer{Request: n.launcher, Code: 200})
		n.launcher = 0
	}
	t := n.task
	if t == nil || terminal(t.state) {
		return
	}
	a.begins(t)
	a.update(t, a.executorStatus(t, mesos.TaskState_TASK_RUNNING))
	a.startChecks(t)
	a.armCompletion(t)
}

// nestedFailed says that a nested container's process was never started.
func (a *Agent) nestedFailed(n *nested, why string) {
	if n.phase == terminated {
		return
	}
	n.phase = terminated
	text := "Failed to launch container: " + why
	if n.launcher != 0 {
		a.do(Answer{Request: n.launcher, Code: 400, Text: text})
		n.launcher = 0
	}
	for _, w := range n.waiters {
		a.do(Answer{Request: w, Code: 404, Text: "Container " + string(n.id) + " cannot be found"})
	}
	n.waiters = nil
	a.dropNested(n)
	a.counters.LaunchErrors++
	if t := n.task; t != nil {
		state := mesos.TaskState_TASK_FAILED
		if t.kill != nil && !t.kill.Overdue {
			state, text = mesos.TaskState_TASK_KILLED, "Killed while its container was being launched"
		}
		st := a.executorStatus(t, state)
		st.Message = ptr(text)
		if lim := n.root.limit; lim != nil { // which is why the launch was given up
			st = limitStatus(lim)
		}
		a.update(t, st)
		a.memberEnded(t)
	}
	a.afterNested(n.root)
}

// nestedExited says that a nested container is gone.
func (a *Agent) nestedExited(n *nested, exit Exit, lim *Limitation) {
	if n.phase == launching && (n.task == nil || n.task.kill == nil) { // its start was seen by nobody
		a.nestedStarted(n, n.pid, n.networks)
	}
	if n.phase == terminated {
		return
	}
	e := n.root
	if n.launcher != 0 {
		a.do(Answer{Request: n.launcher, Code: 400, Text: "Failed to launch container: it was destroyed"})
		n.launcher = 0
	}
	n.phase, n.exit, n.limit = terminated, exit, lim
	a.recordNested(n)
	for _, w := range n.waiters {
		a.do(n.result(w))
	}
	n.waiters = nil
	for _, child := range e.nested {
		if child.parent == n.id {
			a.destroyNested(child)
		}
	}
	if lim != nil && shared(n.box) && e.limit == nil && lim.Reason != mesos.TaskStatus_REASON_IO_SWITCHBOARD_EXITED {
		// The limit belongs to the root: it ends with all its containers.
		e.limit = lim
		a.endRoot(e)
	}
	if t := n.task; t != nil {
		switch {
		case terminal(t.state):
		case e.limit != nil:
			a.update(t, limitStatus(e.limit))
		default:
			st := a.commandEnd(t, exit)
			if lim != nil {
				st.State, st.Reason = mesos.TaskState_TASK_FAILED.Enum(), lim.Reason.Enum()
				st.Message = ptr(exit.text() + ": " + lim.Message)
				if len(lim.Resources) > 0 {
					st.Limitation = &mesos.TaskResourceLimitation{Resources: lim.Resources}
				}
			}
			shrinks := e.phase == running && !t.exec.fw.terminating
			t.stream.held = shrinks
			a.update(t, st)
			if shrinks {
				a.shrink(t)
			}
		}
		a.memberEnded(t)
	}
	if a.cfg.CollectNested {
		a.do(Collect{Directory: n.directory})
	}
	a.trimNested(e)
	a.afterNested(e)
}

// dropNested takes a nested container out of the books.
func (a *Agent) dropNested(n *nested) {
	e := n.root
	for i, x := range e.nested {
		if x == n {
			e.nested = append(e.nested[:i:i], e.nested[i+1:]...)
			break
		}
	}
	delete(a.nested, n.id)
	if e.fw.durable() && !n.session {
		a.record(Record{Key: nestedRecordKey(n.id)})
	}
}

// maxNestedResults bounds the ended containers of one root whose results are kept.
const maxNestedResults = 1000

// trimNested forgets the oldest results of containers that were launched by calls, when
// there are too many of them.
func (a *Agent) trimNested(e *execution) {
	ended := 0
	for _, n := range e.nested {
		if !n.live() {
			ended++
		}
	}
	for _, n := range append([]*nested(nil), e.nested...) {
		if ended <= maxNestedResults {
			return
		}
		if !n.live() && (n.task == nil || terminal(n.task.state)) {
			a.dropNested(n)
			ended--
		}
	}
}

// holdsNested tells whether any nested container of a root is left.
func (e *execution) holdsNested() bool {
	for _, n := range e.nested {
		if n.live() {
			return true
		}
	}
	return false
}
