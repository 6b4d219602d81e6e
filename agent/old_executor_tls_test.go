package agent_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/lab/certs"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// runOldExecutor is an executor of the v0 API, over TLS when its environment says so as
// libmesos would read it. Tasks run until they are killed; messages go back as they came.
func runOldExecutor() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	port, err := wireTLS()
	must(err)
	cfg := libprocess.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")}
	if port != nil {
		cfg.TLS, cfg.DialTLS, cfg.Downgrade = port.Server(), port.Client, port.Downgrade()
	}
	tr, err := libprocess.New(cfg)
	must(err)
	agent, err := libprocess.Parse(os.Getenv("MESOS_SLAVE_PID"))
	must(err)
	me := tr.PID("executor(1)")
	framework := &mesos.FrameworkID{Value: proto.String(os.Getenv("MESOS_FRAMEWORK_ID"))}
	executor := &mesos.ExecutorID{Value: proto.String(os.Getenv("MESOS_EXECUTOR_ID"))}
	slave := agentID(os.Getenv("MESOS_SLAVE_ID"))
	send := func(m proto.Message) { must(tr.Send(me, agent, m)) }
	var mu sync.Mutex // guards tasks and untold
	tasks := map[string]*mesos.TaskInfo{}
	var untold []*messages.StatusUpdate
	tell := func(id *mesos.TaskID, state mesos.TaskState) {
		u := uuid.New()
		up := &messages.StatusUpdate{FrameworkId: framework, ExecutorId: executor, SlaveId: slave, Timestamp: proto.Float64(1), Uuid: u[:],
			Status: &mesos.TaskStatus{TaskId: id, State: state.Enum(), AgentId: slave, Uuid: u[:]}}
		mu.Lock()
		untold = append(untold, up)
		mu.Unlock()
		send(&messages.StatusUpdateMessage{Update: up, Pid: proto.String(me.String())})
	}
	ended := make(chan struct{})
	mux := libprocess.NewMux(nil)
	libprocess.Handle(mux, "mesos.internal.ExecutorRegisteredMessage", func(libprocess.UPID, *messages.ExecutorRegisteredMessage) { fmt.Println("registered") })
	libprocess.Handle(mux, "mesos.internal.ExecutorReregisteredMessage", func(libprocess.UPID, *messages.ExecutorReregisteredMessage) { fmt.Println("reregistered") })
	libprocess.Handle(mux, "mesos.internal.RunTaskMessage", func(_ libprocess.UPID, m *messages.RunTaskMessage) {
		mu.Lock()
		tasks[m.GetTask().GetTaskId().GetValue()] = m.GetTask()
		mu.Unlock()
		tell(m.GetTask().GetTaskId(), mesos.TaskState_TASK_RUNNING)
	})
	libprocess.Handle(mux, "mesos.internal.KillTaskMessage", func(_ libprocess.UPID, m *messages.KillTaskMessage) { tell(m.GetTaskId(), mesos.TaskState_TASK_KILLED) })
	libprocess.Handle(mux, "mesos.internal.StatusUpdateAcknowledgementMessage", func(_ libprocess.UPID, m *messages.StatusUpdateAcknowledgementMessage) {
		mu.Lock()
		defer mu.Unlock()
		delete(tasks, m.GetTaskId().GetValue())
		untold = slices.DeleteFunc(untold, func(u *messages.StatusUpdate) bool { return string(u.GetUuid()) == string(m.GetUuid()) })
	})
	libprocess.Handle(mux, "mesos.internal.FrameworkToExecutorMessage", func(_ libprocess.UPID, m *messages.FrameworkToExecutorMessage) {
		send(&messages.ExecutorToFrameworkMessage{SlaveId: slave, FrameworkId: framework, ExecutorId: executor, Data: m.GetData()})
	})
	libprocess.Handle(mux, "mesos.internal.ReconnectExecutorMessage", func(from libprocess.UPID, _ *messages.ReconnectExecutorMessage) {
		agent = from
		tr.Link(me, agent, true)
		m := &messages.ReregisterExecutorMessage{ExecutorId: executor, FrameworkId: framework}
		mu.Lock()
		for _, t := range tasks {
			m.Tasks = append(m.Tasks, t)
		}
		m.Updates = untold
		send(m)
		mu.Unlock()
	})
	libprocess.Handle(mux, "mesos.internal.ShutdownExecutorMessage", func(libprocess.UPID, *messages.ShutdownExecutorMessage) { close(ended) })
	me, err = tr.Spawn("executor(1)", mux)
	must(err)
	go func() { must(tr.Serve()) }()
	tr.Link(me, agent, false)
	send(&messages.RegisterExecutorMessage{FrameworkId: framework, ExecutorId: executor})
	<-ended
	tr.Close()
}

