package ledger

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// agent is a registered agent: admitted and known in this term, connected or not.
type agent struct {
	id           AgentID
	info         *mesos.AgentInfo // never changed in place
	pid          PID
	version      string
	capabilities []*mesos.AgentInfo_Capability
	caps         AgentCapabilities
	version16    []byte // resource_version_uuid, raw; nil when the agent has none
	registered   time.Time
	reregistered time.Time // zero until it came back once
	connected    bool
	total        resource.Resources
	used         map[FrameworkID]resource.Resources // tasks and executors, by framework
	usedSum      resource.Resources                 // of used
	offered      resource.Resources
	offers       map[OfferID]*offer
	operations   map[string]*operation // by uuid
	providers    map[string]*provider  // resource providers by id
	totals       uint64                // reports of what it has, since the master's own reckoning
	tasks        map[taskKey]*task
	killed       map[taskKey]*mesos.KillPolicy // asked for while disconnected: sent again on return
	generation   uint64                        // grows when earlier grants must not count any more
	missed       int                           // pings without a pong
	epoch        uint64                        // of the connection: voids timers of earlier ones
}

// maxAgentInfo bounds an AgentInfo in bytes: it becomes one registry record, and a record
// that is too large would end the term.
const maxAgentInfo = 256 << 10

// recoveredAgent is admitted in the registry but not heard of in this term.
type recoveredAgent struct {
	info *mesos.AgentInfo
	pid  PID
}

type taskKey struct {
	framework FrameworkID
	task      TaskID
}

// recover opens the term with what the registry held (mesos-master.md 7.4).
func (l *Ledger) recover(e Recovered) {
	l.started = l.now
	for _, a := range e.Admitted {
		id := AgentID(a.Info.GetId().GetValue())
		l.recovered[id] = &recoveredAgent{info: a.Info, pid: a.PID}
		l.after(l.cfg.ReregisterTimeout, recoveryTimer, string(id), 0)
	}
	oldestFirst := func(a, b Absence) int { return a.Since.Compare(b.Since) }
	slices.SortStableFunc(e.Unreachable, oldestFirst)
	slices.SortStableFunc(e.Gone, oldestFirst)
	for _, a := range e.Unreachable {
		l.unreachable.add(a.Agent, a.Since)
	}
	for _, a := range e.Gone {
		l.gone.add(a.Agent, a.Since)
	}
	l.after(l.cfg.GCInterval, gcTimer, "", 0)
}

// agentMessage dispatches one message of the agent protocol. Messages about an agent
// count only when they come from the address it registered with (libprocess.md 6.4).
func (l *Ledger) agentMessage(e AgentMessage) {
	switch m := e.Message.(type) {
	case *messages.RegisterSlaveMessage:
		l.count.Messages.RegisterAgent++
		l.register(e.From, m)
	case *messages.ReregisterSlaveMessage:
		l.count.Messages.ReregisterAgent++
		l.reregister(e.From, m)
	case *messages.UnregisterSlaveMessage:
		l.count.Messages.UnregisterAgent++
		if a := l.sender(e.From, m.GetSlaveId(), "unregister"); a != nil {
			l.leave(a)
		}
	case *messages.PongSlaveMessage:
		if a := l.agents[l.byPID[e.From]]; a != nil {
			a.missed = 0
		}
	case *messages.UpdateSlaveMessage:
		l.count.Messages.UpdateAgent++
		if a := l.sender(e.From, m.GetSlaveId(), "update agent"); a != nil {
			l.updateAgent(a, m)
		}
	case *messages.UpdateOperationStatusMessage:
		l.count.Messages.OperationUpdate++
		if a := l.sender(e.From, m.GetSlaveId(), "operation status"); a != nil {
			l.operationUpdate(a, m)
		} else {
			l.count.InvalidOperationUpdates++
		}
	case *messages.StatusUpdateMessage:
		l.count.Messages.StatusUpdate++
		if a := l.sender(e.From, m.GetUpdate().GetSlaveId(), "status update"); a != nil {
			l.statusUpdate(a, m)
		} else {
			l.count.InvalidUpdates++
		}
	case *messages.ExitedExecutorMessage:
		l.count.Messages.ExitedExecutor++
		if a := l.sender(e.From, m.GetSlaveId(), "exited executor"); a != nil {
			l.executorExited(a, m)
		}
	case *messages.ExecutorToFrameworkMessage:
		l.count.Messages.ExecutorToFramework++
		if a := l.sender(e.From, m.GetSlaveId(), "executor message"); a != nil {
			l.executorMessage(a, m)
		}
	default:
		l.count.Dropped++
	}
}

