package lifecycle

import (
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

func drainBy(limit time.Duration, gone bool) Drain {
	c := &mesos.DrainConfig{MarkGone: ptr(gone)}
	if limit >= 0 {
		c.MaxGracePeriod = &mesos.DurationInfo{Nanoseconds: ptr(limit.Nanoseconds())}
	}
	return Drain{Config: c}
}

func patient(t *mesos.TaskInfo) { t.KillPolicy = policy(time.Hour) }
func hasty(t *mesos.TaskInfo)   { t.KillPolicy = policy(time.Second) }

var drainScenarios = map[string]func(w *world){
	"drain": func(w *world) { // each grace period is the task's, but not more than allowed
		w.step(drainBy(time.Minute, false)) // nothing is here
		for _, t := range []*mesos.TaskInfo{commandTask("usual"), commandTask("patient", patient), commandTask("hasty", hasty)} {
			w.run(t, killing, partition)
		}
		w.up("usual", "patient", "hasty")
		w.run(commandTask("queued"), killing, partition)
		w.step(drainBy(time.Minute, false))
		w.run(commandTask("late"), killing, partition) // refused
		w.group("p", commandTask("late2"))
		w.gone("usual", signalled(15))
		w.gone("patient", signalled(9))
		w.gone("hasty", signalled(15))
		w.step(LaunchFailed{Container: w.box["queued"], Message: "given up"})
		w.ackAll()
		w.run(commandTask("again"), killing, partition) // drained: the master decides
	},
	"drain-gone": func(w *world) { // the end is an operator's, for those who know the state
		w.run(commandTask("t"), killing, partition)
		w.up("t")
		w.step(drainBy(-1, true))
		w.gone("t", signalled(15))
		w.ackAll()
	},
	"drain-gone-old-framework": func(w *world) {
		w.run(commandTask("t"))
		w.up("t")
		w.step(drainBy(0, true))
		w.gone("t", signalled(15))
		w.ackAll()
	},
	"drain-restart": func(w *world) { // it goes on after kill -9, without the master
		w.run(commandTask("t", patient), killing, partition)
		w.run(commandTask("u", patient), killing, partition)
		w.up("t", "u")
		w.step(drainBy(time.Minute, true))
		w.gone("u", signalled(15)) // recorded, but the next agent does not know the first kill
		w.now = w.now.Add(10 * time.Second)
		w.restart(map[ContainerID]Live{w.box["t"]: {PID: 7}}, false)
		w.step(RecoveryEnded{})
		w.step(Registered{Agent: "S0"})
		w.step(drainBy(15*time.Second, true)) // the master repeats itself, and is less patient
		w.run(commandTask("late"), killing, partition)
		w.gone("t", signalled(9))
		w.ackAll()
	},
	"drain-restart-before-kill": func(w *world) { // kill -9 between the record and the kill
		w.run(commandTask("t"), killing, partition)
		w.up("t")
		w.a.Step(w.now, Tick{})
		w.saved[drainKey] = Record{Key: drainKey, Drain: &DrainImage{Config: drainBy(time.Second, false).Config, Since: w.now}}
		w.restart(map[ContainerID]Live{w.box["t"]: {PID: 7}}, false)
		w.gone("t", signalled(15))
		w.step(RecoveryEnded{})
		w.step(Registered{Agent: "S0"})
		w.ackAll()
	},
	"drain-executor": func(w *world) { // a custom executor is told; again when it was away
		w.run(executorTask("t", "x"), killing, partition)
		w.step(Started{Container: w.box["x"], PID: 7})
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "x"}})
		w.step(drainBy(time.Minute, false))
		w.restart(map[ContainerID]Live{w.box["x"]: {PID: 7}}, false)
		w.step(ExecutorSubscribed{Key: ExecutorKey{"F", "x"}, Tasks: []*mesos.TaskInfo{executorTask("t", "x")}})
		w.step(RecoveryEnded{})
		w.step(Registered{Agent: "S0"})
	},
	"drain-operation": func(w *world) { // an operation without acknowledgement keeps it draining
		w.apply(1, reserve(scalarReserved()))
		w.step(drainBy(time.Minute, false))
		if w.a.View().Drain == nil {
			w.t.Error("not draining")
		}
		w.ackOperation(1)
		if w.a.View().Drain != nil {
			w.t.Error("still draining")
		}
	},
}

func scalarReserved() *mesos.Resource { return reserved("cpus", 1, "db") }

func TestDrainScenarios(t *testing.T) {
	for name, play := range drainScenarios {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.own = host()
			w.a = w.agent()
			w.a.Step(w.now, Registered{Agent: "S0"})
			play(w)
			w.compare(name)
		})
	}
}

// TestRunChecks: launches that do not fit the agent's present state are dropped with the
// reason (mesos-agent.md 11).
func TestRunChecks(t *testing.T) {
	version := func(v string) []*messages.ResourceVersionUUID {
		return []*messages.ResourceVersionUUID{{Uuid: &mesos.UUID{Value: []byte(v)}}}
	}
	w := newWorld(t)
	w.a = New(Config{Info: &mesos.AgentInfo{Resources: host()}, ResourceVersion: []byte("now"), WorkDir: "/w", NewID: func() [16]byte { w.ids++; return [16]byte{w.ids} }})
	w.a.Step(w.now, Registered{Agent: "S0"})
	w.step(ApplyOperation{Info: create(volumeOf("v", 1)), UUID: []byte{1}}) // fails: nothing is reserved
	run := func(id string, versions []*messages.ResourceVersionUUID, more ...*mesos.Resource) *mesos.TaskStatus {
		delete(w.heads, id)
		w.step(RunTask{Framework: frameworkInfo(partition), Versions: versions, Task: commandTask(id, func(t *mesos.TaskInfo) { t.Resources = append(t.Resources, more...) })})
		return w.heads[id].GetStatus()
	}
	if st := run("a", version("then")); st.GetReason() != mesos.TaskStatus_REASON_INVALID_OFFERS || st.GetState() != mesos.TaskState_TASK_DROPPED {
		t.Errorf("%v", st)
	}
	if st := run("b", version("now"), volumeOf("v", 1)); st.GetReason() != mesos.TaskStatus_REASON_RESOURCES_UNKNOWN || st.GetState() != mesos.TaskState_TASK_DROPPED {
		t.Errorf("%v", st)
	}
	old := reserved("cpus", 1, "db") // the same in the format of old masters
	old.Role, old.Reservation, old.Reservations = ptr("db"), &mesos.Resource_ReservationInfo{Principal: ptr("p")}, nil
	if st := run("c", nil, old); st.GetReason() != mesos.TaskStatus_REASON_RESOURCES_UNKNOWN {
		t.Errorf("%v", st)
	}
	w.step(ApplyOperation{Info: reserve(old), UUID: []byte{2}})
	if st := run("d", version("now"), old); st != nil {
		t.Errorf("%v", st)
	}
}
