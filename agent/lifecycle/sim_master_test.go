package lifecycle_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// framework is one framework behind the master.
type framework struct {
	s       *sim
	kind    int
	id      lifecycle.FrameworkID
	durable bool
	caps    []mesos.FrameworkInfo_Capability_Type
	pid     string
	away    bool // it acknowledges nothing
	removed bool // the master has torn it down
}

// addFramework makes one of four kinds: new or old, with checkpoints or without.
func (s *sim) addFramework(kind int) *framework {
	f := &framework{s: s, kind: kind, id: lifecycle.FrameworkID(fmt.Sprintf("F%d", len(s.frameworks))), durable: kind != 2}
	if kind != 1 {
		f.caps = append(f.caps, mesos.FrameworkInfo_Capability_PARTITION_AWARE)
	}
	if kind%3 == 0 {
		f.caps = append(f.caps, mesos.FrameworkInfo_Capability_TASK_KILLING_STATE)
	}
	s.frameworks = append(s.frameworks, f)
	return f
}

func (s *sim) frameworkOf(id lifecycle.FrameworkID) *framework {
	for _, f := range s.frameworks {
		if f.id == id {
			return f
		}
	}
	return nil
}

// change gives a framework that subscribes again other capabilities.
func (f *framework) change() {
	f.caps = nil
	for _, c := range []mesos.FrameworkInfo_Capability_Type{mesos.FrameworkInfo_Capability_PARTITION_AWARE, mesos.FrameworkInfo_Capability_TASK_KILLING_STATE} {
		if f.s.odds(2) {
			f.caps = append(f.caps, c)
		}
	}
}

func (f *framework) info() *mesos.FrameworkInfo {
	info := &mesos.FrameworkInfo{Id: &mesos.FrameworkID{Value: ptr(string(f.id))}, Name: ptr("f"), User: ptr("bob"), Checkpoint: ptr(f.durable)}
	for _, c := range f.caps {
		info.Capabilities = append(info.Capabilities, &mesos.FrameworkInfo_Capability{Type: c.Enum()})
	}
	return info
}

// agentGone is what the master does for a framework without checkpoints when an agent
// process ends: its tasks are lost with it.
func (f *framework) agentGone() {
	for _, t := range f.s.history {
		if t.fw == f {
			t.lost = true
		}
	}
	for k := range f.s.known {
		if k.Framework == f.id {
			delete(f.s.known, k)
		}
	}
}

// toAgent sends a message of the master, in order; it is lost with the connection.
func (s *sim) toAgent(ev lifecycle.Event) {
	if !s.up {
		return
	}
	link, sh := s.link, s.shell
	at := s.now.Add(s.delay())
	if at.Before(s.lastTo) {
		at = s.lastTo
	}
	s.lastTo = at
	s.after(at.Sub(s.now), func() {
		if s.link == link && !sh.dead {
			sh.post(ev)
		}
	})
}

// toMaster carries something the other way.
func (s *sim) toMaster(do func()) {
	if !s.up {
		return
	}
	link := s.link
	at := s.now.Add(s.delay())
	if at.Before(s.lastFrom) {
		at = s.lastFrom
	}
	s.lastFrom = at
	s.after(at.Sub(s.now), func() {
		if s.link == link {
			do()
		}
	})
}

// breakLink ends the connection between master and agent; the agent registers again.
func (s *sim) breakLink() {
	if s.shell == nil || !s.up {
		return
	}
	s.note("connection to the master breaks")
	s.did("connection broken")
	s.up = false
	s.link++
	s.shell.post(lifecycle.Disconnected{})
	s.register(s.shell)
}

// register presents the agent to the master, who compares its books with the agent's.
func (s *sim) register(sh *shell) {
	link := s.link
	s.after(s.between(50*time.Millisecond, 2*time.Second), func() {
		if sh.dead || s.link != link || s.up {
			return
		}
		view := sh.core.View()
		s.after(s.delay(), func() {
			if sh.dead || s.link != link {
				return
			}
			reconcile, doomed := s.compareBooks(view)
			if s.agentID == "" {
				s.agents++
				s.agentID = fmt.Sprintf("S%d", s.agents)
			}
			s.up = true
			s.lastTo, s.lastFrom = s.now, s.now
			s.note("master takes agent %s; %d to reconcile", s.agentID, len(reconcile))
			s.toAgent(lifecycle.Registered{Agent: s.agentID, Reconcile: reconcile})
			for _, id := range doomed {
				s.toAgent(lifecycle.ShutdownFramework{ID: id})
			}
		})
	})
}

