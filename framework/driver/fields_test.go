package driver

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
)

// define makes an app as a request body does.
func define(t *testing.T, body string) *app.App {
	t.Helper()
	u, err := app.ReadUpdate([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	features := map[string]bool{"secrets": true, "external_volumes": true, "gpu_resources": true}
	a, err := u.Create("/a/b", app.Rules{MesosRole: "dev", BridgeName: "br", Features: features}, app.Roles{Default: "dev", Allowed: []string{"dev", "*"}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// at follows a path like container.volumes.0.source into decoded JSON.
func at(v any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(x) {
				return nil
			}
			v = x[n]
		default:
			return nil
		}
	}
	return v
}

// TestFields goes through the fields of a definition and checks what each puts into the
// TaskInfo (marathon.md 2.1, 2.4, 2.5, 2.7, 2.8, 2.12). nil: the place is empty.
func TestFields(t *testing.T) {
	type want = map[string]any
	list := func(v ...any) []any { return v }
	for _, c := range []struct {
		name, body string
		ports      []uint32
		want       want
	}{
		{"cmd", `{"cmd":"run it"}`, nil, want{"command.shell": true, "command.value": "run it", "container": nil, "executor": nil}},
		{"args without container", `{"args":["/bin/x","-v"]}`, nil, want{"command.shell": false, "command.value": "/bin/x", "command.arguments": list("/bin/x", "-v")}},
		{"args with container", `{"args":["-v"],"container":{"type":"MESOS"}}`, nil, want{"command.shell": false, "command.value": nil, "command.arguments": list("-v"),
			"container.type": "MESOS", "container.mesos.image": nil}},
		{"image alone", `{"container":{"type":"MESOS","docker":{"image":"nginx"}}}`, nil, want{"command.shell": false, "command.value": nil,
			"container.mesos.image.docker.name": "nginx", "container.mesos.image.cached": true, "container.mesos.image.type": "DOCKER", "container.docker": nil}},
		{"forcePullImage of MESOS", `{"container":{"type":"MESOS","docker":{"image":"nginx","forcePullImage":true}}}`, nil, want{"container.mesos.image.cached": false}},
		{"pullConfig", `{"secrets":{"p":{"source":"/pull"}},"container":{"type":"MESOS","docker":{"image":"x/y","pullConfig":{"secret":"p"}}}}`, nil,
			want{"container.mesos.image.docker.config.type": "REFERENCE", "container.mesos.image.docker.config.reference.name": "/pull"}},
		{"credential", `{"container":{"type":"MESOS","docker":{"image":"x/y","credential":{"principal":"me","secret":"s"}}}}`, nil,
			want{"container.mesos.image.docker.credential.principal": "me", "container.mesos.image.docker.credential.secret": "s"}},
		{"DOCKER", `{"container":{"type":"DOCKER","docker":{"image":"nginx","privileged":true,"forcePullImage":true,"parameters":[{"key":"k","value":"v"}]}}}`, nil,
			want{"container.docker.image": "nginx", "container.docker.privileged": true, "container.docker.force_pull_image": true, "container.docker.network": "HOST",
				"container.docker.parameters.0.key": "k", "container.docker.parameters.1.key": "label", "container.docker.parameters.1.value": "MESOS_TASK_ID=a_b.instance-u._app.1",
				"container.mesos": nil, "container.network_infos.0": nil}},
		{"DOCKER, bridge", `{"networks":[{"mode":"container/bridge"}],"container":{"type":"DOCKER","docker":{"image":"nginx"},"portMappings":[{"containerPort":80,"protocol":"udp,tcp"},{"containerPort":0}]}}`, []uint32{31000, 31001},
			want{"container.docker.network": "BRIDGE", "container.docker.port_mappings.0.host_port": 31000, "container.docker.port_mappings.0.container_port": 80,
				"container.docker.port_mappings.0.protocol": "udp", "container.docker.port_mappings.1.protocol": "tcp", "container.docker.port_mappings.2.container_port": 31001, "container.network_infos.0": nil}},
		{"DOCKER, network", `{"networks":[{"mode":"container","name":"blue"}],"container":{"type":"DOCKER","docker":{"image":"nginx"},"portMappings":[{"containerPort":80}]}}`, []uint32{0},
			want{"container.docker.network": "USER", "container.docker.port_mappings.0": nil, "container.network_infos.0.name": "blue"}},
		{"MESOS, bridge", `{"cmd":"run","networks":[{"mode":"container/bridge","labels":{"l":"x"}}],"container":{"type":"MESOS","portMappings":[{"containerPort":80}]}}`, []uint32{31000},
			want{"container.network_infos.0.name": "br", "container.network_infos.0.labels.labels.0.key": "l", "container.network_infos.0.port_mappings.0.host_port": 31000,
				"container.network_infos.0.ip_addresses.0": map[string]any{}, "container.network_infos.1": nil}},
		{"several networks", `{"cmd":"run","networks":[{"mode":"container","name":"one"},{"mode":"container","name":"two"}],"container":{"type":"MESOS","portMappings":[
			{"containerPort":80,"hostPort":0,"networkNames":["two"],"name":"web"},{"containerPort":81,"networkNames":["one"],"name":"in"}]}}`, []uint32{31000, 0},
			want{"container.network_infos.0.name": "one", "container.network_infos.0.port_mappings.0": nil, "container.network_infos.1.name": "two",
				"container.network_infos.1.port_mappings.0.host_port": 31000, "discovery.ports.ports.0.number": 31000, "discovery.ports.ports.1.number": 81,
				"discovery.ports.ports.1.labels.labels.0.key": "network-name", "discovery.ports.ports.1.labels.labels.0.value": "one",
				"discovery.ports.ports.1.labels.labels.1.key": "network-scope", "discovery.ports.ports.1.labels.labels.1.value": "container"}},
		{"network without container", `{"cmd":"run","networks":[{"mode":"container","name":"one"}]}`, []uint32{0}, want{"container.type": "MESOS", "container.network_infos.0.name": "one"}},
		{"tty", `{"cmd":"run","tty":true,"container":{"type":"MESOS"}}`, nil, want{"container.tty_info": map[string]any{}}},
		{"seccomp", `{"cmd":"run","container":{"type":"MESOS","linuxInfo":{"seccomp":{"profileName":"strict.json"}}}}`, nil,
			want{"container.linux_info.seccomp.profile_name": "strict.json", "container.linux_info.seccomp.unconfined": false, "container.linux_info.ipc_mode": nil}},
		{"seccomp off", `{"cmd":"run","container":{"type":"MESOS","linuxInfo":{"seccomp":{"unconfined":true}}}}`, nil,
			want{"container.linux_info.seccomp.profile_name": nil, "container.linux_info.seccomp.unconfined": true}},
		{"ipc", `{"cmd":"run","container":{"type":"MESOS","linuxInfo":{"ipcInfo":{"mode":"PRIVATE","shmSize":64}}}}`, nil,
			want{"container.linux_info.ipc_mode": "PRIVATE", "container.linux_info.shm_size": 64}},
		{"ipc shared", `{"cmd":"run","container":{"type":"MESOS","linuxInfo":{"ipcInfo":{"mode":"SHARE_PARENT"}}}}`, nil,
			want{"container.linux_info.ipc_mode": "SHARE_PARENT", "container.linux_info.shm_size": nil}},
		{"host volume", `{"cmd":"run","container":{"type":"MESOS","volumes":[{"containerPath":"/c","hostPath":"h","mode":"RO"}]}}`, nil,
			want{"container.volumes.0.container_path": "/c", "container.volumes.0.host_path": "h", "container.volumes.0.mode": "RO"}},
		{"secret volume", `{"cmd":"run","secrets":{"k":{"source":"/keys/tls"}},"container":{"type":"MESOS","volumes":[{"containerPath":"/key","secret":"k"}]}}`, nil,
			want{"container.volumes.0.container_path": "/key", "container.volumes.0.source.type": "SECRET", "container.volumes.0.source.secret.type": "REFERENCE",
				"container.volumes.0.source.secret.reference.name": "/keys/tls", "container.volumes.0.host_path": nil}},
		{"dvdi volume", `{"cmd":"run","container":{"type":"MESOS","volumes":[{"containerPath":"data","mode":"RW","external":{"name":"v1","provider":"dvdi","size":5,
			"options":{"dvdi/driver":"convoy","dvdi/iops":" 100 ","other/x":"y"}}}]}}`, nil,
			want{"container.volumes.0.source.type": "DOCKER_VOLUME", "container.volumes.0.source.docker_volume.driver": "convoy", "container.volumes.0.source.docker_volume.name": "v1",
				"container.volumes.0.source.docker_volume.driver_options.parameter": list(map[string]any{"key": "iops", "value": "100"}, map[string]any{"key": "size", "value": "5"}),
				"container.volumes.0.mode": "RW"}},
		{"dvdi volume of DOCKER", `{"container":{"type":"DOCKER","docker":{"image":"x"},"volumes":[{"containerPath":"/data","mode":"RO","external":{"name":"v1","provider":"dvdi","options":{"dvdi/driver":"local"}}}]}}`, nil,
			want{"container.type": "DOCKER", "container.volumes.0.source.docker_volume.driver": "local", "container.volumes.0.source.docker_volume.driver_options": nil, "container.volumes.0.mode": "RO"}},
		{"fetch", `{"cmd":"run","fetch":[{"uri":"http://x/a.tgz","extract":false,"executable":true,"cache":true,"destPath":"d"}]}`, nil,
			want{"command.uris.0": map[string]any{"value": "http://x/a.tgz", "extract": false, "executable": true, "cache": true, "output_file": "d"}}},
		{"user", `{"cmd":"run","user":"joe"}`, nil, want{"command.user": "joe"}},
		{"labels", `{"cmd":"run","labels":{"b":"2","a":"1"}}`, nil, want{"labels.labels.0.key": "a", "labels.labels.1.value": "2"}},
		{"taskKillGracePeriodSeconds", `{"cmd":"run","taskKillGracePeriodSeconds":3}`, nil, want{"kill_policy.grace_period.nanoseconds": 3e9}},
		{"no grace", `{"cmd":"run"}`, nil, want{"kill_policy": nil, "health_check": nil, "check": nil, "labels": nil}},
		{"ports: names, labels", `{"cmd":"run","portDefinitions":[{"port":0,"name":"web","labels":{"VIP_0":"v"}}]}`, []uint32{31005},
			want{"discovery.name": "b.a", "discovery.visibility": "FRAMEWORK", "discovery.ports.ports.0.number": 31005, "discovery.ports.ports.0.name": "web",
				"discovery.ports.ports.0.labels.labels.0.key": "VIP_0", "discovery.ports.ports.0.labels.labels.1.value": "host", "discovery.ports.ports.1": nil}},
		{"check, command", `{"cmd":"run","check":{"exec":{"command":{"argv":["t","x"]}},"intervalSeconds":7,"timeoutSeconds":2,"delaySeconds":1}}`, nil,
			want{"check.type": "COMMAND", "check.command.command.value": "t", "check.command.command.shell": false, "check.interval_seconds": 7, "check.timeout_seconds": 2, "check.delay_seconds": 1}},
		{"check, http", `{"cmd":"run","check":{"http":{"portIndex":0,"path":"/c"}}}`, []uint32{31005}, want{"check.type": "HTTP", "check.http.port": 31005, "check.http.path": "/c"}},
		{"check, tcp", `{"cmd":"run","check":{"tcp":{"port":9}}}`, []uint32{31005}, want{"check.type": "TCP", "check.tcp.port": 9}},
		{"health check", `{"cmd":"run","healthChecks":[{"protocol":"COMMAND","command":{"value":"test x"},"gracePeriodSeconds":4,"intervalSeconds":5,"timeoutSeconds":2,"maxConsecutiveFailures":0,"delaySeconds":1}]}`, nil,
			want{"health_check.type": "COMMAND", "health_check.command.value": "test x", "health_check.grace_period_seconds": 4, "health_check.interval_seconds": 5,
				"health_check.timeout_seconds": 2, "health_check.consecutive_failures": 0, "health_check.delay_seconds": 1}},
		{"executor", `{"cmd":"run it","executor":"/opt/exec","user":"joe","container":{"type":"MESOS"}}`, nil,
			want{"command": nil, "container": nil, "executor.executor_id.value": "marathon-a_b.instance-u._app.1", "executor.command.shell": true, "executor.command.user": "joe",
				"executor.command.value": "chmod ug+rx '/opt/exec' && exec '/opt/exec' run it", "executor.container.type": "MESOS", "executor.resources.0.scalar.value": 0.1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := define(t, c.body)
			l := core.Launch{Spec: a.RunSpec(), HostPorts: c.ports,
				Instance: &app.Instance{ID: "a_b.instance-u", Launch: 1, AgentID: "S", Host: "h", Role: "dev"},
				Executor: []match.Resource{{Name: "cpus", Role: "*", Milli: 100}}}
			info := New(Config{BridgeName: "br"}, nil, nil, nil).taskInfo(&l)
			b, err := json.Marshal(info)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			for path, want := range c.want {
				if n, ok := want.(int); ok {
					want = float64(n)
				}
				if v := at(got, path); !reflect.DeepEqual(v, want) {
					t.Errorf("%s = %v, want %v", path, v, want)
				}
			}
		})
	}
}

// TestEnvironment checks the variables that fields of a definition become.
func TestEnvironment(t *testing.T) {
	a := define(t, `{"cmd":"run","env":{"PLAIN":"x","KEY":{"secret":"k"},"HOST":{"secret":"k"}},"secrets":{"k":{"source":"/keys/one"}}}`)
	l := core.Launch{Spec: a.RunSpec(), HostPorts: []uint32{31000}, EnforceRole: true, Instance: &app.Instance{ID: "a_b.instance-u", Launch: 1, Host: "h"}}
	got := map[string]string{}
	for _, v := range environment(&l, portsOf(&l), "").Variables {
		if _, twice := got[v.Name]; twice {
			t.Errorf("%s is set twice", v.Name)
		}
		if v.Secret != nil {
			got[v.Name] = fmt.Sprint(v.Type, " ", v.Secret.Type, " ", v.Secret.Reference.Name)
			continue
		}
		got[v.Name] = *v.Value
	}
	for name, want := range map[string]string{"PLAIN": "x", "KEY": "SECRET REFERENCE /keys/one", "HOST": "SECRET REFERENCE /keys/one", "MARATHON_APP_ENFORCE_GROUP_ROLE": "TRUE"} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
}

func TestLimits(t *testing.T) {
	a := define(t, `{"cmd":"run","cpus":0.5,"resourceLimits":{"cpus":"unlimited","mem":512}}`)
	l := core.Launch{Spec: a.RunSpec(), Instance: &app.Instance{ID: "a_b.instance-u", Launch: 1}}
	got := New(Config{}, nil, nil, nil).taskInfo(&l).Limits
	if !math.IsInf(got["cpus"].Value, 1) || got["mem"].Value != 512 || len(got) != 2 {
		t.Errorf("limits %v", got)
	}
}
