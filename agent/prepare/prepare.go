package prepare

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/stoa-project/stoa/agent/confine"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cni"
	"github.com/stoa-project/stoa/agent/container/image"
	"github.com/stoa-project/stoa/agent/fetch"
	"github.com/stoa-project/stoa/agent/gids"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/plugin"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/agent/tasklog"
	"github.com/stoa-project/stoa/agent/volume"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Config says what containers may be given, and by whom.
type Config struct {
	RuntimeDir       string
	SandboxDirectory string             // the sandbox inside containers with a file system of their own
	AllowedHostPaths []string           // of ReadHostPaths; empty: all
	ForceCreation    string             // --host_path_volume_force_creation: folders with colons between them
	PluginChown      bool               // --docker_volume_chown
	IgnoreRuntime    bool               // --docker_ignore_runtime
	Devices          []container.Device // in every /dev of a container's own
	SecretsDir       string             // --secrets_dir; empty: references to secrets fail
	ExecutorKey      []byte             // signs executors' tokens; empty: they get none
	Logs             tasklog.Config     // bounds of stdout and stderr

	Fetcher  *fetch.Fetcher
	Files    *sandbox.Files // where operators see sandboxes and volumes
	Disks    *volume.Store
	Confine  *confine.Rules
	Images   *image.Store  // nil without an image provider
	Networks *cni.Networks // nil without container networks
	Plugins  *plugin.Store // nil without docker/volume
	Groups   *gids.Groups  // of volumes that users share; nil without --volume_gid_range

	NetworkMetrics bool // --network_cni_metrics

	// Progress tells the framework how far a launch has come; called now and then.
	Progress func(id lifecycle.ContainerID, text string)
}

// Preparer prepares containers. Its methods may be called at the same time for different
// containers.
type Preparer struct {
	cfg    Config
	log    *slog.Logger
	roots  volumeRoots
	newest newest

	releases sync.WaitGroup // goroutines of Recover
}

// New prepares nothing yet. Secrets that an earlier run left are removed.
func New(cfg Config, log *slog.Logger) (*Preparer, error) {
	p := &Preparer{cfg: cfg, log: log}
	if err := os.RemoveAll(p.secretsDir()); err != nil {
		return nil, fmt.Errorf("secrets of an earlier run stay: %w", err)
	}
	return p, nil
}

// Ready is a container that only its process is missing from.
type Ready struct {
	Spec     container.Spec
	Networks []*mesos.NetworkInfo // that it joined; nil: the host's, or those of the one it is nested in

	p       *Preparer
	secrets lifecycle.ContainerID // whose files go once it is started; empty: there are none
}

// Started is to be called once the runtime was asked to start the container, whatever it
// said: what only a start needs is removed.
func (r *Ready) Started() {
	if r.secrets != "" {
		r.p.dropSecrets(r.secrets)
	}
}

// Container makes what comes after the image; root is nil for a container without one.
// When it fails, Release takes away what is there already. Errors are in words for the
// framework.
func (p *Preparer) Container(ctx context.Context, ef lifecycle.Launch, root *Rooted) (ready *Ready, err error) {
	ready = &Ready{p: p}
	defer func() {
		if err != nil {
			ready.Started()
		}
	}()
	if err := p.unknownNetwork(ef); err != nil && !ef.Docker {
		return ready, err
	}
	if err := p.forbiddenPath(ef.Box); err != nil {
		return ready, err
	}
	if ef.Session {
		ready.Spec = specOf(ef, nil)
		p.intoImage(&ready.Spec, ef)
		if _, err := p.join(ctx, ef, &ready.Spec); err != nil {
			return ready, err
		}
		return ready, p.confined(ef, &ready.Spec)
	}
	if ef.Env, err = p.secretVariables(ef.Env, ef.Command); err != nil {
		return ready, err
	}
	owner, err := root.owner(ef.User)
	if err != nil {
		return ready, err
	}
	if ef.Nested {
		err = sandbox.CreateNested(ef.Directory, ef.ParentDirectory, string(ef.Task), owner)
	} else {
		err = sandbox.Create(ef.Directory, owner)
	}
	if err != nil {
		return ready, err
	}
	var mounts []container.Mount
	var groups []uint32 // that its volumes have
	if !ef.Docker {
		if hasSecretFile(ef.Box) {
			ready.secrets = ef.Container
		}
		if mounts, err = p.volumes(ctx, ef, owner, root != nil, &groups); err != nil {
			return ready, err
		}
	}
	in := placeOf(ef, owner, ef.Docker || root != nil)
	if !ef.Docker { // which knows its own users
		in.groups = &groups
	}
	shown, err := p.showVolumes(unclaimed(ef), in)
	if err != nil {
		return ready, err
	}
	mounts = append(mounts, shown...)
	if err := p.fetch(ctx, ef, owner); err != nil {
		return ready, err
	}
	ready.Spec = specOf(ef, mounts)
	ready.Spec.Groups = groups
	if root != nil {
		if err := p.fit(&ready.Spec, ef, root); err != nil {
			return ready, err
		}
	}
	joined, err := p.join(ctx, ef, &ready.Spec)
	if err != nil {
		return ready, err
	}
	if joined != nil {
		ready.Networks = joined.Networks
	}
	if err := p.confined(ef, &ready.Spec); err != nil {
		return ready, err
	}
	if ef.Docker {
		ready.Spec.Docker = p.dockerSpec(ef, mounts)
	}
	return ready, nil
}

// Release takes away what a container had that is gone, or that never came to be. It
// harms none that had nothing.
func (p *Preparer) Release(ctx context.Context, id lifecycle.ContainerID) {
	p.forgetImages(id)
	p.leave(ctx, id)
	p.releasePlugins(ctx, id)
	if p.cfg.Groups != nil {
		p.cfg.Groups.Release(string(id))
	}
}

// Recover gives back what belongs to containers that are not among live, and fills in
// the networks of those that are.
func (p *Preparer) Recover(ctx context.Context, live map[lifecycle.ContainerID]lifecycle.Live) error {
	if p.cfg.Images != nil {
		var ids []string
		for id := range live {
			ids = append(ids, string(id))
		}
		if err := p.cfg.Images.Recover(ids); err != nil {
			return err
		}
	}
	lives := func(id string) bool { _, known := live[lifecycle.ContainerID(id)]; return known }
	if p.cfg.Networks != nil {
		for id, l := range live {
			if l.Networks == nil {
				l.Networks = p.cfg.Networks.Known(string(id))
				live[id] = l
			}
		}
		p.cfg.Networks.Sweep(ctx, lives)
	}
	if p.cfg.Groups != nil {
		p.cfg.Groups.Recover(lives)
	}
	return p.recoverPlugins(ctx, lives)
}

// Wait waits for what Recover began.
func (p *Preparer) Wait() { p.releases.Wait() }
