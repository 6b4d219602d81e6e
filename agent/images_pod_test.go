package agent_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// A pod: each task with its own image or none, a volume that all share, and one made of
// an image.
func TestImagePod(t *testing.T) {
	h := newHub(t)
	m, p := imaging(t, imageIsolation)
	one, two := h.push(t, "one", v1.Config{}, map[string]string{"who": "one"}), h.push(t, "two", v1.Config{}, map[string]string{"who": "two"})
	shared := func(at string) string {
		return `{"container_path":"` + at + `","mode":"RW","source":{"type":"SANDBOX_PATH","sandbox_path":{"type":"PARENT","path":"data"}}}`
	}
	m.group(podExecutor("pod"), true,
		task("S0", "one", `cat /who > /shared/one; until test -s /shared/two -a -s /shared/three; do sleep 0.05; done; cat /shared/two /shared/three`, boxed(t, `"volumes":[`+shared("/shared")+`]`), inImage(one)),
		task("S0", "two", `cat /who > in/two; until test -s in/one; do sleep 0.05; done; cat in/one; ls /vol/bin/sh; cat /vol/who; touch /vol/x 2>/dev/null || echo ro`,
			boxed(t, `"volumes":[`+shared("in")+`,{"container_path":"/vol","mode":"RO","image":{"type":"DOCKER","docker":{"name":"`+one+`"}}}]`), inImage(two)),
		task("S0", "three", `test ! -e /who; cat vol/who; echo x > vol/y; echo -n three > shared/three`,
			boxed(t, `"volumes":[`+shared("shared")+`,{"container_path":"vol","mode":"RW","image":{"type":"DOCKER","docker":{"name":"`+two+`"}}}]`)))
	got := m.collect(map[string]mesos.TaskState{"one": finished, "two": finished, "three": finished})
	root := got["one"][1].GetContainerStatus().GetContainerId().GetParent().GetValue()
	for id, want := range map[string]string{"one": "twothree", "two": "one/vol/bin/sh\nonero\n", "three": "two"} {
		b, err := os.ReadFile(filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/pod/runs", root, "tasks", id, "stdout"))
		if err != nil || string(b) != want {
			t.Errorf("%s: %q %v", id, b, err)
		}
	}
	next(t, "executor's end", m.exited)
	p.gone()
	ex := podExecutor("no")
	ex.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), Mesos: &mesos.ContainerInfo_MesosInfo{
		Image: &mesos.Image{Type: mesos.Image_DOCKER.Enum(), Docker: &mesos.Image_Docker{Name: proto.String(one)}}}}
	m.group(ex, true, task("S0", "never", "true"))
	if last := m.collect(map[string]mesos.TaskState{"never": failed})["never"]; !strings.Contains(last[len(last)-1].GetMessage(), "takes no image") {
		t.Errorf("%v", last)
	}
}

