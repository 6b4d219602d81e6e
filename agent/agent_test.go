package agent_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

const (
	starting = mesos.TaskState_TASK_STARTING
	running  = mesos.TaskState_TASK_RUNNING
	killing  = mesos.TaskState_TASK_KILLING
	killed   = mesos.TaskState_TASK_KILLED
	failed   = mesos.TaskState_TASK_FAILED
	finished = mesos.TaskState_TASK_FINISHED
)

// started registers a fresh agent under id S0.
func started(t *testing.T) (*master, *process) {
	t.Helper()
	m := newMaster(t, 0)
	p := newProcess(t, m)
	p.start()
	reg := m.register("S0")
	if !reg.GetSlave().GetCheckpoint() || reg.GetVersion() != "1.11.0" || len(reg.GetResourceVersionUuid().GetValue()) != 16 || reg.GetSlave().Id != nil {
		t.Errorf("unfit registration: %v", reg)
	}
	return m, p
}

func TestTaskFromLaunchToAcknowledgedEnd(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "web", "echo hello from $MESOS_EXECUTOR_ID; echo $PORT0; sleep 1000", func(t *mesos.TaskInfo) {
		t.Command.Environment = &mesos.Environment{Variables: []*mesos.Environment_Variable{{Name: proto.String("PORT0"), Value: proto.String("31005")}}}
	}))
	seen := m.expect("web", running)
	if len(seen) != 2 || seen[0].GetState() != starting {
		t.Fatalf("states before running: %v", seen)
	}
	st := seen[1]
	if st.GetSource() != mesos.TaskStatus_SOURCE_EXECUTOR || st.GetExecutorId().GetValue() != "web" || st.Healthy != nil ||
		st.GetContainerStatus().GetNetworkInfos()[0].GetIpAddresses()[0].GetIpAddress() != "127.0.0.1" || !alive(st.GetContainerStatus().GetExecutorPid()) {
		t.Errorf("unfit running status: %v", st)
	}
	s := p.state()
	if s.ID != "S0" || len(s.Frameworks) != 1 || len(s.Frameworks[0].Executors) != 1 {
		t.Fatalf("state: %+v", s)
	}
	x := s.Frameworks[0].Executors[0]
	if x.Container != st.GetContainerStatus().GetContainerId().GetValue() || len(x.Tasks) != 1 || x.Tasks[0].State != "TASK_RUNNING" || x.Tasks[0].ExecutorID != "" {
		t.Errorf("executor in state: %+v", x)
	}
	p.eventually("stdout is readable", func() bool {
		var r struct{ Data string }
		b := p.get("/files/read?offset=0&path=" + url.QueryEscape(x.Directory+"/stdout"))
		return json.Unmarshal(b, &r) == nil && r.Data == "hello from web\n31005\n"
	})
	for _, path := range []string{"/health", "/version", "/flags", "/containers", "/monitor/statistics", "/metrics", "/metrics/snapshot", "/slave(1)/health",
		"/files/debug", "/files/browse?path=" + url.QueryEscape("/frameworks/F/executors/web/runs/latest")} {
		if p.get(path) == nil && path != "/health" && path != "/slave(1)/health" {
			t.Errorf("%s has no answer", path)
		}
	}

	names, err := os.ReadFile("testdata/metrics-names.txt") // recorded of Mesos
	if err != nil {
		t.Fatal(err)
	}
	figures := string(p.get("/metrics/snapshot"))
	for name := range strings.FieldsSeq(string(names)) {
		if !strings.Contains(figures, `"`+name+`":`) {
			t.Errorf("/metrics/snapshot has no %s", name)
		}
	}

	m.kill("web")
	end := m.expect("web", killed)
	if len(end) != 2 || end[0].GetState() != killing || end[1].GetMessage() != "Command terminated with signal Terminated" {
		t.Errorf("kill gave %v", end)
	}
	p.eventually("the task is complete", func() bool {
		s := p.state()
		return len(s.Frameworks) == 0 && len(s.CompletedFrameworks) == 1
	})
	if alive(st.GetContainerStatus().GetExecutorPid()) {
		t.Error("the process lives on")
	}
}

