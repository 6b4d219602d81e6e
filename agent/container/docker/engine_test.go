package docker

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	dc "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/lab/dockerd"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func bridge(s *container.Spec) {
	s.Docker.Box.Docker.Network = mesos.ContainerInfo_DockerInfo_BRIDGE.Enum()
}

func TestNetworksAndPorts(t *testing.T) {
	e := engine(t)
	g := newRig(t, e, nil)
	if _, err := e.API.NetworkCreate(g.ctx, "own", client.NetworkCreateOptions{Driver: "bridge"}); err != nil {
		t.Fatal(err)
	}
	defer e.API.NetworkRemove(g.ctx, "own", client.NetworkRemoveOptions{})
	serve := `while :; do echo hello | nc -l -p 80; done`
	bridged := g.spec(serve, func(s *container.Spec) {
		bridge(s)
		s.Docker.Box.Hostname = proto.String("named")
		s.Docker.Box.Docker.PortMappings = []*mesos.ContainerInfo_DockerInfo_PortMapping{{HostPort: proto.Uint32(31003), ContainerPort: proto.Uint32(80), Protocol: proto.String("tcp")}}
	})
	user := g.spec(`hostname; sleep 1000`, func(s *container.Spec) {
		s.Docker.Box.Docker.Network = mesos.ContainerInfo_DockerInfo_USER.Enum()
		s.Docker.Box.NetworkInfos = []*mesos.NetworkInfo{{Name: proto.String("own")}}
		s.Docker.Box.Docker.Parameters = params("network-alias", "also", "hostname", "other")
	})
	none := g.spec(`sleep 1000`, func(s *container.Spec) {
		s.Docker.Box.Docker.Network = mesos.ContainerInfo_DockerInfo_NONE.Enum()
	})
	p := g.start(bridged)
	if len(p.Networks) != 1 || len(p.Networks[0].GetIpAddresses()) != 1 || !strings.HasPrefix(p.Networks[0].GetIpAddresses()[0].GetIpAddress(), "172.") {
		t.Fatalf("networks %v", p.Networks)
	}
	g.await("the published port", func() bool {
		var said string
		err := e.Enter(func() error {
			c, err := net.DialTimeout("tcp", "127.0.0.1:31003", time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Second))
			b := make([]byte, 5)
			n, err := c.Read(b)
			said = string(b[:n])
			return err
		})
		return err == nil && said == "hello"
	})
	q := g.start(user)
	if len(q.Networks) != 1 || q.Networks[0].GetIpAddresses()[0].GetIpAddress() == p.Networks[0].GetIpAddresses()[0].GetIpAddress() {
		t.Errorf("networks %v", q.Networks)
	}
	g.await("the host name", func() bool { return read(t, user, "stdout") == "other\n" })
	if r := g.start(none); r.Networks != nil {
		t.Errorf("networks %v", r.Networks)
	}
	ns, err := g.r.Network(bridged.ID)
	if err != nil || ns != fmt.Sprintf("/proc/%d/ns/net", p.PID) {
		t.Errorf("%q %v", ns, err)
	}
	for _, s := range []container.Spec{bridged, user, none} {
		if err := g.r.Destroy(g.ctx, s.ID); err != nil {
			t.Error(err)
		}
		g.exit(s.ID)
	}
}

