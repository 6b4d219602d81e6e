package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// agentImages are the flags about images without the Docker engine (mesos-agent.md 7.6 and 13).
type agentImages struct {
	ImageProviders string `name:"image_providers" env:"MESOS_IMAGE_PROVIDERS" help:"docker: containers of type MESOS may have Docker and OCI images. Needs filesystem/linux and docker/runtime in --isolation, and root."`
	DockerRegistry string `name:"docker_registry" env:"MESOS_DOCKER_REGISTRY" default:"https://registry-1.docker.io" help:"Where images without a registry in their name come from: https://host[:port], http://host[:port], or a folder with archives of docker save named IMAGE:TAG.tar."`
	Mirrors        string `name:"docker_registry_mirrors" env:"STOA_DOCKER_REGISTRY_MIRRORS" help:"Addresses that are tried before a registry, as JSON or file:///path: {\"docker.io\":[\"https://mirror.example.com\"]}."`
	DockerStore    string `name:"docker_store_dir" env:"MESOS_DOCKER_STORE_DIR" help:"Where images are kept; each agent needs its own. Default: mesos/store/docker in the temporary folder; store/docker in --work_dir where mesos there is another user's."`
	IgnoreRuntime  bool   `name:"docker_ignore_runtime" env:"MESOS_DOCKER_IGNORE_RUNTIME" negatable:"" help:"Leave out what images say about command, environment and working directory."`
	Backend        string `name:"image_provisioner_backend" env:"MESOS_IMAGE_PROVISIONER_BACKEND" help:"How root file systems are made of images: overlay, copy, or bind (one layer, read-only). Default: overlay where it works."`
	ImageGC        string `name:"image_gc_config" env:"MESOS_IMAGE_GC_CONFIG" help:"When unused images go by themselves, as JSON or file:///path: {\"image_disk_headroom\":0.1,\"image_disk_watch_interval\":{\"nanoseconds\":3600000000000},\"excluded_images\":[]}."`
	ForceCreation  string `name:"host_path_volume_force_creation" env:"MESOS_HOST_PATH_VOLUME_FORCE_CREATION" help:"Folders, with colons between them, below which host paths of volumes are made when they are missing."`
	DefaultBox     string `name:"default_container_info" env:"MESOS_DEFAULT_CONTAINER_INFO" help:"ContainerInfo for command tasks and executors that bring none, as JSON or file:///path."`
}

// config reads the JSON flags. work is --work_dir, suffix tells agents of one host apart.
func (c *agentImages) config(work, suffix string) (agent.Images, *mesos.ContainerInfo, error) {
	out := agent.Images{
		Providers: c.ImageProviders, Registry: c.DockerRegistry, StoreDir: c.DockerStore, Backend: c.Backend, IgnoreRuntime: c.IgnoreRuntime,
	}
	if out.StoreDir == "" {
		out.StoreDir = inTemp(work, "mesos"+suffix, "store", "docker")
	}
	bad := func(flag string, err error) (agent.Images, *mesos.ContainerInfo, error) {
		return out, nil, fault.New("stoa agent", fault.Invalid, "--"+flag, err)
	}
	if c.Mirrors != "" {
		text, err := textOrFile(c.Mirrors)
		if err == nil {
			err = json.Unmarshal(text, &out.Mirrors)
		}
		if err != nil {
			return bad("docker_registry_mirrors", fmt.Errorf(`it must be JSON like {"docker.io":["https://mirror.example.com"]}: %w`, err))
		}
	}
	if c.ImageGC != "" {
		text, err := textOrFile(c.ImageGC)
		if err != nil {
			return bad("image_gc_config", err)
		}
		if err := readGC(text, &out); err != nil {
			return bad("image_gc_config", err)
		}
	}
	if c.DefaultBox == "" {
		return out, nil, nil
	}
	text, err := textOrFile(c.DefaultBox)
	if err != nil {
		return bad("default_container_info", err)
	}
	box := &mesos.ContainerInfo{}
	if err := wire.UnmarshalJSON(text, box); err != nil {
		return bad("default_container_info", err)
	}
	if box.Type == nil {
		return bad("default_container_info", errors.New("it has no 'type'"))
	}
	return out, box, nil
}

// readGC reads --image_gc_config (ImageGcConfig of Mesos).
func readGC(text []byte, out *agent.Images) error {
	var in struct {
		Headroom *float64 `json:"image_disk_headroom"`
		Interval *struct {
			Nanoseconds int64 `json:"nanoseconds"`
		} `json:"image_disk_watch_interval"`
		Excluded []struct {
			Type   string `json:"type"`
			Docker struct {
				Name string `json:"name"`
			} `json:"docker"`
		} `json:"excluded_images"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("it is not as the help says: %w", err)
	}
	switch {
	case in.Headroom == nil || *in.Headroom < 0 || *in.Headroom > 1:
		return errors.New("image_disk_headroom must be there, from 0 to 1")
	case in.Interval == nil || in.Interval.Nanoseconds <= 0:
		return errors.New("image_disk_watch_interval must be there, with nanoseconds above 0")
	}
	out.Headroom, out.Interval = *in.Headroom, time.Duration(in.Interval.Nanoseconds)
	for _, x := range in.Excluded {
		if x.Type != "DOCKER" || x.Docker.Name == "" {
			return errors.New("excluded_images must be of type DOCKER and have a docker.name")
		}
		out.Excluded = append(out.Excluded, x.Docker.Name)
	}
	return nil
}
