package lifecycle_test

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// collected takes a sandbox out of use: nothing may run in it.
func (s *sim) collected(directory string) {
	for _, id := range s.order {
		if b := s.boxes[id]; !b.ended && b.launch.Directory == directory && !b.launch.Session {
			s.fail("sandbox of container %s is given up while it runs", id)
		}
	}
}

// settle lets all messages arrive and all timers run, and then compares what the agent
// says with what is there; afterwards everything is ended, and nothing may be left.
func (s *sim) settle() {
	s.calm = true
	s.note("the world is calm")
	s.run(2 * time.Minute)
	if s.shell == nil {
		s.start()
	}
	s.run(time.Minute)
	for _, f := range s.frameworks {
		f.away = false
	}
	s.breakLink() // what the master has missed comes up
	s.run(2 * time.Hour)
	if s.shell == nil || !s.up {
		s.fail("the agent did not come back")
	}
	s.atRest()
	s.restartChangesNothing()
	for range 4 {
		for _, t := range s.open() {
			s.killTask(t)
		}
		s.run(time.Minute)
	}
	for _, f := range s.live() {
		for _, x := range slices.Clone(s.executors) {
			if x.key.Framework == f.id {
				s.toAgent(lifecycle.ShutdownExecutor{Key: x.key})
			}
		}
	}
	s.run(time.Hour)
	s.nothingIsLeft()
}

// atRest checks one picture: master, agent, disk and host agree.
func (s *sim) atRest() {
	view := s.shell.core.View()
	alive := map[lifecycle.ContainerID]bool{}
	for _, fv := range view.Frameworks {
		f := s.frameworkOf(lifecycle.FrameworkID(fv.Info.GetId().GetValue()))
		if f.removed {
			s.fail("framework %s is still here", f.id)
		}
		for _, x := range fv.Executors {
			s.executorAtRest(f, x)
			alive[x.Container] = true
			for _, n := range x.Nested {
				alive[n.Container] = true
			}
		}
	}
	for _, b := range s.running() {
		if !alive[b.id] {
			s.fail("container %s runs, and the agent does not know it", b.id)
		}
		if s.doomed[b.id] == s.gen {
			s.fail("container %s runs, although an operator was told that it is killed", b.id)
		}
		if b.launch.Session {
			s.fail("session %s runs, and its client is gone", b.id)
		}
	}
	for _, id := range s.order {
		if b := s.boxes[id]; b.ended {
			s.fail("container %s has ended and is not forgotten", id)
		}
	}
	for id := range alive {
		if b := s.boxes[id]; b == nil {
			s.fail("container %s is in the books and does not run", id)
		}
	}
	for _, t := range s.history {
		st, here := s.shell.core.StateOf(t.key)
		switch {
		case t.fw.removed || t.lost:
			if here {
				s.fail("task %s is still here", t.key.Task)
			}
		case t.state == mesos.TaskState_TASK_STAGING:
			s.fail("task %s is TASK_STAGING for ever", t.key.Task)
		case t.state == mesos.TaskState_TASK_KILLING, t.killed > 0 && !t.custom() && !lifecycle.Final(t.state):
			s.fail("task %s was killed and is %s", t.key.Task, t.state)
		case here && st != t.state:
			s.fail("task %s is %s, and the master knows %s", t.key.Task, st, t.state)
		case !here && !lifecycle.Final(t.state):
			s.fail("task %s is not here, and the master takes it for %s", t.key.Task, t.state)
		case here && lifecycle.Final(st):
			s.fail("task %s has ended, is acknowledged, and is still here", t.key.Task)
		}
		for _, x := range t.group {
			if here && !t.custom() && lifecycle.Final(x.state) && x.state != mesos.TaskState_TASK_FINISHED {
				s.fail("task %s runs, and %s of its group ended as %s", t.key.Task, x.key.Task, x.state)
			}
		}
	}
	for key := range s.shell.checks {
		if st, here := s.shell.core.StateOf(key); !here || st != mesos.TaskState_TASK_RUNNING {
			s.fail("task %s is checked and does not run", key.Task)
		}
	}
	for _, c := range s.sortedCalls() {
		if c.Op != lifecycle.CallWait || s.boxes[c.ID] == nil {
			s.fail("call %d (%d) about %s is never answered", c.Request, c.Op, c.ID)
		}
	}
	if len(s.shell.launches) > 0 {
		s.fail("%d launches never end", len(s.shell.launches))
	}
}

