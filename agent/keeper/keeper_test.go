package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/patience"
)

// TestMain is also the keeper's program: clients under test start this binary.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "keeper" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		dir := strings.TrimPrefix(os.Args[2], "--runtime_dir=")
		idle, _ := time.ParseDuration(os.Getenv(idleVariable))
		err := New(Config{Dir: dir, Idle: idle}, slog.New(slog.NewTextHandler(os.Stderr, nil))).Run(ctx)
		stop()
		if errors.Is(err, ErrRunning) {
			os.Exit(ExitRunning)
		}
		if err != nil {
			slog.Error("keeper", "error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "client" {
		clientMain(os.Args[2])
	}
	goleak.VerifyTestMain(m)
}

// idleVariable is Config.Idle of keepers under test.
const idleVariable = "STOA_TEST_IDLE"

// clientMain is a client that starts a task and waits to be killed.
func clientMain(dir string) {
	ctx := context.Background()
	c, err := Dial(ctx, ClientConfig{Dir: dir})
	if err == nil {
		_, err = c.Start(ctx, Spec{ID: "t", Path: "sleep", Args: []string{"sleep", "1000"}, Dir: dir,
			Env: []string{"PATH=/usr/bin:/bin"}, Stdout: dir + "/out", Stderr: dir + "/err"})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("started")
	select {}
}

// site is one keeper with a client, ended with the test.
type site struct {
	t   testing.TB
	dir string
	c   *Client
	ctx context.Context
}

func newSite(t testing.TB) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "keeper-test-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience.For(60*time.Second))
	s := &site{t: t, dir: dir, ctx: ctx}
	s.c = s.dial()
	t.Cleanup(func() {
		bg, stop := context.WithTimeout(context.Background(), patience.For(20*time.Second))
		defer stop()
		info, err := s.c.Info(bg)
		if err := errors.Join(err, s.c.Shutdown(bg, 0)); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		s.c.Close()
		s.eventually("keeper gone", func() bool { return !alive(info.PID) })
		cancel()
		if t.Failed() {
			raw, _ := os.ReadFile(filepath.Join(dir, "keeper.log"))
			t.Logf("keeper.log:\n%s", raw)
		}
		os.RemoveAll(dir)
	})
	return s
}

func (s *site) dial() *Client {
	s.t.Helper()
	c, err := Dial(s.ctx, ClientConfig{Dir: s.dir})
	if err != nil {
		raw, _ := os.ReadFile(filepath.Join(s.dir, "keeper.log"))
		s.t.Fatalf("%v\n%s", err, raw)
	}
	return c
}

func alive(pid int) bool {
	st, err := tree.Read(pid)
	return err == nil && st.State != 'Z' && st.State != 'X'
}

// eventually waits for a condition that the kernel makes true, with a far deadline.
func (s *site) eventually(what string, f func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience.For(20 * time.Second)); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// shell makes a spec for a shell text.
func (s *site) shell(id, text string) Spec {
	return Spec{
		ID: id, Path: "/bin/sh", Args: []string{"sh", "-c", text}, Dir: s.dir,
		Env:    []string{"PATH=/usr/bin:/bin", "A=b"},
		Stdout: filepath.Join(s.dir, id+".out"), Stderr: filepath.Join(s.dir, id+".err"),
	}
}

func (s *site) start(spec Spec) Task {
	s.t.Helper()
	task, err := s.c.Start(s.ctx, spec)
	if err != nil {
		s.t.Fatalf("start %s: %v", spec.ID, err)
	}
	return task
}

// exits collects the exits of the given tasks.
func (s *site) exits(ids ...string) map[string]Exit {
	s.t.Helper()
	want := map[string]bool{}
	for _, id := range ids {
		want[id] = true
	}
	got := map[string]Exit{}
	ctx, cancel := context.WithTimeout(s.ctx, patience.For(30*time.Second))
	defer cancel()
	err := s.c.Watch(ctx, func(e Event) {
		if want[e.Task.ID] {
			got[e.Task.ID] = *e.Task.Exit
		}
		if len(got) == len(want) {
			cancel()
		}
	})
	if len(got) != len(want) {
		s.t.Fatalf("exits %v of %v: %v", got, ids, err)
	}
	return got
}

func (s *site) file(name string) string {
	raw, _ := os.ReadFile(filepath.Join(s.dir, name))
	return string(raw)
}

