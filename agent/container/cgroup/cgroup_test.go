package cgroup

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// fake is a folder in place of a mounted hierarchy of version 2: files are written, not obeyed.
func fake(t *testing.T) (Layout, string) {
	dir := t.TempDir()
	return Layout{V2: true, Dirs: map[string]string{"": dir}}, dir
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	items, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, i := range items {
		if !i.IsDir() {
			raw, _ := os.ReadFile(filepath.Join(dir, i.Name()))
			out[i.Name()] = string(raw)
		}
	}
	return out
}

func TestVersion2Files(t *testing.T) {
	layout, dir := fake(t)
	d, err := New(layout, "mesos/agent1")
	if err != nil || len(d.Missing()) != 0 || !d.V2() {
		t.Fatal(d, err)
	}
	tests := []struct {
		name   string
		limits Limits
		want   map[string]string
	}{
		{"request", Limits{CPUs: 0.5, MemSoft: 64 << 20, MemHard: 64 << 20, Pids: 4096},
			map[string]string{"cpu.weight": "50", "memory.low": "67108864", "memory.max": "67108864", "pids.max": "4096"}},
		{"least", Limits{CPUs: 0.001, MemSoft: 1, MemHard: 1}, map[string]string{"cpu.weight": "1", "memory.low": "33554432", "memory.max": "33554432"}},
		{"most", Limits{CPUs: 1000}, map[string]string{"cpu.weight": "10000"}},
		{"quota", Limits{CPUs: 2, Quota: 1.5}, map[string]string{"cpu.weight": "200", "cpu.max": "150000 100000"}},
		{"least quota", Limits{Quota: 0.0001}, map[string]string{"cpu.max": "1000 100000"}},
		{"revocable", Limits{CPUs: 3, Low: true}, map[string]string{"cpu.weight": "3"}},
		{"no swap", Limits{MemHard: 64 << 20, NoSwap: true}, map[string]string{"memory.max": "67108864", "memory.swap.max": "0"}},
		{"unlimited", Limits{Quota: math.Inf(1), MemHard: math.MaxUint64, Pids: -1},
			map[string]string{"cpu.max": "max 100000", "memory.max": "max", "pids.max": "max"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := strings.ReplaceAll(tt.name, " ", "-")
			if err := d.Create(id, tt.limits); err != nil {
				t.Fatal(err)
			}
			tt.want["memory.oom.group"] = "1"
			if got := files(t, filepath.Join(dir, "mesos/agent1", id)); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
			if join := d.Join(id); !reflect.DeepEqual(join, []string{filepath.Join(dir, "mesos/agent1", id, "leaf")}) {
				t.Error(join)
			}
		})
	}
	if ids, err := d.IDs(); err != nil || len(ids) != len(tests) {
		t.Error(ids, err)
	}
}

