package docker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/lab/dockerd"
	lab "github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

var (
	sharedOnce sync.Once
	shared     *dockerd.Engine
	sharedErr  error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		shared.Stop()
	}
	os.Exit(code)
}

// engine gives the engine that tests share; one that is killed belongs to its test alone.
func engine(t *testing.T) *dockerd.Engine {
	t.Helper()
	if why := dockerd.Missing(); why != "" {
		t.Skip(why)
	}
	t.Parallel() // they mostly wait for the engine
	sharedOnce.Do(func() { shared, sharedErr = dockerd.Start(dockerd.Options{}) })
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return shared
}

func ownEngine(t *testing.T, o dockerd.Options) *dockerd.Engine {
	t.Helper()
	if why := dockerd.Missing(); why != "" {
		t.Skip(why)
	}
	e, err := dockerd.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(e.Log())
		}
		e.Stop()
	})
	return e
}

// rig is a runtime on an engine, as one agent has it.
type rig struct {
	t      *testing.T
	e      *dockerd.Engine
	cfg    Config
	r      *Runtime
	ctx    context.Context
	states []container.State

	mu     sync.Mutex // guards exits
	exits  map[container.ID][]container.Exit
	stop   func()
	sanbox string
}

func newRig(t *testing.T, e *dockerd.Engine, change func(*Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), lab.For(3*time.Minute))
	t.Cleanup(cancel)
	g := &rig{t: t, e: e, ctx: ctx, cfg: Config{Socket: e.Socket, Dir: filepath.Join(dir, "state"), Owner: dir, RemoveDelay: -1}, sanbox: dir}
	if change != nil {
		change(&g.cfg)
	}
	g.up()
	t.Cleanup(func() { g.down(); g.nothingLeft() })
	return g
}

// up starts the runtime, as an agent's start does, and hears exits.
func (g *rig) up() {
	g.t.Helper()
	var err error
	level := slog.LevelWarn
	if g.r, err = New(g.cfg, slog.New(slog.NewTextHandler(testWriter{g.t}, &slog.HandlerOptions{Level: level}))); err != nil {
		g.t.Fatal(err)
	}
	if g.states, err = g.r.Recover(g.ctx); err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.exits = map[container.ID][]container.Exit{}
	g.mu.Unlock()
	ctx, cancel := context.WithCancel(g.ctx)
	done := make(chan struct{})
	r := g.r
	go func() {
		defer close(done)
		_ = r.Watch(ctx, func(ev container.Event) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.exits[ev.ID] = append(g.exits[ev.ID], ev.Exit)
		})
	}()
	g.stop = func() { cancel(); <-done; r.Close() }
}

// down lets go of the engine. Nothing is written at a stop, so it is the same as being killed.
func (g *rig) down() {
	if g.stop != nil {
		g.stop()
		g.stop = nil
	}
}

// nothingLeft removes what is still there and fails for containers that nobody forgot.
func (g *rig) nothingLeft() {
	ctx, cancel := context.WithTimeout(context.Background(), lab.For(20*time.Second))
	defer cancel()
	var all client.ContainerListResult
	for end := time.Now().Add(lab.For(10 * time.Second)); ; time.Sleep(20 * time.Millisecond) {
		var err error
		all, err = g.e.API.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", labelOwner+"="+g.cfg.Owner)})
		if err != nil {
			g.t.Errorf("list: %v", err)
		}
		if err != nil || len(all.Items) == 0 || all.Items[0].State != "removing" || time.Now().After(end) {
			break
		}
	}
	for _, c := range all.Items {
		g.t.Errorf("container is left: %v %s", c.Names, c.Status)
		_, _ = g.e.API.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

var counter struct {
	sync.Mutex
	n int
}

// spec is a task with a sandbox of its own.
func (g *rig) spec(command string, change func(*container.Spec)) container.Spec {
	g.t.Helper()
	counter.Lock()
	counter.n++
	id := fmt.Sprintf("c%d-%d", os.Getpid(), counter.n)
	counter.Unlock()
	dir := filepath.Join(g.sanbox, id)
	if err := os.Mkdir(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	for _, name := range []string{"stdout", "stderr"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			g.t.Fatal(err)
		}
	}
	s := container.Spec{
		ID: container.ID(id), Command: container.Command{Shell: true, Value: command}, Env: []string{"MESOS_SANDBOX=/mnt/mesos/sandbox"}, Dir: dir, Note: "a note",
		Docker: &container.Docker{
			Box: &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: &mesos.ContainerInfo_DockerInfo{Image: proto.String("box")}},
			Resources: []*mesos.Resource{number("cpus", 0.5), number("mem", 64),
				{Name: proto.String("ports"), Type: mesos.Value_RANGES.Enum(), Ranges: &mesos.Value_Ranges{Range: []*mesos.Value_Range{{Begin: proto.Uint64(31000), End: proto.Uint64(31009)}}}}},
		},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func number(name string, v float64) *mesos.Resource {
	return &mesos.Resource{Name: &name, Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: &v}}
}

func params(kv ...string) (out []*mesos.Parameter) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, &mesos.Parameter{Key: &kv[i], Value: &kv[i+1]})
	}
	return out
}

func (g *rig) start(s container.Spec) container.Process {
	g.t.Helper()
	p, err := g.r.Start(g.ctx, s)
	if err != nil {
		g.t.Fatalf("start: %v", err)
	}
	return p
}

// exit waits for a container's end and forgets it.
func (g *rig) exit(id container.ID) container.Exit {
	g.t.Helper()
	e := g.ended(id)
	if err := g.r.Forget(g.ctx, id); err != nil {
		g.t.Fatal(err)
	}
	g.await("its removal", func() bool { return !g.there(id) })
	return e
}

func (g *rig) ended(id container.ID) container.Exit {
	g.t.Helper()
	var e container.Exit
	g.await("the end of "+string(id), func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.exits[id]) == 0 {
			return false
		}
		e = g.exits[id][0]
		return true
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.exits[id]); n != 1 {
		g.t.Errorf("%d ends told", n)
	}
	return e
}

// there tells whether the engine has a container.
func (g *rig) there(id container.ID) bool {
	_, err := g.e.API.ContainerInspect(g.ctx, namePrefix+string(id), client.ContainerInspectOptions{})
	return err == nil
}

func (g *rig) await(what string, ok func() bool) {
	g.t.Helper()
	for end := time.Now().Add(lab.For(40 * time.Second)); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func read(t *testing.T, s container.Spec, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func contextTimeout(g *rig, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(g.ctx, d)
}
