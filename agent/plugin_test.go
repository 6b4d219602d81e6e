package agent_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// volumePlugin is a small plugin of Docker's: each volume is a folder, which it counts the
// users of. One that mounts twice counts once, as plugins should do it.
type volumePlugin struct {
	mu    sync.Mutex // guards below
	root  string
	users map[string]int
	by    map[string]bool // volume and user
}

func (p *volumePlugin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var in struct{ Name, ID string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	out := map[string]any{"Err": ""}
	switch r.URL.Path {
	case "/Plugin.Activate":
		out["Implements"] = []string{"VolumeDriver"}
	case "/VolumeDriver.Create":
		_ = os.MkdirAll(filepath.Join(p.root, in.Name), 0o777)
	case "/VolumeDriver.Mount":
		if !p.by[in.Name+" "+in.ID] {
			p.by[in.Name+" "+in.ID] = true
			p.users[in.Name]++
		}
		out["Mountpoint"] = filepath.Join(p.root, in.Name)
	case "/VolumeDriver.Unmount":
		if p.by[in.Name+" "+in.ID] {
			delete(p.by, in.Name+" "+in.ID)
			p.users[in.Name]--
		}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (p *volumePlugin) using(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users[name]
}

// Volumes of a plugin are in the sandbox while the task runs, over kill -9 of the agent,
// and are given back when it ended, also when nobody was there to see that.
func TestPluginVolumes(t *testing.T) {
	dir, err := os.MkdirTemp("", "stoa-plugins") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "disks.sock"))
	if err != nil {
		t.Fatal(err)
	}
	plugin := &volumePlugin{root: t.TempDir(), users: map[string]int{}, by: map[string]bool{}}
	web := &http.Server{Handler: plugin}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = web.Serve(l) }()
	t.Cleanup(func() { web.Close(); <-ended })

	m := newMaster(t, 0)
	p := newProcess(t, m)
	p.cfg.Isolation, p.cfg.Disk.PluginFolders, p.cfg.Disk.PluginChown = "docker/volume", []string{dir}, true
	p.start()
	m.register("S0")
	with := func(driver, name string) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) {
			t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), Volumes: []*mesos.Volume{{
				ContainerPath: proto.String("data"), Mode: mesos.Volume_RW.Enum(), Source: &mesos.Volume_Source{
					Type: mesos.Volume_Source_DOCKER_VOLUME.Enum(), DockerVolume: &mesos.Volume_Source_DockerVolume{Driver: &driver, Name: &name}}}}}
		}
	}
	m.run(task("S0", "writer", "echo kept > data/file; until test -e data/end; do sleep 0.05; done", with("disks", "v")))
	m.expect("writer", running)
	p.eventually("the file", func() bool {
		b, err := os.ReadFile(filepath.Join(plugin.root, "v", "file"))
		return err == nil && string(b) == "kept\n"
	})
	p.stop(syscall.SIGKILL)
	p.start()
	m.reregister("S0")
	if n := plugin.using("v"); n != 1 {
		t.Errorf("%d users of the volume of a task that runs", n)
	}
	p.stop(syscall.SIGKILL)
	if err := os.WriteFile(filepath.Join(plugin.root, "v", "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for len(m.reregistrations) > 0 {
		<-m.reregistrations
	}
	p.start()
	m.reregister("S0")
	m.expect("writer", finished)
	p.eventually("the end of the use", func() bool { return plugin.using("v") == 0 })

	m.run(task("S0", "reader", "cat data/file; exit 3", with("disks", "v")))
	m.expect("reader", failed)
	if got := p.stdout("reader"); got != "kept\n" {
		t.Errorf("read %q", got)
	}
	p.eventually("the end of the use", func() bool { return plugin.using("v") == 0 })
	if os.Geteuid() == 0 { // --docker_volume_chown: the folder, not what is in it
		m.run(task("S0", "owner", "true", with("disks", "v"), func(t *mesos.TaskInfo) { t.Command.User = proto.String("nobody") }))
		m.expect("owner", failed) // it may not pass through the folders of a test
		for path, uid := range map[string]uint32{"v": 65534, "v/file": 0} {
			if info, err := os.Stat(filepath.Join(plugin.root, path)); err != nil || info.Sys().(*syscall.Stat_t).Uid != uid {
				t.Errorf("%s: %v %v", path, info, err)
			}
		}
	}
	m.run(task("S0", "stranger", "true", with("none", "v")))
	seen := m.expect("stranger", failed)
	if last := seen[len(seen)-1]; !strings.Contains(last.GetMessage(), "no plugin of this name") {
		t.Errorf("%v", last)
	}
}
