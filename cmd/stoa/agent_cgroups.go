package main

import (
	"time"

	"github.com/stoa-project/stoa/agent"
)

// agentCgroups are the flags of the limits that control groups set (mesos-agent.md 7.3, 13).
type agentCgroups struct {
	Hierarchy string   `name:"cgroups_hierarchy" env:"MESOS_CGROUPS_HIERARCHY" default:"/sys/fs/cgroup" help:"Where cgroups are mounted."`
	Root      string   `name:"cgroups_root" env:"MESOS_CGROUPS_ROOT" help:"Folder of this agent in each hierarchy; one agent each. Default mesos, with -PORT behind it for ports other than 5051."`
	CFS       bool     `name:"cgroups_enable_cfs" env:"MESOS_CGROUPS_ENABLE_CFS" negatable:"" help:"Make CPU requests hard limits."`
	LimitSwap bool     `name:"cgroups_limit_swap" env:"MESOS_CGROUPS_LIMIT_SWAP" negatable:"" help:"Make the memory limit one of memory and swap together, so that tasks do not swap beyond it."`
	Destroy   duration `name:"cgroups_destroy_timeout" env:"MESOS_CGROUPS_DESTROY_TIMEOUT" default:"60secs" help:"How long the groups of an ended container may take to empty, before that is counted as an error and tried again."`
	Revocable bool     `name:"revocable_cpu_low_priority" env:"MESOS_REVOCABLE_CPU_LOW_PRIORITY" default:"true" negatable:"" help:"Give containers with revocable CPUs a hundredth of the weight."`
}

// apply fills the room's Config; suffix tells agents of one host apart.
func (c *agentCgroups) apply(cfg *agent.Config, suffix string) {
	if c.Root == "" {
		c.Root = "mesos" + suffix // also what /flags shows
	}
	cfg.CgroupsHierarchy, cfg.CgroupsRoot, cfg.CgroupsEnableCFS = c.Hierarchy, c.Root, c.CFS
	cfg.CgroupsLimitSwap, cfg.CgroupsDestroyTimeout, cfg.RevocableCPUFullPriority = c.LimitSwap, time.Duration(c.Destroy), !c.Revocable
}
