package agent_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

var builtExecutors string // a folder to remove in the end

// oldExecutors builds, once, executors on mesos-go's drivers and gives their folder.
// STOA_OLD_EXECUTORS is a folder that has them already, for hosts without Go.
var oldExecutors = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("STOA_OLD_EXECUTORS"); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "stoa-old-executors")
	if err != nil {
		return "", err
	}
	builtExecutors = dir
	for name, pkg := range map[string]string{
		"v0": "./v0executor", "v0-example": "github.com/mesos/mesos-go/api/v0/examples/executor",
		"v1-example": "github.com/mesos/mesos-go/api/v1/cmd/example-executor",
	} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Dir = filepath.Join("..", "internal", "lab", "oldclients")
		if out, err := cmd.CombinedOutput(); err != nil {
			return string(out), err
		}
	}
	// The old library asks hostname for the address that it announces, and not every host
	// can resolve its own name.
	return dir, os.WriteFile(filepath.Join(dir, "hostname"), []byte("#!/bin/sh\necho localhost\n"), 0o755)
})

func oldExecutor(t *testing.T, name string) *mesos.ExecutorInfo {
	t.Helper()
	dir, err := oldExecutors()
	if err != nil {
		t.Fatalf("%v: %s", err, dir)
	}
	return &mesos.ExecutorInfo{
		ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}, Type: mesos.ExecutorInfo_CUSTOM.Enum(), FrameworkId: frameworkID,
		Command: &mesos.CommandInfo{Value: proto.String("exec " + filepath.Join(dir, name) + " -logtostderr"), Environment: &mesos.Environment{Variables: []*mesos.Environment_Variable{
			{Name: proto.String("PATH"), Value: proto.String(dir + ":/usr/bin:/bin")}}}},
		Resources: []*mesos.Resource{amount("cpus", 0.1), amount("mem", 64)},
	}
}

func (m *master) runOn(info *mesos.ExecutorInfo, id, data string, fresh bool) {
	m.t.Helper()
	m.send(&messages.RunTaskMessage{Framework: framework(), LaunchExecutor: proto.Bool(fresh), Pid: proto.String("@0.0.0.0:0"), Task: task("S0", id, "", func(t *mesos.TaskInfo) {
		t.Command, t.Executor, t.Data = nil, info, []byte(data)
	})})
}

// mesos-go's own executors, unchanged.
func TestExampleExecutorsOfMesosGo(t *testing.T) {
	for _, name := range []string{"v0-example", "v1-example"} {
		t.Run(name, func(t *testing.T) {
			m, p := started(t)
			info := oldExecutor(t, name)
			for i, id := range []string{"a", "b", "c"} {
				m.runOn(info, id, "", i == 0)
				if seen := m.expect(id, finished); len(seen) != 2 || seen[0].GetState() != mesos.TaskState_TASK_RUNNING || seen[1].GetExecutorId().GetValue() != "x" ||
					seen[1].GetSource() != mesos.TaskStatus_SOURCE_EXECUTOR {
					t.Fatalf("%s: %v", id, seen)
				}
			}
			m.send(&messages.ShutdownExecutorMessage{ExecutorId: info.ExecutorId, FrameworkId: frameworkID})
			next(t, "exit", m.exited)
			p.eventually("nothing is left", func() bool { return len(p.state().Frameworks) == 0 })
		})
	}
}

