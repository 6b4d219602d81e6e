package ledgersim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/master/ledger"
)

// agent does what the agent protocol asks of one (libprocess.md section 3): it knows one
// master, repeats what is not acknowledged, and keeps tasks, reservations and operations
// across its own crashes.
type agent struct {
	w    *world
	pid  ledger.PID
	host string
	id   *mesos.AgentID
	own  resource.Resources
	caps []mesos.AgentInfo_Capability_Type

	up         bool
	leader     *master
	registered bool
	pinged     time.Time
	try        int       // voids older registration timers
	away       time.Time // cut off until then
	out        *link
	outTo      *master

	checkpointed resource.Resources
	tasks        map[string]*task // by framework and task id
	executors    map[string]*executor
	operations   map[string]*operation
	frameworks   map[string]*mesos.FrameworkInfo
	generation   int // of the agent as such: tasks of an earlier life are gone
}

type task struct {
	framework, id string
	info          *mesos.TaskInfo
	resources     resource.Resources
	executor      string // key of executors; empty: a command
	state         mesos.TaskState
	pending       []*mesos.TaskStatus // not acknowledged; the first is sent
	said          int
}

func (k *task) key() string { return k.framework + " " + k.id }

func (k *task) ended() bool { return ledger.Terminal(k.state) }

type executor struct {
	framework string
	info      *mesos.ExecutorInfo
	resources resource.Resources
}

type operation struct {
	framework *mesos.FrameworkID
	info      *mesos.Offer_Operation
	status    *mesos.OperationStatus
}

var newest = []mesos.AgentInfo_Capability_Type{mesos.AgentInfo_Capability_MULTI_ROLE, mesos.AgentInfo_Capability_HIERARCHICAL_ROLE,
	mesos.AgentInfo_Capability_RESERVATION_REFINEMENT, mesos.AgentInfo_Capability_RESOURCE_PROVIDER, mesos.AgentInfo_Capability_RESIZE_VOLUME,
	mesos.AgentInfo_Capability_AGENT_OPERATION_FEEDBACK, mesos.AgentInfo_Capability_AGENT_DRAINING, mesos.AgentInfo_Capability_TASK_RESOURCE_LIMITS}

func (w *world) addAgent() {
	n := len(w.agents) + 1
	own, err := resource.Parse("cpus:4;mem:1024;disk:1000;ports:[31000-31009]", "*")
	if err != nil {
		w.t.Fatal(err)
	}
	a := &agent{w: w, pid: ledger.PID(fmt.Sprintf("slave(1)@10.0.0.%d:5051", n)), host: fmt.Sprintf("h%d", n), own: own, caps: newest, up: true}
	if n%3 == 0 {
		a.caps = newest[:3] // an older one: it keeps a list of its reservations
	}
	a.forget()
	w.agents = append(w.agents, a)
}

// forget makes it a new agent.
func (a *agent) forget() {
	a.id, a.checkpointed, a.registered = nil, nil, false
	a.tasks, a.executors = map[string]*task{}, map[string]*executor{}
	a.operations, a.frameworks = map[string]*operation{}, map[string]*mesos.FrameworkInfo{}
	a.generation++
}

func (w *world) agentAt(pid ledger.PID) *agent {
	for _, a := range w.agents {
		if a.pid == pid {
			return a
		}
	}
	return nil
}

// cut tells whether the agent is partitioned away. Links do not break by it.
func (a *agent) cut() bool { return a.w.now.Before(a.away) }

func (a *agent) till() time.Time { return a.away }

func (a *agent) can(c mesos.AgentInfo_Capability_Type) bool { return slices.Contains(a.caps, c) }

func (a *agent) total() resource.Resources { return a.own.WithCheckpointed(a.checkpointed) }

func (a *agent) follow(m *master) {
	if !a.up || m.dead || a.leader == m || m.epoch != a.w.epoch {
		return
	}
	a.leader, a.registered = m, false
	a.register()
}

// send gives a message to the master that the agent follows, over a link that is opened
// when need be; the master hears when it breaks.
func (a *agent) send(loose bool, msg proto.Message) {
	m := a.leader
	if m == nil || !a.up {
		return
	}
	if a.out == nil || a.outTo != m {
		a.out, a.outTo = &link{w: a.w, till: a.till}, m
	}
	deliver := func() {
		if !m.dead && m.ready {
			m.step(ledger.AgentMessage{From: a.pid, Message: proto.Clone(msg)})
		}
	}
	if loose {
		a.out.loose(deliver)
	} else {
		a.out.send(deliver)
	}
}

func (a *agent) capabilities() []*mesos.AgentInfo_Capability {
	var out []*mesos.AgentInfo_Capability
	for _, c := range a.caps {
		out = append(out, &mesos.AgentInfo_Capability{Type: c.Enum()})
	}
	return out
}

