package ledger

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// Limits on one re-registration: more than any real host runs, far less than what
// would fill the master's memory.
const (
	maxTasksPerAgent     = 100_000
	maxExecutorsPerAgent = 100_000
	maxFrameworksPerHost = 10_000
)

// reregister takes an agent back (mesos-master.md 2.5, libprocess.md 3.2). Ids this
// master never saw are admitted: agents outlive masters.
func (l *Ledger) reregister(from PID, m *messages.ReregisterSlaveMessage) {
	id := AgentID(m.GetSlave().GetId().GetValue())
	if _, busy := l.busy[id]; busy {
		return // a transition is being written: the agent repeats itself
	}
	if l.gone.has(id) {
		l.emit(Note{Text: "agent marked gone came back: told to shut down", Agent: id})
		l.shutDown(id, from, goneMessage)
		return
	}
	why := checkAgent(m.GetSlave())
	if why == "" {
		why = checkReported(id, m)
	}
	if why != "" {
		l.emit(Note{Warn: true, Text: fmt.Sprintf("re-registration from %s ignored: %s", from, why), Agent: id})
		return
	}
	if l.refusedHere(from, id, m.GetSlave(), m.GetVersion()) {
		return
	}
	info := agentInfo(m.GetSlave(), id)
	a := l.agents[id]
	if a == nil {
		standing, _ := l.standing(id)
		if r := l.recovered[id]; r != nil && r.pid == from && proto.Equal(r.info, info) {
			l.cameBack(id, from, m, standing) // the registry says so already
			return
		}
		l.durable(Registry{Agent: id, State: Admitted, Info: info, PID: from, Standing: standing}, func() {
			l.cameBack(id, from, m, standing)
		})
		return
	}
	if hostOf(from) != hostOf(a.pid) || m.GetSlave().GetHostname() != a.info.GetHostname() {
		l.emit(Note{Warn: true, Text: fmt.Sprintf("re-registration from %s refused: the agent lives at %s", from, a.pid), Agent: id})
		l.shutDown(id, from, "Agent attempted to reregister with different IP / hostname")
		return
	}
	if !proto.Equal(info, a.info) || from != a.pid {
		l.durable(Registry{Agent: id, State: Admitted, Info: info, PID: from, Standing: a.Standing}, func() {
			a.info = info
			l.reconnected(a, from, m)
		})
		return
	}
	l.reconnected(a, from, m)
}

// reconnected is the return of an agent whose tasks this master knows.
func (l *Ledger) reconnected(a *agent, from PID, m *messages.ReregisterSlaveMessage) {
	if a.pid != from {
		delete(l.byPID, a.pid)
		a.pid = from
		l.byPID[from] = a.id
	}
	l.rescindAgent(a)
	l.rescindInverse(a)
	a.connected, a.strange = true, nil // it repeats all that is not acknowledged
	l.spare(a.id, "it registered again")
	a.reregistered = l.now
	a.version, a.capabilities = m.GetVersion(), m.GetAgentCapabilities()
	a.caps = agentCapabilities(a.capabilities)
	a.version16 = m.GetResourceVersionUuid().GetValue()
	a.total = l.reportedTotal(a, m.GetSlave().GetResources(), m.GetCheckpointedResources())
	l.count.AgentReregistrations++
	l.touchAgent(a)
	l.emit(LinkPID{PID: from})

	reported := map[taskKey]bool{}
	var adopted []*task
	for _, t := range m.GetTasks() {
		key := taskKey{FrameworkID(t.GetFrameworkId().GetValue()), TaskID(t.GetTaskId().GetValue())}
		reported[key] = true
		if a.tasks[key] == nil {
			// Launched by an earlier term and acknowledged here as lost, or unknown for another
			// reason: the agent knows best what runs on it.
			if t := l.adopt(a, m, t); t != nil {
				adopted = append(adopted, t)
			}
		}
	}
	l.bookAdopted(a, adopted)
	missing := map[FrameworkID]*messages.ReconcileTasksMessage{}
	var order []FrameworkID
	for _, t := range a.sortedTasks() {
		if reported[t.key()] {
			continue
		}
		r := missing[t.framework]
		if r == nil {
			r = &messages.ReconcileTasksMessage{FrameworkId: t.framework.wire()}
			if f := l.frameworks[t.framework]; f != nil {
				r.Framework = f.info
			}
			missing[t.framework] = r
			order = append(order, t.framework)
		}
		r.Statuses = append(r.Statuses, &mesos.TaskStatus{TaskId: t.id.wire(), State: t.proto.State, AgentId: a.id.wire()})
	}
	answer := &messages.SlaveReregisteredMessage{SlaveId: a.id.wire(), Connection: l.connection()}
	for _, f := range order {
		answer.Reconciliations = append(answer.Reconciliations, missing[f])
	}
	l.emit(ToAgent{Agent: a.id, PID: from, Message: answer})
	l.keepReportedExecutors(a, m)
	l.resendKills(a)
	l.afterReturn(a, m)
	if !a.caps.ResourceProvider {
		l.emit(ToAgent{Agent: a.id, PID: from, Message: a.checkpointMessage()})
	}
}

