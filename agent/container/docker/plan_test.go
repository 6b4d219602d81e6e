package docker

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	dc "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// task is a description for tests that need no engine.
func task(change func(*container.Spec)) container.Spec {
	s := container.Spec{ID: "c", Dir: "/w/box", Command: container.Command{Shell: true, Value: "run"}, Env: []string{"A=1"}, Docker: &container.Docker{
		Box:       &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: &mesos.ContainerInfo_DockerInfo{Image: proto.String("i")}},
		Resources: []*mesos.Resource{number("cpus", 0.001), number("mem", 16)},
	}}
	if change != nil {
		change(&s)
	}
	return s
}

var inside = settings{sandbox: "/mnt/mesos/sandbox", totalMemory: 1 << 30}

func TestPlanOfAPlainTask(t *testing.T) {
	p, err := newPlan(inside, task(nil))
	if err != nil {
		t.Fatal(err)
	}
	if p.create.Name != "mesos-c" || p.host.NetworkMode != "host" || p.host.CPUShares != 2 || p.host.CPUQuota != 0 || p.host.Memory != 32<<20 || p.host.OomScoreAdj != 0 {
		t.Errorf("%+v", p.host)
	}
	if !slices.Equal(p.config.Entrypoint, []string{"/bin/sh"}) || !slices.Equal(p.config.Cmd, []string{"-c", "run"}) || !slices.Equal(p.host.Binds, []string{"/w/box:/mnt/mesos/sandbox:rw"}) {
		t.Errorf("%+v %+v", p.config, p.host.Binds)
	}
}

