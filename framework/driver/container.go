package driver

import (
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/app"
)

// container builds the ContainerInfo, nil for a plain process (marathon.md 2.4).
func container(a *app.App, taskID string, ports []port, bridge string) *mesos.ContainerInfo {
	c := a.Container
	if c == nil {
		return nil
	}
	out := &mesos.ContainerInfo{}
	for i := range c.Volumes {
		if v, ok := volume(a, &c.Volumes[i]); ok {
			out.Volumes = append(out.Volumes, v)
		}
	}
	if a.TTY != nil && *a.TTY {
		out.TTYInfo = &mesos.TTYInfo{}
	}
	if c.Type == app.Docker {
		dockerContainer(out, a, taskID, ports)
		return out
	}
	kind := mesos.ContainerInfo_MESOS
	out.Type, out.Mesos, out.LinuxInfo = &kind, &mesos.ContainerInfo_MesosInfo{}, linuxInfo(c.LinuxInfo)
	if d := c.Docker; d != nil && d.Image != "" {
		image := mesos.Image_DOCKER
		docker := &mesos.Image_Docker{Name: d.Image}
		if d.PullConfig != nil {
			docker.Config = secret(a.Secrets, d.PullConfig.Secret)
		}
		if d.Credential != nil {
			docker.Credential = &mesos.Credential{Principal: d.Credential.Principal, Secret: optional(d.Credential.Secret)}
		}
		out.Mesos.Image = &mesos.Image{Type: &image, Docker: docker, Cached: ptr(!d.ForcePullImage)}
	}
	for _, n := range a.Networks {
		if n.Mode != app.NetworkHost {
			out.NetworkInfos = append(out.NetworkInfos, networkInfo(n, ports, bridge))
		}
	}
	return out
}

func networkInfo(n app.Network, ports []port, bridge string) mesos.NetworkInfo {
	name := n.Name
	if n.Mode == app.NetworkBridge {
		name = bridge
	}
	out := mesos.NetworkInfo{Name: ptr(name), Labels: labels(n.Labels), IPAddresses: []mesos.NetworkInfo_IPAddress{{}}}
	for i := range ports {
		p := &ports[i]
		if p.host == 0 || len(p.networks) > 0 && !slices.Contains(p.networks, n.Name) {
			continue
		}
		for _, proto := range p.protocols() {
			out.PortMappings = append(out.PortMappings, mesos.NetworkInfo_PortMapping{
				HostPort: uint32(p.host), ContainerPort: uint32(p.container), Protocol: ptr(proto)})
		}
	}
	return out
}

func dockerContainer(out *mesos.ContainerInfo, a *app.App, taskID string, ports []port) {
	kind := mesos.ContainerInfo_DOCKER
	out.Type = &kind
	d := &mesos.ContainerInfo_DockerInfo{Network: mesos.ContainerInfo_DockerInfo_HOST.Enum()}
	out.Docker = d
	if img := a.Container.Docker; img != nil {
		d.Image, d.Privileged, d.ForcePullImage = img.Image, ptr(img.Privileged), ptr(img.ForcePullImage)
		for _, p := range img.Parameters {
			d.Parameters = append(d.Parameters, mesos.Parameter{Key: p.Key, Value: p.Value})
		}
	}
	d.Parameters = append(d.Parameters, mesos.Parameter{Key: "label", Value: "MESOS_TASK_ID=" + taskID})
	if a.HostNetworking() {
		return
	}
	d.Network = mesos.ContainerInfo_DockerInfo_BRIDGE.Enum()
	if n := a.Networks[0]; n.Mode == app.NetworkContainer {
		d.Network = mesos.ContainerInfo_DockerInfo_USER.Enum()
		out.NetworkInfos = []mesos.NetworkInfo{{Name: ptr(n.Name), Labels: labels(n.Labels)}}
	}
	for i := range ports {
		p := &ports[i]
		if p.host == 0 {
			continue
		}
		for _, proto := range p.protocols() {
			d.PortMappings = append(d.PortMappings, mesos.ContainerInfo_DockerInfo_PortMapping{
				HostPort: uint32(p.host), ContainerPort: uint32(p.container), Protocol: ptr(proto)})
		}
	}
}
