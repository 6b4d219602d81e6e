package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"google.golang.org/protobuf/proto"
)

const maxBackoff = time.Minute

// follow takes a change of leader: all agents register with the new one.
func (f *Fleet) follow(ctx context.Context, l election.Leader) {
	pid, err := leaderOf(ctx, l)
	if err != nil {
		f.log.Error("the leader's data is unusable", "err", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if pid == f.leader {
		return
	}
	if f.leader.Valid() {
		f.tr.Unlink(f.self, f.leader)
	}
	f.leader, f.linked = pid, false
	if !pid.Valid() {
		f.log.Warn("no leading master")
	} else {
		f.log.Info("leading master detected", "master", pid.String())
	}
	f.registerAll(0)
}

func leaderOf(ctx context.Context, l election.Leader) (libprocess.UPID, error) {
	if l.Data == nil {
		return libprocess.UPID{}, nil
	}
	m, err := election.ParseMaster(l.Data)
	if err != nil {
		return libprocess.UPID{}, err
	}
	if m.PID != "" && m.IP != "" {
		return libprocess.ParseResolve(ctx, m.PID)
	}
	return libprocess.ParseResolve(ctx, "master@"+m.Addr())
}

// exited says that the one connection to the master broke: it did for every agent.
func (f *Fleet) exited(peer libprocess.UPID, cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if peer != f.leader || libprocess.GenerationOf(cause) < f.link {
		return
	}
	if f.counts.Registered > 0 {
		f.log.Warn("link to the master broke", "master", peer.String(), "err", cause)
	}
	f.linked = false
	if f.cfg.Follows {
		return
	}
	// Not before half the span, or a master that is away would be tried all the time.
	f.registerAll(f.cfg.Backoff / 2)
}

func (f *Fleet) registerAll(least time.Duration) {
	for _, a := range f.agents {
		f.again(a, least)
	}
}

// again starts a registration: the first try comes within the back-off span, after the
// least wait.
func (f *Fleet) again(a *agent, least time.Duration) {
	if a.registered {
		a.registered = false
		f.counts.Registered--
	}
	a.tries, a.knownAt = 0, 0 // a master that has lost an agent has forgotten who it is
	f.schedule(a, least)
}

// schedule arranges the next try, within the back-off span times a power of two.
func (f *Fleet) schedule(a *agent, least time.Duration) {
	a.seq++
	if a.gone || !f.leader.Valid() {
		return
	}
	span := min(f.cfg.Backoff<<min(a.tries, 6), maxBackoff)
	f.wheel.add(timer{due: f.after(least + rand.N(span-least+1)), kind: tryRegister, agent: a, seq: a.seq})
}

// register sends one registration and arranges the next. (libprocess.md 3.1, 3.2)
func (f *Fleet) register(a *agent, seq uint32) {
	if a.seq != seq || a.registered || a.gone {
		return
	}
	if !f.linked { // link first: order holds only within one connection
		f.link, f.linked = f.tr.Link(f.self, f.leader, false), true
	}
	if !f.known(a) {
		return
	}
	info := &messages.SlaveInfo{
		Hostname: proto.String(a.hostname), Port: proto.Int32(int32(f.tr.Addr().Port())), Resources: f.cfg.Resources,
		Attributes: f.cfg.Attributes, Checkpoint: proto.Bool(true), Id: a.id,
	}
	if a.id == nil {
		f.send(a, &messages.RegisterSlaveMessage{
			Slave: info, Version: &f.cfg.Version, AgentCapabilities: f.capabilities, ResourceVersionUuid: f.version,
			CheckpointedResources: a.checkpointed,
		})
	} else {
		f.send(a, f.report(a, info))
	}
	a.tries++
	f.schedule(a, 0)
}

// report is a re-registration with all the agent has.
func (f *Fleet) report(a *agent, info *messages.SlaveInfo) *messages.ReregisterSlaveMessage {
	m := &messages.ReregisterSlaveMessage{
		Slave: info, Version: &f.cfg.Version, AgentCapabilities: f.capabilities, ResourceVersionUuid: f.version,
		CheckpointedResources: a.checkpointed,
	}
	said := map[*framework]bool{}
	for _, t := range a.tasks {
		if t.record == nil {
			continue // only an update about a task that never was here
		}
		rec := &mesos.Task{}
		if err := proto.Unmarshal(t.record, rec); err != nil {
			panic("fleet: a record of its own does not decode: " + err.Error())
		}
		rec.State = t.state.Enum()
		if len(t.pending) > 0 {
			rec.StatusUpdateState = t.pending[0].state.Enum()
			rec.StatusUpdateUuid = t.pending[0].uuid[:]
		} else if t.told.seconds != 0 {
			rec.StatusUpdateState = t.told.state.Enum()
			rec.StatusUpdateUuid = t.told.uuid[:]
		}
		if t.told.seconds != 0 {
			rec.Statuses = append(rec.Statuses, f.status(a, t, &t.told))
		}
		m.Tasks = append(m.Tasks, rec)
		if !said[t.key.framework] {
			said[t.key.framework] = true
			m.Frameworks = append(m.Frameworks, t.key.framework.info)
		}
	}
	for key, x := range a.executors {
		info := &mesos.ExecutorInfo{}
		if err := proto.Unmarshal(x.info, info); err != nil {
			panic("fleet: a record of its own does not decode: " + err.Error())
		}
		info.FrameworkId = key.framework.id
		m.ExecutorInfos = append(m.ExecutorInfos, info)
	}
	return m
}

// taken says that the leader has (re-)registered an agent.
func (f *Fleet) taken(a *agent, id *mesos.AgentID, reconcile []*messages.ReconcileTasksMessage, c *messages.MasterSlaveConnection) {
	if a.registered || a.gone {
		return // the answer to an earlier try
	}
	if a.id != nil && a.id.GetValue() != id.GetValue() {
		f.log.Error("the master registered an agent under another id", "agent", a.id.GetValue(), "as", id.GetValue())
		f.leave(a)
		return
	}
	a.id, a.registered, a.tries = id, true, 0
	a.seq++
	f.counts.Registered++
	if s := c.GetTotalPingTimeoutSeconds(); s > 0 {
		a.patience = ticks(time.Duration(min(max(s, 1), 86400) * float64(time.Second)))
	}
	a.pinged = f.wheel.now
	f.wheel.add(timer{due: f.wheel.now + a.patience, kind: silence, agent: a, seq: a.seq})
	f.send(a, &messages.UpdateSlaveMessage{
		SlaveId: id, UpdateOversubscribedResources: proto.Bool(false), ResourceVersionUuid: f.version,
		Operations: f.operationsOf(a), ResourceProviders: &messages.UpdateSlaveMessage_ResourceProviders{},
	})
	for _, t := range a.tasks {
		f.sendFirst(a, t)
	}
	for _, o := range a.operations {
		f.sendOperation(a, o, firstResend)
	}
	for _, r := range reconcile {
		f.reconcile(a, r)
	}
	if !f.ready && f.counts.Registered == f.cfg.Count {
		f.ready = true
		if f.cfg.Ready != nil {
			f.cfg.Ready(f.cfg.Count)
		}
	}
}

// listen looks whether the master has pinged within the agent's patience.
func (f *Fleet) listen(a *agent, seq uint32) {
	if !a.registered || a.seq != seq {
		return
	}
	if due := a.pinged + a.patience; due > f.wheel.now {
		f.wheel.add(timer{due: due, kind: silence, agent: a, seq: seq})
		return
	}
	f.log.Warn("no ping from the master", "agent", a.pid.ID, "timeout", time.Duration(a.patience)*tick)
	f.again(a, 0)
}

// leave ends an agent for good. When it was the last one, the fleet ends too.
func (f *Fleet) leave(a *agent) {
	if a.gone {
		return
	}
	if a.registered {
		f.counts.Registered--
	}
	a.registered, a.gone = false, true
	for _, t := range a.tasks {
		f.forget(a, t)
	}
	f.counts.Gone++
	if f.counts.Gone == f.cfg.Count {
		select {
		case f.ended <- fault.New("simulated agents", fault.Unavailable, f.leader.String(), errors.New("the master has told every agent to shut down")):
		default:
		}
	}
}
