package agent_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/agent/keeper"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/internal/lab/parent"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// The test binary is also the agent that gets killed, the keeper, and a custom executor.
func TestMain(m *testing.M) {
	if folder := os.Getenv("STOA_TEST_CRASH"); folder != "" {
		crash.Arm(folder)
	}
	switch {
	case len(os.Args) > 1 && os.Args[1] == "keeper":
		dir := strings.TrimPrefix(os.Args[2], "--runtime_dir=")
		if err := keeper.New(keeper.Config{Dir: dir}, slog.New(slog.NewTextHandler(os.Stderr, nil))).Run(context.Background()); err != nil {
			os.Exit(keeper.ExitRunning)
		}
		os.Exit(0)
	case len(os.Args) > 1 && os.Args[1] == "executor":
		runExecutor()
		os.Exit(0)
	case len(os.Args) > 1 && os.Args[1] == "old-executor":
		runOldExecutor()
		os.Exit(0)
	case os.Getenv("STOA_TEST_AGENT") != "":
		runAgent(os.Getenv("STOA_TEST_AGENT"))
		os.Exit(0)
	}
	code := m.Run()
	if builtExecutors != "" {
		os.RemoveAll(builtExecutors)
	}
	if dockerEngine.Engine != nil {
		dockerEngine.Stop()
	}
	os.Exit(code)
}

func runAgent(text string) {
	var cfg agent.Config
	err := json.Unmarshal([]byte(text), &cfg)
	if err != nil {
		panic(err)
	}
	if cfg.Security.TLS, err = wireTLS(); err != nil {
		panic(err)
	}
	a, err := agent.New(cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGUSR1)
	go func() {
		for range leave {
			a.Leave()
		}
	}()
	if err := a.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "agent ended:", err)
		os.Exit(1)
	}
}

// wireTLS is the TLS that the environment asks for; nil: none.
func wireTLS() (*tlsport.Port, error) {
	s, _, err := tlsport.FromEnv(os.LookupEnv)
	if err != nil || !s.Enabled {
		return nil, err
	}
	return tlsport.Open(s, nil)
}

// master is a scripted master on a real transport.
type master struct {
	t  *testing.T
	tr *libprocess.Transport
	me libprocess.UPID

	registrations   chan *messages.RegisterSlaveMessage
	reregistrations chan *messages.ReregisterSlaveMessage
	updates         chan *messages.StatusUpdateMessage
	agents          chan *messages.UpdateSlaveMessage
	exited          chan *messages.ExitedExecutorMessage
	data            chan *messages.ExecutorToFrameworkMessage
	left            chan *messages.UnregisterSlaveMessage
	operations      chan *messages.UpdateOperationStatusMessage

	mu    sync.Mutex // guards agent
	agent libprocess.UPID
}

// newMaster listens on a port of 127.0.0.1; 0 takes a free one.
func newMaster(t *testing.T, port uint16, change ...func(*libprocess.Config)) *master {
	t.Helper()
	if port == 0 {
		port = uint16(freeport.Row(t, 1)) // another master may follow on it
	}
	cfg := libprocess.Config{Listen: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
	for _, c := range change {
		c(&cfg)
	}
	tr, err := libprocess.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := &master{
		t: t, tr: tr,
		registrations: make(chan *messages.RegisterSlaveMessage, 100), reregistrations: make(chan *messages.ReregisterSlaveMessage, 100),
		updates: make(chan *messages.StatusUpdateMessage, 100), agents: make(chan *messages.UpdateSlaveMessage, 100),
		exited: make(chan *messages.ExitedExecutorMessage, 100), data: make(chan *messages.ExecutorToFrameworkMessage, 100), left: make(chan *messages.UnregisterSlaveMessage, 100),
		operations: make(chan *messages.UpdateOperationStatusMessage, 100),
	}
	mux := libprocess.NewMux(nil)
	libprocess.Handle(mux, "mesos.internal.RegisterSlaveMessage", func(from libprocess.UPID, msg *messages.RegisterSlaveMessage) {
		m.from(from)
		m.registrations <- msg
	})
	libprocess.Handle(mux, "mesos.internal.ReregisterSlaveMessage", func(from libprocess.UPID, msg *messages.ReregisterSlaveMessage) {
		m.from(from)
		m.reregistrations <- msg
	})
	libprocess.Handle(mux, "mesos.internal.StatusUpdateMessage", func(_ libprocess.UPID, msg *messages.StatusUpdateMessage) { m.updates <- msg })
	libprocess.Handle(mux, "mesos.internal.UpdateSlaveMessage", func(_ libprocess.UPID, msg *messages.UpdateSlaveMessage) { m.agents <- msg })
	libprocess.Handle(mux, "mesos.internal.ExitedExecutorMessage", func(_ libprocess.UPID, msg *messages.ExitedExecutorMessage) { m.exited <- msg })
	libprocess.Handle(mux, "mesos.internal.ExecutorToFrameworkMessage", func(_ libprocess.UPID, msg *messages.ExecutorToFrameworkMessage) { m.data <- msg })
	libprocess.Handle(mux, "mesos.internal.UpdateOperationStatusMessage", func(_ libprocess.UPID, msg *messages.UpdateOperationStatusMessage) { m.operations <- msg })
	libprocess.Handle(mux, "mesos.internal.UnregisterSlaveMessage", func(_ libprocess.UPID, msg *messages.UnregisterSlaveMessage) { m.left <- msg })
	libprocess.Handle(mux, "mesos.internal.PongSlaveMessage", func(libprocess.UPID, *messages.PongSlaveMessage) {})
	if m.me, err = tr.Spawn("master", mux); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = tr.Serve() }()
	t.Cleanup(func() { tr.Close(); <-done })
	return m
}

