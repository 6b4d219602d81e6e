package agent_test

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

const withCgroups = "cgroups/cpu,cgroups/mem"

// neighbour is a task that counts into a file.
type neighbour struct {
	p    *process
	file string
}

func newNeighbour(m *master, p *process) neighbour {
	m.run(task("S0", "neighbour", `i=0; while :; do i=$((i+1)); echo $i > count.new; mv count.new count; done`))
	m.expect("neighbour", running)
	n := neighbour{p, filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/neighbour/runs/latest/count")}
	p.eventually("the neighbour counts", func() bool { return n.count() > 0 })
	return n
}

func (n neighbour) count() int {
	b, _ := os.ReadFile(n.file)
	i, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return i
}

// advance gives how far it comes while the time passes.
func (n neighbour) advance(d time.Duration) int {
	from := n.count()
	time.Sleep(d)
	return n.count() - from
}

// A fork bomb fills its own group and no more; its neighbour goes on, and the bomb can be
// killed to the last process.
func TestForkBombIsContained(t *testing.T) {
	for _, isolation := range []string{withCgroups, withCgroups + "," + confinement} {
		m, p := guarded(t, isolation, func(c *agent.Config) { c.PidsLimit = 100 })
		n := newNeighbour(m, p)
		before := n.advance(time.Second)
		m.run(task("S0", "bomb", `bomb() { while :; do bomb & done; }; bomb 2>/dev/null & exec sleep 1000`,
			func(t *mesos.TaskInfo) { t.Resources = []*mesos.Resource{amount("cpus", 0.1), amount("mem", 512)} }))
		m.expect("bomb", running)
		id := p.state().container("bomb")
		refused := func() bool {
			_, text := p.held(id, "pids.events")
			return strings.HasPrefix(text, "max ") && text != "max 0"
		}
		p.eventually("the bomb is refused a process", refused)
		during := n.advance(time.Second)
		if _, text := p.held(id, "pids.max"); text != "100" {
			t.Errorf("pids.max is %q", text)
		}
		if before <= 0 || during*20 < before {
			t.Errorf("the neighbour counted %d in a second, and %d beside the bomb", before, during)
		}
		m.kill("bomb")
		m.expect("bomb", killed)
		p.eventually("nothing of the bomb is left", func() bool { return len(p.groups(id)) == 0 })
		if n.advance(patience.For(200*time.Millisecond)) <= 0 {
			t.Error("the neighbour stands still")
		}
		p.kill(m, "neighbour")
	}
}

// container gives the container of an executor.
func (s state) container(executor string) string {
	for _, f := range s.Frameworks {
		for _, e := range f.Executors {
			if e.ID == executor {
				return e.Container
			}
		}
	}
	return ""
}

func (p *process) kill(m *master, task string) {
	m.kill(task)
	m.expect(task, killed)
}

// A task that takes all memory it can get ends by its own limit; its neighbour does not
// notice.
func TestMemoryHogIsContained(t *testing.T) {
	m, p := guarded(t, withCgroups)
	n := newNeighbour(m, p)
	before := n.advance(time.Second)
	for i := range 3 {
		id := "hog" + strconv.Itoa(i)
		m.run(task("S0", id, "x=0123456789abcdef; while :; do x=$x$x; done"))
		seen := m.expect(id, failed)
		if r := seen[len(seen)-1].GetReason(); r != mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY {
			t.Errorf("%s: %v", id, r)
		}
	}
	if during := n.advance(time.Second); before <= 0 || during*20 < before {
		t.Errorf("the neighbour counted %d in a second, and %d after the hogs", before, during)
	}
	p.kill(m, "neighbour")
}

// mesos-agent.md 2.3 to 2.5, 7.3 and 14: how a task ends, and what its framework is told,
// for plain processes and for those that are confined in every way.
func TestMatrixOfEnds(t *testing.T) {
	completion := func(d time.Duration) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) {
			t.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: proto.Int64(d.Nanoseconds())}
		}
	}
	grace := func(d time.Duration) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) {
			t.KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: proto.Int64(d.Nanoseconds())}}
		}
	}
	argv := func(args ...string) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) {
			t.Command.Shell, t.Command.Value, t.Command.Arguments = proto.Bool(false), proto.String(args[0]), args
		}
	}
	const executor, agentItself = mesos.TaskStatus_SOURCE_EXECUTOR, mesos.TaskStatus_SOURCE_AGENT
	cases := []struct {
		id, cmd string
		change  []func(*mesos.TaskInfo)
		kill    bool // once it runs
		state   mesos.TaskState
		source  mesos.TaskStatus_Source
		reason  mesos.TaskStatus_Reason // COMMAND_EXECUTOR_FAILED (0): none
		message string                  // begins so
	}{
		{id: "exit-0", cmd: "exit 0", state: finished, source: executor, message: "Command exited with status 0"},
		{id: "exit-9", cmd: "exit 9", state: failed, source: executor, message: "Command exited with status 9"},
		{id: "exit-137", cmd: "exit 137", state: failed, source: executor, message: "Command exited with status 137"},
		{id: "child-fails", cmd: "sh -c 'exit 4'; exit $?", state: failed, source: executor, message: "Command exited with status 4"},
		{id: "segv", cmd: "ulimit -c 0; kill -SEGV $$", state: failed, source: executor, message: "Command terminated with signal Segmentation fault"},
		{id: "abrt", cmd: "ulimit -c 0; kill -ABRT $$", state: failed, source: executor, message: "Command terminated with signal Aborted"},
		{id: "killed", cmd: "kill -KILL $$", state: failed, source: executor, message: "Command terminated with signal Killed"},
		{id: "no-program", cmd: "-", change: []func(*mesos.TaskInfo){argv("no-such-program", "x")}, state: failed, source: executor, message: "Command exited with status 1"},
		{id: "no-rights", cmd: "-", change: []func(*mesos.TaskInfo){argv("/etc/passwd")}, state: failed, source: executor, message: "Command exited with status 1"},
		{id: "no-user", cmd: "true", change: []func(*mesos.TaskInfo){as("no-such-user")}, state: failed, source: agentItself,
			reason: mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED, message: "Failed to launch container: "},
		{id: "oom", cmd: "x=0123456789abcdef; while :; do x=$x$x; done", state: failed, source: agentItself,
			reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_MEMORY, message: "Memory limit exceeded: Requested: 64MB Maximum Used: 64MB\n\nMEMORY STATISTICS: \n"},
		{id: "completion", cmd: "sleep 1000", change: []func(*mesos.TaskInfo){completion(100 * time.Millisecond)}, state: failed, source: executor,
			reason: mesos.TaskStatus_REASON_MAX_COMPLETION_TIME_REACHED, message: "Command terminated with signal "},
		{id: "kill", cmd: "sleep 1000", kill: true, state: killed, source: executor, message: "Command terminated with signal Terminated"},
		{id: "kill-graceful", cmd: "trap 'exit 0' TERM; touch up; while :; do sleep 0.02; done", kill: true, state: killed, source: executor, message: "Command exited with status 0"},
		{id: "kill-ignored", cmd: "trap '' TERM; touch up; while :; do sleep 0.02; done", change: []func(*mesos.TaskInfo){grace(200 * time.Millisecond)},
			kill: true, state: killed, source: executor, message: "Command terminated with signal Killed"},
		{id: "kill-tree", cmd: "trap '' TERM; (trap '' TERM; setsid sh -c \"trap '' TERM; sleep 1000\" & wait) & touch up; wait; sleep 1000",
			change: []func(*mesos.TaskInfo){grace(100 * time.Millisecond)}, kill: true, state: killed, source: executor, message: "Command terminated with signal Killed"},
	}
	for name, isolation := range map[string]string{"plain": withCgroups, "confined": withCgroups + "," + confinement} {
		t.Run(name, func(t *testing.T) {
			m, p := guarded(t, isolation)
			for _, c := range cases {
				m.run(task("S0", c.id, c.cmd, c.change...))
				if c.kill {
					m.expect(c.id, running)
					if strings.Contains(c.cmd, "touch up") {
						up := filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors", c.id, "runs/latest/up")
						p.eventually(c.id+" is up", func() bool { _, err := os.Stat(up); return err == nil })
					}
					m.kill(c.id)
				}
				seen := m.expect(c.id, c.state)
				last := seen[len(seen)-1]
				if last.GetSource() != c.source || (last.Reason != nil) != (c.reason != 0) || last.GetReason() != c.reason || !strings.HasPrefix(last.GetMessage(), c.message) {
					t.Errorf("%s: %s source %s reason %s (set %v) message %q", c.id, last.GetState(), last.GetSource(), last.GetReason(), last.Reason != nil, last.GetMessage())
				}
				if c.kill && seen[0].GetState() != mesos.TaskState_TASK_KILLING {
					t.Errorf("%s: first %s", c.id, seen[0].GetState())
				}
			}
			p.eventually("no group is left", func() bool {
				return len(p.groups("*-*")) == 0
			})
			if left, _ := os.ReadDir(filepath.Join(p.cfg.RuntimeDir, "status")); len(left) > 0 {
				t.Errorf("status files left: %v", left)
			}
		})
	}
}

