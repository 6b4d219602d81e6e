package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/heap"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master"
)

// masterCmd are the flags of mesos-master (mesos-master.md section 10). Those that are
// taken for compatibility and have no effect here say so in their help.
type masterCmd struct {
	IP            string `name:"ip" env:"MESOS_IP,LIBPROCESS_IP" help:"Address to listen on; all when empty."`
	Port          uint16 `name:"port" env:"MESOS_PORT,LIBPROCESS_PORT" default:"5050" help:"Port to listen on."`
	AdvertiseIP   string `name:"advertise_ip" env:"MESOS_ADVERTISE_IP,LIBPROCESS_ADVERTISE_IP" help:"Address that agents and frameworks reach this master at."`
	AdvertisePort uint16 `name:"advertise_port" env:"MESOS_ADVERTISE_PORT,LIBPROCESS_ADVERTISE_PORT" help:"Port that agents and frameworks reach this master at."`
	Hostname      string `name:"hostname" env:"MESOS_HOSTNAME" help:"Name published to others; found from the IP when empty."`
	Lookup        bool   `name:"hostname_lookup" env:"MESOS_HOSTNAME_LOOKUP" default:"true" negatable:"" help:"Ask the resolver for the IP's name; otherwise, or when there is none, the IP is published."`
	Discovery     string `name:"ip_discovery_command" env:"MESOS_IP_DISCOVERY_COMMAND" help:"Shell command that prints the address to listen on; not together with --ip."`
	Cluster       string `name:"cluster" env:"MESOS_CLUSTER" help:"Name of the cluster."`
	WorkDir       string `name:"work_dir" env:"MESOS_WORK_DIR" help:"Folder of the registry when there is no --zk."`

	ZK              string   `name:"zk" env:"MESOS_ZK" help:"zk://[user:password@]host:port,.../path for election and registry; without it this master leads by itself."`
	ZKTimeout       duration `name:"zk_session_timeout" env:"MESOS_ZK_SESSION_TIMEOUT" default:"10secs" help:"ZooKeeper session timeout."`
	Quorum          int      `name:"quorum" env:"MESOS_QUORUM" help:"Accepted; ZooKeeper's quorum holds the registry."`
	Registry        string   `name:"registry" env:"MESOS_REGISTRY" default:"replicated_log" enum:"replicated_log,in_memory" help:"in_memory forgets agents at restart; otherwise --zk or --work_dir keep them."`
	RegistryFetch   duration `name:"registry_fetch_timeout" env:"MESOS_REGISTRY_FETCH_TIMEOUT" default:"1mins" help:"Longest time to read the registry."`
	RegistryStore   duration `name:"registry_store_timeout" env:"MESOS_REGISTRY_STORE_TIMEOUT" default:"20secs" help:"Longest time for one registry write; then leadership ends."`
	RegistryStrict  bool     `name:"registry_strict" env:"MESOS_REGISTRY_STRICT" help:"Refused, as in Mesos."`
	RegistryGC      duration `name:"registry_gc_interval" env:"MESOS_REGISTRY_GC_INTERVAL" default:"15mins" help:"Interval at which old unreachable and gone agents are forgotten."`
	RegistryAge     duration `name:"registry_max_agent_age" env:"MESOS_REGISTRY_MAX_AGENT_AGE" default:"2weeks" help:"Age at which an unreachable or gone agent is forgotten."`
	RegistryCount   int      `name:"registry_max_agent_count" env:"MESOS_REGISTRY_MAX_AGENT_COUNT" default:"102400" help:"Unreachable, and gone, agents remembered."`
	LogAutoInit     bool     `name:"log_auto_initialize" env:"MESOS_LOG_AUTO_INITIALIZE" default:"true" negatable:"" help:"Accepted."`
	PingTimeout     duration `name:"agent_ping_timeout" aliases:"slave_ping_timeout" env:"MESOS_AGENT_PING_TIMEOUT,MESOS_SLAVE_PING_TIMEOUT" default:"15secs" help:"Interval of pings to agents, 1secs to 15mins."`
	MaxPings        int      `name:"max_agent_ping_timeouts" aliases:"max_slave_ping_timeouts" env:"MESOS_MAX_AGENT_PING_TIMEOUTS,MESOS_MAX_SLAVE_PING_TIMEOUTS" default:"5" help:"Unanswered pings until an agent is unreachable."`
	Reregister      duration `name:"agent_reregister_timeout" aliases:"slave_reregister_timeout" env:"MESOS_AGENT_REREGISTER_TIMEOUT,MESOS_SLAVE_REREGISTER_TIMEOUT" default:"10mins" help:"Time for agents to come back after a failover; at least 10mins."`
	OfferTimeout    duration `name:"offer_timeout" env:"MESOS_OFFER_TIMEOUT" help:"Rescind offers that stand longer; never when not given."`
	Allocation      duration `name:"allocation_interval" env:"MESOS_ALLOCATION_INTERVAL" default:"1secs" help:"Least time before declined resources are offered to the same framework again; everything else is offered when it becomes free."`
	Weights         string   `name:"weights" env:"MESOS_WEIGHTS" help:"role=weight,role=weight: shares of roles; others weigh 1."`
	Roles           string   `name:"roles" env:"MESOS_ROLES" help:"Roles that frameworks may use, comma separated; any when empty."`
	MinAllocatable  string   `name:"min_allocatable_resources" env:"MESOS_MIN_ALLOCATABLE_RESOURCES" default:"cpus:0.01|mem:32" help:"An offer has at least one of these."`
	Excluded        []string `name:"fair_sharing_excluded_resource_names" env:"MESOS_FAIR_SHARING_EXCLUDED_RESOURCE_NAMES" help:"Resources that do not count for fair shares."`
	FilterGPU       bool     `name:"filter_gpu_resources" env:"MESOS_FILTER_GPU_RESOURCES" default:"true" negatable:"" help:"Offer agents with gpus only to frameworks that ask for gpus."`
	RootSubmissions bool     `name:"root_submissions" env:"MESOS_ROOT_SUBMISSIONS" default:"true" negatable:"" help:"Whether frameworks may run as root."`
	MaxFrameworks   int      `name:"max_completed_frameworks" env:"MESOS_MAX_COMPLETED_FRAMEWORKS" default:"50" help:"Removed frameworks remembered."`
	MaxTasks        int      `name:"max_completed_tasks_per_framework" env:"MESOS_MAX_COMPLETED_TASKS_PER_FRAMEWORK" default:"1000" help:"Ended tasks remembered for each framework."`
	MaxUnreachable  int      `name:"max_unreachable_tasks_per_framework" env:"MESOS_MAX_UNREACHABLE_TASKS_PER_FRAMEWORK" default:"1000" help:"Unreachable tasks remembered for each framework."`
	masterSecurity
	masterPolicy
	mesosLogging
	masterRefused
}

