package lifecycle

import (
	"encoding/binary"
	"strconv"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// An executor that was still starting when the agent went away has its time to subscribe,
// anew, and not only the short one of those that come back; in the end it is given up as
// one that never came (mesos-agent.md 1.7).
func TestExecutorNeverHeardOverARestart(t *testing.T) {
	key := ExecutorKey{"F", "x"}
	for _, recorded := range []bool{true, false} { // that its process was started
		begin := func() *world {
			w := newWorld(t)
			w.step(Registered{Agent: "S0"})
			w.run(executorTask("t", "x"), partition)
			if recorded {
				w.step(Started{Container: w.box["x"], PID: 7})
			}
			w.restart(map[ContainerID]Live{w.box["x"]: {PID: 7}}, false)
			if w.a.AwaitsExecutors() {
				t.Errorf("recorded %v: the recovery waits for an executor that nobody knows yet", recorded)
			}
			w.step(RecoveryEnded{})
			w.step(Registered{Agent: "S0"})
			return w
		}
		w := begin()
		mark := w.log.Len()
		w.step(ExecutorSubscribed{Key: key})
		if got := w.lines(mark, "to x LAUNCH"); len(got) != 1 {
			t.Errorf("recorded %v: it subscribed and got %s", recorded, w.log.String()[mark:])
		}
		w = begin()
		mark = w.log.Len()
		w.sleep(time.Minute - 1)
		if got := w.lines(mark, "destroy"); len(got) > 0 {
			t.Errorf("recorded %v: too soon: %v", recorded, got)
		}
		w.sleep(1)
		w.step(Exited{Container: w.box["x"], Exit: signalled(9)})
		if got := w.lines(mark, "send t FAILED"); len(got) != 1 || w.heads["t"].GetStatus().GetReason() != mesos.TaskStatus_REASON_EXECUTOR_REGISTRATION_TIMEOUT {
			t.Errorf("recorded %v: %s", recorded, w.log.String()[mark:])
		}
		w = begin()
		w.step(KillTask{Framework: "F", Task: "t"})
		mark = w.log.Len()
		w.step(ExecutorSubscribed{Key: key})
		if got := w.lines(mark, "to x SHUTDOWN"); len(got) != 1 {
			t.Errorf("recorded %v: nothing is left for it to do, and it got %s", recorded, w.log.String()[mark:])
		}
	}
}

// One that has subscribed and is idle goes on after a restart.
func TestIdleExecutorOverARestart(t *testing.T) {
	w := newWorld(t)
	key := ExecutorKey{"F", "x"}
	w.step(Registered{Agent: "S0"})
	w.run(executorTask("t", "x"))
	w.step(Started{Container: w.box["x"], PID: 7})
	w.step(ExecutorSubscribed{Key: key})
	w.step(ExecutorUpdate{Key: key, Status: executorStatus("t", mesos.TaskState_TASK_FINISHED, 101)})
	w.ack("t")
	w.restart(map[ContainerID]Live{w.box["x"]: {PID: 7}}, false)
	if !w.a.AwaitsExecutors() {
		t.Error("nobody waits for it")
	}
	mark := w.log.Len()
	w.step(ExecutorSubscribed{Key: key})
	w.step(RecoveryEnded{})
	w.sleep(2 * time.Minute)
	if got := w.lines(mark, "to x "); len(got) != 1 || got[0] != "to x SUBSCRIBED" || len(w.lines(mark, "destroy")) > 0 {
		t.Errorf("%s", w.log.String()[mark:])
	}
}

// An executor whose end is recorded and not told to everybody yet is known: it hears that
// it is to end when it subscribes (mesos-agent.md 1.5).
func TestEndedExecutorSubscribes(t *testing.T) {
	w := newWorld(t)
	key := ExecutorKey{"F", "x"}
	w.step(Registered{Agent: "S0"})
	w.run(executorTask("t", "x"))
	w.step(Started{Container: w.box["x"], PID: 7})
	w.step(ExecutorSubscribed{Key: key})
	w.step(Exited{Container: w.box["x"], Exit: ended(1)})
	if f, e, _ := w.a.Standing(key); !f || !e {
		t.Error("it is unknown before its task's end is acknowledged")
	}
	mark := w.log.Len()
	w.step(ExecutorSubscribed{Key: key})
	if got := w.lines(mark, "to x "); len(got) != 1 || got[0] != "to x SHUTDOWN" || len(w.lines(mark, "CloseExecutor")) != 1 {
		t.Errorf("%s", w.log.String()[mark:])
	}
	w.ack("t")
	if f, _, _ := w.a.Standing(key); f {
		t.Error("its framework is known when nothing of it is left")
	}
	w.step(ExecutorUpdate{Key: key, Status: executorStatus("t", mesos.TaskState_TASK_RUNNING, 9)})
	if n := w.a.View().Counters.InvalidUpdates; n != 1 {
		t.Errorf("%d invalid updates", n)
	}
}

// What an executor tells without end neither grows what is remembered of its updates nor,
// while the framework is away, what waits for it; states are never left out.
func TestChattyExecutor(t *testing.T) {
	w := newWorld(t)
	key := ExecutorKey{"F", "x"}
	w.step(Registered{Agent: "S0"})
	w.run(executorTask("t", "x"))
	w.step(Started{Container: w.box["x"], PID: 7})
	w.step(ExecutorSubscribed{Key: key})
	acked := 0
	tell := func(i int, s mesos.TaskState) {
		uuid := binary.BigEndian.AppendUint64(make([]byte, 8), uint64(i))
		for _, ef := range w.a.Step(w.now, ExecutorUpdate{Key: key, Status: &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: ptr("t")}, State: s.Enum(), Uuid: uuid}}).Effects {
			if to, ok := ef.(ToExecutor); ok && to.Event.GetType() == executor.Event_ACKNOWLEDGED {
				acked++
			}
		}
	}
	const n = 3 * maxPending
	tell(1, mesos.TaskState_TASK_STARTING)
	for i := 2; i < n; i++ {
		tell(i, mesos.TaskState_TASK_RUNNING)
	}
	tell(n-1, mesos.TaskState_TASK_RUNNING) // again
	tell(n, mesos.TaskState_TASK_FINISHED)
	s := w.a.streams[TaskKey{"F", "t"}]
	if len(s.pending) != maxPending+1 || len(s.seen) != maxSeen || acked != n+1 {
		t.Errorf("%d pending, %d seen, %d acknowledged", len(s.pending), len(s.seen), acked)
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(s.pending[i].GetUuid()[8:]) }
	if at(0) != 1 || at(1) != 2 || at(maxPending-2) != maxPending-1 || at(maxPending-1) != n-1 || at(maxPending) != n {
		t.Errorf("pending: %d, %d … %d, %d, %d", at(0), at(1), at(maxPending-2), at(maxPending-1), at(maxPending))
	}
}

