package proc

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/agent/keeper"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/patience"
)

// TestMain is also the keeper's program.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "keeper" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := keeper.New(keeper.Config{Dir: strings.TrimPrefix(os.Args[2], "--runtime_dir=")},
			slog.New(slog.NewTextHandler(os.Stderr, nil))).Run(ctx)
		stop()
		if errors.Is(err, keeper.ErrRunning) {
			os.Exit(keeper.ExitRunning)
		}
		if err != nil {
			slog.Error("keeper", "error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// rig is a runtime with a keeper and a cgroup folder of its own.
type rig struct {
	t   testing.TB
	dir string
	cfg Config
	r   *Runtime
	ctx context.Context
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "proc-test-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience.For(100*time.Second))
	g := &rig{t: t, dir: dir, ctx: ctx, cfg: Config{
		RuntimeDir: filepath.Join(dir, "run"), Cgroups: true, CgroupsRoot: filepath.Base(dir),
	}}
	if change != nil {
		change(&g.cfg)
	}
	g.recover()
	t.Cleanup(func() {
		if err := g.r.Shutdown(ctx, 0); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		g.r.Close()
		if g.r.groups != nil {
			if ids, err := g.r.groups.IDs(); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("cgroups left: %v %v", ids, err)
			}
		}
		if t.Failed() {
			raw, _ := os.ReadFile(filepath.Join(g.cfg.RuntimeDir, "keeper.log"))
			t.Logf("keeper.log:\n%s", raw)
		}
		cancel()
		os.RemoveAll(dir)
	})
	return g
}

// needCgroups leaves out what only root can show.
func needCgroups(t testing.TB) {
	if os.Geteuid() != 0 {
		t.Skip("cgroups need root")
	}
	if _, err := cgroup.Detect("/sys/fs/cgroup"); err != nil {
		t.Skip(err)
	}
}

func (g *rig) recover() []container.State {
	g.t.Helper()
	g.r = New(g.cfg, slog.New(slog.DiscardHandler))
	states, err := g.r.Recover(g.ctx)
	if err != nil {
		raw, _ := os.ReadFile(filepath.Join(g.cfg.RuntimeDir, "keeper.log"))
		g.t.Fatalf("recover: %v\n%s", err, raw)
	}
	return states
}

func (g *rig) spec(id, text string) container.Spec {
	dir := filepath.Join(g.dir, id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	return container.Spec{
		ID: container.ID(id), Command: container.Command{Shell: true, Value: text}, Dir: dir,
		Env: []string{"PATH=/usr/bin:/bin"}, Limits: container.Limits{CPUs: 0.5, Memory: 64 << 20},
	}
}

func (g *rig) start(s container.Spec) container.Process {
	g.t.Helper()
	p, err := g.r.Start(g.ctx, s)
	if err != nil {
		g.t.Fatalf("start: %v", err)
	}
	return p
}

func (g *rig) exits(ids ...string) map[string]container.Exit {
	g.t.Helper()
	got := map[string]container.Exit{}
	ctx, cancel := context.WithTimeout(g.ctx, patience.For(60*time.Second))
	defer cancel()
	want := map[string]bool{}
	for _, id := range ids {
		want[id] = true
	}
	err := g.r.Watch(ctx, func(e container.Event) {
		if want[string(e.ID)] {
			got[string(e.ID)] = e.Exit
		}
		if len(got) == len(want) {
			cancel()
		}
	})
	if len(got) != len(want) {
		g.t.Fatalf("%d exits of %d: %v", len(got), len(want), err)
	}
	return got
}

func (g *rig) read(id, name string) string {
	raw, _ := os.ReadFile(filepath.Join(g.dir, id, name))
	return string(raw)
}

func (g *rig) pidIn(id, name string) int {
	g.t.Helper()
	for end := time.Now().Add(patience.For(20 * time.Second)); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if text := g.read(id, name); strings.HasSuffix(text, "\n") {
			pid, _ := strconv.Atoi(strings.TrimSpace(text))
			return pid
		}
	}
	g.t.Fatalf("%s/%s was not written", id, name)
	return 0
}

// hierarchies are those that this host has, also version 2 without controllers.
func hierarchies(t *testing.T) []string {
	needCgroups(t)
	out := []string{"/sys/fs/cgroup"}
	mounts, err := cgroup.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if m.V2 && strings.HasPrefix(m.Dir, out[0]+"/") {
			out = append(out, m.Dir)
		}
	}
	return out
}