// cameBack is the return of an agent that this term did not know: after a master
// failover, after it was unreachable, or from a foreign master.
func (l *Ledger) cameBack(id AgentID, from PID, m *messages.ReregisterSlaveMessage, standing Standing) {
	_, wasRecovered := l.recovered[id]
	delete(l.recovered, id)
	l.unreachable.remove(id)
	l.spare(id, "it registered again")
	if other, taken := l.byPID[from]; taken && other != id {
		l.markRemoved(l.agents[other], "a new agent registered at the same address", &l.count.RemovedRegistered)
	}
	a := l.openAgent(id, from, agentInfo(m.GetSlave(), id), m.GetVersion(),
		m.GetAgentCapabilities(), m.GetCheckpointedResources(), m.GetResourceVersionUuid().GetValue())
	a.registered, a.reregistered, a.Standing = l.now, l.now, standing
	l.count.AgentReregistrations++
	for _, info := range m.GetFrameworks() {
		l.recoverFramework(info)
	}
	adopted := make([]*task, 0, len(m.GetTasks()))
	for _, reported := range m.GetTasks() {
		t := l.adopt(a, m, reported)
		if t == nil {
			continue
		}
		adopted = append(adopted, t)
		if wasRecovered {
			continue
		}
		f := l.frameworks[t.framework]
		status := &mesos.TaskStatus{TaskId: t.id.wire(), State: t.proto.State, AgentId: a.id.wire(),
			ExecutorId: t.proto.ExecutorId, Source: mesos.TaskStatus_SOURCE_MASTER.Enum(),
			Reason:  mesos.TaskStatus_REASON_AGENT_REREGISTERED.Enum(),
			Message: proto.String("Unreachable agent re-reregistered"), Timestamp: l.seconds()}
		t.observed(status)
		l.sendUpdate(f, a.id, status)
	}
	l.bookAdopted(a, adopted)
	l.keepReportedExecutors(a, m)
	l.emit(ToAgent{Agent: id, PID: a.pid, Message: &messages.SlaveReregisteredMessage{SlaveId: id.wire(), Connection: l.connection()}})
	l.operatorAgentAdded(a)
	l.afterReturn(a, m)
}

// afterReturn tells the agent about its frameworks and opens it for offers.
func (l *Ledger) afterReturn(a *agent, m *messages.ReregisterSlaveMessage) {
	for _, info := range m.GetFrameworks() {
		id := FrameworkID(info.GetId().GetValue())
		if l.finished[id] {
			l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.ShutdownFrameworkMessage{FrameworkId: id.wire()}})
			continue
		}
		l.recoverFramework(info)
		if f := l.frameworks[id]; f != nil && !f.recovered {
			l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: f.updateMessage()})
		}
	}
	l.tellToDrain(a)
	l.startPinging(a)
	l.openForOffers(a)
}

// adopt takes over a task that an agent reports; the caller books it. It is nil when the
// task's framework has been removed: the agent is told to shut that down.
func (l *Ledger) adopt(a *agent, m *messages.ReregisterSlaveMessage, reported *mesos.Task) *task {
	fid := FrameworkID(reported.GetFrameworkId().GetValue())
	if l.finished[fid] {
		return nil
	}
	f := l.frameworks[fid]
	if f == nil {
		for _, info := range m.GetFrameworks() {
			if info.GetId().GetValue() == string(fid) {
				f = l.recoverFramework(info)
			}
		}
	}
	if f == nil {
		return nil
	}
	id := TaskID(reported.GetTaskId().GetValue())
	if _, active := f.tasks[id]; active {
		return nil // the same id runs elsewhere: the first report counts
	}
	f.forgetUnreachable(id)
	return l.openTask(f, a, reported)
}