func TestPlanOfLimits(t *testing.T) {
	for _, tt := range []struct {
		cpu, mem                float64 // limits, 0 none
		cfs                     bool
		quota, memory, reserved int64
		oom                     bool
	}{
		{0, 0, false, 0, 64 << 20, 0, false},
		{0, 0, true, 200_000, 64 << 20, 0, false},
		{3, 0, true, 300_000, 64 << 20, 0, false},
		{math.Inf(1), 0, true, 0, 64 << 20, 0, false},
		{0.001, 0, false, 1_000, 64 << 20, 0, false},
		{0, 128, false, 0, 128 << 20, 64 << 20, true},
		{0, 64, false, 0, 64 << 20, 64 << 20, false},
		{0, math.Inf(1), false, 0, 0, 64 << 20, true},
	} {
		s := inside
		s.cfs = tt.cfs
		p, err := newPlan(s, task(func(c *container.Spec) {
			c.Docker.Resources = []*mesos.Resource{number("cpus", 2), number("mem", 64)}
			c.Docker.Limits = map[string]*mesos.Value_Scalar{}
			if tt.cpu > 0 {
				c.Docker.Limits["cpus"] = &mesos.Value_Scalar{Value: &tt.cpu}
			}
			if tt.mem > 0 {
				c.Docker.Limits["mem"] = &mesos.Value_Scalar{Value: &tt.mem}
			}
		}))
		if err != nil || p.host.CPUQuota != tt.quota || p.host.Memory != tt.memory || p.host.MemoryReservation != tt.reserved || (p.host.OomScoreAdj > 0) != tt.oom || p.host.CPUShares != 2048 {
			t.Errorf("%+v: %v %+v", tt, err, p.host.Resources)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	user := func(infos ...*mesos.NetworkInfo) func(*container.Spec) {
		return func(s *container.Spec) {
			s.Docker.Box.Docker.Network, s.Docker.Box.NetworkInfos = mesos.ContainerInfo_DockerInfo_USER.Enum(), infos
		}
	}
	volume := func(v *mesos.Volume) func(*container.Spec) {
		return func(s *container.Spec) { s.Docker.Box.Volumes = []*mesos.Volume{v} }
	}
	mapping := func(mode mesos.ContainerInfo_DockerInfo_Network, port uint32, ranges bool) func(*container.Spec) {
		return func(s *container.Spec) {
			s.Docker.Box.Docker.Network = mode.Enum()
			s.Docker.Box.Docker.PortMappings = []*mesos.ContainerInfo_DockerInfo_PortMapping{{HostPort: &port, ContainerPort: proto.Uint32(80)}}
			if ranges {
				s.Docker.Resources = append(s.Docker.Resources, &mesos.Resource{Name: proto.String("ports"), Ranges: &mesos.Value_Ranges{Range: []*mesos.Value_Range{{Begin: proto.Uint64(10), End: proto.Uint64(20)}}}})
			}
		}
	}
	with := func(kv ...string) func(*container.Spec) {
		return func(s *container.Spec) { s.Docker.Box.Docker.Parameters = params(kv...) }
	}
	for text, change := range map[string]func(*container.Spec){
		"No docker info found":                                      func(s *container.Spec) { s.Docker.Box.Docker = nil },
		"No image found":                                            func(s *container.Spec) { s.Docker.Box.Docker.Image = nil },
		"No network info found in container info":                   user(),
		"Only a single network can be defined in Docker run":        user(&mesos.NetworkInfo{Name: proto.String("a")}, &mesos.NetworkInfo{Name: proto.String("b")}),
		"No network name found in network info":                     user(&mesos.NetworkInfo{}),
		"Unable to set hostname with host network mode":             func(s *container.Spec) { s.Docker.Box.Hostname = proto.String("h") },
		"Port mappings are only supported for bridge":               mapping(mesos.ContainerInfo_DockerInfo_HOST, 10, true),
		"Port mappings require port resources":                      mapping(mesos.ContainerInfo_DockerInfo_BRIDGE, 10, false),
		"Port [9] not included in resources":                        mapping(mesos.ContainerInfo_DockerInfo_BRIDGE, 9, true),
		"Both host_path 'a' and container_path 'b' of a volume are": volume(&mesos.Volume{HostPath: proto.String("a"), ContainerPath: proto.String("b")}),
		"Host path or volume source is required":                    volume(&mesos.Volume{ContainerPath: proto.String("b")}),
		"Shell specified but no command value provided":             func(s *container.Spec) { s.Command.Value = "" },
		"must not be 'name'":                                        with("name", "x"),
		"Unknown parameter 'wrong'; known are: add-host, ":          with("wrong", "x"),
		"Parameter 'memory-swap' with value 'x'":                    with("memory-swap", "x"),
		"Parameter 'ulimit' with value 'x'":                         with("ulimit", "x"),
		"Parameter 'restart' with value 'sometimes'":                with("restart", "sometimes"),
		"Parameter 'ip' with value 'fe80::1'":                       with("ip", "fe80::1"),
	} {
		_, err := newPlan(inside, task(change))
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestEveryParameter gives each option of the contract a value that `docker run` takes.
func TestEveryParameter(t *testing.T) {
	values := []string{
		"env", "B=2", "env", "A=3", "label", "k=v", "log-driver", "json-file", "log-opt", "max-size=1m", "ulimit", "nofile=1:2", "cap-add", "NET_ADMIN",
		"cap-drop", "all", "add-host", "h:1.2.3.4", "dns", "1.1.1.1", "volume", "/a:/b:ro", "volume", "/anonymous", "volumes-from", "other", "hostname", "hh", "user", "1000",
		"workdir", "/w", "entrypoint", "/e", "shm-size", "64m", "memory-swap", "-1", "tmpfs", "/t:rw", "ipc", "host", "pid", "host", "init", "true",
		"security-opt", "no-new-privileges", "device", "/dev/null:/dev/x:r", "sysctl", "net.core.somaxconn=9", "link", "db:db", "restart", "on-failure:3", "rm", "true",
		"mac-address", "02:42:ac:11:00:02", "ip", "10.0.0.9", "network-alias", "al", "read-only", "true", "oom-kill-disable", "true", "cpuset-cpus", "0-1",
		"runtime", "runc", "net", "own", "publish", "127.0.0.1:8080:80/udp", "cpus", "1.5", "stop-timeout", "7", "tty", "",
	}
	p, err := newPlan(inside, task(func(s *container.Spec) { s.Docker.Box.Docker.Parameters = params(values...) }))
	if err != nil {
		t.Fatal(err)
	}
	h, c := p.host, p.config
	end := p.create.NetworkingConfig.EndpointsConfig["own"]
	port := network.MustParsePort("80/udp")
	for what, ok := range map[string]bool{
		"env":      slices.Equal(c.Env, []string{"B=2", "A=3"}),
		"label":    c.Labels["k"] == "v",
		"log":      h.LogConfig.Type == "json-file" && h.LogConfig.Config["max-size"] == "1m",
		"ulimit":   len(h.Ulimits) == 1 && h.Ulimits[0].Name == "nofile" && h.Ulimits[0].Hard == 2,
		"caps":     h.CapAdd[0] == "NET_ADMIN" && h.CapDrop[0] == "all",
		"hosts":    h.ExtraHosts[0] == "h:1.2.3.4" && h.DNS[0].String() == "1.1.1.1",
		"volumes":  slices.Contains(h.Binds, "/a:/b:ro") && h.VolumesFrom[0] == "other" && len(c.Volumes) == 1,
		"names":    c.Hostname == "hh" && c.User == "1000" && c.WorkingDir == "/w",
		"program":  slices.Equal(c.Entrypoint, []string{"/e"}) && slices.Equal(c.Cmd, []string{"-c", "run"}) && c.Tty && *c.StopTimeout == 7,
		"memory":   h.ShmSize == 64<<20 && h.MemorySwap == -1 && *h.OomKillDisable,
		"spaces":   h.IpcMode == "host" && h.PidMode == "host" && *h.Init && h.ReadonlyRootfs && h.Tmpfs["/t"] == "rw",
		"security": h.SecurityOpt[0] == "no-new-privileges" && h.Devices[0] == dc.DeviceMapping{PathOnHost: "/dev/null", PathInContainer: "/dev/x", CgroupPermissions: "r"} && h.Sysctls["net.core.somaxconn"] == "9",
		"life":     h.Links[0] == "db:db" && h.RestartPolicy == dc.RestartPolicy{Name: "on-failure", MaximumRetryCount: 3} && p.remove && !h.AutoRemove,
		"network":  h.NetworkMode == "own" && end.IPAMConfig.IPv4Address.String() == "10.0.0.9" && end.Aliases[0] == "al" && p.needs == "1.44" && !p.hosted(),
		"port":     h.PortBindings[port][0].HostPort == "8080" && h.PortBindings[port][0].HostIP.String() == "127.0.0.1",
		"cpu":      h.CpusetCpus == "0-1" && h.NanoCPUs == 1_500_000_000 && h.Runtime == "runc",
	} {
		if !ok {
			t.Errorf("%s: %+v %+v %+v", what, c, h, end)
		}
	}
}

func TestArgumentsAndVolumes(t *testing.T) {
	p, err := newPlan(inside, task(func(s *container.Spec) {
		s.Command = container.Command{Value: "v", Args: []string{"a", "b"}}
		s.Docker.Volumes = []container.Mount{{Source: "/disk/v", Target: "/mnt/mesos/sandbox/data", ReadOnly: true}}
		s.Docker.Box.Volumes = []*mesos.Volume{
			{HostPath: proto.String("sub"), ContainerPath: proto.String("/x"), Mode: mesos.Volume_RO.Enum()},
			{HostPath: proto.String("/h"), ContainerPath: proto.String("y"), Mode: mesos.Volume_RW.Enum()},
			{ContainerPath: proto.String("z"), Source: &mesos.Volume_Source{Type: mesos.Volume_Source_DOCKER_VOLUME.Enum(), DockerVolume: &mesos.Volume_Source_DockerVolume{Driver: proto.String("rex"), Name: proto.String("vol")}}},
			{ContainerPath: proto.String("q"), Source: &mesos.Volume_Source{Type: mesos.Volume_Source_SANDBOX_PATH.Enum()}},
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/w/box/sub:/x:ro", "/h:/mnt/mesos/sandbox/y:rw", "vol:/mnt/mesos/sandbox/z:rw", "/w/box:/mnt/mesos/sandbox:rw", "/disk/v:/mnt/mesos/sandbox/data:ro"}
	if !slices.Equal(p.host.Binds, want) || p.host.VolumeDriver != "rex" || len(p.ignored) != 1 || p.config.Entrypoint != nil || !slices.Equal(p.config.Cmd, []string{"v", "a", "b"}) {
		t.Errorf("%v %q %v %v", p.host.Binds, p.host.VolumeDriver, p.ignored, p.config.Cmd)
	}
}

func TestDefaultDNS(t *testing.T) {
	all, err := container.ParseDNS(`{"mesos":[],"docker":[
		{"network_mode":"BRIDGE","dns":{"nameservers":["1.1.1.1"]}},
		{"network_mode":"USER","dns":{"nameservers":["2.2.2.2"],"search":["s"]}},
		{"network_mode":"USER","network_name":"n","dns":{"nameservers":["3.3.3.3"],"options":["o"]}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	s := inside
	s.dns = all.Docker
	server := func(mode mesos.ContainerInfo_DockerInfo_Network, name string, kv ...string) string {
		p, err := newPlan(s, task(func(c *container.Spec) {
			c.Docker.Box.Docker.Network, c.Docker.Box.Docker.Parameters = mode.Enum(), params(kv...)
			c.Docker.Box.NetworkInfos = []*mesos.NetworkInfo{{Name: &name}}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if len(p.host.DNS) == 0 {
			return ""
		}
		return p.host.DNS[0].String()
	}
	if a, b, c, d, e := server(mesos.ContainerInfo_DockerInfo_BRIDGE, "x"), server(mesos.ContainerInfo_DockerInfo_USER, "x"), server(mesos.ContainerInfo_DockerInfo_USER, "n"),
		server(mesos.ContainerInfo_DockerInfo_HOST, "n"), server(mesos.ContainerInfo_DockerInfo_USER, "n", "dns", "9.9.9.9"); a != "1.1.1.1" || b != "2.2.2.2" || c != "3.3.3.3" || d != "" || e != "9.9.9.9" {
		t.Error(a, b, c, d, e)
	}
}

func TestLogins(t *testing.T) {
	auth := base64.StdEncoding.EncodeToString([]byte("u:p"))
	user := func(l *login, image string) string {
		t.Helper()
		named, err := reference.ParseNormalizedNamed(image)
		if err != nil {
			t.Fatal(err)
		}
		text, err := l.header(t.Context(), named)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := base64.URLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Username, Password, IdentityToken string }
		if len(raw) > 0 && json.Unmarshal(raw, &got) != nil {
			t.Fatalf("%s", raw)
		}
		return got.Username + got.Password + got.IdentityToken
	}
	dir := t.TempDir()
	if l, err := sandboxLogin(dir); l != nil || err != nil {
		t.Errorf("%v %v", l, err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(".dockercfg", `{"https://old.example/v1/":{"auth":"`+auth+`"}}`)
	old, err := sandboxLogin(dir)
	if err != nil || user(old, "old.example/a") != "up" || user(old, "other.example/a") != "" {
		t.Errorf("%v", err)
	}
	write(".docker/config.json", `{"auths":{"https://index.docker.io/v1/":{"auth":"`+auth+`"},"r.example:5000":{"identitytoken":"tok"}}, "credsStore":"evil"}`)
	l, err := sandboxLogin(dir)
	if err != nil || user(l, "box") != "up" || user(l, "r.example:5000/x/y:z") != "tok" || user(l, "r.example/x") != "" {
		t.Errorf("%v", err) // and no helper is run for a task's file
	}
	if err := os.Remove(filepath.Join(dir, ".docker/config.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, ".docker/config.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := sandboxLogin(dir); err == nil {
		t.Error("a link out of the sandbox was followed")
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-here"), []byte("#!/bin/sh\nread host; echo '{\"Username\":\"h-'$host'\",\"Secret\":\"s\"}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	op, err := operatorLogin(`{"auths":{},"credHelpers":{"h.example":"here"}}`)
	if err != nil || user(op, "h.example/a") != "h-h.examples" {
		t.Errorf("%v %q", err, user(op, "h.example/a"))
	}
	for _, bad := range []string{"{", "/no/such/file"} {
		if _, err := operatorLogin(bad); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "--docker_config") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestStampsAndGroups(t *testing.T) {
	at, rest := stamp([]byte("2026-11-21T09:29:37.752571529Z some text\n"))
	if at != time.Date(2026, 11, 21, 9, 29, 37, 752571529, time.UTC).UnixNano() || string(rest) != "some text\n" {
		t.Error(at, string(rest))
	}
	if at, rest := stamp([]byte("no time here")); at != 0 || string(rest) != "no time here" {
		t.Error(at, string(rest))
	}
	g := groupsOf("4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n0::/system.slice/docker.service\n")
	if g["memory"] != "/docker/x" || g["cpuacct"] != "/docker/x" || g[""] != "/system.slice/docker.service" {
		t.Error(g)
	}
	if p, err := newPlan(inside, task(nil)); err != nil || limitsOf(p.host).hard != 32<<20 {
		t.Error(p, err)
	}
}
