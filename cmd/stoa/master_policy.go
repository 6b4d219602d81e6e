package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master"
)

// masterPolicy are the flags of how a master treats agents, offers and readers.
type masterPolicy struct {
	RoleSorter      string   `name:"role_sorter" aliases:"user_sorter" env:"MESOS_ROLE_SORTER,MESOS_USER_SORTER" default:"drf" enum:"drf,random" help:"Order of roles: drf or random."`
	FrameworkSorter string   `name:"framework_sorter" env:"MESOS_FRAMEWORK_SORTER" default:"drf" enum:"drf,random" help:"Order of a role's frameworks: drf or random."`
	Allocator       string   `name:"allocator" env:"MESOS_ALLOCATOR" default:"hierarchical" enum:"hierarchical,HierarchicalDRF" help:"Only hierarchical."`
	RecoveryFactor  float64  `name:"allocator_agent_recovery_factor" env:"MESOS_ALLOCATOR_AGENT_RECOVERY_FACTOR" default:"0.8" help:"Share of the agents that are back before the first offer, where quotas are set."`
	RecoveryWait    duration `name:"allocator_recovery_timeout" env:"MESOS_ALLOCATOR_RECOVERY_TIMEOUT" default:"10mins" help:"Longest time to wait for them."`
	Whitelist       string   `name:"whitelist" env:"MESOS_WHITELIST" help:"File with one hostname a line: only these agents are offered. Read again when it changes."`
	ConstraintMem   string   `name:"offer_constraints_re2_max_mem" env:"MESOS_OFFER_CONSTRAINTS_RE2_MAX_MEM" default:"4KB" help:"Memory of one regular expression in offer constraints."`
	ConstraintSize  int      `name:"offer_constraints_re2_max_program_size" env:"MESOS_OFFER_CONSTRAINTS_RE2_MAX_PROGRAM_SIZE" default:"100" help:"Instructions of one."`

	RemovalRate   string `name:"agent_removal_rate_limit" aliases:"slave_removal_rate_limit" env:"MESOS_AGENT_REMOVAL_RATE_LIMIT,MESOS_SLAVE_REMOVAL_RATE_LIMIT" help:"At most so many agents become unreachable in a time, as 1/10mins; any when not given."`
	RecoveryLimit string `name:"recovery_agent_removal_limit" aliases:"recovery_slave_removal_limit" env:"MESOS_RECOVERY_AGENT_REMOVAL_LIMIT,MESOS_RECOVERY_SLAVE_REMOVAL_LIMIT" default:"100%" help:"If more of the agents stay away after a failover, the master ends rather than give them up; 0% to 100%."`
	Domain        string `name:"domain" env:"MESOS_DOMAIN" help:"Region and zone: {\"fault_domain\":{\"region\":{\"name\":\"r\"},\"zone\":{\"name\":\"z\"}}}, or a file with it."`
	RequireDomain bool   `name:"require_agent_domain" env:"MESOS_REQUIRE_AGENT_DOMAIN" negatable:"" help:"Refuse agents without a domain."`

	MaxSubscribers   int    `name:"max_operator_event_stream_subscribers" env:"MESOS_MAX_OPERATOR_EVENT_STREAM_SUBSCRIBERS" default:"1000" help:"Streams of operator events; beyond it the oldest is closed."`
	FrameworkMetrics bool   `name:"publish_per_framework_metrics" env:"MESOS_PUBLISH_PER_FRAMEWORK_METRICS" default:"true" negatable:"" help:"Publish metrics of each framework."`
	WebUI            string `name:"webui_dir" env:"MESOS_WEBUI_DIR" help:"Folder of files served at /."`
}

// fill checks the flags and puts them into the room's Config.
func (c *masterPolicy) fill(cfg *master.Config) error {
	bad := func(flag string, value any, why string) error {
		return fault.New("stoa master", fault.Invalid, fmt.Sprintf("--%s=%v", flag, value), errors.New(why))
	}
	var err error
	if cfg.RemovalRate, err = rate(c.RemovalRate); err != nil {
		return bad("agent_removal_rate_limit", c.RemovalRate, err.Error())
	}
	if cfg.RecoveryLimit, err = percent(c.RecoveryLimit); err != nil {
		return bad("recovery_agent_removal_limit", c.RecoveryLimit, err.Error())
	}
	if cfg.RecoveryLimit == 0 {
		cfg.RecoveryLimit = -1 // none may stay away; zero is the default
	}
	if cfg.ConstraintMemory, err = size(c.ConstraintMem); err != nil {
		return bad("offer_constraints_re2_max_mem", c.ConstraintMem, err.Error())
	}
	switch {
	case !(c.RecoveryFactor >= 0 && c.RecoveryFactor <= 1):
		return bad("allocator_agent_recovery_factor", c.RecoveryFactor, "it must be from 0 to 1")
	case c.RecoveryWait < 0:
		return bad("allocator_recovery_timeout", c.RecoveryWait, "it must not be negative")
	case c.ConstraintSize < 1:
		return bad("offer_constraints_re2_max_program_size", c.ConstraintSize, "it must be at least 1")
	case c.MaxSubscribers < 1:
		return bad("max_operator_event_stream_subscribers", c.MaxSubscribers, "it must be at least 1")
	}
	if c.Domain != "" {
		text, err := textOrFile(c.Domain)
		if err != nil {
			return bad("domain", c.Domain, err.Error())
		}
		if cfg.Domain, err = domain(text); err != nil {
			return bad("domain", c.Domain, err.Error())
		}
	}
	cfg.RoleSorter, cfg.FrameworkSorter = c.RoleSorter, c.FrameworkSorter
	cfg.RecoveryFactor, cfg.RecoveryWait = c.RecoveryFactor, time.Duration(c.RecoveryWait)
	if c.RecoveryFactor == 0 {
		cfg.RecoveryFactor = -1 // nothing is waited for; zero is the default
	}
	cfg.Whitelist = strings.TrimPrefix(c.Whitelist, "file://")
	cfg.ConstraintProgram = c.ConstraintSize
	cfg.RequireAgentDomain, cfg.MaxSubscribers = c.RequireDomain, c.MaxSubscribers
	cfg.NoFrameworkMetrics, cfg.WebUIDir = !c.FrameworkMetrics, c.WebUI
	const snapshotRate = "LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT"
	cfg.SnapshotRate = master.Rate{Permits: 2, Per: time.Second}
	if text, set := os.LookupEnv(snapshotRate); set {
		if cfg.SnapshotRate, err = rate(text); err != nil {
			return fault.New("stoa master", fault.Invalid, snapshotRate+"="+text, err)
		}
		if text == "" {
			cfg.SnapshotRate.Permits = -1
		}
	}
	return nil
}

