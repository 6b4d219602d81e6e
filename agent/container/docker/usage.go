package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/agent/container/proc"
	"github.com/stoa-project/stoa/agent/container/traffic"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Usage implements container.Runtime: it reads the control groups that the engine has put
// the container's process into (mesos-agent.md 7.5, row usage), and counts in its network
// namespace. The engine itself is not asked: it measures for a second, and may hang.
func (r *Runtime) Usage(_ context.Context, id container.ID) (*mesos.ResourceStatistics, error) {
	const op = "docker.Usage"
	b, err := r.live(op, id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	pid, l, hosted := b.pid, b.limits, b.hosted
	r.mu.Unlock()
	var carried traffic.Counters
	if !hosted { // before the groups, which tell that the process is still the container's
		if carried, err = traffic.Read(fmt.Sprintf("/proc/%d/ns/net", pid), func(name string) bool { return name != "lo" }); err != nil {
			return nil, fault.New(op, fault.Unavailable, string(id), err)
		}
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fault.New(op, fault.Unavailable, string(id), err)
	}
	layout, err := cgroup.Detect(r.cfg.CgroupsHierarchy)
	if err != nil {
		return nil, err
	}
	groups := groupsOf(string(raw))
	path := groups["memory"]
	if layout.V2 || path == "" {
		path = groups[""]
	}
	if path == "" || path == "/" {
		return nil, fault.New(op, fault.Unavailable, string(id), errors.New("its process is in no group of its own"))
	}
	u, err := cgroup.Existing(layout, filepath.Dir(path)).Usage(filepath.Base(path))
	if err != nil {
		return nil, fault.New(op, fault.Unavailable, string(id), err)
	}
	s := &mesos.ResourceStatistics{
		Timestamp: proto.Float64(float64(time.Now().UnixMicro()) / 1e6), CpusLimit: proto.Float64(l.cpus), CpusSoftLimit: proto.Float64(l.cpus),
		MemSoftLimitBytes: proto.Uint64(l.soft),
	}
	if l.cpuLimit > 0 {
		s.CpusLimit = proto.Float64(l.cpuLimit)
	}
	proc.Fill(s, u)
	carried.Fill(s)
	if l.hard > 0 {
		s.MemLimitBytes = proto.Uint64(l.hard)
	}
	return s, nil
}

// groupsOf reads /proc/PID/cgroup: controller -> path in its hierarchy; "" is version 2.
func groupsOf(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for name := range strings.SplitSeq(parts[1], ",") {
			out[name] = filepath.Clean("/" + parts[2])
		}
	}
	return out
}
