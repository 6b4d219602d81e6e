package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/agent/confine"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// guarded starts an agent with isolators, and removes its cgroups afterwards.
func guarded(t *testing.T, isolation string, change ...func(*agent.Config)) (*master, *process) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("isolators need root")
	}
	m := newMaster(t, 0)
	var p *process
	t.Cleanup(func() { // after the process' own clean-up
		p.removeGroups()
	})
	p = newProcess(t, m)
	for _, dir := range []string{p.cfg.WorkDir, filepath.Dir(p.cfg.WorkDir)} { // for tasks of other users
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.cfg.Isolation, p.cfg.CgroupsRoot, p.cfg.CgroupsHierarchy = isolation, "stoa-test-"+p.cfg.Port, "/sys/fs/cgroup"
	for _, c := range change {
		c(&p.cfg)
	}
	p.start()
	m.register("S0")
	return m, p
}

// boxed gives a task a ContainerInfo, in JSON without its type.
func boxed(t *testing.T, text string) func(*mesos.TaskInfo) {
	t.Helper()
	box := new(mesos.ContainerInfo)
	if err := wire.UnmarshalJSON([]byte(`{"type":"MESOS",`+text+`}`), box); err != nil {
		t.Fatal(err)
	}
	return func(task *mesos.TaskInfo) { task.Container = box }
}

func as(user string) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) { t.Command.User = proto.String(user) }
}

