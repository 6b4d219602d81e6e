package lifecycle_test

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// task is one task that the master has sent, and all that was told of it.
type task struct {
	key      lifecycle.TaskKey
	fw       *framework
	info     *mesos.TaskInfo
	executor string // custom one or pod; empty for a command task
	group    []*task
	agent    string          // id of the agent it was sent to
	state    mesos.TaskState // as the master knows it
	heard    int
	asked    bool   // the master asked the agent about it
	stopped  bool   // by the agent that stops, since it would not survive
	late     bool   // a kill came after its end was acknowledged
	lost     bool   // by rule: its agent is another one, or went away without checkpoints
	excuse   string // why it may be ended
	killed   int    // batch in which a kill reached the core while the task was there; 0: none

	sent   []*mesos.TaskStatus // by the agent, each uuid once
	acked  map[string]int      // uuid -> batch in which the core took the acknowledgement
	began  time.Time           // when its process was started
	lastBy int                 // agent process that sent the newest
}

func (s *sim) newTask(f *framework, executor string) *task {
	id := fmt.Sprintf("t%d", len(s.history))
	t := &task{key: lifecycle.TaskKey{Framework: f.id, Task: lifecycle.TaskID(id)}, fw: f, executor: executor, agent: s.agentID,
		acked: map[string]int{}, state: mesos.TaskState_TASK_STAGING}
	t.info = &mesos.TaskInfo{Name: ptr(id), TaskId: &mesos.TaskID{Value: ptr(id)}, AgentId: &mesos.AgentID{Value: ptr(s.agentID)},
		Resources: []*mesos.Resource{scalar("cpus", 1), scalar("mem", 64)}}
	if s.odds(4) {
		t.info.KillPolicy = &mesos.KillPolicy{GracePeriod: nanoseconds(s.between(0, 10*time.Second))}
	}
	if s.odds(5) {
		t.info.MaxCompletionTime = nanoseconds(s.between(0, time.Minute))
	}
	if !s.calm && s.odds(4) {
		t.info.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_TCP.Enum(), ConsecutiveFailures: ptr(uint32(1 + s.rand.IntN(3))), GracePeriodSeconds: ptr(float64(s.rand.IntN(10)))}
	}
	if s.odds(5) {
		t.info.Check = &mesos.CheckInfo{Type: mesos.CheckInfo_COMMAND.Enum(), Command: &mesos.CheckInfo_Command{}}
	}
	s.tasks[t.key] = t
	s.history = append(s.history, t)
	return t
}

func (t *task) custom() bool {
	return strings.HasPrefix(t.executor, "new") || strings.HasPrefix(t.executor, "old")
}

func (t *task) last() *mesos.TaskStatus {
	if len(t.sent) == 0 {
		return nil
	}
	return t.sent[len(t.sent)-1]
}

// loose tells an update that nothing on disk stands for.
func loose(st *mesos.TaskStatus) bool { return st.GetExecutorId() == nil }

// sent takes a status update from the agent and compares it with those before.
func (s *sim) sent(sh *shell, u *messages.StatusUpdate) {
	st := u.GetStatus()
	t := s.tasks[lifecycle.TaskKey{Framework: lifecycle.FrameworkID(u.GetFrameworkId().GetValue()), Task: lifecycle.TaskID(st.GetTaskId().GetValue())}]
	if t == nil {
		s.fail("update about task %s, which nobody launched", st.GetTaskId().GetValue())
	}
	if string(u.GetUuid()) != string(st.GetUuid()) || len(st.GetUuid()) != 16 || st.GetAgentId().GetValue() != s.agentID || st.Timestamp == nil {
		s.fail("malformed update %v", u)
	}
	s.inOrder(sh, t, st)
	if s.chance(12) {
		return // it gets lost
	}
	u = proto.CloneOf(u)
	s.toMaster(func() { s.hears(t, u) })
}

