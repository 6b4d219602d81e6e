package keeper

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/patience"
)

// killKeeper ends the keeper as a crash would.
func (s *site) killKeeper() {
	s.t.Helper()
	info, err := s.c.Info(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	s.eventually("keeper killed", func() bool { return !alive(info.PID) })
	s.eventually("connection lost", func() bool { return !s.c.conn.alive() })
}

func TestExitsAreToldUntilForgotten(t *testing.T) {
	s := newSite(t)
	s.start(s.shell("a", "exit 4"))
	s.exits("a")
	// Another client, as after an agent's crash, hears it again.
	s.c.Close()
	s.c = s.dial()
	if e := s.exits("a")["a"]; e.Status != 4<<8 {
		t.Errorf("%+v", e)
	}
	// So it does from the keeper's successor.
	s.killKeeper()
	if e := s.exits("a")["a"]; e.Status != 4<<8 {
		t.Errorf("after the keeper's death: %+v", e)
	}
	if err := s.c.Forget(s.ctx, "a"); err != nil {
		t.Fatal(err)
	}
	s.killKeeper()
	if tasks, err := s.c.List(s.ctx); err != nil || len(tasks) != 0 {
		t.Errorf("forgotten, yet %v %v", tasks, err)
	}
}

func TestKeeperIsReplaced(t *testing.T) {
	s := newSite(t)
	spec := s.shell("lives", "while [ ! -e go ]; do sleep 0.02; done; exit 5")
	spec.Note = "note"
	lives := s.start(spec)
	dies := s.start(s.shell("dies", "exec sleep 100"))
	s.killKeeper()
	if !alive(lives.PID) || !alive(dies.PID) {
		t.Fatal("tasks died with their keeper")
	}
	if err := syscall.Kill(dies.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.eventually("task gone", func() bool { return !alive(dies.PID) })
	tasks, err := s.c.List(s.ctx) // starts the successor
	if err != nil || len(tasks) != 2 {
		t.Fatalf("%v %v", tasks, err)
	}
	for _, task := range tasks {
		if task.ID == "lives" && (task.PID != lives.PID || task.Start != lives.Start || task.Note != "note" || task.Exit != nil) {
			t.Errorf("%+v, was %+v", task, lives)
		}
	}
	if e := s.exits("dies")["dies"]; !e.Lost || !strings.Contains(e.Reason, "no keeper") {
		t.Errorf("%+v", e)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// Its status is known where the kernel keeps it for those who hold a pidfd (Linux 6.15).
	if e := s.exits("lives")["lives"]; e.Lost != !keepsExits(t) || !e.Lost && e.Status != 5<<8 || e.Lost && !strings.Contains(e.Reason, "replaced") {
		t.Errorf("%+v", e)
	}
	// An adopted task can be killed like any other.
	s.start(s.shell("third", "trap '' TERM; while :; do sleep 0.1; done"))
	s.killKeeper()
	if err := s.c.Kill(s.ctx, "third", 0); err != nil {
		t.Fatal(err)
	}
	if e := s.exits("third")["third"]; e.Lost != !keepsExits(t) || !e.Lost && e.Status != 9 || !e.Stopped {
		t.Errorf("%+v", e)
	}
}

func TestClientIsKilled(t *testing.T) {
	dir, err := os.MkdirTemp("", "keeper-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The client starts the keeper, and with it a task, and says so.
	cmd := exec.Command(self, "client", dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil || string(line[:n]) != "started\n" {
		t.Fatalf("%q %v", line[:n], err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), patience.For(30*time.Second))
	defer cancel()
	c, err := Dial(ctx, ClientConfig{Dir: dir, Command: []string{"/no/such/program"}}) // it must be there already
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tasks, err := c.List(ctx)
	if err != nil || len(tasks) != 1 || tasks[0].Exit != nil || !tree.Alive(tasks[0].PID, tasks[0].Start) {
		t.Errorf("%+v %v", tasks, err)
	}
	if err := c.Shutdown(ctx, 0); err != nil {
		t.Error(err)
	}
	if len(tasks) == 1 && tree.Alive(tasks[0].PID, tasks[0].Start) {
		t.Error("the task outlived the shutdown")
	}
}

func TestDescriptorsAreNotInherited(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	// As a descriptor is that a shell has left open for its children.
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.start(s.shell("fds", "ls /proc/self/fd | wc -l"))
	s.exits("fds")
	if got := strings.TrimSpace(s.file("fds.out")); got != "4" { // the fourth is ls reading the folder
		t.Errorf("%s descriptors", got)
	}
}

func TestUnfinishedStartIsSwept(t *testing.T) {
	dir := t.TempDir()
	// What a keeper leaves that dies between fork and record: an intent, and a process
	// that carries the mark.
	j, _, _, err := openJournal(dir, bootID())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.append(entry{Op: "intent", ID: "x", Task: &Task{ID: "x"}}); err != nil {
		t.Fatal(err)
	}
	j.close()
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{tree.Mark + "=" + mark(dir, "x")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience.For(20*time.Second))
	defer cancel()
	c, err := Dial(ctx, ClientConfig{Dir: dir})
	if err != nil {
		cmd.Process.Kill()
		t.Fatal(err)
	}
	defer c.Close()
	tasks, err := c.List(ctx)
	if err != nil || len(tasks) != 0 {
		t.Errorf("%v %v", tasks, err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the orphan ended with %v", err)
	}
	if err := c.Shutdown(ctx, 0); err != nil {
		t.Error(err)
	}
}

func TestRebootEndsTasks(t *testing.T) {
	dir := t.TempDir()
	j, _, _, err := openJournal(dir, "an earlier boot")
	if err != nil {
		t.Fatal(err)
	}
	self, _ := tree.Read(os.Getpid()) // a number in use again must not be taken for the task
	if err := errors.Join(
		j.append(entry{Op: "intent", ID: "x", Task: &Task{ID: "x"}}),
		j.append(entry{Op: "start", ID: "x", Task: &Task{PID: self.PID, Start: self.Start}}),
	); err != nil {
		t.Fatal(err)
	}
	j.close()
	ctx, cancel := context.WithTimeout(context.Background(), patience.For(20*time.Second))
	defer cancel()
	c, err := Dial(ctx, ClientConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tasks, err := c.List(ctx)
	if err != nil || len(tasks) != 1 || tasks[0].Exit == nil || !tasks[0].Exit.Lost || !strings.Contains(tasks[0].Exit.Reason, "rebooted") {
		t.Errorf("%+v %v", tasks, err)
	}
	if err := c.Shutdown(ctx, 0); err != nil {
		t.Error(err)
	}
}

func TestAnotherProtocolIsSaid(t *testing.T) {
	s := newSite(t)
	cn, err := connect(s.ctx, s.dir)
	if err != nil {
		t.Fatal(err)
	}
	cn.close(errClosed)
	raw := dialRaw(t, s.dir)
	defer raw.Close()
	if err := writeFrame(raw, request{Op: "hello", Version: Version + 1}); err != nil {
		t.Fatal(err)
	}
	var r reply
	if err := readFrame(raw, &r); err != nil || fault.KindOf(r.Error.fault()) != fault.Unsupported {
		t.Errorf("%+v %v", r, err)
	}
}

func TestIdleKeeperEnds(t *testing.T) {
	k := New(Config{Dir: t.TempDir(), Idle: 10 * time.Millisecond}, discard())
	ctx, cancel := context.WithTimeout(context.Background(), patience.For(20*time.Second))
	defer cancel()
	if err := k.Run(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("%v %v", err, ctx.Err())
	}
}

// Exits hold a keeper as long as somebody can ask for them: not when its folder has vanished,
// or belongs to another keeper by now. Tasks that run hold it in any case.
func TestKeeperWithoutFolderEnds(t *testing.T) {
	for name, lose := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"another's": func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, lockName), nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(idleVariable, "20ms")
			ctx, cancel := context.WithTimeout(context.Background(), patience.For(20*time.Second))
			defer cancel()
			dir, err := os.MkdirTemp("", "keeper-test-") // short: it holds a socket
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			s := &site{t: t, dir: dir, ctx: ctx}
			s.c = s.dial()
			info, err := s.c.Info(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if alive(info.PID) {
					_ = syscall.Kill(info.PID, syscall.SIGKILL)
				}
			}()
			box := t.TempDir()
			for id, text := range map[string]string{"over": "exit 3", "runs": "until [ -e go ]; do sleep 0.01; done"} {
				if _, err := s.c.Start(ctx, Spec{ID: id, Path: "/bin/sh", Args: []string{"sh", "-c", text}, Env: []string{"PATH=/usr/bin:/bin"},
					Dir: box, Stdout: filepath.Join(box, "stdout"), Stderr: filepath.Join(box, "stderr")}); err != nil {
					t.Fatal(err)
				}
			}
			s.eventually("one has ended", func() bool {
				all, err := s.c.List(ctx)
				return err == nil && len(all) == 2 && (all[0].Exit != nil || all[1].Exit != nil)
			})
			s.c.Close()
			held := func(by string) {
				t.Helper()
				time.Sleep(100 * time.Millisecond) // it looks ten times
				if !alive(info.PID) {
					t.Fatalf("ended in spite of %s", by)
				}
			}
			held("an exit and a task")
			if err := lose(dir); err != nil {
				t.Fatal(err)
			}
			held("a task")
			if err := os.WriteFile(filepath.Join(box, "go"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			s.eventually("the keeper has ended", func() bool { return !alive(info.PID) })
			if left, err := os.ReadDir(dir); name == "another's" && (err != nil || len(left) != 1) {
				t.Errorf("it touched what is another's: %v %v", left, err)
			}
		})
	}
}

// Whoever hears of an exit may forget the task at once.
func TestForgottenAsSoonAsTold(t *testing.T) {
	k := New(Config{Dir: t.TempDir()}, discard())
	j, _, _, err := openJournal(k.cfg.Dir, k.boot)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	k.journal = j
	for i := range 300 {
		id := strconv.Itoa(i)
		one := &task{Task: Task{ID: id}, ready: make(chan struct{}), ended: make(chan struct{}), pidfd: -1}
		close(one.ready)
		k.keep(one)
		told := make(chan error, 1)
		go func() {
			for {
				k.mu.Lock()
				heard := len(k.exits) > 0
				k.mu.Unlock()
				if heard {
					told <- k.forget(id)
					return
				}
			}
		}()
		k.record(one, Exit{At: time.Now()})
		if err := <-told; err != nil {
			t.Fatalf("the %d. time: %v", i, err)
		}
	}
}
