package prepare

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"time"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/image"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Rooted is a container on its way into its image.
type Rooted struct {
	*image.Rootfs
	account *container.Account // nil: the user is one of the host
}

// Image pulls the image that a container asks for and makes its root file system; nil
// when it asks for none. What it made, Release takes away.
func (p *Preparer) Image(ctx context.Context, ef lifecycle.Launch) (*Rooted, error) {
	img := ef.Box.GetMesos().GetImage()
	if img == nil || ef.Docker || ef.Session {
		return nil, nil
	}
	req, err := p.imageRequest(img)
	if err != nil {
		return nil, err
	}
	fs, err := p.cfg.Images.Provision(ctx, string(ef.Container), req, p.pullProgress(ef.Container, req.Name))
	if err != nil {
		return nil, fmt.Errorf("Failed to provision image '%s': %w", req.Name, err)
	}
	if u := fs.Runtime.User; u != "" && !p.cfg.IgnoreRuntime {
		p.log.Warn("the user that an image names is not used: tasks run as their own", "image", fs.Image, "user", u, "container", string(ef.Container))
	}
	return &Rooted{Rootfs: fs}, nil
}

// imageRequest reads what a container says about its image.
func (p *Preparer) imageRequest(img *mesos.Image) (image.Request, error) {
	if p.cfg.Images == nil {
		return image.Request{}, errors.New("No image provider is enabled (--image_providers), but the container asks for an image")
	}
	if img.GetType() != mesos.Image_DOCKER {
		return image.Request{}, fmt.Errorf("Unsupported container image type: %s", img.GetType())
	}
	req := image.Request{Name: img.GetDocker().GetName(), Cached: img.GetCached()}
	if s := img.GetDocker().GetConfig(); s != nil {
		raw, err := p.secret(s)
		if err != nil {
			return req, fmt.Errorf("the image's 'docker.config' is %w", err)
		}
		req.Config = raw
	}
	return req, nil
}

// pullProgress tells the framework how far a pull is that takes its time.
func (p *Preparer) pullProgress(id lifecycle.ContainerID, name string) image.Progress {
	last := time.Now()
	return func(done, total int64) {
		if time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		const mb = 1 << 20
		p.cfg.Progress(id, fmt.Sprintf("Pulling image '%s': %.1f of %.1f MB", name, float64(done)/mb, float64(total)/mb))
	}
}

// forgetImages removes the file systems of a container that is gone.
func (p *Preparer) forgetImages(id lifecycle.ContainerID) {
	if p.cfg.Images != nil {
		p.cfg.Images.Remove(string(id))
	}
}

// owner finds who a container's processes and its sandbox belong to. A user that the host
// does not know is looked up in the image.
func (r *Rooted) owner(user string) (sandbox.Owner, error) {
	owner, err := sandbox.OwnerOf(user)
	if err == nil || r == nil {
		return owner, err
	}
	if r.account, err = r.Account(user); err != nil {
		return owner, err
	}
	return sandbox.Owner{UID: int(r.account.UID), GID: int(r.account.GID)}, nil
}

// fit changes what the runtime is told to what holds inside the image (mesos-agent.md 7.7).
// volumes have targets in the container; those of persistent ones lie in the host's sandbox.
func (p *Preparer) fit(s *container.Spec, ef lifecycle.Launch, r *Rooted) error {
	cmd, err := r.Runtime.Command(image.Command{
		Shell: ef.Command.GetShell(), Value: commandValue(ef.Command), Args: ef.Command.GetArguments(),
	}, p.cfg.IgnoreRuntime)
	if err != nil {
		return err
	}
	s.Command = container.Command{Shell: cmd.Shell, Value: *cmd.Value, Args: cmd.Args}
	s.Env = r.Runtime.Environment(ef.Env, p.cfg.IgnoreRuntime)
	s.Stdout, s.Stderr = filepath.Join(ef.Directory, "stdout"), filepath.Join(ef.Directory, "stderr")
	s.Dir = r.Runtime.Dir(p.cfg.SandboxDirectory, p.cfg.IgnoreRuntime)
	s.Files, s.Account = r.Files(), r.account
	s.Files.Devices = p.cfg.Devices
	mounts := []container.Mount{{Source: ef.Directory, Target: p.cfg.SandboxDirectory, Within: ef.Directory}}
	for _, m := range s.Mounts {
		if at, err := filepath.Rel(ef.Directory, m.Target); err == nil && filepath.IsLocal(at) {
			m.Target = path.Join(p.cfg.SandboxDirectory, at)
		}
		mounts = append(mounts, m)
	}
	s.Mounts = mounts
	return nil
}

// hostNames are the files by which the host finds names, for a container in an image that
// lives in the host's network.
func hostNames() (out []container.Mount) {
	for _, file := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/hostname"} {
		if real, err := filepath.EvalSymlinks(file); err == nil {
			out = append(out, container.Mount{Source: real, Target: file, ReadOnly: true})
		}
	}
	return out
}

func commandValue(c *mesos.CommandInfo) *string {
	if c == nil {
		return nil
	}
	return c.Value
}

// intoImage makes a session live where the container does that it looks into.
func (p *Preparer) intoImage(s *container.Spec, ef lifecycle.Launch) {
	s.Inside = container.ID(ef.Inside)
	if p.cfg.Images == nil {
		return
	}
	if fs := p.cfg.Images.Lookup(string(s.Inside)); fs != nil && fs.Root != nil {
		s.Env = fs.Runtime.Environment(s.Env, p.cfg.IgnoreRuntime)
		s.Dir = fs.Runtime.Dir(p.cfg.SandboxDirectory, p.cfg.IgnoreRuntime)
		s.Account = accountOf(fs, s.User)
	}
}

// accountOf gives a user that only the image knows; nil for those of the host.
func accountOf(fs *image.Rootfs, user string) *container.Account {
	if _, err := sandbox.OwnerOf(user); err == nil {
		return nil
	}
	account, err := fs.Account(user)
	if err != nil {
		return nil // the start says that the user is unknown
	}
	return account
}