// The bind backend: the image is read-only, its places for mounts are there.
func TestImageBound(t *testing.T) {
	archives := t.TempDir()
	tag, err := name.NewTag("app:1")
	if err != nil {
		t.Fatal(err)
	}
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range []string{"proc", "sys", "dev", "bin", "etc", "mnt/mesos/sandbox"} {
		if err := w.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	for name, body := range map[string]string{"bin/sh": string(box), "etc/hosts": "", "etc/hostname": "", "etc/resolv.conf": ""} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(archives+"/app:1.tar", tag, img); err != nil {
		t.Fatal(err)
	}
	m, p := imaging(t, imageIsolation, func(c *agent.Config) { c.Images.Registry, c.Images.Backend = archives, "bind" })
	m.run(task("S0", "t", "(echo x > /no) 2>/dev/null || echo read-only; echo yes > own; read a < own; echo $a", inImage("app:1")))
	m.expect("t", finished)
	if got := p.stdout("t"); got != "read-only\nyes\n" {
		t.Errorf("%q", got)
	}
	m.run(task("S0", "v", "true", boxed(t, `"volumes":[{"container_path":"/not/there","host_path":"/etc","mode":"RO"}]`), inImage("app:1")))
	if seen := m.expect("v", failed); !strings.Contains(seen[len(seen)-1].GetMessage(), "read-only file system") {
		t.Errorf("%v", seen)
	}
	p.gone()
}

// A terminal in an image: the program has it, and /dev/console is the same one.
func TestImageTerminal(t *testing.T) {
	h := newHub(t)
	m, p := imaging(t, imageIsolation)
	image := h.push(t, "app", v1.Config{}, map[string]string{})
	m.run(task("S0", "t", "test -t 1 && echo terminal; test -c /dev/console && echo console > /dev/console; sleep 0.2", boxed(t, `"tty_info":{}`), inImage(image)))
	m.expect("t", finished)
	if got := p.stdout("t"); got != "terminal\r\nconsole\r\n" {
		t.Errorf("%q", got)
	}
	p.gone()
}

// --host_path_volume_force_creation, with and without an image.
func TestHostPathIsMade(t *testing.T) {
	base := t.TempDir()
	h := newHub(t)
	m, p := imaging(t, imageIsolation, func(c *agent.Config) { c.HostPathVolumeForceCreation = "/no/such:" + base })
	image := h.push(t, "app", v1.Config{}, map[string]string{})
	m.run(task("S0", "t", "touch /v/made; touch here/too", boxed(t, `"volumes":[{"container_path":"/v","host_path":"`+base+`/a/b","mode":"RW"},
		{"container_path":"here","host_path":"`+base+`/c","mode":"RW"}]`), inImage(image)))
	m.expect("t", finished)
	m.run(task("S0", "plain", "touch x/plain", boxed(t, `"volumes":[{"container_path":"x","host_path":"`+base+`/d","mode":"RW"}]`)))
	m.expect("plain", finished)
	for _, f := range []string{"a/b/made", "c/too", "d/plain"} {
		if _, err := os.Stat(filepath.Join(base, f)); err != nil {
			t.Error(err)
		}
	}
	if err := os.Symlink("/", base+"/out"); err != nil {
		t.Fatal(err)
	}
	for id, path := range map[string]string{"out": base + "/out/tmp/stoa-test-must-not-be", "above": filepath.Dir(base) + "/stoa-test-must-not-be"} {
		m.run(task("S0", id, "true", boxed(t, `"volumes":[{"container_path":"x","host_path":"`+path+`","mode":"RW"}]`)))
		m.expect(id, failed)
		if _, err := os.Stat("/tmp/stoa-test-must-not-be"); err == nil {
			t.Errorf("%s was made", path)
		}
	}
	p.gone()
}

// A custom executor that lives in an image.
func TestImageExecutor(t *testing.T) {
	needStatic(t)
	h := newHub(t)
	m, p := imaging(t, imageIsolation)
	box := task("S0", "x", "", boxed(t, `"volumes":[{"container_path":"/opt/executor","host_path":"`+os.Args[0]+`","mode":"RO"}]`), inImage(h.push(t, "app", v1.Config{}, map[string]string{}))).Container
	info := &mesos.ExecutorInfo{
		ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}, Type: mesos.ExecutorInfo_CUSTOM.Enum(), FrameworkId: frameworkID, Container: box,
		Command: &mesos.CommandInfo{Shell: proto.Bool(false), Value: proto.String("/opt/executor"), Arguments: []string{"x", "executor"}},
	}
	m.send(&messages.RunTaskMessage{Framework: framework(), LaunchExecutor: proto.Bool(true), Task: task("S0", "t", "", func(t *mesos.TaskInfo) {
		t.Command, t.Executor, t.Data = nil, info, []byte("payload")
	})})
	if seen := m.expect("t", finished); string(seen[0].GetData()) != "payload" {
		t.Errorf("%v", seen)
	}
	m.send(&messages.ShutdownExecutorMessage{FrameworkId: frameworkID, ExecutorId: info.ExecutorId})
	next(t, "executor's end", m.exited)
	p.gone()
}
