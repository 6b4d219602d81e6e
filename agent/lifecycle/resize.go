package lifecycle

// resizing is what waits for the limits of a container. One change is under way at a
// time, so that what follows from them keeps its order.
type resizing struct {
	now  []func(failure string) // for the change under way
	next []func(failure string) // for the one after it
	busy bool
}

// fit gives an executor's container what its live tasks need and runs then when that has
// been done: limits grow before a task is handed over, and shrink before its end is told,
// so that nobody uses what the container may still take (mesos-agent.md 1.4, 1.5).
// failure is why the limits could not be set, or "".
func (a *Agent) fit(e *execution, then func(failure string)) {
	e.resizing.next = append(e.resizing.next, then)
	if !e.resizing.busy {
		a.resize(e)
	}
}

func (a *Agent) resize(e *execution) {
	r := &e.resizing
	r.now, r.next, r.busy = r.next, nil, true
	a.do(Resize{Container: e.container, Resources: e.resources(), Limits: e.limits(), Share: a.share(e)})
	a.resizes[e.container] = e
}

// resized says that the limits of a container were set, or could not be.
func (a *Agent) resized(ev Resized) {
	e := a.resizes[ev.Container]
	if e == nil {
		return
	}
	delete(a.resizes, ev.Container)
	r := &e.resizing
	done := r.now
	r.now, r.busy = nil, false
	for _, then := range done {
		then(ev.Failure)
	}
	if len(r.next) > 0 && !r.busy {
		a.resize(e)
	}
}

// shrink takes the resources of a task that ended from its executor's container; the
// task's stream holds the end back until that is done.
func (a *Agent) shrink(t *task) {
	s := t.stream
	a.fit(t.exec, func(string) { // a failure is logged by the shell, and the task has ended
		if !s.held {
			return
		}
		s.held = false
		if head := s.head(); head != nil && terminal(head.GetStatus().GetState()) && a.streams[s.key] == s {
			a.sendHead(s)
		}
	})
}
