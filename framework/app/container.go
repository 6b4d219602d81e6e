package app

// ContainerType is the engine that runs a container.
type ContainerType string

// The container engines.
const (
	Mesos  ContainerType = "MESOS"
	Docker ContainerType = "DOCKER"
)

// Container describes how a task is isolated. A task without one is a plain process.
type Container struct {
	Type         ContainerType `json:"type"`
	Docker       *DockerImage  `json:"docker,omitempty"` // required for DOCKER; an image to provision for MESOS
	Volumes      List[Volume]  `json:"volumes"`
	PortMappings []PortMapping `json:"portMappings,omitzero"` // nil in host mode
	LinuxInfo    *LinuxInfo    `json:"linuxInfo,omitempty"`
}

// DockerImage names the image and, for the DOCKER engine, how to run it.
type DockerImage struct {
	Image          string            `json:"image"`
	ForcePullImage bool              `json:"forcePullImage"`
	Privileged     bool              `json:"privileged"` // DOCKER only
	Parameters     List[DockerParam] `json:"parameters"` // DOCKER only: docker run --key=value
	PullConfig     *PullConfig       `json:"pullConfig,omitempty"`
	Credential     *DockerCredential `json:"credential,omitempty"`
}

// DockerParam is one extra docker run option.
type DockerParam struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// PullConfig names the secret that holds registry credentials (MESOS engine).
type PullConfig struct {
	Secret string `json:"secret"`
}

// DockerCredential is the deprecated form of registry credentials.
type DockerCredential struct {
	Principal string `json:"principal"`
	Secret    string `json:"secret,omitempty"`
}

// LinuxInfo holds Linux-only isolation settings of the MESOS engine.
type LinuxInfo struct {
	Seccomp *Seccomp `json:"seccomp,omitempty"`
	IPCInfo *IPCInfo `json:"ipcInfo,omitempty"`
}

// Seccomp names a profile, or turns seccomp off.
type Seccomp struct {
	ProfileName string `json:"profileName,omitempty"`
	Unconfined  bool   `json:"unconfined,omitempty"`
}

// IPCInfo sets the IPC namespace: mode PRIVATE or SHARE_PARENT.
type IPCInfo struct {
	Mode    string `json:"mode"`
	ShmSize *int   `json:"shmSize,omitempty"` // MiB, PRIVATE only
}

// Volume is one mount: exactly one of HostPath, Persistent, External and Secret is set.
type Volume struct {
	ContainerPath string            `json:"containerPath"`
	HostPath      string            `json:"hostPath,omitempty"`
	Mode          string            `json:"mode,omitempty"` // RO or RW; "" for secret volumes
	Persistent    *PersistentVolume `json:"persistent,omitempty"`
	External      *ExternalVolume   `json:"external,omitempty"`
	Secret        string            `json:"secret,omitempty"`
}

// PersistentVolume asks for disk that outlives the task.
type PersistentVolume struct {
	Type        string       `json:"type"` // root, path or mount
	Size        int          `json:"size"` // MiB
	MaxSize     *int         `json:"maxSize,omitempty"`
	ProfileName string       `json:"profileName,omitempty"`
	Constraints []Constraint `json:"constraints,omitempty"`
}

// ExternalVolume is a volume of a storage provider outside the cluster.
type ExternalVolume struct {
	Name     string `json:"name,omitempty"`
	Provider string `json:"provider,omitempty"`
	Size     *int   `json:"size,omitempty"` // GiB
	Options  Dict   `json:"options"`
	Shared   bool   `json:"shared"`
}

// PortMapping maps one port of a container in bridge and container mode.
type PortMapping struct {
	ContainerPort int      `json:"containerPort"`      // 0: the same number as the chosen host port
	HostPort      *int     `json:"hostPort,omitempty"` // nil: none; 0: any
	Labels        Dict     `json:"labels"`
	Protocol      string   `json:"protocol"` // tcp, udp or "udp,tcp"
	Name          string   `json:"name,omitempty"`
	ServicePort   int      `json:"servicePort"`
	NetworkNames  []string `json:"networkNames,omitempty"`
}
