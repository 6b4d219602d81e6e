package driver

import (
	"math/rand/v2"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// port is one port definition or mapping with the numbers chosen for this task.
type port struct {
	name      string
	protocol  string // tcp, udp or "udp,tcp"
	labels    map[string]string
	requested int // definition's port or mapping's containerPort; 0: any
	host      int // 0: none
	container int // port inside the container; the host port on the host network
	generated bool
	networks  []string // a mapping's networkNames
}

// portsOf brings the definition and the chosen host ports together (marathon.md 6.5).
func portsOf(l *core.Launch) []port {
	var out []port
	hostPort := func(i int) int {
		if i < len(l.HostPorts) {
			return int(l.HostPorts[i])
		}
		return 0
	}
	if l.Spec.App.HostNetworking() {
		for i, d := range l.Spec.App.PortDefinitions {
			out = append(out, port{name: d.Name, protocol: d.Protocol, labels: d.Labels,
				requested: d.Port, host: hostPort(i), container: hostPort(i)})
		}
		return out
	}
	if l.Spec.App.Container == nil {
		return nil
	}
	for i, m := range l.Spec.App.Container.PortMappings {
		p := port{name: m.Name, protocol: m.Protocol, labels: m.Labels, requested: m.ContainerPort,
			host: hostPort(i), container: m.ContainerPort, networks: m.NetworkNames}
		switch {
		case p.container == 0 && p.host != 0:
			p.container = p.host
		case p.container == 0:
			p.container, p.generated = 1025+rand.IntN(65535-1025+1), true
		}
		out = append(out, p)
	}
	return out
}

// effective is what PORTn says: the host port, else the container's.
func (p *port) effective() int {
	if p.host != 0 {
		return p.host
	}
	return p.container
}

// protocols splits "udp,tcp".
func (p *port) protocols() []string {
	if p.protocol == "" {
		return []string{"tcp"}
	}
	return strings.Split(p.protocol, ",")
}

// discovery is what DNS servers read (marathon.md 7.2).
func discovery(name string, networks []app.Network, ports []port) *mesos.DiscoveryInfo {
	d := &mesos.DiscoveryInfo{Visibility: mesos.FRAMEWORK, Name: &name, Ports: &mesos.Ports{}}
	for i := range ports {
		p := &ports[i]
		number, scope := p.effective(), "host"
		if p.host == 0 {
			scope = "container"
		}
		for _, proto := range p.protocols() {
			w := mesos.Port{Number: uint32(number), Protocol: ptr(proto)}
			if p.name != "" {
				w.Name = ptr(p.name)
			}
			all := map[string]string{"network-scope": scope}
			for k, v := range p.labels {
				all[k] = v
			}
			if scope == "container" {
				if len(p.networks) > 0 {
					all["network-name"] = p.networks[0]
				} else if len(networks) > 0 && networks[0].Name != "" {
					all["network-name"] = networks[0].Name
				}
			}
			w.Labels = labels(all)
			d.Ports.Ports = append(d.Ports.Ports, w)
		}
	}
	return d
}

func ptr[T any](v T) *T { return &v }
