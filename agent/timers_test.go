package agent_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

func shellExecutor(id, cmd string) *mesos.ExecutorInfo {
	return &mesos.ExecutorInfo{
		ExecutorId: &mesos.ExecutorID{Value: proto.String(id)}, Type: mesos.ExecutorInfo_CUSTOM.Enum(), FrameworkId: frameworkID,
		Command: &mesos.CommandInfo{Value: proto.String(cmd)}, Resources: []*mesos.Resource{amount("cpus", 0.1), amount("mem", 64)},
	}
}

// mesos-agent.md 1.7: an executor that never registers is destroyed with all it started.
func TestExecutorRegistrationTimeout(t *testing.T) {
	m := newMaster(t, 0)
	p := newProcess(t, m)
	p.cfg.ExecutorRegistrationTimeout = 300 * time.Millisecond
	p.start()
	m.register("S0")
	file := filepath.Join(t.TempDir(), "pid")
	m.runOn(shellExecutor("mute", "sleep 1000 & echo $! > "+file+"; wait"), "a", "", true)
	end := m.expect("a", failed)
	st := end[len(end)-1]
	if st.GetReason() != mesos.TaskStatus_REASON_EXECUTOR_REGISTRATION_TIMEOUT || st.GetMessage() != "Executor did not register within 300ms" || st.GetSource() != mesos.TaskStatus_SOURCE_AGENT {
		t.Errorf("%v", st)
	}
	if ex := next(t, "exit", m.exited); ex.GetStatus() != 9 {
		t.Errorf("exited with %d", ex.GetStatus())
	}
	if len(p.remains()) > 0 {
		t.Errorf("left: %v", p.remains())
	}
}

// remains lists processes of the agent's tasks.
func (p *process) remains() []string {
	f := fragile{process: p}
	return f.remains()
}

// mesos-agent.md 1.7, 9: an executor that does not come back after a restart of the agent
// is given up after --executor_reregistration_timeout; the agent registers only then.
func TestExecutorReregistrationTimeout(t *testing.T) {
	m := newMaster(t, 0)
	p := newProcess(t, m)
	p.cfg.ExecutorReregistrationTimeout = 400 * time.Millisecond
	p.start()
	m.register("S0")
	m.runOn(oldExecutor(t, "v0"), "a", "", true)
	pid := int(m.expect("a", running)[0].GetContainerStatus().GetExecutorPid())
	m.barrier() // the acknowledgement is recorded
	p.halt(pid) // it lives and says nothing
	p.stop(syscall.SIGKILL)
	for len(m.reregistrations) > 0 {
		<-m.reregistrations
	}
	p.start()
	m.reregister("S0")
	end := m.expect("a", mesos.TaskState_TASK_GONE)
	if st := end[0]; st.GetReason() != mesos.TaskStatus_REASON_EXECUTOR_REREGISTRATION_TIMEOUT || st.GetMessage() != "Executor did not reregister within 400ms" {
		t.Errorf("%v", st)
	}
	p.eventually("the executor is gone", func() bool { return !alive(uint32(pid)) })
}

// mesos-agent.md 1.7: SHUTDOWN is followed by SIGKILL after the executor's own grace period.
func TestExecutorShutdownGrace(t *testing.T) {
	m, p := started(t)
	info := oldExecutor(t, "v0")
	info.ShutdownGracePeriod = &mesos.DurationInfo{Nanoseconds: proto.Int64(int64(200 * time.Millisecond))}
	m.runOn(info, "a", "", true)
	pid := int(m.expect("a", running)[0].GetContainerStatus().GetExecutorPid())
	p.halt(pid) // it cannot follow
	m.send(&messages.ShutdownExecutorMessage{ExecutorId: info.ExecutorId, FrameworkId: frameworkID})
	if end := m.expect("a", failed); end[0].GetReason() != mesos.TaskStatus_REASON_EXECUTOR_TERMINATED {
		t.Errorf("%v", end)
	}
	if ex := next(t, "exit", m.exited); ex.GetStatus() != 9 {
		t.Errorf("exited with %d", ex.GetStatus())
	}
	b, err := os.ReadFile(filepath.Join(completedDirectory(p), "stdout"))
	if err != nil || strings.Contains(string(b), "shutdown") {
		t.Errorf("%q %v", b, err)
	}
}

