package cgroup

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/patience"
)

// TestLimitsOnThisHost sets limits on whatever this host has and reads them back
// (mesos-agent.md 7.3): the kernel takes them, and what it holds is what was meant.
func TestLimitsOnThisHost(t *testing.T) {
	d := real(t, "cpuset", "blkio", "hugetlb")
	t.Logf("version 2: %v, beside version 1: %v, missing: %v", d.V2(), d.layout.unified, d.Missing())
	if err := d.Create("c", Limits{CPUs: 0.5, Quota: 1.5, MemSoft: 40 << 20, MemHard: 64 << 20, Pids: 20}); err != nil {
		t.Fatal(err)
	}
	check := func(when string, want [][5]string) {
		t.Helper()
		for _, w := range want {
			file, text := w[1], w[2]
			if d.layout.v2(w[0]) {
				file, text = w[3], w[4]
			}
			if !d.has(w[0]) || file == "" {
				continue
			}
			raw, err := os.ReadFile(filepath.Join(d.dir(w[0], "c"), file))
			if got := strings.TrimSpace(string(raw)); err != nil || got != text {
				t.Errorf("%s: %s is %q, not %q: %v", when, file, got, text, err)
			}
		}
	}
	check("new", [][5]string{
		{"cpu", "cpu.shares", "512", "cpu.weight", "50"}, {"cpu", "cpu.cfs_quota_us", "150000", "cpu.max", "150000 100000"},
		{"memory", "memory.soft_limit_in_bytes", "41943040", "memory.low", "41943040"},
		{"memory", "memory.limit_in_bytes", "67108864", "memory.max", "67108864"},
		{"memory", "", "", "memory.oom.group", "1"},
		{"pids", "pids.max", "20", "pids.max", "20"},
	})
	if err := d.Update("c", Limits{CPUs: 2, Quota: math.Inf(1), MemSoft: 33 << 20, MemHard: 48 << 20, Pids: 30}); err != nil {
		t.Fatal(err)
	}
	check("updated", [][5]string{
		{"cpu", "cpu.shares", "2048", "cpu.weight", "200"}, {"cpu", "cpu.cfs_quota_us", "-1", "cpu.max", "max 100000"},
		{"memory", "memory.soft_limit_in_bytes", "34603008", "memory.low", "34603008"},
		{"memory", "memory.limit_in_bytes", "67108864", "memory.max", "67108864"}, // only ever raised
		{"pids", "pids.max", "30", "pids.max", "30"},
	})
	if err := d.Update("c", Limits{MemHard: math.MaxUint64, Pids: -1}); err != nil {
		t.Fatal(err)
	}
	check("without limits", [][5]string{{"memory", "", "", "memory.max", "max"}, {"pids", "pids.max", "max", "pids.max", "max"}})
	if n := d.hard("c"); n != math.MaxUint64 {
		t.Errorf("the hard limit is %d", n)
	}
	// Every controller that this host has reaches the group.
	for _, c := range d.names() {
		dir := d.dir(c, "c")
		if !d.has(c) {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			t.Errorf("%s: %v", c, err)
		}
		if name := v2Name(c); d.layout.v2(c) && name != "" && !slices.Contains(available(dir), name) {
			t.Errorf("%s is not in %v", c, available(dir))
		}
	}
	if err := d.Destroy("c", 5*time.Second); err != nil {
		t.Error(err)
	}
}

