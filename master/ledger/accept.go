package ledger

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// acceptance is one ACCEPT under way: what its offers promised and is not used yet.
type acceptance struct {
	f         *framework
	a         *agent
	role      string
	remaining resource.Resources
	tasks     int
	used      bool // something was taken from the offers
}

// accept turns offers into tasks (mesos-master.md 1.6). All offers must be of one agent
// and one role; one bad offer voids the call.
func (l *Ledger) accept(f *framework, m *scheduler.Call_Accept) {
	ops := m.GetOperations()
	if why := l.checkOffers(f, m.GetOfferIds()); why != "" {
		for _, id := range m.GetOfferIds() {
			if o := f.offers[OfferID(id.GetValue())]; o != nil {
				l.returnOffer(o)
			}
		}
		l.invalidOffers(f, ops, why)
		return
	}
	first := f.offers[OfferID(m.GetOfferIds()[0].GetValue())]
	acc := &acceptance{f: f, a: l.agents[first.agent], role: first.role}
	for _, id := range m.GetOfferIds() {
		o := f.offers[OfferID(id.GetValue())]
		acc.remaining = acc.remaining.Add(o.resources)
		l.closeOffer(o)
	}
	if len(ops) == 0 {
		l.count.OffersDeclined += len(m.GetOfferIds())
	} else {
		l.count.OffersAccepted += len(m.GetOfferIds())
	}
	for _, op := range ops {
		switch op.GetType() {
		case mesos.Offer_Operation_LAUNCH:
			for _, info := range op.GetLaunch().GetTaskInfos() {
				l.launch(acc, op, info)
			}
		case mesos.Offer_Operation_LAUNCH_GROUP:
			for _, info := range op.GetLaunchGroup().GetTaskGroup().GetTasks() {
				l.refuseTask(f, acc.a.id, info, mesos.TaskStatus_REASON_TASK_GROUP_INVALID,
					"This master does not launch task groups: launch the tasks one by one with LAUNCH")
			}
		default:
			l.emit(Note{Warn: true, Framework: f.id, Agent: acc.a.id,
				Text: fmt.Sprintf("operation %s dropped: this master carries out LAUNCH only", op.GetType())})
		}
	}
	if len(acc.remaining) > 0 {
		// refuse_seconds 0 asks for the rest at once, and gets it from who used a part: an
		// exchange without progress waits for the allocation interval.
		refuse := refuseDuration(m.GetFilters())
		l.emit(Released{Agent: acc.a.id, Framework: f.id, Role: acc.role, Resources: acc.remaining,
			Declined: refuse > 0 || !acc.used, Refuse: refuse})
	}
}

// checkOffers gives the reason why an offer list cannot be accepted, or nothing.
func (l *Ledger) checkOffers(f *framework, ids []*mesos.OfferID) string {
	if len(ids) == 0 {
		return "No offers specified"
	}
	seen := map[OfferID]bool{}
	var first *offer
	for _, each := range ids {
		id := OfferID(each.GetValue())
		if seen[id] {
			return fmt.Sprintf("Duplicate offer %s in offer list", id)
		}
		seen[id] = true
		o := l.offers[id]
		switch {
		case o == nil:
			return fmt.Sprintf("Offer %s is no longer valid", id)
		case o.framework != f.id:
			return fmt.Sprintf("Offer %s has invalid framework %s while framework %s is expected", id, o.framework, f.id)
		case first == nil:
			first = o
		case o.role != first.role:
			return fmt.Sprintf("Aggregated offers must be allocated to the same role. Offer %s uses role '%s' but another is using role '%s'", id, o.role, first.role)
		case o.agent != first.agent:
			return fmt.Sprintf("Aggregated offers must belong to one single agent. Offer %s uses agent %s and agent %s", id, o.agent, first.agent)
		}
	}
	return ""
}

// invalidOffers answers the tasks of an ACCEPT whose offers were no good.
func (l *Ledger) invalidOffers(f *framework, ops []*mesos.Offer_Operation, why string) {
	l.emit(Note{Text: "ACCEPT with invalid offers: " + why, Framework: f.id})
	state := mesos.TaskState_TASK_LOST
	if f.caps.PartitionAware {
		state = mesos.TaskState_TASK_DROPPED
	}
	for _, op := range ops {
		infos := op.GetLaunch().GetTaskInfos()
		if op.GetType() == mesos.Offer_Operation_LAUNCH_GROUP {
			infos = op.GetLaunchGroup().GetTaskGroup().GetTasks()
		}
		for _, info := range infos {
			l.countEnd(state)
			l.sendUpdate(f, AgentID(info.GetAgentId().GetValue()), l.verdict(info, state,
				mesos.TaskStatus_REASON_INVALID_OFFERS, "Task launched with invalid offers: "+why))
		}
	}
}

