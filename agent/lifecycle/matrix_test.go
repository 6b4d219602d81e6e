package lifecycle

import (
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// told is how a task's end reaches its framework. Reason "" means that there is none.
type told struct {
	state, old     string // for frameworks that know partitions, and for old ones; old "" means the same
	reason, source string
	message        string
	healthy        *bool
	limited        bool
}

const a1 = "a" // the task that every row is about

// live starts task a as a command and has RUNNING told.
func (w *world) live(t *mesos.TaskInfo, caps ...mesos.FrameworkInfo_Capability_Type) {
	w.run(t, caps...)
	w.step(Started{Container: w.box[a1], PID: 7})
}

// onExecutor starts task a on custom executor x; subscribed tells how far that is.
func (w *world) onExecutor(subscribed bool, caps ...mesos.FrameworkInfo_Capability_Type) {
	w.run(executorTask(a1, "x"), caps...)
	w.step(Started{Container: w.box["x"], PID: 7})
	if subscribed {
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "x"}})
	}
}

// back restarts the agent with what the keeper says, ends recovery and registers.
func (w *world) back(live map[ContainerID]Live, rebooted bool) {
	w.restart(live, rebooted)
	w.step(RecoveryEnded{})
	w.step(Registered{Agent: "S0"})
}

// matrix is how tasks end (mesos-agent.md 1.5, 1.7, 2.3, 2.5, 9, 14.2): each row once for
// a framework that knows partitions and once for an old one.
var matrix = map[string]struct {
	play func(w *world, caps ...mesos.FrameworkInfo_Capability_Type)
	want told
}{
	"exit 0": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.step(Exited{Container: w.box[a1], Exit: ended(0)})
	}, told{state: "FINISHED", source: "EXECUTOR", message: "Command exited with status 0"}},
	"exit 3": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.step(Exited{Container: w.box[a1], Exit: ended(3)})
	}, told{state: "FAILED", source: "EXECUTOR", message: "Command exited with status 3"}},
	"signal": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.step(Exited{Container: w.box[a1], Exit: signalled(11)})
	}, told{state: "FAILED", source: "EXECUTOR", message: "Command terminated with signal Segmentation fault"}},
	"signal with core": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.step(Exited{Container: w.box[a1], Exit: Exit{Known: true, Signal: 6, CoreDumped: true}})
	}, told{state: "FAILED", source: "EXECUTOR", message: "Command terminated with signal Aborted (core dumped)"}},
	"status lost": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.step(Exited{Container: w.box[a1], Exit: Exit{Why: "nobody saw it"}})
	}, told{state: "FAILED", source: "EXECUTOR", message: "Failed to get exit status for Command: nobody saw it"}},
	"killed, exit 0": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.step(KillTask{Framework: "F", Task: a1})
		w.step(Exited{Container: w.box[a1], Exit: ended(0)})
	}, told{state: "KILLED", source: "EXECUTOR", message: "Command exited with status 0"}},
	"killed, status lost": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.step(KillTask{Framework: "F", Task: a1})
		w.step(Exited{Container: w.box[a1]})
	}, told{state: "KILLED", source: "EXECUTOR", message: "Failed to get exit status for Command"}},
	"unhealthy": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1, func(t *mesos.TaskInfo) {
			t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_TCP.Enum(), ConsecutiveFailures: ptr(uint32(1)), GracePeriodSeconds: ptr(0.0)}
		}), c...)
		w.step(Probe{Key: TaskKey{"F", a1}})
		w.step(Exited{Container: w.box[a1], Exit: signalled(15)})
	}, told{state: "KILLED", source: "EXECUTOR", message: "Command terminated with signal Terminated", healthy: ptr(false)}},
	"overdue": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1, func(t *mesos.TaskInfo) {
			t.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: ptr(int64(time.Second))}
		}), c...)
		w.sleep(time.Second)
		w.step(Exited{Container: w.box[a1], Exit: signalled(15)})
	}, told{state: "FAILED", reason: "MAX_COMPLETION_TIME_REACHED", source: "EXECUTOR", message: "Command terminated with signal Terminated"}},
	"memory": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.step(Exited{Container: w.box[a1], Exit: signalled(9), Limitation: &Limitation{
			Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, Message: "Memory limit exceeded", Resources: []*mesos.Resource{scalar("mem", 96, "")}}})
	}, told{state: "FAILED", reason: "CONTAINER_LIMITATION_MEMORY", source: "AGENT", message: "Memory limit exceeded", limited: true}},
	"terminal lost": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.step(Exited{Container: w.box[a1], Exit: signalled(1), Limitation: &Limitation{
			Reason: mesos.TaskStatus_REASON_IO_SWITCHBOARD_EXITED, Message: "'IOSwitchboard' exited with status 1"}})
	}, told{state: "FAILED", reason: "IO_SWITCHBOARD_EXITED", source: "AGENT", message: "'IOSwitchboard' exited with status 1"}},
	"launch failed": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.run(commandTask(a1), c...)
		w.step(LaunchFailed{Container: w.box[a1], Message: "no space"})
	}, told{state: "FAILED", reason: "CONTAINER_LAUNCH_FAILED", source: "AGENT", message: "Failed to launch container: no space"}},
	"killed while launching": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.run(commandTask(a1), c...)
		w.step(KillTask{Framework: "F", Task: a1})
	}, told{state: "KILLED", reason: "TASK_KILLED_DURING_LAUNCH", source: "AGENT", message: "Killed before delivery to the executor"}},
	"kill of an unknown task": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.run(commandTask("other"), c...)
		w.step(KillTask{Framework: "F", Task: a1})
	}, told{state: "DROPPED", old: "LOST", reason: "EXECUTOR_TERMINATED", source: "AGENT", message: "Cannot find executor"}},
	"id in use": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.run(executorTask("other", a1), c...)
		w.run(commandTask(a1), c...)
	}, told{state: "DROPPED", old: "LOST", reason: "TASK_INVALID", source: "AGENT", message: "Cannot reuse an already existing executor for a command task"}},
	"executor died": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.onExecutor(true, c...)
		w.step(Exited{Container: w.box["x"], Exit: ended(1)})
	}, told{state: "FAILED", reason: "EXECUTOR_TERMINATED", source: "AGENT", message: "Executor terminated"}},
	"executor died before it registered": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.onExecutor(false, c...)
		w.step(Exited{Container: w.box["x"], Exit: ended(1)})
	}, told{state: "FAILED", reason: "EXECUTOR_TERMINATED", source: "AGENT", message: "Executor terminated"}},
	"executor never registered": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.onExecutor(false, c...)
		w.sleep(time.Minute)
		w.step(Exited{Container: w.box["x"], Exit: signalled(9)})
	}, told{state: "FAILED", reason: "EXECUTOR_REGISTRATION_TIMEOUT", source: "AGENT", message: "Executor did not register within 1mins"}},
	"executor out of memory": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.onExecutor(true, c...)
		w.step(Exited{Container: w.box["x"], Exit: signalled(9), Limitation: &Limitation{
			Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, Message: "Memory limit exceeded", Resources: []*mesos.Resource{scalar("mem", 96, "")}}})
	}, told{state: "FAILED", reason: "CONTAINER_LIMITATION_MEMORY", source: "AGENT", message: "Memory limit exceeded", limited: true}},
	"executor shut down": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.onExecutor(true, c...)
		w.step(ShutdownExecutor{Key: ExecutorKey{"F", "x"}})
		w.step(Exited{Container: w.box["x"], Exit: ended(0)})
	}, told{state: "FAILED", reason: "EXECUTOR_TERMINATED", source: "AGENT", message: "Executor terminated"}},
	"executor's limits failed": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.slow = true
		w.onExecutor(true, c...)
		w.step(Resized{Container: w.box["x"], Failure: "EIO"})
	}, told{state: "GONE", old: "LOST", reason: "CONTAINER_UPDATE_FAILED", source: "AGENT", message: "Failed to update resources for container: EIO"}},
	"launch on an executor that is to be new": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.run(executorTask("other", "x"), c...)
		w.step(RunTask{Framework: frameworkInfo(c...), Task: executorTask(a1, "x"), LaunchExecutor: ptr(true)})
	}, told{state: "DROPPED", old: "LOST", reason: "EXECUTOR_TERMINATED", source: "AGENT", message: "Master wants to launch executor, but one already exists"}},
	"launch on an executor that is to be there": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.step(RunTask{Framework: frameworkInfo(c...), Task: executorTask(a1, "x"), LaunchExecutor: ptr(false)})
	}, told{state: "DROPPED", old: "LOST", reason: "EXECUTOR_TERMINATED", source: "AGENT", message: "No executor is expected to launch and there is no executor running"}},

	"agent restarted, never started": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.run(commandTask(a1), c...)
		w.back(nil, false)
	}, told{state: "DROPPED", old: "LOST", reason: "SLAVE_RESTARTED", source: "AGENT", message: "Task launched during agent restart"}},
	"agent restarted, ended meanwhile": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.back(map[ContainerID]Live{w.box[a1]: {PID: 7, Ended: true, Exit: ended(4)}}, false)
	}, told{state: "FAILED", source: "EXECUTOR", message: "Command exited with status 4"}},
	"agent restarted, started and ended unseen": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.run(commandTask(a1), c...)
		w.back(map[ContainerID]Live{w.box[a1]: {PID: 7, Ended: true, Exit: ended(0)}}, false)
	}, told{state: "FINISHED", source: "EXECUTOR", message: "Command exited with status 0"}},
	"agent restarted, killed meanwhile": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.step(KillTask{Framework: "F", Task: a1})
		w.back(map[ContainerID]Live{w.box[a1]: {PID: 7, Ended: true, Exit: signalled(15)}}, false)
	}, told{state: "KILLED", source: "EXECUTOR", message: "Command terminated with signal Terminated"}},
	"agent restarted, keeper without a record": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.back(nil, false)
	}, told{state: "FAILED", reason: "EXECUTOR_TERMINATED", source: "AGENT", message: "Executor terminated"}},
	"host rebooted": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.live(commandTask(a1), c...)
		w.back(nil, true)
	}, told{state: "FAILED", reason: "EXECUTOR_TERMINATED", source: "AGENT", message: "Executor terminated; the host was rebooted"}},
	"agent restarted, LAUNCH was lost": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.onExecutor(true, c...)
		w.restart(map[ContainerID]Live{w.box["x"]: {PID: 7}}, false)
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "x"}})
		w.step(RecoveryEnded{})
		w.step(Registered{Agent: "S0"})
	}, told{state: "DROPPED", old: "LOST", reason: "SLAVE_RESTARTED", source: "AGENT", message: "Task launched during agent restart"}},
	"agent restarted, executor does not come back": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.onExecutor(true, c...)
		w.back(map[ContainerID]Live{w.box["x"]: {PID: 7}}, false)
		w.step(Exited{Container: w.box["x"], Exit: signalled(9)})
	}, told{state: "GONE", old: "LOST", reason: "EXECUTOR_REREGISTRATION_TIMEOUT", source: "AGENT", message: "Executor did not reregister within 2secs"}},
	"agent restarted, executor died meanwhile": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.onExecutor(true, c...)
		w.back(map[ContainerID]Live{w.box["x"]: {PID: 7, Ended: true, Exit: ended(1)}}, false)
	}, told{state: "FAILED", reason: "EXECUTOR_TERMINATED", source: "AGENT", message: "Executor terminated"}},
	"master asks for a task that is not here": {func(w *world, c ...mesos.FrameworkInfo_Capability_Type) {
		w.step(Registered{Agent: "S0", Reconcile: reconcile(a1, c...)})
	}, told{state: "DROPPED", old: "LOST", reason: "RECONCILIATION", source: "AGENT", message: "Reconciliation: Task is unknown to the agent"}},
}

