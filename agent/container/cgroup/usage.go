package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Usage is what a group uses. Fields whose controller is missing are 0.
type Usage struct {
	CPUUser, CPUSystem float64 // seconds
	Periods, Throttled uint64
	ThrottledTime      float64 // seconds
	MemTotal           uint64  // bytes charged
	MemLimit           uint64  // math.MaxUint64 for none
	MemStat            map[string]uint64
	Processes, Threads int
}

// Usage reads a group's counters.
func (d *Driver) Usage(id string) (Usage, error) {
	u := Usage{MemLimit: d.hard(id)}
	pids, err := d.Procs(id)
	if err != nil {
		return u, err
	}
	u.Processes = len(pids)
	_ = walk(d.all(id)[0], func(dir string) error {
		file := "tasks"
		if d.layout.V2 {
			file = "cgroup.threads"
		}
		n, err := numbers(filepath.Join(dir, file))
		u.Threads += len(n)
		return err
	})
	mem := d.dir("memory", id)
	u.MemStat = table(filepath.Join(mem, "memory.stat"))
	cpu := table(filepath.Join(d.dir("cpu", id), "cpu.stat"))
	u.Periods, u.Throttled = cpu["nr_periods"], cpu["nr_throttled"]
	if d.layout.V2 {
		u.CPUUser, u.CPUSystem = micros(cpu["user_usec"]), micros(cpu["system_usec"])
		u.ThrottledTime = micros(cpu["throttled_usec"])
		u.MemTotal = number(filepath.Join(mem, "memory.current"))
		return u, nil
	}
	u.ThrottledTime = float64(cpu["throttled_time"]) / 1e9
	u.MemTotal = number(filepath.Join(mem, "memory.usage_in_bytes"))
	acct := d.dir("cpuacct", id)
	ticks := table(filepath.Join(acct, "cpuacct.stat")) // USER_HZ, 100 on every Linux port in use
	u.CPUUser, u.CPUSystem = float64(ticks["user"])/100, float64(ticks["system"])/100
	return u, nil
}

// OOM is what a group says of its memory limit.
type OOM struct {
	Kills   uint64 // processes killed for it
	Limit   uint64 // bytes
	MaxUsed uint64 // bytes
	Stat    string // memory.stat as it is
}

// OOM reads it; zero when memory is not controlled.
func (d *Driver) OOM(id string) OOM {
	mem := d.dir("memory", id)
	o := OOM{Limit: d.hard(id)}
	if d.layout.V2 {
		o.Kills = table(filepath.Join(mem, "memory.events"))["oom_kill"]
		o.MaxUsed = number(filepath.Join(mem, "memory.peak"))
		if o.MaxUsed == 0 { // Linux before 5.19
			o.MaxUsed = o.Limit
		}
	} else {
		o.Kills = table(filepath.Join(mem, "memory.oom_control"))["oom_kill"]
		o.MaxUsed = number(filepath.Join(mem, "memory.max_usage_in_bytes"))
	}
	if o.Kills > 0 {
		raw, _ := os.ReadFile(filepath.Join(mem, "memory.stat"))
		o.Stat = string(raw)
	}
	return o
}

// table reads "name value" lines; what cannot be read is left out.
func table(file string) map[string]uint64 {
	raw, _ := os.ReadFile(file)
	out := map[string]uint64{}
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
			out[f[0]] = n
		}
	}
	return out
}

func number(file string) uint64 {
	raw, _ := os.ReadFile(file)
	n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return 0
	}
	return min(n, math.MaxInt64)
}

func micros(n uint64) float64 { return float64(n) / 1e6 }
