package app

// Pod is one pod definition in canonical form: containers that run together on one
// agent, in one network and with shared volumes. The struct tags are Marathon's output
// rules (marathon.md 3.1): a field without omitempty is always present.
type Pod struct {
	ID                  PathID               `json:"id"`
	Containers          []PodContainer       `json:"containers"` // at least one; names are unique
	Environment         map[string]EnvValue  `json:"environment,omitempty"`
	ExecutorResources   ExecutorResources    `json:"executorResources"`
	Labels              map[string]string    `json:"labels,omitempty"`
	LegacySharedCgroups bool                 `json:"legacySharedCgroups,omitempty"`
	LinuxInfo           *LinuxInfo           `json:"linuxInfo,omitempty"` // its ipcInfo only
	Networks            []Network            `json:"networks,omitempty"`  // none: the agent's network
	Role                string               `json:"role"`
	Scaling             PodScaling           `json:"scaling"`
	Scheduling          PodScheduling        `json:"scheduling"`
	Secrets             map[string]SecretDef `json:"secrets,omitempty"`
	User                string               `json:"user,omitempty"` // containers may name another
	Version             Timestamp            `json:"version"`
	Volumes             []PodVolume          `json:"volumes,omitempty"`

	// VersionInfo is kept beside the definition and never shown: see PodRecord.
	VersionInfo VersionInfo `json:"-"`
}

// PodRecord is a pod as the store holds it.
type PodRecord struct {
	*Pod
	Versions VersionInfo `json:"versionInfo"`
}

// Restored gives the pod of a record.
func (r *PodRecord) Restored() *Pod {
	r.Pod.VersionInfo = r.Versions
	return r.Pod
}

// PodScaling is how many instances are wanted. The only kind is fixed.
type PodScaling struct {
	Kind      string `json:"kind"`
	Instances int    `json:"instances"`
}

// PodScheduling says how instances are placed, delayed, replaced and given up.
type PodScheduling struct {
	Backoff       PodBackoff          `json:"backoff"`
	Upgrade       UpgradeStrategy     `json:"upgrade"`
	Placement     PodPlacement        `json:"placement"`
	KillSelection KillSelection       `json:"killSelection"`
	Unreachable   UnreachableStrategy `json:"unreachableStrategy"`
}

// PodBackoff delays launches after failures; seconds.
type PodBackoff struct {
	Backoff        float64 `json:"backoff"`
	BackoffFactor  float64 `json:"backoffFactor"` // at least 1
	MaxLaunchDelay float64 `json:"maxLaunchDelay"`
}

// PodPlacement limits where instances run.
type PodPlacement struct {
	Constraints           []PodConstraint `json:"constraints,omitempty"`
	AcceptedResourceRoles []string        `json:"acceptedResourceRoles,omitempty"`
}

// PodConstraint is a Constraint written as an object.
type PodConstraint struct {
	Field    string   `json:"fieldName"`
	Operator Operator `json:"operator"`
	Value    string   `json:"value,omitempty"`
}

// PodVolume is something that containers may mount: a host path, a persistent volume, a
// secret, or else a folder that lives as long as the instance.
type PodVolume struct {
	Name       string            `json:"name"`
	Host       string            `json:"host,omitempty"`
	Persistent *PersistentVolume `json:"persistent,omitempty"`
	Secret     string            `json:"secret,omitempty"`
}

