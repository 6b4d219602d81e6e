package lab_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/dockerd"
	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
)

// estate is a cluster of daemons with everything that containers may have: an own registry
// that asks for a password, the Docker engine, CNI networks, a volume plugin, seccomp
// profiles, secrets, and DNS.
type estate struct {
	*lab.Cluster
	api    lab.API
	image  string // in the registry
	plugin *volumes
	engine *dockerd.Engine
	dns    string // host:port
}

// volumes is a small plugin of Docker's: each volume is a folder.
type volumes struct {
	root  string
	using chan map[string]int // holds the one map
}

func (v *volumes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct{ Name string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	out := map[string]any{"Err": ""}
	users := <-v.using
	switch r.URL.Path {
	case "/Plugin.Activate":
		out["Implements"] = []string{"VolumeDriver"}
	case "/VolumeDriver.Create":
		_ = os.MkdirAll(filepath.Join(v.root, in.Name), 0o777)
	case "/VolumeDriver.Mount":
		users[in.Name]++
		out["Mountpoint"] = filepath.Join(v.root, in.Name)
	case "/VolumeDriver.Unmount":
		users[in.Name]--
	}
	v.using <- users
	_ = json.NewEncoder(w).Encode(out)
}

func (v *volumes) users(name string) int {
	all := <-v.using
	defer func() { v.using <- all }()
	return all[name]
}

// serve answers on a listener until the test ends.
func serve(t *testing.T, network, address string, h http.Handler) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return l.Addr().String()
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func startEstate(t *testing.T) *estate {
	t.Helper()
	if why := dockerd.Missing(); why != "" {
		t.Skip(why)
	}
	e := &estate{plugin: &volumes{root: t.TempDir(), using: make(chan map[string]int, 1)}}
	e.plugin.using <- map[string]int{}
	dir := t.TempDir()
	serve(t, "unix", "/run/docker/plugins/disks.sock", e.plugin)

	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	at := serve(t, "tcp", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "pass" {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		reg.ServeHTTP(w, r)
	}))
	e.image = at + "/team/box:1"
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		raw, err := dockerd.Busybox()
		return io.NopCloser(bytes.NewReader(raw)), err
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(e.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "me", Password: "pass"})); err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/secrets/pull", `{"auths":{"`+at+`":{"auth":"`+base64.StdEncoding.EncodeToString([]byte("me:pass"))+`"}}}`)
	put(t, dir+"/secrets/db/password", "open sesame\n")
	put(t, dir+"/seccomp/nodirs.json", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`)
	for i, network := range []string{"mesos-bridge", "plain"} {
		put(t, dir+"/networks/"+network+".conflist", fmt.Sprintf(`{"cniVersion":"0.4.0","name":%q,"plugins":[{"type":"bridge","bridge":"br%d","isGateway":true,
			"ipam":{"type":"host-local","ranges":[[{"subnet":"10.77.%d.0/24"}]]}},{"type":"portmap","capabilities":{"portMappings":true}}]}`, network, i, i))
	}
	if e.engine, err = dockerd.Start(dockerd.Options{HostNetwork: true, Bridge: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.engine.Stop)
	if err := e.engine.Import("busybox:latest", dockerd.Busybox); err != nil {
		t.Fatal(err)
	}
	if _, err := e.engine.API.NetworkCreate(t.Context(), "own", client.NetworkCreateOptions{Driver: "bridge"}); err != nil {
		t.Fatal(err)
	}
	zk := zookeeper.Start(t, 1)
	e.Cluster = lab.StartCluster(t, lab.ClusterConfig{ZK: zk.ConnectString(), Masters: 1, Agents: 1, Frameworks: 1,
		FrameworkFlags: []string{"--enable_features", "secrets,external_volumes"},
		AgentFlags: func(int) []string {
			return []string{"--image_providers", "docker", "--docker_store_dir", dir + "/store", "--containerizers", "docker,mesos", "--docker_socket", e.engine.Socket,
				"--docker_remove_delay", "0secs", "--isolation", "filesystem/linux,docker/runtime,docker/volume,cgroups/cpu,cgroups/mem,linux/seccomp,namespaces/ipc",
				"--seccomp_config_dir", dir + "/seccomp", "--secrets_dir", dir + "/secrets",
				"--network_cni_config_dir", dir + "/networks", "--network_cni_plugins_dir", lab.CNIPlugins}
		}})
	e.api = e.API(0)
	ports := freeport.Take(t, 2)
	e.dns = "127.0.0.1:" + strconv.Itoa(ports[0])
	put(t, dir+"/dns.json", fmt.Sprintf(`{"zk":"zk://%s/mesos","listener":"127.0.0.1","port":%d,"httplistener":"127.0.0.1","httpport":%d,"externalon":false}`, zk.ConnectString(), ports[0], ports[1]))
	lab.StartDaemon(t, "", "dns", "--config", dir+"/dns.json")
	return e
}

// lines gives what a file of a volume or sandbox has, by a pattern below the agent's folder.
func (e *estate) lines(pattern string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(e.Dir, "agent0", pattern))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("%s: files %v, error %v", pattern, found, err)
	}
	raw, err := os.ReadFile(found[0])
	return strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n"), err
}
