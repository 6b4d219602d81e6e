package lifecycle

import (
	"testing"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// oldScripts are about executors of the v0 API and about limits that follow their tasks;
// their full output stands in testdata.
var oldScripts = map[string]func(w *world){
	"v0-executor": func(w *world) {
		const x = "executor(1)@10.0.0.1:4000"
		key := ExecutorKey{"F", "x"}
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "nobody"}, UPID: x}) // a stranger must end
		w.run(executorTask("t1", "x"), partition)
		w.step(ExecutorSubscribed{Key: key, UPID: x}) // before its start is known here
		w.step(Started{Container: w.box["x"], PID: 7})
		w.step(ExecutorSubscribed{Key: key, UPID: x}) // once is enough
		w.step(ExecutorUpdate{Key: key, UPID: x, Status: executorStatus("t1", mesos.TaskState_TASK_RUNNING, 101)})
		w.step(ExecutorUpdate{Key: key, UPID: x, Status: executorStatus("t1", mesos.TaskState_TASK_RUNNING, 101)}) // again
		w.step(ExecutorUpdate{Key: key, UPID: "executor(1)@10.6.6.6:1", Status: executorStatus("t1", mesos.TaskState_TASK_FINISHED, 102)})
		w.step(ExecutorUpdate{Key: key, Status: executorStatus("t1", mesos.TaskState_TASK_FINISHED, 102)}) // over HTTP
		w.step(FrameworkMessage{Key: key, Data: []byte("hi")})
		w.step(FrameworkMessage{Key: key, From: "scheduler(1)@10.6.6.6:1", Data: []byte("not its framework")})
		w.step(ExecutorMessage{Key: key, UPID: x, Data: []byte("ho")})
		w.step(ExecutorMessage{Key: key, UPID: "other(1)@10.6.6.6:1", Data: []byte("ho")})
		w.step(KillTask{Framework: "F", Task: "t1"})
		w.ack("t1")
		w.step(ExecutorUpdate{Key: key, UPID: x, Status: executorStatus("t1", mesos.TaskState_TASK_KILLED, 103)})
		w.ack("t1")
		w.step(RunTaskGroup{Framework: frameworkInfo(partition), Executor: executorTask("t1", "x").Executor, Tasks: []*mesos.TaskInfo{commandTask("g1"), commandTask("g2")}})
		w.step(ShutdownExecutor{Key: key})
		w.step(Exited{Container: w.box["x"], Exit: ended(0)})
	},
	"v0-executor-restart": func(w *world) {
		const back, away, stays = "executor(1)@10.0.0.1:4000", "executor(1)@10.0.0.1:4001", "executor(1)@10.0.0.1:4002"
		for i, x := range []struct{ id, upid string }{{"back", back}, {"away", away}, {"stays", stays}} {
			w.run(executorTask("t"+x.id, x.id), partition)
			w.step(Started{Container: w.box[x.id], PID: 7 + i})
			w.step(ExecutorSubscribed{Key: ExecutorKey{"F", ExecutorID(x.id)}, UPID: x.upid})
		}
		w.run(executorTask("lost", "back"), partition) // its message went with the agent
		w.step(ExecutorUpdate{Key: ExecutorKey{"F", "back"}, UPID: back, Status: executorStatus("tback", mesos.TaskState_TASK_RUNNING, 101)})
		live := map[ContainerID]Live{}
		for i, id := range []string{"back", "away", "stays"} {
			live[w.box[id]] = Live{PID: 7 + i}
		}
		w.restart(live, false)
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "back"}, UPID: back, Again: true, Tasks: []*mesos.TaskInfo{executorTask("tback", "back")},
			Updates: []*mesos.TaskStatus{executorStatus("tback", mesos.TaskState_TASK_FINISHED, 102)}})
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "stays"}, UPID: stays, Again: true, Tasks: []*mesos.TaskInfo{executorTask("tstays", "stays")}})
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "stays"}, UPID: stays, Again: true}) // it is running: it must end
		w.step(RecoveryEnded{})
		w.step(Registered{Agent: "S0"})
		w.step(Exited{Container: w.box["away"], Exit: signalled(9)})
	},
	"executor-limits-fail": func(w *world) {
		w.slow = true
		w.run(executorTask("t1", "x"), partition)
		w.step(Started{Container: w.box["x"], PID: 7})
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "x"}})
		w.run(executorTask("t2", "x"), partition)
		w.step(KillTask{Framework: "F", Task: "t2"}) // it still waits
		w.step(Resized{Container: w.box["x"]})
		w.step(Resized{Container: w.box["x"]})
		w.run(executorTask("t3", "x"), partition)
		w.step(Resized{Container: w.box["x"], Failure: "no space left on device"})
		w.step(Exited{Container: w.box["x"], Exit: signalled(9)})
	},
	"executor-end-waits-for-limits": func(w *world) {
		w.slow = true
		w.run(executorTask("t1", "x"))
		w.step(Started{Container: w.box["x"], PID: 7})
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "x"}})
		w.step(Resized{Container: w.box["x"]})
		w.step(ExecutorUpdate{Key: ExecutorKey{"F", "x"}, Status: executorStatus("t1", mesos.TaskState_TASK_FINISHED, 101)})
		w.sleep(0)
		w.step(Resized{Container: w.box["x"]})
		w.ack("t1")
		w.step(ExecutorUpdate{Key: ExecutorKey{"F", "x"}, Status: executorStatus("t1", mesos.TaskState_TASK_FAILED, 102)}) // a second end
		w.step(ExecutorUpdate{Key: ExecutorKey{"F", "x"}, Status: executorStatus("stray", mesos.TaskState_TASK_RUNNING, 103)})
		w.ack("stray")
	},
	"executor-without-tasks-left": func(w *world) {
		w.run(executorTask("t1", "x"))
		w.step(Started{Container: w.box["x"], PID: 7})
		w.step(KillTask{Framework: "F", Task: "t1"})
		w.ack("t1")
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "x"}})
		w.sleep(5e9)
		w.step(Exited{Container: w.box["x"], Exit: signalled(9)})
	},
	"task-after-partition": func(w *world) {
		w.step(Disconnected{})
		w.run(commandTask("stale"))
		w.step(RunTaskGroup{Framework: frameworkInfo(), Executor: &mesos.ExecutorInfo{ExecutorId: &mesos.ExecutorID{Value: ptr("p")}, Type: mesos.ExecutorInfo_DEFAULT.Enum()}, Tasks: []*mesos.TaskInfo{commandTask("stale-group")}})
		w.step(Registered{Agent: "S0"})
		w.run(commandTask("a"))
	},
}

func executorStatus(task string, state mesos.TaskState, uuid byte) *mesos.TaskStatus {
	return &mesos.TaskStatus{TaskId: &mesos.TaskID{Value: ptr(task)}, State: state.Enum(), Uuid: append(make([]byte, 15), uuid)}
}

func TestExecutorScripts(t *testing.T) {
	for name, play := range oldScripts {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.step(Registered{Agent: "S0"})
			play(w)
			w.compare(name)
		})
	}
}
