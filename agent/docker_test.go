package agent_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/lab/dockerd"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

var dockerEngine struct {
	sync.Once
	*dockerd.Engine
	err error
}

// dockered registers a fresh agent that has a Docker engine, which its tests share.
func dockered(t *testing.T) (*master, *process, *dockerd.Engine) {
	t.Helper()
	if why := dockerd.Missing(); why != "" {
		t.Skip(why)
	}
	dockerEngine.Do(func() { dockerEngine.Engine, dockerEngine.err = dockerd.Start(dockerd.Options{LiveRestore: true}) })
	if dockerEngine.err != nil {
		t.Fatal(dockerEngine.err)
	}
	m, p := dockeredBy(t, dockerEngine.Engine)
	return m, p, dockerEngine.Engine
}

func dockeredBy(t *testing.T, e *dockerd.Engine) (*master, *process) {
	t.Helper()
	m := newMaster(t, 0)
	p := newProcess(t, m)
	t.Cleanup(func() { nothingInEngine(t, e, p.cfg.WorkDir) }) // runs before the last clean-up
	p.cfg.Containerizers, p.cfg.Docker.Socket, p.cfg.Docker.RemoveDelay = "docker,mesos", e.Socket, -1
	p.start()
	m.register("S0")
	return m, p
}

// nothingInEngine fails for containers that a test has left.
func nothingInEngine(t *testing.T, e *dockerd.Engine, owner string) {
	t.Helper()
	var left []string
	for end := time.Now().Add(patience.For(20 * time.Second)); ; time.Sleep(50 * time.Millisecond) {
		all, err := e.API.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", "stoa.owner="+owner)})
		left = nil
		for _, c := range all.Items {
			left = append(left, c.Names[0]+" "+c.Status)
		}
		if t.Context().Err() != nil || err == nil && len(left) == 0 || time.Now().After(end) {
			break
		}
	}
	if len(left) > 0 {
		t.Errorf("left in the engine: %v", left)
	}
}

// inEngine makes a task one that runs in a container of the engine.
func inEngine(change func(*mesos.ContainerInfo)) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) {
		t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: &mesos.ContainerInfo_DockerInfo{Image: proto.String("box")}}
		if change != nil {
			change(t.Container)
		}
	}
}

func bridged(c *mesos.ContainerInfo) { c.Docker.Network = mesos.ContainerInfo_DockerInfo_BRIDGE.Enum() }

func TestDockerTaskFromLaunchToEnd(t *testing.T) {
	m, p, _ := dockered(t)
	m.run(task("S0", "web", `echo "in $MESOS_SANDBOX $MESOS_CONTAINER_NAME $MESOS_EXECUTOR_ID"; trap "exit 3" TERM; while :; do ping -c 1 -w 1 172.17.0.1 >&2; sleep 0.05; done`, inEngine(func(c *mesos.ContainerInfo) {
		bridged(c)
		c.NetworkInfos = []*mesos.NetworkInfo{{Labels: &mesos.Labels{Labels: []*mesos.Label{{Key: proto.String("k"), Value: proto.String("v")}}}}}
		c.Docker.PortMappings = []*mesos.ContainerInfo_DockerInfo_PortMapping{{HostPort: proto.Uint32(31001), ContainerPort: proto.Uint32(80)}}
	}), func(t *mesos.TaskInfo) {
		t.Resources = append(t.Resources, &mesos.Resource{Name: proto.String("ports"), Type: mesos.Value_RANGES.Enum(),
			Ranges: &mesos.Value_Ranges{Range: []*mesos.Value_Range{{Begin: proto.Uint64(31001), End: proto.Uint64(31001)}}}})
	}))
	seen := m.expect("web", running)
	if len(seen) != 2 || seen[0].GetState() != starting {
		t.Fatalf("%v", seen)
	}
	st := seen[1]
	var shown []struct {
		Name  string
		State struct{ Running bool }
	}
	if err := json.Unmarshal(st.GetData(), &shown); err != nil || len(shown) != 1 || !strings.HasPrefix(shown[0].Name, "/mesos-") || !shown[0].State.Running {
		t.Errorf("data %q: %v", st.GetData(), err)
	}
	infos := st.GetContainerStatus().GetNetworkInfos()
	if len(infos) != 1 || !strings.HasPrefix(infos[0].GetIpAddresses()[0].GetIpAddress(), "172.") || infos[0].GetLabels().GetLabels()[0].GetValue() != "v" || !alive(st.GetContainerStatus().GetExecutorPid()) {
		t.Errorf("%v", st.GetContainerStatus())
	}
	x := p.state().Frameworks[0].Executors[0]
	id := x.Container
	if shown[0].Name != "/mesos-"+id {
		t.Errorf("%s is called %s", id, shown[0].Name)
	}
	p.eventually("its output", func() bool {
		raw, _ := os.ReadFile(filepath.Join(x.Directory, "stdout"))
		return string(raw) == "in /mnt/mesos/sandbox mesos-"+id+" \n"
	})
	p.eventually("statistics", func() bool {
		var all []struct {
			Source     string
			Statistics struct {
				Limit uint64  `json:"mem_limit_bytes"`
				CPU   float64 `json:"cpus_limit"`
				Procs int     `json:"processes"`
				Sent  uint64  `json:"net_tx_bytes"`
				Lost  *uint64 `json:"net_rx_dropped"`
			}
		}
		raw := p.get("/monitor/statistics")
		return json.Unmarshal(raw, &all) == nil && len(all) == 1 && all[0].Source == "web" && all[0].Statistics.Limit == 32<<20 && all[0].Statistics.Procs >= 1 &&
			all[0].Statistics.Sent > 0 && all[0].Statistics.Lost != nil
	})
	m.kill("web")
	if end := m.expect("web", killed); len(end) != 2 || end[0].GetState() != killing || end[1].GetMessage() != "Container exited with status 3" || end[1].Reason != nil ||
		!strings.HasPrefix(end[1].GetContainerStatus().GetNetworkInfos()[0].GetIpAddresses()[0].GetIpAddress(), "172.") {
		t.Errorf("%v", end)
	}
}