// TestUsageOnThisHost: a program that computes, stores and forks is counted, and one that
// takes too much memory is killed and named.
func TestUsageOnThisHost(t *testing.T) {
	d := real(t)
	run := func(id, text string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command("sh", "-c", "read go; "+text)
		tell, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for _, dir := range d.Join(id) {
			if err := write(dir, "cgroup.procs", strconv.Itoa(cmd.Process.Pid)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tell.Write([]byte("go\n")); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	if err := d.Create("busy", Limits{CPUs: 1, Quota: 0.2, MemHard: 64 << 20, Pids: 20}); err != nil {
		t.Fatal(err)
	}
	busy := run("busy", "sleep 1000 & while :; do :; done")
	var u Usage
	var err error
	enough := func() bool {
		return u.CPUUser+u.CPUSystem > 0 && u.Processes == 2 && u.Threads == 2 &&
			(!d.has("memory") || u.MemTotal > 0 && u.MemLimit == 64<<20 && u.Mem["rss"] > 0) && (!d.has("cpu") || u.Throttled > 0 && u.ThrottledTime > 0)
	}
	for end := time.Now().Add(patience.For(20 * time.Second)); time.Now().Before(end) && !enough(); time.Sleep(10 * time.Millisecond) {
		if u, err = d.Usage("busy"); err != nil {
			t.Fatal(err)
		}
	}
	if !enough() {
		t.Errorf("%+v", u)
	}
	t.Logf("%+v", u)
	for _, kind := range []string{"rss", "cache", "mapped", "unevictable", "kernel", "kernel tcp"} {
		if _, ok := u.Mem[kind]; !ok && d.has("memory") {
			t.Errorf("the kind %s is not told", kind)
		}
	}
	if err := d.Create("hog", Limits{CPUs: 1, MemHard: 33 << 20, Pids: 20}); err != nil {
		t.Fatal(err)
	}
	hog := run("hog", "x=0123456789abcdef; while :; do x=$x$x; done")
	if !d.has("memory") {
		_ = hog.Process.Kill()
	}
	_ = hog.Wait()
	if o := d.OOM("hog"); d.has("memory") && (o.Kills == 0 || o.Limit != 33<<20 || o.MaxUsed < 30<<20 || o.Stat == "") {
		t.Errorf("%+v", o)
	}
	if o := d.OOM("busy"); o.Kills != 0 {
		t.Errorf("its neighbour: %+v", o)
	}
	reaped := make(chan struct{})
	go func() { _ = busy.Wait(); close(reaped) }()
	for _, id := range []string{"busy", "hog"} {
		if err := d.Destroy(id, 10*time.Second); err != nil {
			t.Error(err)
		}
	}
	<-reaped
}

// delegated names the group that this process was born in and is to pass on.
const delegated = "STOA_TEST_DELEGATED"

// TestGroupOfItsOwn: where a unit's group is given to the agent with its process in it,
// that moves aside and the group takes containers.
func TestGroupOfItsOwn(t *testing.T) {
	if text := os.Getenv(delegated); text != "" {
		dir, root, _ := strings.Cut(text, " ")
		passOn(t, dir, root)
		return
	}
	layout, _ := unified(t, "hugetlb", "memory", "pids", "cpu")
	root := "stoa-test-unit-" + strconv.Itoa(os.Getpid())
	unit := filepath.Join(layout.Dirs[""], root)
	if err := os.Mkdir(unit, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := Remove(unit, 5*time.Second); err != nil {
			t.Error(err)
		}
	}()
	group, err := os.Open(unit)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestGroupOfItsOwn$", "-test.v")
	cmd.Env = append(os.Environ(), delegated+"="+layout.Dirs[""]+" "+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func passOn(t *testing.T, dir, root string) {
	layout := Layout{V2: true, Dirs: map[string]string{"": dir}}
	for _, c := range []string{"hugetlb"} {
		if slices.Contains(available(dir), c) {
			layout.extra = append(layout.extra, c)
		}
	}
	for range 2 { // an agent that starts again finds it so
		d, err := New(layout, root)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range append([]string{"cpu", "memory", "pids"}, layout.extra...) {
			if has := slices.Contains(available(dir), c); has != d.has(c) {
				t.Errorf("%s: the host has it: %v; missing are %v", c, has, d.Missing())
			}
		}
		raw, _ := os.ReadFile("/proc/self/cgroup")
		if !strings.Contains(string(raw), "0::/"+root+"/"+own+"\n") {
			t.Errorf("this process is in %s", raw)
		}
		if err := d.Create("c", Limits{CPUs: 1, MemHard: 64 << 20}); err != nil {
			t.Fatal(err)
		}
		if ids, err := d.IDs(); err != nil || !slices.Equal(ids, []string{"c"}) {
			t.Errorf("%v %v", ids, err)
		}
		if err := d.Destroy("c", time.Second); err != nil {
			t.Error(err)
		}
	}
}
