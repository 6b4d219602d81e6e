package driver

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// launched gives the TaskInfo of an app as a user writes it, on h1 with host ports from
// 31000 on.
func launched(t *testing.T, cfg Config, body string) mesos.TaskInfo {
	t.Helper()
	u, err := app.ReadUpdate([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	rules := app.Rules{MesosRole: "*", BridgeName: "mesos-bridge", Features: map[string]bool{}}
	id := app.ParsePath(*u.ID, app.Root)
	a, err := u.Create(id, rules, rules.RolesAt(app.EmptyRoot(), id))
	if err != nil {
		t.Fatal(err)
	}
	root, err := app.Settle(app.EmptyRoot(), app.EmptyRoot().PutApp(a, 1_600_000_000_000), 1_600_000_000_000, app.PortPool{Min: 10000, Max: 20000})
	if err != nil {
		t.Fatal(err)
	}
	a = root.App(id)
	l := core.Launch{Spec: a.RunSpec(), Instance: &app.Instance{ID: app.NewInstanceID(id, "u"), App: id, Launch: 1, AgentID: "S", Host: "h1", Role: "*"}}
	for n, p := range a.RunSpec().Ports {
		port := uint32(31000 + n)
		switch {
		case p.None:
			port = 0
		case p.Number != 0:
			port = uint32(p.Number)
		}
		l.HostPorts = append(l.HostPorts, port)
	}
	return New(cfg, nil, nil, nil).taskInfo(&l)
}

func taskVariables(t mesos.TaskInfo) map[string]string {
	out := map[string]string{}
	cmd := t.Command
	if cmd == nil {
		cmd = t.Executor.Command
	}
	for _, v := range cmd.Environment.Variables {
		out[v.Name] = *v.Value
	}
	return out
}

func TestConformance_2_4_Containers(t *testing.T) {
	info := func(t *testing.T, body string) *mesos.ContainerInfo {
		return launched(t, Config{BridgeName: "mesos-bridge"}, `{"id":"/c",`+body+`}`).Container
	}
	t.Run("none, host network", func(t *testing.T) {
		if c := info(t, `"cmd":"sleep 1"`); c != nil {
			t.Errorf("%+v", c)
		}
	})
	t.Run("none, container network", func(t *testing.T) {
		c := info(t, `"cmd":"sleep 1","networks":[{"mode":"container","name":"net","labels":{"a":"b"}}]`)
		if *c.Type != mesos.ContainerInfo_MESOS || *c.NetworkInfos[0].Name != "net" || c.NetworkInfos[0].Labels.Labels[0].Key != "a" || len(c.NetworkInfos[0].IPAddresses) != 1 || c.NetworkInfos[0].PortMappings != nil {
			t.Errorf("%+v", c)
		}
	})
	t.Run("DOCKER, host", func(t *testing.T) {
		c := info(t, `"container":{"type":"DOCKER","docker":{"image":"nginx:1","privileged":true,"forcePullImage":true,"parameters":[{"key":"hostname","value":"x"}]},
			"volumes":[{"containerPath":"/in","hostPath":"rel/here","mode":"RO"}]}`)
		d := c.Docker
		if *c.Type != mesos.ContainerInfo_DOCKER || d.Image != "nginx:1" || !*d.Privileged || !*d.ForcePullImage || *d.Network != mesos.ContainerInfo_DockerInfo_HOST || len(d.PortMappings) != 0 {
			t.Errorf("%+v", d)
		}
		if d.Parameters[0].Key != "hostname" || d.Parameters[1].Key != "label" || d.Parameters[1].Value != "MESOS_TASK_ID=c.instance-u._app.1" {
			t.Errorf("parameters %v", d.Parameters)
		}
		if v := c.Volumes[0]; v.ContainerPath != "/in" || *v.HostPath != "rel/here" || *v.Mode != mesos.RO {
			t.Errorf("volume %+v", v)
		}
	})
	t.Run("DOCKER, bridge", func(t *testing.T) {
		c := info(t, `"networks":[{"mode":"container/bridge"}],"container":{"type":"DOCKER","docker":{"image":"nginx"},
			"portMappings":[{"containerPort":80,"protocol":"udp,tcp"},{"containerPort":0,"hostPort":0},{"containerPort":90,"hostPort":9000}]}`)
		var got []string
		for _, p := range c.Docker.PortMappings {
			got = append(got, strings.Join([]string{itoa(p.HostPort), itoa(p.ContainerPort), *p.Protocol}, " "))
		}
		if *c.Docker.Network != mesos.ContainerInfo_DockerInfo_BRIDGE || !slices.Equal(got, []string{"31000 80 udp", "31000 80 tcp", "31001 31001 tcp", "9000 90 tcp"}) || c.NetworkInfos != nil {
			t.Errorf("%s %v", *c.Docker.Network, got)
		}
	})
	t.Run("DOCKER, container network", func(t *testing.T) {
		c := info(t, `"networks":[{"mode":"container","name":"net"}],"container":{"type":"DOCKER","docker":{"image":"nginx"},"portMappings":[{"containerPort":80},{"containerPort":81,"hostPort":0}]}`)
		if *c.Docker.Network != mesos.ContainerInfo_DockerInfo_USER || len(c.NetworkInfos) != 1 || *c.NetworkInfos[0].Name != "net" || len(c.Docker.PortMappings) != 1 || c.Docker.PortMappings[0].ContainerPort != 81 {
			t.Errorf("%+v", c)
		}
	})
	t.Run("MESOS with an image", func(t *testing.T) {
		for force, cached := range map[string]bool{"true": false, "false": true} {
			c := info(t, `"container":{"type":"MESOS","docker":{"image":"alpine","forcePullImage":`+force+`}}`)
			if i := c.Mesos.Image; *c.Type != mesos.ContainerInfo_MESOS || *i.Type != mesos.Image_DOCKER || i.Docker.Name != "alpine" || *i.Cached != cached {
				t.Errorf("%+v", c.Mesos)
			}
		}
	})
	t.Run("MESOS without an image", func(t *testing.T) {
		if c := info(t, `"cmd":"sleep 1","container":{"type":"MESOS"}`); *c.Type != mesos.ContainerInfo_MESOS || c.Mesos == nil || c.Mesos.Image != nil {
			t.Errorf("%+v", c)
		}
	})
	t.Run("MESOS networks", func(t *testing.T) {
		c := info(t, `"cmd":"sleep 1","networks":[{"mode":"container","name":"a"},{"mode":"container","name":"b"}],"container":{"type":"MESOS",
			"portMappings":[{"containerPort":80,"hostPort":0,"networkNames":["b"]},{"containerPort":81}]}`)
		if n := c.NetworkInfos; len(n) != 2 || len(n[0].PortMappings) != 0 || len(n[1].PortMappings) != 1 || n[1].PortMappings[0].ContainerPort != 80 || n[1].PortMappings[0].HostPort != 31000 {
			t.Errorf("%+v", c.NetworkInfos)
		}
		c = info(t, `"cmd":"sleep 1","networks":[{"mode":"container/bridge"}]`)
		if n := c.NetworkInfos; len(n) != 1 || *n[0].Name != "mesos-bridge" || n[0].PortMappings[0].ContainerPort != 31000 {
			t.Errorf("bridge %+v", n)
		}
	})
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func TestConformance_2_4_Commands(t *testing.T) {
	for _, c := range []struct {
		row, body string
		shell     bool
		value     string
		args      []string
	}{
		{"cmd", `"cmd":"echo a && echo b"`, true, "echo a && echo b", nil},
		{"args without container", `"args":["/bin/x","y"]`, false, "/bin/x", []string{"/bin/x", "y"}},
		{"args with container", `"args":["y"],"container":{"type":"DOCKER","docker":{"image":"i"}}`, false, "", []string{"y"}},
		{"neither", `"container":{"type":"DOCKER","docker":{"image":"i"}}`, false, "", nil},
	} {
		t.Run(c.row, func(t *testing.T) {
			cmd := launched(t, Config{}, `{"id":"/a",`+c.body+`}`).Command
			if *cmd.Shell != c.shell || cmd.GetValue() != c.value || !slices.Equal(cmd.Arguments, c.args) {
				t.Errorf("%+v", cmd)
			}
		})
	}
	t.Run("fetch and user", func(t *testing.T) {
		cmd := launched(t, Config{}, `{"id":"/a","cmd":"sleep 1","user":"joe","fetch":[{"uri":"http://x/a.tgz"},{"uri":"http://x/b","extract":false,"executable":true,"cache":true,"destPath":"c"}]}`).Command
		a, b := cmd.URIs[0], cmd.URIs[1]
		if *cmd.User != "joe" || a.Value != "http://x/a.tgz" || !*a.Extract || *a.Executable || *a.Cache || a.OutputFile != nil || *b.Extract || !*b.Executable || !*b.Cache || *b.OutputFile != "c" {
			t.Errorf("%+v", cmd)
		}
	})
	t.Run("custom executor", func(t *testing.T) {
		info := launched(t, Config{}, `{"id":"/a","cmd":"foo bar","executor":"/opt/run","container":{"type":"MESOS"}}`)
		e := info.Executor
		if info.Command != nil || info.Container != nil || e == nil || e.ExecutorID.Value != "marathon-a.instance-u._app.1" || !*e.Command.Shell ||
			*e.Command.Value != "chmod ug+rx '/opt/run' && exec '/opt/run' foo bar" || e.Container == nil || e.Command.Environment == nil {
			t.Errorf("%+v", e)
		}
	})
}

func TestConformance_7_2_WhatMesosSees(t *testing.T) {
	info := launched(t, Config{}, `{"id":"/a/b/c","cmd":"sleep 1","labels":{"HAPROXY_GROUP":"external"},"taskKillGracePeriodSeconds":9,"resourceLimits":{"cpus":"unlimited","mem":256},
		"portDefinitions":[{"port":9000,"name":"web","protocol":"udp,tcp","labels":{"VIP_0":"x:80"}},{"port":0}],
		"healthChecks":[{"protocol":"HTTP"},{"protocol":"MESOS_HTTP","portIndex":0,"path":"/p"},{"protocol":"COMMAND","command":{"value":"true"}}]}`)
	if info.Name != "c.b.a" || info.Labels.Labels[0].Key != "HAPROXY_GROUP" || *info.Labels.Labels[0].Value != "external" {
		t.Errorf("name %s, labels %v", info.Name, info.Labels)
	}
	d := info.Discovery
	if *d.Name != "c.b.a" || d.Visibility != mesos.FRAMEWORK || len(d.Ports.Ports) != 3 {
		t.Fatalf("discovery %+v", d)
	}
	var seen []string
	for _, p := range d.Ports.Ports {
		text := itoa(p.Number) + " " + p.GetName() + " " + *p.Protocol
		for _, l := range p.Labels.Labels {
			text += " " + l.Key + "=" + *l.Value
		}
		seen = append(seen, text)
	}
	if want := []string{"31000 web udp VIP_0=x:80 network-scope=host", "31000 web tcp VIP_0=x:80 network-scope=host", "31001  tcp network-scope=host"}; !slices.Equal(seen, want) {
		t.Errorf("ports %q", seen)
	}
	if info.KillPolicy.GracePeriod.Nanoseconds != 9e9 || info.Limits["mem"].Value != 256 || info.Limits["cpus"].Value < 1e300 {
		t.Errorf("kill policy %v, limits %v", info.KillPolicy, info.Limits)
	}
	if h := info.HealthCheck; h.Type != mesos.HealthCheck_HTTP || h.HTTP.Port != 31000 || *h.HTTP.Path != "/p" || *h.ConsecutiveFailures != 3 || *h.GracePeriodSeconds != 300 {
		t.Errorf("health check %+v", h)
	}
	// On a container network a port without a host port is the container's.
	d = launched(t, Config{}, `{"id":"/a","cmd":"sleep 1","networks":[{"mode":"container","name":"net"}],"container":{"type":"MESOS","portMappings":[{"containerPort":80,"name":"http"}]}}`).Discovery
	if p := d.Ports.Ports[0]; p.Number != 80 || p.Labels.Labels[0].Key != "network-name" || *p.Labels.Labels[0].Value != "net" || *p.Labels.Labels[1].Value != "container" {
		t.Errorf("container port %+v", p)
	}
}

func TestConformance_7_3_Environment(t *testing.T) {
	vars := taskVariables(launched(t, Config{}, `{"id":"/a/b","cmd":"sleep 1","cpus":0.1,"mem":128,"labels":{"a-b.c":"1","Tier":"x","long":"`+strings.Repeat("v", 512)+`"},
		"env":{"HOST":"mine","X":"1"},"portDefinitions":[{"port":0,"name":"http-api"},{"port":9000}]}`))
	for name, want := range map[string]string{
		"MESOS_TASK_ID": "a_b.instance-u._app.1", "MARATHON_APP_ID": "/a/b", "MARATHON_APP_VERSION": "2020-09-13T12:26:40.000Z",
		"MARATHON_APP_RESOURCE_CPUS": "0.1", "MARATHON_APP_RESOURCE_MEM": "128.0", "MARATHON_APP_RESOURCE_DISK": "0.0", "MARATHON_APP_RESOURCE_GPUS": "0",
		"MARATHON_APP_LABELS": "TIER A_B_C", "MARATHON_APP_LABEL_A_B_C": "1", "MARATHON_APP_LABEL_TIER": "x",
		"HOST": "mine", "X": "1", "PORT": "31000", "PORT0": "31000", "PORT1": "31001", "PORTS": "31000,31001",
		"PORT_10000": "31000", "PORT_9000": "31001", "PORT_HTTP-API": "31000",
	} {
		if vars[name] != want {
			t.Errorf("%s=%q, want %q", name, vars[name], want)
		}
	}
	for _, name := range []string{"MARATHON_APP_DOCKER_IMAGE", "MARATHON_APP_LABEL_LONG", "PORT_HTTP_API"} {
		if v, set := vars[name]; set {
			t.Errorf("%s=%q is set", name, v)
		}
	}
	t.Run("no ports", func(t *testing.T) {
		for name := range taskVariables(launched(t, Config{}, `{"id":"/a","cmd":"sleep 1","ports":[]}`)) {
			if strings.HasPrefix(name, "PORT") {
				t.Errorf("%s is set", name)
			}
		}
	})
	t.Run("DOCKER engine only", func(t *testing.T) {
		if v := taskVariables(launched(t, Config{}, `{"id":"/a","container":{"type":"DOCKER","docker":{"image":"nginx"}}}`))["MARATHON_APP_DOCKER_IMAGE"]; v != "nginx" {
			t.Errorf("%q", v)
		}
	})
	t.Run("prefix", func(t *testing.T) {
		vars := taskVariables(launched(t, Config{EnvPrefix: "M_"}, `{"id":"/a","cmd":"sleep 1"}`))
		if vars["M_PORT0"] != "31000" || vars["M_HOST"] != "h1" || vars["MARATHON_APP_ID"] != "/a" || vars["PORT0"] != "" {
			t.Errorf("%v", vars)
		}
	})
}

// TestTrap47_PortVariables: the dash stays, fixed ports of containers alone are not in PORTS.
func TestTrap47_PortVariables(t *testing.T) {
	vars := taskVariables(launched(t, Config{}, `{"id":"/a","cmd":"sleep 1","networks":[{"mode":"container","name":"n"}],"container":{"type":"MESOS",
		"portMappings":[{"containerPort":80,"name":"http-api"},{"containerPort":81,"hostPort":0},{"containerPort":0}]}}`))
	if vars["PORT_HTTP-API"] != "80" || vars["PORT0"] != "80" || vars["PORT1"] != "31001" || vars["PORT"] != "31001" ||
		vars["PORTS"] != "31001,"+vars["PORT2"] || vars["PORT_"+vars["PORT2"]] != vars["PORT2"] || len(vars["PORT2"]) < 4 {
		t.Errorf("%v", vars)
	}
}