func TestHowCommandsEnd(t *testing.T) {
	m, _ := started(t)
	for _, c := range []struct {
		id, cmd string
		change  func(*mesos.TaskInfo)
		state   mesos.TaskState
		message string
		reason  mesos.TaskStatus_Reason
	}{
		{id: "zero", cmd: "exit 0", state: finished, message: "Command exited with status 0"},
		{id: "three", cmd: "exit 3", state: failed, message: "Command exited with status 3"},
		{id: "signal", cmd: "kill -9 $$", state: failed, message: "Command terminated with signal Killed"},
		{id: "nothing", cmd: "no-such-program", change: func(t *mesos.TaskInfo) { t.Command.Shell = proto.Bool(false) }, state: failed, message: "Command exited with status 1"},
		{id: "fetch", cmd: "true", change: func(t *mesos.TaskInfo) {
			t.Command.Uris = []*mesos.CommandInfo_URI{{Value: proto.String("/no/such/file.tgz")}}
		}, state: failed, message: "Failed to launch container: ", reason: mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED},
		{id: "nobody", cmd: "true", change: func(t *mesos.TaskInfo) { t.Command.User = proto.String("no-such-user") },
			state: failed, message: "Failed to launch container: ", reason: mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED},
	} {
		change := c.change
		if change == nil {
			change = func(*mesos.TaskInfo) {}
		}
		m.run(task("S0", c.id, c.cmd, change))
		seen := m.expect(c.id, c.state)
		last := seen[len(seen)-1]
		if !strings.HasPrefix(last.GetMessage(), c.message) || (c.reason != 0 && last.GetReason() != c.reason) {
			t.Errorf("%s: %v", c.id, last)
		}
	}
}

func TestHealthCheckKills(t *testing.T) {
	m, _ := started(t)
	m.run(task("S0", "sick", "sleep 1000", func(t *mesos.TaskInfo) {
		t.HealthCheck = &mesos.HealthCheck{
			Type: mesos.HealthCheck_COMMAND.Enum(), Command: &mesos.CommandInfo{Value: proto.String("test -e good")},
			DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.05), GracePeriodSeconds: proto.Float64(0), ConsecutiveFailures: proto.Uint32(2),
		}
	}))
	seen := m.expect("sick", killed)
	var told []string
	for _, st := range seen {
		s := strings.TrimPrefix(st.GetState().String(), "TASK_")
		if st.Healthy != nil {
			s += map[bool]string{true: "+", false: "-"}[st.GetHealthy()]
		}
		told = append(told, s)
	}
	if got := strings.Join(told, " "); got != "STARTING RUNNING RUNNING- RUNNING- KILLING- KILLED-" {
		t.Errorf("told %s", got)
	}
}

func TestAgentKilledLosesNothing(t *testing.T) {
	m, p := started(t)
	flag := t.TempDir() + "/go"
	for id, cmd := range map[string]string{"lives": "sleep 1000", "ends": "until test -e " + flag + "; do sleep 0.05; done; exit 7"} {
		m.run(task("S0", id, cmd))
	}
	pids := map[string]uint32{}
	for range 4 { // two tasks, interleaved
		u := next(t, "update", m.updates)
		st := u.GetUpdate().GetStatus()
		pids[st.GetTaskId().GetValue()] = st.GetContainerStatus().GetExecutorPid()
		m.ack(st)
	}
	m.barrier()
	p.stop(syscall.SIGKILL)
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.eventually("the task ends while no agent is there", func() bool { return !alive(pids["ends"]) })
	if !alive(pids["lives"]) {
		t.Fatal("a task died with the agent")
	}
	p.start()
	reg := m.reregister("S0")
	if reg.GetSlave().GetId().GetValue() != "S0" || len(reg.GetTasks()) != 2 || len(reg.GetFrameworks()) != 1 || len(reg.GetExecutorInfos()) != 0 {
		t.Errorf("unfit re-registration: %v", reg)
	}
	for _, w := range reg.GetTasks() {
		if w.ExecutorId != nil || (w.StatusUpdateState == nil) != (w.StatusUpdateUuid == nil) {
			t.Errorf("unfit task: %v", w)
		}
	}
	if end := m.expect("ends", failed); len(end) != 1 || end[0].GetMessage() != "Command exited with status 7" {
		t.Errorf("the end was told as %v", end)
	}
	m.kill("lives")
	if end := m.expect("lives", killed); len(end) != 2 || end[0].GetState() != killing {
		t.Errorf("after the restart: %v", end) // in particular no second RUNNING
	}
	if alive(pids["lives"]) {
		t.Error("the killed process lives")
	}
}