// PodContainer is one container of a pod: one task of each instance.
type PodContainer struct {
	Name           string              `json:"name"`
	Artifacts      []Artifact          `json:"artifacts,omitempty"`
	Check          *PodCheck           `json:"check,omitempty"`
	Endpoints      []Endpoint          `json:"endpoints,omitempty"`
	Environment    map[string]EnvValue `json:"environment,omitempty"`
	Exec           *PodExec            `json:"exec,omitempty"` // nil: the image's own command
	HealthCheck    *PodHealthCheck     `json:"healthCheck,omitempty"`
	Image          *PodImage           `json:"image,omitempty"`
	Labels         map[string]string   `json:"labels,omitempty"`
	Lifecycle      *PodLifecycle       `json:"lifecycle,omitempty"`
	LinuxInfo      *LinuxInfo          `json:"linuxInfo,omitempty"`
	ResourceLimits *ResourceLimits     `json:"resourceLimits,omitempty"`
	Resources      PodResources        `json:"resources"`
	TTY            *bool               `json:"tty,omitempty"`
	User           string              `json:"user,omitempty"`
	VolumeMounts   []PodMount          `json:"volumeMounts,omitempty"`
}

// PodResources are what a container takes.
type PodResources struct {
	Cpus float64 `json:"cpus"`
	Mem  float64 `json:"mem"`  // MiB
	Disk float64 `json:"disk"` // MiB
	GPUs int     `json:"gpus"`
}

// PodExec is what a container runs. With an image and OverrideEntrypoint false or nil an
// argument vector is given to the image's entry point.
type PodExec struct {
	Command            CheckCommand `json:"command"`
	OverrideEntrypoint *bool        `json:"overrideEntrypoint,omitempty"`
}