func (s *sim) inOrder(sh *shell, t *task, st *mesos.TaskStatus) {
	uuid, last := string(st.GetUuid()), t.last()
	if last != nil && string(last.GetUuid()) == uuid {
		if at, done := t.acked[uuid]; done && at >= s.first && at < s.batch {
			s.fail("update %s of %s is sent again after its acknowledgement", st.GetState(), t.key.Task)
		}
		return
	}
	if _, here := sh.core.StateOf(t.key); t.custom() && !here && last != nil && lifecycle.Final(last.GetState()) && t.lastBy != s.gen {
		return // its executor did not hear of an acknowledgement, and an agent does not know what it held before (mesos-agent.md 1.4)
	}
	if t.stopped {
		return // by the agent that stops: its stream is gone, and the master may ask about it
	}
	for _, x := range t.sent {
		if string(x.GetUuid()) == uuid {
			s.fail("update %s of %s is sent again after a later one", st.GetState(), t.key.Task)
		}
	}
	if last != nil && t.late && loose(st) {
		t.late = false
		t.sent, t.lastBy = append(t.sent, st), s.gen
		return // the answer to a kill that came when all was over (mesos-agent.md 2.5)
	}
	restarted := last != nil && loose(last) && t.lastBy != s.gen // such updates go with the agent's process
	switch {
	case last == nil, restarted:
	case t.acked[string(last.GetUuid())] == 0:
		s.fail("update %s of %s is sent before %s is acknowledged", st.GetState(), t.key.Task, last.GetState())
	case lifecycle.Final(last.GetState()):
		s.fail("update %s of %s after its end, %s (%s)", st.GetState(), t.key.Task, last.GetState(), last.GetMessage())
	case rankOf(st.GetState()) < rankOf(last.GetState()):
		s.fail("update %s of %s after %s", st.GetState(), t.key.Task, last.GetState())
	case st.GetState() == last.GetState() && st.Reason == nil && st.GetMessage() == last.GetMessage() && !strings.HasPrefix(st.GetMessage(), "Pulling"):
		s.fail("update %s of %s is told twice, under two uuids", st.GetState(), t.key.Task)
	}
	if t.lost && t.fw.durable && t.agent != s.agentID {
		s.fail("agent %s tells %s of task %s, which was another agent's", s.agentID, st.GetState(), t.key.Task)
	}
	t.sent = append(t.sent, st)
	t.lastBy = s.gen
	s.did(st.GetState().String())
}

// excuse takes note of what an event allows the core to do, before it is taken.
func (s *sim) excuse(sh *shell, ev lifecycle.Event) {
	all := func(f lifecycle.FrameworkID, x lifecycle.ExecutorID, why string) {
		for id, l := range s.launched {
			if f == "" || l.Key.Framework == f && (x == "" || l.Key.Executor == x) {
				s.excuses[id] = why
			}
		}
		for _, t := range s.history {
			if f == "" || t.key.Framework == f && (x == "" || t.executor == string(x) || string(t.key.Task) == string(x)) {
				t.excuse = why
				t.stopped = t.stopped || why == "framework shut down" && !t.fw.durable
			}
		}
	}
	switch ev := ev.(type) {
	case lifecycle.KillTask:
		if t := s.tasks[lifecycle.TaskKey{Framework: ev.Framework, Task: ev.Task}]; t != nil {
			t.excuse = "kill"
			st, here := sh.core.StateOf(t.key)
			if here && !lifecycle.Final(st) {
				t.killed = s.batch
			}
			t.late = !here && lifecycle.Final(t.last().GetState())
		}
	case lifecycle.Acknowledge:
		if t := s.tasks[lifecycle.TaskKey{Framework: ev.Framework, Task: ev.Task}]; t != nil {
			t.acked[string(ev.UUID)] = s.batch
		}
	case lifecycle.ShutdownFramework:
		all(ev.ID, "", "framework shut down")
	case lifecycle.ShutdownExecutor:
		all(ev.Key.Framework, ev.Key.Executor, "executor shut down")
	case lifecycle.KillAll, lifecycle.Drain:
		all("", "", "all are to end")
	case lifecycle.Limited:
		s.excuses[ev.Container] = "limited"
	case lifecycle.ContainerCall:
		if ev.Op == lifecycle.CallKill || ev.Op == lifecycle.CallDestroy {
			s.excuses[ev.ID] = "operator"
		}
	case lifecycle.CallGone:
		s.excuses[ev.ID] = "its client is gone"
	case lifecycle.Probe:
		if t := s.tasks[ev.Key]; t != nil && !ev.Healthy {
			t.excuse = "unhealthy"
		}
	case lifecycle.Resized:
		if ev.Failure != "" {
			s.excuses[ev.Container] = "its limits could not be set"
		}
	case lifecycle.RunTask:
		if x := ev.Task.GetExecutor(); x != nil && (ev.LaunchExecutor == nil || *ev.LaunchExecutor) {
			all(lifecycle.FrameworkID(ev.Framework.GetId().GetValue()), lifecycle.ExecutorID(x.GetExecutorId().GetValue()), "the master wants another one")
		}
	case lifecycle.RunTaskGroup:
		if ev.LaunchExecutor == nil || *ev.LaunchExecutor {
			all(lifecycle.FrameworkID(ev.Framework.GetId().GetValue()), lifecycle.ExecutorID(ev.Executor.GetExecutorId().GetValue()), "the master wants another one")
		}
	case lifecycle.RecoveryEnded:
		for _, id := range s.order {
			if b := s.boxes[id]; b.exec != nil && b.exec.streams > 0 && (b.exec.stream != sh || sh.core.AwaitsExecutors()) {
				s.excuses[id] = "it did not come back"
			}
		}
	case lifecycle.LaunchFailed:
		s.excuses[ev.Container] = "it was not launched"
	case lifecycle.Exited:
		s.excuses[ev.Container] = "it has ended"
	}
}

