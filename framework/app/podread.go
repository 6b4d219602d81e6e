package app

import (
	"slices"
	"strings"
)

// PodUpdate is the body of a request for one pod: always a whole definition. Its JSON
// types are already checked.
type PodUpdate struct {
	raw *podDraft
	// ID is the id as written.
	ID string
}

// podDraft is a pod body as it was written: what has a default that depends on something
// else is nil when it was absent.
type podDraft struct {
	Pod
	role        *string
	upgradeMin  *float64
	upgradeMax  *float64
	unreachable *UnreachableStrategy
}

// ReadPod decodes one pod body. The error is *Broken, or *Invalid with the message
// "Invalid JSON".
func ReadPod(body []byte) (*PodUpdate, error) {
	return decode(body, "error.expected.jsobject", func(n node) *PodUpdate {
		u := &PodUpdate{raw: &podDraft{}}
		if n.object() {
			u.ID = n.get("id").required().str()
			u.raw = readPodDraft(n)
		}
		return u
	})
}

// ReadInstanceIDs decodes a JSON array of instance ids, the body of DELETE
// /v2/pods/{id}::instances. The error is *Broken or *Invalid.
func ReadInstanceIDs(body []byte) ([]InstanceID, error) {
	return decode(body, "error.expected.jsarray", func(n node) []InstanceID {
		return each(n, func(e node) InstanceID {
			id := InstanceID(e.str())
			if e.v != nil && !id.whole() {
				e.fail("must be an instance id: <pod>.instance-<uuid>")
			}
			return id
		})
	})
}

func readPodDraft(n node) *podDraft {
	d := &podDraft{Pod: Pod{
		Labels:              n.get("labels").dict(),
		User:                n.get("user").str(),
		Environment:         readEnv(n.get("environment")),
		Containers:          each(n.get("containers").required(), readPodContainer),
		Secrets:             readSecrets(n.get("secrets")),
		Volumes:             each(n.get("volumes"), readPodVolume),
		Networks:            each(n.get("networks"), readNetwork),
		Scaling:             PodScaling{Kind: "fixed", Instances: 1},
		ExecutorResources:   ExecutorResources{Cpus: 0.1, Mem: 32, Disk: 10},
		LegacySharedCgroups: n.get("legacySharedCgroups").boolean(false),
	}, role: optStr(n.get("role"))}
	if s := n.get("scaling"); s.object() {
		s.get("kind").enum("fixed", "fixed")
		d.Scaling.Instances = s.get("instances").integer(1)
	}
	if e := n.get("executorResources"); e.object() {
		d.ExecutorResources = ExecutorResources{e.get("cpus").float(0.1), e.get("mem").float(32), e.get("disk").float(10)}
	}
	if l := n.get("linuxInfo"); l.object() {
		d.LinuxInfo = readLinuxInfo(l)
	}
	s := n.get("scheduling")
	s.object()
	back := s.get("backoff")
	back.object()
	d.Scheduling.Backoff = PodBackoff{back.get("backoff").float(1), back.get("backoffFactor").float(1.15), back.get("maxLaunchDelay").float(300)}
	if u := s.get("upgrade"); u.object() {
		d.upgradeMin, d.upgradeMax = optFloat(u.get("minimumHealthCapacity")), optFloat(u.get("maximumOverCapacity"))
	}
	if at := s.get("placement"); at.object() {
		d.Scheduling.Placement.Constraints = distinctOf(each(at.get("constraints"), readPodConstraint))
		if roles := distinctOf(at.get("acceptedResourceRoles").strings()); len(roles) > 0 {
			d.Scheduling.Placement.AcceptedResourceRoles = roles
		}
	}
	d.Scheduling.KillSelection = KillSelection(s.get("killSelection").enum(string(YoungestFirst), string(YoungestFirst), string(OldestFirst)))
	d.unreachable = readUnreachable(s.get("unreachableStrategy"))
	return d
}

func readPodConstraint(n node) PodConstraint {
	n.object()
	return PodConstraint{
		Field:    n.get("fieldName").required().str(),
		Operator: Operator(strings.ToUpper(n.get("operator").required().str())),
		Value:    n.get("value").str(),
	}
}

func readPodVolume(n node) PodVolume {
	n.object()
	return PodVolume{Name: n.get("name").required().str(), Host: n.get("host").str(),
		Persistent: readPersistent(n.get("persistent")), Secret: n.get("secret").str()}
}

func readPodContainer(n node) PodContainer {
	n.object()
	c := PodContainer{
		Name:         n.get("name").required().str(),
		Artifacts:    each(n.get("artifacts"), readArtifact),
		Endpoints:    each(n.get("endpoints"), readEndpoint),
		Environment:  readEnv(n.get("environment")),
		Labels:       n.get("labels").dict(),
		TTY:          n.get("tty").optBool(),
		User:         n.get("user").str(),
		VolumeMounts: each(n.get("volumeMounts"), readPodMount),
		HealthCheck:  readPodHealthCheck(n.get("healthCheck")),
		Check:        readPodCheck(n.get("check")),
	}
	r := n.get("resources").required()
	r.object()
	c.Resources = PodResources{r.get("cpus").float(1), r.get("mem").float(128), r.get("disk").float(0), r.get("gpus").integer(0)}
	c.ResourceLimits = readLimits(n.get("resourceLimits"))
	if e := n.get("exec"); e.object() {
		c.Exec = &PodExec{readCommand(e.get("command").required()), e.get("overrideEntrypoint").optBool()}
	}
	if i := n.get("image"); i.object() {
		c.Image = &PodImage{Kind: i.get("kind").required().enum("DOCKER", "DOCKER"), ID: i.get("id").required().str(),
			ForcePull: i.get("forcePull").optBool(), Labels: i.get("labels").dict()}
		if pc := i.get("pullConfig"); pc.object() {
			c.Image.PullConfig = &PullConfig{Secret: pc.get("secret").required().str()}
		}
	}
	if l := n.get("lifecycle"); l.object() {
		c.Lifecycle = &PodLifecycle{optFloat(l.get("killGracePeriodSeconds"))}
	}
	if l := n.get("linuxInfo"); l.object() {
		c.LinuxInfo = readLinuxInfo(l)
	}
	return c
}

