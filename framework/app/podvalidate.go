package app

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxContainers bounds a pod; Marathon has no bound, but every container is a task.
const maxContainers = 1000

// validate judges a canonical pod (marathon.md 3.1, 3.2).
func (p *Pod) validate(r Rules, roles Roles, out *problems) {
	checkID(p.ID, "/id", out)
	checkRole(p.Role, roles, out)
	if len(p.Containers) == 0 {
		out.add("/containers", "must not be empty")
	}
	if len(p.Containers) > maxContainers {
		out.add("/containers", fmt.Sprintf("has %d elements, expected %d or less", len(p.Containers), maxContainers))
		return
	}
	names := map[string]bool{}
	networks, volumes := checkNetworks(p.Networks, out), map[string]bool{}
	for i := range p.Volumes {
		volumes[p.Volumes[i].Name] = true
	}
	for i := range p.Containers {
		c := &p.Containers[i]
		path := index("/containers", i)
		checkName(path+"/name", c.Name, out)
		if names[c.Name] {
			out.add("/containers", "container names must be unique")
		}
		names[c.Name] = true
		p.checkContainer(c, path, r, networks, volumes, out)
	}
	p.checkEndpointsUnique(out)
	p.checkVolumes(r, out)
	p.checkSecrets(r, out)
	p.checkScheduling(out)
	if e := p.ExecutorResources; !(e.Cpus >= 0 && e.Mem >= 0 && e.Disk >= 0) {
		out.add("/executorResources", "cpus, mem and disk must be 0 or more")
	}
	if p.LinuxInfo != nil {
		if p.LinuxInfo.Seccomp != nil {
			out.add("/linuxInfo/seccomp", "is only allowed in the linuxInfo of a container")
		}
		p.LinuxInfo.check("/linuxInfo", out)
	}
}

// checkName judges the name of a container, an endpoint or a volume.
func checkName(path, name string, p *problems) {
	if !portNamePattern.MatchString(name) {
		p.add(path, "must fully match regular expression '"+portNamePattern.String()+"'")
	}
	if len(name) > 63 {
		p.add(path, fmt.Sprintf("has %d characters, expected 63 or less", len(name)))
	}
}

func (p *Pod) checkContainer(c *PodContainer, path string, r Rules, networks, volumes map[string]bool, out *problems) {
	for _, v := range []struct {
		name  string
		value float64
	}{{"cpus", c.Resources.Cpus}, {"mem", c.Resources.Mem}, {"disk", c.Resources.Disk}, {"gpus", float64(c.Resources.GPUs)}} {
		if !(v.value >= 0) {
			out.add(path+"/resources/"+v.name, fmt.Sprintf("got %s, expected 0.0 or more", java(v.value)))
		}
	}
	if c.Resources.GPUs > 0 && !r.Features["gpu_resources"] {
		out.add(path+"/resources/gpus", "Feature gpu_resources is not enabled. Enable with --enable_features gpu_resources)")
	}
	if l := c.ResourceLimits; l != nil {
		checkLimit(path+"/resourceLimits/cpus", l.Cpus, c.Resources.Cpus, out)
		checkLimit(path+"/resourceLimits/mem", l.Mem, c.Resources.Mem, out)
		if p.LegacySharedCgroups {
			out.add(path+"/resourceLimits", "resourceLimits cannot be defined if legacySharedCgroups is enabled")
		}
	}
	switch {
	case c.Exec == nil && c.Image == nil:
		out.add(path, "must have exec, or an image that has a command")
	case c.Exec != nil && c.Exec.Command.Argv == nil && c.Exec.Command.Shell == "":
		out.add(path+"/exec/command/shell", "must not be empty")
	case c.Exec != nil && c.Exec.Command.Argv != nil && len(c.Exec.Command.Argv) == 0:
		out.add(path+"/exec/command/argv", "must not be empty")
	case c.Exec != nil && c.Exec.Command.Shell != "" && c.Exec.OverrideEntrypoint != nil && !*c.Exec.OverrideEntrypoint:
		out.add(path+"/exec/overrideEntrypoint", "must not be false with a shell command")
	}
	if c.Image != nil && c.Image.ID == "" {
		out.add(path+"/image/id", "must not be empty")
	}
	for i := range c.Endpoints {
		p.checkEndpoint(&c.Endpoints[i], index(path+"/endpoints", i), networks, out)
	}
	for i, f := range c.Artifacts {
		if _, err := url.Parse(f.URI); err != nil || f.URI == "" {
			out.add(index(path+"/artifacts", i)+"/uri", fmt.Sprintf("URI has invalid syntax: %q", clip(f.URI)))
		}
	}
	for i, m := range c.VolumeMounts {
		at := index(path+"/volumeMounts", i)
		if !volumes[m.Name] {
			out.add(at+"/name", "Referenced Volume in VolumeMount should exist")
		}
		if m.MountPath == "" || len(m.MountPath) > 1024 {
			out.add(at+"/mountPath", fmt.Sprintf("has %d characters, expected between 1 and 1024", len(m.MountPath)))
		}
	}
	if h := c.HealthCheck; h != nil {
		c.checkProbe(path+"/healthCheck", h.HTTP, h.TCP, h.Exec, []int{h.DelaySeconds, h.IntervalSeconds, h.TimeoutSeconds, h.GracePeriodSeconds, h.MaxConsecutiveFailures}, out)
		if h.TimeoutSeconds >= h.IntervalSeconds {
			out.add(path+"/healthCheck/timeoutSeconds", fmt.Sprintf("got %d, expected less than intervalSeconds, which is %d", h.TimeoutSeconds, h.IntervalSeconds))
		}
	}
	if h := c.Check; h != nil {
		c.checkProbe(path+"/check", h.HTTP, h.TCP, h.Exec, []int{h.DelaySeconds, h.IntervalSeconds, h.TimeoutSeconds}, out)
	}
	if l := c.Lifecycle; l != nil && l.KillGracePeriodSeconds != nil && !(*l.KillGracePeriodSeconds >= 0) {
		out.add(path+"/lifecycle/killGracePeriodSeconds", fmt.Sprintf("got %s, expected 0.0 or more", java(*l.KillGracePeriodSeconds)))
	}
	if c.LinuxInfo != nil {
		c.LinuxInfo.check(path+"/linuxInfo", out)
	}
	if _, empty := c.Environment[""]; empty {
		out.add(path+"/environment", "must not have an empty key")
	}
}

