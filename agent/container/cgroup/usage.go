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
	ThrottledTime      float64           // seconds
	MemTotal           uint64            // bytes charged
	MemLimit           uint64            // math.MaxUint64 for none
	Mem                map[string]uint64 // bytes by kind, as far as the kernel tells: see kinds
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
		if d.all(id)[0] == d.unifiedDir(id) {
			file = "cgroup.threads"
		}
		n, err := numbers(filepath.Join(dir, file))
		u.Threads += len(n)
		return err
	})
	cpu := table(filepath.Join(d.dir("cpu", id), "cpu.stat"))
	u.Periods, u.Throttled = cpu["nr_periods"], cpu["nr_throttled"]
	if d.layout.v2("cpu") {
		u.ThrottledTime = micros(cpu["throttled_usec"])
	} else {
		u.ThrottledTime = float64(cpu["throttled_time"]) / 1e9
	}
	acct := d.dir("cpuacct", id)
	if d.layout.v2("cpuacct") { // also where the controller is missing
		cpu := table(filepath.Join(acct, "cpu.stat"))
		u.CPUUser, u.CPUSystem = micros(cpu["user_usec"]), micros(cpu["system_usec"])
	} else {
		ticks := table(filepath.Join(acct, "cpuacct.stat")) // USER_HZ, 100 on every Linux port in use
		u.CPUUser, u.CPUSystem = float64(ticks["user"])/100, float64(ticks["system"])/100
	}
	d.memory(&u, d.dir("memory", id))
	return u, nil
}

// kinds names the lines of memory.stat and the other files of versions 1 and 2 that tell
// of a kind of memory.
var kinds = []struct{ kind, v1, v2, v1File, v2File string }{
	{kind: "rss", v1: "total_rss", v2: "anon"},
	{kind: "cache", v1: "total_cache", v2: "file"},
	{kind: "mapped", v1: "total_mapped_file", v2: "file_mapped"},
	{kind: "unevictable", v1: "total_unevictable", v2: "unevictable"},
	{kind: "swap", v1: "total_swap", v2File: "memory.swap.current"},
	{kind: "kernel", v1File: "memory.kmem.usage_in_bytes", v2: "kernel"}, // 2: since Linux 5.18
	{kind: "kernel tcp", v1File: "memory.kmem.tcp.usage_in_bytes", v2: "sock"},
	{kind: "with swap", v1File: "memory.memsw.usage_in_bytes"}, // 2: the sum
}

// memory reads what the group at dir has been charged for.
func (d *Driver) memory(u *Usage, dir string) {
	v2, total := d.layout.v2("memory"), "memory.usage_in_bytes"
	if v2 {
		total = "memory.current"
	}
	u.MemTotal = number(filepath.Join(dir, total))
	u.Mem = map[string]uint64{}
	stat := table(filepath.Join(dir, "memory.stat"))
	for _, k := range kinds {
		line, file := k.v1, k.v1File
		if v2 {
			line, file = k.v2, k.v2File
		}
		n, ok := stat[line]
		if file != "" {
			_, err := os.Stat(filepath.Join(dir, file))
			n, ok = number(filepath.Join(dir, file)), err == nil
		}
		if ok {
			u.Mem[k.kind] = n
		}
	}
	if swap, ok := u.Mem["swap"]; ok && v2 {
		u.Mem["with swap"] = u.MemTotal + swap
	}
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
	if d.layout.v2("memory") {
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