// compareBooks lists tasks that the agent does not know, and frameworks that are no more.
func (s *sim) compareBooks(view *lifecycle.View) (out []*messages.ReconcileTasksMessage, doomed []lifecycle.FrameworkID) {
	there := map[lifecycle.TaskKey]bool{}
	clear(s.known)
	for _, fv := range view.Frameworks {
		id := lifecycle.FrameworkID(fv.Info.GetId().GetValue())
		if f := s.frameworkOf(id); f.removed {
			doomed = append(doomed, id)
		}
		for _, x := range fv.Executors {
			if !x.Generated && x.Phase != "TERMINATED" {
				s.known[lifecycle.ExecutorKey{Framework: id, Executor: lifecycle.ExecutorID(x.Info.GetExecutorId().GetValue())}] = true
			}
			for _, list := range [][]*mesos.Task{x.QueuedAs, x.Launched, x.Terminated} {
				for _, t := range list {
					there[lifecycle.TaskKey{Framework: id, Task: lifecycle.TaskID(t.GetTaskId().GetValue())}] = true
				}
			}
		}
	}
	for _, f := range s.frameworks {
		m := &messages.ReconcileTasksMessage{FrameworkId: &mesos.FrameworkID{Value: ptr(string(f.id))}, Framework: f.info()}
		for _, t := range s.history {
			if t.fw != f || f.removed || there[t.key] || lifecycle.Final(t.state) || t.lost || t.agent != s.agentID {
				continue
			}
			m.Statuses = append(m.Statuses, &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: ptr(string(t.key.Task))}, State: t.state.Enum()})
			t.asked = true
		}
		if len(m.Statuses) > 0 {
			s.did("reconciled")
			out = append(out, m)
		}
	}
	return out, doomed
}

// hears is the master's and the framework's side of an update.
func (s *sim) hears(t *task, u *messages.StatusUpdate) {
	st := u.GetStatus()
	if !lifecycle.Final(t.state) {
		t.state = st.GetState()
	}
	t.heard++
	f := t.fw
	if f.away || f.removed {
		return
	}
	times := 1
	switch {
	case s.chance(10):
		times = 0 // it gets lost
	case s.chance(10):
		times = 2
	}
	for range times {
		wait := s.delay()
		if s.chance(20) {
			wait = s.between(0, 30*time.Second)
		}
		s.after(wait, func() {
			if !f.removed {
				s.toAgent(lifecycle.Acknowledge{Framework: f.id, Task: t.key.Task, UUID: u.GetUuid()})
			}
		})
	}
}

// teardown ends a framework for good.
func (s *sim) teardown(f *framework) {
	s.note("framework %s is torn down", f.id)
	s.did("framework torn down")
	f.removed = true
	s.toAgent(lifecycle.ShutdownFramework{ID: f.id})
	for k := range s.known {
		if k.Framework == f.id {
			delete(s.known, k)
		}
	}
}

// live lists the frameworks that are still there.
func (s *sim) live() []*framework {
	var out []*framework
	for _, f := range s.frameworks {
		if !f.removed {
			out = append(out, f)
		}
	}
	return out
}

// open lists the tasks that the master takes for running.
func (s *sim) open() []*task {
	var out []*task
	for _, t := range s.history {
		if !t.fw.removed && !t.lost && !lifecycle.Final(t.state) {
			out = append(out, t)
		}
	}
	return out
}

