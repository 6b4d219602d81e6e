package names

import "net/netip"

// Identifiers of the cluster's objects.
type (
	TaskID      string
	AgentID     string
	FrameworkID string
)

// Endpoint is a host, as address or name, with a port; 0: unknown.
type Endpoint struct {
	Host string
	Port uint16
}

// Agent is one host that runs tasks.
type Agent struct {
	ID  AgentID
	PID Endpoint // what follows the @ of its pid
}

// Framework is one scheduler.
type Framework struct {
	ID       FrameworkID
	Name     string
	PID      Endpoint // empty for v1 HTTP schedulers
	Hostname string
}

// Range is a range of ports, both ends included.
type Range struct{ First, Last uint16 }

// Port is a port of a task's DiscoveryInfo.
type Port struct {
	Number   uint16
	Name     string
	Protocol string // "tcp", "udp", "tcp,udp" or empty for both
}

// Health is what a task's checks said last.
type Health uint8

// The healths.
const (
	HealthUnknown Health = iota
	Healthy
	Unhealthy
)

// Addresses are the addresses of a running task by their source (mesos-dns.md section 4).
type Addresses struct {
	NetInfo []netip.Addr
	Mesos   []netip.Addr
	Docker  []netip.Addr
	Network string // name of the first container network; empty: the host's
}

func (a Addresses) empty() bool { return len(a.NetInfo)+len(a.Mesos)+len(a.Docker) == 0 }

// Task is one task, as far as its names depend on it.
type Task struct {
	ID             TaskID
	Framework      FrameworkID
	Agent          AgentID
	Name           string
	Discovery      string // DiscoveryInfo.name; empty: as if there were no DiscoveryInfo
	DiscoveryPorts []Port
	Ports          []Range // of its resources
	State          string  // TASK_RUNNING …
	Health         Health
	Addresses      Addresses
	Stamp          float64 // timestamp of the status behind Addresses and Health, in seconds
}

// Update is a change of a task's state.
type Update struct {
	Framework FrameworkID
	Task      TaskID
	State     string  // latest state
	Running   *Status // the status behind it when that is of a running task
}

// Status is what one TASK_RUNNING status says.
type Status struct {
	Stamp     float64
	Health    Health
	Addresses Addresses
}

// Snapshot is the whole cluster as a master knows it.
type Snapshot struct {
	Frameworks []Framework
	Agents     []Agent
	Recovered  []AgentID // known from the registry, not back yet
	Tasks      []Task
}