func (m *master) from(pid libprocess.UPID) {
	m.mu.Lock()
	m.agent = pid
	m.mu.Unlock()
}

func (m *master) send(msg proto.Message) {
	m.t.Helper()
	m.mu.Lock()
	to := m.agent
	m.mu.Unlock()
	if err := m.tr.Send(m.me, to, msg); err != nil {
		m.t.Fatalf("send: %v", err)
	}
}

func next[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience.For(20 * time.Second)):
		t.Fatalf("no %s came", what)
		panic("unreachable")
	}
}

// unhurried is how long an agent may hear nothing from this master, which sends no pings.
func unhurried() *messages.MasterSlaveConnection {
	return &messages.MasterSlaveConnection{TotalPingTimeoutSeconds: proto.Float64(patience.For(75 * time.Second).Seconds())}
}

// register takes the agent's registration and gives it an id.
func (m *master) register(id string) *messages.RegisterSlaveMessage {
	m.t.Helper()
	return welcome(m, "registration", m.registrations, &messages.SlaveRegisteredMessage{SlaveId: agentID(id), Connection: unhurried()})
}

func (m *master) reregister(id string) *messages.ReregisterSlaveMessage {
	m.t.Helper()
	return welcome(m, "re-registration", m.reregistrations, &messages.SlaveReregisteredMessage{SlaveId: agentID(id), Connection: unhurried()})
}

// welcome answers the agent whenever it asks, until it takes an answer, and gives its last
// request. It may ask more than once, and so may have the process before it.
func welcome[T proto.Message](m *master, what string, asks <-chan T, answer proto.Message) (last T) {
	m.t.Helper()
	for len(m.agents) > 0 {
		<-m.agents
	}
	asked := false
	for end := time.After(patience.For(20 * time.Second)); ; {
		select {
		case last = <-asks:
			asked = true
			m.send(answer)
		case <-m.agents:
			for len(asks) > 0 {
				last = <-asks
			}
			if asked {
				return last
			}
		case <-end:
			m.t.Fatalf("no %s that took its answer: asked %v", what, asked)
		}
	}
}

// expect takes updates of a task, acknowledges each, and stops at the state; what was
// seen before it comes back too.
func (m *master) expect(task string, state mesos.TaskState) []*mesos.TaskStatus {
	m.t.Helper()
	var seen []*mesos.TaskStatus
	for {
		u := next(m.t, "update of "+task+" "+state.String(), m.updates)
		st := u.GetUpdate().GetStatus()
		if st.GetTaskId().GetValue() != task {
			m.t.Fatalf("update of %s %s while waiting for %s %s", st.GetTaskId().GetValue(), st.GetState(), task, state)
		}
		if _, err := libprocess.Parse(u.GetPid()); err != nil || !bytes.Equal(u.GetUpdate().GetUuid(), st.GetUuid()) || len(st.GetUuid()) != 16 || u.GetUpdate().LatestState == nil {
			m.t.Fatalf("unfit update: %v", u)
		}
		m.ack(st)
		seen = append(seen, st)
		if st.GetState() == state {
			return seen
		}
	}
}

func (m *master) ack(st *mesos.TaskStatus) {
	m.t.Helper()
	m.send(&messages.StatusUpdateAcknowledgementMessage{SlaveId: st.AgentId, FrameworkId: frameworkID, TaskId: st.TaskId, Uuid: st.Uuid})
}

// barrier returns when the agent has taken, and recorded, all that was sent to it before:
// it answers a kill of a task that nobody has in the same order.
func (m *master) barrier() {
	m.t.Helper()
	m.kill("barrier")
	m.expect("barrier", mesos.TaskState_TASK_DROPPED)
}

var frameworkID = &mesos.FrameworkID{Value: proto.String("F")}

func agentID(id string) *mesos.AgentID { return &mesos.AgentID{Value: proto.String(id)} }

func framework() *mesos.FrameworkInfo {
	return &mesos.FrameworkInfo{
		Id: frameworkID, Name: proto.String("test"), User: proto.String("root"), Checkpoint: proto.Bool(true),
		Capabilities: []*mesos.FrameworkInfo_Capability{
			{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE.Enum()}, {Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE.Enum()},
		},
	}
}

func task(agent, id, cmd string, change ...func(*mesos.TaskInfo)) *mesos.TaskInfo {
	t := &mesos.TaskInfo{
		Name: proto.String(id), TaskId: &mesos.TaskID{Value: proto.String(id)}, AgentId: agentID(agent),
		Resources: []*mesos.Resource{amount("cpus", 0.1), amount("mem", 32)},
		Command:   &mesos.CommandInfo{Value: proto.String(cmd)},
	}
	for _, c := range change {
		c(t)
	}
	return t
}

