package docker

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	dc "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Bounds that Mesos keeps (mesos-agent.md 7.3, 7.5).
const (
	sharesPerCPU = 1024
	minShares    = 2
	minMemory    = 32 << 20
	periodMicros = 100_000
	minQuota     = 1_000 // microseconds
)

// plan is everything that a container is made of, as the engine is asked for it.
type plan struct {
	create client.ContainerCreateOptions
	config *dc.Config
	host   *dc.HostConfig

	network  string // mode or name
	endpoint network.EndpointSettings
	endpUsed bool
	dnsGiven bool
	remove   bool     // --rm: gone as soon as its end is recorded
	ignored  []string // what was left out, for the log
	needs    string   // API version without which a parameter would be lost
}

// settings is what of Config a plan depends on.
type settings struct {
	sandbox     string // in the container
	cfs         bool
	dns         []container.DNS
	totalMemory uint64 // of the host, bytes
}

// newPlan turns a task's description into a container's. Errors are for the framework, in
// Mesos' words where Mesos has some.
func newPlan(s settings, spec container.Spec) (*plan, error) {
	box, docker := spec.Docker.Box, spec.Docker.Box.GetDocker()
	if docker == nil {
		return nil, errors.New("No docker info found in container info")
	}
	if docker.GetImage() == "" {
		return nil, errors.New("No image found in docker info")
	}
	p := &plan{
		config: &dc.Config{Image: docker.GetImage(), Env: slices.Clone(spec.Env), Labels: map[string]string{}},
		host:   &dc.HostConfig{Privileged: docker.GetPrivileged()},
	}
	p.limit(s, spec.Docker)
	if err := p.volumes(s, spec); err != nil {
		return nil, err
	}
	if err := p.networks(box, docker, spec.Docker.Resources); err != nil {
		return nil, err
	}
	if err := p.parameters(docker.GetParameters()); err != nil {
		return nil, err
	}
	if !p.dnsGiven {
		p.defaultDNS(s.dns, docker)
	}
	if err := p.command(spec.Command); err != nil {
		return nil, err
	}
	p.host.NetworkMode = dc.NetworkMode(p.network)
	p.create.Config, p.create.HostConfig, p.create.Name = p.config, p.host, namePrefix+string(spec.ID)
	if p.endpUsed {
		p.create.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{p.network: &p.endpoint}}
	}
	return p, nil
}

// limit says what the container may use.
func (p *plan) limit(s settings, d *container.Docker) {
	cpus, hasCPU := scalar(d.Resources, "cpus")
	mem, hasMem := scalar(d.Resources, "mem")
	if hasCPU {
		p.host.CPUShares = max(int64(sharesPerCPU*cpus), minShares)
	}
	if limit := d.Limits["cpus"]; limit != nil {
		if !math.IsInf(limit.GetValue(), 1) {
			p.host.CPUQuota = quota(limit.GetValue())
		}
	} else if s.cfs && hasCPU {
		p.host.CPUQuota = quota(cpus)
	}
	request := max(megabytes(mem), minMemory)
	limit := d.Limits["mem"]
	switch {
	case limit == nil && hasMem:
		p.host.Memory = request
	case limit != nil:
		endless := math.IsInf(limit.GetValue(), 1)
		if !endless {
			p.host.Memory = max(megabytes(limit.GetValue()), minMemory)
		}
		if hasMem {
			p.host.MemoryReservation = request
			if (endless || mem < limit.GetValue()) && s.totalMemory > 0 {
				p.host.OomScoreAdj = max(0, 1000-int(1000*uint64(request)/s.totalMemory))
			}
		}
	}
}

func quota(cpus float64) int64 { return max(int64(periodMicros*cpus), minQuota) }

func megabytes(mb float64) int64 {
	if !(mb > 0) {
		return 0
	}
	return int64(math.Min(mb, 1<<40)) << 20
}

