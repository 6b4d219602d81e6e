package app

// NetworkMode is how a task is attached to the network.
type NetworkMode string

// The network modes.
const (
	NetworkHost      NetworkMode = "host"
	NetworkBridge    NetworkMode = "container/bridge"
	NetworkContainer NetworkMode = "container"
)

// Network is one network of an app: one host, one bridge, or any number of named
// container networks.
type Network struct {
	Mode   NetworkMode       `json:"mode"`
	Name   string            `json:"name,omitempty"` // container mode only
	Labels map[string]string `json:"labels,omitempty"`
}

// PortDefinition is one port in host mode. Port is the service port; it is also the
// host port when the app sets requirePorts, otherwise the host port is picked from the
// offer.
type PortDefinition struct {
	Labels   map[string]string `json:"labels,omitempty"`
	Name     string            `json:"name,omitempty"`
	Port     int               `json:"port"`
	Protocol string            `json:"protocol"` // tcp, udp or "udp,tcp"
}
