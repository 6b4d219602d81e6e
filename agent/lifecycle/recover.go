package lifecycle

import (
	"sort"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// Live is what the keeper says about a container at the time of recovery.
type Live struct {
	PID        int
	Ended      bool // its exit is known: Exit and Limitation say how
	Exit       Exit
	Limitation *Limitation
	Networks   []*mesos.NetworkInfo // see Started
	Data       []byte
}

// Restore fills a new agent from the records of its last run and from what the keeper
// holds. It is called once, before the first Step, followed by RecoveryEnded when
// custom executors have had their time to subscribe again. rebooted says that the host
// has started anew since, so that nothing can live.
//
// A task is matched with its process by container id. Its process lives: nothing is
// told, its checks resume. It ended meanwhile: its true end is told. The keeper does
// not know it: it never started (the agent went away between record and start), or the
// host went down with it. Containers in live that no record names belong to nobody:
// they are destroyed.
func (a *Agent) Restore(now time.Time, agent string, records []Record, live map[ContainerID]Live, rebooted bool) Output {
	a.now, a.out, a.id, a.recovering = now, Output{}, agent, true
	a.version++
	sort.SliceStable(records, func(i, j int) bool { return rank(records[i]) < rank(records[j]) })
	for _, r := range records {
		switch {
		case r.Framework != nil:
			id := FrameworkID(r.Framework.Info.GetId().GetValue())
			a.frameworks[id] = &framework{id: id, info: r.Framework.Info, pid: r.Framework.PID, executors: map[ExecutorID]*execution{}}
		case r.Executor != nil:
			a.restoreExecutor(r.Executor)
		case r.Task != nil:
			a.restoreTask(r.Task)
		case r.Nested != nil:
			a.restoreNested(r.Nested)
		case r.Resources != nil:
			a.restoreResources(r.Resources)
		case r.Drain != nil:
			a.draining = r.Drain
		}
	}
	for _, f := range a.sortedFrameworks() {
		sort.Slice(f.order, func(i, j int) bool { return f.order[i].id() < f.order[j].id() })
		for _, e := range append([]*execution(nil), f.order...) {
			l, known := live[e.container]
			if !known || l.Ended {
				a.tellNestedEnds(e, live)
			}
			a.resume(e, l, known, rebooted)
			a.resumeNested(e, live, rebooted)
		}
		a.dropIdleFramework(f)
	}
	a.settleDrain()
	if a.draining != nil { // the master repeats its order only to an agent that comes back to it
		a.killForDrain()
	}
	settled := a.settledContainers()
	for _, id := range sortedContainers(live) {
		if _, ours := a.containers[id]; ours || a.nested[id] != nil || settled[id] {
			continue
		}
		if !live[id].Ended {
			a.do(Note{Message: "container without a record is destroyed", Detail: string(id)})
			a.do(Destroy{Container: id})
		} else {
			a.do(Forget{Container: id})
		}
	}
	out := a.out
	a.out = Output{}
	return out
}

// settledContainers are those whose books were closed in this step.
func (a *Agent) settledContainers() map[ContainerID]bool {
	out := map[ContainerID]bool{}
	for _, e := range a.out.Effects {
		switch e := e.(type) {
		case Forget:
			out[e.Container] = true
		case Destroy:
			out[e.Container] = true
		}
	}
	return out
}

func rank(r Record) int { return strings.Index("fetn", r.Key[:1]) }

func (a *Agent) restoreExecutor(img *ExecutorImage) {
	f := a.frameworks[img.Framework]
	if f == nil {
		a.do(Note{Message: "executor's record ignored: its framework has none", Framework: img.Framework})
		return
	}
	e := &execution{
		fw: f, info: img.Info, generated: img.Generated, container: img.Container,
		directory: img.Directory, started: img.Started, pid: img.PID, upid: img.UPID, unheard: img.Unheard, networks: img.Networks, limit: img.Limit,
		doomed: img.Ending || img.Limit != nil,
	}
	f.executors[e.id()] = e
	f.order = append(f.order, e)
	a.containers[e.container] = e
}

func (a *Agent) restoreTask(img *TaskImage) {
	e := a.lookup(ExecutorKey{img.Framework, img.Executor})
	if e == nil {
		a.do(Note{Message: "task's record ignored: its executor has none", Framework: img.Framework, Task: TaskID(img.Info.GetTaskId().GetValue())})
		return
	}
	t := a.addTask(e, img.Info)
	t.state, t.delivered, t.statuses, t.kill = img.State, img.Delivered, img.Statuses, img.Killing.clone()
	t.stream.pending = append([]*messages.StatusUpdate(nil), img.Pending...)
	t.stream.seen, t.stream.acked, t.group, t.began = img.Seen, img.Acked, img.Group, img.Began
	e.fed = e.fed || t.delivered
}

// resume continues an executor from what the keeper says about it.
func (a *Agent) resume(e *execution, l Live, known, rebooted bool) {
	t := e.only()
	switch {
	case known && l.Ended:
		e.recovered = true
		if !e.started && e.generated {
			a.started(Started{Container: e.container, PID: l.PID, Networks: l.Networks, Data: l.Data})
		}
		e.started, e.pid = true, l.PID
		a.ended(e, l.Exit, l.Limitation)
		a.do(Forget{Container: e.container})
	case known && e.limit != nil && !e.native(): // its end was recorded and not ordered yet, or not seen
		e.phase, e.pid, e.recovered, e.started = terminating, l.PID, true, true
		a.do(Destroy{Container: e.container})
	case known && e.native(): // one that is to end ends once it is known what of it lives
		e.phase, e.pid, e.recovered, e.started = running, l.PID, true, true
		a.recordExecution(e)
	case known && e.generated && (t == nil || terminal(t.state) || e.started && !t.delivered): // given up, but it lives on
		e.phase, e.pid, e.recovered, e.started = terminating, l.PID, true, true
		a.do(Destroy{Container: e.container})
	case known && !e.started:
		e.phase = launching
		a.started(Started{Container: e.container, PID: l.PID, Networks: l.Networks, Data: l.Data})
		e.recovered = !e.generated
		a.awaitFirst(e)
	case known && e.generated:
		e.phase, e.pid, e.recovered = running, l.PID, true
		if t.kill != nil {
			a.do(Kill{Container: e.container, Grace: a.remaining(t)})
			break
		}
		a.startChecks(t)
		a.armCompletion(t)
	case known:
		e.phase, e.pid, e.recovered = registering, l.PID, true
		a.awaitFirst(e)
		if e.upid != "" {
			a.do(Reconnect{Key: e.key(), UPID: e.upid, Agent: a.wireID()})
		}
	default:
		a.gone(e, rebooted)
	}
}

// awaitFirst gives an executor that was being started when the agent went away, and has
// never subscribed, all the time that it has for that, again. One of the v0 API that has
// registered with the agent before has asked in vain, and ends with its link.
func (a *Agent) awaitFirst(e *execution) {
	if e.unheard && e.phase == registering {
		a.armRegistration(e)
	}
}

// startOf is about when a task of an agent that did not record it has begun.
func startOf(t *task, now time.Time) time.Time {
	for _, st := range t.statuses {
		if st.GetState() == mesos.TaskState_TASK_STARTING {
			return time.Unix(0, int64(st.GetTimestamp()*1e9))
		}
	}
	return now
}

// gone closes the books of a container that the keeper does not know.
func (a *Agent) gone(e *execution, rebooted bool) {
	switch {
	case e.started && rebooted:
		e.verdict = &verdict{mesos.TaskState_TASK_FAILED, mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, "Executor terminated; the host was rebooted"}
	case e.started:
		e.verdict = &verdict{mesos.TaskState_TASK_FAILED, mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, "Executor terminated"}
	default:
		e.verdict = &verdict{e.fw.lost(mesos.TaskState_TASK_DROPPED), mesos.TaskStatus_REASON_AGENT_RESTARTED, "Task launched during agent restart"}
	}
	a.ended(e, Exit{}, nil)
}

// returning tells whether a custom executor that lived on has yet to subscribe again.
func (e *execution) returning() bool {
	return !e.generated && !e.native() && e.recovered && !e.unheard && !e.subscribe && e.phase == registering
}

// recoveryEnded gives up the custom executors that have not come back.
func (a *Agent) recoveryEnded() {
	a.recovering = false
	for _, f := range a.sortedFrameworks() {
		for _, e := range append([]*execution(nil), f.order...) {
			if !e.returning() {
				continue
			}
			e.verdict = &verdict{f.lost(mesos.TaskState_TASK_GONE), mesos.TaskStatus_REASON_EXECUTOR_REREGISTRATION_TIMEOUT,
				"Executor did not reregister within " + DurationText(a.cfg.ReregisterTimeout)}
			e.phase = terminating
			a.do(Destroy{Container: e.container})
		}
	}
}

// AwaitsExecutors tells whether custom executors that lived on have yet to subscribe.
func (a *Agent) AwaitsExecutors() bool {
	for _, f := range a.frameworks {
		for _, e := range f.executors {
			if e.returning() {
				return true
			}
		}
	}
	return false
}

func (a *Agent) sortedFrameworks() []*framework {
	all := make([]*framework, 0, len(a.frameworks))
	for _, f := range a.frameworks {
		all = append(all, f)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].id < all[j].id })
	return all
}

func sortedContainers(live map[ContainerID]Live) []ContainerID {
	ids := make([]ContainerID, 0, len(live))
	for id := range live {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	return ids
}