// pidIn waits for a task to write a pid into a file.
func (s *site) pidIn(name string) int {
	s.t.Helper()
	pid := 0
	s.eventually(name, func() bool {
		text := s.file(name)
		pid, _ = strconv.Atoi(strings.TrimSpace(text))
		return pid > 0 && strings.HasSuffix(text, "\n")
	})
	return pid
}

func TestExitStatuses(t *testing.T) {
	s := newSite(t)
	tests := []struct {
		id, text string
		status   int
		out, err string
	}{
		{"zero", "echo hello; echo oops >&2", 0, "hello\n", "oops\n"},
		{"three", "exit 3", 3 << 8, "", ""},
		{"term", "kill -TERM $$", int(syscall.SIGTERM), "", ""},
		{"kill", "kill -KILL $$", int(syscall.SIGKILL), "", ""},
		{"env", "echo $A; pwd; ps -o sid= -p $$ | tr -d ' ' | grep -qx $$ && echo leader", 0, "b\n" + s.dir + "\nleader\n", ""},
	}
	var ids []string
	for _, tt := range tests {
		task := s.start(s.shell(tt.id, tt.text))
		if task.PID <= 0 || task.Start == 0 {
			t.Errorf("%s: %+v", tt.id, task)
		}
		ids = append(ids, tt.id)
	}
	got := s.exits(ids...)
	for _, tt := range tests {
		e := got[tt.id]
		if e.Status != tt.status || e.Lost || e.Reason != "" || e.At.IsZero() {
			t.Errorf("%s: exit %+v, want status %d", tt.id, e, tt.status)
		}
		if out := s.file(tt.id + ".out"); out != tt.out {
			t.Errorf("%s: stdout %q, want %q", tt.id, out, tt.out)
		}
		if err := s.file(tt.id + ".err"); err != tt.err {
			t.Errorf("%s: stderr %q, want %q", tt.id, err, tt.err)
		}
	}
}

func TestProgramThatCannotBeExecuted(t *testing.T) {
	s := newSite(t)
	plain := filepath.Join(s.dir, "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ id, path, says string }{
		{"missing", "/no/such/program", "Failed to execute '/no/such/program': No such file or directory\n"},
		{"unfound", "no-such-program", "Failed to execute 'no-such-program': No such file or directory\n"},
		{"forbidden", plain, "Failed to execute '" + plain + "': Permission denied\n"},
	}
	for _, tt := range tests {
		spec := s.shell(tt.id, "")
		spec.Path, spec.Args = tt.path, nil
		if task := s.start(spec); task.PID != 0 {
			t.Errorf("%s: pid %d", tt.id, task.PID)
		}
		e := s.exits(tt.id)[tt.id]
		if e.Status != 1<<8 || e.Reason == "" {
			t.Errorf("%s: %+v", tt.id, e)
		}
		if got := s.file(tt.id + ".err"); got != tt.says {
			t.Errorf("%s: stderr %q, want %q", tt.id, got, tt.says)
		}
	}
}