// checkProbe judges a check or health check of the container.
func (c *PodContainer) checkProbe(path string, http *PodHTTPCheck, tcp *PodTCPCheck, exec *CheckExec, times []int, out *problems) {
	kinds := 0
	endpoint := func(kind, name string) {
		kinds++
		if !slices.ContainsFunc(c.Endpoints, func(e Endpoint) bool { return e.Name == name }) {
			out.add(path+"/"+kind+"/endpoint", "contained in the container endpoints")
		}
	}
	if http != nil {
		endpoint("http", http.Endpoint)
		if len(http.Path) > 1024 {
			out.add(path+"/http/path", fmt.Sprintf("has %d characters, expected between 1 and 1024", len(http.Path)))
		}
	}
	if tcp != nil {
		endpoint("tcp", tcp.Endpoint)
	}
	if exec != nil {
		kinds++
		if exec.Command.Shell == "" && len(exec.Command.Argv) == 0 {
			out.add(path+"/exec/command", "must not be empty")
		}
	}
	if kinds != 1 {
		out.add(path, "Only one of http, tcp, or command may be specified")
	}
	for _, t := range times {
		if t < 0 {
			out.add(path, fmt.Sprintf("got %d, expected 0 or more: times and counts are not negative", t))
		}
	}
}

func (p *Pod) checkEndpoint(e *Endpoint, path string, networks map[string]bool, out *problems) {
	checkName(path+"/name", e.Name, out)
	if e.ContainerPort != nil {
		checkPort(path+"/containerPort", *e.ContainerPort, out)
	}
	if e.HostPort != nil {
		checkPort(path+"/hostPort", *e.HostPort, out)
		if len(p.Networks) > 1 && len(e.NetworkNames) != 1 {
			out.add(path, "networkNames must be a single item list when hostPort is specified and more than 1 container network is defined")
		}
	}
	if len(p.Networks) > 0 {
		switch mode := p.Networks[0].Mode; {
		case mode == NetworkHost && e.ContainerPort != nil:
			out.add(path+"/containerPort", "is not allowed when using host-mode networking")
		case mode == NetworkContainer && e.ContainerPort == nil:
			out.add(path+"/containerPort", "is required when using container-mode networking")
		}
	}
	for j, n := range e.NetworkNames {
		if !networks[n] || n == "" {
			out.add(index(path+"/networkNames", j), "must be the name of one of the pod's networks: "+clip(n)+" is not")
		}
	}
	if len(distinctOf(e.Protocol)) != len(e.Protocol) {
		out.add(path+"/protocol", "Duplicate protocols within the same endpoint are not allowed")
	}
	for j, proto := range e.Protocol {
		checkName(index(path+"/protocol", j), proto, out)
	}
}

