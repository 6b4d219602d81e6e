package lifecycle_test

import (
	"slices"
	"time"

	"github.com/stoa-project/stoa/agent/journal"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// shell is one agent process around the core, as package agent is: it takes events in
// batches, makes the records of a batch durable at once, and carries out the effects
// afterwards, each in its own time.
type shell struct {
	s        *sim
	core     *lifecycle.Agent
	inbox    []lifecycle.Event
	waiting  bool // a turn is arranged
	dead     bool
	ready    bool // recovery has ended
	watching bool
	launches map[lifecycle.ContainerID]*launch
	checks   map[lifecycle.TaskKey]lifecycle.ContainerID
	lastAck  map[lifecycle.TaskKey]string // newest acknowledgement that the core has taken
}

// launch is a container on its way.
type launch struct {
	cancelled bool
	exit      *lifecycle.Exited // heard before the start was
}

// start begins an agent process: it recovers, awaits executors and registers.
func (s *sim) start() {
	s.gen++
	s.batch++
	s.first = s.batch
	sh := &shell{s: s, launches: map[lifecycle.ContainerID]*launch{}, checks: map[lifecycle.TaskKey]lifecycle.ContainerID{}, lastAck: map[lifecycle.TaskKey]string{}}
	sh.core = lifecycle.New(s.config())
	s.shell = sh
	var entries []journal.Entry
	for _, e := range s.disk {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b journal.Entry) int { return compare(a.Key, b.Key) })
	_, records, losses := journal.Decode(entries)
	if len(losses) > 0 {
		s.fail("records cannot be read: %v", losses)
	}
	live := map[lifecycle.ContainerID]lifecycle.Live{}
	for _, id := range s.order {
		b := s.boxes[id]
		live[id] = lifecycle.Live{PID: b.pid, Ended: b.ended, Exit: b.exit, Limitation: b.limit}
	}
	s.note("agent starts: %d records, %d containers, rebooted %v", len(records), len(live), s.rebooted)
	out := sh.core.Restore(s.now, s.agentID, records, live, s.rebooted)
	s.rebooted = false
	s.orders(out)
	sh.commit([]lifecycle.Output{out})
	if sh.dead {
		return
	}
	sh.watching = true
	for _, id := range s.order {
		if b := s.boxes[id]; b.ended {
			s.after(s.delay(), func() { sh.post(lifecycle.Exited{Container: id, Exit: b.exit, Limitation: b.limit}) })
		}
	}
	s.awaitExecutors(sh, s.now.Add(reregister))
}

func (s *sim) awaitExecutors(sh *shell, deadline time.Time) {
	switch {
	case sh.dead:
		return
	case sh.core.AwaitsExecutors() && s.now.Before(deadline):
		s.after(50*time.Millisecond, func() { s.awaitExecutors(sh, deadline) })
		return
	}
	sh.post(lifecycle.RecoveryEnded{})
	sh.ready = true
	s.register(sh)
}

// crash ends the agent process at once; what it had under way is not done any more.
func (s *sim) crash(again time.Duration) {
	s.note("agent crashes")
	s.did("crash")
	s.shell.dead = true
	s.shell = nil
	s.up = false
	s.link++
	clear(s.calls)
	for _, x := range slices.Clone(s.executors) {
		x.agentGone()
	}
	for _, f := range s.frameworks {
		if !f.durable {
			f.agentGone()
		}
	}
	s.after(again, func() {
		if s.shell == nil {
			s.start()
		}
	})
}

func (sh *shell) post(ev lifecycle.Event) {
	if sh.dead {
		return
	}
	sh.inbox = append(sh.inbox, ev)
	if !sh.waiting {
		sh.waiting = true
		sh.s.after(sh.s.between(0, 4*time.Millisecond), sh.turn)
	}
}

func (sh *shell) turn() {
	sh.waiting = false
	sh.s.batch++
	batch := sh.inbox
	sh.inbox = nil
	var outs []lifecycle.Output
	for _, ev := range batch {
		if sh.dead {
			return
		}
		if x, ok := ev.(lifecycle.Exited); ok && sh.launches[x.Container] != nil {
			sh.launches[x.Container].exit = &x
			continue
		}
		if id := launchEnded(ev); id != "" {
			l := sh.launches[id]
			delete(sh.launches, id)
			outs = append(outs, sh.step(ev))
			if l != nil && l.exit != nil {
				outs = append(outs, sh.step(*l.exit))
			}
			continue
		}
		switch ev := ev.(type) {
		case lifecycle.ApplyOperation:
			sh.commit(outs)
			if sh.dead {
				return
			}
			outs = []lifecycle.Output{sh.step(ev)}
			if sh.s.chance(5) { // it cannot be written
				outs = []lifecycle.Output{sh.step(lifecycle.Unsaved{Message: "the disk is full"})}
				sh.s.did("operation not saved")
			}
			sh.commit(outs)
			outs = nil
		default:
			outs = append(outs, sh.step(ev))
		}
	}
	sh.commit(outs)
}

func launchEnded(ev lifecycle.Event) lifecycle.ContainerID {
	switch ev := ev.(type) {
	case lifecycle.Started:
		return ev.Container
	case lifecycle.LaunchFailed:
		return ev.Container
	}
	return ""
}

func (sh *shell) step(ev lifecycle.Event) lifecycle.Output {
	s := sh.s
	s.noteEvent(ev)
	s.excuse(sh, ev)
	out := sh.core.Step(s.now, ev)
	s.orders(out)
	return out
}

