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

// keepsPace waits for a second in which the neighbour counts at least a twentieth of what
// it counted in one before: what else this machine does comes and goes, a task beside it stays.
func (n neighbour) keepsPace(before int) {
	n.p.t.Helper()
	n.p.eventually("a second in which the neighbour goes on", func() bool { return before > 0 && n.advance(time.Second)*20 >= before })
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
		n.keepsPace(before)
		if _, text := p.held(id, "pids.max"); text != "100" {
			t.Errorf("pids.max is %q", text)
		}
		m.kill("bomb")
		m.expect("bomb", killed)
		p.eventually("nothing of the bomb is left", func() bool { return len(p.groups(id)) == 0 })
		n.keepsPace(before)
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
	n.keepsPace(before)
	p.kill(m, "neighbour")
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
