package docker

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	units "github.com/docker/go-units"
	dc "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// parameters applies the framework's options of `docker run`, in order: "key" is the long
// name without dashes. A later single value replaces an earlier one, a later element of a
// list is added.
func (p *plan) parameters(list []*mesos.Parameter) error {
	networkSet := false
	for _, param := range list {
		key, value := param.GetKey(), param.GetValue()
		if (key == "net" || key == "network") && !networkSet {
			p.network, networkSet = value, true
			continue
		}
		if long, ok := aliases[key]; ok {
			key = long
		}
		set, known := table[key]
		switch {
		case key == "name":
			return errors.New("Parameter in DockerInfo must not be 'name'")
		case !known:
			return fmt.Errorf("Unknown parameter '%s'; known are: %s", key, strings.Join(sorted(table), ", "))
		}
		if err := set(p, value); err != nil {
			return fmt.Errorf("Parameter '%s' with value '%s': %w", param.GetKey(), value, err)
		}
	}
	return nil
}

// aliases are other names of the same options.
var aliases = map[string]string{
	"dns-opt": "dns-option", "net-alias": "network-alias", "e": "env", "v": "volume", "u": "user", "h": "hostname", "w": "workdir",
	"l": "label", "m": "memory", "p": "publish", "P": "publish-all", "t": "tty", "i": "interactive", "c": "cpu-shares",
}

type setter func(*plan, string) error

