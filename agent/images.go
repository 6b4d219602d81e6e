package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/agent/check"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/image"
	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Images is how containers without the Docker engine get images (mesos-agent.md 7.6, 13).
type Images struct {
	Providers     string              // --image_providers: "docker", or empty for none
	Registry      string              // --docker_registry
	Mirrors       map[string][]string // --docker_registry_mirrors
	StoreDir      string              // --docker_store_dir; empty: below the temporary folder
	Backend       string              // --image_provisioner_backend
	IgnoreRuntime bool                // --docker_ignore_runtime
	Excluded      []string            // of --image_gc_config
	Headroom      float64             // of --image_gc_config; 0: pruned only when asked
	Interval      time.Duration       // of --image_gc_config
}

// imageProviders checks the flags about images, and that --isolation fits them
// (mesos-agent.md 7.2).
func (c *Config) imageProviders() error {
	switch strings.ToLower(strings.TrimSpace(c.Images.Providers)) {
	case "":
		c.Images.Providers = ""
		return nil
	case "docker":
		c.Images.Providers = "docker"
	default:
		return fault.New("agent", fault.Invalid, "--image_providers", fmt.Errorf("%q: docker is the only one", c.Images.Providers))
	}
	for _, need := range []string{"filesystem/linux", "docker/runtime"} {
		if !strings.Contains(","+strings.ReplaceAll(c.Isolation, " ", "")+",", ","+need+",") {
			return fault.New("agent", fault.Invalid, "--isolation", fmt.Errorf("--image_providers=docker needs %s in it", need))
		}
	}
	if c.Images.StoreDir == "" {
		c.Images.StoreDir = filepath.Join(os.TempDir(), "mesos", "store", "docker")
	}
	var err error
	if c.Images.StoreDir, err = filepath.Abs(c.Images.StoreDir); err != nil {
		return fault.New("agent", fault.Invalid, "--docker_store_dir", err)
	}
	return nil
}

// openImages opens the image store; nil when no provider is enabled.
func (a *Agent) openImages() (*image.Store, error) {
	c := a.cfg.Images
	if c.Providers == "" {
		return nil, nil
	}
	return image.Open(image.Config{
		StoreDir: c.StoreDir, WorkDir: a.cfg.WorkDir, Registry: c.Registry, Mirrors: c.Mirrors, DockerConfig: a.cfg.Docker.Login, Backend: c.Backend,
		Excluded: c.Excluded, Headroom: c.Headroom, Interval: c.Interval, UserAgent: "stoa/" + a.cfg.Version,
	}, a.log)
}

// rooted is a container on its way into its image.
type rooted struct {
	*image.Rootfs
	account *container.Account // nil: the user is one of the host
}

// provision pulls the image that a container asks for and makes its root file system; nil
// when it asks for none. What it made is removed by forgetImages.
func (e *engine) provision(ctx context.Context, ef lifecycle.Launch) (*rooted, error) {
	img := ef.Box.GetMesos().GetImage()
	if img == nil || ef.Docker || ef.Session {
		return nil, nil
	}
	req, err := e.imageRequest(img)
	if err != nil {
		return nil, err
	}
	fs, err := e.images.Provision(ctx, string(ef.Container), req, e.pullProgress(ef.Container, req.Name))
	if err != nil {
		return nil, fmt.Errorf("Failed to provision image '%s': %w", req.Name, err)
	}
	if u := fs.Runtime.User; u != "" && !e.cfg.Images.IgnoreRuntime {
		e.log.Warn("the user that an image names is not used: tasks run as their own", "image", fs.Image, "user", u, "container", string(ef.Container))
	}
	return &rooted{Rootfs: fs}, nil
}

// imageRequest reads what a container says about its image.
func (e *engine) imageRequest(img *mesos.Image) (image.Request, error) {
	if e.images == nil {
		return image.Request{}, errors.New("No image provider is enabled (--image_providers), but the container asks for an image")
	}
	if img.GetType() != mesos.Image_DOCKER {
		return image.Request{}, fmt.Errorf("Unsupported container image type: %s", img.GetType())
	}
	req := image.Request{Name: img.GetDocker().GetName(), Cached: img.GetCached()}
	switch s := img.GetDocker().GetConfig(); {
	case s == nil:
	case s.GetType() == mesos.Secret_VALUE && s.Value != nil:
		req.Config = s.GetValue().GetData()
	default:
		return req, errors.New("the image's 'docker.config' must be a secret of type VALUE: this agent resolves no references")
	}
	return req, nil
}

// progressPause is how far apart two messages about one pull are.
const progressPause = 5 * time.Second

// pullProgress tells the framework how far a pull is that takes its time.
func (e *engine) pullProgress(id lifecycle.ContainerID, name string) image.Progress {
	last := time.Now()
	return func(done, total int64) {
		if time.Since(last) < progressPause {
			return
		}
		last = time.Now()
		const mb = 1 << 20
		e.post(e.ctx, lifecycle.Progress{Container: id, Message: fmt.Sprintf(
			"Pulling image '%s': %.1f of %.1f MB", name, float64(done)/mb, float64(total)/mb)})
	}
}

