// Package master is the door of the master room: it wires the ledger and the allocator
// to agents, schedulers and the registry, and turns all of it on and off with
// leadership. What decides is in the cores ledger and allocate; here is who runs what.
package master

import (
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
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
	Hostname  string         // --hostname; empty: the advertised IP, or its name
	Cluster   string         // --cluster
	// HostnameLookup asks the resolver for the advertised IP's name when Hostname is empty
	// (--hostname_lookup). A name that does not lead back to the IP is not used.
	HostnameLookup bool
	WorkDir        string // --work_dir: registry file of a single master; empty: the registry is in memory

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

	RoleSorter, FrameworkSorter string        // --role_sorter, --framework_sorter: drf or random; empty: drf
	RecoveryFactor              float64       // --allocator_agent_recovery_factor, 0.8; below 0: none: with quotas, agents back before the first offer
	RecoveryWait                time.Duration // --allocator_recovery_timeout, 10 min: longest wait for them
	Whitelist                   string        // --whitelist: file of the hostnames that are offered; empty: all
	WhitelistInterval           time.Duration // between two looks at it, 5 s
	ConstraintMemory            int64         // --offer_constraints_re2_max_mem, 4 KB: bytes of a compiled expression
	ConstraintProgram           int           // --offer_constraints_re2_max_program_size, 100: instructions of one

	RemovalRate        Rate              // --agent_removal_rate_limit: of agents that stop answering; zero: no limit
	RecoveryLimit      float64           // --recovery_agent_removal_limit as a fraction, 1; below 0: none: more missing agents after a failover end the process
	Domain             *mesos.DomainInfo // --domain: this master's region and zone
	RequireAgentDomain bool              // --require_agent_domain

	MaxSubscribers     int            // --max_operator_event_stream_subscribers, 1000
	NoFrameworkMetrics bool           // --no-publish_per_framework_metrics
	SnapshotRate       Rate           // LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT; no Permits: no limit
	WebUIDir           string         // --webui_dir: files served at /
	LogDir             string         // --log_dir, as printed in /state
	LogLevel           *slog.LevelVar // of the logger, for /logging/toggle; nil: it stays as it is
	LogFile            string         // shown as /master/log: --external_log_file, or the log in --log_dir

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

// Rate is Permits events in each Per; the zero value is no rate at all.
type Rate struct {
	Permits float64
	Per     time.Duration
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
		{&c.WhitelistInterval, 5 * time.Second},
	} {
		if *d.at <= 0 {
			*d.at = d.value
		}
	}
}
