package core_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// accept is the master's side of ACCEPT, with the checks of what may be launched.
func (w *world) accept(e core.Accept) {
	agent := w.answered(e.Offer)
	if agent == nil {
		w.dropped(e)
		return
	}
	w.free(agent, e.Free)
	for _, r := range e.Reserve {
		w.reserve(agent, r)
	}
	for _, l := range e.Tasks {
		id := l.Instance.TaskID()
		w.checkIDs(l)
		rec := w.stored(l.Instance.ID)
		if rec == nil || rec.Launch != l.Instance.Launch || rec.AgentID != agent.id {
			w.t.Fatalf("ACCEPT of %s before its record is durable: %+v", id, rec)
		}
		if l.Spec.Resident {
			w.occupy(agent, l)
		} else {
			agent.take(l.Resources, -1)
			agent.take(l.Executor, -1)
		}
		if agent.cpus < 0 || agent.mem < 0 {
			w.t.Fatalf("agent %s oversubscribed by %s", agent.id, id)
		}
		for _, p := range l.HostPorts {
			if p != 0 && !l.Spec.Resident && !agent.ports[p] {
				w.t.Fatalf("port %d of %s used twice, by %s", p, agent.id, id)
			}
			delete(agent.ports, p)
		}
		w.checkUnique(&simTask{launch: l, agent: agent})
		w.begin(l, agent)
		w.checkCeiling(l.Spec.ID)
	}
}

func (w *world) kill(e core.Kill) {
	w.checkFloor(e.Task)
	if k := w.known[e.Task]; k != nil {
		k.killed = true
	}
	task := w.tasks[e.Task]
	if task == nil {
		w.tell(core.Update{Task: e.Task, AgentID: e.AgentID, State: "TASK_GONE"})
		return
	}
	if task.live() && task.state != "TASK_KILLING" {
		task.queue = []string{"TASK_KILLING", "TASK_KILLED"}
	}
}

// tell queues an update that needs an acknowledgement.
func (w *world) tell(u core.Update) {
	w.uuids++
	u.UUID = []byte(fmt.Sprint(w.uuids))
	w.updates = append(w.updates, u)
}

// reconcile answers with what the master knows.
func (w *world) reconcile(e core.Reconcile) {
	ids := make([]app.TaskID, 0, len(e.Tasks))
	for _, r := range e.Tasks {
		ids = append(ids, r.Task)
	}
	if len(ids) == 0 {
		ids = slices.Sorted(maps.Keys(w.tasks))
	}
	for _, id := range ids {
		task := w.tasks[id]
		u := core.Update{Task: id, State: "TASK_GONE", Reason: "REASON_RECONCILIATION"}
		if task != nil {
			u.State, u.Healthy = task.state, task.healthy
			if task.agent.down && task.live() {
				u.State, u.Healthy = "TASK_UNREACHABLE", nil
			}
		}
		w.updates = append(w.updates, u)
	}
}

// advance lets one task take its next state.
func (w *world) advance(id app.TaskID) {
	task := w.tasks[id]
	if task == nil || len(task.queue) == 0 || task.agent.down {
		return
	}
	for _, u := range w.updates {
		if u.Task == id && len(u.UUID) > 0 {
			return // the agent waits for the acknowledgement
		}
	}
	next := task.queue[0]
	task.queue = task.queue[1:]
	if next == "healthy" || next == "sick" {
		ok := next == "healthy"
		task.healthy = &ok
	} else {
		task.state = next
	}
	if !task.live() {
		w.release(task)
		task.endMates()
	}
	w.tell(core.Update{Task: id, AgentID: task.agent.id, State: task.state, Healthy: task.healthy})
}

func (w *world) release(task *simTask) {
	if slices.ContainsFunc(task.mates, (*simTask).live) {
		return // the last one gives all back
	}
	if task.launch.Spec.Resident {
		if r := task.agent.owned[task.launch.Instance.ID]; r != nil {
			r.user = ""
		}
		return
	}
	task.agent.take(task.launch.Resources, 1)
	task.agent.take(task.launch.Executor, 1)
	for _, p := range task.launch.HostPorts {
		if p != 0 {
			task.agent.ports[p] = true
		}
	}
}

// deliver brings an update to the core; one with a UUID stays until it is acknowledged.
func (w *world) deliver(i int) {
	u := w.updates[i]
	if len(u.UUID) == 0 {
		w.updates = slices.Delete(w.updates, i, i+1)
	}
	w.step(u)
}

// offer offers what an agent has free, in one of the roles that ask for offers.
func (w *world) offer(a *simAgent) {
	roles := slices.Sorted(maps.Keys(w.wants))
	if len(roles) == 0 {
		return
	}
	role := roles[0]
	if len(roles) > 1 {
		role = roles[w.rand.IntN(len(roles))]
	}
	w.offerIn(a, role)
	w.settled()
}
