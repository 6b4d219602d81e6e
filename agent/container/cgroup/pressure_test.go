package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/patience"
)

// eventfds counts this process' eventfds.
func eventfds(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range all {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && strings.Contains(to, "[eventfd") {
			n++
		}
	}
	return n
}

// pressing is a driver on a real version 1 and its counts.
func pressing(t *testing.T) (*Driver, *Pressures) {
	t.Helper()
	d := real(t)
	p := d.Pressures(func(id string, err error) { t.Errorf("%s: %v", id, err) })
	if p == nil {
		t.Skip("only version 1 of the memory controller tells of pressure")
	}
	t.Cleanup(p.Close)
	return d, p
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience.For(30 * time.Second)); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// TestPressureIsCounted: a program that reads more than fits makes the kernel reclaim pages,
// and the counts of its group rise; those of its neighbour do not.
func TestPressureIsCounted(t *testing.T) {
	d, p := pressing(t)
	for _, id := range []string{"pressed", "calm"} {
		if err := d.Create(id, Limits{MemHard: 33 << 20}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := d.Destroy(id, 10*time.Second); err != nil {
				t.Error(err)
			}
		}()
		p.Watch(id)
		until(t, id+" is registered", func() bool { _, ok := p.Read(id); return ok })
	}
	if got, _ := p.Read("pressed"); got != (Pressure{}) {
		t.Errorf("before: %+v", got)
	}
	file := filepath.Join(t.TempDir(), "big")
	cmd := exec.Command("sh", "-c", "read go; while :; do head -c 150000000 /dev/zero > "+file+"; cat "+file+" > /dev/null; done")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	tell, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}()
	if err := write(d.dir("memory", "pressed"), "cgroup.procs", strconv.Itoa(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	if _, err := tell.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	var last Pressure
	until(t, "three more findings, seen by and by", func() bool {
		got, ok := p.Read("pressed")
		if !ok || got.Low < last.Low || got.Low < got.Medium || got.Medium < got.Critical {
			t.Fatalf("%+v after %+v, %v", got, last, ok)
		}
		more := got.Low >= 3 && got.Low > last.Low && last.Low > 0
		last = got
		return more
	})
	t.Logf("%+v", last)
	if got, ok := p.Read("calm"); !ok || got != (Pressure{}) {
		t.Errorf("its neighbour: %+v %v", got, ok)
	}
}

// TestPressuresCostNothingAfterwards: three descriptors for each group while it is watched,
// and none when it is forgotten, whether it was registered by then or not.
func TestPressuresCostNothingAfterwards(t *testing.T) {
	d, p := pressing(t)
	before := eventfds(t)
	const crowd = 30
	for i := range crowd {
		if err := d.Create(fmt.Sprint("g", i), Limits{}); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Destroy(fmt.Sprint("g", i), 10*time.Second) }()
		p.Watch(fmt.Sprint("g", i))
		p.Watch(fmt.Sprint("g", i)) // twice is once
	}
	until(t, "all are registered", func() bool {
		n := 0
		for i := range crowd {
			if _, ok := p.Read(fmt.Sprint("g", i)); ok {
				n++
			}
		}
		return n == crowd
	})
	if got := eventfds(t) - before; got != 3*crowd {
		t.Errorf("%d descriptors for %d groups", got, crowd)
	}
	for i := range crowd {
		p.Forget(fmt.Sprint("g", i))
		p.Watch(fmt.Sprint("g", i)) // and while it is on its way
		p.Forget(fmt.Sprint("g", i))
	}
	p.Forget("never seen")
	p.Watch("without a group") // it has ended already
	until(t, "nothing is left to do", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.working && len(p.groups) == 0
	})
	if got := eventfds(t); got != before {
		t.Errorf("%d descriptors are left", got-before)
	}
	if _, ok := p.Read("g0"); ok {
		t.Error("a group that was forgotten is told")
	}
	p.Watch("g0")
	p.Close()
	p.Watch("g1") // too late
	if got := eventfds(t); got != before {
		t.Errorf("%d descriptors are left after Close", got-before)
	}
}

// TestPressureIsNotTold by version 2 and without a memory controller, nor by a group that
// cannot be registered, which is reported.
func TestPressureIsNotTold(t *testing.T) {
	for name, layout := range map[string]Layout{
		"version 2": {V2: true, Dirs: map[string]string{"": t.TempDir()}},
		"no memory": {Dirs: map[string]string{"cpu": t.TempDir()}},
	} {
		d := &Driver{layout: layout, root: "r", missing: []string{"memory"}}
		if layout.V2 {
			d.missing = nil
		}
		p := d.Pressures(nil)
		p.Watch("x")
		p.Forget("x")
		p.Close()
		if got, ok := p.Read("x"); p != nil || ok || got != (Pressure{}) {
			t.Errorf("%s: %+v %v", name, got, ok)
		}
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "r/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"memory.pressure_level", "cgroup.event_control"} {
		if err := os.Mkdir(filepath.Join(dir, "r/x", file), 0o755); err != nil { // of a kind that cannot be written
			t.Fatal(err)
		}
	}
	failed := make(chan error, 1)
	p := (&Driver{layout: Layout{Dirs: map[string]string{"memory": dir}}, root: "r"}).Pressures(func(_ string, err error) { failed <- err })
	defer p.Close()
	p.Watch("x")
	select {
	case err := <-failed:
		if !errors.Is(err, syscall.EISDIR) {
			t.Error(err)
		}
	case <-time.After(patience.For(10 * time.Second)):
		t.Error("nothing was reported")
	}
}