// orders takes note of what the core has decided, before it is done.
func (s *sim) orders(out lifecycle.Output) {
	for _, ef := range out.Effects {
		switch ef := ef.(type) {
		case lifecycle.Note:
			if s.loud {
				s.note("    # %s %s %s %s %s", ef.Message, ef.Executor, ef.Task, ef.State, ef.Detail)
			}
		case lifecycle.Launch:
			s.launched[ef.Container] = &launched{ef, s.now, s.gen}
		}
	}
}

// commit makes records durable and then carries out the effects; the agent may crash
// before, between and after them.
func (sh *shell) commit(outs []lifecycle.Output) {
	s := sh.s
	if sh.dead || len(outs) == 0 {
		return
	}
	if s.chance(800) {
		s.did("crash before the records")
		for _, t := range s.history {
			if t.killed == s.batch {
				t.killed = 0 // nobody remembers
			}
		}
		s.crash(s.between(0, 10*time.Second))
		return
	}
	sh.write(outs)
	for _, out := range outs {
		for _, ef := range out.Effects {
			if _, ok := ef.(lifecycle.Note); ok {
				continue
			}
			if s.count++; s.fuse == s.count || s.chance(500) {
				s.did("crash between effects")
				s.crash(s.between(0, 10*time.Second))
				return
			}
			sh.perform(ef)
		}
	}
}

// write brings the newest image of each key to disk.
func (sh *shell) write(outs []lifecycle.Output) {
	s := sh.s
	var records []lifecycle.Record
	at := map[string]int{}
	for _, out := range outs {
		for _, r := range out.Records {
			if i, seen := at[r.Key]; seen {
				records[i] = r
				continue
			}
			at[r.Key] = len(records)
			records = append(records, r)
		}
	}
	entries, err := journal.Encode(records)
	if err != nil {
		s.fail("records cannot be written: %v", err)
	}
	for _, e := range entries {
		if e.Value == nil {
			delete(s.disk, e.Key)
			s.note("    record -%s", e.Key)
			continue
		}
		s.note("    record %s", e.Key)
		s.disk[e.Key] = e
	}
}

// perform carries out one effect.
func (sh *shell) perform(ef lifecycle.Effect) {
	s := sh.s
	s.noteEffect(ef)
	later := func(do func()) { // asks the keeper, who may be away for a while
		s.after(s.delay(), func() {
			if !sh.dead {
				do()
			}
		})
	}
	switch ef := ef.(type) {
	case lifecycle.Launch:
		sh.launch(ef)
	case lifecycle.Destroy:
		s.mayEnd(sh, ef.Container, "destroyed")
		if l := sh.launches[ef.Container]; l != nil {
			l.cancelled = true
			return
		}
		later(func() { s.destroy(ef.Container) })
	case lifecycle.Kill:
		s.mayEnd(sh, ef.Container, "killed")
		later(func() { s.kill(sh, ef.Container, ef.Grace) })
	case lifecycle.Signal:
		later(func() { s.signal(ef.Container, ef.Signal) })
	case lifecycle.Forget:
		later(func() { s.forget(ef.Container) })
	case lifecycle.Resize:
		s.fits(ef)
		later(func() {
			done := lifecycle.Resized{Container: ef.Container}
			if b := s.boxes[ef.Container]; b != nil && !b.ended && s.chance(25) {
				done.Failure = "EIO"
				s.did("resize failed")
			}
			sh.post(done)
		})
	case lifecycle.StartChecks:
		sh.checks[ef.Key] = ef.Container
		s.after(s.between(time.Second, 8*time.Second), func() { sh.probe(ef, 12) })
	case lifecycle.StopChecks:
		delete(sh.checks, ef.Key)
	case lifecycle.SendUpdate:
		s.sent(sh, ef.Update)
	case lifecycle.SendExited:
		s.toMaster(func() { delete(s.known, ef.Key) })
	case lifecycle.ToExecutor:
		s.toExecutor(sh, ef)
	case lifecycle.CloseExecutor:
		for _, x := range s.executors {
			if x.key == ef.Key && x.stream == sh && ef.UPID == "" {
				x.lostStream()
			}
		}
	case lifecycle.Reconnect:
		for _, x := range s.executors {
			if x.upid == ef.UPID {
				s.after(s.delay(), func() { x.subscribe(sh, true) })
			}
		}
	case lifecycle.SendOperation:
		s.operationSent(sh, ef.Update)
	case lifecycle.Answer:
		s.answered(ef)
	case lifecycle.Collect:
		s.collected(ef.Directory)
	}
}

// probe gives a check's results for a while.
func (sh *shell) probe(ef lifecycle.StartChecks, left int) {
	s := sh.s
	if sh.dead || left == 0 || s.calm || sh.checks[ef.Key] != ef.Container {
		return
	}
	if ef.Task.GetHealthCheck() != nil {
		sh.post(lifecycle.Probe{Key: ef.Key, Healthy: !s.odds(3)})
	}
	if ef.Task.GetCheck() != nil {
		sh.post(lifecycle.Checked{Key: ef.Key, Status: &mesos.CheckStatusInfo{Type: mesos.CheckInfo_COMMAND.Enum(),
			Command: &mesos.CheckStatusInfo_Command{ExitCode: ptr(int32(s.rand.IntN(2)))}}})
	}
	s.after(s.between(time.Second, 8*time.Second), func() { sh.probe(ef, left-1) })
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
