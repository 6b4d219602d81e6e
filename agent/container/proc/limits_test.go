package proc

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/patience"
)

func TestLimitsAndUsage(t *testing.T) {
	needCgroups(t)
	g := newRig(t, func(c *Config) { c.CFS = true })
	g.start(g.spec("box", "echo $$ > pid; while :; do :; done"))
	g.pidIn("box", "pid")
	var u = func() float64 {
		s, err := g.r.Usage(g.ctx, "box")
		if err != nil {
			t.Fatal(err)
		}
		if s.GetMemLimitBytes() != 64<<20 || s.GetCpusLimit() != 0.5 || s.GetProcesses() < 1 || s.GetMemTotalBytes() == 0 || s.GetTimestamp() == 0 {
			t.Fatalf("%v", s)
		}
		return s.GetCpusUserTimeSecs() + s.GetCpusSystemTimeSecs()
	}
	for end := time.Now().Add(patience.For(20 * time.Second)); u() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no CPU time counted")
		}
	}
	if err := g.r.Update(g.ctx, "box", container.Limits{CPUs: 1, Memory: 128 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := g.r.Update(g.ctx, "box", container.Limits{CPUs: 1, Memory: 48 << 20}); err != nil {
		t.Fatal(err)
	}
	if s, err := g.r.Usage(g.ctx, "box"); err != nil || s.GetMemLimitBytes() != 128<<20 {
		t.Errorf("memory may only be raised: %v %v", s, err)
	}
	if err := g.r.Destroy(g.ctx, "box"); err != nil {
		t.Fatal(err)
	}
	g.exits("box")
	if _, err := g.r.Usage(g.ctx, "box"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("usage of an ended container: %v", err)
	}
}

// mesos-agent.md 7.3: with --cgroups_limit_swap the memory limit is one of memory and swap
// together, also after it was raised; revocable CPUs weigh a hundredth.
func TestSwapAndRevocable(t *testing.T) {
	needCgroups(t)
	g := newRig(t, func(c *Config) { c.LimitSwap = true })
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil || !g.r.cfg.LimitSwap {
		t.Skip("version 1 with accounting of swap is looked at here; version 2 by package cgroup")
	}
	spec := g.spec("box", "exec sleep 1000")
	spec.Limits.LowPriority, spec.Limits.CPUs = true, 2
	g.start(spec)
	read := func(controller, file string) string {
		t.Helper()
		all, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", controller, g.cfg.CgroupsRoot, "box", file))
		if len(all) == 0 {
			t.Fatalf("no %s", file)
		}
		b, err := os.ReadFile(all[0])
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	for _, mb := range []uint64{64, 128} {
		if mb > 64 {
			if err := g.r.Update(g.ctx, "box", container.Limits{CPUs: 2, Memory: mb << 20}); err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"} {
			if got := read("memory", file); got != strconv.FormatUint(mb<<20, 10) {
				t.Errorf("%s: %s, want %d MB", file, got, mb)
			}
		}
		want := "20"
		if mb > 64 { // the update said that they are revocable no more
			want = "2048"
		}
		if got := read("cpu*", "cpu.shares"); got != want {
			t.Errorf("cpu.shares %s, want %s", got, want)
		}
	}
	if err := g.r.Destroy(g.ctx, "box"); err != nil {
		t.Fatal(err)
	}
	g.exits("box")
}

func TestOutOfMemoryIsTold(t *testing.T) {
	needCgroups(t)
	g := newRig(t, nil)
	spec := g.spec("hog", "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done")
	spec.Limits.Memory = 40 << 20
	g.start(spec)
	e := g.exits("hog")["hog"]
	if e.OOM == nil || e.Signal != int(syscall.SIGKILL) || e.OOM.Limit != 40<<20 || e.OOM.MaxUsed < 38<<20 || e.OOM.Statistics == "" {
		t.Errorf("%+v %+v", e, e.OOM)
	}
	// The death of one process is that of the container.
	spec = g.spec("parent", "sh -c 'x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done'; echo survived; exec sleep 1000")
	spec.Limits.Memory = 40 << 20
	g.start(spec)
	if e := g.exits("parent")["parent"]; e.OOM == nil || e.Signal != int(syscall.SIGKILL) {
		t.Errorf("%+v", e)
	}
	// Another one's death by the same signal is no such thing.
	g.start(g.spec("calm", "kill -KILL $$"))
	if e := g.exits("calm")["calm"]; e.OOM != nil || e.Signal != int(syscall.SIGKILL) {
		t.Errorf("%+v", e)
	}
}

// What ran out of memory while no agent was there ends when the next one comes.
func TestOutOfMemoryWithoutAgent(t *testing.T) {
	needCgroups(t)
	g := newRig(t, nil)
	spec := g.spec("parent", "echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done; sh -c 'x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done'; echo > over; exec sleep 1000")
	spec.Limits.Memory = 40 << 20
	g.start(spec)
	pid := g.pidIn("parent", "pid")
	if err := g.r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "parent", "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience.For(20 * time.Second)); time.Now().Before(end) && g.read("parent", "over") == ""; time.Sleep(5 * time.Millisecond) {
		if s, err := tree.Read(pid); err != nil || s.State == 'Z' { // version 2 has ended all of it
			break
		}
	}
	g.recover()
	if e := g.exits("parent")["parent"]; e.OOM == nil || e.Signal != int(syscall.SIGKILL) {
		t.Errorf("%+v", e)
	}
}

func TestForkBombIsContained(t *testing.T) {
	needCgroups(t)
	g := newRig(t, nil)
	spec := g.spec("bomb", "i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done; echo all")
	spec.Limits.Pids = 20
	g.start(spec)
	g.exits("bomb")
	if g.read("bomb", "stdout") == "all\n" {
		t.Error("100 processes were forked within a limit of 20")
	}
}

// mesos-agent.md 12.2: how often a container was short of memory is told by version 1, and
// counted anew by an agent that has restarted.
func TestPressureIsTold(t *testing.T) {
	needCgroups(t)
	g := newRig(t, nil)
	spec := g.spec("box", "while :; do head -c 100000000 /dev/zero > big; cat big > /dev/null; done")
	spec.Limits.Memory = 33 << 20
	g.start(spec)
	if g.r.pressure == nil {
		s, err := g.r.Usage(g.ctx, "box")
		if err != nil || s.MemLowPressureCounter != nil || s.MemCriticalPressureCounter != nil {
			t.Errorf("told without being known: %v %v", s, err)
		}
		return
	}
	counted := func(when string) {
		t.Helper()
		for end := time.Now().Add(patience.For(30 * time.Second)); ; time.Sleep(5 * time.Millisecond) {
			s, err := g.r.Usage(g.ctx, "box")
			if err != nil {
				t.Fatal(err)
			}
			if s.GetMemLowPressureCounter() > 0 {
				if s.MemMediumPressureCounter == nil || s.MemCriticalPressureCounter == nil {
					t.Errorf("%s: %v", when, s)
				}
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: nothing is counted: %v", when, s)
			}
		}
	}
	counted("from its start")
	if err := g.r.Close(); err != nil {
		t.Fatal(err)
	}
	g.recover()
	counted("after a restart of the agent")
	if err := g.r.Destroy(g.ctx, "box"); err != nil {
		t.Fatal(err)
	}
	g.exits("box")
	if err := g.r.Forget(g.ctx, "box"); err != nil {
		t.Fatal(err)
	}
	if _, ok := g.r.pressure.Read("box"); ok {
		t.Error("a container that is forgotten is still counted")
	}
}
