package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// mesos-agent.md 9: SIGUSR1 unregisters the agent, ends all tasks and stops it.
func TestSIGUSR1Leaves(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "a", "sleep 1000"))
	seen := m.expect("a", running)
	if err := p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if left := next(t, "unregistration", m.left); left.GetSlaveId().GetValue() != "S0" {
		t.Errorf("%v", left)
	}
	if err := <-p.done; err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	p.cmd = nil
	if alive(seen[len(seen)-1].GetContainerStatus().GetExecutorPid()) {
		t.Error("the task lives on")
	}
}

// mesos-agent.md 9: a master that wants the agent gone, for good or because it was marked
// gone, ends it and its tasks; the agent's exit code is not 0.
func TestMasterShutsAgentDown(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "a", "sleep 1000"))
	seen := m.expect("a", running)
	m.send(&messages.ShutdownMessage{Message: proto.String("marked gone")})
	m.expect("a", mesos.TaskState_TASK_KILLING) // whether its end is told depends on when this is acknowledged
	if err := <-p.done; err == nil {
		t.Error("the agent ended without an error")
	}
	p.cmd = nil
	if alive(seen[len(seen)-1].GetContainerStatus().GetExecutorPid()) || len(m.left) > 0 {
		t.Error("the task lives on, or the agent unregistered")
	}
}

// mesos-agent.md 9: after a reboot nothing lives; the agent keeps its id and says so.
func TestReboot(t *testing.T) {
	f := newFragile(t)
	m, p := f.m, f.process
	m.run(task("S0", "a", "sleep 1000"))
	m.expect("a", running)
	m.group(podExecutor("pod"), true, task("S0", "b", "sleep 1000"))
	m.expect("b", running)
	m.barrier()
	crashHost(t, f)
	p.start()
	reg := m.reregister("S0")
	if len(reg.GetTasks()) != 2 {
		t.Errorf("tasks %v", reg.GetTasks())
	}
	for id, all := range m.collect(map[string]mesos.TaskState{"a": failed, "b": failed}) {
		st := all[len(all)-1]
		if st.GetReason() != mesos.TaskStatus_REASON_EXECUTOR_TERMINATED || st.GetMessage() != "Executor terminated; the host was rebooted" || st.GetSource() != mesos.TaskStatus_SOURCE_AGENT {
			t.Errorf("%s: %v", id, st)
		}
	}
	f.quiet(nil)
}

// An agent whose description changed over a reboot is a new one: nothing of the old one runs.
func TestRebootWithOtherResources(t *testing.T) {
	f := newFragile(t)
	m, p := f.m, f.process
	m.run(task("S0", "a", "sleep 1000"))
	m.expect("a", running)
	m.barrier()
	crashHost(t, f)
	p.cfg.Resources = "cpus:2;mem:2048;disk:512;ports:[31000-31010]"
	for len(m.registrations) > 0 {
		<-m.registrations
	}
	p.start()
	next(t, "registration", m.registrations)
	p.stop(syscall.SIGKILL) // before it has another id
	p.start()
	m.register("S1")
	m.run(task("S1", "b", "exit 0"))
	m.expect("b", finished)

	// What the id before had is garbage: records and sandboxes go after --gc_delay.
	old := []string{filepath.Join(p.cfg.WorkDir, "meta", "slaves", "S0"), filepath.Join(p.cfg.WorkDir, "slaves", "S0")}
	for _, dir := range old {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("too soon: %v", err)
		}
	}
	p.eventually("the acknowledgement is recorded", func() bool { return len(p.state().Frameworks) == 0 })
	p.stop(syscall.SIGKILL)
	p.cfg.GCDelay = time.Millisecond
	p.start()
	m.reregister("S1")
	p.eventually("the records and sandboxes of the old id are gone", func() bool {
		for _, dir := range old {
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				return false
			}
		}
		return true
	})
	if target, err := os.Readlink(filepath.Join(p.cfg.WorkDir, "meta", "slaves", "latest")); err != nil || filepath.Base(target) != "S1" {
		t.Errorf("latest leads to %q %v", target, err)
	}
	m.run(task("S1", "c", "exit 0"))
	m.expect("c", finished)
}

// mesos-agent.md 9: with --reconfiguration_policy=additive an agent may come back with more;
// its tasks and its id stay. Without it, and with less, it refuses to start.
func TestReconfiguredWithoutReboot(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "a", "sleep 1000"))
	pid := m.expect("a", running)[1].GetContainerStatus().GetExecutorPid()
	m.barrier()
	refused := func(why string) {
		t.Helper()
		p.start()
		if err := next(t, "end of the agent", p.done); err == nil || !strings.Contains(p.out.String(), why) || !alive(pid) {
			t.Errorf("%v, want %q", err, why)
		}
		p.cmd = nil
	}
	p.stop(syscall.SIGTERM)
	for len(m.reregistrations) > 0 {
		<-m.reregistrations
	}
	p.cfg.Resources, p.cfg.Attributes = "cpus:5;mem:4096;disk:1024;ports:[31000-31010]", "rack:r1;zone:a"
	refused("allow additions with --reconfiguration_policy=additive, or remove " + filepath.Join(p.cfg.WorkDir, "meta", "slaves", "latest"))
	p.cfg.ReconfigurationPolicy = "additive"
	p.start()
	reg := m.reregister("S0")
	if len(reg.GetTasks()) != 1 || len(reg.GetSlave().GetAttributes()) != 2 || !alive(pid) {
		t.Errorf("%v", reg)
	}
	p.stop(syscall.SIGTERM)
	p.cfg.Resources = "cpus:3;mem:4096;disk:1024;ports:[31000-31010]"
	refused("are only")
	p.cfg.Resources, p.cfg.Hostname = "cpus:5;mem:4096;disk:1024;ports:[31000-31010]", "other.test"
	refused("the host name was")
	p.cfg.Hostname = "agent.test"
}

// crashHost makes everything as it is after a reboot: no process, an empty folder for
// what is lost then, and another boot id.
func crashHost(t *testing.T, f *fragile) {
	t.Helper()
	pid := f.keeperPID()
	f.stop(syscall.SIGKILL)
	for len(f.m.reregistrations) > 0 {
		<-f.m.reregistrations
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	f.eventually("nothing runs", func() bool {
		for _, path := range f.remains() {
			if b, err := os.ReadFile(path); err == nil && filepath.Base(path) == "environ" && len(b) > 0 {
				var p int
				if _, err := fmt.Sscan(filepath.Base(filepath.Dir(path)), &p); err == nil {
					_ = syscall.Kill(p, syscall.SIGKILL)
				}
			}
		}
		procs := 0
		for _, path := range f.remains() {
			if filepath.Base(path) == "environ" {
				procs++
			}
		}
		return procs == 0
	})
	items, err := os.ReadDir(f.cfg.RuntimeDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		if err := os.RemoveAll(filepath.Join(f.cfg.RuntimeDir, i.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(f.cfg.WorkDir, "meta", "boot_id"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
}