// register repeats itself until the master answers.
func (a *agent) register() {
	if !a.up || a.registered || a.leader == nil || a.leader.dead {
		return
	}
	info := &messages.SlaveInfo{Hostname: &a.host, Id: a.id, Checkpoint: proto.Bool(true), Resources: a.own}
	version := &mesos.UUID{Value: []byte("version")}
	if a.id == nil {
		a.send(false, &messages.RegisterSlaveMessage{Slave: info, Version: proto.String("1.11.0"), AgentCapabilities: a.capabilities(),
			ResourceVersionUuid: version, CheckpointedResources: a.checkpointed})
	} else {
		m := &messages.ReregisterSlaveMessage{Slave: info, Version: proto.String("1.11.0"), AgentCapabilities: a.capabilities(),
			ResourceVersionUuid: version, CheckpointedResources: a.checkpointed}
		named := map[string]bool{}
		for _, k := range slices.Sorted(maps.Keys(a.tasks)) {
			t := a.tasks[k]
			if t.info == nil {
				continue // only a word about a task that never was here
			}
			m.Tasks = append(m.Tasks, a.report(t))
			named[t.framework] = true
		}
		for _, k := range slices.Sorted(maps.Keys(a.executors)) {
			m.ExecutorInfos = append(m.ExecutorInfos, a.executors[k].info)
			named[a.executors[k].framework] = true
		}
		for _, id := range slices.Sorted(maps.Keys(named)) {
			m.Frameworks = append(m.Frameworks, a.frameworks[id])
		}
		a.send(false, m)
	}
	a.try++
	try := a.try
	a.w.after(a.w.between(500*time.Millisecond, 20*time.Second), func() {
		if a.try == try {
			a.register()
		}
	})
}

func (a *agent) report(t *task) *mesos.Task {
	r := &mesos.Task{Name: t.info.Name, TaskId: t.info.TaskId, FrameworkId: &mesos.FrameworkID{Value: &t.framework}, AgentId: a.id,
		State: t.state.Enum(), Resources: t.resources}
	if t.executor != "" {
		r.ExecutorId = t.info.Executor.ExecutorId
	}
	if len(t.pending) > 0 {
		r.StatusUpdateState, r.StatusUpdateUuid = t.pending[0].State, t.pending[0].Uuid
	}
	return r
}

// receive takes a message of a master; only the followed one counts.
func (a *agent) receive(m *master, msg proto.Message) {
	if !a.up {
		return
	}
	if ping, ok := msg.(*messages.PingSlaveMessage); ok {
		m.pong(a)
		if m == a.leader && a.registered {
			if ping.GetConnected() {
				a.pinged = a.w.now
			} else {
				a.registered = false
				a.register()
			}
		}
		return
	}
	if m != a.leader {
		return
	}
	switch msg := msg.(type) {
	case *messages.SlaveRegisteredMessage:
		a.taken(msg.GetSlaveId(), nil)
	case *messages.SlaveReregisteredMessage:
		a.taken(msg.GetSlaveId(), msg.GetReconciliations())
	case *messages.ShutdownMessage:
		a.w.note("%s is told to shut down: %s", a.pid, msg.GetMessage())
		a.leave(false)
	default:
		if a.registered { // what was meant for an earlier registration is void
			a.obey(msg)
		}
	}
}

// obey takes orders of the master it is registered with.
func (a *agent) obey(msg proto.Message) {
	switch msg := msg.(type) {
	case *messages.RunTaskMessage:
		a.run(msg.GetFramework(), msg.GetTask().GetExecutor(), msg.GetLaunchExecutor(), msg.GetTask())
	case *messages.RunTaskGroupMessage:
		a.run(msg.GetFramework(), msg.GetExecutor(), msg.GetLaunchExecutor(), msg.GetTaskGroup().GetTasks()...)
	case *messages.KillTaskMessage:
		a.kill(msg.GetFrameworkId().GetValue(), msg.GetTaskId().GetValue())
	case *messages.StatusUpdateAcknowledgementMessage:
		a.acknowledged(msg)
	case *messages.UpdateFrameworkMessage:
		if id := msg.GetFrameworkId().GetValue(); a.frameworks[id] != nil {
			a.frameworks[id] = msg.GetFrameworkInfo()
		}
	case *messages.ShutdownFrameworkMessage:
		id := msg.GetFrameworkId().GetValue()
		for _, k := range slices.Sorted(maps.Keys(a.tasks)) {
			if a.tasks[k].framework == id {
				delete(a.tasks, k)
			}
		}
		for _, k := range slices.Sorted(maps.Keys(a.executors)) {
			if a.executors[k].framework == id {
				a.exit(k)
			}
		}
		delete(a.frameworks, id)
	case *messages.CheckpointResourcesMessage:
		a.checkpointed = resource.Of(msg.GetResources()...).Unallocate()
		a.w.did("list of reservations")
	case *messages.ApplyOperationMessage:
		a.apply(msg)
	case *messages.AcknowledgeOperationStatusMessage:
		if o := a.operations[string(msg.GetOperationUuid().GetValue())]; o != nil && string(o.status.GetUuid().GetValue()) == string(msg.GetStatusUuid().GetValue()) {
			delete(a.operations, string(msg.GetOperationUuid().GetValue()))
		}
	case *messages.ReconcileOperationsMessage:
		a.reconcileOperations(msg)
	case *messages.DrainSlaveMessage:
		for _, k := range slices.Sorted(maps.Keys(a.tasks)) {
			if t := a.tasks[k]; t != nil && !t.ended() {
				a.update(t, mesos.TaskState_TASK_KILLED)
			}
		}
	}
}

