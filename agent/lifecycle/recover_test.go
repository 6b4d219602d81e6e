package lifecycle

import (
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// begun is a world whose agent is registered.
func begun(t *testing.T) *world {
	w := newWorld(t)
	w.step(Registered{Agent: "S0"})
	return w
}

// A pod that a limit ends while one of its containers is still being launched goes away
// after a restart too: what never started does not hold its end up.
func TestLimitedPodWithUnstartedMemberOverARestart(t *testing.T) {
	w := begun(t)
	w.pod(commandTask("a"), commandTask("b"))
	w.up("a")
	w.step(Limited{Container: w.box["p"], Limitation: Limitation{Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_DISK, Message: "too much"}})
	w.gone("a", signalled(9))
	w.back(map[ContainerID]Live{w.box["p"]: {PID: 5}}, false)
	if got := w.lines(0, "destroy p"); len(got) != 1 {
		t.Fatalf("the pod's root is destroyed %d times\n%s", len(got), w.log.String())
	}
	w.gone("p", signalled(9))
	w.ackAll()
	if left := w.a.Leftovers(); left != "" || len(w.saved) != 0 {
		t.Errorf("left: %s and %d records\n%s", left, len(w.saved), w.log.String())
	}
	if got := w.lines(0, "send b FAILED"); len(got) == 0 || !strings.Contains(got[0], "CONTAINER_LIMITATION_DISK") {
		t.Errorf("b's end: %q", got)
	}
}

// max_completion_time counts from the start of the process, not from the first word
// about the launch, after a restart of the agent as well.
func TestCompletionTimeOverARestart(t *testing.T) {
	w := begun(t)
	w.run(commandTask(a1, func(t *mesos.TaskInfo) {
		t.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: ptr(int64(time.Minute))}
	}))
	w.step(Progress{Container: w.box[a1], Message: "Pulling image"}) // told as STARTING
	w.sleep(50 * time.Second)
	w.step(Started{Container: w.box[a1], PID: 7})
	w.sleep(20 * time.Second)
	w.back(map[ContainerID]Live{w.box[a1]: {PID: 7}}, false)
	w.sleep(39 * time.Second)
	if got := w.lines(0, "kill"); len(got) != 0 {
		t.Fatalf("ended too early\n%s", w.log.String())
	}
	w.sleep(time.Second)
	if got := w.lines(0, "kill a grace 0s"); len(got) != 1 {
		t.Errorf("not ended in time\n%s", w.log.String())
	}
}

// A pod's task killed while its container was being launched: when the agent goes away
// before it sees the start, nothing is told of it but the end.
func TestMemberKilledAtLaunchOverARestart(t *testing.T) {
	for name, live := range map[string]Live{"lives": {PID: 10}, "ended": {PID: 10, Ended: true, Exit: ended(0)}} {
		w := begun(t)
		w.pod(commandTask("a"), commandTask("b"))
		w.up("b")
		w.ack("a")
		w.step(KillTask{Framework: "F", Task: "a"})
		mark := w.log.Len()
		w.back(map[ContainerID]Live{w.box["p"]: {PID: 5}, w.box["b"]: {PID: 11}, w.box["a"]: live}, false)
		if !live.Ended {
			if got := w.lines(mark, "destroy a"); len(got) != 1 {
				t.Errorf("%s: destroyed %d times\n%s", name, len(got), w.log.String())
			}
			w.gone("a", signalled(9))
		}
		w.ackAll()
		if got := w.lines(mark, "send a RUNNING"); len(got) != 0 {
			t.Errorf("%s: told as running\n%s", name, w.log.String())
		}
		if got := w.lines(mark, "send a KILLED"); len(got) != 1 {
			t.Errorf("%s: told as killed %d times\n%s", name, len(got), w.log.String())
		}
	}
}

// A command task's executor that was shut down while it was being launched, and whose
// start was seen nevertheless, ends after a restart that came before its end.
func TestShutDownAtLaunchOverARestart(t *testing.T) {
	w := begun(t)
	w.run(commandTask(a1))
	w.step(ShutdownExecutor{Key: ExecutorKey{"F", a1}})
	w.step(Started{Container: w.box[a1], PID: 7})
	mark := w.log.Len()
	w.back(map[ContainerID]Live{w.box[a1]: {PID: 7}}, false)
	if got := w.lines(mark, "destroy a"); len(got) != 1 {
		t.Fatalf("destroyed %d times\n%s", len(got), w.log.String())
	}
	w.gone(a1, signalled(9))
	w.ackAll()
	if left := w.a.Leftovers(); left != "" || len(w.saved) != 0 {
		t.Errorf("left: %s and %d records\n%s", left, len(w.saved), w.log.String())
	}
}

// Members of a pod that have ended while their framework was shut down, of which nobody
// is told, are not started again by a restart that comes before the end of the pod.
func TestShutDownFrameworksPodOverARestart(t *testing.T) {
	w := begun(t)
	w.pod(commandTask("a"), commandTask("b"), commandTask("c"))
	w.up("b", "c")
	w.step(ShutdownFramework{ID: "F"})
	w.step(LaunchFailed{Container: w.box["a"], Message: "the launch was given up"})
	w.gone("b", signalled(15))
	mark := w.log.Len()
	w.back(map[ContainerID]Live{w.box["p"]: {PID: 5}, w.box["c"]: {PID: 12, Ended: true, Exit: signalled(15)}}, false)
	if got := w.lines(mark, "launch"); len(got) != 0 {
		t.Errorf("launched %q\n%s", got, w.log.String())
	}
	if got := w.lines(mark, "destroy p"); len(got) != 1 {
		t.Fatalf("the root is destroyed %d times\n%s", len(got), w.log.String())
	}
	w.gone("p", signalled(9))
	w.ackAll()
	if left := w.a.Leftovers(); left != "" || len(w.saved) != 0 {
		t.Errorf("left: %s and %d records\n%s", left, len(w.saved), w.log.String())
	}
}