func scalar(rs []*mesos.Resource, name string) (sum float64, any bool) {
	for _, r := range rs {
		if r.GetName() == name && r.Scalar != nil {
			sum, any = sum+r.GetScalar().GetValue(), true
		}
	}
	return sum, any
}

// volumes shows the sandbox, the task's volumes and its persistent ones.
func (p *plan) volumes(s settings, spec container.Spec) error {
	docker := spec.Docker.Box.GetDocker()
	driver := docker.GetVolumeDriver()
	useDriver := func(name string) error {
		if driver != "" && driver != name {
			return errors.New("Only one volume driver is supported")
		}
		driver = name
		return nil
	}
	for _, v := range spec.Docker.Box.GetVolumes() {
		target := v.GetContainerPath()
		if !path.IsAbs(target) {
			target = path.Join(s.sandbox, target)
		}
		readOnly := v.GetMode() == mesos.Volume_RO
		switch {
		case v.HostPath != nil:
			source := v.GetHostPath()
			if !path.IsAbs(source) && !path.IsAbs(v.GetContainerPath()) {
				return fmt.Errorf("Both host_path '%s' and container_path '%s' of a volume are relative", source, v.GetContainerPath())
			}
			if !path.IsAbs(source) && docker.VolumeDriver == nil { //lint:ignore SA1019 frameworks still set it
				source = filepath.Join(spec.Dir, source)
			}
			p.bind(source, target, readOnly)
		case v.GetSource().GetType() == mesos.Volume_Source_DOCKER_VOLUME && v.Source != nil:
			dv := v.GetSource().GetDockerVolume()
			if options := dv.GetDriverOptions().GetParameter(); len(options) > 0 {
				m := mount.Mount{Type: mount.TypeVolume, Source: dv.GetName(), Target: target, ReadOnly: readOnly}
				m.VolumeOptions = &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: cmp.Or(dv.GetDriver(), "local"), Options: map[string]string{}}}
				for _, o := range options {
					m.VolumeOptions.DriverConfig.Options[o.GetKey()] = o.GetValue()
				}
				p.host.Mounts = append(p.host.Mounts, m)
				continue
			}
			if dv.GetDriver() != "" {
				if err := useDriver(dv.GetDriver()); err != nil {
					return err
				}
			}
			p.bind(dv.GetName(), target, readOnly)
		case v.Source != nil:
			p.ignored = append(p.ignored, "volume of type "+v.GetSource().GetType().String())
		default:
			return errors.New("Host path or volume source is required")
		}
	}
	p.bind(spec.Dir, s.sandbox, false)
	for _, m := range spec.Docker.Volumes {
		p.bind(m.Source, m.Target, m.ReadOnly)
	}
	p.host.VolumeDriver = driver
	return nil
}

// bind shows a path or a named volume. The short form makes the engine create a missing
// folder, as `docker run -v` does; it cannot hold a colon.
func (p *plan) bind(source, target string, readOnly bool) {
	if strings.Contains(source+target, ":") {
		p.host.Mounts = append(p.host.Mounts, mount.Mount{Type: mount.TypeBind, Source: source, Target: target, ReadOnly: readOnly})
		return
	}
	mode := "rw"
	if readOnly {
		mode = "ro"
	}
	p.host.Binds = append(p.host.Binds, source+":"+target+":"+mode)
}