// Run leads or stands by until the process is told to stop.
func (c *masterCmd) Run(p *process) error {
	log, level, file, err := c.open(p, "master")
	if err != nil {
		return err
	}
	defer file.close()
	cfg, err := c.config()
	if err != nil {
		return err
	}
	if cfg.Security, err = c.masterSecurity.config(log); err != nil {
		return err
	}
	for _, name := range c.masterRefused.given() {
		log.Warn("flag has no effect", "flag", "--"+name)
	}
	cfg.LogFile, cfg.LogDir, cfg.LogLevel = file.name, c.LogDir, level
	door, err := master.New(cfg, log)
	if err != nil {
		return err
	}
	pace, stop := context.WithCancel(p.ctx)
	defer stop()
	go heap.Pace(pace)
	return door.Run(p.ctx)
}

// config checks the flags and fills the room's Config.
func (c *masterCmd) config() (master.Config, error) {
	var cfg master.Config
	ip, err := discovered("ip", c.IP, c.Discovery)
	if err != nil {
		return cfg, err
	}
	listen, err := addrPort("ip", ip, c.Port)
	if err != nil {
		return cfg, err
	}
	advertise, err := addrPort("advertise_ip", c.AdvertiseIP, c.AdvertisePort)
	if err != nil {
		return cfg, err
	}
	bad := func(flag string, value any, why string) error {
		return fault.New("stoa master", fault.Invalid, fmt.Sprintf("--%s=%v", flag, value), errors.New(why))
	}
	switch {
	case time.Duration(c.PingTimeout) < time.Second || time.Duration(c.PingTimeout) > 15*time.Minute:
		return cfg, bad("agent_ping_timeout", c.PingTimeout, "it must be from 1secs to 15mins")
	case c.MaxPings < 1:
		return cfg, bad("max_agent_ping_timeouts", c.MaxPings, "it must be at least 1")
	case time.Duration(c.Reregister) < 10*time.Minute:
		return cfg, bad("agent_reregister_timeout", c.Reregister, "it must be at least 10mins, so that agents find the new leader in time")
	case c.RegistryStrict:
		return cfg, bad("registry_strict", true, "a strict registry is not supported, as in Mesos; leave the flag out")
	case c.OfferTimeout < 0:
		return cfg, bad("offer_timeout", c.OfferTimeout, "it must be positive")
	case c.ZK == "" && c.WorkDir == "" && c.Registry != "in_memory":
		return cfg, bad("work_dir", "", "a master without --zk needs a folder for its registry; or say --registry=in_memory")
	case c.ZK != "" && c.Registry == "in_memory":
		return cfg, bad("registry", c.Registry, "with --zk the registry is in ZooKeeper, else a failover would forget the agents")
	}
	if why := c.masterRefused.refuse(); why != nil {
		return cfg, why
	}
	weights, err := weights(c.Weights)
	if err != nil {
		return cfg, bad("weights", c.Weights, err.Error())
	}
	var roles []string
	for _, role := range strings.Split(c.Roles, ",") {
		if role = strings.TrimSpace(role); role != "" {
			if err := resource.ValidateRole(role); err != nil {
				return cfg, bad("roles", c.Roles, err.Error())
			}
			roles = append(roles, role)
		}
	}
	minimum, err := quantities(c.MinAllocatable)
	if err != nil {
		return cfg, bad("min_allocatable_resources", c.MinAllocatable, err.Error())
	}
	cfg = master.Config{
		Listen: listen, Advertise: advertise, Hostname: c.Hostname, HostnameLookup: c.Lookup, Cluster: c.Cluster, WorkDir: c.WorkDir,
		SessionTimeout: time.Duration(c.ZKTimeout), FetchTimeout: time.Duration(c.RegistryFetch), StoreTimeout: time.Duration(c.RegistryStore),
		PingTimeout: time.Duration(c.PingTimeout), MaxPingTimeouts: c.MaxPings, ReregisterTimeout: time.Duration(c.Reregister),
		OfferTimeout: time.Duration(c.OfferTimeout), AllocationInterval: time.Duration(c.Allocation), Weights: weights, Roles: roles,
		MinAllocatable: minimum, Excluded: c.Excluded, FilterGPU: c.FilterGPU, NoRoot: !c.RootSubmissions,
		MaxCompletedFrameworks: c.MaxFrameworks, MaxCompletedTasks: c.MaxTasks, MaxUnreachableTasks: c.MaxUnreachable,
		RegistryGC: time.Duration(c.RegistryGC), MaxAgentAge: time.Duration(c.RegistryAge), MaxAgents: c.RegistryCount,
		Product: version, Flags: c.flags(),
	}
	if err := c.masterPolicy.fill(&cfg); err != nil {
		return cfg, err
	}
	if c.Registry == "in_memory" {
		cfg.WorkDir = ""
	}
	if c.ZK != "" {
		url, err := zk.Parse(c.ZK)
		if err != nil {
			return cfg, err
		}
		cfg.ZK = &url
	}
	return cfg, nil
}

