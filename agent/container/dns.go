package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/stoa-project/stoa/internal/fault"
)

// DNS is the name service of containers in one kind of network, one entry of
// --default_container_dns.
type DNS struct {
	Mode    string // CNI, BRIDGE or USER
	Network string // its name; empty for all others of the mode
	Servers []netip.Addr
	Search  []string
	Options []string
}

// DefaultDNS is what --default_container_dns says: of networks that CNI plugins make, for
// those whose plugins say nothing, and of those of the Docker engine.
type DefaultDNS struct{ CNI, Docker []DNS }

// ParseDNS reads --default_container_dns (ContainerDNSInfo of Mesos); nothing is said by "".
// Errors are fault.Invalid and name the flag.
func ParseDNS(text string) (DefaultDNS, error) {
	var out DefaultDNS
	if text == "" {
		return out, nil
	}
	bad := func(err error) (DefaultDNS, error) {
		return DefaultDNS{}, fault.New("agent", fault.Invalid, "--default_container_dns", err)
	}
	type entry struct {
		Mode    string `json:"network_mode"`
		Network string `json:"network_name"`
		DNS     struct {
			Servers []netip.Addr `json:"nameservers"`
			Search  []string     `json:"search"`
			Options []string     `json:"options"`
		} `json:"dns"`
	}
	var in struct {
		Mesos  []entry `json:"mesos"`
		Docker []entry `json:"docker"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return bad(fmt.Errorf("it must be a JSON object with lists \"mesos\" and \"docker\": %w", err))
	}
	for _, part := range []struct {
		name    string
		modes   []string
		entries []entry
		into    *[]DNS
	}{{"mesos", []string{"CNI"}, in.Mesos, &out.CNI}, {"docker", []string{"BRIDGE", "USER"}, in.Docker, &out.Docker}} {
		for _, d := range part.entries {
			switch {
			case !slices.Contains(part.modes, d.Mode):
				return bad(fmt.Errorf("network_mode %q under %q is none of %v", d.Mode, part.name, part.modes))
			case d.Mode == "BRIDGE" && d.Network != "":
				return bad(errors.New("network_mode BRIDGE has no network_name"))
			case slices.ContainsFunc(*part.into, func(x DNS) bool { return x.Mode == d.Mode && x.Network == d.Network }):
				return bad(fmt.Errorf("network_mode %s with network_name %q stands there twice", d.Mode, d.Network))
			}
			*part.into = append(*part.into, DNS{Mode: d.Mode, Network: d.Network, Servers: d.DNS.Servers, Search: d.DNS.Search, Options: d.DNS.Options})
		}
	}
	return out, nil
}

// FindDNS gives the entry for a network: the one with its name, else the one for all of
// its mode; nil when there is neither.
func FindDNS(all []DNS, mode, network string) *DNS {
	var found *DNS
	for i, d := range all {
		switch {
		case d.Mode != mode:
		case d.Network != "" && d.Network == network:
			return &all[i]
		case d.Network == "":
			found = &all[i]
		}
	}
	return found
}