func (s *sim) executorAtRest(f *framework, x lifecycle.ExecutorView) {
	tasks := append(append(append([]*mesos.Task(nil), x.QueuedAs...), x.Launched...), x.Terminated...)
	name := x.Info.GetExecutorId().GetValue()
	switch {
	case x.Phase != "RUNNING":
		s.fail("executor %s of %s is %s for ever", name, f.id, x.Phase)
	case len(x.QueuedAs) > 0:
		s.fail("executor %s is never given its task %s", name, x.QueuedAs[0].GetTaskId().GetValue())
	case len(tasks) == 0 && (x.Generated || strings.HasPrefix(name, "pod")):
		s.fail("container of %s lives, and all its tasks have ended", name)
	}
	for _, t := range tasks {
		if key := (lifecycle.TaskKey{Framework: f.id, Task: lifecycle.TaskID(t.GetTaskId().GetValue())}); s.tasks[key].lost {
			s.fail("task %s was lost, and is here", key.Task)
		}
	}
}

// picture is what a view says of what there is now.
func picture(v *lifecycle.View) string {
	type row struct {
		Framework string
		Executor  lifecycle.ExecutorView
	}
	var rows []row
	for _, f := range v.Frameworks {
		for _, x := range f.Executors {
			x.Completed = nil
			slices.SortFunc(x.Launched, func(a, b *mesos.Task) int { return compare(a.GetTaskId().GetValue(), b.GetTaskId().GetValue()) })
			slices.SortFunc(x.Nested, func(a, b lifecycle.NestedView) int { return compare(string(a.Container), string(b.Container)) })
			rows = append(rows, row{f.Info.GetId().GetValue() + f.PID, x})
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return compare(a.Framework+a.Executor.Info.GetExecutorId().GetValue(), b.Framework+b.Executor.Info.GetExecutorId().GetValue())
	})
	out, _ := json.MarshalIndent(struct {
		Agent string
		Rows  []row
		Total []*mesos.Resource
		Drain *lifecycle.DrainImage
	}{v.Agent, rows, v.Total, v.Drain}, "", " ")
	return string(out)
}

// restartChangesNothing lets a quiet agent start anew: it says the same as before, and
// tells nothing.
func (s *sim) restartChangesNothing() {
	for _, f := range s.live() {
		if !f.durable { // these do not survive, and must not leave anything
			s.teardown(f)
		}
	}
	s.run(10 * time.Minute)
	before := picture(s.shell.core.View())
	updates := 0
	for _, t := range s.history {
		updates += t.heard
	}
	s.crash(time.Second)
	s.run(5 * time.Minute)
	if after := picture(s.shell.core.View()); after != before {
		s.fail("a restart changes what the agent says, from\n%s\nto\n%s", before, after)
	}
	for _, t := range s.history {
		updates -= t.heard
	}
	if updates != 0 {
		s.fail("a restart makes the agent tell %d updates", -updates)
	}
	s.atRest()
}

// nothingIsLeft checks that no trace of what is over is left anywhere.
func (s *sim) nothingIsLeft() {
	for _, t := range s.history {
		switch {
		case t.fw.removed || t.lost:
		case !lifecycle.Final(t.state):
			s.fail("task %s never ends: %s", t.key.Task, t.state)
		case !lifecycle.Final(t.last().GetState()):
			s.fail("task %s ended as %s, and was told %s later", t.key.Task, t.state, t.last().GetState())
		}
	}
	if left := s.shell.core.Leftovers(); left != "" {
		s.fail("the agent still holds: %s", left)
	}
	for key := range s.disk {
		if key != "r" {
			s.fail("record %s is left", key)
		}
	}
	if len(s.order) > 0 {
		s.fail("container %s is left, ended: %v", s.order[0], s.boxes[s.order[0]].ended)
	}
	if len(s.shell.checks) > 0 {
		s.fail("%d checks go on", len(s.shell.checks))
	}
	if len(s.calls) > 0 {
		s.fail("call %d about %s is never answered", s.sortedCalls()[0].Request, s.sortedCalls()[0].ID)
	}
}
