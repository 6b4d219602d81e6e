package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/stoa-project/stoa/agent/check"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cni"
	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
)

// CNI is where container networks are (mesos-agent.md 7.8, 13).
type CNI struct {
	ConfigDir  string // --network_cni_config_dir
	PluginsDir string // --network_cni_plugins_dir
	Persist    bool   // --network_cni_root_dir_persist: what was made is noted in the work folder
}

// networks makes the container networks of an agent, nil without the flags.
func (a *Agent) networks() (*cni.Networks, error) {
	c := a.cfg.CNI
	if c.ConfigDir == "" && c.PluginsDir == "" {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		return nil, fault.New("agent", fault.Invalid, "--network_cni_config_dir", errors.New("container networks need root"))
	}
	dns, err := cni.ParseDNS(a.cfg.Docker.DNS)
	if err != nil {
		return nil, err
	}
	dir := a.cfg.RuntimeDir
	if c.Persist {
		dir = a.cfg.WorkDir
	}
	return cni.New(cni.Config{
		ConfigDir: c.ConfigDir, PluginsDir: c.PluginsDir, Dir: filepath.Join(dir, "isolators", "network", "cni"), DNS: dns,
	}, a.log)
}

// join puts a container into the networks that it asks for, or into those of its root, and
// gives it the files by which it finds names there. undo leaves the networks when the
// container is not started after all.
func (e *engine) join(ctx context.Context, ef lifecycle.Launch, spec *container.Spec) (joined *cni.Joined, undo func(), err error) {
	undo = func() {}
	if ef.Docker || spec.Inside != "" {
		return nil, undo, nil
	}
	id := string(ef.Container)
	switch wanted := cni.Wanted(ef.Box); {
	case e.nets == nil:
	case ef.Nested:
		joined = e.nets.Again(string(ef.Root))
	case len(wanted) > 0:
		if joined, err = e.nets.Join(ctx, id, wanted, ef.Box.GetHostname()); err != nil {
			return nil, undo, err
		}
		undo = func() { e.leave(ef.Container) }
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
	return joined, undo, nil
}

// leave undoes join; it harms no container that joined nothing.
func (e *engine) leave(id lifecycle.ContainerID) {
	if e.nets == nil {
		return
	}
	if err := e.nets.Leave(context.WithoutCancel(e.ctx), string(id)); err != nil {
		e.log.Error("the network of a container that is gone stays until the next start", "container", string(id), "err", err)
	}
}

// network makes checks of a container ask in its own network.
func (e *engine) network(target *check.Target, id lifecycle.ContainerID) {
	if e.nets == nil || target.Network != nil {
		return
	}
	root := string(id)
	for p := parentOf(root); p != ""; p = parentOf(p) {
		root = p
	}
	if space := e.nets.Space(root); space != "" {
		target.Network = func() (string, error) { return space, nil }
		if target.Enter == nil {
			target.Enter = func() error { return spaces.Network(space, "") }
		}
	}
}