func TestProgramIsFoundInPathAndFolder(t *testing.T) {
	s := newSite(t)
	if err := os.WriteFile(filepath.Join(s.dir, "tool"), []byte("#!/bin/sh\necho $0 $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := s.shell("own", "")
	spec.Path, spec.Args = "tool", []string{"tool", "x"}
	s.start(spec)
	s.exits("own")
	if got := s.file("own.out"); !strings.HasSuffix(got, "tool x\n") {
		t.Errorf("stdout %q", got)
	}
}

func TestRefusals(t *testing.T) {
	s := newSite(t)
	link := filepath.Join(s.dir, "link")
	fifo := filepath.Join(s.dir, "fifo")
	if err := errors.Join(os.Symlink("/etc/passwd", link), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		change  func(*Spec)
		subject string
	}{
		{"no id", func(s *Spec) { s.ID = "" }, "id"},
		{"id with slash", func(s *Spec) { s.ID = "a/b" }, "id"},
		{"no path", func(s *Spec) { s.Path = "" }, "path"},
		{"relative dir", func(s *Spec) { s.Dir = "tmp" }, "dir"},
		{"absent dir", func(s *Spec) { s.Dir = "/no/such" }, "dir"},
		{"stdout a link", func(s *Spec) { s.Stdout = link }, "stdout"},
		{"stderr a pipe", func(s *Spec) { s.Stderr = fifo }, "stderr"},
		{"long note", func(s *Spec) { s.Note = strings.Repeat("x", 70_000) }, "note"},
		{"NUL", func(s *Spec) { s.Env = []string{"A=\x00"} }, "args"},
		{"cgroup", func(s *Spec) { s.Cgroups = []string{"../x"} }, "cgroups"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := s.shell("r", "true")
			tt.change(&spec)
			_, err := s.c.Start(s.ctx, spec)
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Subject != tt.subject {
				t.Errorf("%v, want invalid %s", err, tt.subject)
			}
		})
	}
	s.start(s.shell("twice", "sleep 100"))
	if _, err := s.c.Start(s.ctx, s.shell("twice", "true")); fault.KindOf(err) != fault.Conflict {
		t.Errorf("same id again: %v", err)
	}
	if err := s.c.Forget(s.ctx, "twice"); fault.KindOf(err) != fault.Conflict {
		t.Errorf("forget of a running task: %v", err)
	}
	if err := s.c.Signal(s.ctx, "nobody", 15); fault.KindOf(err) != fault.NotFound {
		t.Errorf("signal to nobody: %v", err)
	}
	if err := s.c.Forget(s.ctx, "nobody"); err != nil {
		t.Errorf("forget of nobody: %v", err)
	}
	if tasks, err := s.c.List(s.ctx); err != nil || len(tasks) != 1 {
		t.Errorf("left over: %v %v", tasks, err)
	}
}

func TestKillEscalates(t *testing.T) {
	s := newSite(t)
	s.start(s.shell("deaf", "trap '' TERM; echo $$ > deaf.pid; while :; do sleep 0.1; done"))
	s.pidIn("deaf.pid")
	if err := s.c.Kill(s.ctx, "deaf", time.Hour); err != nil {
		t.Fatal(err)
	}
	if !alive(s.pidIn("deaf.pid")) {
		t.Fatal("SIGTERM was not ignored")
	}
	// A longer time changes nothing, a shorter one counts from the first.
	if err := s.c.Kill(s.ctx, "deaf", 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.c.Kill(s.ctx, "deaf", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if e := s.exits("deaf")["deaf"]; e.Status != int(syscall.SIGKILL) || !e.Stopped {
		t.Errorf("%+v", e)
	}
}

func TestTreeEndsWithItsRoot(t *testing.T) {
	s := newSite(t)
	tests := []struct {
		id, text string
		end      func(id string) error
		status   int
	}{
		// The child leaves session and parent: only its mark tells whose it is.
		{"leaves", "(setsid sh -c 'echo $$ > leaves.pid; exec sleep 100' &) ; while [ ! -s leaves.pid ]; do sleep 0.01; done; exit 7", nil, 7 << 8},
		{"killed", "(setsid sh -c 'trap \"\" TERM; echo $$ > killed.pid; while :; do sleep 0.1; done' &) ; sleep 100",
			func(id string) error { return s.c.Kill(s.ctx, id, 0) }, -1},
		{"destroyed", "sh -c 'echo $$ > destroyed.pid; exec sleep 100' & wait",
			func(id string) error { return s.c.Signal(s.ctx, id, int(syscall.SIGKILL)) }, int(syscall.SIGKILL)},
	}
	for _, tt := range tests {
		t.Run(tt.id, func(t *testing.T) {
			s.start(s.shell(tt.id, tt.text))
			pid := s.pidIn(tt.id + ".pid")
			if tt.end != nil {
				if err := tt.end(tt.id); err != nil {
					t.Fatal(err)
				}
			}
			e := s.exits(tt.id)[tt.id]
			if tt.status >= 0 && e.Status != tt.status {
				t.Errorf("%+v, want status %d", e, tt.status)
			}
			if alive(pid) {
				t.Errorf("process %d lives on after the exit was told", pid)
			}
		})
	}
}

func TestSignalReachesTheWholeTree(t *testing.T) {
	s := newSite(t)
	s.start(s.shell("tree", "sh -c 'trap \"echo child >> said; exit\" TERM; echo $$ > child.pid; while :; do sleep 0.05; done' & trap 'wait; echo root >> said; exit 0' TERM; echo $$ > root.pid; wait"))
	s.pidIn("child.pid")
	s.pidIn("root.pid")
	if err := s.c.Signal(s.ctx, "tree", int(syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if e := s.exits("tree")["tree"]; !e.Stopped {
		t.Errorf("%+v", e)
	}
	if got := s.file("said"); !strings.Contains(got, "child\n") || !strings.Contains(got, "root\n") {
		t.Errorf("said %q", got)
	}
}
