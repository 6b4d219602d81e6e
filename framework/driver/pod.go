package driver

import (
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
)

// podLaunch is one instance of a pod on its way to a task group.
type podLaunch struct {
	*core.Launch
	pod   *app.Pod
	ports [][]port // of each container, one for each endpoint
	pool  match.Pool
}

// taskGroup builds what the agent runs for an instance of a pod: the default executor,
// which has the ports and the network, and a task for each container (marathon.md 3.3).
func (d *Driver) taskGroup(l *core.Launch, frameworkID string) (mesos.ExecutorInfo, []mesos.TaskInfo) {
	p := &podLaunch{Launch: l, pod: l.Spec.Pod, pool: match.NewPool(l.Resources)}
	p.readPorts()
	tasks := make([]mesos.TaskInfo, len(p.pod.Containers))
	for k := range tasks {
		tasks[k] = d.podTask(p, k)
	}
	return d.podExecutor(p, frameworkID), tasks
}

// readPorts brings endpoints and chosen host ports together.
func (p *podLaunch) readPorts() {
	host, n := p.pod.HostNetworking(), 0
	for i := range p.pod.Containers {
		var ports []port
		for _, e := range p.pod.Containers[i].Endpoints {
			x := port{name: e.Name, protocol: strings.Join(e.Protocol, ","), labels: e.Labels, networks: e.NetworkNames}
			if n < len(p.HostPorts) {
				x.host = int(p.HostPorts[n])
			}
			n++
			if e.ContainerPort != nil {
				x.container = *e.ContainerPort
			}
			if host || x.container == 0 {
				x.container = x.host
			}
			ports = append(ports, x)
		}
		p.ports = append(p.ports, ports)
	}
}

// executorID names the executor of an instance (marathon.md 7.1): instance-<safe>.<uuid>.
func executorID(id app.InstanceID) string {
	if at := strings.LastIndex(string(id), ".instance-"); at > 0 {
		return "instance-" + string(id[:at]) + "." + string(id[at+len(".instance-"):])
	}
	return "instance-" + string(id)
}

func (d *Driver) podExecutor(p *podLaunch, frameworkID string) mesos.ExecutorInfo {
	kind := mesos.ContainerInfo_MESOS
	box := &mesos.ContainerInfo{Type: &kind, LinuxInfo: linuxInfo(p.pod.LinuxInfo)}
	if box.LinuxInfo == nil {
		box.LinuxInfo = &mesos.LinuxInfo{}
	}
	box.LinuxInfo.ShareCgroups = ptr(p.pod.LegacySharedCgroups)
	var all []port
	for _, ports := range p.ports {
		all = append(all, ports...)
	}
	for _, n := range p.pod.Networks {
		if n.Mode != app.NetworkHost {
			box.NetworkInfos = append(box.NetworkInfos, networkInfo(n, all, d.cfg.BridgeName))
		}
	}
	return mesos.ExecutorInfo{
		Type:        mesos.ExecutorInfo_DEFAULT,
		ExecutorID:  mesos.ExecutorID{Value: executorID(p.Instance.ID)},
		FrameworkID: &mesos.FrameworkID{Value: frameworkID},
		Container:   box,
		Labels:      labels(p.pod.Labels),
		Resources:   append(wireResources(p.Executor, p.Instance.Role), wireResources(p.pool.Rest(), p.Instance.Role)...),
	}
}

func (d *Driver) podTask(p *podLaunch, k int) mesos.TaskInfo {
	c := &p.pod.Containers[k]
	t := mesos.TaskInfo{
		Name:        c.Name,
		TaskID:      mesos.TaskID{Value: string(p.Instance.TaskIDAt(k))},
		AgentID:     mesos.AgentID{Value: p.Instance.AgentID},
		Labels:      labels(c.Labels),
		Discovery:   discovery(p.pod.ID.Host(), p.pod.Networks, p.ports[k]),
		HealthCheck: podHealthCheck(c, p.ports[k]),
		Check:       podCheck(c, p.ports[k]),
		Command:     p.command(c),
		Container:   p.container(c),
		Limits:      limits(c.ResourceLimits),
	}
	t.Command.Environment = p.environment(k, d.cfg.EnvPrefix)
	var blocks []match.Resource
	need := p.Spec.Tasks[k].Amounts
	for _, want := range []struct {
		name  string
		milli int64
	}{{"cpus", core.Milli(need.Cpus)}, {"mem", core.Milli(need.Mem)}, {"disk", core.Milli(need.Disk)}, {"gpus", int64(need.GPUs) * 1000}} {
		blocks = p.pool.Take(blocks, want.name, want.milli)
	}
	t.Resources = wireResources(blocks, p.Instance.Role)
	if l := c.Lifecycle; l != nil && l.KillGracePeriodSeconds != nil {
		t.KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(*l.KillGracePeriodSeconds * float64(time.Second))}}
	}
	return t
}

