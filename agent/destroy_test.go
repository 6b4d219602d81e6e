package agent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/agent"
)

// mesos-agent.md 7.3, 12.1: groups that cannot be removed, because somebody put a process of
// his own into one of them. The task's end is told all the same, it counts as one error, the
// log says so, and removal is tried on, also by an agent that starts meanwhile.
func TestGroupsThatStay(t *testing.T) {
	m, p := guarded(t, withCgroups, func(c *agent.Config) { c.CgroupsDestroyTimeout = 100 * time.Millisecond })
	m.run(task("S0", "t", "exec sleep 1000"))
	m.expect("t", running)
	id := p.state().container("t")
	memory := ""
	for _, dir := range p.groups(id) { // the freezer's is where processes are looked for
		if _, err := os.Stat(filepath.Join(dir, "memory.limit_in_bytes")); err == nil {
			memory = dir
		}
	}
	if memory == "" {
		t.Skip("with version 2 a container has one group, and all that is in it ends: no group stays")
	}
	alien := exec.Command("sleep", "1000")
	if err := alien.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = alien.Process.Kill(); _ = alien.Wait() }()
	if err := os.WriteFile(filepath.Join(memory, "cgroup.procs"), []byte(strconv.Itoa(alien.Process.Pid)), 0o644); err != nil {
		t.Fatal(err)
	}
	errors := func(n string) func() bool {
		return func() bool {
			return strings.Contains(string(p.get("/metrics/snapshot")), `"containerizer/mesos/container_destroy_errors":`+n)
		}
	}
	if !errors("0")() {
		t.Error("errors before there was one")
	}
	p.kill(m, "t")
	p.eventually("the error counts", errors("1"))
	if len(p.groups(id)) == 0 || !alive(uint32(alien.Process.Pid)) {
		t.Error("a process that is none of the agent's was ended")
	}
	m.run(task("S0", "next", "exec sleep 1000")) // nobody else has to wait
	m.expect("next", running)
	m.barrier()
	p.stop(syscall.SIGKILL)
	if n := strings.Count(p.out.String(), "container forget is not done in time, it is tried on"); n != 1 || !strings.Contains(p.out.String(), memory) {
		t.Errorf("the log says it %d times", n)
	}
	p.start()
	m.reregister("S0")
	p.eventually("the error counts again", errors("1"))
	if err := alien.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = alien.Wait()
	p.eventually("the groups are removed", func() bool { return len(p.groups(id)) == 0 })
	if !errors("1")() {
		t.Error("each try counts")
	}
	p.kill(m, "next")
}
