package main

import (
	"time"

	"github.com/stoa-project/stoa/agent"
)

// agentDocker are the flags about the Docker engine (mesos-agent.md 7.5 and 13).
type agentDocker struct {
	DockerSocket  string   `name:"docker_socket" env:"MESOS_DOCKER_SOCKET" default:"/var/run/docker.sock" help:"Where the Docker engine answers: a path, unix:///path or tcp://host:port."`
	DockerConfig  string   `name:"docker_config" env:"MESOS_DOCKER_CONFIG" help:"Credentials of registries, for tasks that bring none: what docker login writes, as JSON, or the path of the file."`
	DockerRemove  duration `name:"docker_remove_delay" env:"MESOS_DOCKER_REMOVE_DELAY" default:"6hrs" help:"How long ended containers stay in the engine."`
	DockerStop    duration `name:"docker_stop_timeout" env:"MESOS_DOCKER_STOP_TIMEOUT" default:"0ns" help:"Least time between a container's stop signal and SIGKILL, for tasks without a kill policy."`
	DockerOrphans bool     `name:"docker_kill_orphans" env:"MESOS_DOCKER_KILL_ORPHANS" default:"true" negatable:"" help:"Remove containers of this agent that it has no record of. Those of others are never touched."`
	DefaultDNS    string   `name:"default_container_dns" env:"MESOS_DEFAULT_CONTAINER_DNS" help:"Name servers of containers by network, as JSON or file:///path."`
	SandboxInside string   `name:"sandbox_directory" env:"MESOS_SANDBOX_DIRECTORY" default:"/mnt/mesos/sandbox" help:"The sandbox inside containers with a file system of their own."`
}

func (c agentDocker) config() agent.Docker {
	remove := time.Duration(c.DockerRemove)
	if remove == 0 {
		remove = -1 // at once; 0 would mean the default
	}
	return agent.Docker{
		Socket: c.DockerSocket, Login: c.DockerConfig, RemoveDelay: remove, StopTimeout: time.Duration(c.DockerStop),
		KeepOrphans: !c.DockerOrphans, DNS: c.DefaultDNS,
	}
}
