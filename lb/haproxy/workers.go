package haproxy

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/lb/render"
)

// TrimWorkers ends the oldest workers of before a reload when more than MaxOldWorkers
// are left, each kept alive by some connection. It gives how many workers remain.
func (p *Proxy) TrimWorkers(ctx context.Context) int { return p.trim(ctx, p.cfg.MaxOldWorkers) }

func (p *Proxy) trim(ctx context.Context, most int) int {
	if p.cfg.Command != "" || p.master == nil || !p.master.alive() {
		return 0
	}
	workers := children(p.master.pid)
	if len(workers) <= max(most, 0)+1 || p.cfg.MaxOldWorkers < 1 {
		return len(workers)
	}
	newest := int(p.workerPID(ctx))
	old := slices.DeleteFunc(workers, func(pid int) bool { return pid == newest })
	if newest == 0 || len(old) <= most {
		return len(old)
	}
	// The kernel lists children in the order of their birth.
	for _, pid := range old[:len(old)-most] {
		p.log.Warn("ending an old haproxy worker with its connections", "pid", pid, "old_workers", len(old))
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	return most + 1
}

// Crowded tells whether a reload now would have to end an old worker with its
// connections to stay within MaxOldWorkers.
func (p *Proxy) Crowded() bool {
	return p.cfg.MaxOldWorkers > 0 && len(p.oldWorkers()) >= p.cfg.MaxOldWorkers
}

// oldWorkers gives the workers of before the last reload, oldest first.
func (p *Proxy) oldWorkers() []int {
	if p.cfg.Command != "" || p.master == nil || !p.master.alive() {
		return nil
	}
	workers := children(p.master.pid)
	if len(workers) < 2 {
		return nil
	}
	newest := int(p.worker)
	if !slices.Contains(workers, newest) {
		newest = workers[len(workers)-1]
	}
	return slices.DeleteFunc(workers, func(pid int) bool { return pid == newest })
}

// oldPatience is how long an old worker's answer is waited for: it may be ending.
const oldPatience = 250 * time.Millisecond

// tellOldWorkers sends commands to the workers of before a reload: they still answer on
// the connections that they have, from servers that may be about to end. What one of
// them does not know is of no concern to it.
func (p *Proxy) tellOldWorkers(ctx context.Context, commands []string) {
	if len(commands) == 0 {
		return
	}
	for _, pid := range p.oldWorkers() {
		to := fmt.Sprintf("@!%d ", pid)
		for rest := commands; len(rest) > 0; {
			line := to + rest[0]
			for rest = rest[1:]; len(rest) > 0 && len(line) < maxGroup; rest = rest[1:] {
				line += ";" + to + rest[0]
			}
			if _, err := ask(ctx, p.cfg.masterSocket(), line, oldPatience); err != nil {
				// Mostly it is just ending.
				p.log.Info("an old haproxy worker does not hear of a server's end", "pid", pid, "error", err)
				break
			}
		}
	}
}

// Leaving gives those of the servers, as backend and name, that still have connections
// although they are out of service: in the newest worker or in one of before a reload.
func (p *Proxy) Leaving(ctx context.Context, keys map[[2]string]bool) map[[2]string]bool {
	out := map[[2]string]bool{}
	for k := range keys {
		if _, dying := p.dying[k]; dying {
			out[k] = true
		}
	}
	for _, pid := range p.oldWorkers() {
		// One that is gone meanwhile has no connections.
		csv, err := ask(ctx, p.cfg.masterSocket(), fmt.Sprintf("@!%d show stat -1 4 -1", pid), oldPatience)
		if err == nil {
			maps.Copy(out, busyIn(csv, keys))
		}
	}
	return out
}

// left gives the commands that take servers out of an old worker's service which want
// has no longer, or drains.
func left(have, want render.Config) []string {
	serving := map[[2]string]bool{}
	for _, b := range want.Backends {
		for _, s := range b.Servers {
			serving[[2]string{b.Name, s.Name}] = !s.Drain
		}
	}
	var out []string
	for _, b := range have.Backends {
		for _, s := range b.Servers {
			if !serving[[2]string{b.Name, s.Name}] {
				out = append(out, "set server "+b.Name+"/"+s.Name+" state maint")
			}
		}
	}
	return out
}

// busyIn gives the servers of keys that a worker has connections to.
func busyIn(csv string, keys map[[2]string]bool) map[[2]string]bool {
	out := map[[2]string]bool{}
	for line := range strings.Lines(csv) {
		if f := strings.SplitN(line, ",", 6); len(f) > 5 && keys[[2]string{f[0], f[1]}] && f[4] != "0" && f[4] != "" {
			out[[2]string{f[0], f[1]}] = true
		}
	}
	return out
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