func TestLimitsAndMemory(t *testing.T) {
	g := newRig(t, engine(t), func(c *Config) { c.CFS = true })
	hog := g.spec(`x=$(head -c 200000000 /dev/zero | tr '\0' x)`, func(s *container.Spec) {
		s.Docker.Box.Docker.Parameters = params("memory-swap", "64m")
	})
	g.start(hog)
	if e := g.exit(hog.ID); !e.Known || e.Code != 137 || e.OOM == nil || e.OOM.Limit != 64<<20 {
		t.Errorf("%+v %+v", e, e.OOM)
	}
	idle := g.spec(`ulimit -n; exec sleep 1000`, func(s *container.Spec) {
		s.Docker.Box.Docker.Parameters = params("ulimit", "nofile=77:88", "label", "a=b", "cap-drop", "NET_RAW", "env", "X=1")
		s.Docker.Limits = map[string]*mesos.Value_Scalar{"mem": {Value: proto.Float64(128)}}
	})
	g.start(idle)
	seen, err := g.e.API.ContainerInspect(g.ctx, namePrefix+string(idle.ID), client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h := seen.Container.HostConfig
	if h.CPUShares != 512 || h.CPUQuota != 50_000 || h.Memory != 128<<20 || h.MemoryReservation != 64<<20 || h.OomScoreAdj <= 0 || h.NetworkMode != "host" || seen.Container.Config.Labels["a"] != "b" {
		t.Errorf("%+v", h)
	}
	var u *mesos.ResourceStatistics
	g.await("memory in use", func() bool {
		u, err = g.r.Usage(g.ctx, idle.ID)
		return err == nil && u.GetMemRssBytes() > 0
	})
	if u.GetCpusLimit() != 0.5 || u.GetMemLimitBytes() != 128<<20 || u.GetMemSoftLimitBytes() != 64<<20 || u.GetProcesses() != 1 || u.CpusUserTimeSecs == nil || u.NetRxBytes != nil {
		t.Errorf("%v", u)
	}
	if err := g.r.Update(g.ctx, idle.ID, container.Limits{CPUs: 2, Memory: 256 << 20}); err != nil {
		t.Error(err)
	}
	if u, err = g.r.Usage(g.ctx, idle.ID); err != nil || u.GetMemLimitBytes() != 256<<20 {
		t.Errorf("%v %v", u, err)
	}
	g.await("limits in the sandbox", func() bool { return read(t, idle, "stdout") == "77\n" })
	if err := g.r.Signal(g.ctx, idle.ID, int(syscall.SIGKILL)); err != nil {
		t.Error(err)
	}
	g.exit(idle.ID)
}

func TestCommandAndVolumes(t *testing.T) {
	g := newRig(t, engine(t), nil)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	colon := filepath.Join(dir, "a:b")
	if err := os.Mkdir(colon, 0o755); err != nil {
		t.Fatal(err)
	}
	s := g.spec("", func(s *container.Spec) {
		s.Command = container.Command{Value: "sh", Args: []string{"-c", "cat /data/f; touch /data/g 2>&1 | grep -c Read-only; echo in > rel/x; ls /colon; pwd; id -u", "ignored"}}
		s.Docker.Box.Docker.Parameters = params("workdir", "/mnt/mesos/sandbox", "user", "1000", "tmpfs", "/t:size=1m")
		s.Docker.Box.Volumes = []*mesos.Volume{
			{HostPath: &dir, ContainerPath: proto.String("/data"), Mode: mesos.Volume_RO.Enum()},
			{HostPath: proto.String("made"), ContainerPath: proto.String("/mnt/mesos/sandbox/rel"), Mode: mesos.Volume_RW.Enum()},
			{HostPath: &colon, ContainerPath: proto.String("/colon"), Mode: mesos.Volume_RW.Enum()},
		}
	})
	made := filepath.Join(s.Dir, "made")
	if err := os.Mkdir(made, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(made, 0o777); err != nil {
		t.Fatal(err)
	}
	g.start(s)
	if e := g.exit(s.ID); e.Code != 0 {
		t.Errorf("%+v %q", e, read(t, s, "stderr"))
	}
	if got := read(t, s, "stdout"); got != "host\n1\n/mnt/mesos/sandbox\n1000\n" {
		t.Errorf("%q %q", got, read(t, s, "stderr"))
	}
	if got := read(t, s, "made/x"); got != "in\n" {
		t.Errorf("%q", got)
	}
}

func TestExec(t *testing.T) {
	g := newRig(t, engine(t), nil)
	s := g.spec("sleep 1000", func(s *container.Spec) { bridge(s); s.Env = append(s.Env, "A=task") })
	g.start(s)
	for _, tt := range []struct {
		argv, env []string
		code      int
	}{
		{[]string{"/bin/sh", "-c", `test "$A$B" = taskprobe`}, []string{"B=probe"}, 0},
		{[]string{"/bin/sh", "-c", "exit 7"}, nil, 7},
		{[]string{"no-such-program"}, nil, 127},
	} {
		code, err := g.r.Exec(g.ctx, s.ID, tt.argv, tt.env, "")
		if tt.code == 127 && (err != nil || code == 126 || code == 127) {
			continue // engines differ in how they say it
		}
		if err != nil || code != tt.code {
			t.Errorf("%v: %d %v", tt.argv, code, err)
		}
	}
	began := time.Now()
	ctx, cancel := contextTimeout(g, 300*time.Millisecond)
	defer cancel()
	if _, err := g.r.Exec(ctx, s.ID, []string{"sh", "-c", "sleep 777 & sleep 778"}, nil, ""); err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("%v", err)
	}
	g.await("the probe's end", func() bool { return !sleeps(t, "777") && !sleeps(t, "778") })
	if err := g.r.Destroy(g.ctx, s.ID); err != nil {
		t.Error(err)
	}
	g.exit(s.ID)
}

// sleeps tells whether a sleep of the given length lives on this machine.
func sleeps(t *testing.T, length string) bool {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if raw, err := os.ReadFile(f); err == nil && string(raw) == "sleep\x00"+length+"\x00" {
			return true
		}
	}
	return false
}