// launch sends a task, or a group of them, to the agent.
func (s *sim) launchSome() {
	live := s.live()
	if len(live) == 0 || !s.up {
		return
	}
	f := live[s.rand.IntN(len(live))]
	if f.away && s.odds(2) {
		return
	}
	switch s.rand.IntN(10) {
	case 0, 1, 2:
		t := s.newTask(f, "")
		t.info.Command = &mesos.CommandInfo{Value: ptr("run")}
		s.runTask(t, nil)
	case 3:
		t := s.newTask(f, "")
		t.info.Command = &mesos.CommandInfo{Value: ptr("run")}
		t.info.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: &mesos.ContainerInfo_DockerInfo{Image: ptr("i")}}
		s.did("docker")
		s.runTask(t, nil)
	case 4, 5, 6:
		x := []string{"new0", "new1", "old0"}[s.rand.IntN(3)]
		t := s.newTask(f, x)
		t.info.Executor = s.customExecutor(x)
		s.runTask(t, s.expect(f, x))
	default:
		s.launchGroup(f)
	}
}

func (s *sim) customExecutor(x string) *mesos.ExecutorInfo {
	info := &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: ptr(x)}, Type: mesos.ExecutorInfo_CUSTOM.Enum(),
		Command: &mesos.CommandInfo{Value: ptr("./executor")}, Resources: []*mesos.Resource{scalar("cpus", 0.5)}}
	return info
}

// expect tells the agent whether the master believes the executor to run.
func (s *sim) expect(f *framework, x string) *bool {
	key := lifecycle.ExecutorKey{Framework: f.id, Executor: lifecycle.ExecutorID(x)}
	if s.chance(20) {
		return nil // an old master
	}
	fresh := !s.known[key]
	s.known[key] = true
	return &fresh
}

// soon does something to a task while it is being launched.
func (s *sim) soon(t *task) {
	if s.exact {
		return
	}
	s.after(s.between(0, 200*time.Millisecond), func() {
		switch s.rand.IntN(14) {
		case 0, 1:
			s.killTask(t)
		case 2, 3:
			s.shutdownExecutor(t)
		}
	})
	if s.chance(8) {
		s.after(s.between(0, 300*time.Millisecond), func() {
			if s.shell != nil {
				s.crash(s.between(0, 10*time.Second))
			}
		})
	}
}

func (s *sim) runTask(t *task, expect *bool) {
	s.soon(t)
	s.note("run %s on %q, expects a new executor: %v", t.key.Task, t.executor, expect != nil && *expect)
	s.toAgent(lifecycle.RunTask{Framework: t.fw.info(), FrameworkPID: t.fw.pid, Task: t.info, LaunchExecutor: expect})
}

// launchGroup sends a group, mostly as a pod of the default executor.
func (s *sim) launchGroup(f *framework) {
	x := fmt.Sprintf("pod%d", s.pods)
	info := &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: ptr(x)}, Type: mesos.ExecutorInfo_DEFAULT.Enum(), Resources: []*mesos.Resource{scalar("cpus", 0.25)}}
	switch s.rand.IntN(8) {
	case 0:
		x = []string{"new0", "old0"}[s.rand.IntN(2)]
		info = s.customExecutor(x)
	case 1, 2: // one more group for a pod that may be there
	default:
		s.pods++
	}
	if s.odds(3) {
		info.ShutdownGracePeriod = nanoseconds(s.between(0, 8*time.Second))
	}
	ev := lifecycle.RunTaskGroup{Framework: f.info(), Executor: info, LaunchExecutor: s.expect(f, x)}
	own := s.odds(4)
	var group []*task
	for range 1 + s.rand.IntN(3) {
		t := s.newTask(f, x)
		t.info.Command = &mesos.CommandInfo{Value: ptr("run")}
		if own && strings.HasPrefix(x, "pod") {
			t.info.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), LinuxInfo: &mesos.LinuxInfo{ShareCgroups: ptr(false)}}
		}
		group = append(group, t)
		ev.Tasks = append(ev.Tasks, t.info)
		s.note("run %s in a group on %q", t.key.Task, x)
	}
	for _, t := range group {
		t.group = group
	}
	s.soon(group[0])
	s.did("group")
	s.toAgent(ev)
}

func nanoseconds(d time.Duration) *mesos.DurationInfo {
	return &mesos.DurationInfo{Nanoseconds: ptr(d.Nanoseconds())}
}
