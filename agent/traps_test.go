package agent_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// TestTraps goes through what users rely on and reimplementations miss
// (mesos-agent.md 14.1; each subtest carries the number of its item).
func TestTraps(t *testing.T) {
	f := newFragile(t)
	m, p := f.m, f.process
	fork := func(id, cmd string, change ...func(*mesos.TaskInfo)) *mesos.TaskStatus {
		t.Helper()
		m.run(task("S0", id, cmd, change...))
		seen := m.expect(id, running)
		return seen[len(seen)-1]
	}
	dirOf := func(id string) string {
		t.Helper()
		for _, fw := range p.state().Frameworks {
			for _, x := range fw.Executors {
				if x.ID == id || x.ID == "" && strings.Contains(x.Directory, "/executors/"+id+"/") {
					return x.Directory
				}
			}
		}
		t.Fatalf("no executor of %s in the state", id)
		return ""
	}
	file := func(dir, name string, full func(string) bool) string {
		t.Helper()
		var b []byte
		p.eventually(name+" is written", func() bool {
			b, _ = os.ReadFile(filepath.Join(dir, name))
			return full(string(b))
		})
		return string(b)
	}
	end := func(id string) []*mesos.TaskStatus {
		t.Helper()
		m.kill(id)
		return m.expect(id, killed)
	}

	t.Run("1 2 26 names of frameworks are not invented, files are stdout and stderr, paths carry the task id", func(t *testing.T) {
		fork("env", "env; echo end; echo err >&2; exec sleep 1000")
		dir := dirOf("env")
		if !strings.Contains(dir, "/executors/env/runs/") {
			t.Errorf("sandbox %s", dir)
		}
		out := file(dir, "stdout", func(s string) bool { return strings.HasSuffix(s, "\nend\n") })
		for _, name := range []string{"MESOS_TASK_ID=", "PORT0=", "PORTS=", "HOST=", "MARATHON_APP_ID="} {
			if strings.Contains("\n"+out, "\n"+name) {
				t.Errorf("the task has %s", name)
			}
		}
		if got := file(dir, "stderr", func(s string) bool { return s != "" }); got != "err\n" {
			t.Errorf("stderr %q", got)
		}
		if s := p.state(); s.Frameworks[0].Executors[0].Tasks[0].ExecutorID != "" {
			t.Error("the executor's id is shown")
		}
		end("env")
	})

	t.Run("3 4 27 every update names container, process, address and source", func(t *testing.T) {
		m.run(task("S0", "status", "exec sleep 1000"))
		for _, st := range append(m.expect("status", running), end("status")...) {
			cs := st.GetContainerStatus()
			if cs.GetContainerId().GetValue() == "" || cs.GetExecutorPid() == 0 || cs.GetNetworkInfos()[0].GetIpAddresses()[0].GetIpAddress() != "127.0.0.1" ||
				st.GetSource() != mesos.TaskStatus_SOURCE_EXECUTOR || st.Reason != nil || st.Healthy != nil {
				t.Errorf("%v", st)
			}
		}
	})

	t.Run("7 8 9 one update at a time, the newest state beside it, terminal tasks stay until acknowledged", func(t *testing.T) {
		m.run(task("S0", "quick", "exit 0"))
		first := next(t, "update", m.updates).GetUpdate()
		if first.GetStatus().GetState() != starting {
			t.Fatalf("first %v", first)
		}
		p.eventually("the task is terminated", func() bool {
			s := p.state()
			return len(s.Frameworks) == 1 && strings.Contains(string(p.get("/state")), `"TASK_FINISHED"`)
		})
		if n := len(m.updates); n != 0 {
			t.Errorf("%d more updates before the first was acknowledged", n)
		}
		m.ack(first.GetStatus())
		second := next(t, "update", m.updates).GetUpdate()
		if second.GetStatus().GetState() != running || second.GetLatestState() != finished {
			t.Errorf("second %v, latest %v", second.GetStatus().GetState(), second.GetLatestState())
		}
		m.ack(second.GetStatus())
		third := next(t, "update", m.updates).GetUpdate()
		if third.GetStatus().GetState() != finished || third.GetStatus().GetMessage() != "Command exited with status 0" { // item 10
			t.Errorf("third %v", third)
		}
		if s := string(p.get("/state")); strings.Contains(s, `"completed_tasks":[{"container"`) || len(p.state().Frameworks) != 1 {
			t.Error("completed before its end was acknowledged")
		}
		m.ack(third.GetStatus())
		p.eventually("it is complete", func() bool { return len(p.state().Frameworks) == 0 })
	})

	t.Run("11 arguments begin with argv 0", func(t *testing.T) {
		fork("argv", "/bin/sh", func(t *mesos.TaskInfo) {
			t.Command.Shell = proto.Bool(false)
			t.Command.Arguments = []string{"me", "-c", "tr '\\0' ' ' < /proc/$$/cmdline; echo; exec sleep 1000"}
		})
		if got := file(dirOf("argv"), "stdout", func(s string) bool { return strings.Contains(s, "\n") }); !strings.HasPrefix(got, "me -c ") {
			t.Errorf("argv %q", got)
		}
		end("argv")
	})

	t.Run("12 SIGTERM reaches the whole tree", func(t *testing.T) {
		fork("tree", `sh -c 'trap "echo child; exit" TERM; echo up; while :; do sleep 0.02; done' & trap : TERM; wait; wait; echo parent`)
		dir := dirOf("tree")
		file(dir, "stdout", func(s string) bool { return strings.Contains(s, "up\n") })
		end("tree")
		if got, _ := os.ReadFile(filepath.Join(dir, "stdout")); !bytes.Contains(got, []byte("child\n")) || !bytes.Contains(got, []byte("parent\n")) {
			t.Errorf("stdout %q", got)
		}
	})

	t.Run("14 16 the control group has 0.1 cpu and 32 MB more, and no quota", func(t *testing.T) {
		if f.cfg.CgroupsRoot == "" {
			t.Skip("cgroups need root")
		}
		st := fork("small", "exec sleep 1000", func(t *mesos.TaskInfo) { t.Resources = []*mesos.Resource{amount("cpus", 0.5), amount("mem", 64)} })
		id := st.GetContainerStatus().GetContainerId().GetValue()
		for _, c := range []struct{ v1, want1, v2, want2 string }{
			{"cpu.shares", "614", "cpu.weight", "60"}, {"memory.limit_in_bytes", fmt.Sprint(96 << 20), "memory.max", fmt.Sprint(96 << 20)},
			{"cpu.cfs_quota_us", "-1", "cpu.max", "max 100000"},
		} {
			want := map[string]string{c.v1: c.want1, c.v2: c.want2}
			if name, got := f.held(id, c.v1, c.v2); name == "" || got != want[name] {
				t.Errorf("%s is %q, want %v", name, got, want)
			}
		}
		end("small")
	})

	t.Run("17 20 ports are bookkeeping, relative host paths are the sandbox's", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("mounts need root")
		}
		at := t.TempDir()
		fork("volume", "echo here > "+at+"/file; echo done; exec sleep 1000", volumes(&mesos.Volume{ContainerPath: proto.String(at), HostPath: proto.String("data"), Mode: mesos.Volume_RW.Enum()}))
		dir := dirOf("volume")
		file(dir, "stdout", func(s string) bool { return s != "" })
		if b, err := os.ReadFile(filepath.Join(dir, "data", "file")); err != nil || string(b) != "here\n" {
			t.Errorf("%q %v", b, err)
		}
		end("volume")
	})

	t.Run("25 28 the host name as given, ids with any legal character", func(t *testing.T) {
		const odd = "a:b@c#d=e,f;g h%2e"
		m.run(task("S0", odd, "exec sleep 1000"))
		m.expect(odd, running)
		if dir := dirOf(odd); !strings.Contains(dir, "/executors/"+odd+"/runs/") {
			t.Errorf("sandbox %s", dir)
		}
		var s struct{ Hostname, Pid string }
		if err := json.Unmarshal(p.get("/state"), &s); err != nil || s.Hostname != "agent.test" || s.Pid != "slave(1)@127.0.0.1:"+p.cfg.Port {
			t.Errorf("%+v %v", s, err)
		}
		end(odd)
	})

	t.Run("23 30 a restart tells nothing about what goes on, and answers 503 meanwhile", func(t *testing.T) {
		st := fork("lives", "exec sleep 1000")
		m.barrier()
		p.stop(syscall.SIGKILL)
		for len(m.reregistrations) > 0 {
			<-m.reregistrations
		}
		p.start()
		m.reregister("S0")
		m.barrier() // an update would have come before the answer to this
		if !alive(st.GetContainerStatus().GetExecutorPid()) {
			t.Error("the task is gone")
		}
		again := end("lives")
		if len(again) != 2 || again[0].GetState() != killing {
			t.Errorf("after the restart: %v", again)
		}
	})
	f.quiet(nil)
}
