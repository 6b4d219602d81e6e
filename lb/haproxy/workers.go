package haproxy

import (
	"context"
	"slices"
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
