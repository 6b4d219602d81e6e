// Package app is the vocabulary of the framework room: paths, apps, groups, instances,
// and constraints, with the defaults, normalisation, validation and JSON that
// Marathon 1.10 gives them. Everything here is a plain value or a pure function; a
// value handed out is shared and must be treated as read-only (Clone before a change).
//
// Decode turns request bodies into canonical values, encoding/json writes them in the
// form Marathon answers with, and the same form is read back from the store with
// plain json.Unmarshal.
package app

// App is one app definition in canonical form: legacy input keys (ports, uris,
// ipAddress, docker.network) never survive decoding. The struct tags are Marathon's
// output rules: a field without omitempty or omitzero is always present.
type App struct {
	ID                    PathID               `json:"id"`
	AcceptedResourceRoles []string             `json:"acceptedResourceRoles,omitempty"` // nil: the framework's default behaviour decides
	Args                  []string             `json:"args,omitempty"`                  // exclusive with Cmd
	BackoffFactor         float64              `json:"backoffFactor"`                   // at least 1
	BackoffSeconds        int                  `json:"backoffSeconds"`
	Check                 *Check               `json:"check,omitempty"` // a Mesos task check, not a health check
	Cmd                   string               `json:"cmd,omitempty"`   // shell line; "" when absent
	Constraints           []Constraint         `json:"constraints,omitempty"`
	Container             *Container           `json:"container,omitempty"`
	Cpus                  float64              `json:"cpus"`
	Dependencies          []PathID             `json:"dependencies,omitempty"` // absolute ids of apps or groups
	Disk                  float64              `json:"disk"`                   // MiB
	Env                   map[string]EnvValue  `json:"env,omitempty"`
	Executor              string               `json:"executor"` // "", "//cmd" or a path
	ExecutorResources     *ExecutorResources   `json:"executorResources,omitempty"`
	Fetch                 []Artifact           `json:"fetch,omitempty"`
	GPUs                  int                  `json:"gpus"`
	HealthChecks          []HealthCheck        `json:"healthChecks,omitempty"`
	Instances             int                  `json:"instances"`
	KillSelection         KillSelection        `json:"killSelection"`
	Labels                Dict                 `json:"labels"`
	MaxLaunchDelaySeconds int                  `json:"maxLaunchDelaySeconds"`
	Mem                   float64              `json:"mem"` // MiB
	Networks              List[Network]        `json:"networks"`
	PortDefinitions       []PortDefinition     `json:"portDefinitions,omitzero"` // host mode only; empty (not nil): the app wants no port
	ReadinessChecks       []ReadinessCheck     `json:"readinessChecks,omitempty"`
	RequirePorts          bool                 `json:"requirePorts"`
	Residency             *Residency           `json:"residency,omitempty"`
	ResourceLimits        *ResourceLimits      `json:"resourceLimits,omitempty"`
	Role                  string               `json:"role"`
	Secrets               map[string]SecretDef `json:"secrets,omitempty"`
	TaskKillGraceSeconds  *int                 `json:"taskKillGracePeriodSeconds,omitempty"` // nil: the agent's default
	TTY                   *bool                `json:"tty,omitempty"`
	Unreachable           UnreachableStrategy  `json:"unreachableStrategy"`
	Upgrade               UpgradeStrategy      `json:"upgradeStrategy"`
	User                  string               `json:"user,omitempty"`
	Version               Timestamp            `json:"version"`
	VersionInfo           VersionInfo          `json:"versionInfo"`
}

// VersionInfo dates the two kinds of change: LastScalingAt moves with scaling and
// with configuration changes, LastConfigChangeAt only with the latter (and restarts).
type VersionInfo struct {
	LastScalingAt      Timestamp `json:"lastScalingAt"`
	LastConfigChangeAt Timestamp `json:"lastConfigChangeAt"`
}

// KillSelection says which instance is preferred as victim when an app shrinks.
type KillSelection string

// The two kill selections.
const (
	YoungestFirst KillSelection = "YOUNGEST_FIRST"
	OldestFirst   KillSelection = "OLDEST_FIRST"
)

// UpgradeStrategy bounds a rolling restart as fractions of instances, both in [0,1].
type UpgradeStrategy struct {
	MaximumOverCapacity   float64 `json:"maximumOverCapacity"`
	MinimumHealthCapacity float64 `json:"minimumHealthCapacity"`
}

// ExecutorResources is what a custom executor needs beside its task.
type ExecutorResources struct {
	Cpus float64 `json:"cpus"`
	Mem  float64 `json:"mem"`
	Disk float64 `json:"disk"`
}

// ResourceLimits are burst limits above the requested amounts; nil means none given.
type ResourceLimits struct {
	Cpus *Limit `json:"cpus,omitempty"`
	Mem  *Limit `json:"mem,omitempty"`
}

// Residency is the deprecated block of stateful apps; it is kept and shown, and it
// makes the app resident.
type Residency struct {
	RelaunchEscalationTimeoutSeconds int    `json:"relaunchEscalationTimeoutSeconds"`
	TaskLostBehavior                 string `json:"taskLostBehavior"`
}

// IsResident tells whether instances own reserved resources: a residency block or a
// persistent volume.
func (a *App) IsResident() bool {
	if a.Residency != nil {
		return true
	}
	if a.Container == nil {
		return false
	}
	for i := range a.Container.Volumes {
		if a.Container.Volumes[i].Persistent != nil {
			return true
		}
	}
	return false
}

// IsSingleInstance tells whether the label MARATHON_SINGLE_INSTANCE_APP limits the app
// to one instance.
func (a *App) IsSingleInstance() bool { return a.Labels[LabelSingleInstance] == "true" }

// HostNetworking tells whether tasks use the agent's network: then ports are the
// portDefinitions, otherwise the container's portMappings.
func (a *App) HostNetworking() bool {
	return len(a.Networks) == 0 || a.Networks[0].Mode == NetworkHost
}

// PortCount is the number of ports health checks can address by index.
func (a *App) PortCount() int {
	if a.HostNetworking() {
		return len(a.PortDefinitions)
	}
	if a.Container == nil {
		return 0
	}
	return len(a.Container.PortMappings)
}

// ServicePorts lists the service port of each port in order: what marathon-lb binds.
func (a *App) ServicePorts() []int {
	out := make([]int, 0, a.PortCount())
	if a.HostNetworking() {
		for _, p := range a.PortDefinitions {
			out = append(out, p.Port)
		}
	} else if a.Container != nil {
		for _, m := range a.Container.PortMappings {
			out = append(out, m.ServicePort)
		}
	}
	return out
}

// Labels the framework itself reads (marathon.md 2.11).
const (
	LabelSingleInstance = "MARATHON_SINGLE_INSTANCE_APP"
	LabelGPUScheduling  = "GPU_SCHEDULING_BEHAVIOR"
)
