package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/agent/confine"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// selfie tells what the kernel and the environment make of the process that runs it.
const selfie = `grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status; ulimit -a; cat /proc/self/cgroup; cat /proc/self/oom_score_adj
for n in pid ipc net mnt uts cgroup; do readlink /proc/self/ns/$n; done; echo "$SECRET $MINE $MESOS_SANDBOX"; pwd`

func secretVariable(name, value string) *mesos.Environment_Variable {
	return &mesos.Environment_Variable{Name: &name, Type: mesos.Environment_Variable_SECRET.Enum(),
		Secret: &mesos.Secret{Type: mesos.Secret_VALUE.Enum(), Value: &mesos.Secret_Value{Data: []byte(value)}}}
}

// looking gives a task a health check and a check that write down what they are, and has the
// task do the same. Each has a secret variable.
func looking(t *mesos.TaskInfo) {
	write := func(name string) string {
		return "cd $MESOS_SANDBOX; { " + selfie + "; } >" + name + ".new 2>&1 && mv " + name + ".new " + name
	}
	command := func(name string) *mesos.CommandInfo {
		return &mesos.CommandInfo{Value: proto.String(write(name)), Environment: &mesos.Environment{Variables: []*mesos.Environment_Variable{secretVariable("MINE", "of-its-own")}}}
	}
	t.Command.Environment = &mesos.Environment{Variables: []*mesos.Environment_Variable{secretVariable("MINE", "of-its-own"), secretVariable("SECRET", "of-the-task")}}
	t.Command.Value = proto.String(write("task") + "; trap 'exit 0' TERM; while :; do sleep 0.05; done")
	t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.1), Command: command("health")}
	t.Check = &mesos.CheckInfo{Type: mesos.CheckInfo_COMMAND.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.1), Command: &mesos.CheckInfo_Command{Command: command("check")}}
}

// sameSelves compares what they wrote.
func sameSelves(t *testing.T, p *process, dir string) string {
	t.Helper()
	text := map[string]string{}
	for _, name := range []string{"task", "health", "check"} {
		p.eventually(name+" has looked at itself", func() bool {
			raw, err := os.ReadFile(filepath.Join(dir, name))
			text[name] = string(raw)
			return err == nil
		})
	}
	if text["health"] != text["task"] || text["check"] != text["task"] {
		t.Errorf("the task\n%s\nits health check\n%s\nits check\n%s", text["task"], text["health"], text["check"])
	}
	return text["task"]
}

// mesos-agent.md 5.2: COMMAND checks are what the task is: the user, the rights, the limits,
// the groups, the namespaces, the environment with its secrets.
func TestChecksAreConfinedAsTheirTask(t *testing.T) {
	for hierarchy, group := range map[string]string{"/sys/fs/cgroup": ":memory:/stoa-test-", "/sys/fs/cgroup/unified": "0::/stoa-test-"} {
		t.Run(filepath.Base(hierarchy), func(t *testing.T) {
			if _, err := os.Stat(hierarchy); err != nil {
				t.Skip(err)
			}
			m, p := guarded(t, "cgroups/cpu,cgroups/mem,"+confinement, func(c *agent.Config) {
				c.CgroupsHierarchy = hierarchy
				c.Confine = confine.Config{EffectiveCapabilities: &mesos.CapabilityInfo{Capabilities: []mesos.CapabilityInfo_Capability{mesos.CapabilityInfo_KILL}}}
			})
			box := boxed(t, `"rlimit_info":{"rlimits":[{"type":"RLMT_NOFILE","soft":77,"hard":99}]},"linux_info":{"ipc_mode":"PRIVATE","shm_size":3,"share_pid_namespace":false}`)
			m.run(task("S0", "t", "", as("nobody"), box, looking))
			m.expect("t", running)
			got := sameSelves(t, p, filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/t/runs/latest"))
			for _, want := range []string{"CapEff:\t0000000000000020", "NoNewPrivs:\t1", "Seccomp:\t2", " 77\n", group, "of-the-task of-its-own /", "Uid:\t65534"} {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			own := boxed(t, `"linux_info":{"share_cgroups":false,"share_pid_namespace":false},"rlimit_info":{"rlimits":[{"type":"RLMT_NOFILE","soft":55,"hard":55}]}`)
			m.group(podExecutor("pod"), true, task("S0", "a", "", own, looking))
			id := m.collect(map[string]mesos.TaskState{"a": running})["a"][1].GetContainerStatus().GetContainerId()
			root := id.GetParent().GetValue()
			got = sameSelves(t, p, filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/pod/runs", root, "tasks/a"))
			if !strings.Contains(got, " 55\n") || !strings.Contains(got, group) || !strings.Contains(got, root+"."+id.GetValue()) {
				t.Errorf("in the pod:\n%s", got)
			}
		})
	}
}

// A task's checks in the Docker engine are what the container is, secrets included.
func TestDockerChecksAreConfinedAsTheirTask(t *testing.T) {
	m, p, _ := dockered(t)
	m.run(task("S0", "d", "", inEngine(func(c *mesos.ContainerInfo) {
		for k, v := range map[string]string{"ulimit": "nofile=77:77", "cap-add": "SYS_TIME", "security-opt": "no-new-privileges", "user": "65534:65534"} {
			c.Docker.Parameters = append(c.Docker.Parameters, &mesos.Parameter{Key: &k, Value: &v})
		}
	}), func(t *mesos.TaskInfo) { t.Command.User = proto.String("nobody") }, looking))
	m.expect("d", running)
	got := sameSelves(t, p, filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/d/runs/latest"))
	for _, want := range []string{" 77\n", "of-the-task of-its-own /mnt/mesos/sandbox", "Uid:\t65534\t", "NoNewPrivs:\t1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	m.kill("d")
	m.expect("d", killed)
}
