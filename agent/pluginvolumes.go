package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/plugin"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// usePlugins makes the store of plugins' volumes; nil when --isolation does not ask for it.
func (a *Agent) usePlugins() *plugin.Store {
	if !a.isolation.names["docker/volume"] {
		return nil
	}
	return plugin.New(plugin.Config{
		Folders: a.cfg.Disk.PluginFolders, Books: cmp.Or(a.cfg.Disk.PluginBooks, filepath.Join(a.cfg.RuntimeDir, "docker-volumes")),
	}, a.log)
}

// pluginVolume mounts a volume of one of Docker's plugins for a container.
func (e *engine) pluginVolume(ctx context.Context, id lifecycle.ContainerID, v *mesos.Volume_Source_DockerVolume, owner sandbox.Owner) (container.Mount, error) {
	if e.plugins == nil {
		return container.Mount{}, errors.New("this agent gives no volumes of type DOCKER_VOLUME: it was started without docker/volume in --isolation")
	}
	var options map[string]string
	for _, o := range v.GetDriverOptions().GetParameter() {
		if options == nil {
			options = map[string]string{}
		}
		options[o.GetKey()] = o.GetValue()
	}
	path, err := e.plugins.Mount(ctx, string(id), v.GetDriver(), v.GetName(), options)
	if err != nil {
		return container.Mount{}, fmt.Errorf("Failed to mount volume '%s' of driver '%s': %w", v.GetName(), v.GetDriver(), err)
	}
	if e.cfg.Disk.PluginChown && owner != sandbox.Self() {
		if err := os.Lchown(path, owner.UID, owner.GID); err != nil {
			return container.Mount{}, err
		}
	}
	return container.Mount{Source: path}, nil
}

// releasePlugins gives the volumes of a container back, when it is gone.
func (e *engine) releasePlugins(id lifecycle.ContainerID) {
	if e.plugins != nil && e.plugins.Has(string(id)) {
		e.plugins.Release(e.ctx, string(id))
	}
}

// recoverPlugins gives back what containers had that ended with nobody watching.
func (e *engine) recoverPlugins(live map[lifecycle.ContainerID]lifecycle.Live) error {
	if e.plugins == nil {
		return nil
	}
	gone, err := e.plugins.Recover(func(id string) bool {
		_, known := live[lifecycle.ContainerID(id)]
		return known
	})
	e.wg.Go(func() {
		for _, id := range gone {
			e.plugins.Release(e.ctx, id)
		}
	})
	return err
}
