package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	types "github.com/containernetworking/cni/pkg/types/100"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/fault"
)

// names are the files that a container in a network of its own has for itself.
var names = []string{"hosts", "hostname", "resolv.conf"}

// files writes them (mesos-agent.md 7.8, row name files).
func (n *Networks) files(dir string, j *Joined, results []*types.Result) ([]container.Mount, error) {
	hosts := "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
	for _, info := range j.Networks {
		for _, ip := range info.GetIpAddresses() {
			hosts += ip.GetIpAddress() + " " + j.Hostname + "\n"
		}
	}
	resolv, err := n.resolv(j, results)
	if err != nil {
		return nil, err
	}
	for i, text := range []string{hosts, j.Hostname + "\n", resolv} {
		if err := os.WriteFile(filepath.Join(dir, names[i]), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return mounts(dir), nil
}

func mounts(dir string) []container.Mount {
	var out []container.Mount
	for _, name := range names {
		out = append(out, container.Mount{Source: filepath.Join(dir, name), Target: "/etc/" + name, ReadOnly: true})
	}
	return out
}

// resolv is /etc/resolv.conf: what the plugins say, else the operator's default for one of
// the networks, else the host's own.
func (n *Networks) resolv(j *Joined, results []*types.Result) (string, error) {
	var out strings.Builder
	for _, r := range results {
		if r.DNS.Domain != "" {
			fmt.Fprintf(&out, "domain %s\n", r.DNS.Domain)
		}
		if len(r.DNS.Search) > 0 {
			fmt.Fprintf(&out, "search %s\n", strings.Join(r.DNS.Search, " "))
		}
		if len(r.DNS.Options) > 0 {
			fmt.Fprintf(&out, "options %s\n", strings.Join(r.DNS.Options, " "))
		}
		for _, s := range r.DNS.Nameservers {
			fmt.Fprintf(&out, "nameserver %s\n", s)
		}
	}
	if out.Len() > 0 {
		return out.String(), nil
	}
	if d := n.defaultDNS(j); d != nil {
		if len(d.Search) > 0 {
			fmt.Fprintf(&out, "search %s\n", strings.Join(d.Search, " "))
		}
		if len(d.Options) > 0 {
			fmt.Fprintf(&out, "options %s\n", strings.Join(d.Options, " "))
		}
		for _, s := range d.Servers {
			fmt.Fprintf(&out, "nameserver %s\n", s)
		}
		return out.String(), nil
	}
	raw, err := os.ReadFile("/etc/resolv.conf")
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(raw), err
}

func (n *Networks) defaultDNS(j *Joined) *DNS {
	for _, info := range j.Networks {
		if at := slices.IndexFunc(n.cfg.DNS, func(d DNS) bool { return d.Network == info.GetName() }); at >= 0 {
			return &n.cfg.DNS[at]
		}
	}
	if at := slices.IndexFunc(n.cfg.DNS, func(d DNS) bool { return d.Network == "" }); at >= 0 {
		return &n.cfg.DNS[at]
	}
	return nil
}

// ParseDNS reads the part of --default_container_dns that is about CNI networks: entries of
// "mesos" with network_mode CNI. Errors are fault.Invalid and name the flag.
func ParseDNS(text string) ([]DNS, error) {
	const flag = "--default_container_dns"
	if text == "" {
		return nil, nil
	}
	var in struct {
		Mesos []struct {
			Mode    string `json:"network_mode"`
			Network string `json:"network_name"`
			DNS     struct {
				Servers []string `json:"nameservers"`
				Search  []string `json:"search"`
				Options []string `json:"options"`
			} `json:"dns"`
		} `json:"mesos"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, fault.New("cni", fault.Invalid, flag, fmt.Errorf("it must be a JSON object with lists \"mesos\" and \"docker\": %w", err))
	}
	var out []DNS
	for _, d := range in.Mesos {
		if d.Mode != "CNI" {
			return nil, fault.New("cni", fault.Invalid, flag, fmt.Errorf("network_mode %q under \"mesos\" is not CNI", d.Mode))
		}
		if slices.ContainsFunc(out, func(x DNS) bool { return x.Network == d.Network }) {
			return nil, fault.New("cni", fault.Invalid, flag, fmt.Errorf("network_name %q stands there twice", d.Network))
		}
		x := DNS{Network: d.Network, Search: d.DNS.Search, Options: d.DNS.Options}
		for _, s := range d.DNS.Servers {
			ip, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fault.New("cni", fault.Invalid, flag, fmt.Errorf("nameserver %q is no address", s))
			}
			x.Servers = append(x.Servers, ip)
		}
		out = append(out, x)
	}
	return out, nil
}
