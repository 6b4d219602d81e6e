package operators

import (
	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// watch leaves out of one event stream what its subscriber may not see. Updates of tasks
// name neither user nor framework, so it remembers what it has let through: the
// frameworks, and their tasks until they end.
type watch struct {
	sight      *sight
	frameworks map[string]*mesos.FrameworkInfo
	tasks      map[watched]bool // nil: every task of a framework that may be seen
}

type watched struct{ framework, task string }

// watch begins with the book that the stream begins with; nil without limits.
func (v *sight) watch(b *ledger.Snapshot) *watch {
	if v == nil {
		return nil
	}
	w := &watch{sight: v, frameworks: map[string]*mesos.FrameworkInfo{}}
	if !v.acl.Unlimited(v.who, acl.ViewTask) {
		w.tasks = map[watched]bool{}
	}
	for _, f := range b.Frameworks {
		w.frameworks[string(f.ID)] = f.Info
		for _, list := range [][]*mesos.Task{f.Tasks, f.Unreachable} {
			for _, t := range list {
				w.remember(string(f.ID), t.GetTaskId().GetValue())
			}
		}
	}
	return w
}

func (w *watch) remember(framework, task string) {
	if w.tasks != nil {
		w.tasks[watched{framework, task}] = true
	}
}

// seen gives those of the events that may be seen, in their order.
func (w *watch) seen(events []*event) []*event {
	if w == nil {
		return events
	}
	var some []*event
	for _, e := range events {
		if e = w.pass(e); e != nil {
			some = append(some, e)
		}
	}
	return some
}

// pass gives the event, a part of it, or nil.
func (w *watch) pass(e *event) *event {
	switch m := e.message; m.GetType() {
	case masterapi.Event_FRAMEWORK_ADDED:
		return w.framework(e, m.GetFrameworkAdded().GetFramework().GetFrameworkInfo())
	case masterapi.Event_FRAMEWORK_UPDATED:
		return w.framework(e, m.GetFrameworkUpdated().GetFramework().GetFrameworkInfo())
	case masterapi.Event_FRAMEWORK_REMOVED:
		info := m.GetFrameworkRemoved().GetFrameworkInfo()
		id := info.GetId().GetValue()
		delete(w.frameworks, id)
		for t := range w.tasks {
			if t.framework == id {
				delete(w.tasks, t)
			}
		}
		if !w.sight.framework(info) {
			return nil
		}
	case masterapi.Event_TASK_ADDED:
		t := m.GetTaskAdded().GetTask()
		id := t.GetFrameworkId().GetValue()
		f := w.frameworks[id]
		if f == nil || !w.sight.task(t, f) {
			return nil
		}
		w.remember(id, t.GetTaskId().GetValue())
	case masterapi.Event_TASK_UPDATED:
		u := m.GetTaskUpdated()
		key := watched{u.GetFrameworkId().GetValue(), u.GetStatus().GetTaskId().GetValue()}
		if w.frameworks[key.framework] == nil || (w.tasks != nil && !w.tasks[key]) {
			return nil
		}
		if ended(u.GetStatus().GetState()) {
			delete(w.tasks, key)
		}
	case masterapi.Event_AGENT_ADDED:
		return w.agent(e)
	}
	return e
}

func (w *watch) framework(e *event, info *mesos.FrameworkInfo) *event {
	if !w.sight.framework(info) {
		return nil
	}
	w.frameworks[info.GetId().GetValue()] = info
	return e
}

// agent leaves out resources of roles that may not be seen.
func (w *watch) agent(e *event) *event {
	if w.sight.acl.Unlimited(w.sight.who, acl.ViewRole) {
		return e
	}
	a := e.message.GetAgentAdded().GetAgent()
	own := &masterapi.Response_GetAgents_Agent{AgentInfo: w.sight.agentInfo(a.AgentInfo), Active: a.Active, Deactivated: a.Deactivated,
		Version: a.Version, Pid: a.Pid, RegisteredTime: a.RegisteredTime, ReregisteredTime: a.ReregisteredTime,
		TotalResources: w.sight.resources(a.TotalResources), AllocatedResources: w.sight.resources(a.AllocatedResources),
		OfferedResources: w.sight.resources(a.OfferedResources), Capabilities: a.Capabilities,
		ResourceProviders: a.ResourceProviders, DrainInfo: a.DrainInfo, EstimatedDrainStartTime: a.EstimatedDrainStartTime}
	return &event{message: &masterapi.Event{Type: e.message.Type, AgentAdded: &masterapi.Event_AgentAdded{Agent: own}}}
}

// ended says that a task's state is its last.
func ended(s mesos.TaskState) bool {
	switch s {
	case mesos.TaskState_TASK_FINISHED, mesos.TaskState_TASK_FAILED, mesos.TaskState_TASK_KILLED, mesos.TaskState_TASK_ERROR,
		mesos.TaskState_TASK_DROPPED, mesos.TaskState_TASK_GONE, mesos.TaskState_TASK_GONE_BY_OPERATOR:
		return true
	}
	return false // TASK_LOST may come back
}