// table holds every option of `docker run` that makes sense for a task.
var table = map[string]setter{
	"add-host":     func(p *plan, v string) error { return pair(v, ":", func(_, _ string) { add(&p.host.ExtraHosts, v) }) },
	"cap-add":      func(p *plan, v string) error { return add(&p.host.CapAdd, v) },
	"cap-drop":     func(p *plan, v string) error { return add(&p.host.CapDrop, v) },
	"device":       device,
	"dns":          func(p *plan, v string) error { p.dnsGiven = true; return addAddr(&p.host.DNS, v) },
	"dns-option":   func(p *plan, v string) error { p.dnsGiven = true; return add(&p.host.DNSOptions, v) },
	"dns-search":   func(p *plan, v string) error { p.dnsGiven = true; return add(&p.host.DNSSearch, v) },
	"domainname":   func(p *plan, v string) error { p.config.Domainname = v; return nil },
	"entrypoint":   func(p *plan, v string) error { p.config.Entrypoint = []string{v}; return nil },
	"env":          env,
	"expose":       expose,
	"group-add":    func(p *plan, v string) error { return add(&p.host.GroupAdd, v) },
	"hostname":     func(p *plan, v string) error { p.config.Hostname = v; return nil },
	"label":        func(p *plan, v string) error { k, val, _ := strings.Cut(v, "="); p.label(k, val); return nil },
	"link":         func(p *plan, v string) error { return add(&p.host.Links, v) },
	"log-driver":   func(p *plan, v string) error { p.host.LogConfig.Type = v; return nil },
	"log-opt":      func(p *plan, v string) error { return addPair(&p.host.LogConfig.Config, v) },
	"publish":      publish,
	"publish-all":  func(p *plan, v string) error { return setBool(&p.host.PublishAllPorts, v) },
	"read-only":    func(p *plan, v string) error { return setBool(&p.host.ReadonlyRootfs, v) },
	"restart":      restart,
	"rm":           func(p *plan, v string) error { return setBool(&p.remove, v) },
	"security-opt": securityOpt,
	"stop-signal":  func(p *plan, v string) error { p.config.StopSignal = v; return nil },
	"stop-timeout": func(p *plan, v string) error { return setIntPtr(&p.config.StopTimeout, v) },
	"storage-opt":  func(p *plan, v string) error { return addPair(&p.host.StorageOpt, v) },
	"sysctl":       func(p *plan, v string) error { return addPair(&p.host.Sysctls, v) },
	"tmpfs":        tmpfs,
	"tty":          func(p *plan, v string) error { return setBool(&p.config.Tty, v) },
	"interactive":  func(p *plan, v string) error { return setBool(&p.config.OpenStdin, v) },
	"user":         func(p *plan, v string) error { p.config.User = v; return nil },
	"volume":       func(p *plan, v string) error { return volume(p, v) },
	"volumes-from": func(p *plan, v string) error { return add(&p.host.VolumesFrom, v) },
	"workdir":      func(p *plan, v string) error { p.config.WorkingDir = v; return nil },
	"privileged":   func(p *plan, v string) error { return setBool(&p.host.Privileged, v) },
	"runtime":      func(p *plan, v string) error { p.host.Runtime = v; return nil },
	"volume-driver": func(p *plan, v string) error {
		p.host.VolumeDriver = v
		return nil
	},

	// namespaces
	"cgroup-parent": func(p *plan, v string) error { p.host.CgroupParent = v; return nil },
	"cgroupns":      func(p *plan, v string) error { p.host.CgroupnsMode = dc.CgroupnsMode(v); return nil },
	"ipc":           func(p *plan, v string) error { p.host.IpcMode = dc.IpcMode(v); return nil },
	"pid":           func(p *plan, v string) error { p.host.PidMode = dc.PidMode(v); return nil },
	"userns":        func(p *plan, v string) error { p.host.UsernsMode = dc.UsernsMode(v); return nil },
	"uts":           func(p *plan, v string) error { p.host.UTSMode = dc.UTSMode(v); return nil },
	"init": func(p *plan, v string) error {
		p.host.Init = new(bool)
		return setBool(p.host.Init, v)
	},

	// limits
	"blkio-weight":       func(p *plan, v string) error { return setUint16(&p.host.BlkioWeight, v) },
	"cpu-period":         func(p *plan, v string) error { return setInt(&p.host.CPUPeriod, v) },
	"cpu-quota":          func(p *plan, v string) error { return setInt(&p.host.CPUQuota, v) },
	"cpu-rt-period":      func(p *plan, v string) error { return setInt(&p.host.CPURealtimePeriod, v) },
	"cpu-rt-runtime":     func(p *plan, v string) error { return setInt(&p.host.CPURealtimeRuntime, v) },
	"cpu-shares":         func(p *plan, v string) error { return setInt(&p.host.CPUShares, v) },
	"cpus":               cpus,
	"cpuset-cpus":        func(p *plan, v string) error { p.host.CpusetCpus = v; return nil },
	"cpuset-mems":        func(p *plan, v string) error { p.host.CpusetMems = v; return nil },
	"device-cgroup-rule": func(p *plan, v string) error { return add(&p.host.DeviceCgroupRules, v) },
	"memory":             func(p *plan, v string) error { return setBytes(&p.host.Memory, v) },
	"memory-reservation": func(p *plan, v string) error { return setBytes(&p.host.MemoryReservation, v) },
	"memory-swap":        func(p *plan, v string) error { return setBytes(&p.host.MemorySwap, v) },
	"memory-swappiness":  swappiness,
	"oom-kill-disable": func(p *plan, v string) error {
		p.host.OomKillDisable = new(bool)
		return setBool(p.host.OomKillDisable, v)
	},
	"oom-score-adj": func(p *plan, v string) error {
		n, err := strconv.Atoi(v)
		p.host.OomScoreAdj = n
		return err
	},
	"pids-limit": func(p *plan, v string) error {
		p.host.PidsLimit = new(int64)
		return setInt(p.host.PidsLimit, v)
	},
	"shm-size": func(p *plan, v string) error { return setBytes(&p.host.ShmSize, v) },
	"ulimit": func(p *plan, v string) error {
		u, err := units.ParseUlimit(v)
		p.host.Ulimits = append(p.host.Ulimits, u)
		return err
	},

	// networks
	"ip":            func(p *plan, v string) error { return p.address(v, false) },
	"ip6":           func(p *plan, v string) error { return p.address(v, true) },
	"mac-address":   macAddress,
	"network-alias": func(p *plan, v string) error { p.endpUsed = true; return add(&p.endpoint.Aliases, v) },

	// the engine's own health check
	"health-cmd":          func(p *plan, v string) error { p.health().Test = []string{"CMD-SHELL", v}; return nil },
	"health-interval":     func(p *plan, v string) error { return setDuration(&p.health().Interval, v) },
	"health-timeout":      func(p *plan, v string) error { return setDuration(&p.health().Timeout, v) },
	"health-start-period": func(p *plan, v string) error { return setDuration(&p.health().StartPeriod, v) },
	"health-retries": func(p *plan, v string) error {
		n, err := strconv.Atoi(v)
		p.health().Retries = n
		return err
	},
	"no-healthcheck": func(p *plan, v string) error {
		var off bool
		err := setBool(&off, v)
		if off {
			p.health().Test = []string{"NONE"}
		}
		return err
	},
}