func TestMatrixOfEnds(t *testing.T) {
	for name, row := range matrix {
		for kind, caps := range map[string][]mesos.FrameworkInfo_Capability_Type{"partition-aware": {partition}, "old": nil} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				w := newWorld(t)
				w.step(Registered{Agent: "S0"})
				row.play(w, caps...)
				want := row.want
				if kind == "old" && want.old != "" {
					want.state = want.old
				}
				var got told
				ends := 0
				for i := 0; i < 10; i++ { // acknowledge until nothing waits
					s := w.a.streams[TaskKey{"F", a1}]
					if s == nil || s.head() == nil {
						break
					}
					st := s.head().GetStatus()
					if terminal(st.GetState()) {
						ends++
						got = told{state: short(st.GetState()), source: strings.TrimPrefix(st.GetSource().String(), "SOURCE_"), message: st.GetMessage(), limited: st.Limitation != nil}
						if st.Reason != nil {
							got.reason = strings.Replace(strings.TrimPrefix(st.GetReason().String(), "REASON_"), "AGENT_RESTARTED", "SLAVE_RESTARTED", 1)
						}
						got.healthy = st.Healthy
						if st.GetAgentId().GetValue() != "S0" || len(st.GetUuid()) != 16 || st.Timestamp == nil {
							t.Errorf("unfit: %v", st)
						}
					}
					w.ack(a1)
				}
				if ends != 1 {
					t.Fatalf("%d ends\n%s", ends, w.log.String())
				}
				if (got.healthy == nil) != (want.healthy == nil) || got.healthy != nil && *got.healthy != *want.healthy {
					t.Errorf("healthy: %v", got.healthy)
				}
				got.healthy, want.healthy, want.old = nil, nil, ""
				if got != want {
					t.Errorf("told %+v, want %+v", got, want)
				}
			})
		}
	}
}

