package lifecycle

import (
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func podExecutor(id string) *mesos.ExecutorInfo {
	return &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: ptr(id)}, Type: mesos.ExecutorInfo_DEFAULT.Enum(),
		Resources: []*mesos.Resource{scalar("cpus", 0.1, "dev"), scalar("mem", 32, "dev")}}
}

// pod launches a group of tasks on the DEFAULT executor "p"; the root gets process 5.
func (w *world) pod(tasks ...*mesos.TaskInfo) {
	w.group("p", tasks...)
	w.step(Started{Container: w.box["p"], PID: 5})
}

func (w *world) group(executor string, tasks ...*mesos.TaskInfo) {
	w.step(RunTaskGroup{Framework: frameworkInfo(killing, partition), Executor: podExecutor(executor), Tasks: tasks})
}

func (w *world) up(tasks ...string) {
	for i, t := range tasks {
		w.step(Started{Container: w.box[t], PID: 10 + i})
	}
}

func (w *world) gone(name string, x Exit) { w.step(Exited{Container: w.box[name], Exit: x}) }

// ackAll acknowledges until nothing waits.
func (w *world) ackAll() {
	for again := true; again; {
		again = false
		for _, s := range w.a.sortedStreams() {
			if s.head() != nil && s.task != nil {
				w.ack(string(s.key.Task))
				again = true
				break
			}
		}
	}
}

