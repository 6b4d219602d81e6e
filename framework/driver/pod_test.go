package driver

import (
	"fmt"
	"math"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
)

const podInstance = "shop_cart.instance-6a8f10a2-6f5c-11ee-9d4c-0242ac110002"

// podOf decodes a pod body as the API does.
func podOf(t *testing.T, body string) *app.Pod {
	t.Helper()
	u, err := app.ReadPod([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	id := app.ParsePath(u.ID, app.Root)
	p, err := u.Create(id, app.Rules{MesosRole: "dev", DefaultNetwork: "dcos", Features: map[string]bool{"secrets": true}}, app.Roles{Default: "dev", Allowed: []string{"dev"}})
	if err != nil {
		t.Fatal(err)
	}
	p.Version = 1_600_000_000_000
	return p
}

// launchOf is an instance of the pod on its way, with these host ports and blocks.
func launchOf(p *app.Pod, ports []uint32, resources, executor []match.Resource) *core.Launch {
	i := &app.Instance{ID: podInstance, App: p.ID, Launch: 2, AgentID: "S", Host: "h1", Role: "dev"}
	for _, c := range p.Containers {
		i.Tasks = append(i.Tasks, app.Task{Name: c.Name})
	}
	return &core.Launch{Instance: i, Spec: p.RunSpec(), HostPorts: ports, Resources: resources, Executor: executor}
}

func varsOf(t *mesos.TaskInfo) map[string]string {
	out := map[string]string{}
	for _, v := range t.Command.Environment.Variables {
		if v.Value != nil {
			out[v.Name] = *v.Value
		} else {
			out[v.Name] = "secret " + v.Secret.Reference.Name
		}
	}
	return out
}

func amounts(rs []mesos.Resource) string {
	out := ""
	for _, r := range rs {
		if r.Scalar != nil {
			out += fmt.Sprintf("%s(%s)=%g ", r.Name, *r.Role, r.Scalar.Value)
		} else {
			out += fmt.Sprintf("%s(%s)=%d-%d ", r.Name, *r.Role, r.Ranges.Range[0].Begin, r.Ranges.Range[0].End)
		}
	}
	return out
}

// TestConformance_3_3_TaskGroup is a pod on the agent's network (marathon.md 3.3, 7.2, 7.4).
func TestConformance_3_3_TaskGroup(t *testing.T) {
	p := podOf(t, `{"id":"/shop/cart","labels":{"tier":"back"},"user":"joe","environment":{"A":"pod","B":"pod","HOST":"mine","S":{"secret":"key"}},
		"secrets":{"key":{"source":"/vault/key"}},
		"containers":[
		 {"name":"web","exec":{"command":{"shell":"serve"}},"resources":{"cpus":0.5,"mem":64,"disk":10},"resourceLimits":{"cpus":1,"mem":"unlimited"},
		  "endpoints":[{"name":"http-api","hostPort":0,"protocol":["tcp","udp"],"labels":{"VIP_0":"v"}}],"labels":{"Tier-2":"x"},"environment":{"B":"web"},
		  "healthCheck":{"http":{"endpoint":"http-api","path":"/ping","scheme":"HTTPS"},"maxConsecutiveFailures":5},"tty":true,
		  "volumeMounts":[{"name":"data","mountPath":"data"},{"name":"etc","mountPath":"/etc/x","readOnly":true},{"name":"key","mountPath":"k"}],
		  "lifecycle":{"killGracePeriodSeconds":1.5},"artifacts":[{"uri":"http://x/y.tgz","destPath":"z"}]},
		 {"name":"side","exec":{"command":{"argv":["run","-v"]}},"user":"ann","resources":{"cpus":0.1,"mem":32},
		  "endpoints":[{"name":"admin"}],"healthCheck":{"exec":{"command":{"argv":["check","it"]}}},"check":{"tcp":{"endpoint":"admin"}},
		  "linuxInfo":{"seccomp":{"profileName":"tight"}}}],
		"volumes":[{"name":"data"},{"name":"etc","host":"/etc"},{"name":"key","secret":"key"}],"networks":[{"mode":"host"}]}`)
	l := launchOf(p, []uint32{31005, 31006}, []match.Resource{
		{Name: "cpus", Role: "dev", Milli: 300}, {Name: "cpus", Role: "*", Milli: 300}, {Name: "mem", Role: "*", Milli: 96_000}, {Name: "disk", Role: "*", Milli: 10_000},
		{Name: "ports", Role: "*", Ranges: []match.Range{{Begin: 31005, End: 31006}}}},
		[]match.Resource{{Name: "cpus", Role: "*", Milli: 100}, {Name: "mem", Role: "*", Milli: 32_000}})
	d := New(Config{EnvPrefix: "x_"}, nil, nil, nil)
	ops := d.operations([]core.Launch{*l}, "F")
	if len(ops) != 1 || ops[0].Type != mesos.Offer_Operation_LAUNCH_GROUP {
		t.Fatalf("operations %+v", ops)
	}
	x, tasks := ops[0].LaunchGroup.Executor, ops[0].LaunchGroup.TaskGroup.Tasks

	if x.Type != mesos.ExecutorInfo_DEFAULT || x.ExecutorID.Value != "instance-shop_cart.6a8f10a2-6f5c-11ee-9d4c-0242ac110002" || x.FrameworkID.Value != "F" || x.Command != nil {
		t.Errorf("executor %+v", x)
	}
	if got := amounts(x.Resources); got != "cpus(*)=0.1 mem(*)=32 ports(*)=31005-31006 " {
		t.Errorf("executor takes %s", got)
	}
	if *x.Container.Type != mesos.ContainerInfo_MESOS || *x.Container.LinuxInfo.ShareCgroups || len(x.Container.NetworkInfos) != 0 || x.Labels.Labels[0].Key != "tier" {
		t.Errorf("executor's container %+v, labels %+v", x.Container, x.Labels)
	}
	if len(tasks) != 2 || tasks[0].Name != "web" || tasks[0].TaskID.Value != podInstance+".web.2" || tasks[1].TaskID.Value != podInstance+".side.2" || tasks[0].AgentID.Value != "S" {
		t.Fatalf("tasks %+v", tasks)
	}
	web, side := &tasks[0], &tasks[1]
	if got := amounts(web.Resources); got != "cpus(dev)=0.3 cpus(*)=0.2 mem(*)=64 disk(*)=10 " {
		t.Errorf("web takes %s", got)
	}
	if got := amounts(side.Resources); got != "cpus(*)=0.1 mem(*)=32 " {
		t.Errorf("side takes %s", got)
	}
	if *web.Resources[0].AllocationInfo.Role != "dev" || !math.IsInf(web.Limits["mem"].Value, 1) || web.Limits["cpus"].Value != 1 || side.Limits != nil {
		t.Errorf("allocation %+v, limits %v", web.Resources[0].AllocationInfo, web.Limits)
	}
	if c := web.Command; !*c.Shell || *c.Value != "serve" || *c.User != "joe" || *c.URIs[0].OutputFile != "z" {
		t.Errorf("web runs %+v", c)
	}
	if c := side.Command; *c.Shell || *c.Value != "run" || len(c.Arguments) != 2 || *c.User != "ann" {
		t.Errorf("side runs %+v", c)
	}
	if ps := web.Discovery.Ports.Ports; *web.Discovery.Name != "cart.shop" || len(ps) != 2 || ps[0].Number != 31005 || *ps[1].Protocol != "udp" || *ps[0].Name != "http-api" || len(ps[0].Labels.Labels) != 2 {
		t.Errorf("discovery %+v", web.Discovery)
	}
	if ps := side.Discovery.Ports.Ports; len(ps) != 1 || ps[0].Number != 31006 {
		t.Errorf("discovery %+v", side.Discovery)
	}
	if h := web.HealthCheck; h.Type != mesos.HealthCheck_HTTP || h.HTTP.Port != 31005 || *h.HTTP.Path != "/ping" || *h.HTTP.Scheme != "https" || *h.ConsecutiveFailures != 5 {
		t.Errorf("health check %+v", h)
	}
	if h := side.HealthCheck; h.Type != mesos.HealthCheck_COMMAND || *h.Command.Shell || h.Command.Arguments[1] != "it" {
		t.Errorf("health check %+v", h)
	}
	if c := side.Check; c.Type != mesos.CheckInfo_TCP || c.TCP.Port != 31006 {
		t.Errorf("check %+v", c)
	}
	if web.KillPolicy.GracePeriod.Nanoseconds != 1.5e9 || web.Container.TTYInfo == nil || *side.Container.LinuxInfo.Seccomp.ProfileName != "tight" {
		t.Errorf("kill policy %+v, tty %+v, side %+v", web.KillPolicy, web.Container.TTYInfo, side.Container)
	}
	vs := web.Container.Volumes
	if len(vs) != 3 || vs[0].ContainerPath != "data" || vs[0].Source.SandboxPath.Type != mesos.Volume_Source_SandboxPath_PARENT || vs[0].Source.SandboxPath.Path != "volumes/data" ||
		*vs[1].HostPath != "/etc" || *vs[1].Mode != mesos.RO || vs[2].Source.Secret.Reference.Name != "/vault/key" {
		t.Errorf("volumes %+v", vs)
	}
	got := varsOf(web)
	for k, want := range map[string]string{
		"A": "pod", "B": "web", "HOST": "h1", "S": "secret /vault/key", "MESOS_TASK_ID": podInstance + ".web.2", "MESOS_EXECUTOR_ID": x.ExecutorID.Value,
		"MARATHON_APP_ID": "/shop/cart", "MARATHON_APP_VERSION": "2020-09-13T12:26:40.000Z", "MARATHON_CONTAINER_ID": "web",
		"MARATHON_CONTAINER_RESOURCE_CPUS": "0.5", "MARATHON_CONTAINER_RESOURCE_MEM": "64.0", "MARATHON_CONTAINER_RESOURCE_GPUS": "0",
		"MARATHON_APP_LABELS": "TIER_2 TIER", "MARATHON_APP_LABEL_TIER": "back", "MARATHON_APP_LABEL_TIER_2": "x",
		"X_ENDPOINT_HTTP_API": "31005", "X_EP_HOST_HTTP_API": "31005", "X_ENDPOINT_ADMIN": "31006", "X_EP_CONTAINER_HTTP_API": "",
	} {
		if got[k] != want {
			t.Errorf("%s=%q, want %q", k, got[k], want)
		}
	}
	if varsOf(side)["B"] != "pod" {
		t.Error("a variable of one container reached the other")
	}
}

// TestConformance_3_3_PodNetworks maps endpoints on networks of the pod's own.
func TestConformance_3_3_PodNetworks(t *testing.T) {
	d := New(Config{BridgeName: "mesos-bridge"}, nil, nil, nil)
	container := `"containers":[{"name":"c","exec":{"command":{"argv":["x"]},"overrideEntrypoint":false},"image":{"kind":"DOCKER","id":"nginx","forcePull":true},"resources":{},
		"endpoints":[{"name":"a","containerPort":80,"hostPort":8080,"protocol":["tcp"]%s},{"name":"b","containerPort":0,"hostPort":0%s},{"name":"c","containerPort":90}],
		"healthCheck":{"tcp":{"endpoint":"a"}}}]`

	l := launchOf(podOf(t, `{"id":"/p","networks":[{"mode":"container/bridge","labels":{"l":"v"}}],`+fmt.Sprintf(container, "", "")+`}`), []uint32{8080, 31000, 31001}, nil, nil)
	x, tasks := d.taskGroup(l, "F")
	n := x.Container.NetworkInfos
	if len(n) != 1 || *n[0].Name != "mesos-bridge" || len(n[0].PortMappings) != 3 || n[0].PortMappings[0].HostPort != 8080 || n[0].PortMappings[0].ContainerPort != 80 ||
		n[0].PortMappings[1].ContainerPort != 31000 || n[0].PortMappings[2].HostPort != 31001 || n[0].Labels.Labels[0].Key != "l" {
		t.Errorf("bridge %+v", n)
	}
	if tasks[0].HealthCheck.TCP.Port != 80 || len(tasks[0].Container.NetworkInfos) != 0 {
		t.Errorf("task %+v", tasks[0])
	}
	if c := tasks[0]; c.Command.Value != nil || len(c.Command.Arguments) != 1 || *c.Container.Mesos.Image.Cached || c.Container.Mesos.Image.Docker.Name != "nginx" {
		t.Errorf("task %+v", c)
	}
	got := varsOf(&tasks[0])
	for k, want := range map[string]string{"ENDPOINT_A": "80", "EP_HOST_A": "8080", "EP_CONTAINER_A": "80", "ENDPOINT_B": "31000", "EP_CONTAINER_B": "31000", "EP_HOST_C": "31001"} {
		if got[k] != want {
			t.Errorf("%s=%q, want %q", k, got[k], want)
		}
	}

	l = launchOf(podOf(t, `{"id":"/p","networks":[{"name":"n"},{"name":"m"}],`+fmt.Sprintf(container, `,"networkNames":["n"]`, `,"networkNames":["m"]`)+`}`), []uint32{8080, 31000, 0}, nil, nil)
	x, tasks = d.taskGroup(l, "F")
	n = x.Container.NetworkInfos
	if len(n) != 2 || *n[0].Name != "n" || len(n[0].PortMappings) != 1 || n[0].PortMappings[0].ContainerPort != 80 || n[1].PortMappings[0].HostPort != 31000 {
		t.Errorf("networks %+v", n)
	}
	ps := tasks[0].Discovery.Ports.Ports
	if len(ps) != 3 || ps[0].Number != 8080 || ps[2].Number != 90 || len(ps[2].Labels.Labels) != 2 {
		t.Errorf("discovery %+v", ps)
	}
	if got := varsOf(&tasks[0]); got["EP_HOST_C"] != "" || got["ENDPOINT_C"] != "90" {
		t.Errorf("variables %v", got)
	}
	if one := podOf(t, `{"id":"/p","networks":[{}],`+fmt.Sprintf(container, "", "")+`}`); one.Networks[0].Name != "dcos" || one.Containers[0].Endpoints[2].HostPort != nil {
		t.Errorf("the default network: %+v", one)
	}
}

// TestConformance_3_3_PodVolumes: a persistent volume is the executor's, containers mount it
// from the executor's sandbox.
func TestConformance_3_3_PodVolumes(t *testing.T) {
	p := podOf(t, `{"id":"/p","containers":[{"name":"c","exec":{"command":{"shell":"x y"}},"resources":{"cpus":0.1,"mem":32},"volumeMounts":[{"name":"pg","mountPath":"/var/pg"}]}],
		"volumes":[{"name":"pg","persistent":{"size":100}}],"executorResources":{"cpus":0.1,"mem":32,"disk":0}}`)
	if s := p.RunSpec(); !s.Resident || len(s.Volumes) != 1 || s.Volumes[0].ContainerPath != "pg" || !s.Unreachable.Disabled || s.Upgrade.MinimumHealthCapacity != 0.5 {
		t.Errorf("%+v", s)
	}
	own := &match.Reservation{Labels: []match.Label{{Key: match.InstanceLabel, Value: podInstance}}}
	x, tasks := New(Config{}, nil, nil, nil).taskGroup(launchOf(p, nil, []match.Resource{
		{Name: "cpus", Role: "dev", Milli: 100, Reservation: own}, {Name: "mem", Role: "dev", Milli: 32_000, Reservation: own},
		{Name: "disk", Role: "dev", Milli: 100_000, Reservation: own, Disk: &match.Disk{Volume: "p#pg#u", Path: "pg"}}},
		[]match.Resource{{Name: "cpus", Role: "dev", Milli: 100, Reservation: own}}), "F")
	if got := amounts(x.Resources); got != "cpus(dev)=0.1 disk(dev)=100 " || x.Resources[1].Disk.Persistence.ID != "p#pg#u" || x.Resources[1].Disk.Volume.ContainerPath != "pg" {
		t.Errorf("executor takes %s: %+v", got, x.Resources)
	}
	if got := amounts(tasks[0].Resources); got != "cpus(dev)=0.1 mem(dev)=32 " || tasks[0].Resources[0].Reservation == nil {
		t.Errorf("task takes %s", got)
	}
	if v := tasks[0].Container.Volumes; len(v) != 1 || v[0].ContainerPath != "/var/pg" || v[0].Source.SandboxPath.Path != "pg" {
		t.Errorf("volumes %+v", v)
	}
}
