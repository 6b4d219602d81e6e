package agent_test

import (
	"syscall"
	"testing"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// kill -9 of the agent at every step of launches and kills in the Docker engine.
func TestCrashAtEveryStepOfTheEngine(t *testing.T) {
	m, p, _ := dockered(t)
	f := &fragile{process: p, m: m, steps: t.TempDir()}
	p.stop(syscall.SIGKILL)
	p.env = []string{"STOA_TEST_CRASH=" + f.steps}
	p.start()
	m.reregister("S0")
	run := func(id, cmd string) { m.run(task("S0", id, cmd, inEngine(bridged))) }
	up := func(id, cmd string) {
		run(id, cmd)
		f.until(func(s mesos.TaskState) bool { return s == running || over(s) }, id)
		m.barrier()
	}
	made := []string{"agent.recorded", "agent.engine-created", "agent.engine-started", "agent.engine-inspected"}
	plays := []*play{
		{name: "engine-launch", steps: made, ends: []mesos.TaskState{failed, dropped}, act: func(id string, arm func()) []string {
			arm()
			run(id, "exit 7")
			return []string{id}
		}},
		{name: "engine-kill", steps: []string{"agent.recorded", "agent.kill-sent", "agent.engine-stopped", "agent.engine-killed", "agent.engine-removed"}, ends: []mesos.TaskState{killed},
			seldom: []string{"agent.engine-stopped", "agent.engine-killed"}, act: func(id string, arm func()) []string {
				up(id, "trap '' TERM; while :; do sleep 0.05; done")
				arm()
				f.kill(id)
				return []string{id}
			}},
		{name: "engine-kill-at-launch", steps: made, held: true, ends: []mesos.TaskState{killed, dropped}, act: func(id string, arm func()) []string {
			arm()
			run(id, "trap '' TERM; while :; do sleep 0.05; done")
			f.killHeld(id)
			return []string{id}
		}},
	}
	f.matrix(pick(t, lines(plays, "one", "both"), 3))
}
