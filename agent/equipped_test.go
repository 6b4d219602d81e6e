package agent_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// equipped is a fragile agent whose tasks have all that there is: images, a container
// network with mapped ports, a persistent volume, one of a plugin, a secret, a URI, and
// namespaces of their own. It needs root and a network namespace of its own (see alone).
type equipped struct {
	*fragile
	hub    *hub
	plugin *volumePlugin
	uris   string   // URL of a server of files
	image  string   // one that is in the store
	temp   string   // the agent's temporary folder
	conf   string   // of the container networks
	host   []string // what the host had of links and rules before any task
	pushed int
}

// equip starts one. Its Docker containers, if any, are not its own business.
func equip(t *testing.T, change ...func(*process)) *equipped {
	t.Helper()
	e := &equipped{hub: newHub(t), temp: t.TempDir(), conf: t.TempDir()}
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "fetched") }))
	t.Cleanup(files.Close)
	e.uris = files.URL
	sockets, err := os.MkdirTemp("", "stoa-plugins") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	l, err := net.Listen("unix", filepath.Join(sockets, "disks.sock"))
	if err != nil {
		t.Fatal(err)
	}
	e.plugin = &volumePlugin{root: t.TempDir(), users: map[string]int{}, by: map[string]bool{}}
	web := &http.Server{Handler: e.plugin}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = web.Serve(l) }()
	t.Cleanup(func() { web.Close(); <-ended })
	network := `{"cniVersion":"0.4.0","name":"bridged","plugins":[{"type":"bridge","bridge":"br-crash","isGateway":true,"ipMasq":true,
		"ipam":{"type":"host-local","ranges":[[{"subnet":"10.78.0.0/16"}]],"dataDir":"` + e.conf + `/data"}},{"type":"portmap","capabilities":{"portMappings":true}}]}`
	if err := os.WriteFile(filepath.Join(e.conf, "bridged.conflist"), []byte(network), 0o644); err != nil {
		t.Fatal(err)
	}
	e.fragile = newFragile(t, append([]func(*process){func(p *process) {
		p.env = append(p.env, "TMPDIR="+e.temp)
		c := &p.cfg
		c.Isolation = imageIsolation + ",docker/volume," + confinement
		c.Images = agent.Images{Providers: "docker", StoreDir: filepath.Join(c.WorkDir, "store")}
		c.CNI.ConfigDir, c.CNI.PluginsDir = e.conf, cniPlugins
		c.Disk.PluginFolders = []string{sockets}
	}}, change...)...)
	e.fragile.left = e.left
	for _, dir := range []string{e.cfg.WorkDir, filepath.Dir(e.cfg.WorkDir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	e.image = e.fresh()
	e.carryOut("reserve", onOperation(mesos.Offer_Operation_RESERVE, held("disk", 100)))
	for i := range 10 {
		e.carryOut(fmt.Sprint("create", i), onOperation(mesos.Offer_Operation_CREATE, heldVolume(fmt.Sprint("v", i), 5)))
	}
	// The first task makes what stays: the bridge, and the chains of rules.
	e.m.run(task("S0", "first", "true", e.withAll(e.image, 0)))
	if seen := e.toTheEnd("first")["first"]; seen[len(seen)-1].GetState() != finished {
		t.Fatalf("the first task: %v", seen)
	}
	e.quiet(nil)
	e.host = e.onHost()
	return e
}

// fresh puts an image there that no store has, but for its lowest layer.
func (e *equipped) fresh() string {
	e.t.Helper()
	e.pushed++
	return e.hub.push(e.t, fmt.Sprint("app", e.pushed), v1.Config{}, map[string]string{"number": fmt.Sprint(e.pushed)})
}

// volume lets a task have persistent volume n.
func (e *equipped) volume(n int) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) {
		used := heldVolume(fmt.Sprint("v", n), 5)
		used.AllocationInfo = &mesos.Resource_AllocationInfo{Role: proto.String("dev")}
		t.Resources = append(t.Resources, used)
	}
}

