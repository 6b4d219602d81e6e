package agent_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

const nobody = 65534

// ofNobody prepares an agent of another user, with a program that this user may start.
func ofNobody(t *testing.T) (*master, *process) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can start an agent as another user")
	}
	m := newMaster(t, 0)
	var p *process
	t.Cleanup(func() { // after the process' own clean-up
		for _, dir := range p.groups("") {
			if err := cgroup.Remove(dir, patience.For(5*time.Second)); err != nil {
				t.Error(err)
			}
		}
	})
	p = newProcess(t, m)
	if err := os.Chmod(filepath.Dir(p.cfg.WorkDir), 0o755); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(p.cfg.WorkDir, "bin")
	from, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(bin, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{p.cfg.WorkDir, p.cfg.RuntimeDir} {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	p.uid, p.bin = nobody, bin
	p.cfg.Isolation, p.cfg.CgroupsHierarchy, p.cfg.CgroupsRoot = withCgroups+","+confinement, "/sys/fs/cgroup", "stoa-test-"+p.cfg.Port
	return m, p
}

// An agent of another user runs tasks as itself, with what it can confine them by, and
// says what it cannot.
func TestUnprivilegedAgent(t *testing.T) {
	m, p := ofNobody(t)
	p.start()
	m.register("S0")
	m.run(task("S0", "t", `id -u; ulimit -n; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\t'; kill -9 $$`,
		boxed(t, `"rlimit_info":{"rlimits":[{"type":"RLMT_NOFILE","soft":77,"hard":77}]}`)))
	seen := m.expect("t", failed)
	if got := seen[len(seen)-1].GetMessage(); got != "Command terminated with signal Killed" {
		t.Error(got)
	}
	if got := p.stdout("t"); got != "65534\n77\nCapEff:0000000000000000\nNoNewPrivs:1\nSeccomp:2\n" {
		t.Errorf("%q", got)
	}
	m.run(task("S0", "long", "sleep 1000"))
	m.expect("long", running)
	p.kill(m, "long")
	for _, want := range []string{"this agent is not root", "namespaces/pid", "tasks run without limits"} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if strings.Contains(p.out.String(), "linux/seccomp,") {
		t.Error("what works is said not to")
	}
}

// An agent of another user that was given groups (Delegate=yes in its unit) limits its tasks
// by them, also after a restart.
func TestUnprivilegedAgentWithGroups(t *testing.T) {
	m, p := ofNobody(t)
	p.giveGroups(nobody)
	p.start()
	m.register("S0")
	m.run(task("S0", "t", "id -u; exec sleep 1000"))
	m.expect("t", running)
	for range 2 {
		for _, c := range []struct{ v1, want1, v2, want2 string }{
			{"memory.limit_in_bytes", strconv.Itoa(64 << 20), "memory.max", strconv.Itoa(64 << 20)},
			{"cpu.shares", "204", "cpu.weight", "20"},
		} {
			want := map[string]string{c.v1: c.want1, c.v2: c.want2}
			if name, got := p.held(p.state().container("t"), c.v1, c.v2); name == "" || got != want[name] {
				t.Errorf("%s is %q, want %v", name, got, want)
			}
		}
		p.stop(syscall.SIGTERM)
		if p.born != "" { // what passes controllers on takes no process: DelegateSubgroup=agent
			p.born = filepath.Join("/sys/fs/cgroup", p.cfg.CgroupsRoot, "agent")
		}
		p.start()
		m.reregister("S0")
	}
	if got := p.stdout("t"); got != "65534\n" {
		t.Errorf("%q", got)
	}
	m.run(task("S0", "hog", "x=0123456789abcdef; while :; do x=$x$x; done"))
	seen := m.expect("hog", failed)
	if r := seen[len(seen)-1].GetReason(); r != mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY {
		t.Errorf("%v: %s", r, seen[len(seen)-1].GetMessage())
	}
	p.kill(m, "t")
	if log := p.out.String(); !strings.Contains(log, "this agent is not root") || strings.Contains(log, "some limits are not enforced") || strings.Contains(log, "tasks run without limits") {
		t.Error("the log is not about what there is")
	}
}

// giveGroups makes the agent's groups and gives them to a user, as systemd does; with version
// 2 the agent starts in its own.
func (p *process) giveGroups(uid int) {
	p.t.Helper()
	mounts, err := cgroup.Mounts()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range mounts {
		dir := filepath.Join(m.Dir, p.cfg.CgroupsRoot)
		switch {
		case m.V2 && m.Dir == p.cfg.CgroupsHierarchy:
			for _, c := range []string{"cpu", "memory", "pids"} {
				if err := os.WriteFile(filepath.Join(m.Dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
					p.t.Skipf("%s is not to be had: %v", c, err)
				}
			}
			p.born = dir
		case m.V2 || !slices.ContainsFunc([]string{"cpu", "cpuacct", "memory", "pids", "freezer"}, m.Has):
			continue
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			p.t.Fatal(err)
		}
		for _, file := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
			if err := os.Chown(filepath.Join(dir, file), uid, uid); err != nil && !errors.Is(err, os.ErrNotExist) {
				p.t.Fatal(err)
			}
		}
	}
}

// --default_task_user takes the place of the framework's user, --allowed_host_paths is
// asked for each volume, links followed.
func TestDefaultUserAndHostPaths(t *testing.T) {
	dir := t.TempDir()
	allowed := filepath.Join(dir, "allowed")
	for _, d := range []string{filepath.Join(allowed, "data"), filepath.Join(dir, "allowed-not")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(allowed, "link")); err != nil {
		t.Fatal(err)
	}
	m, p := guarded(t, "posix/cpu,posix/mem", func(c *agent.Config) { c.DefaultTaskUser, c.AllowedHostPaths = "nobody", []string{allowed} })
	m.run(task("S0", "default", "id -un"))
	m.expect("default", finished)
	m.run(task("S0", "named", "id -un", as("root")))
	m.expect("named", finished)
	if got := p.stdout("default") + p.stdout("named"); got != "nobody\nroot\n" {
		t.Errorf("%q", got)
	}
	volume := func(path, at string) func(*mesos.TaskInfo) {
		return volumes(&mesos.Volume{HostPath: proto.String(path), ContainerPath: proto.String(at), Mode: mesos.Volume_RO.Enum()})
	}
	m.run(task("S0", "good", "ls -d in", as("root"), volume(filepath.Join(allowed, "data"), "in")))
	m.expect("good", finished)
	for id, path := range map[string]string{"outside": "/etc", "beside": filepath.Join(dir, "allowed-not"), "dots": allowed + "/data/../../../..", "link": filepath.Join(allowed, "link")} {
		m.run(task("S0", id, "true", as("root"), volume(path, "in")))
		seen := m.expect(id, failed)
		if last := seen[len(seen)-1]; !strings.Contains(last.GetMessage(), "is not below one of --allowed_host_paths") || last.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED {
			t.Errorf("%s: %v", id, last)
		}
	}
}
