package agent_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// census is what agent and keeper hold of the host.
type census struct {
	mounts, groups, agentFDs, keeperFDs, agentThreads, keeperThreads, children, spaces int
	agentMemory, keeperMemory                                                          int // MiB in RAM
	goroutines                                                                         float64
}

func (f *fragile) census(keeper int) census {
	f.t.Helper()
	count := func(dir string) int {
		all, _ := os.ReadDir(dir)
		return len(all)
	}
	memory := func(pid int) (kib int) {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(raw)) {
			if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				_, _ = fmt.Sscan(text, &kib)
			}
		}
		return kib >> 10
	}
	pid := f.cmd.Process.Pid
	c := census{
		agentFDs: count(fmt.Sprintf("/proc/%d/fd", pid)), keeperFDs: count(fmt.Sprintf("/proc/%d/fd", keeper)),
		agentThreads: count(fmt.Sprintf("/proc/%d/task", pid)), keeperThreads: count(fmt.Sprintf("/proc/%d/task", keeper)),
		agentMemory: memory(pid), keeperMemory: memory(keeper), groups: len(f.remains()), spaces: len(spacesOf(keeper)),
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", keeper))
	if err != nil {
		f.t.Fatal(err)
	}
	c.mounts = bytes.Count(mounts, []byte("\n"))
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		b, err := os.ReadFile(s)
		if err != nil {
			continue
		}
		if rest := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); len(rest) > 1 && rest[1] == fmt.Sprint(keeper) {
			c.children++
		}
	}
	lines := bufio.NewScanner(bytes.NewReader(f.get("/metrics")))
	for lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			_, _ = fmt.Sscan(n, &c.goroutines)
		}
	}
	return c
}

