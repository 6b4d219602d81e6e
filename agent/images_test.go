package agent_test

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/agent/keeper"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// hub is a registry on loopback. Blobs wait while held is set.
type hub struct {
	server *httptest.Server
	host   string
	held   atomic.Pointer[chan struct{}]
	asked  chan struct{} // one for each blob that waits
}

func newHub(t *testing.T) *hub {
	h := &hub{asked: make(chan struct{}, 100)}
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if held := h.held.Load(); held != nil && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			h.asked <- struct{}{}
			select {
			case <-*held:
			case <-r.Context().Done():
			}
		}
		reg.ServeHTTP(w, r)
	}))
	h.host = strings.TrimPrefix(h.server.URL, "http://")
	t.Cleanup(h.server.Close)
	return h
}

// push puts an image of a static busybox and some more files there, in two layers.
func (h *hub) push(t *testing.T, repository string, config v1.Config, files map[string]string) string {
	t.Helper()
	img := busyboxImage(t, config, files)
	ref, err := name.ParseReference(h.host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return h.host + "/" + repository
}

func busyboxImage(t *testing.T, config v1.Config, files map[string]string) v1.Image {
	t.Helper()
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v: run scripts/setup", err)
	}
	img := v1.Image(empty.Image)
	low := map[string]string{"bin/busybox": string(box), "etc/passwd": "root:x:0:0::/:/bin/sh\nimager:x:4242:4243::/:/bin/sh\n", "etc/group": "extra:x:4244:imager\n", "removed": "x"}
	files[".wh.removed"] = ""
	for i, layer := range []map[string]string{low, files} {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		put := func(h *tar.Header, body string) {
			h.Size = int64(len(body))
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, body); err != nil {
				t.Fatal(err)
			}
		}
		for name, body := range layer {
			put(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755}, body)
		}
		if i == 0 {
			for _, tool := range []string{"sh", "cat", "ls", "sleep", "touch", "id", "env", "pwd", "sort", "test", "grep", "readlink", "echo", "mkdir", "wc"} {
				put(&tar.Header{Name: "bin/" + tool, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, "")
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	if img, err = mutate.Config(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

const imageIsolation = "cgroups/cpu,cgroups/mem,filesystem/linux,docker/runtime"

// imaging is an agent that may use images.
func imaging(t *testing.T, isolation string, change ...func(*agent.Config)) (*master, *process) {
	t.Helper()
	m, p := guarded(t, isolation, append([]func(*agent.Config){func(c *agent.Config) {
		c.Images = agent.Images{Providers: "docker", StoreDir: filepath.Join(c.WorkDir, "store")}
	}}, change...)...)
	t.Cleanup(func() { // before the process' own clean-up
		raw, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil || strings.Contains(string(raw), p.cfg.WorkDir) {
			t.Errorf("mounts are left on the host: %v", err)
		}
	})
	return m, p
}

// needStatic leaves out what a test binary cannot do in an image when it needs the host's
// libraries, as one with the race detector does. The program itself is always static.
func needStatic(t *testing.T) {
	t.Helper()
	f, err := elf.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if libs, err := f.ImportedLibraries(); err == nil && len(libs) > 0 {
		t.Skip("this test binary is not static")
	}
}

// gone waits until nothing is left of containers' file systems.
func (p *process) gone() {
	p.t.Helper()
	p.eventually("no container's file system is left", func() bool {
		left, _ := os.ReadDir(filepath.Join(p.cfg.WorkDir, "provisioner/containers"))
		return len(left) == 0
	})
}

func inImage(image string) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) {
		if t.Container == nil {
			t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum()}
		}
		t.Container.Mesos = &mesos.ContainerInfo_MesosInfo{Image: &mesos.Image{Type: mesos.Image_DOCKER.Enum(), Docker: &mesos.Image_Docker{Name: proto.String(image)}}}
	}
}

// mesos-agent.md 7.6, 7.7: what a command task sees in its image, its volumes, its checks
// and a session that looks into it.
func TestImageTask(t *testing.T) {
	for _, extra := range []string{"", ",namespaces/pid,namespaces/ipc,linux/seccomp,linux/nnp"} {
		t.Run("isolation"+extra, func(t *testing.T) {
			if extra != "" {
				needStatic(t)
			}
			h := newHub(t)
			m, p := imaging(t, imageIsolation+extra)
			image := h.push(t, "app:1", v1.Config{Env: []string{"COLOUR=blue", "PATH=/bin", "OWN=image"}}, map[string]string{"in-image": "here\n"})
			host := t.TempDir()
			if err := os.WriteFile(host+"/there", []byte("host volume\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			text := `pwd; cat /in-image /data/there own/f; test -e /removed || echo removed; touch /data/x 2>/dev/null || echo read-only
				echo written > made; env | grep -E '^(COLOUR|OWN|PATH|MESOS_SANDBOX)=' | sort; grep -c . /etc/resolv.conf > /dev/null && echo names
				ls /proc/self/exe > /dev/null && echo proc; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max /sys/fs/cgroup/unified/memory.max 2>/dev/null
				echo mine > /marker; touch ready; sleep 1000`
			m.run(task("S0", "t", text, boxed(t, `"volumes":[{"container_path":"/data","host_path":"`+host+`","mode":"RO"},
				{"container_path":"own","mode":"RW","host_path":"`+host+`"}]`), inImage(image), func(t *mesos.TaskInfo) {
				t.Command.Environment = &mesos.Environment{Variables: []*mesos.Environment_Variable{{Name: proto.String("OWN"), Value: proto.String("task")}}}
				t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.1), GracePeriodSeconds: proto.Float64(30),
					Command: &mesos.CommandInfo{Value: proto.String("test -e /in-image && test -e ready && test mine = $(cat /marker) && test $COLOUR = blue")}}
			}))
			if err := os.WriteFile(host+"/f", []byte("second volume\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			seen := m.expect("t", running)
			root := seen[len(seen)-1].GetContainerStatus().GetContainerId().GetValue()
			if st := m.expect("t", running)[0]; !st.GetHealthy() {
				t.Errorf("health: %v", st)
			}
			want := "/mnt/mesos/sandbox\nhere\nhost volume\nsecond volume\nremoved\nread-only\nCOLOUR=blue\nMESOS_SANDBOX=/mnt/mesos/sandbox\nOWN=task\nPATH=/bin\nnames\nproc\n67108864\n"
			if got := p.stdout("t"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			sandbox := filepath.Join(p.cfg.WorkDir, "slaves/S0/frameworks/F/executors/t/runs/latest")
			if b, err := os.ReadFile(sandbox + "/made"); err != nil || string(b) != "written\n" {
				t.Errorf("%q %v", b, err)
			}
			resp := p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+ref(root, "s")+`,"command":{"value":"pwd; cat /marker; echo $COLOUR $MESOS_SANDBOX"}}}`,
				"Accept", "application/recordio", "Message-Accept", "application/json")
			if stdout, stderr := hear(t, resp.Body); stdout != "/mnt/mesos/sandbox\nmine\nblue /mnt/mesos/sandbox\n" {
				t.Errorf("session: %q %q", stdout, stderr)
			}
			// A container that an operator nests, with an image of its own.
			p.expectAPI(200, "", `{"type":"LAUNCH_CONTAINER","launch_container":{`+ref(root, "n")+`,"command":{"value":"cat /in-image > got; test ! -e /marker"},
				"container":{"type":"MESOS","mesos":{"image":{"type":"DOCKER","docker":{"name":"`+image+`"}}}}}}`)
			p.expectAPI(200, `{"type":"WAIT_CONTAINER","wait_container":{"exit_status":0}}`, `{"type":"WAIT_CONTAINER","wait_container":{`+ref(root, "n")+`}}`)
			if b, err := os.ReadFile(filepath.Join(sandbox, "containers/n/got")); err != nil || string(b) != "here\n" {
				t.Errorf("nested: %q %v", b, err)
			}
			p.expectAPI(400, "Failed to launch container: Failed to provision image 'UPPER': image.name: UPPER: the repository \"UPPER\" must be lower case letters and digits, with '.', '_', '-' and '/' between them",
				`{"type":"LAUNCH_CONTAINER","launch_container":{`+ref(root, "bad")+`,"command":{"value":"true"},"container":{"type":"MESOS","mesos":{"image":{"type":"DOCKER","docker":{"name":"UPPER"}}}}}}`)
			timed(t, p, "containerizer/mesos/provisioner/docker_store/image_pull_ms", 1)
			m.kill("t")
			m.expect("t", killed)
			p.gone()
		})
	}
}

// Entrypoint, working directory, a user of the image, and errors that say what is wrong.
func TestImageRuntime(t *testing.T) {
	h := newHub(t)
	m, p := imaging(t, imageIsolation)
	image := h.push(t, "app", v1.Config{Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{"pwd; id -u; id -g; id -G; ls -ld . | cut -c1-10; echo $0"}, WorkingDir: "/srv/app", User: "root"},
		map[string]string{"bin/cut": "#!/bin/busybox sh\nexec /bin/busybox cut \"$@\"\n"})
	plain := func(args ...string) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) { t.Command = &mesos.CommandInfo{Shell: proto.Bool(false), Arguments: args} }
	}
	m.run(task("S0", "cmd", "", plain(), inImage(image), as("imager")))
	m.expect("cmd", finished)
	if got := p.stdout("cmd"); got != "/srv/app\n4242\n4243\n4243 4244\ndrwxr-xr-x\n/bin/sh\n" {
		t.Errorf("cmd: %q", got)
	}
	m.run(task("S0", "args", "", plain("id -u; echo $0 $1", "zero", "one"), inImage(image), as("1234")))
	m.expect("args", finished)
	if got := p.stdout("args"); got != "1234\nzero one\n" {
		t.Errorf("args: %q", got)
	}
	bare := h.push(t, "bare", v1.Config{}, map[string]string{})
	for id, c := range map[string]struct {
		change []func(*mesos.TaskInfo)
		want   string
	}{
		"nothing":  {[]func(*mesos.TaskInfo){plain(), inImage(bare)}, "there is nothing to run"},
		"no-user":  {[]func(*mesos.TaskInfo){as("stranger"), inImage(bare)}, `no user "stranger" on this host or in the image`},
		"no-image": {[]func(*mesos.TaskInfo){inImage(h.host + "/none")}, "the registry has no such image"},
		"bad-name": {[]func(*mesos.TaskInfo){inImage("UPPER CASE")}, "must be lower case"},
		"appc": {[]func(*mesos.TaskInfo){inImage(bare), func(t *mesos.TaskInfo) {
			t.Container.Mesos.Image.Type = mesos.Image_APPC.Enum()
		}}, "Unsupported container image type: APPC"},
	} {
		m.run(task("S0", id, "true", c.change...))
		seen := m.expect(id, failed)
		last := seen[len(seen)-1]
		if !strings.HasPrefix(last.GetMessage(), "Failed to launch container: ") || !strings.Contains(last.GetMessage(), c.want) || last.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED {
			t.Errorf("%s: %v", id, last)
		}
	}
	p.gone()
	p.expectAPI(200, "", `{"type":"PRUNE_IMAGES","prune_images":{"excluded_images":[{"type":"DOCKER","docker":{"name":"`+bare+`"}}]}}`)
	if left, _ := os.ReadDir(filepath.Join(p.cfg.Images.StoreDir, "images")); len(left) != 1 {
		t.Errorf("images left: %v", left)
	}
}

// kill -9 of the agent in the middle of a pull, of agent and keeper under a running
// container: no mount, no half layer, no file system of a container that is gone.
func TestImageCrash(t *testing.T) {
	h := newHub(t)
	m, p := imaging(t, imageIsolation)
	image := h.push(t, "app", v1.Config{}, map[string]string{"who": "me"})
	held := make(chan struct{})
	h.held.Store(&held)
	m.run(task("S0", "half", "sleep 1000", inImage(image)))
	<-h.asked
	p.stop(syscall.SIGKILL)
	h.held.Store(nil)
	close(held)
	p.start()
	m.reregister("S0")
	m.expect("half", mesos.TaskState_TASK_DROPPED)
	p.gone()
	if left, _ := os.ReadDir(filepath.Join(p.cfg.Images.StoreDir, "staging")); len(left) > 0 {
		t.Errorf("left of the pull: %v", left)
	}

	m.run(task("S0", "t", "echo mine > /marker; sleep 1000", inImage(image)))
	seen := m.expect("t", running)
	pid := int(seen[len(seen)-1].GetContainerStatus().GetExecutorPid())
	m.barrier() // the acknowledgement is recorded
	p.stop(syscall.SIGKILL)
	p.killKeeper()
	p.start()
	m.reregister("S0")
	m.barrier()
	root := seen[len(seen)-1].GetContainerStatus().GetContainerId().GetValue()
	resp := p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+ref(root, "s")+`,"command":{"value":"cat /marker /who"}}}`,
		"Accept", "application/recordio", "Message-Accept", "application/json")
	if stdout, stderr := hear(t, resp.Body); stdout != "mine\nme" {
		t.Errorf("session after the crash: %q %q", stdout, stderr)
	}
	if left, _ := os.ReadDir(filepath.Join(p.cfg.WorkDir, "provisioner/containers")); len(left) != 1 {
		t.Errorf("file systems: %v", left)
	}
	m.kill("t")
	m.expect("t", killed)
	p.gone()
	if alive(uint32(pid)) {
		t.Error("the task's process is left")
	}

	// Ended while nobody looked: the next agent removes what it had.
	m.run(task("S0", "ends", "sleep 1000", inImage(image)))
	seen = m.expect("ends", running)
	pid = int(seen[len(seen)-1].GetContainerStatus().GetExecutorPid())
	m.barrier()
	p.stop(syscall.SIGKILL)
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.start()
	m.reregister("S0")
	m.expect("ends", failed)
	p.gone()
}

// killKeeper kills the keeper of an agent that is gone and waits until it is dead.
func (p *process) killKeeper() {
	p.t.Helper()
	c, err := keeper.Dial(p.t.Context(), keeper.ClientConfig{Dir: p.cfg.RuntimeDir})
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	info, err := c.Info(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	pid := info.PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	p.eventually("the keeper is dead", func() bool { return !alive(uint32(pid)) })
}

// A task that is killed while its image is pulled; the download ends with it.
func TestImageKillWhilePulling(t *testing.T) {
	h := newHub(t)
	m, p := imaging(t, imageIsolation)
	image := h.push(t, "app", v1.Config{}, map[string]string{})
	held := make(chan struct{})
	h.held.Store(&held)
	defer close(held)
	m.run(task("S0", "t", "true", inImage(image)))
	<-h.asked
	m.kill("t")
	if st := m.expect("t", killed)[0]; st.GetReason() != mesos.TaskStatus_REASON_TASK_KILLED_DURING_LAUNCH {
		t.Errorf("%v", st)
	}
	p.gone()
	p.eventually("nothing of the download is left", func() bool {
		left, err := os.ReadDir(filepath.Join(p.cfg.Images.StoreDir, "staging"))
		return err == nil && len(left) == 0
	})
}

// Without the flag, and with a default for tasks that bring no container; the folder of
// archives as registry.
func TestImageFlags(t *testing.T) {
	archives := t.TempDir()
	tag, err := name.NewTag("app:1")
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("images need root")
	}
	if err := tarball.WriteToFile(archives+"/app:1.tar", tag, busyboxImage(t, v1.Config{}, map[string]string{"who": "archive"})); err != nil {
		t.Fatal(err)
	}
	var def mesos.ContainerInfo
	tmp := task("S0", "x", "", inImage("app:1"))
	proto.Merge(&def, tmp.Container)
	m, p := imaging(t, imageIsolation, func(c *agent.Config) {
		c.Images.Registry, c.Images.Backend, c.DefaultContainerInfo = archives, "copy", &def
	})
	m.run(task("S0", "t", "cat /who; echo x > /written"))
	m.expect("t", finished)
	if got := p.stdout("t"); got != "archive" {
		t.Errorf("%q", got)
	}
	p.gone()
	for _, c := range []struct {
		cfg  agent.Config
		want string
	}{
		{agent.Config{Images: agent.Images{Providers: "appc"}}, "--image_providers"},
		{agent.Config{Images: agent.Images{Providers: "docker"}}, "filesystem/linux"},
		{agent.Config{Images: agent.Images{Providers: "docker"}, Isolation: "filesystem/linux"}, "docker/runtime"},
		{agent.Config{SandboxDirectory: "relative"}, "--sandbox_directory"},
	} {
		c.cfg.Master, c.cfg.WorkDir = "127.0.0.1:1", t.TempDir()
		if _, err := agent.New(c.cfg, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
