package agent_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// ending is one way in which a task ends, and what its framework is told of it.
type ending struct {
	id, cmd string
	change  []func(*mesos.TaskInfo)
	// launch starts it otherwise than as a command task; nil for those.
	launch func(id string)
	// running is called when it runs; may be nil.
	running func(id string)

	state   mesos.TaskState
	source  mesos.TaskStatus_Source
	reason  mesos.TaskStatus_Reason // COMMAND_EXECUTOR_FAILED (0): none
	message string                  // begins so; with a full stop at its end it is all, without that stop
	before  string                  // the states before, STARTING RUNNING when empty; * for any, where it depends on who is faster
}

// right compares what was told.
func (c *ending) right(all []*mesos.TaskStatus) error {
	last := all[len(all)-1]
	whole, exact := strings.CutSuffix(c.message, ".")
	message := strings.HasPrefix(last.GetMessage(), c.message)
	if exact {
		message = last.GetMessage() == whole
	}
	before := c.before
	if before == "" {
		before = "STARTING RUNNING"
	}
	if got := states(all); got != strings.TrimSpace(before+" "+strings.TrimPrefix(c.state.String(), "TASK_")) && c.before != "*" {
		return fmt.Errorf("told %s", got)
	}
	if last.GetState() != c.state || last.GetSource() != c.source || (last.Reason != nil) != (c.reason != 0) || last.GetReason() != c.reason || !message {
		return fmt.Errorf("%s source %s reason %s (set %v) message %q", last.GetState(), last.GetSource(), last.GetReason(), last.Reason != nil, last.GetMessage())
	}
	return nil
}

// mesos-agent.md 2.3 to 2.5, 3.3, 5.3, 7.3, 7.10 and 14: how a task ends, and what its
// framework is told, for plain processes and for those that are confined in every way.
// What ends together with agent, keeper, host or Docker engine has tests of its own:
// TestEndsUnseen, TestKeeperKilledUnderTasks, TestReboot, TestHowContainersEnd.
func TestMatrixOfEnds(t *testing.T) {
	for name, isolation := range map[string]string{"plain": withCgroups + ",disk/du", "confined": withCgroups + ",disk/du," + confinement} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			matrixOfEnds(t, isolation)
		})
	}
}

const (
	fromExecutor = mesos.TaskStatus_SOURCE_EXECUTOR
	fromAgent    = mesos.TaskStatus_SOURCE_AGENT
)