func TestHowContainersEnd(t *testing.T) {
	m, _, _ := dockered(t)
	param := func(kv ...string) func(*mesos.ContainerInfo) {
		return func(c *mesos.ContainerInfo) {
			for i := 0; i < len(kv); i += 2 {
				c.Docker.Parameters = append(c.Docker.Parameters, &mesos.Parameter{Key: &kv[i], Value: &kv[i+1]})
			}
		}
	}
	for i, tt := range []struct {
		cmd     string
		change  func(*mesos.ContainerInfo)
		state   mesos.TaskState
		reason  *mesos.TaskStatus_Reason
		source  mesos.TaskStatus_Source
		text    string
		updates int
	}{
		{"true", nil, finished, nil, mesos.TaskStatus_SOURCE_EXECUTOR, "Container exited with status 0", 3},
		{"exit 9", nil, failed, nil, mesos.TaskStatus_SOURCE_EXECUTOR, "Container exited with status 9", 3},
		{"kill -9 $$", param("init", "true"), failed, nil, mesos.TaskStatus_SOURCE_EXECUTOR, "Container exited with status 137", 3},
		{`x=$(head -c 200000000 /dev/zero | tr '\0' x)`, param("memory-swap", "32m"), failed, mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY.Enum(), mesos.TaskStatus_SOURCE_EXECUTOR,
			"Container exited with status 137; Memory limit exceeded: Requested: 32MB Maximum Used: 32MB", 3},
		{"true", func(c *mesos.ContainerInfo) { c.Docker.Image = proto.String("127.0.0.1:1/none") }, failed, mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED.Enum(), mesos.TaskStatus_SOURCE_AGENT,
			"Failed to launch container: failed to pull image '127.0.0.1:1/none': ", 1},
		{"true", param("nonsense", "x"), failed, nil, mesos.TaskStatus_SOURCE_EXECUTOR, "Failed to create docker run options: Unknown parameter 'nonsense'", 2},
		{"true", func(c *mesos.ContainerInfo) { c.Docker.Parameters = nil; param("runtime", "no-such")(c) }, failed, nil, mesos.TaskStatus_SOURCE_EXECUTOR, "Failed to run docker container: ", 2},
	} {
		id := fmt.Sprintf("t%d", i)
		m.run(task("S0", id, tt.cmd, inEngine(tt.change)))
		seen := m.expect(id, tt.state)
		st := seen[len(seen)-1]
		if len(seen) != tt.updates || !strings.HasPrefix(st.GetMessage(), tt.text) || (st.Reason == nil) != (tt.reason == nil) || tt.reason != nil && st.GetReason() != *tt.reason || st.GetSource() != tt.source {
			t.Errorf("%s: %v", tt.cmd, seen)
		}
	}
	group := &messages.RunTaskGroupMessage{Framework: framework(), Executor: &mesos.ExecutorInfo{
		Type: mesos.ExecutorInfo_DEFAULT.Enum(), ExecutorId: &mesos.ExecutorID{Value: proto.String("pod")}, FrameworkId: frameworkID, Resources: []*mesos.Resource{amount("cpus", 0.1), amount("mem", 32)},
	}, TaskGroup: &mesos.TaskGroupInfo{Tasks: []*mesos.TaskInfo{task("S0", "member", "true", inEngine(nil))}}, LaunchExecutor: proto.Bool(true)}
	m.send(group)
	if st := m.expect("member", mesos.TaskState_TASK_ERROR)[0]; st.GetMessage() != "Docker ContainerInfo is not supported on the task" {
		t.Errorf("%v", st)
	}
}