// networks decides where the container's network is and which ports of the host lead in.
func (p *plan) networks(box *mesos.ContainerInfo, docker *mesos.ContainerInfo_DockerInfo, rs []*mesos.Resource) error {
	mode := mesos.ContainerInfo_DockerInfo_HOST
	if docker.Network != nil {
		mode = docker.GetNetwork()
	}
	switch mode {
	case mesos.ContainerInfo_DockerInfo_HOST:
		p.network = "host"
	case mesos.ContainerInfo_DockerInfo_BRIDGE:
		p.network = "bridge"
	case mesos.ContainerInfo_DockerInfo_NONE:
		p.network = "none"
	case mesos.ContainerInfo_DockerInfo_USER:
		switch infos := box.GetNetworkInfos(); {
		case len(infos) == 0:
			return errors.New("No network info found in container info")
		case len(infos) > 1:
			return errors.New("Only a single network can be defined in Docker run")
		case infos[0].GetName() == "":
			return errors.New("No network name found in network info")
		default:
			p.network = infos[0].GetName()
		}
	default:
		return fmt.Errorf("Unsupported Network mode: %s", mode)
	}
	if box.Hostname != nil {
		if p.network == "host" {
			return errors.New("Unable to set hostname with host network mode")
		}
		p.config.Hostname = box.GetHostname()
	}
	for _, m := range docker.GetPortMappings() {
		if p.network == "host" || p.network == "none" {
			return errors.New("Port mappings are only supported for bridge and user-defined networks")
		}
		if !hasPorts(rs) {
			return errors.New("Port mappings require port resources")
		}
		if !portOffered(rs, uint64(m.GetHostPort())) {
			return fmt.Errorf("Port [%d] not included in resources", m.GetHostPort())
		}
		proto := strings.ToLower(cmp.Or(m.GetProtocol(), "tcp"))
		if err := p.publish(m.GetContainerPort(), proto, netip.Addr{}, strconv.Itoa(int(m.GetHostPort()))); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) publish(inside uint32, proto string, ip netip.Addr, outside string) error {
	switch {
	case inside == 0 || inside > 65535:
		return fmt.Errorf("Port [%d] of the container is no number from 1 to 65535", inside)
	case proto != "tcp" && proto != "udp" && proto != "sctp":
		return fmt.Errorf("Port protocol '%s' is none of tcp, udp and sctp", proto)
	}
	port, _ := network.PortFrom(uint16(inside), network.IPProtocol(proto))
	if p.host.PortBindings == nil {
		p.host.PortBindings = network.PortMap{}
	}
	p.host.PortBindings[port] = append(p.host.PortBindings[port], network.PortBinding{HostIP: ip, HostPort: outside})
	p.expose(port)
	return nil
}

func (p *plan) expose(port network.Port) {
	if p.config.ExposedPorts == nil {
		p.config.ExposedPorts = network.PortSet{}
	}
	p.config.ExposedPorts[port] = struct{}{}
}

func hasPorts(rs []*mesos.Resource) bool {
	return slices.ContainsFunc(rs, func(r *mesos.Resource) bool { return r.GetName() == "ports" && r.Ranges != nil })
}

func portOffered(rs []*mesos.Resource, port uint64) bool {
	for _, r := range rs {
		if r.GetName() != "ports" {
			continue
		}
		for _, x := range r.GetRanges().GetRange() {
			if port >= x.GetBegin() && port <= x.GetEnd() {
				return true
			}
		}
	}
	return false
}

// command says what runs (mesos-agent.md 7.5, row command).
func (p *plan) command(c container.Command) error {
	if !c.Shell {
		if c.Value != "" {
			p.config.Cmd = append(p.config.Cmd, c.Value)
		}
		p.config.Cmd = append(p.config.Cmd, c.Args...)
		return nil
	}
	if c.Value == "" {
		return errors.New("Shell specified but no command value provided")
	}
	if p.config.Entrypoint == nil { // --entrypoint as a parameter stands
		p.config.Entrypoint = []string{"/bin/sh"}
	}
	p.config.Cmd = []string{"-c", c.Value}
	return nil
}

// hosted tells whether the container has no network of its own.
func (p *plan) hosted() bool {
	return p.network == "host" || strings.HasPrefix(p.network, "container:")
}

// label sets one of our own labels.
func (p *plan) label(name, value string) { p.config.Labels[name] = value }

// setEnv adds a variable; a later one of the same name wins.
func (p *plan) setEnv(name, value string) {
	p.config.Env = slices.DeleteFunc(p.config.Env, func(have string) bool { return strings.HasPrefix(have, name+"=") })
	p.config.Env = append(p.config.Env, name+"="+value)
}

// sorted gives the keys of a table for messages.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
