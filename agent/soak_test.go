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
	mounts, groups, agentFDs, keeperFDs, agentThreads, keeperThreads, children int
	goroutines                                                                 float64
}

func (f *fragile) census(keeper int) census {
	f.t.Helper()
	count := func(dir string) int {
		all, _ := os.ReadDir(dir)
		return len(all)
	}
	pid := f.cmd.Process.Pid
	c := census{
		agentFDs: count(fmt.Sprintf("/proc/%d/fd", pid)), keeperFDs: count(fmt.Sprintf("/proc/%d/fd", keeper)),
		agentThreads: count(fmt.Sprintf("/proc/%d/task", pid)), keeperThreads: count(fmt.Sprintf("/proc/%d/task", keeper)),
		groups: len(f.remains()),
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

// Launches leave nothing behind: mounts, control groups, descriptors, goroutines, threads
// and processes are what they were (reliability D.3, row 45). STOA_SOAK=1 makes it 10,000.
func TestLaunchesLeaveNothing(t *testing.T) {
	n := 200
	if os.Getenv("STOA_SOAK") != "" {
		n = 10_000
	}
	f := newFragile(t)
	run := func(prefix string, n int) {
		t.Helper()
		const wave = 40
		for from := 0; from < n; from += wave {
			want := map[string]mesos.TaskState{}
			for i := from; i < min(n, from+wave); i++ {
				id := fmt.Sprintf("%s%d", prefix, i)
				cmd, end := "true", finished
				if i%4 == 1 {
					cmd, end = "sleep 100 & exit 3", failed
				}
				change := func(*mesos.TaskInfo) {}
				if i%4 == 2 && os.Geteuid() == 0 {
					change = volumes(&mesos.Volume{ContainerPath: ptr("/mnt"), HostPath: ptr(t.TempDir()), Mode: mesos.Volume_RW.Enum()})
				}
				want[id] = end
				f.m.run(task("S0", id, cmd, change))
			}
			f.m.collect(want)
		}
		f.quiet(nil)
	}
	stop := make(chan struct{})
	var pings sync.WaitGroup
	pings.Go(func() { // as masters do; without them the agent registers again
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
	defer pings.Wait()
	defer close(stop)
	run("warm", 80)
	keeper := f.keeperPID()
	calm := func() census {
		var last census
		f.eventually("the figures come to rest", func() bool {
			now := f.census(keeper)
			same := now == last
			last = now
			if !same {
				time.Sleep(100 * time.Millisecond)
			}
			return same
		})
		return last
	}
	before := calm()
	run("t", n)
	var after census
	f.eventually("the figures are what they were", func() bool {
		after = f.census(keeper)
		return after.mounts == before.mounts && after.groups == 0 && after.children == before.children &&
			after.agentFDs <= before.agentFDs+3 && after.keeperFDs <= before.keeperFDs+2 && after.goroutines <= before.goroutines+3
	})
	t.Logf("%d launches: before %+v, after %+v", n, before, after)
	if before.goroutines == 0 || before.agentFDs == 0 || before.keeperFDs == 0 || before.mounts == 0 {
		t.Errorf("nothing was counted: %+v", before)
	}
	// Threads are Go's to keep: as many as once waited for the disk or the kernel together,
	// which is bounded by the launches under way, not by those that were.
	if after.keeperThreads > before.keeperThreads+64 || after.agentThreads > before.agentThreads+64 {
		t.Errorf("threads: before %+v, after %+v", before, after)
	}
	if i, err := os.Stat(filepath.Join(f.cfg.RuntimeDir, "journal")); err != nil || i.Size() > 4<<20 {
		t.Errorf("the keeper's journal: %v %v", i, err)
	}
}

func ptr[T any](v T) *T { return &v }
