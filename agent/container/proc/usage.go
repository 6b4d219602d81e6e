package proc

import (
	"context"
	"math"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Usage implements container.Runtime (mesos-agent.md 12.2).
func (r *Runtime) Usage(_ context.Context, id container.ID) (*mesos.ResourceStatistics, error) {
	const op = "container.Usage"
	r.mu.Lock()
	t, ok := r.procs[id]
	l, limited := r.limits[id]
	r.mu.Unlock()
	if !ok {
		return nil, fault.New(op, fault.NotFound, string(id), nil)
	}
	now := time.Now()
	s := &mesos.ResourceStatistics{Timestamp: proto.Float64(float64(now.UnixMicro()) / 1e6)}
	if limited && l.CPUs > 0 {
		limit := l.CPUs
		if l.CPULimit > 0 && !math.IsInf(l.CPULimit, 1) {
			limit = l.CPULimit
		}
		s.CpusLimit, s.CpusSoftLimit = proto.Float64(limit), proto.Float64(l.CPUs)
	}
	if limited && l.Memory > 0 {
		s.MemSoftLimitBytes = proto.Uint64(l.Memory)
		hard := l.MemoryLimit
		if hard == 0 {
			hard = l.Memory
		}
		if hard != container.Unlimited {
			s.MemLimitBytes = proto.Uint64(hard)
		}
	}
	if r.groups == nil {
		return s, usageOfTree(s, t.PID, t.Start)
	}
	u, err := r.groups.Usage(string(id))
	if err != nil {
		return nil, fault.New(op, fault.Unavailable, string(id), err)
	}
	Fill(s, u)
	if p, ok := r.pressure.Read(string(id)); ok {
		s.MemLowPressureCounter, s.MemMediumPressureCounter, s.MemCriticalPressureCounter = &p.Low, &p.Medium, &p.Critical
	}
	s.BlkioStatistics = blkio(r.groups.IO(string(id)))
	return s, nil
}

// Fill puts what a control group says into statistics (mesos-agent.md 12.2).
func Fill(s *mesos.ResourceStatistics, u cgroup.Usage) {
	s.CpusUserTimeSecs, s.CpusSystemTimeSecs = proto.Float64(u.CPUUser), proto.Float64(u.CPUSystem)
	if u.Periods > 0 {
		s.CpusNrPeriods, s.CpusNrThrottled = proto.Uint32(uint32(u.Periods)), proto.Uint32(uint32(u.Throttled))
		s.CpusThrottledTimeSecs = proto.Float64(u.ThrottledTime)
	}
	s.Processes, s.Threads = proto.Uint32(uint32(u.Processes)), proto.Uint32(uint32(u.Threads))
	s.MemTotalBytes = proto.Uint64(u.MemTotal)
	for kind, to := range map[string][]**uint64{
		"rss": {&s.MemRssBytes, &s.MemAnonBytes}, "cache": {&s.MemCacheBytes, &s.MemFileBytes}, // the second are newer names
		"mapped": {&s.MemMappedFileBytes}, "unevictable": {&s.MemUnevictableBytes}, "swap": {&s.MemSwapBytes}, "with swap": {&s.MemTotalMemswBytes},
		"kernel": {&s.MemKmemUsageBytes}, "kernel tcp": {&s.MemKmemTcpUsageBytes},
	} {
		if n, ok := u.Mem[kind]; ok {
			for _, field := range to {
				*field = proto.Uint64(n)
			}
		}
	}
	if u.MemLimit != math.MaxUint64 && u.MemLimit > 0 {
		s.MemLimitBytes = proto.Uint64(u.MemLimit)
	}
}

// usageOfTree adds up the processes of a session, those that have ended left out.
func usageOfTree(s *mesos.ResourceStatistics, pid int, start uint64) error {
	c, err := tree.Take(false)
	if err != nil {
		return fault.New("container.Usage", fault.Unavailable, "/proc", err)
	}
	var user, system, rss uint64
	var processes, threads uint32
	for _, p := range c.Members(pid, start, "") {
		user, system, rss = user+p.User, system+p.System, rss+p.RSS
		processes++
		threads += uint32(p.Threads)
	}
	s.CpusUserTimeSecs, s.CpusSystemTimeSecs = proto.Float64(float64(user)/100), proto.Float64(float64(system)/100)
	bytes := rss * uint64(os.Getpagesize())
	s.MemRssBytes, s.MemTotalBytes = proto.Uint64(bytes), proto.Uint64(bytes)
	s.Processes, s.Threads = proto.Uint32(processes), proto.Uint32(threads)
	return nil
}
