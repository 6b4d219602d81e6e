package prepare

import (
	"context"
	"fmt"
	"os"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cni"
	"github.com/stoa-project/stoa/agent/lifecycle"
)

// join puts a container into the networks that it asks for, or into those of its root, and
// gives it the files by which it finds names there.
func (p *Preparer) join(ctx context.Context, ef lifecycle.Launch, spec *container.Spec) (joined *cni.Joined, err error) {
	if ef.Docker || spec.Inside != "" {
		return nil, nil
	}
	id := string(ef.Container)
	switch wanted := cni.Wanted(ef.Box); {
	case p.cfg.Networks == nil:
	case ef.Nested:
		joined = p.cfg.Networks.Again(string(ef.Root))
	case len(wanted) > 0:
		if joined, err = p.cfg.Networks.Join(ctx, id, wanted, ef.Box.GetHostname()); err != nil {
			return nil, err
		}
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

// leave undoes join; it harms no container that joined nothing.
func (p *Preparer) leave(ctx context.Context, id lifecycle.ContainerID) {
	if p.cfg.Networks == nil {
		return
	}
	if err := p.cfg.Networks.Leave(context.WithoutCancel(ctx), string(id)); err != nil {
		p.log.Error("the network of a container that is gone stays until the next start", "container", string(id), "err", err)
	}
}

// unknownNetwork refuses networks where there are none, and those of nested containers,
// which live in their root's; in words for the framework.
func (p *Preparer) unknownNetwork(ef lifecycle.Launch) error {
	if wanted := cni.Wanted(ef.Box); len(wanted) > 0 && (p.cfg.Networks == nil || ef.Nested) {
		return fmt.Errorf("Unknown CNI network '%s'", wanted[0].GetName())
	}
	return nil
}