// sender gives the agent only when the message comes from its own address.
func (l *Ledger) sender(from PID, id *mesos.AgentID, what string) *agent {
	a := l.agents[AgentID(id.GetValue())]
	switch {
	case a == nil:
		l.emit(Note{Text: what + " ignored: the agent is not registered", Agent: AgentID(id.GetValue())})
	case a.pid != from:
		l.emit(Note{Warn: true, Text: fmt.Sprintf("%s ignored: it came from %s, the agent is at %s", what, from, a.pid), Agent: a.id})
	default:
		return a
	}
	return nil
}

// register admits a new agent (mesos-master.md 2.5, libprocess.md 3.1).
func (l *Ledger) register(from PID, m *messages.RegisterSlaveMessage) {
	if why := l.checkAgent(m.GetSlave(), m.GetVersion()); why != "" {
		l.emit(Note{Warn: true, Text: fmt.Sprintf("registration of %s ignored: %s", from, why)})
		return
	}
	if id, known := l.byPID[from]; known {
		a := l.agents[id]
		if a.connected {
			l.emit(Note{Text: "agent registered already: the answer is sent again", Agent: id})
			l.emit(ToAgent{Agent: id, PID: from, Message: l.registeredMessage(id)})
			return
		}
		// The old agent of that address is gone for good: a new process without its id.
		l.markRemoved(a, "a new agent registered at the same address")
	}
	if l.greeting[from] {
		return
	}
	l.greeting[from] = true
	id := l.unheard(from, m.GetSlave())
	if id == "" {
		id = l.ids.agent()
	}
	l.durable(Registry{Agent: id, State: Admitted, Info: agentInfo(m.GetSlave(), id), PID: from}, pendingFact{pid: from, register: m})
}

// unheard finds the id that an earlier term gave to an agent whose answer got lost: the
// same agent at the same address, admitted, but without an id of its own.
func (l *Ledger) unheard(from PID, s *messages.SlaveInfo) AgentID {
	for id, r := range l.recovered {
		if r.pid == from && !l.busy[id] && proto.Equal(agentInfo(s, id), r.info) {
			return id
		}
	}
	return ""
}

// admitted goes on with a first registration once the registry has the agent.
func (l *Ledger) admitted(fact pendingFact) {
	delete(l.greeting, fact.pid)
	delete(l.recovered, fact.agent)
	m := fact.register
	a := l.openAgent(fact.agent, fact.pid, agentInfo(m.GetSlave(), fact.agent), m.GetVersion(),
		m.GetAgentCapabilities(), m.GetCheckpointedResources(), m.GetResourceVersionUuid().GetValue())
	a.registered = l.now
	l.count.AgentRegistrations++
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: l.registeredMessage(a.id)})
	l.startPinging(a)
	l.openForOffers(a)
	l.operatorAgentAdded(a)
}

// openAgent puts a fresh agent into the book and links to it.
func (l *Ledger) openAgent(id AgentID, pid PID, info *mesos.AgentInfo, version string,
	capabilities []*mesos.AgentInfo_Capability, checkpointed []*mesos.Resource, resourceVersion []byte) *agent {
	a := &agent{
		id: id, info: info, pid: pid, version: version,
		capabilities: capabilities, caps: agentCapabilities(capabilities), version16: resourceVersion,
		connected: true,
		total:     agentTotal(info.GetResources(), checkpointed),
		used:      map[FrameworkID]resource.Resources{},
		offers:    map[OfferID]*offer{}, operations: map[string]*operation{}, providers: map[string]*provider{},
		tasks:  map[taskKey]*task{},
		killed: map[taskKey]*mesos.KillPolicy{},
	}
	l.agents[id] = a
	l.byPID[pid] = id
	l.touchAgent(a)
	l.emit(LinkPID{PID: pid})
	return a
}

func (l *Ledger) registeredMessage(id AgentID) proto.Message {
	return &messages.SlaveRegisteredMessage{SlaveId: id.wire(), Connection: l.connection()}
}

func (l *Ledger) connection() *messages.MasterSlaveConnection {
	total := l.cfg.PingInterval.Seconds() * float64(l.cfg.MaxMissedPings)
	return &messages.MasterSlaveConnection{TotalPingTimeoutSeconds: &total}
}

