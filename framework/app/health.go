package app

// HealthProtocol says what a health check does and who runs it.
type HealthProtocol string

// The protocols: HTTP, HTTPS and TCP are probed by the framework's leader, the others
// by Mesos beside the task.
const (
	HealthHTTP       HealthProtocol = "HTTP"
	HealthHTTPS      HealthProtocol = "HTTPS"
	HealthTCP        HealthProtocol = "TCP"
	HealthCommand    HealthProtocol = "COMMAND"
	HealthMesosHTTP  HealthProtocol = "MESOS_HTTP"
	HealthMesosHTTPS HealthProtocol = "MESOS_HTTPS"
	HealthMesosTCP   HealthProtocol = "MESOS_TCP"
)

// HealthCheck is one health check in the form Marathon answers with. Port and
// PortIndex are exclusive; neither is set for COMMAND.
type HealthCheck struct {
	Command                *HealthCheckCommand `json:"command,omitempty"`
	DelaySeconds           int                 `json:"delaySeconds"` // Mesos-level checks only
	GracePeriodSeconds     int                 `json:"gracePeriodSeconds"`
	IgnoreHTTP1xx          *bool               `json:"ignoreHttp1xx,omitempty"`
	IntervalSeconds        int                 `json:"intervalSeconds"`
	IPProtocol             string              `json:"ipProtocol"` // IPv4 or IPv6
	MaxConsecutiveFailures int                 `json:"maxConsecutiveFailures"`
	Path                   string              `json:"path,omitempty"`
	Port                   *int                `json:"port,omitempty"`
	PortIndex              *int                `json:"portIndex,omitempty"`
	Protocol               HealthProtocol      `json:"protocol"`
	TimeoutSeconds         int                 `json:"timeoutSeconds"`
}

// HealthCheckCommand is the shell line of a COMMAND check.
type HealthCheckCommand struct {
	Value string `json:"value"`
}

// ByFramework tells whether the framework's leader runs the check itself.
func (h *HealthCheck) ByFramework() bool {
	return h.Protocol == HealthHTTP || h.Protocol == HealthHTTPS || h.Protocol == HealthTCP
}

// ReadinessCheck gates deployments: it is polled for new instances until it passes once.
type ReadinessCheck struct {
	HTTPStatusCodesForReady []int  `json:"httpStatusCodesForReady"`
	IntervalSeconds         int    `json:"intervalSeconds"`
	Name                    string `json:"name"`
	Path                    string `json:"path"`
	PortName                string `json:"portName"`
	PreserveLastResponse    bool   `json:"preserveLastResponse"`
	Protocol                string `json:"protocol"` // HTTP or HTTPS
	TimeoutSeconds          int    `json:"timeoutSeconds"`
}

// Check is a Mesos task check: its result is reported, nothing is killed. Exactly one
// of HTTP, TCP and Exec is set.
type Check struct {
	HTTP            *CheckHTTP `json:"http,omitempty"`
	TCP             *CheckTCP  `json:"tcp,omitempty"`
	Exec            *CheckExec `json:"exec,omitempty"`
	IntervalSeconds int        `json:"intervalSeconds"`
	TimeoutSeconds  int        `json:"timeoutSeconds"`
	DelaySeconds    int        `json:"delaySeconds"`
}

// CheckHTTP asks for a path on a port or on the port at an index.
type CheckHTTP struct {
	PortIndex *int   `json:"portIndex,omitempty"`
	Port      *int   `json:"port,omitempty"`
	Path      string `json:"path,omitempty"`
	Scheme    string `json:"scheme"` // http or https
}

// CheckTCP connects to a port or to the port at an index.
type CheckTCP struct {
	PortIndex *int `json:"portIndex,omitempty"`
	Port      *int `json:"port,omitempty"`
}

// CheckExec runs a command; exactly one of Shell and Argv is set.
type CheckExec struct {
	Command CheckCommand `json:"command"`
}

// CheckCommand is a shell line or an argument vector.
type CheckCommand struct {
	Shell string   `json:"shell,omitempty"`
	Argv  []string `json:"argv,omitempty"`
}
