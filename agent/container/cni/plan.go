package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/libcni"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// maxNetwork bounds the file of one network.
const maxNetwork = 1 << 20

// portMapper is the plugin by which Mesos maps ports: it runs another one, its delegate, and
// then maps ports itself. Here the delegate and the standard portmap take its place.
const portMapper = "mesos-cni-port-mapper"

// network is one file of the configuration's folder.
type network struct {
	file string
	name string
	conf map[string]json.RawMessage
	err  error
}

// readNetworks reads all files, by name. A file that is wrong has err.
func readNetworks(dir string) ([]network, error) {
	items, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []network
	for _, item := range items {
		n := network{file: filepath.Join(dir, item.Name())}
		info, err := os.Stat(n.file)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if info.Size() > maxNetwork {
			n.err = errors.New("it is longer than 1 MiB")
			out = append(out, n)
			continue
		}
		raw, err := os.ReadFile(n.file)
		if err == nil {
			err = json.Unmarshal(raw, &n.conf)
		}
		if err == nil {
			err = json.Unmarshal(n.conf["name"], &n.name)
		}
		if err == nil && n.name == "" {
			err = errors.New("it has no name")
		}
		n.err = err
		out = append(out, n)
	}
	return out, nil
}

// plan is what the plugins of one network are given for one container.
type plan struct {
	raw   []byte // as it is noted
	list  *libcni.NetworkConfigList
	asked *mesos.NetworkInfo
}

// noted is the form of a plan on disk.
type noted struct {
	List  json.RawMessage `json:"list"`
	Asked json.RawMessage `json:"asked"`
}

// plan finds the networks and makes the configurations; the texts are Mesos'.
func (n *Networks) plan(wanted []*mesos.NetworkInfo) ([]*plan, error) {
	all, err := readNetworks(n.cfg.ConfigDir)
	if err != nil {
		return nil, err
	}
	var out []*plan
	var seen []string
	for _, info := range wanted {
		name := info.GetName()
		if slices.Contains(seen, name) {
			return nil, fmt.Errorf("Attempted to join CNI network '%s' multiple times", name)
		}
		seen = append(seen, name)
		at := slices.IndexFunc(all, func(x network) bool { return x.name == name })
		if at < 0 {
			return nil, fmt.Errorf("Unknown CNI network '%s'", name)
		}
		if err := all[at].err; err != nil {
			return nil, fmt.Errorf("CNI network '%s': %s: %w", name, all[at].file, err)
		}
		p, err := newPlan(all[at], info)
		if err != nil {
			return nil, fmt.Errorf("CNI network '%s': %s: %w", name, all[at].file, err)
		}
		if len(info.GetPortMappings()) > 0 && !p.mapsPorts() {
			n.log.Warn("no plugin of this network says that it maps ports", "network", name)
		}
		out = append(out, p)
	}
	return out, nil
}

// newPlan makes a list of plugins of any form of configuration, and shows the plugins what
// the framework asked for: args, org.apache.mesos, network_info.
func newPlan(x network, asked *mesos.NetworkInfo) (*plan, error) {
	var plugins []map[string]json.RawMessage
	version := "0.3.1"
	if v := x.conf["cniVersion"]; v != nil {
		if err := json.Unmarshal(v, &version); err != nil {
			return nil, fmt.Errorf("cniVersion: %w", err)
		}
	}
	if raw := x.conf["plugins"]; raw != nil {
		if err := json.Unmarshal(raw, &plugins); err != nil {
			return nil, fmt.Errorf("plugins: %w", err)
		}
	} else {
		plugins = []map[string]json.RawMessage{x.conf}
	}
	info, err := networkJSON(asked)
	if err != nil {
		return nil, err
	}
	var chain []map[string]json.RawMessage
	for _, p := range plugins {
		more, err := unwrap(p)
		if err != nil {
			return nil, err
		}
		chain = append(chain, more...)
	}
	if len(chain) > 1 && (version == "0.1.0" || version == "0.2.0") {
		version = "0.3.1" // the first with chains
	}
	for _, p := range chain {
		args := map[string]json.RawMessage{}
		if old := p["args"]; old != nil {
			if err := json.Unmarshal(old, &args); err != nil {
				return nil, fmt.Errorf("args: %w", err)
			}
		}
		args["org.apache.mesos"] = mustJSON(map[string]json.RawMessage{"network_info": info})
		p["args"] = mustJSON(args)
	}
	list := mustJSON(map[string]any{"cniVersion": version, "name": x.name, "plugins": chain})
	return parsePlan(mustJSON(noted{List: list, Asked: info}))
}

// unwrap copies a plugin's configuration, and takes Mesos' port mapper apart.
func unwrap(p map[string]json.RawMessage) ([]map[string]json.RawMessage, error) {
	var kind string
	if err := json.Unmarshal(p["type"], &kind); err != nil || kind == "" {
		return nil, errors.New("a plugin has no type")
	}
	if kind == portMapper {
		var delegate map[string]json.RawMessage
		if err := json.Unmarshal(p["delegate"], &delegate); err != nil || delegate == nil {
			return nil, fmt.Errorf("%s has no delegate", portMapper)
		}
		inner, err := unwrap(delegate)
		return append(inner, map[string]json.RawMessage{"type": mustJSON("portmap"), "capabilities": mustJSON(map[string]bool{"portMappings": true}), "snat": mustJSON(true)}), err
	}
	copied := map[string]json.RawMessage{}
	for k, v := range p {
		if k != "name" && k != "cniVersion" {
			copied[k] = v
		}
	}
	return []map[string]json.RawMessage{copied}, nil
}

// mustJSON writes what cannot fail: raw JSON that was read, and plain values.
func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func parsePlan(raw []byte) (*plan, error) {
	var n noted
	if err := json.Unmarshal(raw, &n); err != nil {
		return nil, err
	}
	list, err := libcni.NetworkConfFromBytes(n.List)
	if err != nil {
		return nil, err
	}
	p := &plan{raw: raw, list: list, asked: &mesos.NetworkInfo{}}
	if err := wire.UnmarshalJSON(n.Asked, p.asked); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *plan) mapsPorts() bool {
	return slices.ContainsFunc(p.list.Plugins, func(c *libcni.PluginConfig) bool { return c.Network.Capabilities["portMappings"] })
}

// runtime is what is particular to one container.
func (p *plan) runtime(id, space, device string, asked *mesos.NetworkInfo) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{ContainerID: id, NetNS: space, IfName: device}
	type mapping struct {
		HostPort      uint32 `json:"hostPort"`
		ContainerPort uint32 `json:"containerPort"`
		Protocol      string `json:"protocol"`
	}
	var ports []mapping
	for _, m := range asked.GetPortMappings() {
		protocol := m.GetProtocol()
		if protocol == "" {
			protocol = "tcp"
		}
		ports = append(ports, mapping{m.GetHostPort(), m.GetContainerPort(), protocol})
	}
	if ports != nil {
		rt.CapabilityArgs = map[string]any{"portMappings": ports}
	}
	return rt
}
