package ledger

import (
	"fmt"
	"sort"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// agent is a registered agent: admitted and known in this term, connected or not.
type agent struct {
	id           AgentID
	wireID       *mesos.AgentID   // id, for all who name it
	info         *mesos.AgentInfo // never changed in place
	pid          PID
	version      string
	capabilities []*mesos.AgentInfo_Capability
	caps         AgentCapabilities
	version16    []byte // resource_version_uuid, raw; nil when the agent has none
	registered   time.Time
	reregistered time.Time // zero until it came back once
	connected    bool
	deadline     time.Time // while disconnected: when it becomes unreachable
	Standing               // deactivated, drained
	drainSince   time.Time // when this master told it to drain; zero: it did not
	machine      machineID
	total        resource.Resources                 // own and extra
	used         map[FrameworkID]resource.Resources // tasks and executors, by framework
	usedSum      resource.Resources                 // of used
	offered      resource.Resources
	offers       map[OfferID]*offer
	operations   map[string]*operation // by uuid
	providers    map[string]*provider  // resource providers by id
	strange      map[taskKey]string    // uuid of the update last forwarded of a task that is not in the book
	totals       uint64                // reports of what it has, since the master's own reckoning
	short        bool                  // tasks may use what it does not have in that form
	inverse      map[FrameworkID]*inverseOffer
	executors    map[FrameworkID][]executorKey // in order of their ids; no empty lists
	tasks        map[taskKey]*task
	networks     []*mesos.NetworkInfo          // of the container told of last
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
	Standing
}

type taskKey struct {
	framework FrameworkID
	task      TaskID
}

// recover opens the term with what the registry held (mesos-master.md 7.4).
func (l *Ledger) recover(e Recovered) {
	l.started = l.now
	l.recoverPolicies(e)
	for _, a := range e.Admitted {
		l.recovered[AgentID(a.Info.GetId().GetValue())] = &recoveredAgent{info: a.Info, pid: a.PID, Standing: a.Standing}
	}
	if len(l.recovered) > 0 {
		l.awaited = len(l.recovered)
		l.after(l.cfg.ReregisterTimeout, recoveryTimer, "", 0)
	}
	sortAbsences(e.Unreachable)
	sortAbsences(e.Gone)
	for _, a := range e.Unreachable {
		l.unreachable.add(a)
	}
	for _, a := range e.Gone {
		l.gone.add(a)
	}
	l.after(l.cfg.GCInterval, gcTimer, "", 0)
}

// agentMessage dispatches one message of the agent protocol. Messages about an agent
// count only when they come from the address it registered with (libprocess.md 6.4).
func (l *Ledger) agentMessage(e AgentMessage) {
	switch m := e.Message.(type) {
	case *messages.RegisterSlaveMessage:
		l.count.Messages.RegisterAgent++
		if why := l.mayJoin(e.Principal, m.GetSlave()); why != "" {
			l.emit(Note{Warn: true, Text: fmt.Sprintf("registration of %s ignored: %s", e.From, why)})
			return
		}
		l.register(e.From, m)
	case *messages.ReregisterSlaveMessage:
		l.count.Messages.ReregisterAgent++
		if why := l.mayJoin(e.Principal, m.GetSlave()); why != "" {
			l.emit(Note{Warn: true, Agent: AgentID(m.GetSlave().GetId().GetValue()), Text: fmt.Sprintf("re-registration of %s ignored: %s", e.From, why)})
			return
		}
		l.reregister(e.From, m)
	case *messages.UnregisterSlaveMessage:
		l.count.Messages.UnregisterAgent++
		if a := l.sender(e.From, m.GetSlaveId(), "unregister"); a != nil {
			l.leave(a)
		}
	case *messages.PongSlaveMessage:
		if a := l.agents[l.byPID[e.From]]; a != nil {
			a.missed = 0
			if l.overdue(a.id) == "" {
				l.spare(a.id, "it answered a ping")
			}
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
	if why := checkAgent(m.GetSlave()); why != "" {
		l.emit(Note{Warn: true, Text: fmt.Sprintf("registration of %s ignored: %s", from, why)})
		return
	}
	if l.refusedHere(from, "", m.GetSlave(), m.GetVersion()) {
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
		l.markRemoved(a, "a new agent registered at the same address", &l.count.RemovedRegistered)
	}
	if l.greeting[from] {
		return
	}
	l.greeting[from] = true
	id := l.unheard(from, m.GetSlave())
	if id == "" {
		id = l.ids.agent()
	}
	standing, _ := l.standing(id)
	l.durable(Registry{Agent: id, State: Admitted, Info: agentInfo(m.GetSlave(), id), PID: from, Standing: standing}, func() {
		l.admitted(id, from, m, standing)
	})
}

// unheard finds the id that an earlier term gave to an agent whose answer got lost: the
// same agent at the same address, admitted, but without an id of its own.
func (l *Ledger) unheard(from PID, s *messages.SlaveInfo) AgentID {
	for id, r := range l.recovered {
		if _, busy := l.busy[id]; !busy && r.pid == from && proto.Equal(agentInfo(s, id), r.info) {
			return id
		}
	}
	return ""
}

// admitted goes on with a first registration once the registry has the agent.
func (l *Ledger) admitted(id AgentID, from PID, m *messages.RegisterSlaveMessage, standing Standing) {
	delete(l.greeting, from)
	delete(l.recovered, id)
	a := l.openAgent(id, from, agentInfo(m.GetSlave(), id), m.GetVersion(),
		m.GetAgentCapabilities(), m.GetCheckpointedResources(), m.GetResourceVersionUuid().GetValue())
	a.registered, a.Standing = l.now, standing
	l.count.AgentRegistrations++
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: l.registeredMessage(a.id)})
	l.tellToDrain(a)
	l.startPinging(a)
	l.openForOffers(a)
	l.operatorAgentAdded(a)
}

// openAgent puts a fresh agent into the book and links to it.
func (l *Ledger) openAgent(id AgentID, pid PID, info *mesos.AgentInfo, version string,
	capabilities []*mesos.AgentInfo_Capability, checkpointed []*mesos.Resource, resourceVersion []byte) *agent {
	a := &agent{
		id: id, wireID: id.wire(), info: info, pid: pid, version: version,
		capabilities: capabilities, caps: agentCapabilities(capabilities), version16: resourceVersion,
		connected: true, machine: machineOf(info, pid),
		total:  agentTotal(info.GetResources(), checkpointed),
		used:   map[FrameworkID]resource.Resources{},
		offers: map[OfferID]*offer{}, operations: map[string]*operation{}, providers: map[string]*provider{},
		inverse: map[FrameworkID]*inverseOffer{}, executors: map[FrameworkID][]executorKey{},
		tasks:  map[taskKey]*task{},
		killed: map[taskKey]*mesos.KillPolicy{},
	}
	l.agents[id] = a
	l.byPID[pid] = id
	l.machineJoin(a)
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

// openForOffers tells the allocator what the agent has; what is deactivated or away
// counts there, but is not offered.
func (l *Ledger) openForOffers(a *agent) {
	a.generation++
	a.audit()
	domain := a.info.GetDomain().GetFaultDomain()
	l.emit(AgentOpen{Agent: a.id, Generation: a.generation, Total: a.total, Hostname: a.info.GetHostname(),
		Capabilities: a.caps, Region: domain.GetRegion().GetName(), Zone: domain.GetZone().GetName(),
		Attributes: a.info.GetAttributes(), Unavailable: l.unavailability(a.machine)})
	if !a.active() {
		l.emit(AgentClosed{Agent: a.id})
	}
}

// active says whether the agent's resources may be offered.
func (a *agent) active() bool { return a.connected && !a.Deactivated }

// agentInfo is the v1 form of a SlaveInfo under its id.
func agentInfo(s *messages.SlaveInfo, id AgentID) *mesos.AgentInfo {
	port := s.GetPort()
	return &mesos.AgentInfo{Hostname: proto.String(s.GetHostname()), Port: &port, Resources: s.GetResources(),
		Attributes: s.GetAttributes(), Id: id.wire(), Domain: s.GetDomain()}
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