func TestUpdateSurvivesAgentAndMaster(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "a", "exit 5"))
	first := next(t, "update", m.updates)
	if first.GetUpdate().GetStatus().GetState() != starting {
		t.Fatalf("got %v", first)
	}
	// Nobody acknowledges. The agent dies, the master too; both come back.
	p.eventually("the task ended", func() bool { return strings.Contains(string(p.get("/state")), "TASK_FAILED") })
	p.stop(syscall.SIGKILL)
	port := m.tr.Addr().Port()
	m.tr.Close()
	p.start()
	m2 := newMaster(t, port)
	m2.reregister("S0")
	seen := m2.expect("a", failed)
	if len(seen) != 3 || string(seen[0].GetUuid()) != string(first.GetUpdate().GetUuid()) {
		t.Errorf("told %v", seen)
	}
	p.eventually("the acknowledgements arrived", func() bool { return len(p.state().Frameworks) == 0 })
	// The master goes once more, under a running agent: it registers again by itself.
	m2.tr.Close()
	m3 := newMaster(t, port)
	if reg := m3.reregister("S0"); len(reg.GetTasks()) != 0 {
		t.Errorf("tasks left: %v", reg.GetTasks())
	}
}

func TestKillTasksOnStopLeavesNothing(t *testing.T) {
	m := newMaster(t, 0)
	p := newProcess(t, m)
	p.cfg.KillTasksOnStop = true
	p.start()
	m.register("S0")
	m.run(task("S0", "a", "sleep 1000"))
	pid := m.expect("a", running)[1].GetContainerStatus().GetExecutorPid()
	p.stop(syscall.SIGTERM)
	if alive(pid) {
		t.Error("the task lives on")
	}
	p.eventually("no process is left behind", func() bool { return len(processesWith(t, p.cfg.RuntimeDir)) == 0 })
	p.start()
	m.reregister("S0")
	for u := range m.updates { // its end may have been sent before the stop already
		st := u.GetUpdate().GetStatus()
		m.ack(st)
		if st.GetState() == killed {
			break
		}
	}
}

// processesWith lists the command lines that hold a text.
func processesWith(t *testing.T, text string) []string {
	t.Helper()
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range dirs {
		b, err := os.ReadFile("/proc/" + d.Name() + "/cmdline")
		if err == nil && strings.Contains(string(b), text) {
			out = append(out, string(b))
		}
	}
	return out
}

func TestReconciliationAndTeardown(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "a", "sleep 1000"))
	pid := m.expect("a", running)[1].GetContainerStatus().GetExecutorPid()
	m.send(&messages.PingSlaveMessage{Connected: proto.Bool(false)})
	next(t, "re-registration", m.reregistrations)
	m.send(&messages.SlaveReregisteredMessage{SlaveId: agentID("S0"), Reconciliations: []*messages.ReconcileTasksMessage{{
		FrameworkId: frameworkID, Framework: framework(), Statuses: []*mesos.TaskStatus{
			{TaskId: &mesos.TaskID{Value: proto.String("a")}, State: running.Enum()}, {TaskId: &mesos.TaskID{Value: proto.String("ghost")}, State: running.Enum()},
		},
	}}})
	if seen := m.expect("ghost", mesos.TaskState_TASK_DROPPED); seen[0].GetReason() != mesos.TaskStatus_REASON_RECONCILIATION {
		t.Errorf("ghost: %v", seen)
	}
	m.send(&messages.ShutdownFrameworkMessage{FrameworkId: frameworkID})
	p.eventually("the framework is gone", func() bool { return len(p.state().CompletedFrameworks) == 1 && !alive(pid) })
	select {
	case u := <-m.updates:
		t.Errorf("update after the teardown: %v", u)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestStrangersAreIgnored(t *testing.T) {
	m, p := started(t)
	other := newMaster(t, 0)
	m.mu.Lock()
	other.from(m.agent)
	m.mu.Unlock()
	other.run(task("S0", "evil", "true"))
	other.send(&messages.ShutdownMessage{Message: proto.String("go away")})
	m.run(task("S9", "for another agent", "true"))
	m.run(task("S0", "good", "exit 0"))
	m.expect("good", finished)
	if len(other.updates) > 0 || strings.Contains(string(p.get("/state")), "evil") {
		t.Error("a stranger was obeyed")
	}
}

// The memory limit ends a task with Mesos' reason, text and limitation.
func TestOutOfMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("cgroups need root")
	}
	m := newMaster(t, 0)
	var p *process
	t.Cleanup(func() { // after the process' own clean-up
		p.removeGroups()
	})
	p = newProcess(t, m)
	p.cfg.Isolation, p.cfg.CgroupsRoot, p.cfg.CgroupsHierarchy = "cgroups/cpu,cgroups/mem", "stoa-test-"+p.cfg.Port, "/sys/fs/cgroup"
	p.start()
	m.register("S0")
	m.run(task("S0", "greedy", "x=0123456789abcdef; while :; do x=$x$x; done"))
	seen := m.expect("greedy", failed)
	last := seen[len(seen)-1]
	if last.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY || last.GetSource() != mesos.TaskStatus_SOURCE_AGENT ||
		!strings.HasPrefix(last.GetMessage(), "Memory limit exceeded: Requested: 64MB Maximum Used: 64MB\n\nMEMORY STATISTICS: \n") ||
		len(last.GetLimitation().GetResources()) != 1 || last.GetLimitation().GetResources()[0].GetScalar().GetValue() != 64 {
		t.Errorf("told %v", last)
	}
}