func (p *Pod) checkEndpointsUnique(out *problems) {
	names, inside, outside := map[string]bool{}, map[int]bool{}, map[int]bool{}
	twice := func(seen map[int]bool, port *int) bool {
		if port == nil || *port == 0 {
			return false
		}
		was := seen[*port]
		seen[*port] = true
		return was
	}
	for i := range p.Containers {
		for _, e := range p.Containers[i].Endpoints {
			if names[e.Name] {
				out.add("/", "endpoint names must be unique across all containers")
			}
			names[e.Name] = true
			if twice(inside, e.ContainerPort) {
				out.add("/", "container ports must be unique across all containers")
			}
			if twice(outside, e.HostPort) {
				out.add("/", "host ports must be unique across all containers")
			}
		}
	}
}

func (p *Pod) checkVolumes(r Rules, out *problems) {
	names := map[string]bool{}
	mounted := map[string]bool{}
	for i := range p.Containers {
		for _, m := range p.Containers[i].VolumeMounts {
			mounted[m.Name] = true
		}
	}
	for i := range p.Volumes {
		v := &p.Volumes[i]
		path := index("/volumes", i)
		if v.Name == "" || strings.ContainsAny(v.Name, "/\x00") || v.Name == "." || v.Name == ".." {
			out.add(path+"/name", `must not be empty, . or .., and must not contain "/"`)
		}
		if names[v.Name] {
			out.add("/volumes", "volume names must be unique")
		}
		names[v.Name] = true
		if !mounted[v.Name] {
			out.add(path, "volume must be referenced by at least one container")
		}
		kinds := 0
		for _, set := range []bool{v.Host != "", v.Persistent != nil, v.Secret != ""} {
			if set {
				kinds++
			}
		}
		if kinds > 1 {
			out.add(path, "must have at most one of host, persistent and secret")
		}
		if v.Persistent != nil {
			v.Persistent.check(path+"/persistent", out)
		}
	}
}

func (p *Pod) checkSecrets(r Rules, out *problems) {
	used := len(p.Secrets) > 0
	env := func(path string, vars map[string]EnvValue) {
		for k, v := range vars {
			if v.Secret == "" {
				continue
			}
			used = true
			if _, ok := p.Secrets[v.Secret]; !ok {
				out.add(path+"/"+k, "references an undefined secret: "+clip(v.Secret))
			}
		}
	}
	env("/environment", p.Environment)
	if _, empty := p.Environment[""]; empty {
		out.add("/environment", "must not have an empty key")
	}
	for i := range p.Containers {
		c := &p.Containers[i]
		env(index("/containers", i)+"/environment", c.Environment)
		if c.Image != nil && c.Image.PullConfig != nil {
			used = true
			if _, ok := p.Secrets[c.Image.PullConfig.Secret]; !ok {
				out.add(index("/containers", i)+"/image/pullConfig", "pullConfig.secret must refer to an existing secret")
			}
		}
	}
	for i := range p.Volumes {
		if s := p.Volumes[i].Secret; s != "" {
			used = true
			if _, ok := p.Secrets[s]; !ok {
				out.add(index("/volumes", i)+"/secret", "volume.secret must refer to an existing secret")
			}
		}
	}
	if used && !r.Features["secrets"] {
		out.add("/secrets", secretsOff)
	}
}

