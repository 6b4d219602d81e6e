package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Limits is what a group may use. Zero fields are left as the kernel has them.
type Limits struct {
	CPUs    float64 // weight, in CPUs
	Quota   float64 // hard limit in CPUs; +Inf removes it
	MemSoft uint64  // bytes
	MemHard uint64  // bytes; math.MaxUint64 removes it
	Pids    int64   // negative removes it
	Low     bool    // a hundredth of the weight (version 1: 10/1024), for revocable CPUs
	NoSwap  bool    // MemHard bounds swap too: memory and swap together, with version 2 no swap at all
}

// minMemory is the least hard limit in bytes (mesos-agent.md 7.3).
const minMemory = 32 << 20

func (d *Driver) set(id string, l Limits, fresh bool) error {
	var errs error
	put := func(controller, file string, value any) {
		if d.has(controller) {
			errs = errors.Join(errs, write(d.dir(controller, id), file, fmt.Sprint(value)))
		}
	}
	if l.CPUs > 0 {
		weight, shares := 100.0, 1024.0
		if l.Low {
			weight, shares = 1, 10
		}
		if d.layout.v2("cpu") {
			put("cpu", "cpu.weight", clamp(weight*l.CPUs, 1, 10000))
		} else {
			put("cpu", "cpu.shares", clamp(shares*l.CPUs, 2, 262144))
		}
	}
	if l.Quota > 0 {
		quota := clamp(float64(period)*l.Quota, 1000, math.MaxInt64/2)
		switch {
		case d.layout.v2("cpu") && math.IsInf(l.Quota, 1):
			put("cpu", "cpu.max", fmt.Sprintf("max %d", period))
		case d.layout.v2("cpu"):
			put("cpu", "cpu.max", fmt.Sprintf("%d %d", quota, period))
		case math.IsInf(l.Quota, 1):
			put("cpu", "cpu.cfs_quota_us", -1)
		default:
			put("cpu", "cpu.cfs_period_us", period)
			put("cpu", "cpu.cfs_quota_us", quota)
		}
	}
	soft := "memory.soft_limit_in_bytes"
	if d.layout.v2("memory") {
		soft = "memory.low"
	}
	if l.MemSoft > 0 {
		put("memory", soft, max(l.MemSoft, minMemory))
	}
	if l.MemHard > 0 && (fresh || l.MemHard > d.hard(id)) {
		d.hardest(l, fresh, put)
	}
	switch {
	case l.Pids > 0:
		put("pids", "pids.max", l.Pids)
	case l.Pids < 0:
		put("pids", "pids.max", "max")
	}
	return errs
}

// period of CPU quotas in microseconds, as in Mesos.
const period = 100_000

func clamp(v, low, high float64) int64 { return int64(min(max(v, low), high)) }

// hard gives the present hard memory limit in bytes, math.MaxUint64 for none.
func (d *Driver) hard(id string) uint64 {
	file := "memory.limit_in_bytes"
	if d.layout.v2("memory") {
		file = "memory.max"
	}
	raw, err := os.ReadFile(filepath.Join(d.dir("memory", id), file))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil || n >= 1<<62 { // "max", or version 1's largest page count
		return math.MaxUint64
	}
	return n
}