// An executor of the v0 API over an agent's kill -9 and a new master: what it told meanwhile arrives, its
// tasks go on, and it takes kills, messages and its shutdown from the new agent.
func TestExecutorOfTheV0API(t *testing.T) {
	m, p := started(t)
	info := oldExecutor(t, "v0")
	file := filepath.Join(t.TempDir(), "go")
	m.runOn(info, "stays", "", true)
	running := m.expect("stays", mesos.TaskState_TASK_RUNNING)
	st := running[0]
	if string(st.GetData()) != "from the executor" || st.GetContainerStatus().GetExecutorPid() == 0 || st.GetContainerStatus().GetNetworkInfos()[0].GetIpAddresses()[0].GetIpAddress() != "127.0.0.1" {
		t.Errorf("first status: %v", st)
	}
	m.runOn(info, "ends", file, false)
	m.expect("ends", mesos.TaskState_TASK_RUNNING)
	m.runOn(info, "killed", "", false)
	m.expect("killed", mesos.TaskState_TASK_RUNNING)
	m.kill("killed")
	m.expect("killed", mesos.TaskState_TASK_KILLED)
	message := func(text, want string) {
		t.Helper()
		m.send(&messages.FrameworkToExecutorMessage{SlaveId: agentID("S0"), FrameworkId: frameworkID, ExecutorId: info.ExecutorId, Data: []byte(text)})
		if got := next(t, "message", m.data); string(got.GetData()) != want {
			t.Errorf("message %q, want %q", got.GetData(), want)
		}
	}
	message("abc", "cba")
	sandbox := p.state().Frameworks[0].Executors[0].Directory
	pid := st.GetContainerStatus().GetExecutorPid()

	p.stop(syscall.SIGKILL)
	p.cfg.ExecutorReregistrationTimeout = 15e9 // the driver's connections may take their time
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	said := func(text string) {
		t.Helper()
		p.eventually("the executor says "+text, func() bool {
			b, _ := os.ReadFile(filepath.Join(sandbox, "stdout"))
			return slices.Contains(strings.Split(string(b), "\n"), text)
		})
	}
	said("told ends TASK_FINISHED")
	port := m.tr.Addr().Port()
	m.tr.Close() // the master goes too, and comes back after the agent
	p.start()
	said("reregistered on agent.test")
	m = newMaster(t, port)
	if reg := m.reregister("S0"); len(reg.GetTasks()) != 2 || len(reg.GetExecutorInfos()) != 1 {
		t.Errorf("the new master hears of %d tasks and %d executors", len(reg.GetTasks()), len(reg.GetExecutorInfos()))
	}
	m.expect("ends", finished)
	said("reregistered on agent.test")
	if !alive(pid) {
		t.Fatal("the executor did not live on")
	}
	message("xyz", "zyx")
	m.runOn(info, "later", "", false)
	m.expect("later", mesos.TaskState_TASK_RUNNING)
	m.kill("stays")
	m.expect("stays", mesos.TaskState_TASK_KILLED)
	m.send(&messages.ShutdownExecutorMessage{ExecutorId: info.ExecutorId, FrameworkId: frameworkID})
	next(t, "exit", m.exited)
	if seen := m.expect("later", mesos.TaskState_TASK_FAILED); seen[0].GetReason() != mesos.TaskStatus_REASON_EXECUTOR_TERMINATED {
		t.Errorf("%v", seen)
	}
	said("shutdown")
	p.eventually("nothing is left", func() bool { return len(p.state().Frameworks) == 0 })
}

