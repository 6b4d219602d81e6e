package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// DNS is the default name service of containers in one kind of network: what
// --default_container_dns lists under "docker".
type DNS struct {
	Mode    string // BRIDGE or USER
	Network string // of USER: its name, empty for all others
	Servers []netip.Addr
	Search  []string
	Options []string
}

// ParseDNS reads the part of --default_container_dns that is about the engine. Errors are
// fault.Invalid and name the flag.
func ParseDNS(text string) ([]DNS, error) {
	const flag = "--default_container_dns"
	if text == "" {
		return nil, nil
	}
	var in struct {
		Docker []struct {
			Mode    string `json:"network_mode"`
			Network string `json:"network_name"`
			DNS     struct {
				Servers []string `json:"nameservers"`
				Search  []string `json:"search"`
				Options []string `json:"options"`
			} `json:"dns"`
		} `json:"docker"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, fault.New("docker", fault.Invalid, flag, fmt.Errorf("it must be a JSON object with lists \"mesos\" and \"docker\": %w", err))
	}
	var out []DNS
	seen := map[[2]string]bool{}
	for _, d := range in.Docker {
		key := [2]string{d.Mode, d.Network}
		switch {
		case d.Mode != "BRIDGE" && d.Mode != "USER":
			return nil, fault.New("docker", fault.Invalid, flag, fmt.Errorf("network_mode %q is neither BRIDGE nor USER", d.Mode))
		case d.Mode == "BRIDGE" && d.Network != "":
			return nil, fault.New("docker", fault.Invalid, flag, errors.New("network_mode BRIDGE has no network_name"))
		case seen[key]:
			return nil, fault.New("docker", fault.Invalid, flag, fmt.Errorf("network_mode %s with network_name %q stands there twice", d.Mode, d.Network))
		}
		seen[key] = true
		x := DNS{Mode: d.Mode, Network: d.Network, Search: d.DNS.Search, Options: d.DNS.Options}
		for _, s := range d.DNS.Servers {
			ip, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fault.New("docker", fault.Invalid, flag, fmt.Errorf("nameserver %q is no address", s))
			}
			x.Servers = append(x.Servers, ip)
		}
		out = append(out, x)
	}
	return out, nil
}

// defaultDNS applies the entry for the container's network, the one with its name first.
func (p *plan) defaultDNS(all []DNS, docker *mesos.ContainerInfo_DockerInfo) {
	mode := "HOST"
	if docker.Network != nil {
		mode = docker.GetNetwork().String()
	}
	var found *DNS
	for i, d := range all {
		if d.Mode == mode && (d.Network == p.network && mode == "USER" || d.Network == "" && found == nil) {
			found = &all[i]
		}
	}
	if found != nil {
		p.host.DNS, p.host.DNSSearch, p.host.DNSOptions = found.Servers, found.Search, found.Options
	}
}
