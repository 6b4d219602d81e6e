package ledger

import (
	"time"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/allocate/constraint"
)

// Heartbeat is the interval of HEARTBEAT events that SUBSCRIBED promises; not
// configurable (mesos-master.md section 0).
const Heartbeat = 15 * time.Second

// MaxOffersPerEvent splits OFFERS events so that no frame passes mesos-go's 4 MiB
// limit (mesos-master.md T7).
const MaxOffersPerEvent = 500

// maxOffersBytes is the same for long offers, in protobuf bytes: JSON takes up to four times
// as many, and 1 MiB is a frame that every client reads.
const maxOffersBytes = 256 << 10

// Config is what one term of leadership works with. The zero durations and counts
// are replaced by Mesos' defaults (mesos-master.md section 0).
type Config struct {
	Master            *mesos.MasterInfo // id, pid, address …; told to frameworks
	PingInterval      time.Duration     // --agent_ping_timeout, 15 s
	MaxMissedPings    int               // --max_agent_ping_timeouts, 5
	ReregisterTimeout time.Duration     // --agent_reregister_timeout, 10 min
	OfferTimeout      time.Duration     // --offer_timeout; 0: offers stand until used
	MaxCompleted      int               // --max_completed_frameworks, 50
	MaxCompletedTasks int               // --max_completed_tasks_per_framework, 1000
	MaxUnreachable    int               // --max_unreachable_tasks_per_framework, 1000
	MaxGone           int               // --registry_max_agent_count, 102400: unreachable, and gone, agents remembered
	MaxAge            time.Duration     // --registry_max_agent_age, 2 weeks: of those
	GCInterval        time.Duration     // --registry_gc_interval, 15 min
	RemovalRate       Rate              // --agent_removal_rate_limit: of agents marked unreachable; zero: no limit
	RemovalLimit      float64           // --recovery_agent_removal_limit as a fraction, 1; below 0: none: of the recovered agents that may stay away
	Domain            *mesos.DomainInfo // --domain; nil: none
	RequireDomain     bool              // --require_agent_domain
	Weights           []WeightSet       // --weights; kept when the registry has none
	RecoveryFactor    float64           // --allocator_agent_recovery_factor, 0.8; below 0: none: share of agents awaited before quotas are trusted
	RecoveryTimeout   time.Duration     // --allocator_recovery_timeout, 10 min: longest wait for them
	Constraints       constraint.Limits // --offer_constraints_re2_max_mem, --offer_constraints_re2_max_program_size
	NoRoot            bool              // --no-root_submissions: user "root" is refused
	MaxTasksPerAccept int               // limit on one ACCEPT, 10000: bounds the work of one step
	ACL               *acl.List         // --acls: what frameworks and agents may do; nil: everything
	Roles             []string          // --roles: the whitelist, empty means any role
}

func (c *Config) defaults() {
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{
		{&c.PingInterval, 15 * time.Second},
		{&c.ReregisterTimeout, 10 * time.Minute},
		{&c.MaxAge, 14 * 24 * time.Hour},
		{&c.GCInterval, 15 * time.Minute},
		{&c.RecoveryTimeout, 10 * time.Minute},
	} {
		if *d.at <= 0 {
			*d.at = d.value
		}
	}
	if c.RemovalLimit == 0 {
		c.RemovalLimit = 1
	}
	if c.RecoveryFactor == 0 {
		c.RecoveryFactor = 0.8
	}
	for _, d := range []struct {
		at    *int
		value int
	}{
		{&c.MaxMissedPings, 5},
		{&c.MaxCompleted, 50},
		{&c.MaxCompletedTasks, 1000},
		{&c.MaxUnreachable, 1000},
		{&c.MaxGone, 102400},
		{&c.MaxTasksPerAccept, 10000},
	} {
		if *d.at <= 0 {
			*d.at = d.value
		}
	}
}
