// Package labels turns Marathon apps and their HAPROXY_ labels into services: what
// listens where, and which tasks are its servers. It is a pure function with its own
// small view of an app, so that it also serves a Marathon that is not ours.
//
// Contract: Marathon-LB 1.15.0 (selection, labels, server identity).
package labels

// App is the part of an app of GET /v2/apps?embed=apps.tasks that the load balancer
// reads. Fields are named as in Marathon's JSON; null and absent are alike.
type App struct {
	ID          string            `json:"id"`
	Labels      map[string]string `json:"labels"`
	Instances   int               `json:"instances"`
	VersionInfo struct {
		LastScalingAt string `json:"lastScalingAt"`
	} `json:"versionInfo"`
	Ports           []int            `json:"ports"`
	PortDefinitions []PortDefinition `json:"portDefinitions"`
	Networks        []Network        `json:"networks"`
	Container       *Container       `json:"container"`
	IPAddress       *IPAddress       `json:"ipAddress"`
	HealthChecks    []HealthCheck    `json:"healthChecks"`
	Tasks           []Task           `json:"tasks"`

	// Rev tells states of apps apart: two apps of equal id and Rev are equal. 0 tells nothing.
	Rev uint64 `json:"-"`
}

// PortDefinition is one port of an app in host mode.
type PortDefinition struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol"` // tcp, udp, or both with a comma; "" is tcp
}

// Network says how an app of Marathon 1.5 and later is attached.
type Network struct {
	Mode string `json:"mode"` // host, container, container/bridge
}

// Container holds port mappings, at either of the two levels that Marathon has used.
type Container struct {
	PortMappings []PortMapping `json:"portMappings"`
	Docker       *struct {
		Network      string        `json:"network"`
		PortMappings []PortMapping `json:"portMappings"`
	} `json:"docker"`
}

// PortMapping is one port of an app in a container network.
type PortMapping struct {
	ContainerPort int    `json:"containerPort"`
	ServicePort   int    `json:"servicePort"`
	Protocol      string `json:"protocol"`
}

// IPAddress marks an app of Marathon 1.4 and earlier that has an address per task.
type IPAddress struct {
	Discovery *struct {
		Ports []struct {
			Number int `json:"number"`
		} `json:"ports"`
	} `json:"discovery"`
}

// HealthCheck is one health check of an app. Times are in seconds.
type HealthCheck struct {
	Protocol               string `json:"protocol"`
	Path                   string `json:"path"`
	Port                   int    `json:"port"`
	PortIndex              *int   `json:"portIndex"`
	IntervalSeconds        int    `json:"intervalSeconds"`
	TimeoutSeconds         int    `json:"timeoutSeconds"`
	GracePeriodSeconds     int    `json:"gracePeriodSeconds"`
	MaxConsecutiveFailures int    `json:"maxConsecutiveFailures"`
}

// Task is one running copy of an app.
type Task struct {
	ID                 string         `json:"id"`
	Host               string         `json:"host"`
	State              string         `json:"state"`
	Ports              []int          `json:"ports"`
	IPAddresses        []TaskAddress  `json:"ipAddresses"`
	HealthCheckResults []HealthResult `json:"healthCheckResults"`

	// alive is what the app of this task says of its health; set where apps are merged,
	// because a merged app has the checks of one of them only.
	alive *bool
	// drain marks a task of an older deployment that gets no new traffic.
	drain bool
}

// HealthResult is what one of Marathon's own checks found.
type HealthResult struct {
	Alive bool `json:"alive"`
}

// TaskAddress is one address of a task in a container network.
type TaskAddress struct {
	IPAddress string `json:"ipAddress"`
}

// Modes of an app's network.
const (
	modeHost      = "host"
	modeBridge    = "container/bridge"
	modeContainer = "container"
)

// networkMode gives the app's mode; the newest way of saying it wins.
func (a *App) networkMode() string {
	mode := modeHost
	if a.IPAddress != nil {
		mode = modeContainer
	}
	if a.Container != nil && a.Container.Docker != nil {
		switch a.Container.Docker.Network {
		case "USER":
			mode = modeContainer
		case "BRIDGE":
			mode = modeBridge
		}
	}
	for _, n := range a.Networks {
		if mode = n.Mode; mode == "" {
			mode = modeContainer
		}
	}
	return mode
}

// mappings gives the app's port mappings, those of the Docker level first.
func (a *App) mappings() []PortMapping {
	if a.Container == nil {
		return nil
	}
	if d := a.Container.Docker; d != nil && len(d.PortMappings) > 0 {
		return d.PortMappings
	}
	return a.Container.PortMappings
}

// servicePorts gives the port of each index n of the HAPROXY_{n}_ labels; 0 is a port
// that neither the app nor the assigner gave.
func (a *App) servicePorts(as *assigner) []int {
	mode := a.networkMode()
	if mode != modeHost {
		var out []int
		for _, m := range a.mappings() {
			if m.ServicePort != 0 {
				out = append(out, m.ServicePort)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	if len(a.PortDefinitions) > 0 {
		var out []int
		for _, p := range a.PortDefinitions {
			out = append(out, p.Port)
		}
		return out
	}
	if len(a.Ports) > 0 || mode != modeContainer {
		return a.Ports
	}
	as.asked = true
	return as.ports(a.ID, a.taskPorts())
}

// udpOnly tells whether port index n carries no TCP, which HAProxy cannot serve.
func (a *App) udpOnly(n int) bool {
	if a.networkMode() == modeHost {
		return n < len(a.PortDefinitions) && a.PortDefinitions[n].Protocol == "udp"
	}
	m := a.mappings()
	return n < len(m) && m[n].Protocol == "udp"
}

// taskPorts gives the ports that tasks listen on unless they say otherwise, paired with
// servicePorts by position.
func (a *App) taskPorts() []int {
	if a.networkMode() == modeContainer {
		if a.IPAddress != nil && a.IPAddress.Discovery != nil && len(a.IPAddress.Discovery.Ports) > 0 {
			var out []int
			for _, p := range a.IPAddress.Discovery.Ports {
				out = append(out, p.Number)
			}
			return out
		}
		return a.containerPorts()
	}
	if len(a.PortDefinitions) > 0 {
		out := make([]int, 0, len(a.PortDefinitions))
		for _, p := range a.PortDefinitions {
			out = append(out, p.Port)
		}
		return out
	}
	return a.containerPorts()
}

func (a *App) containerPorts() []int {
	var out []int
	for _, m := range a.mappings() {
		out = append(out, m.ContainerPort)
	}
	return out
}

// address gives the IP of a task in a container network; "" when it has none.
func (k *Task) address() string {
	if len(k.IPAddresses) == 0 {
		return ""
	}
	return k.IPAddresses[0].IPAddress
}