func (p *Pod) checkScheduling(out *problems) {
	s := &p.Scheduling
	if n := p.Scaling.Instances; n < 0 {
		out.add("/scaling/instances", fmt.Sprintf("got %d, expected 0 or more", n))
	} else if n > MaxInstances {
		out.add("/scaling/instances", fmt.Sprintf("got %d, expected %d or less", n, MaxInstances))
	}
	if !(s.Backoff.Backoff >= 0) || !(s.Backoff.MaxLaunchDelay >= 0) || s.Backoff.Backoff > maxSeconds || s.Backoff.MaxLaunchDelay > maxSeconds {
		out.add("/scheduling/backoff", fmt.Sprintf("backoff and maxLaunchDelay must be between 0 and %.0f seconds", float64(maxSeconds)))
	}
	if !(s.Backoff.BackoffFactor >= 1) {
		out.add("/scheduling/backoff/backoffFactor", fmt.Sprintf("got %s, expected 1.0 or more", java(s.Backoff.BackoffFactor)))
	}
	s.Upgrade.check("/scheduling/upgrade", out)
	for i, c := range s.Placement.Constraints {
		Constraint(c).check(index("/scheduling/placement/constraints", i), out)
	}
	for _, role := range s.Placement.AcceptedResourceRoles {
		if role != "*" && role != p.Role {
			out.add("/scheduling/placement/acceptedResourceRoles", "acceptedResourceRoles can only contain * and "+clip(p.Role))
		}
	}
	if !p.IsResident() {
		s.Unreachable.check("/scheduling/unreachableStrategy", out)
		return
	}
	if !s.Unreachable.Disabled {
		out.add("/scheduling/unreachableStrategy", "unreachableStrategy must be disabled for pods with persistent volumes")
	}
	if s.Upgrade.MaximumOverCapacity != 0 {
		out.add("/scheduling/upgrade/maximumOverCapacity", fmt.Sprintf("got %s, expected 0.0 for a pod with persistent volumes", java(s.Upgrade.MaximumOverCapacity)))
	}
	if p.Role == "*" {
		out.add("/role", "Resident pods cannot have the role *")
	}
	if roles := s.Placement.AcceptedResourceRoles; len(roles) > 0 && !slices.Equal(roles, []string{"*"}) {
		out.add("/scheduling/placement/acceptedResourceRoles", "A resident pod must have `acceptedResourceRoles = [\"*\"]`.")
	}
}

// maxSeconds bounds times that become durations: ten years.
const maxSeconds = 10 * 365 * 24 * 3600

// check judges isolation settings (marathon.md 2.4).
func (l *LinuxInfo) check(path string, p *problems) {
	if s := l.Seccomp; s != nil && (s.ProfileName != "") == s.Unconfined {
		p.add(path+"/seccomp", "must have either a profileName or unconfined true")
	}
	if i := l.IPCInfo; i != nil && i.ShmSize != nil && i.Mode != "PRIVATE" {
		p.add(path+"/ipcInfo/shmSize", "is only allowed with mode PRIVATE")
	}
}

// residentChange refuses changes that instances with reserved resources cannot follow
// (marathon.md 3.2). The error is an *Invalid.
func residentChange(from, to *Pod) error {
	if !from.IsResident() && !to.IsResident() {
		return nil
	}
	p := &problems{}
	if !sameVolumes(from, to) {
		p.add("/", "persistent volumes cannot be updated")
	}
	all := func(s *RunSpec) Amounts { return s.Total().Plus(s.Executor) }
	a, b := all(from.RunSpec()), all(to.RunSpec())
	for _, each := range []struct {
		what string
		same bool
	}{{"cpus", a.Cpus == b.Cpus}, {"mem", a.Mem == b.Mem}, {"disk", a.Disk == b.Disk}, {"gpus", a.GPUs == b.GPUs},
		{"host ports", slices.Equal(from.fixedPorts(), to.fixedPorts())}} {
		if !each.same {
			p.add("/", each.what+" cannot be updated if a pod has persistent volumes")
		}
	}
	return p.err(MsgInvalidObject)
}

// fixedPorts are the host ports that are asked for, sorted.
func (p *Pod) fixedPorts() []int {
	var out []int
	for i := range p.Containers {
		for _, e := range p.Containers[i].Endpoints {
			if e.HostPort != nil {
				out = append(out, *e.HostPort)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func sameVolumes(a, b *Pod) bool {
	persistent := func(p *Pod) []byte {
		c := Pod{}
		for _, v := range p.Volumes {
			if v.Persistent != nil {
				c.Volumes = append(c.Volumes, v)
			}
		}
		slices.SortFunc(c.Volumes, func(x, y PodVolume) int { return strings.Compare(x.Name, y.Name) })
		return c.fingerprint()
	}
	return string(persistent(a)) == string(persistent(b))
}
