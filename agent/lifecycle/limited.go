package lifecycle

// Limited says that a container uses more than it may of something that is watched from
// outside of it: it is to end, and its tasks fail for that reason (mesos-agent.md 7.10).
type Limited struct {
	Container  ContainerID // a root
	Limitation Limitation
}

func (Limited) event() {}

// limited ends a container. The first limit is the one that is told.
func (a *Agent) limited(ev Limited) {
	e := a.containers[ev.Container]
	if e == nil || e.limit != nil || e.phase >= terminating || e.phase == launching {
		return
	}
	e.limit = &ev.Limitation
	a.do(Note{Message: "container exceeds a limit", Framework: e.fw.id, Executor: e.id(), Detail: ev.Limitation.Message})
	if e.native() {
		a.endRoot(e)
		return
	}
	a.recordExecution(e) // its end tells the same after a restart of the agent
	e.phase = terminating
	if t := e.only(); t != nil {
		a.stopChecks(t)
	}
	a.do(Destroy{Container: e.container})
}