// forgetImages removes the file systems of a container that is gone.
func (e *engine) forgetImages(id lifecycle.ContainerID) {
	if e.images != nil {
		e.images.Remove(string(id))
	}
}

// owner finds who a container's processes and its sandbox belong to. A user that the host
// does not know is looked up in the image.
func (r *rooted) owner(user string) (sandbox.Owner, error) {
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
func (r *rooted) fit(s *container.Spec, ef lifecycle.Launch, cfg Config) error {
	cmd, err := r.Runtime.Command(image.Command{
		Shell: ef.Command.GetShell(), Value: commandValue(ef.Command), Args: ef.Command.GetArguments(),
	}, cfg.Images.IgnoreRuntime)
	if err != nil {
		return err
	}
	s.Command = container.Command{Shell: cmd.Shell, Value: *cmd.Value, Args: cmd.Args}
	s.Env = r.Runtime.Environment(ef.Env, cfg.Images.IgnoreRuntime)
	s.Stdout, s.Stderr = filepath.Join(ef.Directory, "stdout"), filepath.Join(ef.Directory, "stderr")
	s.Dir = r.Runtime.Dir(cfg.SandboxDirectory, cfg.Images.IgnoreRuntime)
	s.Files, s.Account = r.Files(), r.account
	mounts := []container.Mount{{Source: ef.Directory, Target: cfg.SandboxDirectory, Within: ef.Directory}}
	for _, m := range s.Mounts {
		if at, err := filepath.Rel(ef.Directory, m.Target); err == nil && filepath.IsLocal(at) {
			m.Target = path.Join(cfg.SandboxDirectory, at)
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
func (e *engine) intoImage(s *container.Spec, ef lifecycle.Launch) {
	s.Inside = container.ID(ef.Inside)
	if e.images == nil {
		return
	}
	if fs := e.images.Lookup(string(s.Inside)); fs != nil && fs.Root != nil {
		s.Env = fs.Runtime.Environment(s.Env, e.cfg.Images.IgnoreRuntime)
		s.Dir = fs.Runtime.Dir(e.cfg.SandboxDirectory, e.cfg.Images.IgnoreRuntime)
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

// checkWithin makes the checks of a task run where the task does: in its namespaces and
// its image. Without rights they run beside it.
func (e *engine) checkWithin(target *check.Target, ef lifecycle.StartChecks) {
	if target.Exec != nil || ef.PID == 0 || os.Geteuid() != 0 {
		return
	}
	stat, _ := tree.Read(ef.PID)
	target.Enter = func() error { return spaces.Enter(ef.PID, stat.Start) }
	if e.images == nil {
		return
	}
	fs := e.images.Lookup(string(ef.Container))
	if fs == nil || fs.Root == nil {
		return
	}
	target.Env = fs.Runtime.Environment(target.Env, e.cfg.Images.IgnoreRuntime)
	target.Dir = fs.Runtime.Dir(e.cfg.SandboxDirectory, e.cfg.Images.IgnoreRuntime)
	if a := accountOf(fs, ef.User); a != nil {
		target.As = &syscall.Credential{Uid: a.UID, Gid: a.GID, Groups: a.Groups}
	}
}

// PruneImages removes the images that nothing uses, but for those named (PRUNE_IMAGES).
func (e *engine) PruneImages(excluded []*mesos.Image) {
	if e.images == nil {
		return
	}
	var names []string
	for _, img := range excluded {
		if img.GetType() == mesos.Image_DOCKER {
			names = append(names, img.GetDocker().GetName())
		}
	}
	e.images.Prune(names)
}

// imageMetrics declares what the image store counts (mesos-agent.md 12.1).
func imageMetrics(e *engine, gauge, counter func(name, help, flat string, f func() float64)) {
	of := func(f func(image.Counts) float64) func() float64 {
		return func() float64 { return f(e.images.Counts()) }
	}
	gauge("image_containers", "Containers that have file systems made of images.", "containerizer/mesos/filesystem/containers_new_rootfs",
		of(func(c image.Counts) float64 { return float64(c.Containers) }))
	gauge("images", "Images in the store.", "", of(func(c image.Counts) float64 { return float64(c.Images) }))
	counter("image_pulls_total", "Images asked for at a registry or in an archive.", "", of(func(c image.Counts) float64 { return float64(c.Pulls) }))
	counter("image_pull_failures_total", "Images that could not be had.", "", of(func(c image.Counts) float64 { return float64(c.Failures) }))
	counter("image_cached_total", "Images taken from the store without asking.", "", of(func(c image.Counts) float64 { return float64(c.Cached) }))
	counter("image_pulled_bytes_total", "Bytes of layers pulled.", "", of(func(c image.Counts) float64 { return float64(c.Bytes) }))
	counter("images_pruned_total", "Images removed from the store.", "", of(func(c image.Counts) float64 { return float64(c.Pruned) }))
	counter("image_remove_errors_total", "File systems of containers that could not be removed.", "containerizer/mesos/provisioner/remove_container_errors",
		of(func(c image.Counts) float64 { return float64(c.RemoveErrors) }))
}