func amount(name string, v float64) *mesos.Resource {
	return &mesos.Resource{Name: proto.String(name), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(v)},
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: proto.String("dev")}}
}

func (m *master) run(t *mesos.TaskInfo) {
	m.t.Helper()
	m.send(&messages.RunTaskMessage{Framework: framework(), Task: t, Pid: proto.String("@0.0.0.0:0"), LaunchExecutor: proto.Bool(true)})
}

func (m *master) kill(task string) {
	m.t.Helper()
	m.send(&messages.KillTaskMessage{FrameworkId: frameworkID, TaskId: &mesos.TaskID{Value: proto.String(task)}})
}

// process is an agent as a process of its own.
type process struct {
	t    *testing.T
	cfg  agent.Config
	env  []string
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan error
	uid  uint32 // runs as this user, from the copy bin of this program; 0: as the test's
	bin  string
	born string       // the version 2 group that it starts in; empty: this process's
	tls  *http.Client // speaks TLS with it; nil: it has none

	program string // a copy of this program, as another build would be; empty: this one
}

func newProcess(t *testing.T, m *master) *process {
	t.Helper()
	dir := t.TempDir()
	run, err := os.MkdirTemp("", "stoa-agent") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cfg: agent.Config{
		Master: m.tr.Addr().String(), IP: "127.0.0.1", Port: strconv.Itoa(freeport.Row(t, 1)), Hostname: "agent.test", WorkDir: dir, RuntimeDir: run,
		Resources: "cpus:4;mem:4096;disk:1024;ports:[31000-31010]", Attributes: "rack:r1", RegistrationBackoffFactor: 10 * time.Millisecond,
	}}
	t.Cleanup(func() {
		p.stop(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the agent said:\n%s", p.out.String())
		}
		// A last run ends every task and the keeper, so that nothing outlives the test.
		p.cfg.KillTasksOnStop = true
		p.start()
		p.eventually("recovery for clean-up", func() bool { return p.get("/state") != nil })
		p.stop(syscall.SIGTERM)
		os.RemoveAll(run)
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	b, err := json.Marshal(p.cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(cmp.Or(p.program, os.Args[0]))
	if p.uid != 0 {
		p.cmd = exec.Command(p.bin)
		p.cmd.Dir = "/"
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: p.uid, Gid: p.uid}}
	}
	if p.born != "" {
		group, err := os.Open(p.born)
		if err != nil {
			p.t.Fatal(err)
		}
		defer group.Close()
		if p.cmd.SysProcAttr == nil {
			p.cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		p.cmd.SysProcAttr.UseCgroupFD, p.cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	p.cmd.Env = append(append(os.Environ(), "STOA_TEST_AGENT="+string(b)), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.WaitDelay = time.Second // the keeper inherits nothing, yet be sure
	if err := parent.Start(p.cmd); err != nil {
		p.t.Fatal(err)
	}
	p.done = make(chan error, 1)
	go func(c *exec.Cmd, done chan error) { done <- c.Wait() }(p.cmd, p.done)
}

// stop ends the process and waits for it.
func (p *process) stop(sig syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(patience.For(30 * time.Second)):
		p.t.Errorf("the agent did not end after %v", sig)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	p.cmd = nil
}

func (p *process) url(path string) string {
	if p.tls != nil {
		return "https://127.0.0.1:" + p.cfg.Port + path
	}
	return "http://127.0.0.1:" + p.cfg.Port + path
}

// get gives the body of a 200 answer, nil otherwise.
func (p *process) get(path string) []byte {
	client := http.DefaultClient
	if p.tls != nil {
		client = p.tls
	}
	resp, err := client.Get(p.url(path))
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		return nil
	}
	return b
}

func (p *process) eventually(what string, f func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience.For(20 * time.Second)); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	p.t.Errorf("never: %s", what)
}

type stateTask struct {
	ID, State  string
	ExecutorID string `json:"executor_id"`
}

type state struct {
	ID         string
	Frameworks []struct {
		ID        string
		Executors []struct {
			ID, Container, Directory string
			Tasks                    []stateTask
			CompletedTasks           []stateTask `json:"completed_tasks"`
		}
		CompletedExecutors []struct {
			ID, Directory  string
			CompletedTasks []stateTask `json:"completed_tasks"`
		} `json:"completed_executors"`
	}
	CompletedFrameworks []struct{ ID string } `json:"completed_frameworks"`
}

func (p *process) state() state {
	p.t.Helper()
	var s state
	if err := json.Unmarshal(p.get("/slave(1)/state"), &s); err != nil {
		p.t.Fatalf("state: %v", err)
	}
	return s
}

// alive tells whether a process of this host exists and is no zombie.
func alive(pid uint32) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(int(pid)), "stat"))
	if err != nil {
		return false
	}
	rest := string(b[bytes.LastIndexByte(b, ')')+1:])
	return !strings.HasPrefix(strings.TrimSpace(rest), "Z")
}
