package lifecycle

import (
	"testing"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func tooMuch(id ContainerID) Limited {
	return Limited{Container: id, Limitation: Limitation{Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_DISK,
		Message: "Disk usage (30MB) exceeds quota (5MB)", Resources: []*mesos.Resource{scalar("disk", 5, "dev")}}}
}

var limitScenarios = map[string]func(w *world){
	"limited": func(w *world) { // the first limit is told, however the process ends
		w.run(commandTask("t"))
		w.step(tooMuch(w.box["t"])) // nothing runs yet
		w.up("t")
		w.step(tooMuch(w.box["t"]))
		w.step(tooMuch(w.box["t"]))
		w.gone("t", signalled(9))
		w.ackAll()
		w.step(tooMuch(w.box["t"]))
	},
	"limited-restart": func(w *world) { // kill -9 between the record and the end
		w.run(commandTask("lives"))
		w.run(commandTask("dies"))
		w.up("lives", "dies")
		w.step(tooMuch(w.box["lives"]))
		w.step(tooMuch(w.box["dies"]))
		w.restart(map[ContainerID]Live{w.box["lives"]: {PID: 10}, w.box["dies"]: {PID: 11, Ended: true, Exit: signalled(9)}}, false)
		w.gone("lives", signalled(9))
		w.step(RecoveryEnded{})
		w.step(Registered{Agent: "S0"})
		w.ackAll()
	},
	"limited-pod": func(w *world) {
		w.pod(commandTask("a"), commandTask("b"))
		w.up("a", "b")
		w.step(tooMuch(w.box["p"]))
		w.gone("a", signalled(9))
		w.gone("b", signalled(9))
		w.gone("p", signalled(9))
		w.ackAll()
	},
	"limited-executor": func(w *world) {
		w.run(executorTask("t", "x"), partition)
		w.step(Started{Container: w.box["x"], PID: 7})
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "x"}})
		w.step(tooMuch(w.box["x"]))
		w.gone("x", signalled(9))
		w.ackAll()
	},
}

func TestLimitScenarios(t *testing.T) {
	for name, play := range limitScenarios {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.a.Step(w.now, Registered{Agent: "S0"})
			play(w)
			w.compare(name)
		})
	}
}
