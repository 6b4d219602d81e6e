package main

import (
	"time"

	"github.com/stoa-project/stoa/agent"
)

// agentPorts are the flags of the isolator network/ports (mesos-agent.md 7.10).
type agentPorts struct {
	PortsEnforced bool     `name:"enforce_container_ports" env:"MESOS_ENFORCE_CONTAINER_PORTS" negatable:"" help:"End containers in the host's network that listen on ports they have no resources for; needs network/ports in --isolation, which logs them."`
	PortsWatch    duration `name:"container_ports_watch_interval" env:"MESOS_CONTAINER_PORTS_WATCH_INTERVAL" default:"30secs" help:"How often the isolator network/ports looks."`
	PortsOffered  bool     `name:"check_agent_port_range_only" env:"MESOS_CHECK_AGENT_PORT_RANGE_ONLY" negatable:"" help:"It looks at ports that this agent offers only."`
	PortsRange    string   `name:"container_ports_isolated_range" env:"MESOS_CONTAINER_PORTS_ISOLATED_RANGE" help:"It looks at these ports only: [0-35000]."`
}

func (c agentPorts) ports() agent.Ports {
	return agent.Ports{Enforce: c.PortsEnforced, Interval: time.Duration(c.PortsWatch), AgentRangeOnly: c.PortsOffered, Range: c.PortsRange}
}
