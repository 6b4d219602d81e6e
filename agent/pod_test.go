package agent_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

func podExecutor(id string) *mesos.ExecutorInfo {
	return &mesos.ExecutorInfo{
		ExecutorId: &mesos.ExecutorID{Value: proto.String(id)}, Type: mesos.ExecutorInfo_DEFAULT.Enum(), FrameworkId: frameworkID,
		Resources: []*mesos.Resource{amount("cpus", 0.1), amount("mem", 32)},
	}
}

func (m *master) group(executor *mesos.ExecutorInfo, fresh bool, tasks ...*mesos.TaskInfo) {
	m.t.Helper()
	m.send(&messages.RunTaskGroupMessage{Framework: framework(), Executor: executor, TaskGroup: &mesos.TaskGroupInfo{Tasks: tasks}, LaunchExecutor: proto.Bool(fresh)})
}

// collect takes updates, acknowledges them, and gives the statuses by task until each of
// the wanted tasks has reached its state. Updates of one task come in order.
func (m *master) collect(want map[string]mesos.TaskState) map[string][]*mesos.TaskStatus {
	m.t.Helper()
	got := map[string][]*mesos.TaskStatus{}
	for left := len(want); left > 0; {
		st := next(m.t, "update of a pod's task", m.updates).GetUpdate().GetStatus()
		id := st.GetTaskId().GetValue()
		m.ack(st)
		if _, mine := want[id]; !mine {
			continue // sent again after a restart
		}
		if n := len(got[id]); n > 0 && string(got[id][n-1].GetUuid()) == string(st.GetUuid()) {
			continue // sent again
		}
		got[id] = append(got[id], st)
		switch {
		case st.GetState() == want[id]:
			left--
		case over(st.GetState()):
			m.t.Fatalf("%s was to become %s: %v", id, want[id], got[id])
		}
	}
	return got
}

func states(all []*mesos.TaskStatus) string {
	var out []string
	for _, st := range all {
		out = append(out, strings.TrimPrefix(st.GetState().String(), "TASK_"))
	}
	return strings.Join(out, " ")
}

func parentVolume(path, at string) *mesos.Volume {
	return &mesos.Volume{ContainerPath: proto.String(at), Mode: mesos.Volume_RW.Enum(), Source: &mesos.Volume_Source{
		Type:        mesos.Volume_Source_SANDBOX_PATH.Enum(),
		SandboxPath: &mesos.Volume_Source_SandboxPath{Type: mesos.Volume_Source_SandboxPath_PARENT.Enum(), Path: proto.String(path)},
	}}
}

func volumes(vs ...*mesos.Volume) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) {
		t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), Volumes: vs}
	}
}