// bookAdopted books what adopted tasks of an agent use, once for each framework and role:
// after a failover that is most of the work.
func (l *Ledger) bookAdopted(a *agent, tasks []*task) {
	type owner struct {
		framework FrameworkID
		role      string
	}
	sums := map[owner]resource.Resources{}
	var order []owner
	for _, t := range tasks {
		if t.released {
			continue
		}
		o := owner{t.framework, t.role}
		if _, known := sums[o]; !known {
			order = append(order, o)
		}
		sums[o] = sums[o].Add(t.resources)
	}
	for _, o := range order {
		l.book(l.frameworks[o.framework], a, o.role, sums[o], true)
	}
}

// keepReportedExecutors makes the book's executors of an agent those it reported.
func (l *Ledger) keepReportedExecutors(a *agent, m *messages.ReregisterSlaveMessage) {
	reported := map[executorKey]bool{}
	for _, info := range m.GetExecutorInfos() {
		f := l.frameworks[FrameworkID(info.GetFrameworkId().GetValue())]
		if f == nil {
			continue
		}
		key := executorKey{a.id, ExecutorID(info.GetExecutorId().GetValue())}
		reported[executorKey{a.id, key.executor}] = true
		if _, known := f.executors[key]; !known {
			l.openExecutor(f, a, info, f.roleOf(info.GetResources()), true)
		}
	}
	for _, f := range l.hosted(a) {
		for _, key := range f.executorsOn(a) {
			switch e := f.executors[key]; {
			case reported[key]:
				e.doubtful = false
			case a.works(f.id, key.executor):
				e.doubtful = true // the report may be older than the launch
			default:
				l.closeExecutor(f, a, key)
			}
		}
	}
}

// resendKills repeats the kills that were asked for while the agent was away.
func (l *Ledger) resendKills(a *agent) {
	for _, t := range a.sortedTasks() {
		policy, asked := a.killed[t.key()]
		if asked && !t.released {
			l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.KillTaskMessage{
				FrameworkId: t.framework.wire(), TaskId: t.id.wire(), KillPolicy: policy}})
		}
	}
	clear(a.killed)
}

// checkReported refuses a re-registration that contradicts itself.
func checkReported(id AgentID, m *messages.ReregisterSlaveMessage) string {
	if id == "" {
		return "slave.id is missing"
	}
	if len(m.GetTasks()) > maxTasksPerAgent || len(m.GetExecutorInfos()) > maxExecutorsPerAgent || len(m.GetFrameworks()) > maxFrameworksPerHost {
		return fmt.Sprintf("too much for one agent: %d tasks, %d executors, %d frameworks", len(m.GetTasks()), len(m.GetExecutorInfos()), len(m.GetFrameworks()))
	}
	frameworks := map[string]bool{}
	for _, f := range m.GetFrameworks() {
		fid := f.GetId().GetValue()
		if why := validID(fid); why != "" {
			return "frameworks: " + why
		}
		if frameworks[fid] {
			return fmt.Sprintf("framework %s is listed twice", fid)
		}
		frameworks[fid] = true
	}
	for _, t := range m.GetTasks() {
		switch {
		case t.GetAgentId().GetValue() != string(id):
			return fmt.Sprintf("task %s names agent %s", t.GetTaskId().GetValue(), t.GetAgentId().GetValue())
		case !frameworks[t.GetFrameworkId().GetValue()]:
			return fmt.Sprintf("task %s names framework %s, which is not listed", t.GetTaskId().GetValue(), t.GetFrameworkId().GetValue())
		}
		if why := validID(t.GetTaskId().GetValue()); why != "" {
			return "tasks: " + why
		}
		if why := checkResources(t.GetResources()); why != "" {
			return fmt.Sprintf("task %s: %s", t.GetTaskId().GetValue(), why)
		}
	}
	for _, e := range m.GetExecutorInfos() {
		if !frameworks[e.GetFrameworkId().GetValue()] {
			return fmt.Sprintf("executor %s names framework %s, which is not listed", e.GetExecutorId().GetValue(), e.GetFrameworkId().GetValue())
		}
		if why := checkResources(e.GetResources()); why != "" {
			return fmt.Sprintf("executor %s: %s", e.GetExecutorId().GetValue(), why)
		}
	}
	return ""
}