// stdout gives what a command task said.
func (p *process) stdout(task string) string {
	b, err := os.ReadFile(filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors", task, "runs/latest/stdout"))
	if err != nil {
		p.t.Error(err)
	}
	return string(b)
}

const confinement = "posix/rlimits,linux/capabilities,linux/seccomp,linux/nnp,namespaces/pid,namespaces/ipc"

// mesos-agent.md 7.2 and 7.9: what a command task's own process sees of its confinement.
func TestTaskIsConfined(t *testing.T) {
	m, p := guarded(t, "cgroups/cpu,cgroups/mem,"+confinement, func(c *agent.Config) {
		c.Confine = confine.Config{EffectiveCapabilities: &mesos.CapabilityInfo{},
			BoundingCapabilities: &mesos.CapabilityInfo{Capabilities: []mesos.CapabilityInfo_Capability{mesos.CapabilityInfo_NET_RAW, mesos.CapabilityInfo_KILL}}}
	})
	text := `ulimit -n; grep -E '^(Cap(Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\t'; [ -d /proc/` + strconv.Itoa(os.Getpid()) +
		` ] || echo "no host processes"; unshare -U true 2>/dev/null || echo refused; df --output=size -BM /dev/shm | tail -n1 | tr -d ' '`
	m.run(task("S0", "t", text, as("nobody"), boxed(t, `"rlimit_info":{"rlimits":[{"type":"RLMT_NOFILE","soft":99,"hard":99}]},
		"linux_info":{"ipc_mode":"PRIVATE","shm_size":3,"effective_capabilities":{"capabilities":["NET_RAW"]}}`)))
	m.expect("t", finished)
	want := "99\nCapEff:0000000000002000\nCapBnd:0000000000002020\nCapAmb:0000000000002000\nNoNewPrivs:1\nSeccomp:2\nno host processes\nrefused\n3M\n"
	if got := p.stdout("t"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// Root without any capability is no root.
	m.run(task("S0", "root", "touch x && ! chown 1:1 x 2>/dev/null && ! kill -0 1 2>/dev/null; id -u", as("root")))
	m.expect("root", finished)
	if got := p.stdout("root"); got != "0\n" {
		t.Errorf("root: %q", got)
	}
	// What is not allowed is said.
	for id, c := range map[string]struct{ box, want string }{
		"caps":    {`"linux_info":{"effective_capabilities":{"capabilities":["SYS_ADMIN"]}}`, "Failed to launch container: Requested capabilities '{ SYS_ADMIN }', but only '{ KILL, NET_RAW }' are allowed"},
		"profile": {`"linux_info":{"seccomp":{"profile_name":"mine.json"}}`, `Failed to launch container: seccomp profile "mine.json": --seccomp_config_dir is not set`},
		"limit":   {`"rlimit_info":{"rlimits":[{"type":"RLMT_NOFILE","soft":9}]}`, "Failed to launch container: Invalid rlimit values for RLMT_NOFILE"},
		"high":    {`"rlimit_info":{"rlimits":[{"type":"RLMT_NOFILE"}]}`, "Failed to launch container: "},
	} {
		m.run(task("S0", id, "true", boxed(t, c.box)))
		seen := m.expect(id, failed)
		last := seen[len(seen)-1]
		if !strings.HasPrefix(last.GetMessage(), c.want) || last.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED {
			t.Errorf("%s: %v", id, last)
		}
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// Nested containers and sessions: each with processes of its own, or with its parent's.
func TestPodIsConfined(t *testing.T) {
	m, p := guarded(t, "cgroups/cpu,cgroups/mem,"+confinement)
	own := boxed(t, `"linux_info":{"share_pid_namespace":false}`)
	shared := boxed(t, `"linux_info":{"share_pid_namespace":true,"ipc_mode":"SHARE_PARENT"}`)
	const look = `readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc; ls -d /proc/[0-9]* | wc -l; trap 'exit 0' TERM; touch up; while :; do sleep 0.05; done`
	m.group(podExecutor("pod"), true, task("S0", "own", look, own), task("S0", "a", look, shared), task("S0", "b", look, shared))
	got := m.collect(map[string]mesos.TaskState{"own": running, "a": running, "b": running})
	root := got["a"][1].GetContainerStatus().GetContainerId().GetParent().GetValue()
	run := filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/pod/runs", root)
	lines := map[string][]string{}
	for _, id := range []string{"own", "a", "b"} {
		p.eventually(id+" is up", func() bool { _, err := os.Stat(filepath.Join(run, "tasks", id, "up")); return err == nil })
		b, err := os.ReadFile(filepath.Join(run, "tasks", id, "stdout"))
		if err != nil {
			t.Fatal(err)
		}
		lines[id] = strings.Fields(string(b))
	}
	host := must(os.Readlink("/proc/self/ns/pid"))
	if lines["a"][0] != lines["b"][0] || lines["own"][0] == lines["a"][0] || lines["a"][0] == host || lines["own"][0] == host {
		t.Errorf("PID namespaces: %v, the host's %s", lines, host)
	}
	if lines["a"][1] != lines["b"][1] || lines["a"][1] != lines["own"][1] {
		t.Errorf("IPC namespaces: %v", lines)
	}
	// A session is in the namespaces of what it looks into, and confined like it.
	child := got["own"][1].GetContainerStatus().GetContainerId()
	resp := p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{"container_id":{"value":"s","parent":{"value":"`+
		child.GetValue()+`","parent":{"value":"`+root+`"}}},"command":{"value":"readlink /proc/self/ns/pid; grep ^Seccomp: /proc/self/status"}}}`,
		"Accept", "application/recordio", "Message-Accept", "application/json")
	if stdout, stderr := hear(t, resp.Body); stdout != lines["own"][0]+"\nSeccomp:\t2\n" {
		t.Errorf("session: %q %q", stdout, stderr)
	}
	// SIGTERM reaches the program through its process 1.
	m.kill("own")
	m.collect(map[string]mesos.TaskState{"own": killed, "a": killed, "b": killed})
	if x := next(t, "executor's end", m.exited); x.GetStatus() != 0 {
		t.Errorf("exited: %v", x)
	}
}

// mesos-agent.md 2.6: stdout is rotated while the task runs, through a restart of the
// agent; the pieces are read by the file endpoints.
func TestTaskLogsAreRotated(t *testing.T) {
	m := newMaster(t, 0)
	p := newProcess(t, m)
	p.cfg.Logs.Logs = container.Logs{Stdout: container.Rotation{Max: 64 << 10, Files: 50}}
	p.start()
	m.register("S0")
	const text = `i=0; while [ $i -lt 4000 ]; do printf '%%049d\n' $i; i=$((i+1)); done; while [ ! -e %s ]; do sleep 0.05; done`
	m.run(task("S0", "t", fmt.Sprintf(text+"; "+strings.Replace(text, "i=0; while [ $i -lt 4000 ]", "while [ $i -lt 8000 ]", 1), "go", "end"),
		func(t *mesos.TaskInfo) {
			t.Command.Environment = &mesos.Environment{Variables: []*mesos.Environment_Variable{
				{Name: proto.String("CONTAINER_LOGGER_MAX_STDOUT_SIZE"), Value: proto.String("16KB")}}}
		}))
	m.expect("t", running)
	dir := filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/t/runs/latest")
	sorted := func(lines int) bool {
		info, err := os.Stat(filepath.Join(dir, "stdout"))
		if err != nil || info.Size() > 16<<10 {
			return false
		}
		if left, _ := filepath.Glob(dir + "/.*"); len(left) > 0 {
			return false
		}
		all := ""
		for n := 0; ; n++ {
			name := "stdout"
			if n > 0 {
				name = fmt.Sprintf("stdout.%d", n)
			}
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				break
			}
			all = string(b) + all
		}
		var want strings.Builder
		for i := range lines {
			fmt.Fprintf(&want, "%049d\n", i)
		}
		return all == want.String()
	}
	p.eventually("rotated", func() bool { return sorted(4000) })
	p.stop(syscall.SIGKILL)
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.eventually("rotated while no agent lives", func() bool { return sorted(8000) })
	p.start()
	m.reregister("S0")
	if got := p.get("/files/read?path=/frameworks/F/executors/t/runs/latest/stdout.1&offset=0"); !strings.Contains(string(got), "0000") {
		t.Errorf("stdout.1: %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m.expect("t", finished)
}