// spacesOf lists the namespaces that the threads of agent or keeper are in.
func spacesOf(pid int) map[string]bool {
	out := map[string]bool{}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/ns/*", pid))
	for _, l := range links {
		if at, err := os.Readlink(l); err == nil {
			out[at] = true
		}
	}
	return out
}

// pinged pings the agent as masters do; without that it registers again.
func (f *fragile) pinged() {
	stop := make(chan struct{})
	var pings sync.WaitGroup
	pings.Go(func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				f.m.send(&messages.PingSlaveMessage{Connected: proto.Bool(true)})
			}
		}
	})
	f.t.Cleanup(func() { close(stop); pings.Wait() })
}

// launched is one of many tasks.
type launched struct {
	cmd    string
	end    mesos.TaskState
	change []func(*mesos.TaskInfo)
}

// leavesNothing launches n tasks in waves, of as many kinds as there are, and compares what
// agent and keeper hold before and after (reliability D.3, row 45).
func (f *fragile) leavesNothing(n int, kind func(i int) launched) {
	t := f.t
	t.Helper()
	const wave = 40
	run := func(prefix string, n int) {
		t.Helper()
		for from := 0; from < n; from += wave {
			want := map[string]mesos.TaskState{}
			for i := from; i < min(n, from+wave); i++ {
				id, k := fmt.Sprintf("%s%d", prefix, i), kind(i)
				want[id] = k.end
				f.m.run(task("S0", id, k.cmd, k.change...))
			}
			f.m.collect(want)
		}
		f.quiet(nil)
	}
	f.pinged()
	run("warm", max(40, n/10)) // long enough for the memory to come to its usual size
	keeper := f.keeperPID()
	same := func(a, b census) bool {
		a.agentMemory, a.keeperMemory, b.agentMemory, b.keeperMemory = 0, 0, 0, 0
		return a == b
	}
	var before, after census
	f.eventually("the figures come to rest", func() bool {
		last := before
		before = f.census(keeper)
		if !same(last, before) {
			time.Sleep(100 * time.Millisecond)
			return false
		}
		return true
	})
	run("t", n)
	f.eventually("the figures are what they were", func() bool {
		after = f.census(keeper)
		return after.mounts == before.mounts && after.groups == 0 && after.children == before.children && after.spaces == before.spaces &&
			after.agentFDs <= before.agentFDs+3 && after.keeperFDs <= before.keeperFDs+2 && after.goroutines <= before.goroutines+3
	})
	t.Logf("%d launches: before %+v, after %+v", n, before, after)
	if before.goroutines == 0 || before.agentFDs == 0 || before.keeperFDs == 0 || before.mounts == 0 || before.agentMemory == 0 || before.spaces == 0 {
		t.Errorf("nothing was counted: %+v", before)
	}
	// Threads are Go's to keep: as many as were once in the kernel together. What can be is
	// bounded by the slots of launches (64) and of endings (16); the rest are Go's own and those
	// of single goroutines. The keeper forks on four.
	if after.keeperThreads > 24 || after.agentThreads > 64+16+16 {
		t.Errorf("threads: before %+v, after %+v", before, after)
	}
	if after.keeperMemory > before.keeperMemory+16 || after.agentMemory > before.agentMemory+32 {
		t.Errorf("memory: before %+v, after %+v", before, after)
	}
	if i, err := os.Stat(filepath.Join(f.cfg.RuntimeDir, "journal")); err != nil || i.Size() > 4<<20 {
		t.Errorf("the keeper's journal: %v %v", i, err)
	}
}

// soakLaunches is how many tasks are enough. STOA_SOAK=1 makes it 10,000.
func soakLaunches(usual int) int {
	if os.Getenv("STOA_SOAK") != "" {
		return 10_000
	}
	return usual
}

// Launches leave nothing behind: mounts, control groups, descriptors, goroutines, threads,
// memory and processes are what they were.
func TestLaunchesLeaveNothing(t *testing.T) {
	f := newFragile(t, func(p *process) { p.cfg.GCDelay = time.Second })
	f.leavesNothing(soakLaunches(200), func(i int) launched {
		switch {
		case i%4 == 1:
			return launched{cmd: "sleep 100 & exit 3", end: failed}
		case i%4 == 2 && os.Geteuid() == 0:
			return launched{"true", finished, []func(*mesos.TaskInfo){volumes(&mesos.Volume{ContainerPath: ptr("/mnt"), HostPath: ptr(t.TempDir()), Mode: mesos.Volume_RW.Enum()})}}
		}
		return launched{cmd: "true", end: finished}
	})
}

// The same for tasks with images, networks, volumes, secrets, URIs, checks and namespaces.
func TestEquippedLaunchesLeaveNothing(t *testing.T) {
	if !alone(t) {
		return
	}
	needStatic(t)
	e := equip(t, func(p *process) { p.cfg.GCDelay = time.Second })
	e.leavesNothing(soakLaunches(40), func(i int) launched {
		slot := i / 8 % 5 // of the wave
		shared := func(t *mesos.TaskInfo) {
			t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), LinuxInfo: &mesos.LinuxInfo{SharePidNamespace: proto.Bool(true)}}
		}
		switch i % 8 {
		case 0:
			return launched{"sleep 100 & exit 3", failed, []func(*mesos.TaskInfo){shared}}
		case 1:
			return launched{"sleep 100 & exit 4", failed, nil} // with its namespaces
		case 2:
			return launched{"cat /etc/passwd", finished, []func(*mesos.TaskInfo){inImage(e.image)}}
		case 3:
			return launched{"true", finished, []func(*mesos.TaskInfo){e.network(0)}}
		case 4:
			return launched{"echo x >> data/file", finished, []func(*mesos.TaskInfo){e.volume(5 + slot)}}
		case 5:
			return launched{"grep -q fetched file", finished, []func(*mesos.TaskInfo){e.fetches}}
		case 6:
			return launched{"until test -e checked; do sleep 0.05; done", finished, []func(*mesos.TaskInfo){func(t *mesos.TaskInfo) {
				t.Check = &mesos.CheckInfo{Type: mesos.CheckInfo_COMMAND.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.1),
					Command: &mesos.CheckInfo_Command{Command: &mesos.CommandInfo{Value: proto.String("touch checked")}}}
			}}}
		}
		return launched{"grep -q fetched file && grep -q sesame conf/key && echo x >> data/file && echo x >> disk/file", finished, []func(*mesos.TaskInfo){e.withAll(e.image, slot)}}
	})
}

func ptr[T any](v T) *T { return &v }