func TestBornInItsCgroups(t *testing.T) {
	for _, h := range hierarchies(t) {
		t.Run(filepath.Base(h), func(t *testing.T) { bornInItsCgroups(t, h) })
	}
}

func bornInItsCgroups(t *testing.T, hierarchy string) {
	g := newRig(t, func(c *Config) { c.CgroupsHierarchy = hierarchy })
	g.start(g.spec("box", "cat /proc/self/cgroup"))
	if e := g.exits("box")["box"]; e.Code != 0 || !e.Known {
		t.Fatalf("%+v %s", e, g.read("box", "stderr"))
	}
	got := g.read("box", "stdout")
	want := "/" + g.cfg.CgroupsRoot + "/box"
	in := map[string]string{} // by controller; "" for version 2
	for line := range strings.Lines(got) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			for _, c := range strings.Split(f[1], ",") {
				in[c] = f[2]
			}
		}
	}
	for _, c := range []string{"cpu", "cpuacct", "memory", "freezer", "pids"} {
		at, v1 := in[c]
		if !v1 || g.r.groups.V2() { // version 2 has it, beside version 1 or alone
			at = strings.TrimSuffix(in[""], "/leaf")
		}
		if at != want {
			t.Errorf("%s: not in %s:\n%s", c, want, got)
		}
	}
	if err := g.r.Forget(g.ctx, "box"); err != nil {
		t.Fatal(err)
	}
	if ids, err := g.r.groups.IDs(); err != nil || len(ids) != 0 {
		t.Errorf("left: %v %v", ids, err)
	}
}

