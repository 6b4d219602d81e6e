// Package cni puts containers into networks of their own by CNI plugins (mesos-agent.md
// 7.8): it makes the network namespace, has the plugins of each network that is asked for
// join it, and writes the files by which the container finds names.
//
// What was made is noted below Config.Dir before a plugin runs, one folder per container,
// so that all of it can be undone by another agent process: the namespace's file, and of
// each network the configuration that its plugins were given.
package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
	types "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Config is where networks and plugins are; flags of mesos-agent.md 13 in brackets.
type Config struct {
	ConfigDir  string          // [--network_cni_config_dir] one file per network
	PluginsDir string          // [--network_cni_plugins_dir] folders with ':' between
	Dir        string          // absolute; namespaces and notes
	DNS        []container.DNS // [--default_container_dns]
}

// Networks are the networks that containers may join. Methods for different containers may
// be called at the same time.
type Networks struct {
	cfg Config
	cni *libcni.CNIConfig
	log *slog.Logger
}

// Joined is a container's place in its networks.
type Joined struct {
	Namespace string            // file of its network namespace
	Hostname  string            // its own
	Mounts    []container.Mount // /etc/hosts, /etc/hostname and /etc/resolv.conf
	Networks  []*mesos.NetworkInfo
}

// maxHostname is what the kernel takes as a host name.
const maxHostname = 64

// Address is where the container is reached: its first address, "" when it has none.
func (j *Joined) Address() string {
	for _, info := range j.Networks {
		for _, ip := range info.GetIpAddresses() {
			return ip.GetIpAddress()
		}
	}
	return ""
}

// New prepares networks; errors are fault.Invalid and name the flag. The folder of the
// configuration is read now, so that mistakes in it are told early, and again whenever a
// network is not found.
func New(cfg Config, log *slog.Logger) (*Networks, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.ConfigDir == "" || cfg.PluginsDir == "" {
		return nil, fault.New("cni", fault.Invalid, "--network_cni_config_dir", errors.New("give it together with --network_cni_plugins_dir"))
	}
	for dir := range strings.SplitSeq(cfg.PluginsDir, ":") {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return nil, fault.New("cni", fault.Invalid, "--network_cni_plugins_dir", fmt.Errorf("%s is no folder", dir))
		}
	}
	n := &Networks{cfg: cfg, log: log}
	n.cni = libcni.NewCNIConfigWithCacheDir(strings.Split(cfg.PluginsDir, ":"), filepath.Join(cfg.Dir, ".cache"), nil)
	found, err := readNetworks(cfg.ConfigDir)
	if err != nil {
		return nil, fault.New("cni", fault.Invalid, "--network_cni_config_dir", err)
	}
	names := []string{}
	for _, f := range found {
		if f.err != nil {
			log.Warn("a network's configuration cannot be used", "file", f.file, "error", f.err)
			continue
		}
		names = append(names, f.name)
	}
	log.Info("container networks", "names", names)
	return n, nil
}

// Wanted gives the networks that a container asks for by name.
func Wanted(box *mesos.ContainerInfo) []*mesos.NetworkInfo {
	var out []*mesos.NetworkInfo
	for _, info := range box.GetNetworkInfos() {
		if info.GetName() != "" {
			out = append(out, info)
		}
	}
	return out
}

// Join makes a network namespace and joins the networks, in their order as eth0, eth1 and so
// on. After an error nothing is left. hostname is the container's; empty: its id, without those
// of the containers it is nested in.
func (n *Networks) Join(ctx context.Context, id string, wanted []*mesos.NetworkInfo, hostname string) (out *Joined, err error) {
	if !container.ValidID(container.ID(id)) {
		return nil, fault.New("cni.Join", fault.Invalid, id, errors.New("the id cannot be a folder's name"))
	}
	plans, err := n.plan(wanted)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(n.cfg.Dir, id)
	if err := os.MkdirAll(n.cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if lerr := n.Leave(context.WithoutCancel(ctx), id); lerr != nil {
				n.log.Error("a container's network is left until the next start", "container", id, "error", lerr)
			}
		}
	}()
	space := filepath.Join(dir, "ns")
	if err := makeSpace(space); err != nil {
		return nil, fmt.Errorf("Failed to create the network namespace: %w", err)
	}
	crash.Here("agent.space-made")
	if hostname == "" {
		hostname = id[strings.LastIndexByte(id, '.')+1:] // a nested one's own part
		hostname = hostname[:min(len(hostname), maxHostname)]
	}
	out = &Joined{Namespace: space, Hostname: hostname}
	var results []*types.Result
	for i, p := range plans {
		device := fmt.Sprintf("eth%d", i)
		note := filepath.Join(dir, device+".conf")
		if err := writeSynced(note, p.raw); err != nil { // before anything that it undoes
			return nil, err
		}
		crash.Here("agent.network-noted")
		res, err := n.cni.AddNetworkList(ctx, p.list, p.runtime(id, space, device, wanted[i]))
		if err != nil {
			return nil, fmt.Errorf("Failed to attach container %s to CNI network '%s': %w", id, p.list.Name, err)
		}
		crash.Here("agent.network-joined")
		r, err := types.GetResult(res)
		if err != nil {
			if r, err = types.NewResultFromResult(res); err != nil {
				return nil, fmt.Errorf("Failed to read the answer of CNI network '%s': %w", p.list.Name, err)
			}
		}
		results = append(results, r)
		out.Networks = append(out.Networks, described(wanted[i], r))
	}
	if out.Mounts, err = n.files(dir, out, results); err != nil {
		return nil, err
	}
	err = save(filepath.Join(dir, "networks.json"), out.Networks)
	crash.Here("agent.network-written")
	return out, err
}

