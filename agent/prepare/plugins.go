package prepare

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// pluginVolume mounts a volume of one of Docker's plugins for a container.
func (p *Preparer) pluginVolume(ctx context.Context, id lifecycle.ContainerID, v *mesos.Volume_Source_DockerVolume, owner sandbox.Owner) (container.Mount, error) {
	if p.cfg.Plugins == nil {
		return container.Mount{}, errors.New("this agent gives no volumes of type DOCKER_VOLUME: it was started without docker/volume in --isolation")
	}
	var options map[string]string
	for _, o := range v.GetDriverOptions().GetParameter() {
		if options == nil {
			options = map[string]string{}
		}
		options[o.GetKey()] = o.GetValue()
	}
	path, err := p.cfg.Plugins.Mount(ctx, string(id), v.GetDriver(), v.GetName(), options)
	if err != nil {
		return container.Mount{}, fmt.Errorf("Failed to mount volume '%s' of driver '%s': %w", v.GetName(), v.GetDriver(), err)
	}
	if p.cfg.PluginChown && owner != sandbox.Self() {
		if err := os.Lchown(path, owner.UID, owner.GID); err != nil {
			return container.Mount{}, err
		}
	}
	return container.Mount{Source: path}, nil
}

// releasePlugins gives the volumes of a container back, when it is gone.
func (p *Preparer) releasePlugins(ctx context.Context, id lifecycle.ContainerID) {
	if p.cfg.Plugins != nil && p.cfg.Plugins.Has(string(id)) {
		p.cfg.Plugins.Release(ctx, string(id))
	}
}

// recoverPlugins gives back what containers had that ended with nobody watching; a plugin
// that does not answer is not waited for.
func (p *Preparer) recoverPlugins(ctx context.Context, lives func(id string) bool) error {
	if p.cfg.Plugins == nil {
		return nil
	}
	gone, err := p.cfg.Plugins.Recover(lives)
	p.releases.Go(func() {
		for _, id := range gone {
			p.cfg.Plugins.Release(ctx, id)
		}
	})
	return err
}