// mesos-agent.md 7.3: limits apart from requests, as a recorded agent set them: 0.5 cpus
// and 64 MB with limits of 1 and 128.
func TestLimitsApartFromRequests(t *testing.T) {
	m, p := guarded(t, withCgroups)
	limits := func(cpus, mem float64) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) {
			t.Resources = []*mesos.Resource{amount("cpus", 0.5), amount("mem", 64)}
			t.Limits = map[string]*mesos.Value_Scalar{"cpus": {Value: proto.Float64(cpus)}, "mem": {Value: proto.Float64(mem)}}
		}
	}
	m.run(task("S0", "t", "cat /proc/self/oom_score_adj; exec sleep 1000", limits(1, 128)))
	m.expect("t", running)
	m.run(task("S0", "open", "exec sleep 1000", limits(math.Inf(1), math.Inf(1))))
	m.expect("open", running)
	for _, c := range []struct{ task, v1, want1, v2, want2 string }{
		{"t", "cpu.shares", "614", "cpu.weight", "60"}, {"t", "cpu.cfs_quota_us", "110000", "cpu.max", "110000 100000"},
		{"t", "memory.soft_limit_in_bytes", strconv.Itoa(96 << 20), "memory.low", strconv.Itoa(96 << 20)},
		{"t", "memory.limit_in_bytes", strconv.Itoa(160 << 20), "memory.max", strconv.Itoa(160 << 20)},
		{"open", "cpu.cfs_quota_us", "-1", "cpu.max", "max 100000"},
		{"open", "memory.soft_limit_in_bytes", strconv.Itoa(96 << 20), "memory.low", strconv.Itoa(96 << 20)},
		{"open", "memory.limit_in_bytes", "9223372036854771712", "memory.max", "max"},
	} {
		want := map[string]string{c.v1: c.want1, c.v2: c.want2}
		if name, got := p.held(p.state().container(c.task), c.v1, c.v2); name == "" || got != want[name] {
			t.Errorf("%s of %s is %q, want %v", name, c.task, got, want)
		}
	}
	score := 0
	p.eventually("the score is told", func() bool { score, _ = strconv.Atoi(strings.TrimSpace(p.stdout("t"))); return score > 0 })
	if score < 900 || score >= 1000 {
		t.Errorf("oom_score_adj %d", score)
	}
	p.kill(m, "t")
	p.kill(m, "open")
}