func matrixOfEnds(t *testing.T, isolation string) {
	m, p := guarded(t, isolation, func(c *agent.Config) {
		c.Disk = agent.Disk{Enforce: true, Interval: 50 * time.Millisecond}
		c.ExecutorRegistrationTimeout = 5 * time.Second
	})
	held := make(chan struct{})
	asked := make(chan string, 100)
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- strings.Trim(r.URL.Path, "/")
		select {
		case <-held:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(files.Close)
	t.Cleanup(func() { close(held) })

	sandbox := func(id string) string {
		return filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors", id, "runs/latest")
	}
	kill := func(id string) { m.kill(id) }
	killUp := func(id string) { // once it has set its traps
		p.eventually(id+" is up", func() bool { _, err := os.Stat(filepath.Join(sandbox(id), "up")); return err == nil })
		m.kill(id)
	}
	killWithin := func(d time.Duration) func(string) {
		return func(id string) {
			p.eventually(id+" is up", func() bool { _, err := os.Stat(filepath.Join(sandbox(id), "up")); return err == nil })
			m.send(&messages.KillTaskMessage{FrameworkId: frameworkID, TaskId: &mesos.TaskID{Value: &id}, KillPolicy: &mesos.KillPolicy{GracePeriod: duration(d)}})
		}
	}
	all := endsOfCommands()
	all = append(all,
		ending{id: "kill", cmd: "sleep 1000", running: kill, state: killed, source: fromExecutor, message: "Command terminated with signal Terminated.", before: "STARTING RUNNING KILLING"},
		ending{id: "kill-graceful", cmd: "trap 'exit 0' TERM; touch up; while :; do sleep 0.02; done", running: killUp, state: killed, source: fromExecutor,
			message: "Command exited with status 0.", before: "STARTING RUNNING KILLING"},
		ending{id: "kill-ignored", cmd: "trap '' TERM; touch up; while :; do sleep 0.02; done", change: []func(*mesos.TaskInfo){graceOf(200 * time.Millisecond)},
			running: killUp, state: killed, source: fromExecutor, message: "Command terminated with signal Killed.", before: "STARTING RUNNING KILLING"},
		ending{id: "kill-own-policy", cmd: "trap '' TERM; touch up; while :; do sleep 0.02; done", change: []func(*mesos.TaskInfo){graceOf(time.Hour)},
			running: killWithin(100 * time.Millisecond), state: killed, source: fromExecutor, message: "Command terminated with signal Killed.", before: "STARTING RUNNING KILLING"},
		ending{id: "kill-tree", cmd: "trap '' TERM; (trap '' TERM; setsid sh -c \"trap '' TERM; sleep 1000\" & wait) & touch up; wait; sleep 1000",
			change: []func(*mesos.TaskInfo){graceOf(100 * time.Millisecond)}, running: killUp, state: killed, source: fromExecutor,
			message: "Command terminated with signal Killed.", before: "STARTING RUNNING KILLING"},
		ending{id: "kill-fetching", cmd: "true", change: []func(*mesos.TaskInfo){func(t *mesos.TaskInfo) {
			t.Command.Uris = []*mesos.CommandInfo_URI{{Value: proto.String(files.URL + "/kill-fetching")}}
		}}, state: killed, // when the server is asked
			source: fromAgent, reason: mesos.TaskStatus_REASON_TASK_KILLED_DURING_LAUNCH, message: "Killed before delivery to the executor.", before: " "},
		ending{id: "unhealthy", cmd: "sleep 1000", change: []func(*mesos.TaskInfo){func(t *mesos.TaskInfo) {
			t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND.Enum(), Command: &mesos.CommandInfo{Value: proto.String("false")},
				DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.05), GracePeriodSeconds: proto.Float64(0), ConsecutiveFailures: proto.Uint32(1)}
		}}, state: killed, source: fromExecutor, message: "Command terminated with signal Terminated.", before: "STARTING RUNNING RUNNING KILLING"},
		// Executors that end with tasks, and that never register.
		ending{id: "executor-ends", launch: func(id string) { m.runOn(shellExecutor("x-ends", "exit 3"), id, "", true) },
			state: failed, source: fromAgent, reason: mesos.TaskStatus_REASON_EXECUTOR_TERMINATED, message: "Executor terminated.", before: " "},
		ending{id: "executor-mute", launch: func(id string) { m.runOn(shellExecutor("x-mute", "sleep 1000"), id, "", true) },
			state: failed, source: fromAgent, reason: mesos.TaskStatus_REASON_EXECUTOR_REGISTRATION_TIMEOUT, message: "Executor did not register within 5secs.", before: " "},
		// Task groups: one that fails, and one that is killed, takes the other along.
		ending{id: "pod-fails", launch: func(id string) {
			m.group(podExecutor("x-pod1"), true, task("S0", id, "exit 4"), task("S0", "pod-goes-along", "sleep 1000"))
		}, state: failed, source: fromExecutor, message: "Command exited with status 4."},
		// It runs, or is on its way: then its message says so.
		ending{id: "pod-goes-along", launch: func(string) {}, state: killed, source: fromExecutor, before: "*"},
		ending{id: "pod-killed", launch: func(id string) {
			m.group(podExecutor("x-pod2"), true, task("S0", id, "sleep 1000"), task("S0", "pod-killed-along", "sleep 1000"))
		}, running: kill, state: killed, source: fromExecutor, message: "Command terminated with signal Terminated.", before: "STARTING RUNNING KILLING"},
		ending{id: "pod-killed-along", launch: func(string) {}, state: killed, source: fromExecutor, before: "*"},
		ending{id: "pod-completion", launch: func(id string) {
			m.group(podExecutor("x-pod3"), true, task("S0", id, "sleep 1000", completionOf(100*time.Millisecond)))
		}, state: failed, source: fromExecutor, reason: mesos.TaskStatus_REASON_MAX_COMPLETION_TIME_REACHED, message: "Command terminated with signal Killed."},
		ending{id: "pod-finishes", launch: func(id string) { m.group(podExecutor("x-pod4"), true, task("S0", id, "exit 0")) },
			state: finished, source: fromExecutor, message: "Command exited with status 0."},
	)
	byID := map[string]*ending{}
	for i := range all {
		c := &all[i]
		byID[c.id] = c
		if c.launch != nil {
			c.launch(c.id)
		} else {
			m.run(task("S0", c.id, c.cmd, c.change...))
		}
	}
	got := map[string][]*mesos.TaskStatus{}
	ends := 0
	for deadline := time.After(patience.For(60 * time.Second)); ends < len(all); {
		var st *mesos.TaskStatus
		select {
		case id := <-asked:
			m.kill(id)
			continue
		case u := <-m.updates:
			st = u.GetUpdate().GetStatus()
		case <-deadline:
			for id, c := range byID {
				if g := got[id]; len(g) == 0 || !over(g[len(g)-1].GetState()) {
					t.Errorf("%s has not become %s: %v", id, c.state, g)
				}
			}
			return
		}
		m.ack(st)
		id := st.GetTaskId().GetValue()
		c := byID[id]
		if c == nil {
			t.Fatalf("nobody's: %v", st)
		}
		first := len(got[id]) == 0 || got[id][len(got[id])-1].GetState() != running
		got[id] = append(got[id], st)
		switch {
		case over(st.GetState()):
			ends++
			if err := c.right(got[id]); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		case st.GetState() == running && first && c.running != nil:
			c.running(id)
		}
	}
	if last := got["unhealthy"][len(got["unhealthy"])-1]; last.Healthy == nil || last.GetHealthy() {
		t.Errorf("unhealthy: %v", last)
	}
	if l := got["disk"][len(got["disk"])-1].GetLimitation().GetResources(); len(l) != 1 || l[0].GetName() != "disk" || l[0].GetScalar().GetValue() != 5 {
		t.Errorf("disk: %v", l)
	}
	for _, id := range []string{"core", "no-core"} { // said when there is one
		last := got[id][len(got[id])-1].GetMessage()
		cores, _ := filepath.Glob(filepath.Join(sandbox(id), "core*"))
		if dumped := strings.HasSuffix(last, " (core dumped)"); dumped != (len(cores) > 0) {
			t.Errorf("%s: %q, files %v", id, last, cores)
		}
	}
	p.eventually("no group is left", func() bool { return len(p.groups("*-*")) == 0 })
	if left, _ := os.ReadDir(filepath.Join(p.cfg.RuntimeDir, "status")); len(left) > 0 {
		t.Errorf("status files left: %v", left)
	}
}