// rate reads "2/3hrs"; empty is no rate.
func rate(text string) (master.Rate, error) {
	if text == "" {
		return master.Rate{}, nil
	}
	number, per, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	var d duration
	if !ok || err != nil || n < 1 || d.UnmarshalText([]byte(per)) != nil || d <= 0 {
		return master.Rate{}, errors.New("write a number, / and a time, as 1/10mins")
	}
	return master.Rate{Permits: float64(n), Per: time.Duration(d)}, nil
}

// percent reads "75%" as 0.75.
func percent(text string) (float64, error) {
	number, ok := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(n >= 0 && n <= 100) {
		return 0, errors.New("write a number from 0 to 100 and %")
	}
	return n / 100, nil
}

// size reads Mesos' notation of bytes, "10KB" or "4096B".
func size(text string) (int64, error) {
	for _, u := range []struct {
		name string
		unit float64
	}{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}, {"B", 1}} {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n >= 0) || n*u.unit >= math.MaxInt64 {
			break
		}
		return int64(n * u.unit), nil
	}
	return 0, errors.New("write a number and one of B, KB, MB, GB, TB")
}

// domain reads a DomainInfo; where there is one it has a fault domain with both names.
func domain(text []byte) (*mesos.DomainInfo, error) {
	d := &mesos.DomainInfo{}
	if err := wire.UnmarshalJSON(text, d); err != nil {
		return nil, err
	}
	if d.GetFaultDomain().GetRegion().GetName() == "" || d.GetFaultDomain().GetZone().GetName() == "" {
		return nil, errors.New(`it must name both: {"fault_domain":{"region":{"name":"r"},"zone":{"name":"z"}}}`)
	}
	return d, nil
}

// masterRefused are flags that load native modules, which is refused, or that change
// nothing here; using one of the latter is logged.
type masterRefused struct {
	Modules         string `name:"modules" env:"MESOS_MODULES" help:"Refused: native modules cannot be loaded."`
	ModulesDir      string `name:"modules_dir" env:"MESOS_MODULES_DIR" help:"Refused, as --modules."`
	Hooks           string `name:"hooks" env:"MESOS_HOOKS" help:"Refused, as --modules."`
	Contender       string `name:"master_contender" env:"MESOS_MASTER_CONTENDER" help:"Refused, as --modules."`
	Detector        string `name:"master_detector" env:"MESOS_MASTER_DETECTOR" help:"Refused, as --modules."`
	MaxExecutors    int    `name:"max_executors_per_agent" aliases:"max_executors_per_slave" env:"MESOS_MAX_EXECUTORS_PER_AGENT,MESOS_MAX_EXECUTORS_PER_SLAVE" help:"Accepted; it belongs to an isolator that is not here."`
	MemoryProfiling bool   `name:"memory_profiling" env:"MESOS_MEMORY_PROFILING" negatable:"" help:"Accepted."`
	Version         bool   `name:"version" help:"Print the Mesos version that this master is compatible with."`
}

func (c *masterRefused) refuse() error {
	for _, f := range []struct{ name, value string }{
		{"modules", c.Modules}, {"modules_dir", c.ModulesDir}, {"hooks", c.Hooks},
		{"master_contender", c.Contender}, {"master_detector", c.Detector},
	} {
		if f.value != "" {
			return fault.New("stoa master", fault.Invalid, "--"+f.name+"="+f.value,
				errors.New("modules of Mesos are native libraries and cannot be loaded; leave the flag out"))
		}
	}
	return nil
}

// given lists the accepted flags that were used.
func (c *masterRefused) given() (names []string) {
	if c.MaxExecutors != 0 {
		names = append(names, "max_executors_per_agent")
	}
	if c.MemoryProfiling {
		names = append(names, "memory_profiling")
	}
	return names
}
