package docker

import (
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// defaultDNS applies the entry for the container's network, the one with its name first.
func (p *plan) defaultDNS(all []container.DNS, docker *mesos.ContainerInfo_DockerInfo) {
	mode := "HOST"
	if docker.Network != nil {
		mode = docker.GetNetwork().String()
	}
	if d := container.FindDNS(all, mode, p.network); d != nil {
		p.host.DNS, p.host.DNSSearch, p.host.DNSOptions = d.Servers, d.Search, d.Options
	}
}