// mesos-agent.md 3.2, 3.4, 3.8: sandboxes, environment, shared volume, updates of a pod.
func TestPod(t *testing.T) {
	m, p := started(t)
	shared := volumes(parentVolume("data", "shared"))
	m.group(podExecutor("pod"), true,
		task("S0", "web", `echo from web > shared/file; env | sort; echo oops >&2; until [ -e shared/done ]; do sleep 0.05; done`, shared),
		task("S0", "side", `until [ -e shared/file ]; do sleep 0.05; done; cat shared/file; touch shared/done`, shared))
	got := m.collect(map[string]mesos.TaskState{"web": finished, "side": finished})
	for _, id := range []string{"web", "side"} {
		if s := states(got[id]); s != "STARTING RUNNING FINISHED" {
			t.Errorf("%s: %s", id, s)
		}
	}
	st := got["web"][1]
	cs := st.GetContainerStatus()
	root := cs.GetContainerId().GetParent().GetValue()
	if root == "" || cs.GetContainerId().GetValue() == "" || cs.GetExecutorPid() == 0 || st.GetExecutorId().GetValue() != "pod" ||
		cs.GetNetworkInfos()[0].GetIpAddresses()[0].GetIpAddress() != "127.0.0.1" {
		t.Errorf("running: %v", st)
	}
	run := filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/pod/runs", root)
	box := filepath.Join(run, "containers", cs.GetContainerId().GetValue())
	out, err := os.ReadFile(filepath.Join(run, "tasks/web/stdout"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MESOS_SANDBOX=" + box + "\n", "MESOS_CONTAINER_IP=127.0.0.1\n", "MESOS_ALLOCATION_ROLE=dev\n", "PWD=" + box + "\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("environment lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "MESOS_EXECUTOR_ID") {
		t.Error("the executor's environment is inherited")
	}
	if b, _ := os.ReadFile(filepath.Join(run, "tasks/side/stdout")); string(b) != "from web\n" {
		t.Errorf("the volume is not shared: %q", b)
	}
	if b, _ := os.ReadFile(filepath.Join(box, "stderr")); string(b) != "oops\n" {
		t.Errorf("stderr: %q", b)
	}
	x := next(t, "executor's end", m.exited)
	if x.GetExecutorId().GetValue() != "pod" || x.GetStatus() != 0 {
		t.Errorf("exited: %v", x)
	}
	p.eventually("the pod is completed", func() bool {
		s := p.state()
		return len(s.Frameworks) == 0
	})
}

// mesos-agent.md 3.3: one member fails, and the others of its group are killed; another
// group of the same executor goes on.
func TestPodGroupIsKilledTogether(t *testing.T) {
	m, p := started(t)
	ex := podExecutor("pod")
	m.group(ex, true, task("S0", "a", "sleep 1000"), task("S0", "b", "until [ -e ../../go ]; do sleep 0.05; done; exit 4"))
	got := m.collect(map[string]mesos.TaskState{"a": running, "b": running})
	m.group(ex, false, task("S0", "c", "trap 'echo term; exit 0' TERM; while :; do sleep 0.05; done"))
	m.collect(map[string]mesos.TaskState{"c": running})
	root := got["a"][1].GetContainerStatus().GetContainerId().GetParent().GetValue()
	run := filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/pod/runs", root)
	if err := os.WriteFile(filepath.Join(run, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got = m.collect(map[string]mesos.TaskState{"a": killed, "b": failed})
	if msg := got["b"][0].GetMessage(); msg != "Command exited with status 4" {
		t.Errorf("b: %q", msg)
	}
	if s := states(got["a"]); s != "KILLING KILLED" {
		t.Errorf("a: %s", s)
	}
	if msg := got["a"][1].GetMessage(); msg != "Command terminated with signal Terminated" {
		t.Errorf("a: %q", msg)
	}
	m.kill("c")
	got = m.collect(map[string]mesos.TaskState{"c": killed})
	if msg := got["c"][1].GetMessage(); msg != "Command exited with status 0" {
		t.Errorf("c: %q", msg)
	}
	next(t, "executor's end", m.exited)
}

// reliability D.3: the agent is killed while a pod runs, and while one is launched: what
// runs goes on, what ended meanwhile is told as it ended, once.
func TestPodSurvivesAgent(t *testing.T) {
	m, p := started(t)
	m.group(podExecutor("pod"), true, task("S0", "long", "sleep 1000"), task("S0", "short", "until [ -e ../../go ]; do sleep 0.05; done"))
	got := m.collect(map[string]mesos.TaskState{"long": running, "short": running})
	status := got["long"][1].GetContainerStatus()
	root := status.GetContainerId().GetParent().GetValue()
	run := filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/pod/runs", root)
	p.stop(syscall.SIGKILL)
	if err := os.WriteFile(filepath.Join(run, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.eventually("the short one ends", func() bool { return !alive(got["short"][1].GetContainerStatus().GetExecutorPid()) })
	if !alive(status.GetExecutorPid()) {
		t.Error("the long one did not survive")
	}
	p.start()
	m.reregister("S0")
	m.collect(map[string]mesos.TaskState{"short": finished})
	m.kill("long")
	m.collect(map[string]mesos.TaskState{"long": killed})
	next(t, "executor's end", m.exited)
	if alive(status.GetExecutorPid()) {
		t.Error("an orphan is left")
	}
	// Killed while the containers are being launched: each task gets exactly one end.
	m.group(podExecutor("second"), true, task("S0", "x", "sleep 1000"), task("S0", "y", "sleep 1000"))
	for next(t, "first update", m.updates).GetUpdate().GetExecutorId().GetValue() != "second" {
	}
	p.stop(syscall.SIGKILL)
	p.start()
	m.reregister("S0")
	m.kill("x")
	ends := map[string]string{} // task -> uuid of its terminal update
	for len(ends) < 2 {
		st := next(t, "update", m.updates).GetUpdate().GetStatus()
		m.ack(st)
		if st.GetState() != killed {
			continue
		}
		id := st.GetTaskId().GetValue()
		if was, again := ends[id]; again && was != string(st.GetUuid()) {
			t.Errorf("%s ended twice", id)
		}
		ends[id] = string(st.GetUuid())
	}
	p.eventually("nothing is left of the pod", func() bool { return len(p.state().Frameworks) == 0 })
}

// mesos-agent.md 7.4: volumes of a container without image, at a path of the host and
// read-only; neither is seen outside of the container.
func TestVolumesAreMounted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	m, p := started(t)
	source, target := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "file"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	host := func(at string, mode mesos.Volume_Mode) *mesos.Volume {
		return &mesos.Volume{HostPath: proto.String(source), ContainerPath: proto.String(at), Mode: mode.Enum()}
	}
	m.run(task("S0", "mounted", "cat "+target+"/file && cat link/file && cat ro/file && ! touch ro/x 2>/dev/null && touch "+target+"/made",
		volumes(host(target, mesos.Volume_RW), host("link", mesos.Volume_RW), host("ro", mesos.Volume_RO))))
	seen := m.expect("mounted", running)
	root := seen[len(seen)-1].GetContainerStatus().GetContainerId().GetValue()
	m.expect("mounted", finished)
	box := filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/mounted/runs", root)
	if b, _ := os.ReadFile(filepath.Join(box, "stdout")); string(b) != strings.Repeat("from the host\n", 3) {
		t.Errorf("stdout: %q", b)
	}
	if _, err := os.Stat(filepath.Join(source, "made")); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(target); len(left) > 0 {
		t.Errorf("the mount is seen outside: %v", left)
	}
	m.run(task("S0", "absent", "true", volumes(host("/no/such/path", mesos.Volume_RW))))
	end := m.expect("absent", failed)
	if msg := end[len(end)-1].GetMessage(); !strings.Contains(msg, "/no/such/path does not exist on this host") {
		t.Errorf("absent: %q", msg)
	}
}

// mesos-agent.md 3.3: max_completion_time of a pod's task reports SIGKILL; 3.4: two tasks
// of a group that agree on a cgroup of their own run too.
func TestPodCompletionTimeAndOwnCgroup(t *testing.T) {
	m, _ := started(t)
	own := func(t *mesos.TaskInfo) {
		t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), LinuxInfo: &mesos.LinuxInfo{ShareCgroups: proto.Bool(false)}}
	}
	m.group(podExecutor("pod"), true, task("S0", "late", "sleep 1000", own, func(t *mesos.TaskInfo) {
		t.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: proto.Int64(1e8)}
	}), task("S0", "mate", "sleep 1000", own))
	got := m.collect(map[string]mesos.TaskState{"late": failed, "mate": killed})
	last := got["late"][len(got["late"])-1]
	if last.GetReason() != mesos.TaskStatus_REASON_MAX_COMPLETION_TIME_REACHED || last.GetMessage() != "Command terminated with signal Killed" {
		t.Errorf("late: %v", last)
	}
	next(t, "executor's end", m.exited)
}

// mesos-agent.md 3.1: the members of a pod share one cgroup, whose processes all end with
// the pod, while the end of one member leaves the others alone.
func TestPodSharesOneCgroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("cgroups need root")
	}
	m := newMaster(t, 0)
	p := newProcess(t, m)
	p.cfg.Isolation, p.cfg.CgroupsRoot, p.cfg.CgroupsHierarchy = "cgroups/cpu,cgroups/mem", "stoa-test-"+p.cfg.Port, "/sys/fs/cgroup"
	p.start()
	m.register("S0")
	ex := podExecutor("pod")
	m.group(ex, true, task("S0", "a", "sleep 1000 & exit 0"), task("S0", "b", "sleep 1000"))
	got := m.collect(map[string]mesos.TaskState{"a": finished, "b": running})
	cs := got["b"][1].GetContainerStatus()
	root := cs.GetContainerId().GetParent().GetValue()
	groups, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(int(cs.GetExecutorPid())), "cgroup"))
	in := "/" + p.cfg.CgroupsRoot + "/" + root
	if err != nil || !strings.Contains(string(groups), in+"\n") && !strings.Contains(string(groups), in+"/leaf\n") {
		t.Errorf("b is not in the cgroup of its root %s: %s %v", root, groups, err)
	}
	if !strings.Contains(string(p.get("/containers")), root) {
		t.Error("the root is not among the containers")
	}
	m.kill("b")
	m.collect(map[string]mesos.TaskState{"b": killed})
	next(t, "executor's end", m.exited)
	p.eventually("the cgroup is gone", func() bool {
		return len(p.groups(root)) == 0 && !alive(cs.GetExecutorPid())
	})
}