// mesos-agent.md 1.8: a message to an executor that is not there is dropped and counted.
func TestMessagesToExecutorsThatAreAway(t *testing.T) {
	w := newWorld(t)
	key := ExecutorKey{"F", "x"}
	w.step(Registered{Agent: "S0"})
	w.step(FrameworkMessage{Key: key, Data: []byte("nobody")})
	w.run(executorTask("t", "x"))
	w.step(FrameworkMessage{Key: key, Data: []byte("launching")})
	w.step(Started{Container: w.box["x"], PID: 7})
	w.step(FrameworkMessage{Key: key, Data: []byte("registering")})
	w.step(ExecutorSubscribed{Key: key})
	w.step(FrameworkMessage{Key: key, Data: []byte("there")})
	w.step(ShutdownExecutor{Key: key})
	w.step(FrameworkMessage{Key: key, Data: []byte("ending")})
	if c := w.a.View().Counters; c.ValidMessages != 1 || c.InvalidMessages != 4 || len(w.lines(0, "to x MESSAGE")) != 1 {
		t.Errorf("%d valid, %d invalid, %v", c.ValidMessages, c.InvalidMessages, w.lines(0, "to x MESSAGE"))
	}
}

// mesos-agent.md 6.3: how much of the past is remembered.
func TestHistoryIsBounded(t *testing.T) {
	w := newWorld(t)
	w.a.cfg.MaxExecutors = 5
	w.step(Registered{Agent: "S0"})
	key := ExecutorKey{"F", "x"}
	w.run(executorTask("t", "x"))
	w.step(Started{Container: w.box["x"], PID: 7})
	w.step(ExecutorSubscribed{Key: key})
	for i := range maxCompletedTasks + 10 {
		id := "t" + strconv.Itoa(i)
		w.run(executorTask(id, "x"))
		st := executorStatus(id, mesos.TaskState_TASK_FINISHED, 0)
		binary.BigEndian.PutUint32(st.Uuid, uint32(i+1))
		w.step(ExecutorUpdate{Key: key, Status: st})
		w.ack(id)
	}
	done := w.a.View().Frameworks[0].Executors[0].Completed
	if len(done) != maxCompletedTasks || done[0].GetTaskId().GetValue() != "t10" {
		t.Errorf("%d tasks, the oldest %v", len(done), done[0].GetTaskId())
	}
	for i := range 8 {
		id := "c" + strconv.Itoa(i)
		w.run(commandTask(id))
		w.step(Started{Container: w.box[id], PID: 8})
		w.step(Exited{Container: w.box[id], Exit: ended(0)})
		for range 3 {
			w.ack(id)
		}
	}
	ended := w.a.View().Frameworks[0].Completed
	if len(ended) != 5 || ended[0].Info.GetExecutorId().GetValue() != "c3" {
		t.Errorf("%d executors, the oldest %v", len(ended), ended[0].Info.GetExecutorId())
	}
	for i := range maxCompletedFrameworks + 3 {
		f := frameworkInfo()
		f.Id = &mesos.FrameworkID{Value: ptr("F" + strconv.Itoa(i))}
		id := "f" + strconv.Itoa(i)
		w.step(RunTask{Framework: f, Task: commandTask(id)})
		w.step(LaunchFailed{Container: w.box[id], Message: "no"})
		w.step(Acknowledge{Framework: FrameworkID(f.GetId().GetValue()), Task: TaskID(id), UUID: w.heads[id].GetUuid()})
	}
	gone := w.a.View().Completed
	if len(gone) != maxCompletedFrameworks || gone[0].Info.GetId().GetValue() != "F3" {
		t.Errorf("%d frameworks, the oldest %v", len(gone), gone[0].Info.GetId())
	}
}

// mesos-agent.md 2.1: with --no-switch_user everything runs as the agent's own user.
func TestNoSwitchUser(t *testing.T) {
	for _, c := range []struct {
		own, byDefault string
		no             bool
		want           string
	}{{"", "", false, "bob"}, {"carol", "", false, "carol"}, {"", "dave", false, "dave"}, {"carol", "dave", false, "carol"}, {"carol", "dave", true, ""}, {"", "", true, ""}} {
		w := newWorld(t)
		w.a.cfg.SwitchUser, w.a.cfg.DefaultUser = !c.no, c.byDefault
		w.step(Registered{Agent: "S0"})
		task := commandTask("t")
		if c.own != "" {
			task.Command.User = ptr(c.own)
		}
		for _, ef := range w.a.Step(w.now, RunTask{Framework: frameworkInfo(), Task: task}).Effects {
			if l, ok := ef.(Launch); ok && l.User != c.want {
				t.Errorf("%+v: runs as %q", c, l.User)
			}
		}
	}
}