func TestDockerNotEnabled(t *testing.T) {
	m, _ := started(t)
	m.run(task("S0", "a", "true", inEngine(nil)))
	if st := m.expect("a", failed)[0]; st.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED ||
		!strings.HasPrefix(st.GetMessage(), "Failed to launch container: None of the enabled containerizers (mesos) could create a container") {
		t.Errorf("%v", st)
	}
}

func TestDockerChecks(t *testing.T) {
	m, _, _ := dockered(t)
	soon := func(h *mesos.HealthCheck) *mesos.HealthCheck {
		h.DelaySeconds, h.IntervalSeconds, h.GracePeriodSeconds = proto.Float64(0), proto.Float64(0.2), proto.Float64(30)
		return h
	}
	sh := func(text string) *mesos.CommandInfo { return &mesos.CommandInfo{Value: &text} }
	port := proto.Uint32(8080)
	for id, h := range map[string]*mesos.HealthCheck{
		"command": {Type: mesos.HealthCheck_COMMAND.Enum(), Command: sh("test -e /only-in-the-container")},
		"tcp":     {Type: mesos.HealthCheck_TCP.Enum(), Tcp: &mesos.HealthCheck_TCPCheckInfo{Port: port}},
		"http":    {Type: mesos.HealthCheck_HTTP.Enum(), Http: &mesos.HealthCheck_HTTPCheckInfo{Port: port, Path: proto.String("/f")}},
	} {
		m.run(task("S0", id, `touch /only-in-the-container; mkdir /www; echo hi > /www/f; httpd -p 8080 -h /www; exec sleep 1000`, inEngine(bridged), func(t *mesos.TaskInfo) {
			t.HealthCheck = soon(h)
			graceOf(0)(t) // as process 1 it does not hear SIGTERM
		}))
		seen := m.expect(id, running)
		for len(seen) > 0 && seen[len(seen)-1].Healthy == nil {
			seen = append(seen, m.expect(id, running)...)
		}
		if last := seen[len(seen)-1]; !last.GetHealthy() {
			t.Errorf("%s: %v", id, last)
		}
		m.kill(id)
		m.expect(id, killed)
	}
	unwell := soon(&mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND.Enum(), Command: sh("exit 4"), ConsecutiveFailures: proto.Uint32(2)})
	unwell.GracePeriodSeconds = proto.Float64(0)
	m.run(task("S0", "unwell", "exec sleep 1000", inEngine(nil), func(t *mesos.TaskInfo) {
		t.HealthCheck = unwell
		t.KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: proto.Int64(0)}}
		t.Check = &mesos.CheckInfo{Type: mesos.CheckInfo_COMMAND.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.1), Command: &mesos.CheckInfo_Command{Command: sh("exit 6")}}
	}))
	seen := m.expect("unwell", killed)
	last := seen[len(seen)-1]
	if last.Healthy == nil || last.GetHealthy() || last.GetMessage() != "Container exited with status 137" {
		t.Errorf("%v", last)
	}
	if !slices.ContainsFunc(seen, func(st *mesos.TaskStatus) bool { return st.GetCheckStatus().GetCommand().GetExitCode() == 6 }) {
		t.Errorf("no result of the check: %v", seen)
	}
}

// TestAgentKilledAroundContainers kills the agent at every step of a launch and of a kill.
// Each task is told one end, and nothing is left in the engine.
func TestAgentKilledAroundContainers(t *testing.T) {
	m, p, _ := dockered(t)
	rounds := 6
	if os.Getenv("STOA_SOAK") != "" {
		rounds = 60
	}
	for i := range rounds {
		id := fmt.Sprintf("t%d", i)
		m.run(task("S0", id, `trap "exit 0" TERM; while :; do sleep 0.05; done`, inEngine(nil)))
		if i%2 == 1 { // in a kill instead of a launch
			m.expect(id, running)
			m.kill(id)
		}
		p.eventually("its record", func() bool { return strings.Contains(string(p.get("/state")), `"`+id+`"`) })
		time.Sleep(time.Duration(i*60%400) * time.Millisecond)
		p.stop(syscall.SIGKILL)
		p.start()
		m.reregister("S0")
		ends := 0
		for ends == 0 {
			u := next(t, "update of "+id, m.updates)
			st := u.GetUpdate().GetStatus()
			m.ack(st)
			if st.GetTaskId().GetValue() != id {
				continue // repeated for the task before, whose acknowledgement was lost with the agent
			}
			switch st.GetState() {
			case killed, failed, finished, mesos.TaskState_TASK_DROPPED:
				ends++
			case running:
				m.kill(id)
			}
		}
		p.eventually("closed books", func() bool { return len(p.state().Frameworks) == 0 })
	}
	select {
	case u := <-m.updates:
		t.Errorf("told once more: %v", u.GetUpdate().GetStatus())
	case <-time.After(300 * time.Millisecond):
	}
}

