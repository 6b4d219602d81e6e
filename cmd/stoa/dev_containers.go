package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/fault"
)

// devContainers are the flags of what containers may have. As root, images and limits are
// there without any of them.
type devContainers struct {
	Containerizers string `name:"containerizers" default:"mesos" help:"Who runs containers: mesos, or docker,mesos for apps with images of the Docker engine."`
	DockerSocket   string `name:"docker_socket" default:"/var/run/docker.sock" help:"Where the Docker engine answers."`
	Registry       string `name:"docker_registry" default:"https://registry-1.docker.io" help:"Where images of apps of type MESOS come from, as of stoa agent: an address, or a folder of archives."`
	CNIConfig      string `name:"network_cni_config_dir" help:"Folder with one CNI configuration per network; apps/networks has mesos-bridge, the network of bridge mode."`
	CNIPlugins     string `name:"network_cni_plugins_dir" default:"/usr/lib/cni" help:"Folders of CNI plugins, with ':' between."`
	SecretsDir     string `name:"secrets_dir" help:"Folder of the secrets that apps and pods refer to."`
}

// containers sets what is about them for one agent; dir is its work folder.
func (c devContainers) containers(cfg *agent.Config, dir string) error {
	cfg.Containerizers, cfg.Docker = c.Containerizers, agent.Docker{Socket: c.DockerSocket, RemoveDelay: -1}
	for _, each := range []struct{ flag, from string }{{"--network_cni_config_dir", c.CNIConfig}, {"--secrets_dir", c.SecretsDir}} {
		if info, err := os.Stat(each.from); each.from != "" && (err != nil || !info.IsDir()) {
			return fault.New("stoa dev", fault.Invalid, each.flag+" "+each.from, errors.New("there is no such folder"))
		}
	}
	var err error
	if c.SecretsDir != "" {
		if cfg.SecretsDir, err = filepath.Abs(c.SecretsDir); err != nil {
			return err
		}
	}
	if c.CNIConfig != "" {
		if cfg.CNI.ConfigDir, err = filepath.Abs(c.CNIConfig); err != nil {
			return err
		}
		cfg.CNI.PluginsDir = c.CNIPlugins
	}
	if os.Geteuid() != 0 {
		return nil
	}
	cfg.Isolation = "cgroups/cpu,cgroups/mem,filesystem/linux,docker/runtime,docker/volume"
	cfg.Images = agent.Images{Providers: "docker", Registry: c.Registry, StoreDir: filepath.Join(dir, "images")}
	return nil
}