// libprocess.md 2.9, 3.16: on a cluster that speaks TLS only, with certificates on both
// sides, an executor of the v0 API lives through the agent's kill -9 and the master's
// restart; without a certificate nobody comes in.
func TestOldExecutorOverTLS(t *testing.T) {
	ca := certs.New(t)
	cert, key := ca.Sign("127.0.0.1")
	vars := map[string]string{
		"LIBPROCESS_SSL_ENABLED": "1", "LIBPROCESS_SSL_CERT_FILE": cert, "LIBPROCESS_SSL_KEY_FILE": key, "LIBPROCESS_SSL_CA_FILE": ca.File,
		"LIBPROCESS_SSL_VERIFY_SERVER_CERT": "1", "LIBPROCESS_SSL_REQUIRE_CLIENT_CERT": "1", "LIBPROCESS_SSL_VERIFY_IPADD": "1",
	}
	settings, _, err := tlsport.FromEnv(func(name string) (string, bool) { v, ok := vars[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	wire, err := tlsport.Open(settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	secure := func(c *libprocess.Config) { c.TLS, c.DialTLS = wire.Server(), wire.Client }
	m := newMaster(t, 0, secure)
	p := newProcess(t, m)
	for name, value := range vars {
		p.env = append(p.env, name+"="+value)
	}
	p.tls = &http.Client{Transport: wire.Transport(nil)}
	p.cfg.ExecutorEnvironmentVariables = vars // an agent's own environment is not its executors'
	p.start()
	m.register("S0")
	info := &mesos.ExecutorInfo{
		ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}, Type: mesos.ExecutorInfo_CUSTOM.Enum(), FrameworkId: frameworkID,
		Command: &mesos.CommandInfo{Shell: proto.Bool(false), Value: proto.String(os.Args[0]), Arguments: []string{os.Args[0], "old-executor"}},
	}
	m.runOn(info, "a", "", true)
	m.expect("a", running)
	m.runOn(info, "b", "", false)
	m.expect("b", running)
	message := func(m *master, text string) {
		t.Helper()
		m.send(&messages.FrameworkToExecutorMessage{SlaveId: agentID("S0"), FrameworkId: frameworkID, ExecutorId: info.ExecutorId, Data: []byte(text)})
		if got := next(t, "message", m.data); string(got.GetData()) != text {
			t.Errorf("message %q, want %q", got.GetData(), text)
		}
	}
	message(m, "hello")
	sandbox := p.state().Frameworks[0].Executors[0].Directory

	p.stop(syscall.SIGKILL)
	port := m.tr.Addr().Port()
	m.tr.Close()
	p.cfg.ExecutorReregistrationTimeout = 15e9
	p.start()
	p.eventually("the executor comes back", func() bool {
		b, _ := os.ReadFile(filepath.Join(sandbox, "stdout"))
		return strings.Contains(string(b), "reregistered")
	})
	m = newMaster(t, port, secure)
	if reg := m.reregister("S0"); len(reg.GetTasks()) != 2 || len(reg.GetExecutorInfos()) != 1 {
		t.Errorf("the new master hears of %d tasks and %d executors", len(reg.GetTasks()), len(reg.GetExecutorInfos()))
	}
	message(m, "again")
	m.runOn(info, "c", "", false)
	m.expect("c", running)
	for _, id := range []string{"a", "b", "c"} {
		m.kill(id)
		if seen := m.expect(id, killed); len(seen) != 1 {
			t.Errorf("%s is told %v", id, seen)
		}
	}
	for name, client := range map[string]*http.Client{
		"plain text":          http.DefaultClient,
		"without certificate": {Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, DisableKeepAlives: true}},
	} {
		url := p.url("/health")
		if client == http.DefaultClient {
			url = "http" + strings.TrimPrefix(url, "https")
		}
		if resp, err := client.Get(url); err == nil {
			resp.Body.Close()
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	m.send(&messages.ShutdownExecutorMessage{ExecutorId: info.ExecutorId, FrameworkId: frameworkID})
	if ex := next(t, "exit", m.exited); ex.GetStatus() != 0 {
		t.Errorf("exited with %d", ex.GetStatus())
	}
	p.eventually("nothing is left", func() bool { return len(p.state().Frameworks) == 0 })
}

// libprocess.md 6.4: with the switch off nobody comes in by the v0 API.
func TestOldExecutorsSwitchedOff(t *testing.T) {
	m := newMaster(t, 0)
	p := newProcess(t, m)
	p.cfg.NoOldExecutors = true
	p.cfg.ExecutorRegistrationTimeout = 500 * time.Millisecond
	p.start()
	m.register("S0")
	m.runOn(&mesos.ExecutorInfo{
		ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}, Type: mesos.ExecutorInfo_CUSTOM.Enum(), FrameworkId: frameworkID,
		Command: &mesos.CommandInfo{Shell: proto.Bool(false), Value: proto.String(os.Args[0]), Arguments: []string{os.Args[0], "old-executor"}},
	}, "a", "", true)
	if seen := m.expect("a", failed); len(seen) != 1 || seen[0].GetReason() != mesos.TaskStatus_REASON_EXECUTOR_REGISTRATION_TIMEOUT {
		t.Errorf("%v", seen)
	}
	next(t, "exit", m.exited)
}