func duration(d time.Duration) *mesos.DurationInfo {
	return &mesos.DurationInfo{Nanoseconds: proto.Int64(d.Nanoseconds())}
}

func graceOf(d time.Duration) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) { t.KillPolicy = &mesos.KillPolicy{GracePeriod: duration(d)} }
}

func completionOf(d time.Duration) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) { t.MaxCompletionTime = duration(d) }
}

// endsOfCommands are the ends that need nobody but the command itself.
func endsOfCommands() []ending {
	argv := func(args ...string) []func(*mesos.TaskInfo) {
		return []func(*mesos.TaskInfo){func(t *mesos.TaskInfo) {
			t.Command.Shell, t.Command.Value, t.Command.Arguments = proto.Bool(false), proto.String(args[0]), args
		}}
	}
	fails := func(id, cmd, message string) ending {
		return ending{id: id, cmd: cmd, state: failed, source: fromExecutor, message: message}
	}
	all := []ending{{id: "exit-0", cmd: "exit 0", state: finished, source: fromExecutor, message: "Command exited with status 0."}}
	for _, code := range []int{1, 9, 126, 127, 128, 137, 255} {
		all = append(all, fails(fmt.Sprint("exit-", code), fmt.Sprint("exit ", code), fmt.Sprintf("Command exited with status %d.", code)))
	}
	for number, text := range map[int]string{
		1: "Hangup", 2: "Interrupt", 3: "Quit", 4: "Illegal instruction", 5: "Trace/breakpoint trap", 6: "Aborted", 7: "Bus error",
		8: "Floating point exception", 9: "Killed", 10: "User defined signal 1", 11: "Segmentation fault", 12: "User defined signal 2", 13: "Broken pipe",
		14: "Alarm clock", 15: "Terminated", 24: "CPU time limit exceeded", 25: "File size limit exceeded", 26: "Virtual timer expired", 27: "Profiling timer expired",
		29: "I/O possible", 30: "Power failure", 31: "Bad system call", 34: "Real-time signal 0", 64: "Real-time signal 30",
	} {
		all = append(all, fails(fmt.Sprint("signal-", number), fmt.Sprintf("ulimit -c 0; exec sh -c 'kill -%d $$; sleep 1000'", number), "Command terminated with signal "+text+"."))
	}
	dir := func(t *mesos.TaskInfo) { // a script that no program can run, made by a task of its own
		t.Command.Shell, t.Command.Value = proto.Bool(true), proto.String(`printf '#!/no/such/interpreter\n' > x; chmod +x x; ./x`)
	}
	return append(all,
		fails("child-fails", "sh -c 'exit 4'; exit $?", "Command exited with status 4."),
		fails("core", "ulimit -c unlimited; kill -SEGV $$", "Command terminated with signal Segmentation fault"),
		fails("no-core", "ulimit -c 0; kill -ABRT $$", "Command terminated with signal Aborted"),
		ending{id: "no-program", cmd: "-", change: argv("no-such-program", "x"), state: failed, source: fromExecutor, message: "Command exited with status 1."},
		ending{id: "no-rights", cmd: "-", change: argv("/etc/passwd"), state: failed, source: fromExecutor, message: "Command exited with status 1."},
		ending{id: "no-file", cmd: "-", change: argv("/no/such/program"), state: failed, source: fromExecutor, message: "Command exited with status 1."},
		ending{id: "folder", cmd: "-", change: argv("/etc"), state: failed, source: fromExecutor, message: "Command exited with status 1."},
		ending{id: "no-interpreter", cmd: "-", change: []func(*mesos.TaskInfo){dir}, state: failed, source: fromExecutor, message: "Command exited with status 127."},
		// The shell's own folder goes while it runs: what it starts afterwards still ends as usual.
		fails("no-folder", `d=$PWD/gone; mkdir $d; cd $d; rmdir $d; /bin/true; exec sh -c 'exit 5'`, "Command exited with status 5."),
		ending{id: "no-user", cmd: "true", change: []func(*mesos.TaskInfo){as("no-such-user")}, state: failed, source: fromAgent,
			reason: mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED, message: "Failed to launch container: ", before: " "},
		ending{id: "no-uri", cmd: "true", change: []func(*mesos.TaskInfo){func(t *mesos.TaskInfo) {
			t.Command.Uris = []*mesos.CommandInfo_URI{{Value: proto.String("/no/such/file.tgz")}}
		}}, state: failed, source: fromAgent, reason: mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED,
			message: "Failed to launch container: Failed to fetch all URIs for container '", before: " "},
		ending{id: "oom", cmd: "x=0123456789abcdef; while :; do x=$x$x; done", state: failed, source: fromAgent,
			reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, message: "Memory limit exceeded: Requested: 64MB Maximum Used: 64MB\n\nMEMORY STATISTICS: \n"},
		ending{id: "disk", cmd: "head -c 8388608 /dev/zero > big; sleep 1000", change: []func(*mesos.TaskInfo){func(t *mesos.TaskInfo) {
			t.Resources = append(t.Resources, amount("disk", 5))
		}}, state: failed, source: fromAgent, reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_DISK, message: "Disk usage ("},
		// By SIGTERM, if it comes to die before SIGKILL follows.
		ending{id: "completion", cmd: "sleep 1000", change: []func(*mesos.TaskInfo){completionOf(100 * time.Millisecond)}, state: failed, source: fromExecutor,
			reason: mesos.TaskStatus_REASON_MAX_COMPLETION_TIME_REACHED, message: "Command terminated with signal "},
	)
}

