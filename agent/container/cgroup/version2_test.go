package cgroup

import (
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

// unified finds a version 2 hierarchy of this host with at least one of the controllers.
func unified(t *testing.T, wanted ...string) (Layout, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("cgroups need root")
	}
	mounts, err := Mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		raw, _ := os.ReadFile(filepath.Join(m.Dir, "cgroup.controllers"))
		for _, c := range wanted {
			if m.V2 && slices.Contains(strings.Fields(string(raw)), c) {
				return Layout{V2: true, Dirs: map[string]string{"": m.Dir}, extra: []string{c}}, c
			}
		}
	}
	t.Skipf("no version 2 hierarchy has one of %v", wanted)
	return Layout{}, ""
}

// TestVersion2OnThisKernel drives a real hierarchy with a controller: it is passed on from
// folder to folder, processes are in leaves only, and a group beside another is that of a
// nested container.
func TestVersion2OnThisKernel(t *testing.T) {
	layout, controller := unified(t, "hugetlb", "memory", "pids", "cpu")
	control := filepath.Join(layout.Dirs[""], "cgroup.subtree_control")
	before, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(before)), controller) { // given back
		defer func() { _ = os.WriteFile(control, []byte("-"+controller), 0) }()
	}
	d, err := New(layout, "stoa-test-"+strconv.Itoa(os.Getpid())+"/agent")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.RemoveRoot(); err != nil {
			t.Error(err)
		}
	}()
	if !d.has(controller) {
		t.Fatalf("%s is missing: %v", controller, d.Missing())
	}
	for _, id := range []string{"root", "root.child"} {
		if err := d.Create(id, Limits{CPUs: 1}); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(d.dir("", id), "cgroup.controllers"))
		if err != nil || !slices.Contains(strings.Fields(string(raw)), controller) {
			t.Errorf("%s has the controllers %q %v", id, raw, err)
		}
	}
	start := func(id string) *exec.Cmd {
		t.Helper()
		leaf, err := os.Open(d.Join(id)[0])
		if err != nil {
			t.Fatal(err)
		}
		defer leaf.Close()
		cmd := exec.Command("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(leaf.Fd())}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	a, b := start("root"), start("root.child")
	if own, err := Procs(d.dir("", "root")); err != nil || !slices.Equal(own, []int{a.Process.Pid}) {
		t.Errorf("in root: %v %v", own, err)
	}
	// An inner group takes no process as soon as it passes a controller on.
	if err := write(d.dir("", "root"), "cgroup.subtree_control", "+"+controller); err != nil {
		t.Errorf("a group whose processes are in a leaf passes nothing on: %v", err)
	}
	if err := write(d.dir("", "root"), "cgroup.procs", strconv.Itoa(a.Process.Pid)); err == nil {
		t.Error("a process is in an inner group")
	}
	// Frozen, it stands still; thawed, it goes on.
	thaw, frozen := Freeze(d.Join("root")[0])
	if !frozen {
		t.Error("not frozen")
	}
	ticks := func(pid int) string {
		raw, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
		return f[11] + " " + f[12] // user and system time
	}
	still := ticks(a.Process.Pid)
	running := ticks(b.Process.Pid)
	for end := time.Now().Add(patience.For(10 * time.Second)); ticks(b.Process.Pid) == running && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if now := ticks(a.Process.Pid); now != still || ticks(b.Process.Pid) == running {
		t.Errorf("frozen from %q to %q; its neighbour from %q to %q", still, now, running, ticks(b.Process.Pid))
	}
	thaw()
	for _, id := range []string{"root.child", "root"} {
		cmd := map[string]*exec.Cmd{"root": a, "root.child": b}[id]
		reaped := make(chan error, 1)
		go func() { reaped <- cmd.Wait() }()
		if err := d.Destroy(id, 10*time.Second); err != nil {
			t.Error(err)
		}
		<-reaped
		if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
			t.Errorf("%s ended with %v", id, cmd.ProcessState)
		}
	}
}