func TestVersion2Readings(t *testing.T) {
	layout, dir := fake(t)
	d, err := New(layout, "mesos")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Create("x", Limits{MemHard: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "mesos", "x")
	for name, text := range map[string]string{
		"cgroup.procs": "", "leaf/cgroup.procs": "11\n12\n", "cgroup.threads": "", "leaf/cgroup.threads": "11\n12\n13\n",
		"cpu.stat":       "usage_usec 3000000\nuser_usec 2500000\nsystem_usec 500000\nnr_periods 7\nnr_throttled 2\nthrottled_usec 100000\n",
		"memory.current": "1000\n", "memory.stat": "anon 600\nfile 300\nfile_mapped 20\n", "memory.events": "low 0\noom 1\noom_kill 2\n", "memory.peak": "67000000\n",
	} {
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	u, err := d.Usage("x")
	if err != nil || u.CPUUser != 2.5 || u.CPUSystem != 0.5 || u.Periods != 7 || u.Throttled != 2 || u.ThrottledTime != 0.1 ||
		u.MemTotal != 1000 || u.MemLimit != 64<<20 || u.Mem["rss"] != 600 || u.Processes != 2 || u.Threads != 3 {
		t.Errorf("%+v %v", u, err)
	}
	if o := d.OOM("x"); o.Kills != 2 || o.Limit != 64<<20 || o.MaxUsed != 67000000 || !strings.HasPrefix(o.Stat, "anon 600") {
		t.Errorf("%+v", o)
	}
	// Memory is only raised; a larger limit and a smaller request are taken.
	if err := errors.Join(d.Update("x", Limits{MemSoft: 40 << 20, MemHard: 40 << 20}), d.Update("x", Limits{CPUs: 1})); err != nil {
		t.Fatal(err)
	}
	got := files(t, at)
	if got["memory.max"] != "67108864" || got["memory.low"] != "41943040" || got["cpu.weight"] != "100" {
		t.Errorf("%v", got)
	}
}

func TestRootIsChecked(t *testing.T) {
	layout, _ := fake(t)
	for _, root := range []string{"", ".", "/mesos", "../x", "a/../../b"} {
		if _, err := New(layout, root); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", root, err)
		}
	}
}

const mountinfo = `25 30 0:23 / /sys rw - sysfs sysfs rw
31 25 0:28 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 31 0:31 /docker/abc /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
36 25 0:33 / /mnt/my\040groups rw - cgroup2 cgroup2 rw
broken line
`

func TestDetect(t *testing.T) {
	mounts := parseMounts(mountinfo)
	if len(mounts) != 5 {
		t.Fatalf("%+v", mounts)
	}
	none := func(string) []string { return nil }
	v1, err := detect("/sys/fs/cgroup", mounts, none)
	want := map[string]string{"cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
		"memory": "/sys/fs/cgroup/memory", "freezer": "/sys/fs/cgroup/freezer"}
	if err != nil || v1.V2 || !reflect.DeepEqual(v1.Dirs, want) {
		t.Errorf("%+v %v", v1, err)
	}
	v2, err := detect("/mnt/my groups", mounts, none)
	if err != nil || !v2.V2 || v2.Dirs[""] != "/mnt/my groups" {
		t.Errorf("%+v %v", v2, err)
	}
	// Beside version 1, version 2 is used for what it holds itself.
	mixed, err := detect("/sys/fs/cgroup", mounts, func(dir string) []string { return []string{"pids", "io", "memory", filepath.Base(dir)} }, "blkio", "cpuset", "devices")
	if err != nil || mixed.V2 || mixed.Dirs[""] != "/sys/fs/cgroup/unified" || mixed.v2("memory") || mixed.v2("cpuset") || !slices.Equal(mixed.unified, []string{"pids", "blkio", "devices"}) {
		t.Errorf("%+v %v", mixed, err)
	}
	if _, err := detect("/nowhere", mounts, none); fault.KindOf(err) != fault.Unsupported {
		t.Error(err)
	}
	// A container sees its own group at the mount's root.
	if got := mounts[2].Resolve("/docker/abc/mesos"); got != "/sys/fs/cgroup/freezer/mesos" {
		t.Error(got)
	}
}

// TestDestroyKills runs on whatever hierarchies this host really has.
func TestDestroyKills(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("cgroups need root")
	}
	mounts, err := Mounts()
	if err != nil {
		t.Fatal(err)
	}
	var layouts []Layout
	if l, err := Detect("/sys/fs/cgroup"); err == nil {
		layouts = append(layouts, l)
	}
	for _, m := range mounts {
		if m.V2 && strings.HasPrefix(m.Dir, "/sys/fs/cgroup/") {
			layouts = append(layouts, Layout{V2: true, Dirs: map[string]string{"": m.Dir}})
		}
	}
	for _, l := range layouts {
		d, err := New(l, "stoa-test-"+filepath.Base(t.TempDir())+"-"+filepath.Base(os.TempDir())+time.Now().Format("150405.000000"))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Create("x", Limits{}); err != nil {
			t.Fatal(err)
		}
		// It forks only when told to, so that its children are born in the group too.
		cmd := exec.Command("sh", "-c", "read go; trap '' TERM; sleep 100 & sleep 100")
		tell, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var fd *os.File
		if d.V2() { // born in it
			if fd, err = os.Open(d.Join("x")[0]); err != nil {
				t.Fatal(err)
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if d.V2() {
			fd.Close()
		} else {
			for _, dir := range d.Join("x") {
				if err := write(dir, "cgroup.procs", strconv.Itoa(cmd.Process.Pid)); err != nil {
					t.Error(err)
				}
			}
		}
		if _, err := tell.Write([]byte("go\n")); err != nil {
			t.Error(err)
		}
		if pids, err := d.Procs("x"); err != nil || len(pids) == 0 {
			t.Errorf("%v %v", pids, err)
		}
		if n, err := Signal(d.Join("x")[0], syscall.SIGTERM); err != nil || n == 0 {
			t.Errorf("%d %v", n, err)
		}
		reaped := make(chan struct{})
		go func() { _ = cmd.Wait(); close(reaped) }()
		if err := d.Destroy("x", 10*time.Second); err != nil {
			t.Error(err)
		}
		<-reaped
		if err := d.Destroy("x", time.Second); err != nil {
			t.Errorf("again: %v", err)
		}
		if ids, err := d.IDs(); err != nil || len(ids) != 0 {
			t.Errorf("%v %v", ids, err)
		}
		if err := d.RemoveRoot(); err != nil {
			t.Error(err)
		}
	}
}