// readCommand reads {"shell":…} or {"argv":[…]}.
func readCommand(n node) CheckCommand {
	n.object()
	c := CheckCommand{Shell: n.get("shell").str(), Argv: n.get("argv").strings()}
	if n.present() && (n.get("shell").present()) == (n.get("argv").present()) {
		n.fail("must have exactly one of shell and argv")
	}
	return c
}

func readEndpoint(n node) Endpoint {
	n.object()
	return Endpoint{
		Name:          n.get("name").required().str(),
		ContainerPort: n.get("containerPort").optInt(),
		HostPort:      n.get("hostPort").optInt(),
		Protocol:      n.get("protocol").strings(),
		Labels:        n.get("labels").dict(),
		NetworkNames:  n.get("networkNames").strings(),
	}
}

func readPodMount(n node) PodMount {
	n.object()
	return PodMount{n.get("name").required().str(), n.get("mountPath").required().str(), n.get("readOnly").optBool()}
}

// readProbe reads what a check or a health check does.
func readProbe(n node) (http *PodHTTPCheck, tcp *PodTCPCheck, exec *CheckExec) {
	if h := n.get("http"); h.object() {
		http = &PodHTTPCheck{h.get("endpoint").required().str(), h.get("path").str(), h.get("scheme").enum("", "HTTP", "HTTPS")}
	}
	if t := n.get("tcp"); t.object() {
		tcp = &PodTCPCheck{t.get("endpoint").required().str()}
	}
	if e := n.get("exec"); e.object() {
		exec = &CheckExec{readCommand(e.get("command").required())}
	}
	return http, tcp, exec
}

func readPodHealthCheck(n node) *PodHealthCheck {
	if !n.object() {
		return nil
	}
	h := &PodHealthCheck{
		GracePeriodSeconds:     n.get("gracePeriodSeconds").integer(300),
		IntervalSeconds:        n.get("intervalSeconds").integer(60),
		MaxConsecutiveFailures: n.get("maxConsecutiveFailures").integer(3),
		TimeoutSeconds:         n.get("timeoutSeconds").integer(20),
		DelaySeconds:           n.get("delaySeconds").integer(15),
	}
	h.HTTP, h.TCP, h.Exec = readProbe(n)
	return h
}

func readPodCheck(n node) *PodCheck {
	if !n.object() {
		return nil
	}
	c := &PodCheck{
		IntervalSeconds: n.get("intervalSeconds").integer(60),
		TimeoutSeconds:  n.get("timeoutSeconds").integer(20),
		DelaySeconds:    n.get("delaySeconds").integer(15),
	}
	c.HTTP, c.TCP, c.Exec = readProbe(n)
	return c
}

// Create makes the canonical pod of a body under the given id. The error is an
// *Invalid. Versions stay 0 until Settle.
func (u *PodUpdate) Create(id PathID, r Rules, roles Roles) (*Pod, error) {
	problems := &problems{}
	d := u.raw
	p := d.Pod
	p.ID = id
	p.Role = roles.Default
	if d.role != nil {
		p.Role = *d.role
	}
	p.Networks = slices.Clone(d.Networks)
	for i := range p.Networks {
		if n := &p.Networks[i]; n.Mode == NetworkContainer && n.Name == "" {
			n.Name = r.DefaultNetwork
		}
	}
	p.defaultHostPorts()
	p.Scheduling.Upgrade = UpgradeStrategy{MaximumOverCapacity: 1, MinimumHealthCapacity: 1}
	if p.IsResident() {
		p.Scheduling.Upgrade = UpgradeStrategy{MinimumHealthCapacity: 0.5}
	}
	if d.upgradeMin != nil {
		p.Scheduling.Upgrade.MinimumHealthCapacity = *d.upgradeMin
	}
	if d.upgradeMax != nil {
		p.Scheduling.Upgrade.MaximumOverCapacity = *d.upgradeMax
	}
	p.Scheduling.Unreachable = UnreachableStrategy{Disabled: p.IsResident()}
	if d.unreachable != nil {
		p.Scheduling.Unreachable = *d.unreachable
	}
	p.validate(r, roles, problems)
	return &p, problems.err(MsgInvalidObject)
}

// defaultHostPorts gives endpoints any host port, but on container networks, where one
// without a host port has none.
func (p *Pod) defaultHostPorts() {
	if !p.HostNetworking() && p.Networks[0].Mode == NetworkContainer {
		return
	}
	p.Containers = slices.Clone(p.Containers)
	for i := range p.Containers {
		c := &p.Containers[i]
		c.Endpoints = slices.Clone(c.Endpoints)
		for k := range c.Endpoints {
			if e := &c.Endpoints[k]; e.HostPort == nil {
				e.HostPort = new(int)
			}
		}
	}
}
