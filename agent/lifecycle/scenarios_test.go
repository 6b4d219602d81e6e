package lifecycle

import (
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

func ended(code int) Exit    { return Exit{Known: true, Code: code} }
func signalled(sig int) Exit { return Exit{Known: true, Signal: sig} }

const (
	killing   = mesos.FrameworkInfo_Capability_TASK_KILLING_STATE
	partition = mesos.FrameworkInfo_Capability_PARTITION_AWARE
)

// scenarios are scripts; their full output stands in testdata.
var scenarios = map[string]func(w *world){
	"finish": func(w *world) {
		w.run(commandTask("a"))
		w.step(Started{Container: w.box["a"], PID: 7})
		w.ack("a")
		w.ack("a")
		w.step(Exited{Container: w.box["a"], Exit: ended(0)})
		w.ack("a")
	},
	"fail": func(w *world) {
		w.run(commandTask("a"))
		w.step(Started{Container: w.box["a"], PID: 7})
		w.step(Exited{Container: w.box["a"], Exit: ended(3)})
		w.run(commandTask("b"))
		w.step(Started{Container: w.box["b"], PID: 8})
		w.step(Exited{Container: w.box["b"], Exit: signalled(9)})
		w.run(commandTask("c"))
		w.step(Started{Container: w.box["c"], PID: 9})
		w.step(Exited{Container: w.box["c"]})
		for range 3 {
			w.ack("a")
			w.ack("b")
			w.ack("c")
		}
	},
	"kill": func(w *world) {
		w.run(commandTask("a"), killing)
		w.step(Started{Container: w.box["a"], PID: 7})
		w.ack("a")
		w.ack("a")
		w.step(KillTask{Framework: "F", Task: "a"})
		w.step(KillTask{Framework: "F", Task: "a", Policy: policy(10 * time.Second)}) // longer: no effect
		w.step(KillTask{Framework: "F", Task: "a", Policy: policy(time.Second)})      // shorter
		w.step(Exited{Container: w.box["a"], Exit: signalled(15)})
		w.ack("a")
		w.ack("a")
	},
	"image": func(w *world) {
		image := func(t *mesos.TaskInfo) { t.Container = imageBox() }
		w.run(commandTask("refused", image))
		w.ack("refused")
		w.a.cfg.Images = true
		w.run(commandTask("a", image))
		w.step(Progress{Container: w.box["a"], Message: "Pulling image x: 1 MB of 2 MB"})
		w.step(Progress{Container: w.box["a"], Message: "Pulling image x: 2 MB of 2 MB"}) // not told: the first waits
		w.ack("a")
		w.step(Started{Container: w.box["a"], PID: 7})
		w.step(Progress{Container: w.box["a"], Message: "late"})
		w.ack("a")
		w.step(Exited{Container: w.box["a"], Exit: ended(0)})
		w.ack("a")
		w.a.cfg.DefaultContainer = imageBox()
		w.run(commandTask("b"))
		w.step(KillTask{Framework: "F", Task: "b"})
		w.step(Progress{Container: w.box["b"], Message: "late"})
		w.step(LaunchFailed{Container: w.box["b"], Message: "the launch was given up"})
		w.ack("b")
	},
	"kill-before-launch": func(w *world) {
		w.run(commandTask("a"))
		w.step(KillTask{Framework: "F", Task: "a"})
		w.step(Started{Container: w.box["a"], PID: 7}) // too late to stop the start
		w.step(Exited{Container: w.box["a"], Exit: signalled(9)})
		w.ack("a")
		w.run(commandTask("b"))
		w.step(KillTask{Framework: "F", Task: "b"})
		w.step(LaunchFailed{Container: w.box["b"], Message: "the launch was given up"})
		w.ack("b")
		w.step(KillTask{Framework: "F", Task: "nobody"}) // framework unknown by now
	},
	"launch-fails": func(w *world) {
		w.run(commandTask("a"))
		w.step(LaunchFailed{Container: w.box["a"], Message: "Failed to fetch all URIs"})
		w.ack("a")
		w.run(commandTask("b", func(t *mesos.TaskInfo) { t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum()} }))
		w.run(commandTask("../c"))
		w.run(commandTask("d", func(t *mesos.TaskInfo) { t.Command = nil }))
		w.run(commandTask("e", func(t *mesos.TaskInfo) { t.AgentId = &mesos.AgentID{Value: ptr("S9")} }))
	},
	"out-of-memory": func(w *world) {
		w.run(commandTask("a"))
		w.step(Started{Container: w.box["a"], PID: 7})
		w.step(Exited{Container: w.box["a"], Exit: signalled(9), Limitation: &Limitation{
			Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, Message: "Memory limit exceeded: Requested: 96MB Maximum Used: 96MB"}})
		w.ack("a")
		w.ack("a")
		w.ack("a")
	},
	"health": func(w *world) {
		w.run(commandTask("a", func(t *mesos.TaskInfo) {
			t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_TCP.Enum(), ConsecutiveFailures: ptr(uint32(2)), GracePeriodSeconds: ptr(10.0)}
			t.KillPolicy = policy(time.Second)
		}))
		w.step(Started{Container: w.box["a"], PID: 7})
		w.ack("a")
		w.ack("a")
		probe := func(ok bool) {
			w.step(Probe{Key: TaskKey{"F", "a"}, Healthy: ok})
			if h := w.a.streams[TaskKey{"F", "a"}].head(); h != nil {
				w.ack("a")
			}
		}
		probe(false) // within the grace period
		probe(true)
		probe(true)
		probe(false) // the grace period ended with the first success
		probe(true)
		probe(false)
		probe(false) // the second in a row: killed
		probe(false) // checks are over
		w.step(Exited{Container: w.box["a"], Exit: signalled(15)})
		w.ack("a")
	},
	"check": func(w *world) {
		w.run(commandTask("a", func(t *mesos.TaskInfo) { t.Check = &mesos.CheckInfo{Type: mesos.CheckInfo_COMMAND.Enum()} }))
		w.step(Started{Container: w.box["a"], PID: 7})
		result := func(code int32) Checked {
			return Checked{Key: TaskKey{"F", "a"}, Status: &mesos.CheckStatusInfo{Type: mesos.CheckInfo_COMMAND.Enum(),
				Command: &mesos.CheckStatusInfo_Command{ExitCode: ptr(code)}}}
		}
		w.step(result(1))
		w.step(result(1)) // no change, no update
		w.step(result(2))
		w.ack("a")
		w.ack("a")
		w.ack("a")
		w.ack("a")
	},
	"completion-time": func(w *world) {
		w.run(commandTask("a", func(t *mesos.TaskInfo) {
			t.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: ptr(int64(5 * time.Second))}
		}), killing)
		w.step(Started{Container: w.box["a"], PID: 7})
		w.ack("a")
		w.ack("a")
		w.sleep(5 * time.Second)
		w.step(Exited{Container: w.box["a"], Exit: signalled(15)})
	},
	"resend": func(w *world) {
		w.run(commandTask("a"))
		w.step(Started{Container: w.box["a"], PID: 7})
		w.sleep(75 * time.Second) // after 10, 30 and 70 s
		w.step(Disconnected{})
		w.sleep(time.Hour)
		w.step(Registered{Agent: "S0"})
		w.step(UpdateFramework{ID: "F", PID: "scheduler(1)@10.0.0.9:1"})
		w.step(Acknowledge{Framework: "F", Task: "a", UUID: []byte("0123456789abcdef")}) // not the head
		w.ack("a")
	},
	"reconcile": func(w *world) {
		w.run(commandTask("a"), partition)
		w.step(Registered{Agent: "S0", Reconcile: []*messages.ReconcileTasksMessage{{
			FrameworkId: &mesos.FrameworkID{Value: ptr("F")}, Framework: frameworkInfo(partition),
			Statuses: []*mesos.TaskStatus{{TaskId: &mesos.TaskID{Value: ptr("a")}}, {TaskId: &mesos.TaskID{Value: ptr("lost")}}},
		}}})
		w.ack("lost")
	},
	"teardown": func(w *world) {
		w.run(commandTask("a"))
		w.step(Started{Container: w.box["a"], PID: 7})
		w.run(commandTask("b"))
		w.step(ShutdownFramework{ID: "F"})
		w.step(Exited{Container: w.box["a"], Exit: signalled(15)})
		w.step(LaunchFailed{Container: w.box["b"], Message: "the launch was given up"})
	},
	"executor": func(w *world) {
		w.run(executorTask("t1", "x"))
		w.run(executorTask("t2", "x"))
		w.step(Started{Container: w.box["x"], PID: 7})
		w.step(KillTask{Framework: "F", Task: "t2"}) // still queued
		key := ExecutorKey{"F", "x"}
		w.step(ExecutorSubscribed{Key: key})
		status := func(task string, s mesos.TaskState, uuid string) *mesos.TaskStatus {
			return &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: ptr(task)}, State: s.Enum(), Uuid: []byte(uuid), Data: []byte("d")}
		}
		w.step(ExecutorUpdate{Key: key, Status: status("t1", mesos.TaskState_TASK_RUNNING, "aaaaaaaaaaaaaaaa")})
		w.step(ExecutorUpdate{Key: key, Status: status("t1", mesos.TaskState_TASK_RUNNING, "aaaaaaaaaaaaaaaa")}) // again
		w.step(FrameworkMessage{Key: key, Data: []byte("hello")})
		w.step(ExecutorMessage{Key: key, Data: []byte("hello back")})
		w.run(executorTask("t3", "x"))
		w.step(ExecutorUpdate{Key: key, Status: status("t1", mesos.TaskState_TASK_FINISHED, "bbbbbbbbbbbbbbbb")})
		w.ack("t1")
		w.ack("t1")
		w.step(Exited{Container: w.box["x"], Exit: ended(1)})
		w.ack("t2")
		w.ack("t3")
	},
	"executor-never-comes": func(w *world) {
		w.run(executorTask("t1", "x"), partition)
		w.step(Started{Container: w.box["x"], PID: 7})
		w.sleep(time.Minute)
		w.step(Exited{Container: w.box["x"], Exit: signalled(9)})
		w.ack("t1")
	},
	"restart": func(w *world) {
		w.run(commandTask("lives"))
		w.run(commandTask("ended"))
		w.run(commandTask("dying"), killing)
		for _, n := range []string{"lives", "ended", "dying"} {
			w.step(Started{Container: w.box[n], PID: 7})
			w.ack(n)
			w.ack(n)
		}
		w.step(KillTask{Framework: "F", Task: "dying"})
		w.run(commandTask("forked"))
		w.run(commandTask("unborn"))
		w.now = w.now.Add(time.Minute)
		w.restart(map[ContainerID]Live{
			w.box["lives"]: {PID: 7}, w.box["dying"]: {PID: 7}, w.box["forked"]: {PID: 9},
			w.box["ended"]: {PID: 7, Ended: true, Exit: ended(4)}, "stranger": {PID: 11},
		}, false)
		w.step(RecoveryEnded{})
		w.step(Registered{Agent: "S0"})
	},
	// Ended while the agent was away: containers without tasks, those of tasks whose end is
	// told, and strangers; each is forgotten once.
	"restart-ended": func(w *world) {
		w.run(executorTask("t1", "idle"))
		w.step(Started{Container: w.box["idle"], PID: 7})
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "idle"}})
		w.step(ExecutorUpdate{Key: ExecutorKey{"F", "idle"}, Status: &mesos.TaskStatus{
			TaskId: &mesos.TaskID{Value: ptr("t1")}, State: mesos.TaskState_TASK_FINISHED.Enum(), Uuid: []byte("aaaaaaaaaaaaaaaa")}})
		w.ack("t1")
		w.run(commandTask("busy"))
		w.step(Started{Container: w.box["busy"], PID: 8})
		w.ack("busy")
		w.ack("busy")
		w.restart(map[ContainerID]Live{
			w.box["idle"]: {PID: 7, Ended: true, Exit: ended(0)}, w.box["busy"]: {PID: 8, Ended: true, Exit: ended(1)},
			"stranger": {PID: 9, Ended: true, Exit: ended(0)},
		}, false)
		w.step(RecoveryEnded{})
		w.step(Registered{Agent: "S0"})
		w.ack("busy")
		for _, id := range []ContainerID{w.box["idle"], w.box["busy"], "stranger"} {
			if n := strings.Count(w.log.String(), "  forget "+w.name(id)+"\n"); n != 1 {
				w.t.Errorf("%s is forgotten %d times", id, n)
			}
		}
	},
	"reboot": func(w *world) {
		w.run(commandTask("a"))
		w.step(Started{Container: w.box["a"], PID: 7})
		w.ack("a")
		w.restart(nil, true)
		w.step(RecoveryEnded{})
		w.step(Registered{Agent: "S0"})
		w.ack("a")
		w.ack("a")
	},
	"restart-executors": func(w *world) {
		w.run(executorTask("t1", "back"), partition)
		w.run(executorTask("t2", "away"), partition)
		for _, x := range []string{"back", "away"} {
			w.step(Started{Container: w.box[x], PID: 7})
			w.step(ExecutorSubscribed{Key: ExecutorKey{"F", ExecutorID(x)}})
		}
		w.restart(map[ContainerID]Live{w.box["back"]: {PID: 7}, w.box["away"]: {PID: 7}}, false)
		if !w.a.AwaitsExecutors() {
			w.t.Error("nobody is waited for")
		}
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "back"}, Tasks: []*mesos.TaskInfo{executorTask("t1", "back")}})
		w.step(RecoveryEnded{})
		w.step(Exited{Container: w.box["away"], Exit: signalled(9)})
		w.step(Registered{Agent: "S0"})
	},
}