// mayEnd checks that the end of a container was asked for, or follows from a rule.
func (s *sim) mayEnd(sh *shell, id lifecycle.ContainerID, how string) {
	l := s.launched[id]
	if l == nil {
		s.fail("container %s is %s, which nobody launched", id, how)
	}
	f := s.frameworkOf(l.Key.Framework)
	switch {
	case s.excuses[id] != "", s.excuses[rootOf(id)] != "", f.removed, !f.durable && l.gen != s.gen:
		return
	case l.Session && l.gen != s.gen:
		return // sessions end with the agent's process
	case l.Nested && s.excuses[parentOf(id)] != "":
		return
	}
	if l.Task != "" {
		if !s.excused(sh, s.tasks[lifecycle.TaskKey{Framework: l.Key.Framework, Task: l.Task}]) {
			s.fail("container %s of task %s is %s, and nobody asked for that", id, l.Task, how)
		}
		return
	}
	if strings.HasPrefix(string(l.Key.Executor), "pod") || !l.Nested {
		idle := true
		for _, t := range s.history {
			if t.fw == f && t.executor == string(l.Key.Executor) {
				if st, here := sh.core.StateOf(t.key); here && !lifecycle.Final(st) {
					idle = false
				}
			}
		}
		tooLate := strings.HasPrefix(string(l.Key.Executor), "pod") || !s.now.Before(l.at.Add(time.Minute))
		if idle || tooLate && !strings.HasPrefix(string(l.Key.Executor), "pod") {
			return
		}
		s.fail("container %s of executor %s is %s, and nobody asked for that", id, l.Key.Executor, how)
	}
	s.fail("container %s is %s, and nobody asked for that", id, how)
}

func parentOf(id lifecycle.ContainerID) lifecycle.ContainerID {
	return id[:max(0, strings.LastIndexByte(string(id), '.'))]
}

// excused tells whether a task may be ended: it was asked for, it is over, its time is, or
// another of its group has failed.
func (s *sim) excused(sh *shell, t *task) bool {
	over := func(x *task) (mesos.TaskState, bool) {
		if st, here := sh.core.StateOf(x.key); here {
			return st, lifecycle.Final(st)
		}
		return x.last().GetState(), true
	}
	if _, done := over(t); done || t.excuse != "" || t.lost {
		return true
	}
	m := t.info.GetMaxCompletionTime()
	if m != nil && !t.began.IsZero() && !s.now.Before(t.began.Add(time.Duration(m.GetNanoseconds())-time.Millisecond)) {
		return true
	}
	for _, x := range t.group {
		if st, done := over(x); x != t && (done && st != mesos.TaskState_TASK_FINISHED || x.excuse != "") {
			return true
		}
	}
	return false
}

// fits checks that a container is never given more than what was launched for it.
func (s *sim) fits(ef lifecycle.Resize) {
	l := s.launched[ef.Container]
	most := 0.5
	for _, t := range s.history {
		if t.key.Framework == l.Key.Framework && t.executor == string(l.Key.Executor) {
			if st := t.last(); st == nil || !lifecycle.Final(st.GetState()) || t.acked[string(st.GetUuid())] == 0 {
				most++
			}
		}
	}
	got := 0.0
	for _, r := range ef.Resources {
		if r.GetName() == "cpus" {
			got += r.GetScalar().GetValue()
		}
	}
	if got > most {
		s.fail("container %s is given %v CPUs, and at most %v were launched", ef.Container, got, most)
	}
}
