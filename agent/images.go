package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stoa-project/stoa/agent/container/image"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/metrics"
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

// openImages opens the image store; nil when no provider is enabled. took is told how long
// each pull was.
func (a *Agent) openImages(took func(time.Duration)) (*image.Store, error) {
	c := a.cfg.Images
	if c.Providers == "" {
		return nil, nil
	}
	return image.Open(image.Config{
		StoreDir: c.StoreDir, WorkDir: a.cfg.WorkDir, Registry: c.Registry, Mirrors: c.Mirrors, DockerConfig: a.cfg.Docker.Login, Backend: c.Backend,
		Excluded: c.Excluded, Headroom: c.Headroom, Interval: c.Interval, UserAgent: "stoa/" + a.cfg.Version, Pulled: took,
	}, a.log)
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
func imageMetrics(e *engine, r *metrics.Registry, gauge, counter func(name, help, flat string, f func() float64)) {
	of := func(f func(image.Counts) float64) func() float64 {
		return func() float64 { return f(e.images.Counts()) }
	}
	e.provided.register(r, "containerizer/mesos/provisioner/docker_store/image_pull_ms")
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
