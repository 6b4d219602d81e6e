package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/lab/patience"
)

// gated finds a version 2 hierarchy of this host, whatever controllers it has, and makes a
// driver with the program for devices there.
func gated(t *testing.T, more ...Device) *Driver {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("cgroups need root")
	}
	mounts, err := Mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if !m.V2 {
			continue
		}
		before, _ := os.ReadFile(filepath.Join(m.Dir, "cgroup.subtree_control"))
		layout := Layout{V2: true, Dirs: map[string]string{"": m.Dir}, extra: []string{"devices"}, Devices: more}
		d, err := New(layout, "stoa-gate-"+strconv.Itoa(os.Getpid())+"/agent")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.RemoveRoot(); err != nil {
				t.Error(err)
			}
			d.devs.close()
			now, _ := os.ReadFile(filepath.Join(m.Dir, "cgroup.subtree_control"))
			for _, c := range strings.Fields(string(now)) { // given back
				if !strings.Contains(string(before), c) {
					_ = os.WriteFile(filepath.Join(m.Dir, "cgroup.subtree_control"), []byte("-"+c), 0)
				}
			}
		})
		if d.Refused() != nil {
			t.Skipf("this kernel has no programs for devices: %v", d.Refused())
		}
		return d
	}
	t.Skip("no version 2 hierarchy is mounted")
	return nil
}

// attempt is one thing to do with a device file, and what came of it.
type attempt struct {
	Path  string
	Dev   Device        // of one number; Access is what is tried, "m" alone or of "rw"
	Errno syscall.Errno // filled in by the child
}

// denied tells a refusal from what a device, or none at all, answers.
func (a attempt) denied() bool { return a.Errno == syscall.EPERM }