// command builds the CommandInfo of a container without its environment.
func (p *podLaunch) command(c *app.PodContainer) *mesos.CommandInfo {
	out := &mesos.CommandInfo{Shell: ptr(false), URIs: uris(c.Artifacts)}
	if e := c.Exec; e != nil {
		if e.Command.Shell != "" {
			out.Shell, out.Value = ptr(true), ptr(e.Command.Shell)
		} else {
			out.Arguments = e.Command.Argv
			if c.Image == nil || e.OverrideEntrypoint != nil && *e.OverrideEntrypoint {
				out.Value = ptr(e.Command.Argv[0])
			}
		}
	}
	user := c.User
	if user == "" {
		user = p.pod.User
	}
	if user != "" {
		out.User = ptr(user)
	}
	return out
}

// container builds the ContainerInfo of a container: volumes, image and isolation.
func (p *podLaunch) container(c *app.PodContainer) *mesos.ContainerInfo {
	kind := mesos.ContainerInfo_MESOS
	out := &mesos.ContainerInfo{Type: &kind, LinuxInfo: linuxInfo(c.LinuxInfo)}
	if out.LinuxInfo == nil {
		out.LinuxInfo = &mesos.LinuxInfo{}
	}
	out.LinuxInfo.ShareCgroups = ptr(p.pod.LegacySharedCgroups)
	for _, m := range c.VolumeMounts {
		v := p.pod.Volume(m.Name)
		if v == nil {
			continue
		}
		mode := mesos.RW
		if m.ReadOnly != nil && *m.ReadOnly {
			mode = mesos.RO
		}
		w := mesos.Volume{ContainerPath: m.MountPath, Mode: &mode}
		switch {
		case v.Host != "":
			w.HostPath = ptr(v.Host)
		case v.Persistent != nil:
			w.Source = parentPath(v.Name)
		case v.Secret != "":
			mode = mesos.RO
			w.Source = &mesos.Volume_Source{Type: mesos.Volume_Source_SECRET, Secret: secret(p.pod.Secrets, v.Secret)}
		default:
			w.Source = parentPath("volumes/" + v.Name)
		}
		out.Volumes = append(out.Volumes, w)
	}
	if i := c.Image; i != nil {
		image := mesos.Image_DOCKER
		docker := &mesos.Image_Docker{Name: i.ID}
		if i.PullConfig != nil {
			docker.Config = secret(p.pod.Secrets, i.PullConfig.Secret)
		}
		out.Mesos = &mesos.ContainerInfo_MesosInfo{Image: &mesos.Image{Type: &image, Docker: docker}}
		if i.ForcePull != nil {
			out.Mesos.Image.Cached = ptr(!*i.ForcePull)
		}
	}
	if c.TTY != nil && *c.TTY {
		out.TTYInfo = &mesos.TTYInfo{}
	}
	return out
}

// parentPath is a folder in the sandbox of the executor.
func parentPath(path string) *mesos.Volume_Source {
	return &mesos.Volume_Source{Type: mesos.Volume_Source_SANDBOX_PATH, SandboxPath: &mesos.Volume_Source_SandboxPath{
		Type: mesos.Volume_Source_SandboxPath_PARENT, Path: path}}
}

// podHealthCheck builds the health check of a container, nil when it has none.
func podHealthCheck(c *app.PodContainer, ports []port) *mesos.HealthCheck {
	h := c.HealthCheck
	if h == nil {
		return nil
	}
	as := app.HealthCheck{Protocol: h.Protocol(), IPProtocol: "IPv4", DelaySeconds: h.DelaySeconds, GracePeriodSeconds: h.GracePeriodSeconds,
		IntervalSeconds: h.IntervalSeconds, MaxConsecutiveFailures: h.MaxConsecutiveFailures, TimeoutSeconds: h.TimeoutSeconds,
		Port: endpointPort(ports, h.Endpoint())}
	if h.HTTP != nil {
		as.Path = h.HTTP.Path
	}
	out := mesosCheck(&as, nil)
	if h.Exec != nil {
		cmd := execCommand(h.Exec.Command)
		out.Command = &cmd
	}
	return out
}

// podCheck builds the check of a container that only reports, nil when it has none.
func podCheck(c *app.PodContainer, ports []port) *mesos.CheckInfo {
	k := c.Check
	if k == nil {
		return nil
	}
	as := &app.Check{Exec: k.Exec, IntervalSeconds: k.IntervalSeconds, TimeoutSeconds: k.TimeoutSeconds, DelaySeconds: k.DelaySeconds}
	if k.HTTP != nil {
		as.HTTP = &app.CheckHTTP{Port: endpointPort(ports, k.HTTP.Endpoint), Path: k.HTTP.Path}
	}
	if k.TCP != nil {
		as.TCP = &app.CheckTCP{Port: endpointPort(ports, k.TCP.Endpoint)}
	}
	return taskCheck(as, nil)
}

// endpointPort is where a check inside the container finds the endpoint, nil when there is
// no such endpoint.
func endpointPort(ports []port, name string) *int {
	for i := range ports {
		if ports[i].name == name {
			return &ports[i].container
		}
	}
	return nil
}