// A disk that takes no more checkpoints fails new launches only; when it takes them
// again, nothing has been forgotten.
func TestFullDisk(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "lives", "sleep 1000"))
	m.run(task("S0", "ends", "sleep 1000"))
	for range 4 {
		m.ack(next(t, "update", m.updates).GetUpdate().GetStatus())
	}
	m.barrier()
	limit := func(n uint64) {
		t.Helper()
		if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}, nil); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	m.run(task("S0", "new", "sleep 1000"))
	seen := m.expect("new", failed)
	if len(seen) != 1 || !strings.HasPrefix(seen[0].GetMessage(), "Failed to launch container: Failed to checkpoint the task: ") {
		t.Errorf("new: %v", seen)
	}
	m.kill("ends")
	m.expect("ends", killed)
	m.barrier()
	limit(unix.RLIM_INFINITY)
	m.run(task("S0", "later", "sleep 1000"))
	m.expect("later", running)
	m.barrier()
	p.stop(syscall.SIGKILL)
	p.start()
	reg := m.reregister("S0")
	var names []string
	for _, w := range reg.GetTasks() {
		names = append(names, w.GetName()+" "+w.GetState().String())
	}
	if got := strings.Join(names, ", "); got != "later TASK_RUNNING, lives TASK_RUNNING" {
		t.Errorf("after the restart: %s", got)
	}
}

// A damaged checkpoint costs the one task that it describes.
func TestDamagedCheckpoint(t *testing.T) {
	m, p := started(t)
	pids := map[string]uint32{}
	for _, id := range []string{"good", "bad"} {
		m.run(task("S0", id, "sleep 1000 # "+id+"-mark"))
		pids[id] = m.expect(id, running)[1].GetContainerStatus().GetExecutorPid()
	}
	m.barrier()
	p.stop(syscall.SIGKILL)
	file := filepath.Join(p.cfg.WorkDir, "meta", "slaves", "latest", "stoa.journal")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.LastIndex(string(b), "t/F/bad")
	b[key+20] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	p.cfg.Strict = true
	p.start()
	if err := next(t, "end of the agent", p.done); err == nil || !strings.Contains(p.out.String(), "start with --no-strict to give up what it describes") || !alive(pids["bad"]) {
		t.Errorf("with --strict: %v", err)
	}
	p.cmd, p.cfg.Strict = nil, false
	p.start()
	reg := m.reregister("S0")
	if len(reg.GetTasks()) != 1 || reg.GetTasks()[0].GetName() != "good" || !alive(pids["good"]) {
		t.Errorf("re-registered with %v", reg.GetTasks())
	}
	p.eventually("the task without a record is ended", func() bool { return !alive(pids["bad"]) })
	figures := string(p.get("/metrics/snapshot"))
	if !strings.Contains(figures, `"slave/recovery_errors":1.0`) || !strings.Contains(figures, `"slave/recovery_time_secs":`) {
		t.Errorf("the damage or the time is not told: %s", figures)
	}
}