func TestTreeThatLeftItsSessionEnds(t *testing.T) {
	for _, h := range hierarchies(t) {
		t.Run(filepath.Base(h), func(t *testing.T) {
			g := newRig(t, func(c *Config) { c.CgroupsHierarchy = h })
			// It has left session, parent and mark.
			g.start(g.spec("box", "(setsid env -i sh -c 'trap \"\" TERM; echo $$ > pid; while :; do /bin/sleep 0.1; done' &); while [ ! -s pid ]; do sleep 0.01; done; sleep 100"))
			pid := g.pidIn("box", "pid")
			if err := g.r.Kill(g.ctx, "box", 50*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			g.exits("box")
			if s, err := tree.Read(pid); err == nil && s.State != 'Z' {
				t.Errorf("process %d lives on", pid)
			}
			if err := g.r.Forget(g.ctx, "box"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAbandonedStartLeavesNothing(t *testing.T) {
	g := newRig(t, nil)
	for i := range 20 {
		ctx, cancel := context.WithTimeout(g.ctx, time.Duration(i)*200*time.Microsecond)
		s := g.spec("x", "sleep 100")
		if _, err := g.r.Start(ctx, s); err == nil {
			if err := g.r.Destroy(g.ctx, "x"); err != nil {
				t.Fatal(err)
			}
			g.exits("x")
			if err := g.r.Forget(g.ctx, "x"); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
	}
	if tasks, err := g.r.keeper.List(g.ctx); err != nil || len(tasks) != 0 {
		t.Errorf("%v %v", tasks, err)
	}
	if g.r.groups != nil {
		if ids, err := g.r.groups.IDs(); err != nil || len(ids) != 0 {
			t.Errorf("%v %v", ids, err)
		}
	}
}

func TestAgentRestart(t *testing.T) {
	g := newRig(t, nil)
	spec := g.spec("lives", "while [ ! -e go ]; do sleep 0.02; done; exit 9")
	spec.Note = `{"task":"x"}`
	lives := g.start(spec)
	g.start(g.spec("ended", "exit 3"))
	g.exits("ended")
	// The agent dies without a word; a cgroup is left that no keeper knows.
	g.r.Close()
	if g.r.groups != nil {
		if err := g.r.groups.Create("orphan", cgroup.Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	states := g.recover()
	if len(states) != 2 {
		t.Fatalf("%+v", states)
	}
	for _, s := range states {
		switch {
		case s.ID == "lives" && s.Exit == nil && s.PID == lives.PID && s.Note == spec.Note:
		case s.ID == "ended" && s.Exit != nil && s.Exit.Code == 3:
		default:
			t.Errorf("%+v", s)
		}
	}
	if g.r.groups != nil {
		if ids, err := g.r.groups.IDs(); err != nil || len(ids) != 2 {
			t.Errorf("the orphan stays: %v %v", ids, err)
		}
	}
	if err := os.WriteFile(filepath.Join(g.dir, "lives", "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if e := g.exits("lives")["lives"]; !e.Known || e.Code != 9 {
		t.Errorf("%+v", e)
	}
	if err := errors.Join(g.r.Forget(g.ctx, "lives"), g.r.Forget(g.ctx, "ended")); err != nil {
		t.Error(err)
	}
	if states := g.recoverAgain(); len(states) != 0 {
		t.Errorf("%+v", states)
	}
}

func (g *rig) recoverAgain() []container.State {
	g.r.Close()
	return g.recover()
}

func TestRefusedSpecs(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Cgroups = false })
	tests := []struct {
		subject string
		change  func(*container.Spec)
	}{
		{"id", func(s *container.Spec) { s.ID = "../x" }},
		{"command.value", func(s *container.Spec) { s.Command.Value = "" }},
		{"user", func(s *container.Spec) { s.User = "no-such-user-here" }},
		{"cpus", func(s *container.Spec) { s.Limits.CPUs = math.NaN() }},
		{"dir", func(s *container.Spec) { s.Dir = "relative" }},
	}
	for _, tt := range tests {
		s := g.spec("x", "true")
		tt.change(&s)
		_, err := g.r.Start(g.ctx, s)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Subject != tt.subject {
			t.Errorf("%s: %v", tt.subject, err)
		}
	}
	g.start(g.spec("x", "sleep 100"))
	if _, err := g.r.Start(g.ctx, g.spec("x", "true")); fault.KindOf(err) != fault.Conflict {
		t.Errorf("same id: %v", err)
	}
}

func TestRunsAsItsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing the user needs root")
	}
	g := newRig(t, nil)
	if err := os.Chmod(g.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := g.spec("box", "id -un; id -G")
	s.User = "nobody"
	g.start(s)
	if e := g.exits("box")["box"]; e.Code != 0 {
		t.Errorf("%+v %s", e, g.read("box", "stderr"))
	}
	if got := g.read("box", "stdout"); !strings.HasPrefix(got, "nobody\n") || strings.Contains(got, " 0") || strings.HasPrefix(got, "nobody\n0") {
		t.Errorf("%q", got)
	}
}

// What ends before Start has returned is no running container afterwards.
func TestEndsBeforeStartReturns(t *testing.T) {
	g := newRig(t, nil)
	ctx, cancel := context.WithCancel(g.ctx)
	ended := make(chan container.ID, 100)
	watched := make(chan error, 1)
	go func() { watched <- g.r.Watch(ctx, func(e container.Event) { ended <- e.ID }) }()
	for i := range 100 {
		g.start(g.spec("t"+strconv.Itoa(i), "exit 0"))
	}
	for range 100 {
		select {
		case id := <-ended:
			if err := g.r.Forget(g.ctx, id); err != nil {
				t.Error(err)
			}
		case <-g.ctx.Done():
			t.Fatal(g.ctx.Err())
		}
	}
	cancel()
	<-watched
}

func TestNothingLeaks(t *testing.T) {
	g := newRig(t, nil)
	info, err := g.r.keeper.Info(g.ctx)
	if err != nil {
		t.Fatal(err)
	}
	count := func() int {
		items, err := os.ReadDir("/proc/" + strconv.Itoa(info.PID) + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(items)
	}
	round := func(n int) {
		var ids []string
		for i := range n {
			id := "t" + strconv.Itoa(i)
			g.start(g.spec(id, "exit 0"))
			ids = append(ids, id)
		}
		g.exits(ids...)
		for _, id := range ids {
			if err := g.r.Forget(g.ctx, container.ID(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	round(5)
	before := count()
	round(200)
	// The watcher's connection of the last round may still be closing.
	for end := time.Now().Add(patience.For(10 * time.Second)); count() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the keeper had %d descriptors, now %d", before, count())
		}
	}
	if g.r.groups != nil {
		if ids, err := g.r.groups.IDs(); err != nil || len(ids) != 0 {
			t.Errorf("cgroups left: %v %v", ids, err)
		}
	}
	if len(g.r.limits) != 0 || len(g.r.procs) != 0 {
		t.Errorf("remembered: %v %v", g.r.limits, g.r.procs)
	}
}