func policy(d time.Duration) *mesos.KillPolicy {
	return &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: ptr(d.Nanoseconds())}}
}

func TestScenarios(t *testing.T) {
	for name, play := range scenarios {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.a.Step(w.now, Registered{Agent: "S0"})
			play(w)
			w.compare(name)
		})
	}
}

func TestTexts(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{ended(1).text(), "Command exited with status 1"},
		{signalled(9).text(), "Command terminated with signal Killed"},
		{Exit{Known: true, Signal: 11, CoreDumped: true}.text(), "Command terminated with signal Segmentation fault (core dumped)"},
		{Exit{}.text(), "Failed to get exit status for Command"},
		{commandExecutorName(commandTask("t", func(t *mesos.TaskInfo) { t.Command.Value = ptr("echo hello from db") })),
			"Command Executor (Task: t) (Command: sh -c 'echo hello f...')"},
		{DurationText(5 * time.Second), "5secs"},
		{DurationText(15 * time.Minute), "15mins"},
		{DurationText(90 * time.Minute), "1.5hrs"},
		{DurationText(250 * time.Millisecond), "250ms"},
		{DurationText(0), "0ns"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func imageBox() *mesos.ContainerInfo {
	return &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), Mesos: &mesos.ContainerInfo_MesosInfo{
		Image: &mesos.Image{Type: mesos.Image_DOCKER.Enum(), Docker: &mesos.Image_Docker{Name: ptr("x")}},
	}}
}

