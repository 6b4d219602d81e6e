package docker

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/agent/container"
)

// TestOutputAcrossRestarts lets a container print numbers while the agent goes away, comes
// back, and finds the container ended: nothing is missing and nothing comes twice.
func TestOutputAcrossRestarts(t *testing.T) {
	g := newRig(t, engine(t), nil)
	s := g.spec(`i=0; while [ $i -lt 250 ]; do echo $i; echo e$i >&2; i=$((i+1)); sleep 0.01; done`, nil)
	g.start(s)
	lines := func() int { return strings.Count(read(t, s, "stdout"), "\n") }
	for _, n := range []int{20, 60, 120} {
		g.await("more output", func() bool { return lines() >= n })
		g.down()
		// As if the agent had been killed before it wrote down how far it had come.
		if n == 120 {
			if err := os.WriteFile(g.r.file(s.ID), position{}.text(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		g.up()
		if len(g.states) != 1 || g.states[0].ID != s.ID || g.states[0].Exit != nil || g.states[0].Note != "a note" {
			t.Fatalf("%+v", g.states)
		}
	}
	g.down()
	g.await("the end", func() bool {
		seen, err := g.e.API.ContainerInspect(g.ctx, namePrefix+string(s.ID), client.ContainerInspectOptions{})
		return err == nil && !seen.Container.State.Running
	})
	g.up()
	if len(g.states) != 1 || g.states[0].Exit == nil || g.states[0].Exit.Code != 0 {
		t.Fatalf("%+v", g.states)
	}
	g.exit(s.ID)
	for name, prefix := range map[string]string{"stdout": "", "stderr": "e"} {
		got := strings.Fields(read(t, s, name))
		for i, line := range got {
			if line != prefix+strconv.Itoa(i) {
				t.Fatalf("%s: line %d is %q", name, i, line)
			}
		}
		if len(got) != 250 {
			t.Errorf("%s: %d lines", name, len(got))
		}
	}
	// What was forgotten is not told again.
	g.down()
	g.up()
	if len(g.states) != 0 {
		t.Errorf("%+v", g.states)
	}
}

func TestLongLinesAndTerminals(t *testing.T) {
	g := newRig(t, engine(t), nil)
	long := g.spec(`head -c 100000 /dev/zero | tr '\0' x; echo; echo end`, nil)
	tty := g.spec(`test -t 1 && echo terminal; echo second`, func(s *container.Spec) { s.Docker.Box.Docker.Parameters = params("tty", "true") })
	mute := g.spec(`sleep 0.5; echo heard`, func(s *container.Spec) { s.Docker.Box.Docker.Parameters = params("log-driver", "none") })
	for _, s := range []container.Spec{long, tty, mute} {
		g.start(s)
	}
	for _, s := range []container.Spec{long, tty, mute} {
		g.exit(s.ID)
	}
	if got := read(t, long, "stdout"); got != strings.Repeat("x", 100000)+"\nend\n" {
		t.Errorf("%d bytes", len(got))
	}
	if got := read(t, tty, "stdout"); got != "terminal\r\nsecond\r\n" {
		t.Errorf("%q", got)
	}
	if got := read(t, mute, "stdout"); got != "heard\n" {
		t.Errorf("%q", got)
	}
}

func TestOutputIsRotated(t *testing.T) {
	g := newRig(t, engine(t), nil)
	s := g.spec(`i=0; while [ $i -lt 300 ]; do echo "line $i"; i=$((i+1)); sleep 0.002; done`, func(s *container.Spec) {
		s.Logs = &container.Logs{Stdout: container.Rotation{Max: 500, Files: 20, Compress: true}}
	})
	g.start(s)
	g.await("a rotation", func() bool { _, err := os.Stat(filepath.Join(s.Dir, "stdout.2.gz")); return err == nil })
	g.down()
	g.up() // the bounds are known again
	g.exit(s.ID)
	var all string
	for n := 20; n >= 1; n-- {
		f, err := os.Open(filepath.Join(s.Dir, fmt.Sprintf("stdout.%d.gz", n)))
		if err != nil {
			continue
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(z)
		f.Close()
		if err != nil || len(raw) < 500 || len(raw) > 520 {
			t.Errorf("%d: %d bytes, %v", n, len(raw), err)
		}
		all += string(raw)
	}
	all += read(t, s, "stdout")
	lines := strings.Split(strings.TrimSpace(all), "\n")
	for i, line := range lines {
		if line != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if len(lines) != 300 {
		t.Errorf("%d lines", len(lines))
	}
}
