package lifecycle_test

import (
	"fmt"
	"time"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// event is one thing that happens to somebody.
func (s *sim) event() {
	n := s.rand.IntN(100)
	if s.exact && n >= 42 && n < 54 {
		return // no faults
	}
	switch {
	case n < 30:
		s.launchSome()
	case n < 42:
		if open := s.open(); len(open) > 0 {
			s.killTask(open[s.rand.IntN(len(open))])
		}
	case n < 46 && s.shell != nil:
		s.crash(s.between(0, 20*time.Second))
	case n < 47 && s.shell != nil:
		s.crash(s.between(10*time.Second, time.Minute))
		s.did("reboot")
		s.rebooted = true
		s.losesAll()
	case n < 48 && s.shell != nil && s.odds(3):
		s.crash(s.between(0, 20*time.Second))
		s.did("books of the keeper lost")
		s.losesAll()
	case n < 49:
		s.did("keeper lost")
		s.blinds()
	case n < 50 && s.shell != nil && s.odds(4):
		s.crash(s.between(0, 20*time.Second))
		s.wipe()
	case n < 54:
		s.breakLink()
	case n < 56:
		if live := s.live(); len(live) > 0 {
			f := live[s.rand.IntN(len(live))]
			if f.away = !f.away; !f.away {
				f.pid = fmt.Sprintf("scheduler@10.0.0.2:%d", s.rand.IntN(9))
				ev := lifecycle.UpdateFramework{ID: f.id, PID: f.pid}
				if s.odds(2) {
					f.change()
					ev.Info = f.info()
				}
				s.toAgent(ev)
			}
		}
	case n < 57 && s.odds(2):
		if live := s.live(); len(live) > 1 {
			f := live[s.rand.IntN(len(live))]
			s.teardown(f)
			s.addFramework(f.kind)
		}
	case n < 61:
		if open := s.open(); len(open) > 0 {
			s.shutdownExecutor(open[s.rand.IntN(len(open))])
		}
	case n < 64:
		s.limitOne()
	case n < 80:
		s.operator()
	case n < 84:
		s.executorTrouble()
	case n < 85 && s.odds(3) && s.up:
		s.did("drain")
		s.toAgent(lifecycle.Drain{Config: &mesos.DrainConfig{MaxGracePeriod: nanoseconds(s.between(0, 10*time.Second)), MarkGone: ptr(s.odds(2))}})
	case n < 86 && s.odds(4) && s.shell != nil && s.shell.ready:
		s.did("all ended at a stop")
		sh := s.shell
		if s.odds(2) { // or only what would not survive
			for _, id := range sh.core.Uncheckpointed() {
				sh.post(lifecycle.ShutdownFramework{ID: id})
			}
		} else {
			sh.post(lifecycle.KillAll{Grace: 3 * time.Second})
		}
		s.after(s.between(0, 10*time.Second), func() {
			if !sh.dead {
				s.crash(s.between(0, 10*time.Second))
			}
		})
	case n < 89:
		s.operate()
	case n < 92:
		s.run(s.between(10*time.Second, 2*time.Minute))
	case n < 93:
		s.run(s.between(2*time.Minute, 20*time.Minute))
	}
}

func (s *sim) killTask(t *task) {
	if lifecycle.Final(t.state) {
		return // the master knows better
	}
	ev := lifecycle.KillTask{Framework: t.fw.id, Task: t.key.Task}
	if s.odds(3) {
		ev.Policy = &mesos.KillPolicy{GracePeriod: nanoseconds(s.between(0, 10*time.Second))}
	}
	s.toAgent(ev)
}

func (s *sim) shutdownExecutor(t *task) {
	x := lifecycle.ExecutorID(t.executor)
	if x == "" {
		x = lifecycle.ExecutorID(t.key.Task)
	}
	s.did("executor shut down")
	s.toAgent(lifecycle.ShutdownExecutor{Key: lifecycle.ExecutorKey{Framework: t.fw.id, Executor: x}})
}

// wipe empties the agent's folder: it comes back as another one, and what ran for the
// first belongs to nobody.
func (s *sim) wipe() {
	s.did("wiped")
	s.note("agent %s is wiped", s.agentID)
	for k := range s.disk {
		if k != "r" {
			delete(s.disk, k)
		}
	}
	for _, t := range s.history {
		t.lost = true
	}
	for id := range s.launched {
		s.excuses[id] = "its agent was wiped"
	}
	for k := range s.operations {
		delete(s.operations, k)
	}
	clear(s.known)
	s.agentID = ""
}

func (s *sim) limitOne() {
	running := s.running()
	if s.shell == nil || len(running) == 0 {
		return
	}
	id := rootOf(running[s.rand.IntN(len(running))].id)
	s.did("limited")
	s.shell.post(lifecycle.Limited{Container: id, Limitation: lifecycle.Limitation{
		Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_DISK, Message: "Disk usage exceeds quota", Resources: []*mesos.Resource{scalar("disk", 1)}}})
}

// operator launches, waits for, kills and removes nested containers.
func (s *sim) operator() {
	running := s.running()
	if s.shell == nil || !s.shell.ready || len(running) == 0 {
		return
	}
	b := running[s.rand.IntN(len(running))]
	c := lifecycle.ContainerCall{ID: b.id}
	switch n := s.rand.IntN(12); {
	case n < 5:
		s.ids++
		c.Op, c.ID = lifecycle.CallLaunch, b.id+lifecycle.ContainerID(fmt.Sprintf(".op%d", s.ids))
		c.Command, c.Session = &mesos.CommandInfo{Value: ptr("look")}, s.odds(3)
		s.did("nested by an operator")
	case n < 8:
		c.Op = lifecycle.CallWait
	case n < 9:
		c.Op, c.Signal = lifecycle.CallKill, []int{9, 15}[s.rand.IntN(2)]
		s.did("killed by an operator")
	case n < 10:
		c.Op = lifecycle.CallRemove
	case n < 11:
		if !b.launch.Session {
			return
		}
		c.Op = lifecycle.CallDestroy
	default:
		for r, old := range s.sortedCalls() {
			if r == 0 {
				s.callGone(old)
			}
		}
		return
	}
	s.ask(c)
}

func (s *sim) ask(c lifecycle.ContainerCall) {
	s.call++
	c.Request = s.call
	s.calls[c.Request] = c
	s.shell.post(c)
	if c.Op == lifecycle.CallLaunch && c.Session { // its client leaves, soon or late
		sh := s.shell
		s.after(s.between(0, 30*time.Second), func() {
			if _, waits := s.calls[c.Request]; waits {
				s.callGone(c)
			} else if !sh.dead {
				s.ask(lifecycle.ContainerCall{Op: lifecycle.CallDestroy, ID: c.ID})
			}
		})
	}
}

func (s *sim) callGone(c lifecycle.ContainerCall) {
	if s.shell == nil {
		return
	}
	delete(s.calls, c.Request)
	s.shell.post(lifecycle.CallGone{Request: c.Request, ID: c.ID})
}

func (s *sim) sortedCalls() []lifecycle.ContainerCall {
	var out []lifecycle.ContainerCall
	for r := range s.call + 1 {
		if c, waits := s.calls[r]; waits {
			out = append(out, c)
		}
	}
	return out
}

// answered takes the only answer to a call.
func (s *sim) answered(a lifecycle.Answer) {
	c, waits := s.calls[a.Request]
	if !waits {
		if a.Request > s.call {
			s.fail("answer to call %d, which nobody made", a.Request)
		}
		return
	}
	delete(s.calls, a.Request)
	if a.Code == 200 && (c.Op == lifecycle.CallKill && c.Signal == 9 || c.Op == lifecycle.CallDestroy) {
		s.doomed[c.ID] = s.gen
	}
	if c.Op == lifecycle.CallWait && a.Code == 200 && a.Exit == nil {
		s.fail("a wait for %s is answered without an exit", c.ID)
	}
}

// executorTrouble breaks a stream or lets an executor speak.
func (s *sim) executorTrouble() {
	if len(s.executors) == 0 || s.shell == nil {
		return
	}
	x := s.executors[s.rand.IntN(len(s.executors))]
	switch {
	case x.stream == nil:
	case s.odds(2) && !x.old:
		s.did("stream broken")
		x.lostStream()
	default:
		x.stream.post(lifecycle.ExecutorMessage{Key: x.key, UPID: x.upid, Data: []byte("hello")})
		s.toAgent(lifecycle.FrameworkMessage{Key: x.key, Data: []byte("hello")})
	}
}

// operation is a change of reservations that the master has asked for.
type operation struct {
	status string // uuid of the only status that is repeated until acknowledged
	acked  int    // agent process whose core took the acknowledgement
}

func (s *sim) operate() {
	if !s.up {
		return
	}
	id := s.uuid()
	r := &mesos.Resource{Name: ptr("cpus"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: ptr(1.0)},
		Reservations: []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: ptr("ops")}}}
	op := &mesos.Offer_Operation{Type: mesos.Offer_Operation_RESERVE.Enum(), Reserve: &mesos.Offer_Operation_Reserve{Resources: []*mesos.Resource{r}}}
	if s.odds(2) {
		op = &mesos.Offer_Operation{Type: mesos.Offer_Operation_UNRESERVE.Enum(), Unreserve: &mesos.Offer_Operation_Unreserve{Resources: []*mesos.Resource{r}}}
	}
	s.operations[string(id[:])] = &operation{}
	s.toAgent(lifecycle.ApplyOperation{Info: op, UUID: id[:]})
}

func (s *sim) operationSent(sh *shell, u *messages.UpdateOperationStatusMessage) {
	id, status := u.GetOperationUuid().GetValue(), u.GetStatus().GetUuid().GetValue()
	o := s.operations[string(id)]
	switch {
	case o == nil:
		s.fail("status of an operation that nobody asked for")
	case o.acked == s.gen:
		s.fail("status of an operation is repeated after its acknowledgement")
	}
	o.status = string(status)
	s.did(u.GetStatus().GetState().String())
	s.toMaster(func() {
		if !s.chance(5) {
			s.after(s.delay(), func() { s.toAgent(lifecycle.AcknowledgeOperation{Operation: id, Status: status}) })
		}
	})
}
