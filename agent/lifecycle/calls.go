package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// containerCall carries out an operator call about a container (mesos-agent.md 3.5).
func (a *Agent) containerCall(ev ContainerCall) {
	switch ev.Op {
	case CallLaunch:
		a.callLaunch(ev)
	case CallWait:
		a.callWait(ev)
	case CallKill, CallDestroy:
		a.callKill(ev)
	case CallRemove:
		a.callRemove(ev)
	}
}

func (a *Agent) answer(ev ContainerCall, code int, format string, args ...any) {
	a.do(Answer{Request: ev.Request, Code: code, Text: fmt.Sprintf(format, args...)})
}

// split gives the root of a nested id and its direct parent.
func (id ContainerID) split() (root, parent ContainerID) {
	text := string(id)
	return ContainerID(text[:strings.IndexByte(text+".", '.')]), ContainerID(text[:max(0, strings.LastIndexByte(text, '.'))])
}

func (a *Agent) callLaunch(ev ContainerCall) {
	root, parent := ev.ID.split()
	if parent == "" {
		a.answer(ev, 501, "This agent launches no standalone containers: give the container a parent")
		return
	}
	e := a.containers[root]
	above := a.nested[parent]
	switch {
	case a.nested[ev.ID] != nil:
		a.do(Answer{Request: ev.Request, Code: 202})
		return
	case e == nil, parent != root && above == nil:
		a.answer(ev, 400, "Failed to launch container: parent container %s cannot be found", parent)
		return
	case e.phase >= terminating, !e.started, above != nil && above.phase != running:
		a.answer(ev, 400, "Failed to launch container: parent container %s is not running", parent)
		return
	case len(e.nested) >= 2*maxNestedResults:
		a.answer(ev, 400, "Failed to launch container: %s has %d nested containers; remove some", root, len(e.nested))
		return
	}
	if why := unfitCall(ev, parent != root); why != "" {
		a.answer(ev, 400, "%s", why)
		return
	}
	n := &nested{
		id: ev.ID, parent: parent, command: ev.Command, box: ev.Box, resources: ev.Resources, limits: ev.Limits,
		session: ev.Session, launcher: ev.Request,
	}
	if n.command == nil {
		n.command = &mesos.CommandInfo{}
	}
	a.addNested(e, n)
	if n.session { // it works in the folder of what it looks into
		n.directory = e.directory
		if above != nil {
			n.directory = above.directory
		}
	}
	a.recordNested(n)
	a.launchNested(n)
}

// unfitCall says what a launch asks for that is not possible, or "".
func unfitCall(ev ContainerCall, deep bool) string {
	box := ev.Box
	switch {
	case ev.Session && (box.GetMesos().GetImage() != nil || len(box.GetVolumes()) > 0 || !shared(box)):
		return "Failed to launch container: a session takes no image, no volumes and no cgroup of its own"
	case deep && (len(ev.Resources) > 0 || len(ev.Limits) > 0 || !shared(box)):
		return "Resources, limits and 'share_cgroups=false' are not allowed below the first level of nesting"
	case !deep && len(ev.Resources) > 0 && shared(box):
		return "Resources are only for a nested container with 'share_cgroups=false'"
	}
	return ""
}

func (n *nested) result(request uint64) Answer {
	exit := n.exit
	return Answer{Request: request, Code: 200, Exit: &exit, Limitation: n.limit}
}

func (a *Agent) callWait(ev ContainerCall) {
	n, e := a.nested[ev.ID], a.containers[ev.ID]
	switch {
	case n != nil && n.phase == terminated:
		a.do(n.result(ev.Request))
	case n != nil:
		n.waiters = append(n.waiters, ev.Request)
	case e != nil:
		e.waiters = append(e.waiters, ev.Request)
	default:
		a.answer(ev, 404, "Container %s cannot be found", ev.ID)
	}
}

func (a *Agent) callKill(ev ContainerCall) {
	n, e := a.nested[ev.ID], a.containers[ev.ID]
	switch {
	case n != nil && n.live() && (n.phase == launching || ev.Op == CallDestroy):
		a.destroyNested(n) // without a process there is nothing to signal
	case n != nil && n.live():
		a.do(Signal{Container: n.id, Signal: ev.Signal})
	case e != nil && e.phase == launching:
		e.phase = terminating // its process may run by now
		a.do(Destroy{Container: e.container})
	case e != nil && e.native() && ev.Signal == 9:
		if e.verdict == nil {
			e.verdict = &verdict{mesos.TaskState_TASK_FAILED, mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, ""}
		}
		a.endRoot(e)
	case e != nil:
		a.do(Signal{Container: e.container, Signal: ev.Signal})
	default:
		a.answer(ev, 404, "Container '%s' cannot be found (or is already killed)", ev.ID)
		return
	}
	a.do(Answer{Request: ev.Request, Code: 200})
}

func (a *Agent) callRemove(ev ContainerCall) {
	n := a.nested[ev.ID]
	switch {
	case n == nil && a.containers[ev.ID] != nil:
		a.answer(ev, 500, "Container has not terminated yet")
		return
	case n != nil && n.live():
		a.answer(ev, 500, "Nested container has not terminated yet")
		return
	case n != nil:
		a.dropNested(n)
		if !n.session {
			a.do(Remove{Directory: n.directory})
		}
	}
	a.do(Answer{Request: ev.Request, Code: 200})
}

// callGone forgets a call whose client went away.
func (a *Agent) callGone(ev CallGone) {
	mine := func(r uint64) bool { return r == ev.Request }
	if n := a.nested[ev.ID]; n != nil {
		n.waiters = slices.DeleteFunc(n.waiters, mine)
		if n.launcher == ev.Request {
			n.launcher = 0
			if n.session {
				a.destroyNested(n)
			}
		}
	}
	if e := a.containers[ev.ID]; e != nil {
		e.waiters = slices.DeleteFunc(e.waiters, mine)
	}
}

// endNested closes the books of all that is nested in a root that has ended.
func (a *Agent) endNested(e *execution, exit Exit, lim *Limitation) {
	for _, n := range append([]*nested(nil), e.nested...) {
		if n.live() {
			a.do(Destroy{Container: n.id})
		}
		if n.launcher != 0 {
			a.do(Answer{Request: n.launcher, Code: 400, Text: "Failed to launch container: its parent has ended"})
		}
		for _, w := range n.waiters {
			a.do(Answer{Request: w, Code: 404, Text: "Container " + string(n.id) + " cannot be found"})
		}
		a.dropNested(n)
	}
	for _, w := range e.waiters {
		a.do(Answer{Request: w, Code: 200, Exit: &exit, Limitation: lim})
	}
	e.waiters = nil
}