// save notes what the framework is told of a container's networks.
func save(file string, all []*mesos.NetworkInfo) error {
	var list []json.RawMessage
	for _, info := range all {
		raw, err := networkJSON(info)
		if err != nil {
			return err
		}
		list = append(list, raw)
	}
	return os.WriteFile(file, mustJSON(list), 0o600)
}

// Known gives the networks of a container that joined them before, nil when there are none.
func (n *Networks) Known(id string) []*mesos.NetworkInfo {
	raw, err := os.ReadFile(filepath.Join(n.cfg.Dir, id, "networks.json"))
	if err != nil {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	var out []*mesos.NetworkInfo
	for _, text := range list {
		info := &mesos.NetworkInfo{}
		if wire.UnmarshalJSON(text, info) != nil {
			return nil
		}
		out = append(out, info)
	}
	return out
}

// described is what the framework asked for, with the addresses it got.
func described(asked *mesos.NetworkInfo, r *types.Result) *mesos.NetworkInfo {
	info := proto.CloneOf(asked)
	info.IpAddresses = nil
	for _, ip := range r.IPs {
		kind := mesos.NetworkInfo_IPv4
		if ip.Address.IP.To4() == nil {
			kind = mesos.NetworkInfo_IPv6
		}
		info.IpAddresses = append(info.IpAddresses, &mesos.NetworkInfo_IPAddress{Protocol: kind.Enum(), IpAddress: proto.String(ip.Address.IP.String())})
	}
	return info
}

// Space gives the file of a container's network namespace, "" when it has none.
func (n *Networks) Space(id string) string {
	file := filepath.Join(n.cfg.Dir, id, "ns")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// Again gives a nested container another one's place: namespace, host name and files. nil
// when that one has none.
func (n *Networks) Again(home string) *Joined {
	space := n.Space(home)
	if home == "" || space == "" {
		return nil
	}
	dir := filepath.Join(n.cfg.Dir, home)
	name, err := os.ReadFile(filepath.Join(dir, "hostname"))
	if err != nil {
		return nil
	}
	return &Joined{Namespace: space, Hostname: strings.TrimSpace(string(name)), Mounts: mounts(dir)}
}

// Leave undoes Join; what is not there is no error. The plugins are given what they were
// given when the container joined. What fails is tried again at the next start.
func (n *Networks) Leave(ctx context.Context, id string) error {
	if !container.ValidID(container.ID(id)) {
		return nil
	}
	dir := filepath.Join(n.cfg.Dir, id)
	notes, err := filepath.Glob(filepath.Join(globText(dir), "eth*.conf"))
	if err != nil {
		return err
	}
	slices.Sort(notes)
	slices.Reverse(notes)
	space := filepath.Join(dir, "ns")
	var errs []error
	for _, note := range notes {
		raw, err := os.ReadFile(note)
		if err == nil {
			var p *plan
			if p, err = parsePlan(raw); err == nil {
				device := strings.TrimSuffix(filepath.Base(note), ".conf")
				err = n.cni.DelNetworkList(ctx, p.list, p.runtime(id, space, device, p.asked))
				crash.Here("agent.network-left")
			}
		}
		if err == nil {
			err = os.Remove(note)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fault.New("cni.Leave", fault.Other, id, err)
	}
	if err := unix.Unmount(space, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fault.New("cni.Leave", fault.Other, space, err)
	}
	crash.Here("agent.space-unmounted")
	if err := os.RemoveAll(dir); err != nil {
		return fault.New("cni.Leave", fault.Other, dir, err)
	}
	return nil
}

// Sweep leaves the networks of containers that do not live any more, as after a kill of the
// agent or a reboot.
func (n *Networks) Sweep(ctx context.Context, lives func(id string) bool) {
	all, err := os.ReadDir(n.cfg.Dir)
	if err != nil {
		return // nothing was ever made
	}
	for _, d := range all {
		if id := d.Name(); d.IsDir() && id != ".cache" && !lives(id) {
			if err := n.Leave(ctx, id); err != nil {
				n.log.Error("the network of a container that is gone stays", "container", id, "error", err)
			}
		}
	}
}

// makeSpace makes a network namespace with its loopback up and binds it to a file, which
// keeps it.
func makeSpace(file string) error {
	if err := os.WriteFile(file, nil, 0o444); err != nil {
		return err
	}
	var err error
	spaces.OnThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		if err = loopbackUp(); err != nil {
			return
		}
		err = unix.Mount("/proc/thread-self/ns/net", file, "", unix.MS_BIND, "")
	})
	return err
}

// loopbackUp brings up lo in the calling thread's network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// networkJSON is a NetworkInfo as plugins are shown it.
func networkJSON(info *mesos.NetworkInfo) (json.RawMessage, error) {
	b, err := wire.JSON.Marshal(info)
	return b, err
}

func writeSynced(file string, raw []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	return errors.Join(err, f.Sync(), f.Close())
}

// globText takes the meaning off the characters that are special in a pattern.
func globText(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