// PodImage is a file system to run in.
type PodImage struct {
	Kind       string            `json:"kind"` // DOCKER
	ID         string            `json:"id"`
	ForcePull  *bool             `json:"forcePull,omitempty"`
	PullConfig *PullConfig       `json:"pullConfig,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

// Endpoint is one port of a container.
type Endpoint struct {
	Name          string            `json:"name"`                    // unique in the pod
	ContainerPort *int              `json:"containerPort,omitempty"` // 0: the same number as the host port
	HostPort      *int              `json:"hostPort,omitempty"`      // nil: none; 0: any
	Labels        map[string]string `json:"labels,omitempty"`
	NetworkNames  []string          `json:"networkNames,omitempty"`
	Protocol      []string          `json:"protocol,omitempty"` // any names; one entry of discovery for each
}

// PodMount puts a volume of the pod into a container.
type PodMount struct {
	Name      string `json:"name"`
	MountPath string `json:"mountPath"`
	ReadOnly  *bool  `json:"readOnly,omitempty"`
}

// PodLifecycle is how a container ends.
type PodLifecycle struct {
	KillGracePeriodSeconds *float64 `json:"killGracePeriodSeconds,omitempty"`
}

// PodHealthCheck runs beside the container. Exactly one of HTTP, TCP and Exec is set.
type PodHealthCheck struct {
	HTTP                   *PodHTTPCheck `json:"http,omitempty"`
	TCP                    *PodTCPCheck  `json:"tcp,omitempty"`
	Exec                   *CheckExec    `json:"exec,omitempty"`
	GracePeriodSeconds     int           `json:"gracePeriodSeconds"`
	IntervalSeconds        int           `json:"intervalSeconds"`
	MaxConsecutiveFailures int           `json:"maxConsecutiveFailures"`
	TimeoutSeconds         int           `json:"timeoutSeconds"`
	DelaySeconds           int           `json:"delaySeconds"`
}

// PodCheck only reports. Exactly one of HTTP, TCP and Exec is set.
type PodCheck struct {
	HTTP            *PodHTTPCheck `json:"http,omitempty"`
	TCP             *PodTCPCheck  `json:"tcp,omitempty"`
	Exec            *CheckExec    `json:"exec,omitempty"`
	IntervalSeconds int           `json:"intervalSeconds"`
	TimeoutSeconds  int           `json:"timeoutSeconds"`
	DelaySeconds    int           `json:"delaySeconds"`
}

// PodHTTPCheck asks an endpoint of the container.
type PodHTTPCheck struct {
	Endpoint string `json:"endpoint"`
	Path     string `json:"path,omitempty"`
	Scheme   string `json:"scheme,omitempty"` // HTTP or HTTPS; "": HTTP
}

// PodTCPCheck connects to an endpoint of the container.
type PodTCPCheck struct {
	Endpoint string `json:"endpoint"`
}

// Protocol says what the check does, in the words of apps.
func (h *PodHealthCheck) Protocol() HealthProtocol {
	switch {
	case h.HTTP != nil && h.HTTP.Scheme == "HTTPS":
		return HealthMesosHTTPS
	case h.HTTP != nil:
		return HealthMesosHTTP
	case h.TCP != nil:
		return HealthMesosTCP
	}
	return HealthCommand
}

// Endpoint is the name of the one that is asked, "" for a command.
func (h *PodHealthCheck) Endpoint() string {
	switch {
	case h.HTTP != nil:
		return h.HTTP.Endpoint
	case h.TCP != nil:
		return h.TCP.Endpoint
	}
	return ""
}

// IsResident tells whether instances own reserved resources.
func (p *Pod) IsResident() bool {
	for i := range p.Volumes {
		if p.Volumes[i].Persistent != nil {
			return true
		}
	}
	return false
}

// HostNetworking tells whether containers use the agent's network.
func (p *Pod) HostNetworking() bool { return len(p.Networks) == 0 || p.Networks[0].Mode == NetworkHost }

// Volume finds a volume by name, nil when there is none.
func (p *Pod) Volume(name string) *PodVolume {
	for i := range p.Volumes {
		if p.Volumes[i].Name == name {
			return &p.Volumes[i]
		}
	}
	return nil
}

// RunSpec gives the pod as the core sees it.
func (p *Pod) RunSpec() *RunSpec {
	at, back := &p.Scheduling, &p.Scheduling.Backoff
	s := &RunSpec{
		ID: p.ID, Version: p.Version, ConfigVersion: p.VersionInfo.LastConfigChangeAt, Instances: p.Scaling.Instances, Role: p.Role,
		AcceptedResourceRoles: at.Placement.AcceptedResourceRoles, KillSelection: at.KillSelection,
		Unreachable: at.Unreachable, Upgrade: at.Upgrade, Resident: p.IsResident(),
		Backoff:  Backoff{First: duration(back.Backoff), Limit: duration(back.MaxLaunchDelay), Factor: back.BackoffFactor},
		Executor: Amounts{Cpus: p.ExecutorResources.Cpus, Mem: p.ExecutorResources.Mem, Disk: p.ExecutorResources.Disk},
		Pod:      p,
	}
	for i := range p.Volumes {
		if v := &p.Volumes[i]; v.Persistent != nil {
			s.Volumes = append(s.Volumes, VolumeSpec{v.Name, *v.Persistent})
		}
	}
	if s.ConfigVersion == 0 {
		s.ConfigVersion = p.Version
	}
	for _, c := range at.Placement.Constraints {
		s.Constraints = append(s.Constraints, Constraint(c))
	}
	for i := range p.Containers {
		c := &p.Containers[i]
		s.Tasks = append(s.Tasks, TaskSpec{Name: c.Name, Amounts: Amounts(c.Resources)})
		for _, e := range c.Endpoints {
			w := HostPort{None: e.HostPort == nil}
			if !w.None {
				w.Number = *e.HostPort
			}
			s.Ports = append(s.Ports, w)
		}
		if h := c.HealthCheck; h != nil {
			s.HealthChecks = append(s.HealthChecks, HealthCheck{Protocol: h.Protocol(), IPProtocol: "IPv4",
				DelaySeconds: h.DelaySeconds, GracePeriodSeconds: h.GracePeriodSeconds, IntervalSeconds: h.IntervalSeconds,
				MaxConsecutiveFailures: h.MaxConsecutiveFailures, TimeoutSeconds: h.TimeoutSeconds})
			s.CheckTask = append(s.CheckTask, i)
		}
	}
	return s
}
