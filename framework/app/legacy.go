package app

import (
	"slices"
	"strings"
)

// checkLegacy judges how legacy and present keys are mixed (marathon.md 2.10).
func (d *draft) checkLegacy(p *problems) {
	c := d.container
	if d.networks != nil {
		if c != nil && c.network != "" {
			p.add("/", "must not specify both container.docker.network and networks")
		}
		if c != nil && len(c.dockerMappings) > 0 {
			p.add("/", "must not specify both container.docker.portMappings and networks")
		}
		if d.ipAddress != nil {
			p.add("/", "must not specify both networks and ipAddress")
		}
	}
	if d.ipAddress != nil {
		if len(d.ports) > 0 || len(d.portDefinitions) > 0 {
			p.add("/", "cannot specify both an IP address and port")
		}
		if c != nil && c.Type == Docker && len(d.ipAddress.discovery) > 0 {
			p.add("/ipAddress", "ipAddress/discovery is not allowed for Docker containers")
		}
	}
	if d.ports != nil && d.portDefinitions != nil && !samePorts(d.ports, d.portDefinitions) {
		p.add("/", "cannot specify both ports and port definitions")
	}
	if hasDuplicate(d.ports) {
		p.add("/ports", "ports must be unique")
	}
	if d.cmd != nil && len(*d.cmd) < 2 {
		p.add("/cmd", "must not be an empty string")
	}
	if len(d.uris) > 0 && len(d.fetch) > 0 {
		p.add("/uris", "may not be set in conjunction with fetch")
	}
	if c != nil && c.network == "NONE" {
		p.add("/container/docker/network", "NONE is not supported: use HOST, BRIDGE or USER, or networks")
	}
}

func samePorts(ports []int, defs []PortDefinition) bool {
	return slices.EqualFunc(ports, defs, func(p int, d PortDefinition) bool { return p == d.Port })
}

func hasDuplicate(ports []int) bool {
	seen := map[int]bool{}
	for _, p := range ports {
		if p != 0 && seen[p] {
			return true
		}
		seen[p] = true
	}
	return false
}

// migrate rewrites the legacy keys into networks, portMappings, portDefinitions and
// fetch (marathon.md 2.6).
func (d *draft) migrate(r Rules) {
	legacyNet := false
	c := d.container
	if c != nil && c.network != "" && d.networks == nil {
		legacyNet = true
		switch c.network {
		case "HOST":
			d.networks = []Network{{Mode: NetworkHost}}
		case "BRIDGE":
			d.networks = []Network{{Mode: NetworkBridge}}
		case "USER":
			n := Network{Mode: NetworkContainer}
			if d.ipAddress != nil {
				n.Name, n.Labels = d.ipAddress.networkName, d.ipAddress.labels
			}
			d.networks = []Network{n}
		}
	}
	if d.ipAddress != nil && d.networks == nil {
		legacyNet = true
		n := Network{Mode: NetworkContainer, Name: d.ipAddress.networkName, Labels: d.ipAddress.labels}
		if n.Name != "" && n.Name == r.BridgeName {
			n = Network{Mode: NetworkBridge, Labels: n.Labels}
		}
		d.networks = []Network{n}
	}
	if c != nil && c.PortMappings == nil {
		c.PortMappings = c.dockerMappings
	}
	if d.ipAddress != nil && len(d.ipAddress.discovery) > 0 {
		c = d.ensureContainer()
		if c.PortMappings == nil {
			c.PortMappings = d.ipAddress.discovery
		}
	}
	if d.portDefinitions == nil && d.ports != nil {
		d.portDefinitions = make([]PortDefinition, 0, len(d.ports))
		for _, port := range d.ports {
			d.portDefinitions = append(d.portDefinitions, PortDefinition{Port: port, Protocol: "tcp"})
		}
		legacyNet = true
	}
	if legacyNet && !d.host() {
		d.portsToMappings()
	}
	if d.fetch == nil {
		for _, u := range d.uris {
			d.fetch = append(d.fetch, Artifact{URI: u, Extract: isArchive(u)})
		}
	}
}

func (d *draft) host() bool { return len(d.networks) == 0 || d.networks[0].Mode == NetworkHost }

func (d *draft) ensureContainer() *draftContainer {
	if d.container == nil {
		d.container = &draftContainer{Container: Container{Type: Mesos}}
	}
	return d.container
}

// portsToMappings turns host-mode ports into service ports of container ports: of the
// mapping with the same index where there is one, else of a new mapping.
func (d *draft) portsToMappings() {
	defs := d.portDefinitions
	d.portDefinitions = nil
	if len(defs) == 0 {
		return
	}
	c := d.ensureContainer()
	for i, def := range defs {
		if i < len(c.PortMappings) {
			if c.PortMappings[i].ServicePort == 0 {
				c.PortMappings[i].ServicePort = def.Port
			}
			continue
		}
		m := PortMapping{ServicePort: def.Port, Protocol: def.Protocol, Name: def.Name, Labels: def.Labels}
		if d.networks[0].Mode == NetworkBridge {
			m.HostPort = new(int)
		}
		c.PortMappings = append(c.PortMappings, m)
	}
}

var archiveSuffixes = []string{".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".gz", ".tgz", ".tbz2", ".txz", ".zip"}

func isArchive(uri string) bool {
	return slices.ContainsFunc(archiveSuffixes, func(s string) bool { return strings.HasSuffix(uri, s) })
}