func (p *plan) health() *dc.HealthConfig {
	if p.config.Healthcheck == nil {
		p.config.Healthcheck = &dc.HealthConfig{}
	}
	return p.config.Healthcheck
}

func add(list *[]string, v string) error {
	*list = append(*list, v)
	return nil
}

func addAddr(list *[]netip.Addr, v string) error {
	ip, err := netip.ParseAddr(v)
	*list = append(*list, ip)
	return err
}

func pair(v, by string, f func(left, right string)) error {
	left, right, ok := strings.Cut(v, by)
	if !ok || left == "" {
		return fmt.Errorf("expecting two parts with '%s' between", by)
	}
	f(left, right)
	return nil
}

func addPair(m *map[string]string, v string) error {
	return pair(v, "=", func(left, right string) {
		if *m == nil {
			*m = map[string]string{}
		}
		(*m)[left] = right
	})
}

func setBool(to *bool, v string) (err error) {
	if v == "" { // the option without a value
		*to = true
		return nil
	}
	*to, err = strconv.ParseBool(v)
	return err
}

func setInt(to *int64, v string) (err error) {
	*to, err = strconv.ParseInt(v, 10, 64)
	return err
}

func setIntPtr(to **int, v string) error {
	n, err := strconv.Atoi(v)
	*to = &n
	return err
}

func setUint16(to *uint16, v string) error {
	n, err := strconv.ParseUint(v, 10, 16)
	*to = uint16(n)
	return err
}

// setBytes reads "64m", "1g", plain bytes, and -1 for no limit.
func setBytes(to *int64, v string) (err error) {
	if v == "-1" {
		*to = -1
		return nil
	}
	*to, err = units.RAMInBytes(v)
	return err
}

func setDuration(to *time.Duration, v string) (err error) {
	*to, err = time.ParseDuration(v)
	return err
}

func swappiness(p *plan, v string) error {
	p.host.MemorySwappiness = new(int64)
	return setInt(p.host.MemorySwappiness, v)
}

func cpus(p *plan, v string) error {
	n, err := strconv.ParseFloat(v, 64)
	if err == nil && !(n > 0 && n < 1e6) {
		err = errors.New("expecting a positive number of CPUs")
	}
	p.host.NanoCPUs = int64(n * 1e9)
	if p.host.CPUQuota != 0 { // the engine refuses both
		p.host.CPUQuota = 0
	}
	return err
}

func env(p *plan, v string) error {
	name, value, ok := strings.Cut(v, "=")
	if !ok {
		return errors.New("expecting NAME=value; the agent's own environment is not passed on")
	}
	p.setEnv(name, value)
	return nil
}

func expose(p *plan, v string) error {
	r, err := network.ParsePortRange(v)
	if err != nil {
		return err
	}
	for port := range r.All() {
		p.expose(port)
	}
	return nil
}

