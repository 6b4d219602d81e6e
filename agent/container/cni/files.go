package cni

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	types "github.com/containernetworking/cni/pkg/types/100"

	"github.com/stoa-project/stoa/agent/container"
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

// defaultDNS is that of the first of the container's networks that has one of its own, else
// that of all.
func (n *Networks) defaultDNS(j *Joined) *container.DNS {
	for _, info := range j.Networks {
		if d := container.FindDNS(n.cfg.DNS, "CNI", info.GetName()); d != nil && d.Network != "" {
			return d
		}
	}
	return container.FindDNS(n.cfg.DNS, "CNI", "")
}
