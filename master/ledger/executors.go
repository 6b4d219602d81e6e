package ledger

import (
	"maps"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// executorKey names a custom executor; command tasks have none in the master's book
// (libprocess.md trap 13).
type executorKey struct {
	agent    AgentID
	executor ExecutorID
}

type executor struct {
	info      *mesos.ExecutorInfo
	role      string
	resources resource.Resources
	place     int // in its framework's line
	// doubtful: the agent came back without it, but tasks were launched on it that the agent
	// was not told of yet. It counts until one of them runs, or none is left.
	doubtful bool
}

// works tells whether a task that did not end is booked on the executor.
func (a *agent) works(f FrameworkID, id ExecutorID) bool {
	for _, t := range a.tasks {
		if t.framework == f && !t.released && t.proto.GetExecutorId().GetValue() == string(id) {
			return true
		}
	}
	return false
}

// settleExecutor ends the doubt about the executor of a task that the agent spoke of.
func (l *Ledger) settleExecutor(f *framework, a *agent, t *task) {
	if t.proto.ExecutorId == nil {
		return
	}
	key := executorKey{a.id, ExecutorID(t.proto.GetExecutorId().GetValue())}
	e := f.executors[key]
	switch {
	case e == nil || !e.doubtful:
	case !t.released:
		e.doubtful = false
	case !a.works(f.id, key.executor):
		l.closeExecutor(f, a, key)
	}
}

func (l *Ledger) openExecutor(f *framework, a *agent, info *mesos.ExecutorInfo, role string, told bool) {
	e := &executor{info: info, role: role, resources: allocated(info.GetResources(), role)}
	key := executorKey{a.id, ExecutorID(info.GetExecutorId().GetValue())}
	f.executors[key] = e
	at, _ := slices.BinarySearchFunc(a.executors[f.id], key, compareExecutors)
	a.executors[f.id] = slices.Insert(a.executors[f.id], at, key)
	f.executorLine.add(ExecutorView{Agent: a.id, Info: info}, &e.place)
	l.book(f, a, role, e.resources, told)
}

func (l *Ledger) closeExecutor(f *framework, a *agent, key executorKey) {
	e := f.executors[key]
	if e == nil {
		return
	}
	delete(f.executors, key)
	if at, found := slices.BinarySearchFunc(a.executors[f.id], key, compareExecutors); found {
		a.executors[f.id] = slices.Delete(a.executors[f.id], at, at+1)
	}
	if len(a.executors[f.id]) == 0 {
		delete(a.executors, f.id)
	}
	f.executorLine.remove(e.place)
	l.unbook(f, a, e.role, e.resources)
}

func compareExecutors(a, b executorKey) int {
	return strings.Compare(string(a.executor), string(b.executor))
}

// executorsOn gives the framework's executors on an agent, in order of their ids.
func (f *framework) executorsOn(a *agent) []executorKey { return slices.Clone(a.executors[f.id]) }

// hosted gives the frameworks that have executors on the agent, in order of their ids.
func (l *Ledger) hosted(a *agent) []*framework {
	out := make([]*framework, 0, len(a.executors))
	for _, id := range slices.Sorted(maps.Keys(a.executors)) {
		out = append(out, l.frameworks[id])
	}
	return out
}

// executorExited frees what a custom executor held and tells its framework.
func (l *Ledger) executorExited(a *agent, m *messages.ExitedExecutorMessage) {
	f := l.frameworks[FrameworkID(m.GetFrameworkId().GetValue())]
	if f == nil {
		return
	}
	l.closeExecutor(f, a, executorKey{a.id, ExecutorID(m.GetExecutorId().GetValue())})
	status := m.GetStatus()
	l.send(f, &scheduler.Event{Type: scheduler.Event_FAILURE.Enum(), Failure: &scheduler.Event_Failure{
		AgentId: a.id.wire(), ExecutorId: m.GetExecutorId(), Status: &status}})
}

// executorMessage passes an executor's message on; best effort, as everywhere.
func (l *Ledger) executorMessage(a *agent, m *messages.ExecutorToFrameworkMessage) {
	f := l.frameworks[FrameworkID(m.GetFrameworkId().GetValue())]
	if f == nil || f.conn.None() {
		l.count.InvalidExecutorMessages++
		return
	}
	l.count.ValidExecutorMessages++
	l.send(f, &scheduler.Event{Type: scheduler.Event_MESSAGE.Enum(), Message: &scheduler.Event_Message{
		AgentId: a.id.wire(), ExecutorId: m.GetExecutorId(), Data: m.GetData()}})
}
