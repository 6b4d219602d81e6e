package haproxy

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
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

// Leaving gives those of the servers, as backend and name, that may still get requests or
// have some although they are out of service. A worker of before a reload cannot be told
// of servers any more ("Proxy is disabled"): a client's resting connection may bring it
// one more request, until it has rested for the keep-alive timeout.
func (p *Proxy) Leaving(ctx context.Context, keys map[[2]string]bool) map[[2]string]bool {
	out := map[[2]string]bool{}
	for k := range keys {
		if _, dying := p.dying[k]; dying {
			out[k] = true
		}
	}
	for _, pid := range p.oldWorkers() {
		if time.Since(p.reloaded) < p.keepAlive()+oldPatience {
			return keys
		}
		// The master's socket closes when told to.
		csv, err := ask(ctx, p.cfg.masterSocket(), fmt.Sprintf("@!%d show stat -1 4 -1;quit", pid), oldPatience)
		if err != nil || !strings.HasPrefix(csv, "#") {
			if syscall.Kill(pid, 0) == nil {
				return keys // it is there and says nothing: it may have any of them
			}
			continue
		}
		maps.Copy(out, busyIn(csv, keys))
	}
	return out
}

var keepAliveLine = regexp.MustCompile(`(?m)^[ \t]*timeout[ \t]+http-keep-alive[ \t]+([0-9]{1,6})(ms|s|m)?[ \t\r]*$`)

// keepAlive gives the longest keep-alive timeout of the live configuration.
func (p *Proxy) keepAlive() time.Duration {
	if p.live == nil {
		return 0
	}
	longest := time.Duration(0)
	for _, m := range keepAliveLine.FindAllStringSubmatch(p.live.Structure, -1) {
		n, _ := strconv.Atoi(m[1])
		unit := map[string]time.Duration{"": time.Millisecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute}[m[2]]
		longest = max(longest, time.Duration(n)*unit)
	}
	return longest
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