// An operator's kill of a container whose launch has just succeeded is carried out when
// the start is seen.
func TestOperatorKillsAtLaunch(t *testing.T) {
	w := begun(t)
	w.run(commandTask(a1))
	w.step(ContainerCall{Request: 1, Op: CallKill, ID: w.box[a1], Signal: 9})
	mark := w.log.Len()
	w.step(Started{Container: w.box[a1], PID: 7})
	if got := w.lines(mark, "destroy a"); len(got) != 1 {
		t.Errorf("destroyed %d times\n%s", len(got), w.log.String())
	}
	w.gone(a1, signalled(9))
	w.ackAll()
	if left := w.a.Leftovers(); left != "" {
		t.Errorf("left: %s\n%s", left, w.log.String())
	}
}

// A kill of a task whose launch is being given up is not forgotten with the agent.
func TestKillOfWhatIsGivenUpOverARestart(t *testing.T) {
	w := begun(t)
	w.run(commandTask(a1))
	w.step(ShutdownExecutor{Key: ExecutorKey{"F", a1}})
	w.step(KillTask{Framework: "F", Task: a1})
	mark := w.log.Len()
	w.back(map[ContainerID]Live{w.box[a1]: {PID: 7}}, false)
	if got := w.lines(mark, "destroy a"); len(got) != 1 {
		t.Errorf("destroyed %d times\n%s", len(got), w.log.String())
	}
	if got := w.lines(mark, "send a KILLED"); len(got) != 1 {
		t.Errorf("told as killed %d times\n%s", len(got), w.log.String())
	}

	w = begun(t)
	w.group("p", commandTask("a"), commandTask("b"))
	w.step(ShutdownExecutor{Key: ExecutorKey{"F", "p"}})
	w.step(KillTask{Framework: "F", Task: "a"})
	mark = w.log.Len()
	w.back(map[ContainerID]Live{w.box["p"]: {PID: 5}}, false)
	if got := w.lines(mark, "launch"); len(got) != 0 || len(w.lines(mark, "destroy p")) != 1 {
		t.Errorf("launched %q\n%s", got, w.log.String())
	}
	w.gone("p", signalled(9))
	w.ackAll()
	if got := w.lines(mark, "send "); len(got) != 2 || w.a.Leftovers() != "" {
		t.Errorf("told %q, left %s\n%s", got, w.a.Leftovers(), w.log.String())
	}
}

// A pod that is being ended ends after a restart too, whatever of it has ended before:
// by an operator, or by the limit of a member that shares its control group.
func TestEndingPodOverARestart(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"operator": func(w *world) {
			w.step(ContainerCall{Request: 1, Op: CallKill, ID: w.box["p"], Signal: 9})
			w.gone("a", signalled(9))
		},
		"limit": func(w *world) {
			w.step(Exited{Container: w.box["a"], Exit: signalled(9), Limitation: &Limitation{
				Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, Message: "too much"}})
		},
	} {
		w := begun(t)
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a", "b")
		end(w)
		mark := w.log.Len()
		w.back(map[ContainerID]Live{w.box["p"]: {PID: 5}, w.box["b"]: {PID: 11}}, false)
		if got := w.lines(mark, "destroy b"); len(got) != 1 || len(w.lines(mark, "start checks")) != 0 {
			t.Errorf("%s: destroyed %q\n%s", name, got, w.log.String())
		}
		w.gone("b", signalled(9))
		if got := w.lines(mark, "destroy p"); len(got) != 1 {
			t.Errorf("%s: the root is destroyed %d times\n%s", name, len(got), w.log.String())
		}
		w.gone("p", signalled(9))
		w.ackAll()
		if left := w.a.Leftovers(); left != "" || len(w.saved) != 0 {
			t.Errorf("%s: left: %s and %d records\n%s", name, left, len(w.saved), w.log.String())
		}
	}
}

// A framework that is shut down while a pod of it is being ended leaves no checks.
func TestNoChecksOfAShutDownFramework(t *testing.T) {
	w := begun(t)
	w.pod(commandTask("a", func(t *mesos.TaskInfo) { t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_TCP.Enum()} }))
	w.up("a")
	w.step(ContainerCall{Request: 1, Op: CallKill, ID: w.box["p"], Signal: 9})
	w.step(ShutdownFramework{ID: "F"})
	w.gone("a", signalled(9))
	w.gone("p", signalled(9))
	if got := w.lines(0, "stop checks"); len(got) == 0 {
		t.Errorf("still checked\n%s", w.log.String())
	}
	if left := w.a.Leftovers(); left != "" {
		t.Errorf("left: %s\n%s", left, w.log.String())
	}
}

// A task that was killed before its start was seen, and has ended by the time of a
// restart, is not checked.
func TestNoChecksOfWhatHasEnded(t *testing.T) {
	w := begun(t)
	w.run(commandTask(a1, func(t *mesos.TaskInfo) { t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_TCP.Enum()} }))
	w.step(KillTask{Framework: "F", Task: a1})
	w.back(map[ContainerID]Live{w.box[a1]: {PID: 7, Ended: true, Exit: signalled(9)}}, false)
	if got := w.lines(0, "start checks"); len(got) != 0 {
		t.Errorf("checked\n%s", w.log.String())
	}
}
