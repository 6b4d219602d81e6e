package app

import "time"

// RunSpec is a definition of either kind, an app or a pod, as those see it that place,
// count, replace and give up its instances: nothing else of a definition decides about
// them. It is made from the definition and never changes.
type RunSpec struct {
	ID      PathID
	Version Timestamp
	// ConfigVersion is the version that last made running tasks outdated.
	ConfigVersion Timestamp
	Instances     int
	Role          string

	AcceptedResourceRoles []string // nil: the framework's default behaviour decides
	Constraints           []Constraint
	KillSelection         KillSelection
	Unreachable           UnreachableStrategy
	Upgrade               UpgradeStrategy
	Backoff               Backoff
	Resident              bool // instances own reserved resources

	// Tasks lists the tasks of one instance, at least one.
	Tasks []TaskSpec
	// Executor is what the executor that comes with the tasks takes for itself.
	Executor Amounts
	// Volumes are the persistent volumes of one instance.
	Volumes []VolumeSpec
	// AnyGPU lets the instances go where there are GPUs although they need none; nil: as the
	// framework is set.
	AnyGPU *bool
	// Ports are the wishes for host ports of one instance.
	Ports []HostPort
	// HealthChecks of all tasks; CheckTask tells the task of each as an index into Tasks, nil
	// when all are the first one's.
	HealthChecks []HealthCheck
	CheckTask    []int
	// ReadinessChecks gate deployments; only apps have them.
	ReadinessChecks []ReadinessCheck

	// App or Pod is the definition, the other is nil.
	App *App
	Pod *Pod
}

// TaskSpec is one task of an instance.
type TaskSpec struct {
	Name string // of the pod's container, "" for the task of an app
	Amounts
}

// Amounts are resources: cores, MiB, MiB and devices.
type Amounts struct {
	Cpus, Mem, Disk float64
	GPUs            int
}

// Plus adds two amounts.
func (a Amounts) Plus(b Amounts) Amounts {
	return Amounts{a.Cpus + b.Cpus, a.Mem + b.Mem, a.Disk + b.Disk, a.GPUs + b.GPUs}
}

// HostPort is one wish for a host port (marathon.md 6.5).
type HostPort struct {
	Number int  // 0: any
	None   bool // no host port at all
}

// Backoff is how launches are delayed after failures (marathon.md 6.6).
type Backoff struct {
	First, Limit time.Duration
	Factor       float64 // at least 1
}

// Total is what the tasks of one instance take.
func (s *RunSpec) Total() (sum Amounts) {
	for i := range s.Tasks {
		sum = sum.Plus(s.Tasks[i].Amounts)
	}
	return sum
}

// CheckedTask is the task of the k-th health check, as an index into Tasks.
func (s *RunSpec) CheckedTask(k int) int {
	if s.CheckTask == nil {
		return 0
	}
	return s.CheckTask[k]
}

// TaskIndex finds a task by name, -1 when there is none.
func (s *RunSpec) TaskIndex(name string) int {
	for i := range s.Tasks {
		if s.Tasks[i].Name == name {
			return i
		}
	}
	return -1
}

// Kind is the word for what it defines: app or pod.
func (s *RunSpec) Kind() string {
	if s.Pod != nil {
		return "pod"
	}
	return "app"
}

// Record is what the store holds of the definition.
func (s *RunSpec) Record() any {
	if s.Pod != nil {
		return &PodRecord{s.Pod, s.Pod.VersionInfo}
	}
	return s.App
}

// Compare tells what it takes to get from one definition to the other.
func (s *RunSpec) Compare(to *RunSpec) ChangeKind {
	switch {
	case s.App != nil && to.App != nil:
		return Compare(s.App, to.App)
	case s.Pod != nil && to.Pod != nil:
		return ComparePods(s.Pod, to.Pod)
	}
	return ConfigChanged
}

// RunSpec gives the app as the core sees it.
func (a *App) RunSpec() *RunSpec {
	s := &RunSpec{
		ID: a.ID, Version: a.Version, ConfigVersion: a.VersionInfo.LastConfigChangeAt, Instances: a.Instances, Role: a.Role,
		AcceptedResourceRoles: a.AcceptedResourceRoles, Constraints: a.Constraints, KillSelection: a.KillSelection,
		Unreachable: a.Unreachable, Upgrade: a.Upgrade, Resident: a.IsResident(),
		Backoff: Backoff{First: seconds(a.BackoffSeconds), Limit: seconds(a.MaxLaunchDelaySeconds), Factor: a.BackoffFactor},
		Tasks:   []TaskSpec{{Amounts: Amounts{a.Cpus, a.Mem, a.Disk, a.GPUs}}},
		Ports:   a.hostPorts(), HealthChecks: a.HealthChecks, ReadinessChecks: a.ReadinessChecks, App: a,
	}
	if s.ConfigVersion == 0 {
		s.ConfigVersion = a.Version
	}
	s.Volumes, s.AnyGPU = a.volumes(), gpuLabel(a.Labels)
	if e := a.ExecutorResources; e != nil {
		s.Executor = Amounts{Cpus: e.Cpus, Mem: e.Mem, Disk: e.Disk}
	}
	return s
}

// gpuLabel reads the label that overrides --gpu_scheduling_behavior, nil without.
func gpuLabel(labels Dict) *bool {
	switch labels[LabelGPUScheduling] {
	case "restricted":
		return new(bool)
	case "unrestricted":
		any := true
		return &any
	}
	return nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// duration reads seconds with a fraction.
func duration(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (a *App) hostPorts() []HostPort {
	var out []HostPort
	if a.HostNetworking() {
		for _, p := range a.PortDefinitions {
			w := HostPort{}
			if a.RequirePorts {
				w.Number = p.Port
			}
			out = append(out, w)
		}
		return out
	}
	if a.Container == nil {
		return nil
	}
	for _, m := range a.Container.PortMappings {
		if m.HostPort == nil {
			out = append(out, HostPort{None: true})
			continue
		}
		out = append(out, HostPort{Number: *m.HostPort})
	}
	return out
}