// network lets a task join the network, with a mapped port unless that is 0.
func (e *equipped) network(port uint32) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) {
		if t.Container == nil {
			t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum()}
		}
		info := &mesos.NetworkInfo{Name: proto.String("bridged")}
		if port != 0 {
			info.PortMappings = []*mesos.NetworkInfo_PortMapping{{HostPort: &port, ContainerPort: proto.Uint32(80)}}
		}
		t.Container.NetworkInfos = append(t.Container.NetworkInfos, info)
	}
}

func secretFile(t *mesos.TaskInfo) {
	t.Container.Volumes = append(t.Container.Volumes, &mesos.Volume{Mode: mesos.Volume_RO.Enum(), ContainerPath: proto.String("conf/key"),
		Source: &mesos.Volume_Source{Type: mesos.Volume_Source_SECRET.Enum(),
			Secret: &mesos.Secret{Type: mesos.Secret_VALUE.Enum(), Value: &mesos.Secret_Value{Data: []byte("sesame")}}}})
}

func pluginVolume(t *mesos.TaskInfo) {
	t.Container.Volumes = append(t.Container.Volumes, &mesos.Volume{ContainerPath: proto.String("disk"), Mode: mesos.Volume_RW.Enum(),
		Source: &mesos.Volume_Source{Type: mesos.Volume_Source_DOCKER_VOLUME.Enum(),
			DockerVolume: &mesos.Volume_Source_DockerVolume{Driver: proto.String("disks"), Name: proto.String("v")}}})
}

func (e *equipped) fetches(t *mesos.TaskInfo) {
	t.Command.Uris = append(t.Command.Uris, &mesos.CommandInfo_URI{Value: proto.String(e.uris + "/file")})
}

// withAll gives a task everything, in an image. n tells persistent volume and port.
func (e *equipped) withAll(image string, n int) func(*mesos.TaskInfo) {
	return func(t *mesos.TaskInfo) {
		for _, change := range []func(*mesos.TaskInfo){inImage(image), e.network(31000 + uint32(n)), e.volume(n), secretFile, pluginVolume, e.fetches} {
			change(t)
		}
	}
}

// counters of rules change with the packets.
var ruleCounters = regexp.MustCompile(`\[\d+:\d+\]`)

// onHost lists links and packet rules.
func (e *equipped) onHost() (out []string) {
	e.t.Helper()
	links, err := net.Interfaces()
	if err != nil {
		e.t.Fatal(err)
	}
	for _, l := range links {
		out = append(out, "link "+l.Name)
	}
	rules, err := exec.Command("iptables-save").Output()
	if err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(ruleCounters.ReplaceAllString(string(rules), "")) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, "rule "+strings.TrimSpace(line))
		}
	}
	return out
}

// left lists what tasks that have ended must not leave, but for processes and control groups.
func (e *equipped) left() (out []string) {
	for _, pattern := range []string{
		e.cfg.RuntimeDir + "/isolators/network/cni/[^.]*", e.cfg.RuntimeDir + "/secrets/*", e.cfg.RuntimeDir + "/status/*", e.cfg.RuntimeDir + "/docker-volumes/*",
		e.cfg.WorkDir + "/provisioner/containers/*", e.cfg.WorkDir + "/provisioner/try-*", e.cfg.Images.StoreDir + "/staging/*", e.cfg.Images.StoreDir + "/gc/*",
		e.cfg.WorkDir + "/volumes/.destroyed/*", e.conf + "/data/*/10.*", e.temp + "/*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			e.t.Fatal(err)
		}
		out = append(out, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, e.cfg.RuntimeDir) || strings.Contains(line, e.cfg.WorkDir) {
			out = append(out, "mount "+line)
		}
	}
	if n := e.plugin.using("v"); n != 0 {
		out = append(out, fmt.Sprintf("%d users of the plugin's volume", n))
	}
	if e.host == nil {
		return out
	}
	for _, line := range e.onHost() {
		if !slices.Contains(e.host, line) {
			out = append(out, line)
		}
	}
	return out
}
