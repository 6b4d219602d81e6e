package lifecycle

import (
	"sort"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// restoreNested books a nested container from its record.
func (a *Agent) restoreNested(img *NestedImage) {
	e := a.lookup(img.Root)
	if e == nil {
		a.do(Note{Message: "nested container's record ignored: its executor has none", Framework: img.Root.Framework, Detail: string(img.Container)})
		return
	}
	n := &nested{
		id: img.Container, root: e, parent: img.Parent, command: img.Command, box: img.Box, resources: img.Resources,
		limits: img.Limits, directory: img.Directory, pid: img.PID, networks: img.Networks, exit: img.Exit, limit: img.Limitation,
	}
	switch {
	case img.Ended:
		n.phase = terminated
	case img.Started:
		n.phase = running
	}
	if img.Task != "" {
		if t := a.findTask(TaskKey{img.Root.Framework, img.Task}); t != nil && t.exec == e {
			n.task, t.nested = t, n
		}
	}
	e.nested = append(e.nested, n)
	a.nested[n.id] = n
}

// resumeNested continues the nested containers of an executor whose root goes on. One
// that was recorded but never started is started now: its task was told as starting,
// and nothing of it runs.
func (a *Agent) resumeNested(e *execution, live map[ContainerID]Live, rebooted bool) {
	if e.phase >= terminating || a.containers[e.container] != e {
		return
	}
	sort.Slice(e.nested, func(i, j int) bool { return e.nested[i].id < e.nested[j].id })
	for _, n := range append([]*nested(nil), e.nested...) {
		l, known := live[n.id]
		t := n.task
		switch {
		case n.phase == terminated:
			if known {
				a.do(Forget{Container: n.id})
			}
			if t != nil { // its framework was being shut down: nobody was told
				a.update(t, a.commandEnd(t, n.exit))
			}
		case known && l.Ended:
			n.pid = l.PID
			a.nestedExited(n, l.Exit, l.Limitation)
			a.do(Forget{Container: n.id})
		case known && e.doomed: // it ends with the others
			n.phase, n.pid = max(n.phase, running), l.PID
		case known && t != nil && (terminal(t.state) || n.phase == launching && t.kill != nil): // given up, but it lives on
			n.pid = l.PID
			a.destroyNested(n)
		case known && n.phase == launching:
			a.nestedStarted(n, l.PID, l.Networks)
		case known:
			n.pid = l.PID
			if t == nil {
				break
			}
			if t.kill != nil {
				a.continueKill(t)
				break
			}
			a.startChecks(t)
			a.armCompletion(t)
		case n.phase == launching && (e.doomed || t != nil && t.kill != nil):
			a.nestedFailed(n, "the agent was restarted")
		case n.phase == launching:
			a.launchNested(n)
		default:
			a.nestedExited(n, Exit{}, nil)
		}
	}
	if e.native() && e.doomed {
		a.endRoot(e)
		return
	}
	if e.native() && e.phase == running {
		var queued []*task
		for _, t := range append([]*task(nil), e.tasks...) {
			switch {
			case t.nested != nil || terminal(t.state):
			case t.state != mesos.TaskState_TASK_STAGING: // it had a container, whose launch failed: likewise
				a.update(t, a.commandEnd(t, Exit{}))
			default:
				t.delivered = true
				queued = append(queued, t)
			}
		}
		a.deliverAll(e, queued)
		a.afterNested(e)
	}
}

// tellNestedEnds takes the true ends of nested containers before those of a root that
// is gone make them unknown.
func (a *Agent) tellNestedEnds(e *execution, live map[ContainerID]Live) {
	for _, n := range append([]*nested(nil), e.nested...) {
		if l, known := live[n.id]; known && l.Ended && l.Exit.Known && n.live() {
			n.pid = l.PID
			a.nestedExited(n, l.Exit, l.Limitation)
			a.do(Forget{Container: n.id})
		}
	}
}

// continueKill goes on with a kill that was under way when the agent went away.
func (a *Agent) continueKill(t *task) {
	if t != nil && t.kill != nil && t.nested != nil && t.nested.phase == running {
		a.do(Kill{Container: t.nested.id, Grace: t.kill.Deadline.Sub(t.kill.Since)})
	}
}
