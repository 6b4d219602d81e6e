package main

import (
	"context"
	"fmt"
	"time"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/heap"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/sim"
)

// simCmd holds the tools for sizing a cluster.
type simCmd struct {
	Agents simAgentsCmd `cmd:"" help:"Simulate agents that speak the real agent protocol; tasks run without a process."`
	Load   simLoadCmd   `cmd:"" help:"Launch tasks as a scheduler, and print throughput and latencies as one JSON line."`
}

type simAgentsCmd struct {
	Master       string   `name:"master" required:"" env:"MESOS_MASTER" help:"host:port or zk://host:port/path of the masters."`
	Count        int      `name:"count" required:"" help:"Number of agents."`
	Resources    string   `name:"resources" default:"cpus:8;mem:16384;disk:100000;ports:[31000-32000]" help:"Resources of each agent."`
	Attributes   string   `name:"attributes" help:"Attributes of each agent."`
	TaskSeconds  float64  `name:"task_seconds" help:"Seconds after which a task finishes; 0 runs it until it is killed."`
	IP           string   `name:"ip" default:"127.0.0.1" help:"IPv4 address to listen on, one for all agents."`
	Port         int      `name:"port" default:"0" help:"Port to listen on; 0 takes any."`
	AdvertiseIP  string   `name:"advertise_ip" help:"IPv4 address to tell the master, when it differs."`
	Hostname     string   `name:"hostname_prefix" default:"sim-" help:"The n-th agent is called prefix + n."`
	Backoff      duration `name:"registration_backoff_factor" default:"1secs" help:"Span in which first registrations are spread."`
	Credential   string   `name:"credential" help:"File with the principal and secret that every agent shows to a master that asks."`
	Capabilities []string `name:"capabilities" help:"Capabilities to claim, comma separated; default: all that are implemented. Older agents had fewer."`
}

// Run simulates until the process is told to stop. Once all agents are registered it
// prints "ready N agents".
func (c *simAgentsCmd) Run(p *process) error {
	secret, port, err := simSecurity(p, c.Credential)
	if err != nil {
		return err
	}
	agents, err := sim.NewAgents(sim.AgentsConfig{
		TLS: port, Credential: secret,
		Master: c.Master, Count: c.Count, Hostname: c.Hostname, IP: c.IP, Port: c.Port, AdvertiseIP: c.AdvertiseIP,
		Resources: c.Resources, Attributes: c.Attributes, TaskSeconds: c.TaskSeconds, Backoff: time.Duration(c.Backoff),
		Capabilities: c.Capabilities,
	}, p.log)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	pace, stop := context.WithCancel(p.ctx)
	defer stop()
	go heap.Pace(pace)
	go func() { ended <- agents.Run(p.ctx) }()
	select {
	case n := <-agents.Ready():
		fmt.Fprintf(p.stdout, "ready %d agents\n", n)
		return <-ended
	case err := <-ended:
		return err
	}
}

// simSecurity reads what a simulation shows to a master; nil where there is nothing.
func simSecurity(p *process, file string) (*auth.Credential, *tlsport.Port, error) {
	port, _, err := libprocessSecurity(p.log)
	if err != nil || file == "" {
		return nil, port, err
	}
	secret, warnings, err := auth.ReadCredential(file)
	if err != nil {
		return nil, nil, err
	}
	warn(p.log, warnings)
	return &secret, port, nil
}

type simLoadCmd struct {
	Master     string   `name:"master" required:"" env:"MESOS_MASTER" help:"host:port of a master; a follower's redirect is obeyed."`
	Tasks      int      `name:"tasks" required:"" help:"Number of tasks to launch, over all frameworks."`
	Rate       float64  `name:"rate" help:"Tasks launched per second at most; 0 is as fast as offers come."`
	Frameworks int      `name:"frameworks" default:"1" help:"Number of schedulers that share the tasks."`
	Codec      string   `name:"codec" default:"protobuf" help:"Encoding of calls and events: protobuf or json."`
	Role       string   `name:"role" default:"*" help:"Role of the frameworks."`
	Name       string   `name:"name" default:"stoa-sim-load" help:"Name of the frameworks and tasks."`
	CPUs       float64  `name:"cpus" default:"0.1" help:"CPUs of a task."`
	Mem        float64  `name:"mem" default:"32" help:"Memory of a task in MiB."`
	PerOffer   int      `name:"tasks_per_offer" default:"10" help:"Tasks launched on one offer at most; fewer spread them over more agents."`
	Command    string   `name:"command" default:"exec sleep 1000000" help:"Shell command of the tasks; simulated agents do not run it."`
	Credential string   `name:"credential" help:"File with the principal and secret that the frameworks show to a master that asks."`
	Timeout    duration `name:"timeout" default:"10mins" help:"Time after which the run ends as it is."`
}

// Run measures once. The error, and so the exit code 1, says why not all tasks ran.
func (c *simLoadCmd) Run(p *process) error {
	secret, port, err := simSecurity(p, c.Credential)
	if err != nil {
		return err
	}
	if secret == nil {
		secret = &auth.Credential{}
	}
	l, err := sim.NewLoad(sim.LoadConfig{
		TLS: port, Credential: *secret,
		Master: c.Master, Tasks: c.Tasks, Rate: c.Rate, Frameworks: c.Frameworks, Codec: c.Codec, Role: c.Role, Name: c.Name,
		CPUs: c.CPUs, Mem: c.Mem, PerOffer: c.PerOffer, Command: c.Command, Timeout: time.Duration(c.Timeout),
	}, p.log)
	if err != nil {
		return err
	}
	pace, stop := context.WithCancel(p.ctx)
	defer stop()
	go heap.Pace(pace)
	return l.Run(p.ctx, p.stdout)
}
