package agent_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/keeper"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// fragile is an agent that a test kills at named steps, and its keeper with it or not.
type fragile struct {
	*process
	m       *master
	steps   string          // folder that names the steps to crash at
	left    func() []string // what else ended tasks must not leave; nil: nothing
	killing map[string]bool // tasks that were asked to end
	armed   string          // the step that was armed last
	keeper  int             // its process, while it is not to be asked; else 0
}

func newFragile(t *testing.T, change ...func(*process)) *fragile {
	t.Helper()
	m := newMaster(t, 0)
	p := newProcess(t, m)
	f := &fragile{process: p, m: m, steps: t.TempDir()}
	p.env = []string{"STOA_TEST_CRASH=" + f.steps}
	if os.Geteuid() == 0 {
		p.cfg.Isolation, p.cfg.CgroupsRoot, p.cfg.CgroupsHierarchy = "cgroups/cpu,cgroups/mem", "stoa-test-"+p.cfg.Port, "/sys/fs/cgroup"
	}
	for _, c := range change {
		c(p)
	}
	p.start()
	m.register("S0")
	return f
}

// arm makes whichever process comes to the step first crash there.
func (f *fragile) arm(step string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.steps, step), nil, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// fired tells whether the crash has happened.
func (f *fragile) fired(step string) bool {
	_, err := os.Stat(filepath.Join(f.steps, step))
	return os.IsNotExist(err)
}

// revive starts the agent again if it is the one that crashed. As a master does it asks
// again for the kills that the agent may not have heard of.
func (f *fragile) revive() bool {
	f.t.Helper()
	select {
	case err := <-f.done:
		f.done <- err // for stop
		f.stop(9)
		for len(f.m.reregistrations) > 0 { // repetitions of the one before
			<-f.m.reregistrations
		}
		f.start()
		for _, t := range f.m.reregister("S0").GetTasks() {
			if id := t.GetTaskId().GetValue(); f.killing[id] && !over(t.GetState()) {
				f.kill(id)
			}
		}
		return true
	default:
		return false
	}
}

// kill asks for the end of a task, which gets SIGKILL soon.
func (f *fragile) kill(id string) {
	f.t.Helper()
	if f.killing == nil {
		f.killing = map[string]bool{}
	}
	f.killing[id] = true
	f.m.send(&messages.KillTaskMessage{FrameworkId: frameworkID, TaskId: &mesos.TaskID{Value: proto.String(id)},
		KillPolicy: &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: proto.Int64(int64(100 * time.Millisecond))}}})
}

// toTheEnd acknowledges everything until the tasks have ended, reviving the agent as
// needed, and gives each task's distinct statuses in order.
func (f *fragile) toTheEnd(tasks ...string) map[string][]*mesos.TaskStatus {
	f.t.Helper()
	return f.until(over, tasks...)
}

// until is toTheEnd with another state to wait for.
func (f *fragile) until(reached func(mesos.TaskState) bool, tasks ...string) map[string][]*mesos.TaskStatus {
	f.t.Helper()
	got, open := map[string][]*mesos.TaskStatus{}, map[string]bool{}
	for _, id := range tasks {
		open[id] = true
	}
	seen := map[string]bool{}
	for deadline := time.Now().Add(patience.For(30 * time.Second)); len(open) > 0; {
		select {
		case u := <-f.m.updates:
			st := u.GetUpdate().GetStatus()
			f.m.ack(st)
			if id := hex.EncodeToString(st.GetUuid()); !seen[id] {
				seen[id] = true
				task := st.GetTaskId().GetValue()
				got[task] = append(got[task], st)
				if reached(st.GetState()) {
					delete(open, task)
				}
			}
		case <-time.After(20 * time.Millisecond):
			f.revive()
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("no end of %v; seen %v", open, got)
		}
	}
	return got
}

func over(s mesos.TaskState) bool {
	switch s {
	case mesos.TaskState_TASK_STAGING, starting, running, killing:
		return false
	}
	return true
}

// quiet waits until agent and keeper know nothing any more, and looks for what is left of
// the tasks. Updates that come meanwhile must be repetitions of what was seen.
func (f *fragile) quiet(seen map[string][]*mesos.TaskStatus) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience.For(30*time.Second))
	defer cancel()
	why := ""
	defer func() {
		if f.t.Failed() {
			f.t.Log(why)
		}
	}()
	f.eventually("nothing is left", func() bool {
		f.revive()
		select {
		case u := <-f.m.updates:
			st := u.GetUpdate().GetStatus()
			f.m.ack(st)
			known := false
			for _, s := range seen[st.GetTaskId().GetValue()] {
				known = known || bytes.Equal(s.GetUuid(), st.GetUuid())
			}
			if !known {
				f.t.Errorf("an update after the end: %v", st)
			}
		default:
		}
		for len(f.m.exited) > 0 {
			<-f.m.exited
		}
		b := f.get("/state")
		if at := strings.Index(string(b), `"executors":[{`); b == nil || at >= 0 {
			why = fmt.Sprintf("state of %d bytes: %.600s", len(b), b[max(0, at):])
			return false
		}
		c, err := keeper.Dial(ctx, keeper.ClientConfig{Dir: f.cfg.RuntimeDir, Command: []string{"/no/such/program"}})
		if err != nil {
			why = err.Error()
			return false
		}
		defer c.Close()
		tasks, err := c.List(ctx)
		why = fmt.Sprintf("keeper: %v %v; %v", tasks, err, f.remains())
		return err == nil && len(tasks) == 0 && len(f.remains()) == 0
	})
	if r := f.remains(); len(r) > 0 {
		f.t.Errorf("left behind: %v", r)
	}
}

