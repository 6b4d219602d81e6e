package keeper

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/patience"
)

// keepsExits tells whether this kernel keeps the exit status of a reaped process for who
// has its pidfd.
func keepsExits(t *testing.T) bool {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "exit 3")
	pidfd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
	_ = cmd.Run()
	defer unix.Close(pidfd)
	status, ok := exitOf(pidfd)
	if ok && status != 3<<8 {
		t.Errorf("status %d of a process that exited with 3", status)
	}
	return ok
}

// build copies this test's program: another file is another build.
func (s *site) build(name string) string {
	s.t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		s.t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(s.t.TempDir(), name)
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(to, from)
	}
	if err == nil {
		err = to.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return path
}

// switchTo gives the site a client of another build.
func (s *site) switchTo(path string) error {
	s.c.Close()
	c, err := Dial(s.ctx, ClientConfig{Dir: s.dir, Command: []string{path}})
	if err == nil {
		s.c = c
	} else {
		s.c = s.dial()
	}
	return err
}

func (s *site) program() string {
	s.t.Helper()
	info, err := s.c.Info(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", info.PID))
	if err != nil {
		s.t.Fatal(err)
	}
	return path
}

// A keeper becomes the build of the client that comes, and stays the parent of its tasks.
func TestUpgrade(t *testing.T) {
	s := newSite(t)
	lives := s.start(s.shell("lives", "while [ ! -e go ]; do sleep 0.02; done; exit 5"))
	spec := s.shell("tree", "sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & exit 6")
	before, err := s.c.Info(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.start(s.shell("ended", "exit 4"))
	s.exits("ended")
	next := s.build("next")
	if err := s.switchTo(next); err != nil {
		t.Fatal(err)
	}
	after, err := s.c.Info(s.ctx)
	if err != nil || after.PID != before.PID || after.Exe == before.Exe || s.program() != next || after.Tasks != 2 {
		t.Fatalf("before %+v, after %+v %v", before, after, err)
	}
	if st, err := tree.Read(lives.PID); err != nil || st.Parent != after.PID {
		t.Errorf("the task's parent is %d, the keeper %d", st.Parent, after.PID)
	}
	if e := s.exits("ended")["ended"]; e.Status != 4<<8 {
		t.Errorf("%+v", e)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if e := s.exits("lives")["lives"]; e.Lost || e.Status != 5<<8 {
		t.Errorf("%+v", e)
	}
	// What is started now has nothing of the handover open.
	s.start(s.shell("fds", "ls -l /proc/self/fd > fds.list"))
	s.exits("fds")
	fds, err := os.ReadFile(filepath.Join(s.dir, "fds.list"))
	if err != nil || strings.Contains(string(fds), "keeper.lock") || strings.Contains(string(fds), "socket:") {
		t.Errorf("inherited: %s %v", fds, err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, handoverName)); !os.IsNotExist(err) {
		t.Errorf("the list of descriptors stays: %v", err)
	}
	// The lock went along: no second keeper may run.
	out, err := exec.Command(os.Args[0], "keeper", "--runtime_dir="+s.dir).CombinedOutput()
	if ee, ok := err.(*exec.ExitError); !ok || ee.ExitCode() != ExitRunning {
		t.Errorf("a second keeper: %v %s", err, out)
	}
	// And back, with a task whose first process has ended and whose rest resists.
	s.start(spec)
	if err := s.c.Kill(s.ctx, "tree", time.Hour); err != nil && fault.KindOf(err) != fault.NotFound {
		t.Fatal(err)
	}
	if err := s.switchTo(os.Args[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.c.Kill(s.ctx, "tree", 0); err != nil && fault.KindOf(err) != fault.NotFound {
		t.Fatal(err)
	}
	if e := s.exits("tree")["tree"]; e.Lost || e.Status != 6<<8 && e.Status != 15 {
		t.Errorf("%+v", e)
	}
}

// A kill with its time goes on in the next program, and in the successor of a keeper that
// was killed.
func TestKillGoesOn(t *testing.T) {
	for name, replace := range map[string]func(s *site){
		"upgrade": func(s *site) {
			if err := s.switchTo(s.build("next")); err != nil {
				s.t.Fatal(err)
			}
		},
		"kill -9": func(s *site) { s.killKeeper() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			task := s.start(s.shell("deaf", "trap '' TERM; echo up; while :; do sleep 0.1; done"))
			s.eventually("it ignores SIGTERM", func() bool {
				b, _ := os.ReadFile(filepath.Join(s.dir, "deaf.out"))
				return strings.Contains(string(b), "up")
			})
			began, grace := time.Now(), patience.For(2*time.Second) // longer than the change takes
			if err := s.c.Kill(s.ctx, "deaf", grace); err != nil {
				t.Fatal(err)
			}
			replace(s)
			if err := s.c.Kill(s.ctx, "deaf", time.Hour); err != nil { // never later
				t.Fatal(err)
			}
			e := s.exits("deaf")["deaf"]
			if !e.Lost && e.Status != 9 || !e.Stopped || e.At.Sub(began) < grace || alive(task.PID) {
				t.Errorf("%+v after %v", e, e.At.Sub(began))
			}
		})
	}
}

// A terminal goes along with an upgrade; with a keeper that was killed it is lost, and
// its task ends, which is told as the end of the terminal.
func TestTerminalOverChangeOfKeeper(t *testing.T) {
	s := newSite(t)
	spec := s.shell("tty", "stty -echo; echo ready; while read x; do echo got $x; done; exit 7")
	spec.Terminal = &Window{Rows: 10, Columns: 20}
	spec.Stderr = spec.Stdout
	s.start(spec)
	log := func(text string) {
		t.Helper()
		s.eventually("the log has "+text, func() bool {
			b, _ := os.ReadFile(spec.Stdout)
			return strings.Contains(string(b), text)
		})
	}
	log("ready")
	if err := s.switchTo(s.build("next")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var heard bytes.Buffer
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() {
		done <- s.c.Output(ctx, "tty", func() { close(ready) }, func(c Chunk) error {
			mu.Lock()
			defer mu.Unlock()
			heard.Write(c.Data)
			return nil
		})
	}()
	<-ready
	if err := s.c.Input(s.ctx, "tty", []byte("one\n"), false, &Window{Rows: 11, Columns: 21}); err != nil {
		t.Fatal(err)
	}
	log("got one")
	s.eventually("it is heard", func() bool { mu.Lock(); defer mu.Unlock(); return strings.Contains(heard.String(), "got one") })
	if err := s.c.Input(s.ctx, "tty", []byte{4}, false, nil); err != nil {
		t.Fatal(err)
	}
	if e := s.exits("tty")["tty"]; e.Status != 7<<8 || e.Lost || e.Switch {
		t.Errorf("%+v", e)
	}
	cancel()
	<-done
	spec.ID = "tty2"
	s.start(spec)
	s.killKeeper()
	if e := s.exits("tty2")["tty2"]; !e.Switch {
		t.Errorf("%+v", e)
	}
}

// An open session is not cut: the keeper changes when it is over.
func TestUpgradeWaitsForSessions(t *testing.T) {
	s := newSite(t)
	spec := s.shell("session", "read x; exit 0")
	spec.Session, spec.Stdout, spec.Stderr = true, "", ""
	s.start(spec)
	old := s.program()
	if err := s.switchTo(s.build("next")); err != nil {
		t.Fatal(err)
	}
	if s.program() != old {
		t.Error("the keeper changed under a session")
	}
	if err := s.c.Input(s.ctx, "session", nil, true, nil); err != nil {
		t.Fatal(err)
	}
	if e := s.exits("session")["session"]; e.Lost {
		t.Errorf("%+v", e)
	}
}

// A program that cannot be executed costs nothing: the keeper goes on as it was.
func TestUpgradeToNothing(t *testing.T) {
	s := newSite(t)
	lives := s.start(s.shell("lives", "while [ ! -e go ]; do sleep 0.02; done; exit 5"))
	spec := s.shell("tty", "stty -echo; echo ready; read x; exit 8")
	spec.Terminal, spec.Stderr = &Window{}, spec.Stdout
	s.start(spec)
	old := s.program()
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("\x7fELF and no more"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.switchTo(bad); err != nil {
		t.Fatal(err)
	}
	if s.program() != old {
		t.Errorf("the keeper runs %s", s.program())
	}
	if err := os.WriteFile(filepath.Join(s.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.c.Input(s.ctx, "tty", []byte("x\n"), false, nil); err != nil {
		t.Fatal(err)
	}
	got := s.exits("lives", "tty")
	if got["lives"].Status != 5<<8 || got["tty"].Status != 8<<8 || got["lives"].Lost || got["tty"].Lost {
		t.Errorf("%+v", got)
	}
	if st, err := tree.Read(lives.PID); err == nil && st.State != 'Z' {
		t.Errorf("%+v", st)
	}
	if err := s.switchTo(filepath.Join(s.dir, "missing")); err != nil {
		t.Errorf("a client whose own program is gone: %v", err)
	}
}

// A keeper of another protocol changes, too: the request comes before the greeting.
func TestUpgradeOfAnotherProtocol(t *testing.T) {
	s := newSite(t)
	s.start(s.shell("lives", "exec sleep 1000"))
	next := s.build("next")
	c := &Client{cfg: s.c.cfg}
	c.path, c.exe = next, ExeOf(next)
	c.cfg.Command = []string{next}
	if err := c.renew(s.ctx); err != nil {
		t.Fatal(err)
	}
	cn, err := c.successor(s.ctx, Info{})
	if err != nil {
		t.Fatal(err)
	}
	cn.close(errClosed)
	s.c.Close()
	s.c = c
	if s.program() != next {
		t.Errorf("the keeper runs %s", s.program())
	}
}
