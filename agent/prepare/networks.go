package prepare

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cni"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// join puts a container into the networks that it asks for, or into those of the container
// that it is nested in, and gives it the files by which it finds names there.
func (p *Preparer) join(ctx context.Context, ef lifecycle.Launch, spec *container.Spec) (joined *cni.Joined, err error) {
	if ef.Docker || spec.Inside != "" {
		return nil, nil
	}
	id := string(ef.Container)
	switch wanted := cni.Wanted(ef.Box); {
	case p.cfg.Networks == nil:
	case len(wanted) > 0:
		if joined, err = p.cfg.Networks.Join(ctx, id, wanted, ef.Box.GetHostname()); err != nil {
			return nil, err
		}
		if ip := joined.Address(); ef.Nested && ip != "" {
			own := "MESOS_CONTAINER_IP="
			if at := slices.IndexFunc(spec.Env, func(v string) bool { return strings.HasPrefix(v, own) }); at >= 0 {
				spec.Env = slices.Clone(spec.Env)
				spec.Env[at] = own + ip // not that of its executor
			}
		}
	case ef.Nested:
		joined = p.cfg.Networks.Again(p.home(id))
	}
	var names []container.Mount
	switch {
	case joined != nil:
		spec.Network, spec.Hostname = joined.Namespace, joined.Hostname
		for _, m := range joined.Mounts {
			if _, err := os.Stat(m.Target); err != nil && spec.Files == nil {
				continue // the host has no such file, and the container sees the host's
			}
			names = append(names, m)
		}
	case spec.Files != nil:
		names = hostNames()
	}
	spec.Mounts = append(names, spec.Mounts...) // a volume of the task goes over them
	return joined, nil
}

// home gives the container in whose networks another one lives: itself, or the nearest that
// it is nested in and that joined some; "" when it lives in the host's.
func (p *Preparer) home(id string) string {
	for ; id != ""; id = parentOf(id) {
		if p.cfg.Networks.Space(id) != "" {
			return id
		}
	}
	return ""
}

// leave undoes join; it harms no container that joined nothing.
func (p *Preparer) leave(ctx context.Context, id lifecycle.ContainerID) {
	if p.cfg.Networks == nil {
		return
	}
	if err := p.cfg.Networks.Leave(context.WithoutCancel(ctx), string(id)); err != nil {
		p.log.Error("the network of a container that is gone stays until the next start", "container", string(id), "err", err)
	}
}

// unknownNetwork refuses networks where there are none, in words for the framework.
func (p *Preparer) unknownNetwork(ef lifecycle.Launch) error {
	if wanted := cni.Wanted(ef.Box); len(wanted) > 0 && p.cfg.Networks == nil {
		return fmt.Errorf("Unknown CNI network '%s'", wanted[0].GetName())
	}
	return nil
}

// Measure adds what a container's networks have carried to what else is known of it. A
// container without networks of its own has no figures here: they are those of the one it
// is nested in (mesos-agent.md 12.2). known is nil for one that has no figures else.
func (p *Preparer) Measure(id lifecycle.ContainerID, known *mesos.ResourceStatistics) *mesos.ResourceStatistics {
	if p.cfg.Networks == nil || !p.cfg.NetworkMetrics {
		return known
	}
	carried, err := p.cfg.Networks.Traffic(string(id))
	if err != nil || carried.Interfaces == 0 {
		return known // it ends at this moment
	}
	if known == nil {
		known = &mesos.ResourceStatistics{Timestamp: proto.Float64(float64(time.Now().UnixMicro()) / 1e6)}
	}
	carried.Fill(known)
	return known
}