var podScenarios = map[string]func(w *world){
	"pod-finish": func(w *world) { // each task finishes by itself: siblings are left alone
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a", "b")
		w.gone("a", ended(0))
		w.gone("b", ended(0))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-fail": func(w *world) { // one fails: the others of its group are killed
		w.pod(commandTask("a"), commandTask("b"))
		w.group("p", commandTask("c"))
		w.up("a", "b", "c")
		w.gone("b", ended(4))
		w.gone("a", signalled(15))
		w.gone("c", ended(0))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-kill": func(w *world) {
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a", "b")
		w.step(KillTask{Framework: "F", Task: "a", Policy: policy(7 * time.Second)})
		w.step(KillTask{Framework: "F", Task: "a", Policy: policy(time.Second)}) // a pod's grace does not shrink
		w.gone("a", signalled(15))
		w.gone("b", ended(0)) // killed by us, whatever its status
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-kill-queued": func(w *world) {
		w.group("p", commandTask("a"), commandTask("b"))
		w.step(KillTask{Framework: "F", Task: "b"})
		w.step(LaunchFailed{Container: w.box["p"], Message: "the launch was given up"})
		w.ackAll()
	},
	"pod-kill-launching": func(w *world) {
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a")
		w.step(KillTask{Framework: "F", Task: "b"})
		w.step(LaunchFailed{Container: w.box["b"], Message: "the launch was given up"})
		w.gone("a", signalled(15))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-undeliverable": func(w *world) {
		w.group("p", commandTask("a"), commandTask("b"))
		w.step(LaunchFailed{Container: w.box["p"], Message: "no space"})
		w.ackAll()
		no := false
		w.step(RunTaskGroup{Framework: frameworkInfo(partition), Executor: podExecutor("q"), LaunchExecutor: &no, Tasks: []*mesos.TaskInfo{commandTask("c"), commandTask("d")}})
	},
	"pod-launch-fails": func(w *world) {
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a")
		w.step(LaunchFailed{Container: w.box["b"], Message: "Unknown CNI network 'x'"})
		w.gone("a", signalled(15))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-completion-time": func(w *world) {
		w.pod(commandTask("a", func(t *mesos.TaskInfo) {
			t.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: ptr(int64(3 * time.Second))}
		}), commandTask("b"))
		w.up("a", "b")
		w.ackAll()
		w.sleep(4 * time.Second)
		w.gone("a", signalled(9))
		w.gone("b", signalled(15))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-health": func(w *world) {
		w.pod(commandTask("a", func(t *mesos.TaskInfo) {
			t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND.Enum(), ConsecutiveFailures: ptr(uint32(1)),
				GracePeriodSeconds: ptr(0.0), Command: &mesos.CommandInfo{Value: ptr("false")}}
		}), commandTask("b"))
		w.up("a", "b")
		w.step(Probe{Key: TaskKey{"F", "a"}})
		w.gone("a", signalled(15))
		w.gone("b", signalled(15))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-shutdown": func(w *world) {
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a", "b")
		w.ackAll()
		w.step(ShutdownExecutor{Key: ExecutorKey{"F", "p"}})
		w.gone("a", signalled(15))
		w.sleep(6 * time.Second) // b does not go: it is destroyed
		w.gone("b", signalled(9))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-out-of-memory": func(w *world) {
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a", "b")
		w.step(Exited{Container: w.box["a"], Exit: signalled(9), Limitation: &Limitation{
			Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, Message: "Memory limit exceeded"}})
		w.gone("b", signalled(9))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-own-cgroup-out-of-memory": func(w *world) {
		own := func(t *mesos.TaskInfo) {
			t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), LinuxInfo: &mesos.LinuxInfo{ShareCgroups: ptr(false)}}
		}
		w.pod(commandTask("a", own), commandTask("b", own))
		w.up("a", "b")
		w.step(Exited{Container: w.box["a"], Exit: signalled(9), Limitation: &Limitation{
			Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, Message: "Memory limit exceeded"}})
		w.gone("b", signalled(15))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-root-dies": func(w *world) {
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a", "b")
		w.gone("p", signalled(9))
		w.gone("a", signalled(9))
		w.gone("b", signalled(9))
		w.ackAll()
	},
	"pod-restart": func(w *world) { // a runs on, b ended meanwhile, c was never started
		w.pod(commandTask("a"), commandTask("b"))
		w.group("p", commandTask("c"))
		w.up("a", "b")
		w.ackAll()
		w.restart(map[ContainerID]Live{
			w.box["p"]: {PID: 5}, w.box["a"]: {PID: 10}, w.box["b"]: {PID: 11, Ended: true, Exit: ended(0)}, w.box["p"] + ".session": {PID: 77},
		}, false)
		w.step(Registered{Agent: "S0"})
		w.step(RecoveryEnded{})
		w.up("c")
		w.gone("a", ended(1))
		w.gone("c", ended(0))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-restart-killing": func(w *world) {
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a", "b")
		w.step(KillTask{Framework: "F", Task: "a"})
		w.restart(map[ContainerID]Live{w.box["p"]: {PID: 5}, w.box["a"]: {PID: 10}, w.box["b"]: {PID: 11}}, false)
		w.step(Registered{Agent: "S0"})
		w.gone("a", signalled(15))
		w.gone("b", signalled(15))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"pod-restart-undelivered": func(w *world) {
		w.group("p", commandTask("a"), commandTask("b"))
		w.restart(nil, false)
		w.step(Registered{Agent: "S0"})
		w.ackAll()
	},
	"pod-reboot": func(w *world) {
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a", "b")
		w.restart(nil, true)
		w.step(Registered{Agent: "S0"})
		w.ackAll()
	},
	"group-custom-executor": func(w *world) {
		ex := &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: ptr("x")}, Type: mesos.ExecutorInfo_CUSTOM.Enum(), Command: &mesos.CommandInfo{Value: ptr("./executor")}}
		w.step(RunTaskGroup{Framework: frameworkInfo(), Executor: ex, Tasks: []*mesos.TaskInfo{commandTask("a"), commandTask("b")}})
		w.run(executorTask("c", "x"))
		w.step(Started{Container: w.box["x"], PID: 5})
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "x"}})
		w.step(RunTaskGroup{Framework: frameworkInfo(), Executor: ex, Tasks: []*mesos.TaskInfo{commandTask("d"), commandTask("e")}})
	},
	"default-executor-plain-task": func(w *world) {
		t := commandTask("a")
		t.Command, t.Executor = nil, podExecutor("p")
		w.run(t)
	},
	"nested-calls": func(w *world) {
		w.run(commandTask("t"))
		w.step(Started{Container: w.box["t"], PID: 7})
		root := w.box["t"]
		cmd := &mesos.CommandInfo{Value: ptr("true")}
		w.step(ContainerCall{Request: 1, Op: CallLaunch, ID: root + ".x", Command: cmd})
		w.step(ContainerCall{Request: 2, Op: CallKill, ID: root + ".nope", Signal: 9})
		w.up("x")
		w.step(ContainerCall{Request: 3, Op: CallLaunch, ID: root + ".x", Command: cmd})
		w.step(ContainerCall{Request: 4, Op: CallWait, ID: root + ".x"})
		w.step(ContainerCall{Request: 5, Op: CallRemove, ID: root + ".x"})
		w.step(ContainerCall{Request: 6, Op: CallKill, ID: root + ".x", Signal: 15})
		w.step(ContainerCall{Request: 7, Op: CallLaunch, ID: root + ".x.y", Command: cmd})
		w.up("y")
		w.gone("y", ended(0))
		w.gone("x", signalled(15))
		w.step(ContainerCall{Request: 8, Op: CallWait, ID: root + ".x"})
		w.step(ContainerCall{Request: 9, Op: CallRemove, ID: root + ".x"})
		w.step(ContainerCall{Request: 10, Op: CallWait, ID: root + ".x"})
		w.step(ContainerCall{Request: 11, Op: CallRemove, ID: root + ".x"})
		w.step(ContainerCall{Request: 12, Op: CallLaunch, ID: "alone", Command: cmd})
		w.step(ContainerCall{Request: 13, Op: CallLaunch, ID: "nobody.x", Command: cmd})
		w.step(ContainerCall{Request: 14, Op: CallWait, ID: root})
		w.step(ContainerCall{Request: 15, Op: CallLaunch, ID: root + ".s", Command: cmd, Session: true})
		w.up("s")
		w.step(ContainerCall{Request: 16, Op: CallDestroy, ID: root + ".s"})
		w.gone("s", signalled(9))
		w.gone("t", ended(0))
		w.step(ContainerCall{Request: 17, Op: CallWait, ID: root + ".s"})
	},
}

func TestPodScripts(t *testing.T) {
	for name, play := range podScenarios {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.step(Registered{Agent: "S0"})
			play(w)
			w.compare(name)
			if len(w.a.nested) > 0 && len(w.a.containers) == 0 {
				t.Errorf("%d nested containers outlive their roots", len(w.a.nested))
			}
		})
	}
}
