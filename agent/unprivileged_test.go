package agent_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// An agent of another user runs tasks as itself, with what it can confine them by, and
// says what it cannot.
func TestUnprivilegedAgent(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start an agent as another user")
	}
	const nobody = 65534
	m := newMaster(t, 0)
	p := newProcess(t, m)
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