// mesos-go's example executor of the v1 API through kills of the agent at any moment: each
// task that reached the agent is told as running once and as finished once; or as dropped,
// when its launch got lost on the way to the executor; or as failed, which is what this
// executor says of tasks whose update nobody takes.
func TestExampleExecutorThroughKills(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("STOA_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("STOA_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	rounds := 3
	if os.Getenv("STOA_SOAK") != "" {
		rounds = 100
	}
	m, p := started(t)
	p.cfg.ExecutorReregistrationTimeout = 15e9
	info := oldExecutor(t, "v1-example")
	told := map[string][]*mesos.TaskStatus{}
	take := func(u *messages.StatusUpdateMessage) {
		st := u.GetUpdate().GetStatus()
		m.ack(st)
		id := st.GetTaskId().GetValue()
		if n := len(told[id]); n > 0 && bytes.Equal(told[id][n-1].GetUuid(), st.GetUuid()) {
			return // repeated: the acknowledgement got lost
		}
		told[id] = append(told[id], st)
	}
	over := func(id string) bool {
		n := len(told[id])
		return n > 0 && told[id][n-1].GetState() != running
	}
	m.runOn(info, "first", "", true)
	for !over("first") {
		take(next(t, "update", m.updates))
	}
	var sent []string
	for round := range rounds {
		for i := range 8 {
			id := fmt.Sprintf("t%d-%d", round, i)
			sent = append(sent, id)
			m.runOn(info, id, "", false)
		}
		for enough := time.After(time.Duration(random.IntN(60_000)) * time.Microsecond); enough != nil; {
			select {
			case u := <-m.updates:
				take(u)
			case <-enough:
				enough = nil
			}
		}
		p.stop(syscall.SIGKILL)
		for len(m.reregistrations) > 0 {
			<-m.reregistrations
		}
		p.start()
		known := map[string]bool{}
		for _, task := range m.reregister("S0").GetTasks() {
			known[task.GetTaskId().GetValue()] = true
		}
		sent = slices.DeleteFunc(sent, func(id string) bool { // it was sent to an agent that was no more
			return len(told[id]) == 0 && !known[id] && !slices.ContainsFunc(drain(m.updates, take), func(x string) bool { return x == id })
		})
	}
	for _, id := range sent {
		for deadline := time.Now().Add(20 * time.Second); !over(id); {
			select {
			case u := <-m.updates:
				take(u)
			case <-time.After(200 * time.Millisecond):
				// Whenever it hears something it says again what nobody has taken.
				m.send(&messages.FrameworkToExecutorMessage{SlaveId: agentID("S0"), FrameworkId: frameworkID, ExecutorId: info.ExecutorId, Data: []byte("go on")})
			}
			if time.Now().After(deadline) {
				t.Fatalf("no end of %s came; it is told %v", id, told[id])
			}
		}
	}
	m.barrierAfter(take)
	dropped, failures := 0, 0
	for id, all := range told {
		switch {
		case id == "barrier":
		case len(all) == 1 && all[0].GetState() == mesos.TaskState_TASK_DROPPED && all[0].GetReason() == mesos.TaskStatus_REASON_AGENT_RESTARTED:
			dropped++
		case len(all) == 2 && all[0].GetState() == running && all[1].GetState() == finished && all[1].GetSource() == mesos.TaskStatus_SOURCE_EXECUTOR:
		case len(all) <= 2 && all[len(all)-1].GetState() == failed && all[len(all)-1].GetSource() == mesos.TaskStatus_SOURCE_EXECUTOR && (len(all) == 1 || all[0].GetState() == running):
			failures++
		default:
			t.Errorf("%s is told %v", id, all)
		}
	}
	t.Logf("%d tasks, %d of them dropped, %d failed", len(told), dropped, failures)
	m.send(&messages.ShutdownExecutorMessage{ExecutorId: info.ExecutorId, FrameworkId: frameworkID})
	next(t, "exit", m.exited)
	p.eventually("nothing is left", func() bool { return len(p.state().Frameworks) == 0 })
}

// drain takes what is there and gives the tasks it was about.
func drain(updates <-chan *messages.StatusUpdateMessage, take func(*messages.StatusUpdateMessage)) (ids []string) {
	for {
		select {
		case u := <-updates:
			take(u)
			ids = append(ids, u.GetUpdate().GetStatus().GetTaskId().GetValue())
		default:
			return ids
		}
	}
}

// barrierAfter is barrier with updates of other tasks before it.
func (m *master) barrierAfter(take func(*messages.StatusUpdateMessage)) {
	m.t.Helper()
	m.kill("barrier")
	for {
		u := next(m.t, "answer", m.updates)
		take(u)
		if u.GetUpdate().GetStatus().GetTaskId().GetValue() == "barrier" {
			return
		}
	}
}
