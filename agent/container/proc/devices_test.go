package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cgroup"
)

// TestDevicesOfAContainer has real processes open device files: the first of a container, one
// nested in its group and one nested beside it, before and after agent and keeper are gone.
func TestDevicesOfAContainer(t *testing.T) {
	for _, h := range hierarchies(t) {
		t.Run(filepath.Base(h), func(t *testing.T) { devicesOfAContainer(t, h) })
	}
}

func devicesOfAContainer(t *testing.T, hierarchy string) {
	g := newRig(t, func(c *Config) {
		c.CgroupsHierarchy, c.Controllers = hierarchy, []string{"devices"}
		c.Devices = []cgroup.Device{{Major: 1, Minor: 11, Access: "r"}} // the kernel's log, to be read
	})
	for _, m := range g.r.groups.Missing() {
		if m == "devices" {
			t.Skipf("no devices here: %v", g.r.groups.Refused())
		}
	}
	node := func(name string, minor uint32) string {
		path := filepath.Join(g.dir, name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, minor))); err != nil {
			t.Fatal(err)
		}
		return path
	}
	kmsg, mem, zero := node("kmsg", 11), node("mem", 1), node("zero", 5)
	// It answers once for each number that it is asked.
	text := fmt.Sprintf(`n=0; while :; do
		if [ -e ask$n ]; then
			{ true <%[1]s && echo log-read; true >%[1]s && echo log-written; true <%[2]s && echo mem; true <>%[3]s && echo zero; mknod made c 1 1 && rm made && echo made; echo end; } >answer$n 2>errors
			n=$((n+1))
		else sleep 0.02; fi
	done`, kmsg, mem, zero)
	ask := func(id string, n int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(g.dir, id, fmt.Sprintf("ask%d", n)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		got := ""
		for end := time.Now().Add(20 * time.Second); !strings.HasSuffix(got, "end\n") && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
			got = g.read(id, fmt.Sprintf("answer%d", n))
		}
		if want := "log-read\nzero\nmade\nend\n"; got != want || !strings.Contains(g.read(id, "errors"), "Operation not permitted") {
			t.Errorf("%s, %d: %q, not %q; %s", id, n, got, want, g.read(id, "errors"))
		}
	}
	ids := []string{"pod", "pod.inside", "pod.beside"}
	keeperPID := 0
	for _, id := range ids {
		s := g.spec(id, text)
		if id != "pod" {
			s.Root, s.Share = "pod", id == "pod.inside"
		}
		p := g.start(s)
		keeperPID = parent(t, p.PID)
		ask(id, 0)
	}
	g.recoverAgain()
	for _, id := range ids {
		ask(id, 1)
	}
	g.r.Close()
	if err := syscall.Kill(keeperPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.recover()
	for _, id := range ids {
		ask(id, 2)
	}
	for _, id := range []string{"pod.beside", "pod.inside", "pod"} {
		if err := g.r.Destroy(g.ctx, container.ID(id)); err != nil {
			t.Error(err)
		}
		g.exits(id)
		if err := g.r.Forget(g.ctx, container.ID(id)); err != nil {
			t.Error(err)
		}
	}
}

// parent gives the process that started another one.
func parent(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var state string
	var ppid int
	if _, err := fmt.Sscan(string(raw[strings.LastIndexByte(string(raw), ')')+1:]), &state, &ppid); err != nil {
		t.Fatal(err)
	}
	return ppid
}
