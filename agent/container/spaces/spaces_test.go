package spaces

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/tree"
)

// A process in namespaces and a root of its own is entered; another one of its number, or
// a dead one, is not.
func TestEnter(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("namespaces need root")
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	pid := cmd.Process.Pid
	stat, err := tree.Read(pid)
	if err != nil {
		t.Fatal(err)
	}
	spacesOf := func(dir string) string {
		var out []string
		for _, k := range kinds {
			link, err := os.Readlink(dir + k.name)
			if err != nil {
				t.Error(err)
			}
			out = append(out, link)
		}
		return strings.Join(out, " ")
	}
	want := spacesOf(fmt.Sprintf("/proc/%d/ns/", pid))
	OnThread(func() {
		if err := Enter(pid, stat.Start); err != nil {
			t.Error(err)
			return
		}
		child, err := exec.Command("readlink", "/proc/self/ns/ipc", "/proc/self/ns/uts", "/proc/self/ns/net", "/proc/self/ns/cgroup", "/proc/self/ns/pid", "/proc/self/ns/mnt").Output()
		if got := strings.Join(strings.Fields(string(child)), " "); err != nil || got != want {
			t.Errorf("got  %s %v\nwant %s", got, err, want)
		}
	})
	own := spacesOf("/proc/self/ns/")
	OnThread(func() {
		if err := Enter(pid, stat.Start, "net"); err != nil {
			t.Error(err)
		}
		a, _ := os.Readlink("/proc/thread-self/ns/net")
		b, _ := os.Readlink("/proc/thread-self/ns/mnt")
		if !strings.Contains(want, a) || !strings.Contains(own, b) {
			t.Errorf("net only: %s %s", a, b)
		}
	})
	OnThread(func() {
		if err := Enter(pid, stat.Start+1); !errors.Is(err, unix.ESRCH) {
			t.Errorf("another process: %v", err)
		}
	})
	if got := spacesOf("/proc/self/ns/"); got != own {
		t.Errorf("the process itself has moved: %s, was %s", got, own)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	OnThread(func() {
		if err := Enter(pid, stat.Start); err == nil {
			t.Error("a dead process was entered")
		}
	})
}
