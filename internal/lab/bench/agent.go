package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// host is one `stoa agent` under a scripted master on the real wire: it launches what a
// row wants and acknowledges every update at once, as a fast framework would.
type host struct {
	tr  *libprocess.Transport
	me  libprocess.UPID
	dir string
	cmd *exec.Cmd
	log *os.File
	arg []string

	mu      sync.Mutex // guards all below
	agent   libprocess.UPID
	again   *messages.ReregisterSlaveMessage // newest
	regs    int
	running map[string]time.Time // first TASK_RUNNING of each task
	pids    map[string]uint32
	ended   map[string]time.Time // first terminal update
	changed chan struct{}
}

const benchAgent, benchFramework = "bench-S0", "bench-F"

// startHost starts the agent with isolation and waits for its registration.
func startHost(args ...string) (*host, error) {
	dir, err := os.MkdirTemp("", "bench-agent")
	if err != nil {
		return nil, err
	}
	h := &host{dir: dir, running: map[string]time.Time{}, pids: map[string]uint32{}, ended: map[string]time.Time{}, changed: make(chan struct{}, 1)}
	if h.tr, err = libprocess.New(libprocess.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")}); err != nil {
		return nil, err
	}
	mux := libprocess.NewMux(nil)
	libprocess.Handle(mux, "mesos.internal.RegisterSlaveMessage", func(from libprocess.UPID, _ *messages.RegisterSlaveMessage) {
		_ = h.tr.Send(h.me, from, &messages.SlaveRegisteredMessage{SlaveId: &mesos.AgentID{Value: proto.String(benchAgent)}})
		h.registered(from, nil) // tasks are sent from now on
	})
	libprocess.Handle(mux, "mesos.internal.ReregisterSlaveMessage", func(from libprocess.UPID, msg *messages.ReregisterSlaveMessage) {
		_ = h.tr.Send(h.me, from, &messages.SlaveReregisteredMessage{SlaveId: &mesos.AgentID{Value: proto.String(benchAgent)}})
		h.registered(from, msg)
	})
	libprocess.Handle(mux, "mesos.internal.StatusUpdateMessage", func(from libprocess.UPID, msg *messages.StatusUpdateMessage) { h.update(from, msg) })
	libprocess.Handle(mux, "mesos.internal.UpdateSlaveMessage", func(libprocess.UPID, *messages.UpdateSlaveMessage) { h.tell() })
	libprocess.Handle(mux, "mesos.internal.ExitedExecutorMessage", func(libprocess.UPID, *messages.ExitedExecutorMessage) {})
	libprocess.Handle(mux, "mesos.internal.PongSlaveMessage", func(libprocess.UPID, *messages.PongSlaveMessage) {})
	if h.me, err = h.tr.Spawn("master", mux); err != nil {
		return nil, err
	}
	go func() { _ = h.tr.Serve() }()
	free, err := libprocess.New(libprocess.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(int(free.Addr().Port()))
	free.Close()
	h.arg = append([]string{"agent", "--master", h.tr.Addr().String(), "--ip", "127.0.0.1", "--port", port, "--hostname", "bench.test",
		"--work_dir", filepath.Join(dir, "w"), "--runtime_dir", filepath.Join(dir, "r"), "--cgroups_root", "stoa-bench-" + port,
		"--resources", "cpus:100000;mem:100000000;disk:1000;ports:[]", "--registration_backoff_factor", "10ms", "--kill_tasks_on_stop"}, args...)
	if h.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	if err := h.start(); err != nil {
		return nil, err
	}
	return h, h.await(30*time.Second, func() bool { return h.regs > 0 })
}

func (h *host) start() error {
	h.cmd = exec.Command(stoa(), h.arg...)
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	return h.cmd.Start()
}

// stop ends agent, tasks and keeper.
func (h *host) stop() {
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	_ = h.cmd.Wait()
	h.tr.Close()
	h.log.Close()
	os.RemoveAll(h.dir)
}

func (h *host) registered(from libprocess.UPID, msg *messages.ReregisterSlaveMessage) {
	h.mu.Lock()
	h.agent, h.again = from, msg
	h.regs++
	h.mu.Unlock()
	h.tell()
}

func (h *host) tell() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *host) update(from libprocess.UPID, msg *messages.StatusUpdateMessage) {
	st := msg.GetUpdate().GetStatus()
	_ = h.tr.Send(h.me, from, &messages.StatusUpdateAcknowledgementMessage{SlaveId: st.AgentId, FrameworkId: msg.GetUpdate().GetFrameworkId(), TaskId: st.TaskId, Uuid: st.Uuid})
	now, id := time.Now(), st.GetTaskId().GetValue()
	h.mu.Lock()
	switch st.GetState() {
	case mesos.TaskState_TASK_STARTING, mesos.TaskState_TASK_KILLING:
	case mesos.TaskState_TASK_RUNNING:
		if h.running[id].IsZero() {
			h.running[id], h.pids[id] = now, st.GetContainerStatus().GetExecutorPid()
		}
	default:
		if h.ended[id].IsZero() {
			h.ended[id] = now
		}
	}
	h.mu.Unlock()
	h.tell()
}