// A framework that does not checkpoint loses its tasks with the agent: nothing is recorded
// of them, and what of them lives on is destroyed without a word (mesos-agent.md 9).
func TestWithoutCheckpointNothingComesBack(t *testing.T) {
	w := newWorld(t)
	w.step(Registered{Agent: "S0"})
	f := frameworkInfo(partition)
	f.Checkpoint = ptr(false)
	w.step(RunTask{Framework: f, Task: commandTask(a1)})
	w.step(Started{Container: w.box[a1], PID: 7})
	if len(w.saved) != 0 {
		t.Errorf("recorded: %v", w.saved)
	}
	w.log.Reset()
	w.back(map[ContainerID]Live{w.box[a1]: {PID: 7}}, false)
	if got := w.log.String(); !strings.Contains(got, "destroy a\n") || strings.Contains(got, "send") {
		t.Errorf("after the restart:\n%s", got)
	}
}

// A task killed while it was being launched: when the agent goes away before it sees the
// start, what started is destroyed afterwards, whether the end was acknowledged or not.
func TestKilledAtLaunchOverARestart(t *testing.T) {
	for _, acknowledged := range []bool{true, false} {
		w := newWorld(t)
		w.step(Registered{Agent: "S0"})
		w.run(commandTask(a1))
		w.step(KillTask{Framework: "F", Task: a1})
		if acknowledged {
			w.ack(a1)
		}
		w.log.Reset()
		w.back(map[ContainerID]Live{w.box[a1]: {PID: 7}}, false)
		if got := w.lines(0, "destroy"); len(got) != 1 || got[0] != "destroy a" {
			t.Errorf("acknowledged %v: after the restart\n%s", acknowledged, w.log.String())
		}
		if !acknowledged {
			w.ack(a1)
		}
		w.step(Exited{Container: w.box[a1], Exit: signalled(9)})
		if text := w.log.String(); strings.Contains(text, "RUNNING") || len(w.a.frameworks) != 0 {
			t.Errorf("acknowledged %v: %d frameworks are left\n%s", acknowledged, len(w.a.frameworks), text)
		}
	}
}

func reconcile(task string, caps ...mesos.FrameworkInfo_Capability_Type) []*messages.ReconcileTasksMessage {
	return []*messages.ReconcileTasksMessage{{
		FrameworkId: &mesos.FrameworkID{Value: ptr("F")}, Framework: frameworkInfo(caps...),
		Statuses: []*mesos.TaskStatus{{TaskId: &mesos.TaskID{Value: ptr(task)}}},
	}}
}