func TestRemoveDelayAndRestartPolicy(t *testing.T) {
	g := newRig(t, engine(t), func(c *Config) { c.RemoveDelay = time.Hour })
	kept := g.spec("exit 0", nil)
	gone := g.spec("exit 0", func(s *container.Spec) { s.Docker.Box.Docker.Parameters = params("rm", "true") })
	again := g.spec("echo run; exit 4", func(s *container.Spec) { s.Docker.Box.Docker.Parameters = params("restart", "on-failure:2") })
	for _, s := range []container.Spec{kept, gone, again} {
		g.start(s)
	}
	if e := g.ended(again.ID); e.Code != 4 {
		t.Errorf("%+v", e)
	}
	g.await("three runs", func() bool { return read(t, again, "stdout") == "run\nrun\nrun\n" })
	for _, s := range []container.Spec{kept, gone, again} {
		g.ended(s.ID)
		if err := g.r.Forget(g.ctx, s.ID); err != nil {
			t.Fatal(err)
		}
	}
	g.await("removal", func() bool { return !g.there(gone.ID) })
	if !g.there(kept.ID) {
		t.Error("removed before its time")
	}
	g.down()
	g.cfg.RemoveDelay = time.Nanosecond
	g.up() // finds out by itself that they are due
	g.await("removal", func() bool { return !g.there(kept.ID) && !g.there(again.ID) })
}

// TestOthersAreLeftAlone has containers that look like ours and are not.
func TestOthersAreLeftAlone(t *testing.T) {
	g := newRig(t, engine(t), nil)
	make := func(name string, labels map[string]string) string {
		res, err := g.e.API.ContainerCreate(g.ctx, client.ContainerCreateOptions{Name: name, Config: &dc.Config{Image: "box", Cmd: []string{"sleep", "1000"}, Labels: labels}})
		if err == nil {
			_, err = g.e.API.ContainerStart(g.ctx, res.ID, client.ContainerStartOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_, _ = g.e.API.ContainerRemove(g.ctx, res.ID, client.ContainerRemoveOptions{Force: true})
		})
		return res.ID
	}
	others := []string{
		make("mesos-of-mesos", nil),
		make("mesos-of-another-agent", map[string]string{labelOwner: "/else", labelID: "of-another-agent"}),
		make("from-our-image", map[string]string{labelOwner: g.cfg.Owner, labelID: "x"}),
	}
	orphan := make("mesos-orphan", map[string]string{labelOwner: g.cfg.Owner, labelID: "orphan"})
	if err := g.r.sync(g.ctx); err != nil {
		t.Fatal(err)
	}
	g.await("the orphan's end", func() bool {
		_, err := g.e.API.ContainerInspect(g.ctx, orphan, client.ContainerInspectOptions{})
		return err != nil
	})
	for _, id := range others {
		seen, err := g.e.API.ContainerInspect(g.ctx, id, client.ContainerInspectOptions{})
		if err != nil || !seen.Container.State.Running {
			t.Errorf("%s: %v", id, err)
		}
	}
	_, _ = g.e.API.ContainerRemove(g.ctx, others[2], client.ContainerRemoveOptions{Force: true})
}