// flags gives what /flags and /state print: the values that were used, as strings.
func (c *masterCmd) flags() map[string]string {
	return flagValues(c, "quorum", "offer_timeout", "advertise_port", "max_executors_per_agent")
}

// addrPort reads an IPv4 address; libprocess cannot carry others.
func addrPort(flag, ip string, port uint16) (netip.AddrPort, error) {
	if ip == "" {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), port), nil
	}
	a, err := netip.ParseAddr(ip)
	if err != nil {
		if ips, lookErr := net.LookupIP(ip); lookErr == nil {
			for _, each := range ips {
				if v4 := each.To4(); v4 != nil {
					a, err = netip.AddrFrom4([4]byte(v4)), nil
					break
				}
			}
		}
	}
	if err != nil || !a.Unmap().Is4() {
		return netip.AddrPort{}, fault.New("stoa master", fault.Invalid, fmt.Sprintf("--%s=%s", flag, ip), errors.New("it must be an IPv4 address"))
	}
	return netip.AddrPortFrom(a.Unmap(), port), nil
}

// weights reads "role=2,other=0.5".
func weights(text string) (map[string]float64, error) {
	if text == "" {
		return nil, nil
	}
	out := map[string]float64{}
	for _, item := range strings.Split(text, ",") {
		role, number, ok := strings.Cut(item, "=")
		w, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil || !(w > 0) || w > 1e12 {
			return nil, fmt.Errorf("%q: write role=weight with a weight above 0", item)
		}
		if err := resource.ValidateRole(role); err != nil {
			return nil, err
		}
		out[role] = w
	}
	return out, nil
}

// quantities reads "cpus:0.01|mem:32": groups joined by |, resources by ;.
func quantities(text string) ([]resource.Quantities, error) {
	out := []resource.Quantities{}
	if strings.TrimSpace(text) == "" {
		return out, nil
	}
	for _, group := range strings.Split(text, "|") {
		r, err := resource.Parse(group, resource.AnyRole)
		if err != nil {
			return nil, err
		}
		out = append(out, r.Quantities())
	}
	return out, nil
}
