package haproxy

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// TrimWorkers ends the oldest workers of before a reload when more than MaxOldWorkers
// are left, each kept alive by some connection. It gives how many workers remain.
func (p *Proxy) TrimWorkers(ctx context.Context) int {
	if p.cfg.Command != "" || p.master == nil || !p.master.alive() {
		return 0
	}
	workers := children(p.master.pid)
	if len(workers) <= p.cfg.MaxOldWorkers+1 || p.cfg.MaxOldWorkers < 1 {
		return len(workers)
	}
	newest := int(p.workerPID(ctx))
	old := slices.DeleteFunc(workers, func(pid int) bool { return pid == newest })
	if newest == 0 || len(old) <= p.cfg.MaxOldWorkers {
		return len(old)
	}
	// The kernel lists children in the order of their birth.
	for _, pid := range old[:len(old)-p.cfg.MaxOldWorkers] {
		p.log.Warn("ending an old haproxy worker with its connections", "pid", pid, "old_workers", len(old))
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	return p.cfg.MaxOldWorkers + 1
}

// uptime gives the seconds since boot, 0 when the kernel does not tell.
func uptime() float64 {
	b, _ := os.ReadFile("/proc/uptime")
	first, _, _ := strings.Cut(string(b), " ")
	up, _ := strconv.ParseFloat(first, 64)
	return up
}

// bornSince tells whether a process was started at or after a time since boot. What
// cannot be read counts as born since.
func bornSince(pid int64, since float64) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if err != nil || !ok || len(f) < 20 || since == 0 {
		return true
	}
	ticks, _ := strconv.ParseFloat(f[19], 64) // a hundred of them to the second
	return ticks/100 >= since-0.02
}