// halt stops a process and waits until every thread of it has stopped: until then one that
// does not know yet may go on.
func (p *process) halt(pid int) {
	p.t.Helper()
	if pid <= 1 { // 0 would be this test and all that it has started
		p.t.Fatalf("no process %d to stop", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	p.eventually("stopped", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, file := range threads {
			b, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(b), ") T ") {
				return false
			}
		}
		return len(threads) > 0
	})
}

func completedDirectory(p *process) string {
	dirs, _ := filepath.Glob(filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/x/runs/latest"))
	if len(dirs) == 0 {
		return ""
	}
	return dirs[0]
}

// mesos-agent.md 1.4: what an executor says arrives as it said it; the agent adds who, when
// and where.
func TestUpdateWithEveryField(t *testing.T) {
	m, p := started(t)
	info := shellExecutor("x", "exec sleep 1000")
	m.runOn(info, "a", "", true)
	call := func(body string) int {
		resp := p.apiAt("/api/v1/executor", body)
		resp.Body.Close()
		return resp.StatusCode
	}
	ids := `"framework_id":{"value":"F"},"executor_id":{"value":"x"}`
	p.eventually("the executor's process is known", func() bool { return bytes.Contains(p.get("/containers"), []byte(`"executor_pid"`)) })
	go func() { p.apiAt("/api/v1/executor", `{"type":"SUBSCRIBE",`+ids+`,"subscribe":{}}`) }() // the stream stays open
	p.eventually("it is subscribed", func() bool { return call(`{"type":"MESSAGE",`+ids+`,"message":{"data":""}}`) == 202 })
	uuid := make([]byte, 16)
	_, _ = rand.Read(uuid)
	said := `{"type":"UPDATE",` + ids + `,"update":{"status":{"task_id":{"value":"a"},"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","uuid":"` + base64.StdEncoding.EncodeToString(uuid) + `",
		"message":"text","reason":"REASON_TASK_CHECK_STATUS_UPDATED","data":"ZGF0YQ==","healthy":true,"timestamp":12.5,
		"labels":{"labels":[{"key":"k","value":"v"}]},
		"check_status":{"type":"HTTP","http":{"status_code":204}},
		"container_status":{"container_id":{"value":"inner"},"cgroup_info":{"net_cls":{"classid":7}},"network_infos":[{"ip_addresses":[{"ip_address":"10.9.8.7"}]}]},
		"limitation":{"resources":[{"name":"mem","type":"SCALAR","scalar":{"value":5}}]}}}}`
	if code := call(said); code != 202 {
		t.Fatalf("answer %d", code)
	}
	st := m.expect("a", running)[0]
	cs := st.GetContainerStatus()
	if st.GetMessage() != "text" || st.GetReason() != mesos.TaskStatus_REASON_TASK_CHECK_STATUS_UPDATED || string(st.GetData()) != "data" || !st.GetHealthy() || st.GetTimestamp() != 12.5 ||
		st.GetLabels().GetLabels()[0].GetValue() != "v" || st.GetCheckStatus().GetHttp().GetStatusCode() != 204 || string(st.GetUuid()) != string(uuid) ||
		cs.GetContainerId().GetValue() != "inner" || cs.GetCgroupInfo().GetNetCls().GetClassid() != 7 || cs.GetNetworkInfos()[0].GetIpAddresses()[0].GetIpAddress() != "10.9.8.7" ||
		st.GetLimitation().GetResources()[0].GetScalar().GetValue() != 5 {
		t.Errorf("what was said: %v", st)
	}
	if st.GetAgentId().GetValue() != "S0" || st.GetExecutorId().GetValue() != "x" || cs.GetExecutorPid() == 0 || st.GetSource() != mesos.TaskStatus_SOURCE_EXECUTOR {
		t.Errorf("what the agent adds: %v", st)
	}
}
