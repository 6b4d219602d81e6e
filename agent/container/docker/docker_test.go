package docker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func TestRunsAndEnds(t *testing.T) {
	g := newRig(t, engine(t), nil)
	s := g.spec(`echo out; echo err >&2; echo "$A $MESOS_SANDBOX"; cat /mnt/mesos/sandbox/given; echo made > /mnt/mesos/sandbox/made; exit 3`, func(s *container.Spec) {
		s.Env = append(s.Env, "A=b c")
	})
	if err := os.WriteFile(filepath.Join(s.Dir, "given"), []byte("fetched\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := g.start(s)
	if p.ID != s.ID || p.Note != "a note" || p.Networks != nil {
		t.Errorf("%+v", p)
	}
	var shown []struct{ Name string }
	if err := json.Unmarshal(p.Data, &shown); err != nil || len(shown) != 1 || shown[0].Name != "/mesos-"+string(s.ID) {
		t.Errorf("data: %v %s", err, p.Data)
	}
	if e := g.exit(s.ID); !e.Known || e.Code != 3 || e.OOM != nil {
		t.Errorf("%+v", e)
	}
	if got := read(t, s, "stdout"); got != "out\nb c /mnt/mesos/sandbox\nfetched\n" {
		t.Errorf("stdout %q", got)
	}
	if got := read(t, s, "stderr"); got != "err\n" {
		t.Errorf("stderr %q", got)
	}
	if got := read(t, s, "made"); got != "made\n" {
		t.Errorf("made %q", got)
	}
}

func TestStartFails(t *testing.T) {
	g := newRig(t, engine(t), nil)
	tests := []struct {
		name   string
		change func(*container.Spec)
		text   string
		late   bool
	}{
		{"no image", func(s *container.Spec) { s.Docker.Box.Docker.Image = proto.String("127.0.0.1:1/nothing:here") }, "failed to pull image '127.0.0.1:1/nothing:here'", false},
		{"bad image", func(s *container.Spec) { s.Docker.Box.Docker.Image = proto.String("No/Such Image") }, "failed to pull image", false},
		{"port", func(s *container.Spec) {
			s.Docker.Box.Docker.Network = mesos.ContainerInfo_DockerInfo_BRIDGE.Enum()
			s.Docker.Box.Docker.PortMappings = []*mesos.ContainerInfo_DockerInfo_PortMapping{{HostPort: proto.Uint32(80), ContainerPort: proto.Uint32(80)}}
		}, "Failed to create docker run options: Port [80] not included in resources", true},
		{"network", func(s *container.Spec) {
			s.Docker.Box.Docker.Network = mesos.ContainerInfo_DockerInfo_USER.Enum()
			s.Docker.Box.NetworkInfos = []*mesos.NetworkInfo{{Name: proto.String("no-such-network")}}
		}, "Failed to run docker container: ", true},
		{"program", func(s *container.Spec) { s.Command = container.Command{Value: "/no/such/program"} }, "Failed to run docker container: ", true},
		{"parameter", func(s *container.Spec) { s.Docker.Box.Docker.Parameters = params("no-such", "x") }, "Failed to create docker run options: Unknown parameter 'no-such'", true},
	}
	for _, tt := range tests {
		s := g.spec("true", tt.change)
		_, err := g.r.Start(g.ctx, s)
		if err == nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var late *container.NotRun
		if got := asNotRun(err, &late); got != tt.late {
			t.Errorf("%s: an executor's text: %v", tt.name, got)
		}
		g.await("removal", func() bool { return !g.there(s.ID) })
		if _, err := os.Stat(g.r.file(s.ID)); !os.IsNotExist(err) {
			t.Errorf("%s: notes are left: %v", tt.name, err)
		}
	}
}

func asNotRun(err error, to **container.NotRun) bool {
	n, ok := err.(*container.NotRun)
	*to = n
	return ok
}

func TestKillWithGrace(t *testing.T) {
	g := newRig(t, engine(t), nil)
	polite := g.spec(`trap "echo bye; exit 5" TERM; echo ready; while :; do sleep 0.05; done`, nil)
	deaf := g.spec(`trap "" TERM; echo ready; while :; do sleep 0.05; done`, nil)
	short := g.spec(`trap "" TERM; echo ready; while :; do sleep 0.05; done`, nil)
	destroyed := g.spec(`trap "echo no; exit 1" TERM; echo ready; while :; do sleep 0.05; done`, nil)
	for _, s := range []container.Spec{polite, deaf, short, destroyed} {
		g.start(s)
		g.await("readiness", func() bool { return read(t, s, "stdout") == "ready\n" })
	}
	kill := func(s container.Spec, grace time.Duration) {
		if err := g.r.Kill(g.ctx, s.ID, grace); err != nil {
			t.Fatal(err)
		}
	}
	kill(polite, time.Hour)
	kill(deaf, time.Second)
	kill(short, time.Hour)
	if err := g.r.Destroy(g.ctx, destroyed.ID); err != nil {
		t.Fatal(err)
	}
	if e := g.exit(polite.ID); e.Code != 5 || read(t, polite, "stdout") != "ready\nbye\n" {
		t.Errorf("%+v %q", e, read(t, polite, "stdout"))
	}
	if e := g.exit(deaf.ID); e.Code != 137 || e.OOM != nil {
		t.Errorf("%+v", e)
	}
	if e := g.exit(destroyed.ID); e.Code != 137 {
		t.Errorf("%+v", e)
	}
	kill(short, 0) // only shortens
	if e := g.exit(short.ID); e.Code != 137 {
		t.Errorf("%+v", e)
	}
	if err := g.r.Kill(g.ctx, short.ID, 0); err == nil {
		t.Error("a kill of what is gone")
	}
}