func (a attempt) try() syscall.Errno {
	mode := uint32(unix.S_IFCHR)
	if a.Dev.Block {
		mode = unix.S_IFBLK
	}
	var err error
	if a.Dev.Access == "m" {
		if err = unix.Mknod(a.Path, mode|0o600, int(unix.Mkdev(uint32(a.Dev.Major), uint32(a.Dev.Minor)))); err == nil {
			err = os.Remove(a.Path)
		}
	} else {
		var fd int
		flags := map[string]int{"r": unix.O_RDONLY, "w": unix.O_WRONLY, "rw": unix.O_RDWR}[a.Dev.Access]
		if fd, err = unix.Open(a.Path, flags|unix.O_NONBLOCK|unix.O_NOCTTY, 0); err == nil {
			unix.Close(fd)
		}
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	return errno
}

// children is set in processes of this test that live in a group.
const children = "STOA_TEST_DEVICE_ATTEMPTS"

// TestMain lets a process of this test be the one in a group.
func TestMain(m *testing.M) {
	if file := os.Getenv(children); file != "" {
		var list []attempt
		raw, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(raw, &list)
		}
		for i := range list {
			list[i].Errno = list[i].try()
		}
		if err == nil {
			raw, _ = json.Marshal(list)
			err = os.WriteFile(file, raw, 0o600)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// inGroup makes the attempts from a process that is born in a group of version 2, or moved
// into those of version 1.
func inGroup(t *testing.T, dirs []string, list []attempt) []attempt {
	t.Helper()
	file := filepath.Join(t.TempDir(), "attempts")
	raw, _ := json.Marshal(list)
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	if len(dirs) == 1 && IsV2(dirs[0]) {
		group, err := os.Open(dirs[0])
		if err != nil {
			t.Fatal(err)
		}
		defer group.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	} else {
		text := ""
		for _, d := range dirs {
			text += "echo $$ > " + d + "/cgroup.procs && "
		}
		cmd = exec.Command("/bin/sh", "-c", text+"exec "+exe)
	}
	cmd.Env = append(os.Environ(), children+"="+file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if raw, err = os.ReadFile(file); err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// node makes a device file for attempts to open.
func node(t *testing.T, dir string, d Device) string {
	t.Helper()
	path := filepath.Join(dir, strings.ReplaceAll(d.String(), " ", "-"))
	mode := uint32(unix.S_IFCHR)
	if d.Block {
		mode = unix.S_IFBLK
	}
	if err := unix.Mknod(path, mode|0o600, int(unix.Mkdev(uint32(d.Major), uint32(d.Minor)))); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	return path
}

// loaded lists which of these programs the kernel has.
func loaded(t *testing.T, ids ...ebpf.ProgramID) (out []ebpf.ProgramID) {
	t.Helper()
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if id = next; slices.Contains(ids, id) {
			out = append(out, id)
		}
	}
}

// programOf gives the number of a driver's program.
func programOf(t *testing.T, d *Driver) ebpf.ProgramID {
	t.Helper()
	info, err := d.devs.program.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, ok := info.ID()
	if !ok {
		t.Fatal("the program has no number")
	}
	return id
}

// TestDevicesOnVersion2 opens real devices from within a group and from one nested beside it:
// the usual ones and those of the flag can be used, others be made but not opened. The rule
// goes on without the driver that made it, and goes with its groups.
func TestDevicesOnVersion2(t *testing.T) {
	kmsg := Device{Major: 1, Minor: 11, Access: "r"}
	d := gated(t, kmsg)
	if m := d.Missing(); strings.Contains(strings.Join(m, " "), "devices") {
		t.Fatalf("missing: %v", m)
	}
	dir := t.TempDir()
	full, mem, loop := Device{Major: 1, Minor: 7}, Device{Major: 1, Minor: 1}, Device{Block: true, Major: 7, Minor: 0}
	with := func(d Device, access string) Device { d.Access = access; return d }
	list := []attempt{
		{Path: filepath.Join(dir, "made"), Dev: with(mem, "m")},
		{Path: filepath.Join(dir, "made"), Dev: with(loop, "m")},
		{Path: node(t, dir, full), Dev: with(full, "rw")},
		{Path: "/dev/null", Dev: Device{Major: 1, Minor: 3, Access: "rw"}},
		{Path: node(t, dir, kmsg), Dev: with(kmsg, "r")},
		{Path: node(t, dir, kmsg), Dev: with(kmsg, "rw")},
		{Path: node(t, dir, mem), Dev: with(mem, "r")},
		{Path: node(t, dir, loop), Dev: with(loop, "r")},
	}
	want := []bool{false, false, false, false, false, true, true, true}
	check := func(id string) {
		t.Helper()
		for i, a := range inGroup(t, d.Join(id), list) {
			if a.denied() != want[i] {
				t.Errorf("%s: %s %s: %v", id, a.Dev, a.Path, a.Errno)
			}
		}
	}
	for _, id := range []string{"pod", "pod.task"} {
		if err := d.Create(id, Limits{CPUs: 1}); err != nil {
			t.Fatal(err)
		}
		check(id)
	}
	for _, a := range list { // nothing of this is said to this process
		if a.Dev.Access != "m" && a.try() == syscall.EPERM {
			t.Errorf("outside: %s is refused", a.Dev)
		}
	}
	ids := []ebpf.ProgramID{programOf(t, d)}
	d.devs.close() // as when the agent ends
	check("pod")
	// The next agent's groups have a program of its own, those of before keep theirs.
	successor, err := New(d.layout, d.root)
	if err != nil || successor.Refused() != nil {
		t.Fatal(err, successor.Refused())
	}
	if groups, err := successor.IDs(); err != nil || strings.Join(groups, " ") != "pod pod.task" {
		t.Errorf("recovered: %v %v", groups, err)
	}
	check("pod.task")
	if err := successor.Create("pod.later", Limits{}); err != nil {
		t.Fatal(err)
	}
	ids = append(ids, programOf(t, successor))
	successor.devs.close()
	if got := loaded(t, ids...); len(got) != 2 {
		t.Errorf("of the programs %v the kernel has %v", ids, got)
	}
	for _, id := range []string{"pod.later", "pod.task", "pod"} {
		if err := successor.Destroy(id, 5*time.Second); err != nil {
			t.Error(err)
		}
	}
	for end := time.Now().Add(patience.For(10 * time.Second)); len(loaded(t, ids...)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the programs %v are left", loaded(t, ids...))
		}
	}
}

// TestDevicesOfBothVersionsAgree lets the kernel's version 1 controller and the program judge
// random accesses by random lists.
func TestDevicesOfBothVersionsAgree(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("STOA_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("STOA_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	two := gated(t)
	layout, err := Detect("/sys/fs/cgroup", "devices")
	if err != nil || layout.V2 || layout.Dirs["devices"] == "" {
		t.Skipf("no version 1 controller for devices to compare with: %v", err)
	}
	one := filepath.Join(layout.Dirs["devices"], "stoa-gate-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(one, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := Remove(one, 5*time.Second); err != nil {
			t.Error(err)
		}
	}()
	dir := t.TempDir()
	number := func(low int64) int64 { return []int64{low, low + 1, -1}[rnd.IntN(3)] }
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	refused, allowed := 0, 0
	for round := range 5 {
		var devices []Device
		for range rnd.IntN(8) { // majors for local use, which have no driver
			devices = append(devices, Device{Block: rnd.IntN(2) == 0, Major: number(60), Minor: number(0), Access: pick("r", "w", "m", "rw", "wm", "rm", "rwm")})
		}
		var list []attempt
		for _, block := range []bool{false, true} {
			for major := range int64(3) {
				for minor := range int64(3) {
					for _, access := range []string{"m", "r", "w", "rw"} {
						a := attempt{Dev: Device{Block: block, Major: 60 + major, Minor: minor, Access: access}}
						if access == "m" {
							a.Path = filepath.Join(dir, "made")
						} else {
							a.Path = node(t, dir, Device{Block: block, Major: 60 + major, Minor: minor})
						}
						list = append(list, a)
					}
				}
			}
		}
		two.devs.close()
		if err := two.devs.open(devices); err != nil {
			t.Fatalf("%v: %v", devices, err)
		}
		id := "r" + strconv.Itoa(round)
		if err := two.Create(id, Limits{}); err != nil {
			t.Fatal(err)
		}
		// The shell that moves into the group needs these itself.
		if err := write(one, "devices.deny", "a"); err != nil {
			t.Fatal(err)
		}
		for _, dev := range append(devices, Device{Major: 1, Minor: -1, Access: "rwm"}, Device{Major: 5, Minor: -1, Access: "rwm"}) {
			if err := write(one, "devices.allow", dev.String()); err != nil {
				t.Fatal(dev, err)
			}
		}
		v1, v2 := inGroup(t, []string{one}, list), inGroup(t, two.Join(id), list)
		for i := range list {
			if v1[i].denied() != v2[i].denied() {
				t.Errorf("devices %v: %s: version 1 says %v, version 2 %v", devices, list[i].Dev, v1[i].Errno, v2[i].Errno)
			}
			if v2[i].denied() {
				refused++
			} else {
				allowed++
			}
		}
		if err := two.Destroy(id, 5*time.Second); err != nil {
			t.Error(err)
		}
	}
	if refused == 0 || allowed == 0 {
		t.Errorf("%d refused, %d allowed: nothing was compared", refused, allowed)
	}
}

func TestDevicesThatNoProgramCanName(t *testing.T) {
	for _, d := range []Device{{Major: 1, Minor: 1}, {Major: 1, Minor: 1, Access: "x"}, {Major: 1 << 12, Minor: 1, Access: "r"}, {Major: 1, Minor: 1 << 20, Access: "r"}} {
		if text, err := devicesProgram([]Device{d}); err == nil {
			t.Errorf("%+v became %v", d, text)
		}
	}
	if list, err := merged([]Device{{Major: 1, Minor: 2, Access: "r"}, {Major: 1, Minor: 2, Access: "wm"}, {Block: true, Major: 1, Minor: 2, Access: "r"}}); err != nil || len(list) != 2 || list[0].Access != "rwm" {
		t.Errorf("%v %v", list, err)
	}
}
