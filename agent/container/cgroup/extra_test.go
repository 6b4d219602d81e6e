package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// real opens the host's own hierarchies, of whatever version, for groups below a root of the test's.
func real(t *testing.T, extra ...string) *Driver {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("cgroups need root")
	}
	layout, err := Detect("/sys/fs/cgroup", extra...)
	if err != nil {
		t.Skip(err)
	}
	d, err := New(layout, "stoa-test-"+strconv.Itoa(os.Getpid())+"/agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.RemoveRoot(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestExtraControllers(t *testing.T) {
	d := real(t, "cpuset", "devices", "blkio")
	if m := d.Missing(); len(m) > 0 {
		t.Skipf("missing %v", m)
	}
	null, err := DeviceAt("/dev/null", "rw")
	if err != nil || null.String() != "c 1:3 rw" {
		t.Fatal(null, err)
	}
	v2 := d.layout.v2("devices") // its program is loaded already
	if !v2 {
		d.layout.Devices = []Device{{Block: true, Major: 7, Minor: 3, Access: "r"}}
	}
	if err := d.Create("c", Limits{CPUs: 1, Pids: 20}); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(d.dir("devices", "c"), "devices.list"))
	if v2 {
		if err == nil {
			t.Errorf("version 2 lists devices: %s", list)
		}
	} else if err != nil || !strings.Contains(string(list), "b 7:3 r\n") || !strings.Contains(string(list), "c 1:3 rwm\n") || strings.Contains(string(list), "a *:*") {
		t.Errorf("devices: %s %v", list, err)
	}
	// A process born in the group has CPUs to run on, may use /dev/null, and may not open what is not listed.
	var join strings.Builder
	for _, dir := range d.Join("c") {
		join.WriteString("echo $$ > " + dir + "/cgroup.procs && ")
	}
	node := filepath.Join(t.TempDir(), "kmsg")
	text := join.String() + "mknod " + node + " c 1 11 && echo x > /dev/null && ! cat " + node + " && dd if=/dev/zero of=" + node + ".data bs=64k count=4 oflag=direct 2>/dev/null; sync"
	out, err := exec.Command("sh", "-c", text).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Operation not permitted") {
		t.Errorf("%s %v", out, err)
	}
	for _, io := range d.IO("c") {
		if io.Bytes["Write"] > 0 && io.Count["Write"] > 0 {
			t.Logf("%+v", io)
		}
	}
	if err := d.Destroy("c", 5*time.Second); err != nil {
		t.Error(err)
	}
	if ids, err := d.IDs(); err != nil || len(ids) > 0 {
		t.Errorf("left: %v %v", ids, err)
	}
}

func TestBlockCounters(t *testing.T) {
	v1 := &Driver{layout: Layout{Dirs: map[string]string{"blkio": t.TempDir()}, extra: []string{"blkio"}}, root: "r"}
	v2 := &Driver{layout: Layout{V2: true, Dirs: map[string]string{"": t.TempDir()}, extra: []string{"blkio"}}, root: "r"}
	for d, files := range map[*Driver]map[string]string{
		v1: {"blkio.throttle.io_service_bytes": "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n253:1 Read 1\nTotal 31\n", "blkio.throttle.io_serviced": "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\nodd\n"},
		v2: {"io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n253:1 rbytes=1 cost.usage=5 odd\nnonsense\n"},
	} {
		dir := d.dir("blkio", "c")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		all := d.IO("c")
		got := map[uint64]IO{}
		for _, io := range all {
			got[io.Major] = io
		}
		if len(all) != 2 || got[8].Bytes["Read"] != 10 || got[8].Bytes["Write"] != 20 || got[8].Bytes["Total"] != 30 ||
			got[8].Count["Read"] != 1 || got[8].Count["Total"] != 3 || got[253].Bytes["Read"] != 1 || got[253].Minor != 1 {
			t.Errorf("version 2 %v: %+v", d.V2(), all)
		}
	}
	if none := (&Driver{layout: Layout{Dirs: map[string]string{}}, root: "r"}).IO("c"); none != nil {
		t.Errorf("without the controller: %v", none)
	}
}

func TestDeviceAt(t *testing.T) {
	for path, access := range map[string]string{"/nowhere": "r", "/etc": "r", "/dev/null": ""} {
		if d, err := DeviceAt(path, access); err == nil {
			t.Errorf("%s %q: taken as %s", path, access, d)
		}
	}
	if d := (Device{Major: 136, Minor: -1, Access: "rwm"}); d.String() != "c 136:* rwm" {
		t.Error(d)
	}
}
