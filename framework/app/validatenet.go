package app

import (
	"fmt"
	"regexp"
	"strconv"
)

var portNamePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

func checkPort(path string, port int, p *problems) {
	if port < 0 || port > 65535 {
		p.add(path, fmt.Sprintf("got %d, expected between 0 and 65535", port))
	}
}

// portNames judges names one by one and refuses doubles.
type portNames map[string]bool

func (seen portNames) check(list string, i int, name string, p *problems) {
	if name == "" {
		return
	}
	path := index(list, i) + "/name"
	if !portNamePattern.MatchString(name) {
		p.add(path, "must fully match regular expression '"+portNamePattern.String()+"'")
	}
	if len(name) > 63 {
		p.add(path, fmt.Sprintf("has %d characters, expected 63 or less", len(name)))
	}
	if seen[name] {
		p.add(list, "port name must be unique: "+clip(name)+" is given twice")
	}
	seen[name] = true
}

// checkNetworks judges a list of networks and gives their names (marathon.md 2.5).
func checkNetworks(networks []Network, p *problems) map[string]bool {
	names := map[string]bool{}
	for i, n := range networks {
		path := index("/networks", i)
		switch {
		case n.Mode != NetworkContainer && len(networks) > 1:
			p.add("/networks", "must be exactly one host network, exactly one container/bridge network, or container networks only")
		case n.Mode != NetworkContainer && n.Name != "":
			p.add(path+"/name", "must be empty: a network of mode "+string(n.Mode)+" has no name")
		case n.Mode == NetworkContainer && n.Name == "":
			p.add(path+"/name", "Network name must be specified when container network is selected.")
		case n.Mode == NetworkHost && len(n.Labels) > 0:
			p.add(path+"/labels", "must be empty for a host network")
		}
		if n.Name != "" && names[n.Name] {
			p.add("/networks", "network names must be unique: "+clip(n.Name)+" is given twice")
		}
		names[n.Name] = true
	}
	return names
}

// checkNetworking judges networks and the ports of host mode (marathon.md 2.5).
func (a *App) checkNetworking(p *problems) {
	names := checkNetworks(a.Networks, p)
	if !a.HostNetworking() {
		if len(a.PortDefinitions) > 0 {
			p.add("/portDefinitions", "portDefinitions are only allowed with host-networking")
		}
		if a.Container.Type == Docker && len(a.Networks) > 1 {
			p.add("/networks", "may only specify a single container network when using the Docker container engine")
		}
		a.checkMappings(names, p)
		return
	}
	seen, ports := portNames{}, map[int]bool{}
	for i, d := range a.PortDefinitions {
		seen.check("/portDefinitions", i, d.Name, p)
		checkPort(index("/portDefinitions", i)+"/port", d.Port, p)
		if d.Port != 0 && ports[d.Port] {
			p.add("/portDefinitions", "ports must be unique: "+strconv.Itoa(d.Port)+" is given twice")
		}
		ports[d.Port] = true
	}
}

func (a *App) checkMappings(networks map[string]bool, p *problems) {
	const list = "/container/portMappings"
	seen := portNames{}
	for i, m := range a.Container.PortMappings {
		path := index(list, i)
		seen.check(list, i, m.Name, p)
		checkPort(path+"/containerPort", m.ContainerPort, p)
		checkPort(path+"/servicePort", m.ServicePort, p)
		if m.HostPort != nil {
			checkPort(path+"/hostPort", *m.HostPort, p)
			if len(a.Networks) > 1 && len(m.NetworkNames) != 1 {
				p.add(path, "networkNames must be a single item list when hostPort is specified and more than 1 container network is defined")
			}
		}
		for j, n := range m.NetworkNames {
			if !networks[n] || n == "" {
				p.add(index(path+"/networkNames", j), "must be the name of one of the app's networks: "+clip(n)+" is not")
			}
		}
	}
}

// checkContainer judges image, engine and volumes (marathon.md 2.4, 2.8).
func (a *App) checkContainer(r Rules, p *problems) {
	c := a.Container
	if c == nil {
		if a.GPUs > 0 && !r.Features["gpu_resources"] {
			p.add("/gpus", "Feature gpu_resources is not enabled. Enable with --enable_features gpu_resources)")
		}
		return
	}
	if c.Docker != nil && c.Docker.Image == "" {
		p.add("/container/docker/image", "must not be empty")
	}
	if c.Type == Docker {
		if c.Docker == nil {
			p.add("/container/docker", "not defined: a container of type DOCKER needs an image; use type MESOS without one")
		}
		if c.Docker != nil && c.Docker.PullConfig != nil {
			p.add("/container/docker/pullConfig", "pullConfig is not supported with Docker containerizer")
		}
		if c.LinuxInfo != nil {
			p.add("/container/linuxInfo", "is only supported by containers of type MESOS")
		}
		if a.GPUs > 0 {
			p.add("/gpus", "GPU resources only work with the Mesos containerizer")
		}
		if a.Check != nil {
			p.add("/check", "checks are not supported by containers of type DOCKER")
		}
	}
	if a.GPUs > 0 && !r.Features["gpu_resources"] {
		p.add("/gpus", "Feature gpu_resources is not enabled. Enable with --enable_features gpu_resources)")
	}
	if c.LinuxInfo != nil {
		c.LinuxInfo.check("/container/linuxInfo", p)
	}
	for i := range c.Volumes {
		a.checkVolume(index("/container/volumes", i), &c.Volumes[i], r, p)
	}
}