// await waits until the condition, which is asked under the lock, holds.
func (h *host) await(patience time.Duration, holds func() bool) error {
	deadline := time.After(patience)
	for {
		h.mu.Lock()
		ok := holds()
		h.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-h.changed:
		case <-deadline:
			text, _ := os.ReadFile(h.log.Name())
			return fmt.Errorf("not within %s; the agent says: …%s", patience, text[max(0, len(text)-2000):])
		}
	}
}

// launch sends n tasks and waits until all run; it gives when it began.
func (h *host) launch(prefix string, n int, box *mesos.ContainerInfo) (time.Time, error) {
	framework := &mesos.FrameworkInfo{Id: &mesos.FrameworkID{Value: proto.String(benchFramework)}, Name: proto.String("bench"), User: proto.String("root"), Checkpoint: proto.Bool(true)}
	h.mu.Lock()
	to, before := h.agent, len(h.running)
	h.mu.Unlock()
	began := time.Now()
	for i := range n {
		id := prefix + strconv.Itoa(i)
		if err := h.tr.Send(h.me, to, &messages.RunTaskMessage{Framework: framework, LaunchExecutor: proto.Bool(true), Pid: proto.String("@0.0.0.0:0"), Task: benchTask(id, box)}); err != nil {
			return began, err
		}
	}
	return began, h.await(2*time.Minute, func() bool { return len(h.running) == before+n })
}

// benchTask is a task that sleeps.
func benchTask(id string, box *mesos.ContainerInfo) *mesos.TaskInfo {
	return &mesos.TaskInfo{
		Name: &id, TaskId: &mesos.TaskID{Value: &id}, AgentId: &mesos.AgentID{Value: proto.String(benchAgent)},
		Command: &mesos.CommandInfo{Value: proto.String("exec sleep 100000")}, Container: box,
		Resources: []*mesos.Resource{benchScalar("cpus", 0.001), benchScalar("mem", 1)},
	}
}

func benchScalar(name string, v float64) *mesos.Resource {
	return &mesos.Resource{Name: &name, Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: &v},
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: proto.String("*")}}
}

// kill kills all tasks and gives the time until the last end was heard.
func (h *host) kill() (time.Duration, error) {
	h.mu.Lock()
	to := h.agent
	var ids []string
	for id := range h.running {
		if h.ended[id].IsZero() {
			ids = append(ids, id)
		}
	}
	h.mu.Unlock()
	began := time.Now()
	for _, id := range ids {
		if err := h.tr.Send(h.me, to, &messages.KillTaskMessage{FrameworkId: &mesos.FrameworkID{Value: proto.String(benchFramework)}, TaskId: &mesos.TaskID{Value: &id}}); err != nil {
			return 0, err
		}
	}
	err := h.await(time.Minute, func() bool { return len(h.ended) == len(h.running) })
	return time.Since(began), err
}

// keeper gives the process of the agent's keeper.
func (h *host) keeper() (int, error) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(b), "\x00keeper\x00") && strings.Contains(string(b), h.dir) {
			return strconv.Atoi(strings.Split(f, "/")[2])
		}
	}
	return 0, fmt.Errorf("no keeper of %s", h.dir)
}

// pss gives the memory of a process in bytes, shared pages in proportion.
func pss(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(b)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "Pss: %f kB", &kib); err == nil {
			return kib * 1024
		}
	}
	return 0
}