// TestContainersOutliveAgentAndEngine ends a container while both are away.
func TestContainersOutliveAgentAndEngine(t *testing.T) {
	if why := dockerd.Missing(); why != "" {
		t.Skip(why)
	}
	e, err := dockerd.Start(dockerd.Options{LiveRestore: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	m, p := dockeredBy(t, e)
	flag := filepath.Join(t.TempDir(), "go")
	dir := filepath.Dir(flag)
	m.run(task("S0", "a", "echo begun; until test -e /x/go; do sleep 0.05; done; exit 8", inEngine(func(c *mesos.ContainerInfo) {
		c.Volumes = []*mesos.Volume{{HostPath: &dir, ContainerPath: proto.String("/x"), Mode: mesos.Volume_RO.Enum()}}
	})))
	st := m.expect("a", running)[1]
	pid := st.GetContainerStatus().GetExecutorPid()
	m.barrier()
	x := p.state().Frameworks[0].Executors[0]
	stdout := filepath.Join(x.Directory, "stdout")
	p.eventually("its first words", func() bool { // the engine loses what is written without it
		raw, err := os.ReadFile(stdout)
		return err == nil && string(raw) == "begun\n"
	})
	p.stop(syscall.SIGKILL)
	e.Kill()
	if !alive(pid) {
		t.Fatal("the container died with the engine")
	}
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.eventually("its end", func() bool { return !alive(pid) })
	p.start() // waits for the engine
	if err := e.Up(); err != nil {
		t.Fatal(err)
	}
	m.reregister("S0")
	if end := m.expect("a", failed); len(end) != 1 || end[0].GetMessage() != "Container exited with status 8" {
		t.Errorf("%v", end)
	}
	if raw, err := os.ReadFile(stdout); err != nil || string(raw) != "begun\n" { // once, not again
		t.Errorf("%q %v", raw, err)
	}
}

// TestCustomExecutorInDocker runs an executor in a container that shares this machine's
// network, as it must to reach its agent.
func TestCustomExecutorInDocker(t *testing.T) {
	if why := dockerd.Missing(); why != "" {
		t.Skip(why)
	}
	e, err := dockerd.Start(dockerd.Options{HostNetwork: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	m, p := dockeredBy(t, e)
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	box := &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: &mesos.ContainerInfo_DockerInfo{Image: proto.String("box")}}
	for _, dir := range []string{"/usr", "/lib", "/lib64", filepath.Dir(self)} { // libraries: a test under the race detector is not static
		if _, err := os.Stat(dir); err == nil {
			box.Volumes = append(box.Volumes, &mesos.Volume{HostPath: proto.String(dir), ContainerPath: proto.String(dir), Mode: mesos.Volume_RO.Enum()})
		}
	}
	info := &mesos.ExecutorInfo{
		ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}, Type: mesos.ExecutorInfo_CUSTOM.Enum(), FrameworkId: frameworkID, Container: box,
		Command:   &mesos.CommandInfo{Shell: proto.Bool(false), Value: &self, Arguments: []string{"executor"}},
		Resources: []*mesos.Resource{amount("cpus", 0.1), amount("mem", 64)},
	}
	for i := range 3 {
		id := fmt.Sprintf("t%d", i)
		m.send(&messages.RunTaskMessage{Framework: framework(), LaunchExecutor: proto.Bool(i == 0), Task: task("S0", id, "", func(t *mesos.TaskInfo) {
			t.Command, t.Executor, t.Data = nil, info, []byte("payload")
		})})
		if seen := m.expect(id, finished); len(seen) != 2 || string(seen[0].GetData()) != "payload" {
			t.Fatalf("%v", seen)
		}
	}
	x := p.state().Frameworks[0].Executors[0]
	if _, err := e.API.ContainerInspect(t.Context(), "mesos-"+x.Container, client.ContainerInspectOptions{}); err != nil {
		t.Error(err)
	}
	m.send(&messages.ShutdownExecutorMessage{ExecutorId: info.ExecutorId, FrameworkId: frameworkID})
	if ex := next(t, "exit", m.exited); ex.GetStatus() != 0 {
		t.Errorf("exited with %d", ex.GetStatus())
	}
}