// What differs in the environment of a container with an image (mesos-agent.md 7.7).
func TestRootedEnvironment(t *testing.T) {
	w := newWorld(t)
	w.a.cfg.Images = true
	for name, c := range map[string]struct {
		task *mesos.TaskInfo
		want map[string]string
	}{
		"plain": {commandTask("p"), map[string]string{"PATH": defaultPath, "MESOS_SANDBOX": "/w/"}},
		"image": {commandTask("i", func(t *mesos.TaskInfo) { t.Container = imageBox() }), map[string]string{"PATH": "", "MESOS_SANDBOX": "/mnt/mesos/sandbox", "MESOS_DIRECTORY": "/w/"}},
		"own path": {commandTask("o", func(t *mesos.TaskInfo) {
			t.Container = imageBox()
			t.Command.Environment = &mesos.Environment{Variables: []*mesos.Environment_Variable{{Name: ptr("PATH"), Value: ptr(defaultPath)}}}
		}), map[string]string{"PATH": defaultPath}},
	} {
		f := w.a.ensureFramework(frameworkInfo(), "")
		e := w.a.addExecution(f, w.a.commandExecutor(f, c.task), true)
		w.a.addTask(e, c.task)
		got := map[string]string{}
		for _, v := range w.a.environment(e) {
			k, value, _ := strings.Cut(v, "=")
			got[k] = value
		}
		for k, want := range c.want {
			if !strings.HasPrefix(got[k], want) || want == "" && got[k] != "" {
				t.Errorf("%s: %s is %q, want %q", name, k, got[k], want)
			}
		}
	}
}
