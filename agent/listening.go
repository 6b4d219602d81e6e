package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/containerizers"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/ports"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Ports is what an operator says about the ports that containers in the host's network
// listen on (isolator network/ports, mesos-agent.md 7.10).
type Ports struct {
	Enforce        bool          // --enforce_container_ports
	Interval       time.Duration // --container_ports_watch_interval; 0: 30 s
	AgentRangeOnly bool          // --check_agent_port_range_only: ports that this agent does not offer are anybody's
	Range          string        // --container_ports_isolated_range, "[0-35000]": those outside of it are
}

// watched gives the ports that are looked at; nil for all.
func (p Ports) watched(offered []*mesos.Resource) (resource.Ranges, error) {
	switch {
	case p.Range != "" && p.AgentRangeOnly:
		return nil, fault.New("agent", fault.Invalid, "--container_ports_isolated_range", errors.New("it excludes --check_agent_port_range_only: give one of them"))
	case p.AgentRangeOnly:
		return append(resource.Ranges{}, resource.Of(offered...).Ports()...), nil
	case p.Range == "":
		return nil, nil
	}
	rs, err := resource.Parse("ports:"+p.Range, "*")
	if err == nil && (len(rs) != 1 || rs[0].GetType() != mesos.Value_RANGES) {
		err = fmt.Errorf("%q is no list of ranges, write [begin-end,begin-end]", p.Range)
	}
	if err != nil {
		return nil, fault.New("agent", fault.Invalid, "--container_ports_isolated_range", err)
	}
	return append(resource.Ranges{}, resource.Of(rs...).Ports()...), nil
}

// watchPorts makes the watcher of ports; nil when --isolation does not ask for it.
func (a *Agent) watchPorts(e *engine) (*ports.Watcher, error) {
	if !a.isolation.names["network/ports"] {
		if a.cfg.Ports.Enforce {
			a.log.Warn("--enforce_container_ports has no effect without the isolator network/ports")
		}
		return nil, nil
	}
	watched, err := a.cfg.Ports.watched(e.info.GetResources())
	if err != nil {
		return nil, err
	}
	return ports.NewWatcher(ports.Config{
		Interval: a.cfg.Ports.Interval, Watched: watched, Targets: e.portTargets,
		Found: func(ctx context.Context, t ports.Target, extra resource.Ranges) { e.strayPorts(ctx, t, extra) },
	}, a.log), nil
}

// portTargets lists the containers that live in the host's network. Those of the Docker
// engine have other ways to the host's ports, which it watches itself.
func (e *engine) portTargets(ctx context.Context) ([]ports.Target, error) {
	v, err := e.View(ctx)
	if err != nil {
		return nil, err
	}
	all, _ := e.runtime.(*containerizers.Runtime)
	var out []ports.Target
	for _, f := range v.Frameworks {
		for _, x := range f.Executors {
			if x.Phase == "TERMINATED" || x.Phase == "LAUNCHING" || x.PID == 0 || all != nil && all.InDocker(container.ID(x.Container)) {
				continue
			}
			root, allowed := string(x.Container), resource.Of(x.Resources...).Ports()
			if x.Networks == nil {
				out = append(out, ports.Target{Root: root, ID: root, PID: x.PID, Allowed: allowed})
			}
			for _, n := range x.Nested {
				if n.PID != 0 && n.Networks == nil && !n.Session {
					out = append(out, ports.Target{Root: root, ID: string(n.Container), PID: n.PID, Allowed: allowed})
				}
			}
		}
	}
	return out, nil
}

// strayPorts logs that a container listens where it may not, and ends it when that is wanted.
func (e *engine) strayPorts(ctx context.Context, t ports.Target, extra resource.Ranges) {
	text := fmt.Sprintf("Container %s is listening on unallocated port(s): %s", t.ID, extra)
	if !e.cfg.Ports.Enforce {
		e.log.Warn(text)
		return
	}
	e.post(ctx, lifecycle.Limited{Container: lifecycle.ContainerID(t.Root), Limitation: lifecycle.Limitation{
		Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION, Message: text, Resources: []*mesos.Resource{resource.Ports(extra)},
	}})
}