func (l *Ledger) openForOffers(a *agent) {
	a.generation++
	l.emit(AgentOpen{Agent: a.id, Generation: a.generation, Total: a.total, Hostname: a.info.GetHostname(),
		Capabilities: a.caps, Region: a.info.GetDomain().GetFaultDomain().GetRegion().GetName()})
}

// checkAgent refuses what a registration must not hold; the answer is the reason.
func (l *Ledger) checkAgent(info *messages.SlaveInfo, version string) string {
	if info.GetHostname() == "" || len(info.GetHostname()) > maxIDLength {
		return "slave.hostname must have 1 to 255 bytes"
	}
	if id := info.GetId().GetValue(); id != "" {
		if why := validID(id); why != "" {
			return "slave.id: " + why
		}
	}
	if why := checkResources(info.GetResources()); why != "" {
		return "slave.resources: " + why
	}
	if n := proto.Size(info); n > maxAgentInfo {
		return fmt.Sprintf("slave has %d bytes, more than %d", n, maxAgentInfo)
	}
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	if err != nil || n < 1 {
		return fmt.Sprintf("version %q is not 1.0.0 or newer", version)
	}
	return ""
}

// agentInfo is the v1 form of a SlaveInfo under its id.
func agentInfo(s *messages.SlaveInfo, id AgentID) *mesos.AgentInfo {
	port := s.GetPort()
	return &mesos.AgentInfo{Hostname: proto.String(s.GetHostname()), Port: &port, Resources: s.GetResources(),
		Attributes: s.GetAttributes(), Id: id.wire(), Domain: s.GetDomain()}
}

// startPinging sends the first ping at once, as Mesos' observer does.
func (l *Ledger) startPinging(a *agent) {
	a.epoch++
	a.missed = 0
	l.ping(a)
	l.after(l.cfg.PingInterval, pingTimer, string(a.id), a.epoch)
}

func (l *Ledger) ping(a *agent) {
	connected := a.connected
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: &messages.PingSlaveMessage{Connected: &connected}})
}

func (l *Ledger) pingDue(id AgentID, epoch uint64) {
	a := l.agents[id]
	if a == nil || a.epoch != epoch {
		return
	}
	a.missed++
	if a.missed >= l.cfg.MaxMissedPings && !l.busy[id] {
		l.markUnreachable(a, "health check timed out")
	}
	l.ping(a)
	l.after(l.cfg.PingInterval, pingTimer, string(id), epoch)
}

// agentExited is a broken link: no new work for the agent until it re-registers
// (mesos-master.md 2.3). Pings go on and tell it connected=false.
func (l *Ledger) agentExited(pid PID) {
	a := l.agents[l.byPID[pid]]
	if a == nil || !a.connected {
		return
	}
	l.emit(Note{Text: "agent disconnected", Agent: a.id})
	l.disconnectAgent(a)
	l.after(l.cfg.ReregisterTimeout, reregisterTimer, string(a.id), a.epoch)
	for _, t := range a.sortedTasks() {
		f := l.frameworks[t.framework]
		if f == nil || f.info.GetCheckpoint() {
			continue
		}
		// Without checkpointing the agent kills these tasks itself when the link breaks.
		l.endTask(t, mesos.TaskState_TASK_LOST, mesos.TaskStatus_REASON_AGENT_DISCONNECTED,
			fmt.Sprintf("Agent %s disconnected", a.info.GetHostname()), time.Time{})
		l.dropTask(t)
	}
}

// disconnectAgent stops offers without forgetting anything.
func (l *Ledger) disconnectAgent(a *agent) {
	a.connected = false
	a.epoch++ // ping timers of the old connection are void
	a.generation++
	l.touchAgent(a)
	l.emit(AgentClosed{Agent: a.id})
	l.rescindAgent(a)
	l.after(l.cfg.PingInterval, pingTimer, string(a.id), a.epoch)
}

func (l *Ledger) reregisterDue(id AgentID, epoch uint64) {
	a := l.agents[id]
	if a != nil && a.epoch == epoch && !a.connected && !l.busy[id] {
		l.markUnreachable(a, "did not re-register in time after its connection broke")
	}
}

func (a *agent) sortedTasks() []*task {
	list := make([]*task, 0, len(a.tasks))
	for _, t := range a.tasks {
		list = append(list, t)
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].framework != list[j].framework {
			return list[i].framework < list[j].framework
		}
		return list[i].order < list[j].order
	})
	return list
}