// remains lists processes and control groups of tasks.
func (f *fragile) remains() []string {
	var out []string
	procs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, p := range procs {
		if b, err := os.ReadFile(p); err == nil && bytes.Contains(b, []byte("STOA_KEEPER_TASK="+f.cfg.RuntimeDir+"/")) {
			out = append(out, p)
		}
	}
	if f.cfg.CgroupsRoot != "" {
		for _, group := range f.groups("*") {
			if filepath.Base(group) != ".fetch" { // that one stays, for the groups of fetches in it
				out = append(out, group)
			}
		}
		out = append(out, f.groups(".fetch/*")...)
	}
	if f.left != nil {
		out = append(out, f.left()...)
	}
	return out
}

// exitsOfOthers tells whether this kernel gives the exit status of a process that is no
// child: Linux 6.15 and newer.
func exitsOfOthers() bool {
	raw, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	var major, minor int
	_, _ = fmt.Sscanf(string(raw), "%d.%d", &major, &minor)
	return major > 6 || major == 6 && minor >= 15
}

// A keeper that is killed takes nobody along but those whose terminal it held. The agent
// starts another one, which watches the tasks by their process, and says what was lost.
func TestKeeperKilledUnderTasks(t *testing.T) {
	f := newFragile(t)
	file := filepath.Join(t.TempDir(), "go")
	f.m.run(task("S0", "lives", "while [ ! -e "+file+" ]; do sleep 0.02; done; exit 7"))
	lives := f.m.expect("lives", running)
	f.m.run(task("S0", "tty", "cat", func(t *mesos.TaskInfo) {
		t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), TtyInfo: &mesos.TTYInfo{}}
	}))
	f.m.expect("tty", running)
	f.m.group(podExecutor("pod"), true, task("S0", "a", "sleep 1000"), task("S0", "b", "while [ ! -e "+file+" ]; do sleep 0.02; done"))
	f.m.collect(map[string]mesos.TaskState{"a": running, "b": running})
	kill := func() {
		t.Helper()
		pid := f.keeperPID()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		f.eventually("another keeper", func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			c, err := keeper.Dial(ctx, keeper.ClientConfig{Dir: f.cfg.RuntimeDir, Command: []string{"/no/such/program"}})
			if err != nil {
				return false
			}
			defer c.Close()
			info, err := c.Info(ctx)
			return err == nil && info.PID != pid
		})
	}
	kill()
	seen := f.m.expect("tty", failed)
	if st := seen[0]; st.GetReason() != mesos.TaskStatus_REASON_IO_SWITCHBOARD_EXITED || st.GetSource() != mesos.TaskStatus_SOURCE_AGENT || !strings.HasPrefix(st.GetMessage(), "'IOSwitchboard' exited with status ") {
		t.Errorf("the task with a terminal: %v", st)
	}
	if !alive(lives[len(lives)-1].GetContainerStatus().GetExecutorPid()) {
		t.Error("a task died with the keeper")
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// How b ended can be told since Linux 6.15 only; where it cannot, the pod has failed.
	wanted := map[string]mesos.TaskState{"lives": failed, "b": finished}
	told := exitsOfOthers()
	if !told {
		wanted["b"], wanted["a"] = failed, killed
	}
	got := f.m.collect(wanted)
	last := got["lives"][len(got["lives"])-1]
	if text := last.GetMessage(); text != "Command exited with status 7" && !strings.HasPrefix(text, "Failed to get exit status for Command: the keeper was replaced") || last.GetSource() != mesos.TaskStatus_SOURCE_EXECUTOR {
		t.Errorf("the task that lived on: %v", last)
	}
	if told {
		f.m.kill("a")
		f.m.collect(map[string]mesos.TaskState{"a": killed})
	}
	next(t, "executor's end", f.m.exited)

	// Nobody was there when it ended: the status is lost, and that is what is told.
	f.m.run(task("S0", "unseen", "exec sleep 1000"))
	unseen := f.m.expect("unseen", running)
	pid := int(unseen[len(unseen)-1].GetContainerStatus().GetExecutorPid())
	f.m.barrier()
	if err := syscall.Kill(f.cmd.Process.Pid, syscall.SIGSTOP); err != nil { // it starts no successor
		t.Fatal(err)
	}
	old := f.keeperPID()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.eventually("the keeper is gone", func() bool { return !alive(uint32(old)) })
	_ = syscall.Kill(pid, syscall.SIGTERM)
	f.eventually("the task is gone", func() bool { return !alive(uint32(pid)) })
	if err := syscall.Kill(f.cmd.Process.Pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	end := f.m.expect("unseen", failed)
	if text := end[0].GetMessage(); !strings.HasPrefix(text, "Failed to get exit status for Command: the task ended while no keeper was running") {
		t.Errorf("the task that nobody saw: %v", end)
	}
	f.quiet(nil)
}