func (m *master) pong(a *agent) {
	m.w.after(m.w.delay(), func() {
		if !m.dead && !a.cut() {
			m.step(ledger.AgentMessage{From: a.pid, Message: &messages.PongSlaveMessage{}})
		}
	})
}

// taken is the master's answer to a registration.
func (a *agent) taken(id *mesos.AgentID, missing []*messages.ReconcileTasksMessage) {
	if a.id != nil && a.id.GetValue() != id.GetValue() {
		a.w.did("registered twice")
		a.crash(false) // as C++ agents do
		return
	}
	if a.registered {
		return
	}
	a.id, a.registered, a.pinged = id, true, a.w.now
	a.try++
	a.w.note("%s is %s at M%d", a.pid, id.GetValue(), a.leader.epoch)
	a.listen(a.try)
	update := &messages.UpdateSlaveMessage{SlaveId: id, UpdateOversubscribedResources: proto.Bool(false),
		Operations: &messages.UpdateSlaveMessage_Operations{}, ResourceProviders: &messages.UpdateSlaveMessage_ResourceProviders{}}
	for _, uuid := range slices.Sorted(maps.Keys(a.operations)) {
		o := a.operations[uuid]
		update.Operations.Operations = append(update.Operations.Operations, &mesos.Operation{FrameworkId: o.framework, AgentId: a.id,
			Info: o.info, LatestStatus: o.status, Uuid: &mesos.UUID{Value: []byte(uuid)}})
	}
	a.send(false, update)
	for _, k := range slices.Sorted(maps.Keys(a.tasks)) {
		a.tell(a.tasks[k], true)
	}
	for _, uuid := range slices.Sorted(maps.Keys(a.operations)) {
		a.tellOperation(uuid)
	}
	for _, r := range missing {
		f := r.GetFrameworkId().GetValue()
		for _, s := range r.GetStatuses() {
			if a.tasks[f+" "+s.GetTaskId().GetValue()] == nil {
				a.drop(f, s.GetTaskId().GetValue(), r.GetFramework())
			}
		}
	}
}

// listen registers again when the master was silent for too long.
func (a *agent) listen(try int) {
	a.w.after(75*time.Second, func() {
		if !a.up || !a.registered || a.try != try {
			return
		}
		if a.w.now.Sub(a.pinged) >= 75*time.Second {
			a.registered = false
			if a.leader.dead {
				a.leader = nil
				if a.w.leader != nil {
					a.follow(a.w.leader)
				}
				return
			}
			a.register()
			return
		}
		a.listen(try)
	})
}

// leave ends the agent's life: by order of a master, or by itself, and then it says so.
// Its host comes up as a new agent.
func (a *agent) leave(itself bool) {
	if itself && a.registered {
		a.send(false, &messages.UnregisterSlaveMessage{SlaveId: a.id})
	}
	a.up = false
	a.lostLink()
	a.forget()
	a.w.after(a.w.between(5*time.Second, 60*time.Second), a.start)
}

func (a *agent) start() {
	a.up, a.leader, a.registered = true, nil, false
	if a.w.leader != nil {
		a.follow(a.w.leader)
	}
}

// crash ends the process; a reboot of the host ends the tasks with it.
func (a *agent) crash(reboot bool) {
	if !a.up {
		return
	}
	a.w.note("%s crashes, reboot %v", a.pid, reboot)
	a.up = false
	a.lostLink()
	a.w.after(a.w.between(time.Second, 40*time.Second), func() {
		if reboot {
			for _, k := range slices.Sorted(maps.Keys(a.tasks)) {
				if t := a.tasks[k]; !t.ended() {
					a.update(t, mesos.TaskState_TASK_FAILED)
				}
			}
			clear(a.executors)
		}
		a.start()
	})
}

// lostLink breaks both directions between agent and master; the master hears of it.
func (a *agent) lostLink() {
	w := a.w
	for _, m := range w.masters {
		if l := m.agents[a.pid]; l != nil {
			l.breaks()
			w.after(w.delay(), func() {
				m.step(ledger.AgentExited{PID: a.pid})
				m.step(ledger.ConnectionLost{Conn: ledger.Conn{PID: a.pid}, Reason: "the link broke"})
			})
		}
	}
	if a.out != nil {
		a.out.breaks()
	}
}
