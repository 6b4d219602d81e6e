// Package master is the door of the master room: it wires the ledger and the allocator
// to agents, schedulers and the registry, and turns all of it on and off with
// leadership. What decides is in the cores ledger and allocate; here is who runs what.
package master

import (
	"net"
	"net/netip"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/zk"
)

// MesosVersion is what this master tells agents and frameworks it is compatible with:
// they gate features on it.
const MesosVersion = "1.11.0"

// Config of a master; cmd/stoa fills it from the flags of mesos-master.md section 10.
// Zero values are Mesos' defaults.
type Config struct {
	Listen    netip.AddrPort // --ip, --port
	Listener  net.Listener   // instead of Listen, already bound
	Advertise netip.AddrPort // --advertise_ip, --advertise_port: what pids and redirects carry
	Hostname  string         // --hostname; empty: the advertised IP
	Cluster   string         // --cluster
	WorkDir   string         // --work_dir: registry file of a single master; empty: the registry is in memory

	ZK             *zk.URL       // --zk: election and registry; nil: this master leads by itself
	SessionTimeout time.Duration // --zk_session_timeout, 10 s
	FetchTimeout   time.Duration // --registry_fetch_timeout, 1 min
	StoreTimeout   time.Duration // --registry_store_timeout, 20 s

	PingTimeout       time.Duration // --agent_ping_timeout, 15 s
	MaxPingTimeouts   int           // --max_agent_ping_timeouts, 5
	ReregisterTimeout time.Duration // --agent_reregister_timeout, 10 min
	OfferTimeout      time.Duration // --offer_timeout; 0: none

	AllocationInterval time.Duration         // --allocation_interval, 1 s: least time before declined resources are offered again
	Weights            map[string]float64    // --weights
	Roles              []string              // --roles: whitelist; empty: any
	MinAllocatable     []resource.Quantities // --min_allocatable_resources; nil: cpus:0.01 or mem:32
	Excluded           []string              // --fair_sharing_excluded_resource_names
	FilterGPU          bool                  // --filter_gpu_resources: agents with gpus only for frameworks that ask for gpus
	NoRoot             bool                  // --no-root_submissions

	RegistryGC  time.Duration // --registry_gc_interval, 15 min
	MaxAgentAge time.Duration // --registry_max_agent_age, 2 weeks: unreachable and gone agents remembered
	MaxAgents   int           // --registry_max_agent_count, 102400: of each kind

	MaxCompletedFrameworks int // --max_completed_frameworks, 50
	MaxCompletedTasks      int // --max_completed_tasks_per_framework, 1000
	MaxUnreachableTasks    int // --max_unreachable_tasks_per_framework, 1000

	Security Security // who may speak to this master, and what they may do

	Product string            // version of this program, for /version
	Flags   map[string]string // all flags as given, for /flags and /state
	Seed    uint64            // of the allocator's shuffle; 0: from the master id
}

func (c *Config) defaults() {
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{
		{&c.SessionTimeout, 10 * time.Second},
		{&c.FetchTimeout, time.Minute},
		{&c.StoreTimeout, 20 * time.Second},
		{&c.AllocationInterval, time.Second},
	} {
		if *d.at <= 0 {
			*d.at = d.value
		}
	}
}