// What ended while no agent was there is told as it ended, whatever the end.
func TestEndsUnseen(t *testing.T) {
	m, p := started(t)
	flag := filepath.Join(t.TempDir(), "go")
	cases := map[string]ending{
		"exit-0":  {cmd: "exit 0", state: finished, message: "Command exited with status 0."},
		"exit-3":  {cmd: "exit 3", state: failed, message: "Command exited with status 3."},
		"segv":    {cmd: "ulimit -c 0; kill -SEGV $$", state: failed, message: "Command terminated with signal Segmentation fault."},
		"killing": {cmd: "exit 0", state: killed, message: "Command exited with status 0.", before: "KILLING"},
	}
	pids := map[string]uint32{}
	want := map[string]mesos.TaskState{}
	for id, c := range cases {
		trap := ""
		if id == "killing" {
			trap = "trap '' TERM; "
		}
		m.run(task("S0", id, trap+"until [ -e "+flag+" ]; do sleep 0.02; done; "+c.cmd, graceOf(time.Hour)))
		seen := m.expect(id, running)
		pids[id] = seen[len(seen)-1].GetContainerStatus().GetExecutorPid()
		want[id] = c.state
	}
	m.kill("killing")
	m.expect("killing", killing)
	m.barrier()
	p.stop(syscall.SIGKILL)
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.eventually("all have ended", func() bool {
		for _, pid := range pids {
			if alive(pid) {
				return false
			}
		}
		return true
	})
	for len(m.reregistrations) > 0 {
		<-m.reregistrations
	}
	p.start()
	m.reregister("S0")
	for id, all := range m.collect(want) {
		c := cases[id]
		c.source, c.before = fromExecutor, " "
		if err := c.right(all); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}