// refuseTask answers TASK_ERROR for a task that may not be launched.
func (l *Ledger) refuseTask(f *framework, on AgentID, info *mesos.TaskInfo, reason mesos.TaskStatus_Reason, why string) {
	l.countEnd(mesos.TaskState_TASK_ERROR)
	l.sendUpdate(f, on, l.verdict(info, mesos.TaskState_TASK_ERROR, reason, why))
}

// verdict is the master's own word on a task that never reached an agent.
func (l *Ledger) verdict(info *mesos.TaskInfo, state mesos.TaskState, reason mesos.TaskStatus_Reason, why string) *mesos.TaskStatus {
	return &mesos.TaskStatus{TaskId: info.GetTaskId(), State: state.Enum(), Message: proto.String(why),
		Source: mesos.TaskStatus_SOURCE_MASTER.Enum(), Reason: reason.Enum(), AgentId: info.GetAgentId(),
		Timestamp: l.seconds()}
}

// launch validates one task of a LAUNCH and sends it to the agent.
func (l *Ledger) launch(acc *acceptance, op *mesos.Offer_Operation, given *mesos.TaskInfo) {
	f, a := acc.f, acc.a
	acc.tasks++
	if acc.tasks > l.cfg.MaxTasksPerAccept {
		l.refuseTask(f, a.id, given, mesos.TaskStatus_REASON_TASK_INVALID,
			fmt.Sprintf("An ACCEPT may launch at most %d tasks", l.cfg.MaxTasksPerAccept))
		return
	}
	info := proto.Clone(given).(*mesos.TaskInfo)
	inferHealthCheck(info)
	if e := info.GetExecutor(); e != nil && e.FrameworkId == nil {
		e.FrameworkId = f.id.wire()
	}
	want, why := l.checkTask(acc, op, info)
	if why != "" {
		l.emit(Note{Text: "task refused: " + why, Framework: f.id, Task: TaskID(info.GetTaskId().GetValue())})
		l.refuseTask(f, a.id, given, mesos.TaskStatus_REASON_TASK_INVALID, why)
		return
	}
	acc.remaining, acc.used = acc.remaining.Subtract(want.task), true
	info.Resources = inFormat(want.task, a.caps.Refinement)
	launchExecutor := true
	if e := info.GetExecutor(); e != nil {
		launchExecutor = want.newExecutor
		e.Resources = inFormat(allocated(e.GetResources(), acc.role), a.caps.Refinement)
		if want.newExecutor {
			acc.remaining = acc.remaining.Subtract(want.executor)
			l.openExecutor(f, a, e, acc.role, false)
		}
	}
	t := l.openTask(f, a, taskOf(f, info, want.task))
	l.book(f, a, acc.role, t.resources, false)
	pid := string(f.conn.PID)
	if pid == "" {
		pid = noPID
	}
	run := &messages.RunTaskMessage{Framework: f.info, Task: info, Pid: &pid, LaunchExecutor: &launchExecutor}
	if len(a.version16) > 0 {
		run.ResourceVersionUuids = []*messages.ResourceVersionUUID{{Uuid: &mesos.UUID{Value: a.version16}}}
	}
	l.emit(ToAgent{Agent: a.id, PID: a.pid, Message: run})
}

// taskOf is the master's record of a launched task. Command tasks have no executor_id
// until an agent reports one (T27).
func taskOf(f *framework, info *mesos.TaskInfo, r resource.Resources) *mesos.Task {
	t := &mesos.Task{Name: info.Name, TaskId: info.TaskId, FrameworkId: f.id.wire(), AgentId: info.AgentId,
		State: mesos.TaskState_TASK_STAGING.Enum(), Resources: r, Labels: info.Labels,
		Discovery: info.Discovery, Container: info.Container, HealthCheck: info.HealthCheck,
		KillPolicy: info.KillPolicy, Limits: info.Limits}
	if e := info.GetExecutor(); e != nil {
		t.ExecutorId = e.ExecutorId
	}
	t.User = f.info.User
	for _, c := range []*mesos.CommandInfo{info.GetCommand(), info.GetExecutor().GetCommand()} {
		if c != nil && c.User != nil {
			t.User = c.User
		}
	}
	return t
}

// inferHealthCheck names the type of a health check that old frameworks leave out.
func inferHealthCheck(info *mesos.TaskInfo) {
	h := info.GetHealthCheck()
	switch {
	case h == nil || h.Type != nil:
	case h.Command != nil && h.Http == nil:
		h.Type = mesos.HealthCheck_COMMAND.Enum()
	case h.Http != nil && h.Command == nil:
		h.Type = mesos.HealthCheck_HTTP.Enum()
	}
}