// publish reads [ip:][host port:]container port[/protocol], without ranges.
func publish(p *plan, v string) error {
	spec, proto, ok := strings.Cut(v, "/")
	if !ok {
		proto = "tcp"
	}
	inside, outside, ip := spec, "", netip.Addr{}
	if at := strings.LastIndexByte(spec, ':'); at >= 0 {
		outside, inside = spec[:at], spec[at+1:]
		if at := strings.LastIndexByte(outside, ':'); at >= 0 {
			addr, err := netip.ParseAddr(strings.Trim(outside[:at], "[]"))
			if err != nil {
				return err
			}
			ip, outside = addr, outside[at+1:]
		}
	}
	n, err := strconv.ParseUint(inside, 10, 16)
	if err != nil {
		return err
	}
	if outside != "" {
		if _, err := strconv.ParseUint(outside, 10, 16); err != nil {
			return err
		}
	}
	return p.publish(uint32(n), strings.ToLower(proto), ip, outside)
}

func restart(p *plan, v string) error {
	name, count, _ := strings.Cut(v, ":")
	p.host.RestartPolicy = dc.RestartPolicy{Name: dc.RestartPolicyMode(name)}
	if count != "" {
		n, err := strconv.Atoi(count)
		if err != nil {
			return err
		}
		p.host.RestartPolicy.MaximumRetryCount = n
	}
	return dc.ValidateRestartPolicy(p.host.RestartPolicy)
}

// maxProfile bounds a seccomp profile.
const maxProfile = 1 << 20

// securityOpt passes an option on; a seccomp profile is a file of this host, whose content
// the engine wants.
func securityOpt(p *plan, v string) error {
	file, ok := strings.CutPrefix(v, "seccomp=")
	if !ok || file == "unconfined" || file == "builtin" || strings.HasPrefix(file, "{") {
		return add(&p.host.SecurityOpt, v)
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxProfile {
		return errors.New("a seccomp profile is a file of at most 1 MiB")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return add(&p.host.SecurityOpt, "seccomp="+string(raw))
}

func tmpfs(p *plan, v string) error {
	if p.host.Tmpfs == nil {
		p.host.Tmpfs = map[string]string{}
	}
	at, options, _ := strings.Cut(v, ":")
	p.host.Tmpfs[at] = options
	return nil
}

// volume reads [source:]target[:mode].
func volume(p *plan, v string) error {
	if strings.Contains(v, ":") {
		return add(&p.host.Binds, v)
	}
	if p.config.Volumes == nil {
		p.config.Volumes = map[string]struct{}{}
	}
	p.config.Volumes[v] = struct{}{}
	return nil
}

// device reads host path[:container path[:permissions]].
func device(p *plan, v string) error {
	d := dc.DeviceMapping{CgroupPermissions: "rwm"}
	parts := strings.Split(v, ":")
	d.PathOnHost, d.PathInContainer = parts[0], parts[0]
	switch {
	case len(parts) > 3 || parts[0] == "":
		return errors.New("expecting host path, container path and permissions with ':' between")
	case len(parts) == 3:
		d.PathInContainer, d.CgroupPermissions = parts[1], parts[2]
	case len(parts) == 2 && strings.Trim(parts[1], "rwm") == "":
		d.CgroupPermissions = parts[1]
	case len(parts) == 2:
		d.PathInContainer = parts[1]
	}
	p.host.Devices = append(p.host.Devices, d)
	return nil
}

func (p *plan) address(v string, six bool) error {
	ip, err := netip.ParseAddr(v)
	if err == nil && ip.Is4() == six {
		err = errors.New("it is of the other IP version")
	}
	if p.endpoint.IPAMConfig == nil {
		p.endpoint.IPAMConfig = &network.EndpointIPAMConfig{}
	}
	p.endpUsed = true
	if six {
		p.endpoint.IPAMConfig.IPv6Address = ip
	} else {
		p.endpoint.IPAMConfig.IPv4Address = ip
	}
	return err
}

// macAddress is taken by engines of API 1.44 and later only: before, it stood in a field
// that is no longer part of the API.
func macAddress(p *plan, v string) error {
	p.endpUsed, p.needs = true, "1.44"
	return p.endpoint.MacAddress.UnmarshalText([]byte(v))
}