// TestEngineKilled kills the engine while containers run, with and without live-restore.
func TestEngineKilled(t *testing.T) {
	for _, live := range []bool{true, false} {
		t.Run(fmt.Sprintf("live-restore=%v", live), func(t *testing.T) {
			t.Parallel()
			e := ownEngine(t, dockerd.Options{LiveRestore: live})
			g := newRig(t, e, nil)
			long := g.spec(`trap "echo bye; exit 0" TERM; i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done`, nil)
			short := g.spec(`sleep 1; exit 6`, nil)
			p := g.start(long)
			g.start(short)
			g.await("output", func() bool { return strings.Contains(read(t, long, "stdout"), "3\n") })
			e.Kill()
			time.Sleep(1200 * time.Millisecond) // the second one ends while no engine is there
			if got := len(g.exits); got != 0 {
				t.Errorf("%d ends told without an engine", got)
			}
			if err := e.Up(); err != nil {
				t.Fatal(err)
			}
			if live {
				if x := g.exit(short.ID); !x.Known || x.Code != 6 {
					t.Errorf("%+v", x)
				}
				if st, err := tree.Read(p.PID); err != nil || st.State == 'Z' {
					t.Fatalf("its process is gone: %v", err)
				}
				if err := g.r.Kill(g.ctx, long.ID, time.Hour); err != nil {
					t.Fatal(err)
				}
				if x := g.exit(long.ID); !x.Known || x.Code != 0 {
					t.Errorf("%+v", x)
				}
				numbers(t, read(t, long, "stdout"))
				return
			}
			// What still ran was ended by the engine, and what it says of both is told.
			g.exit(short.ID)
			if x := g.exit(long.ID); !x.Known {
				t.Errorf("%+v", x)
			}
			if st, err := tree.Read(p.PID); err == nil && st.State != 'Z' {
				t.Errorf("process %d lives on", p.PID)
			}
		})
	}
}

// numbers checks that lines count up from 0, but for a last word.
func numbers(t *testing.T, text string) {
	t.Helper()
	for i, line := range strings.Fields(text) {
		if line == "bye" {
			return
		}
		if line != strconv.Itoa(i) {
			t.Errorf("line %d is %q", i, line)
			return
		}
	}
	t.Error("no last word")
}

// TestEngineKilledAnywhere kills the engine while containers are being started and ended:
// each start succeeds or fails, each that succeeded has one end, and nothing is left.
func TestEngineKilledAnywhere(t *testing.T) {
	t.Parallel()
	e := ownEngine(t, dockerd.Options{LiveRestore: true})
	g := newRig(t, e, nil)
	rounds := 1
	if os.Getenv("STOA_SOAK") != "" {
		rounds = 20
	}
	for round := range rounds {
		var specs []container.Spec
		results := make(chan error, 5)
		for range cap(results) {
			s := g.spec(`trap "exit 0" TERM; while :; do sleep 0.05; done`, nil)
			specs = append(specs, s)
			go func() {
				_, err := g.r.Start(g.ctx, s)
				if err == nil {
					err = g.r.Kill(g.ctx, s.ID, time.Second)
				}
				results <- err
			}()
		}
		time.Sleep(time.Duration(50+(round+1)*150%700) * time.Millisecond)
		e.Kill()
		if err := e.Up(); err != nil {
			t.Fatal(err)
		}
		failed := 0
		for range specs {
			if err := <-results; err != nil {
				failed++
				t.Errorf("round %d: %v", round, err)
			}
		}
		if failed > 0 {
			return
		}
		for _, s := range specs {
			if x := g.exit(s.ID); !x.Known {
				t.Errorf("%+v", x)
			}
		}
	}
	g.await("the end of every process", func() bool { return e.Shims() == 0 })
}

// TestEngineHangs stops the engine's process: nothing is told, and everything goes on after.
func TestEngineHangs(t *testing.T) {
	t.Parallel()
	e := ownEngine(t, dockerd.Options{})
	g := newRig(t, e, nil)
	s := g.spec(`sleep 1000`, nil)
	g.start(s)
	thaw := e.Freeze()
	if err := g.r.Destroy(g.ctx, s.ID); err != nil {
		t.Error(err)
	}
	time.Sleep(300 * time.Millisecond)
	thaw()
	if x := g.exit(s.ID); x.Code != 137 {
		t.Errorf("%+v", x)
	}
}

func TestNoEngine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := New(Config{Socket: filepath.Join(dir, "none.sock"), Dir: filepath.Join(dir, "state"), Owner: dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Recover(t.Context()); err == nil || !strings.Contains(err.Error(), "--docker_socket") {
		t.Errorf("%v", err)
	}
}
