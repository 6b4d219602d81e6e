package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/agent/check"
	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/containerizers"
	"github.com/stoa-project/stoa/agent/container/docker"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
)

// Docker is how the Docker engine is used (mesos-agent.md 7.5, 13).
type Docker struct {
	Socket      string        // --docker_socket
	Login       string        // --docker_config: JSON, or the path of a file with it
	RemoveDelay time.Duration // --docker_remove_delay; 0: 6 hours, negative: at once
	StopTimeout time.Duration // --docker_stop_timeout
	KeepOrphans bool          // --no-docker_kill_orphans
	DNS         string        // --default_container_dns
}

// containerizers checks --containerizers and puts its names in order.
func (c *Config) containerizers() error {
	names, err := containerizerNames(c.Containerizers)
	if err != nil {
		return err
	}
	c.Containerizers = strings.Join(names, ",")
	if c.Docker.StopTimeout < 0 {
		return fault.New("agent", fault.Invalid, "--docker_stop_timeout", errors.New("it must not be negative"))
	}
	return nil
}

func containerizerNames(text string) ([]string, error) {
	if text == "" {
		return []string{"mesos"}, nil
	}
	var names []string
	for name := range strings.SplitSeq(text, ",") {
		switch name = strings.TrimSpace(name); {
		case name != "mesos" && name != "docker":
			return nil, fault.New("agent", fault.Invalid, "--containerizers", fmt.Errorf("there is no containerizer %q: write mesos, docker or docker,mesos", name))
		case slices.Contains(names, name):
			return nil, fault.New("agent", fault.Invalid, "--containerizers", fmt.Errorf("%s stands there twice", name))
		}
		names = append(names, name)
	}
	return names, nil
}

// has tells whether a containerizer is enabled.
func (c Config) has(name string) bool {
	return slices.Contains(strings.Split(c.Containerizers, ","), name)
}

// joinDocker puts the Docker engine beside the runtime of plain processes.
func (a *Agent) joinDocker(e *engine) error {
	if !a.cfg.has("docker") {
		return nil
	}
	engine, err := docker.New(docker.Config{
		Socket: a.cfg.Docker.Socket, Dir: filepath.Join(a.cfg.RuntimeDir, "docker"), Owner: a.cfg.WorkDir,
		SandboxDirectory: a.cfg.SandboxDirectory, CFS: a.cfg.CgroupsEnableCFS, DNS: a.dns.Docker, Login: a.cfg.Docker.Login,
		RemoveDelay: a.cfg.Docker.RemoveDelay, KeepOrphans: a.cfg.Docker.KeepOrphans, CgroupsHierarchy: a.cfg.CgroupsHierarchy,
		Pulled: e.pulls.took,
	}, a.log)
	if err != nil {
		return err
	}
	e.docker = engine
	e.runtime = containerizers.New(e.runtime, engine)
	return nil
}

// inside makes checks run in a task's container where it is one of the engine.
func (e *engine) inside(target *check.Target, id lifecycle.ContainerID) {
	all, ok := e.runtime.(*containerizers.Runtime)
	if !ok || !all.InDocker(container.ID(id)) {
		return
	}
	target.Exec = func(ctx context.Context, argv, env []string, user string) (int, error) {
		return e.docker.Exec(ctx, container.ID(id), argv, env, user)
	}
	target.Network = func() (string, error) { return e.docker.Network(container.ID(id)) }
}

// keepOrphans takes out of what lives the containers of the engine that no record names,
// when they are not to be killed.
func (e *engine) keepOrphans(live map[lifecycle.ContainerID]lifecycle.Live, records []lifecycle.Record) {
	all, ok := e.runtime.(*containerizers.Runtime)
	if !ok || !e.cfg.Docker.KeepOrphans {
		return
	}
	known := map[lifecycle.ContainerID]bool{}
	for _, id := range lifecycle.DockerContainers(records) {
		known[id] = true
	}
	for id, l := range live {
		if !l.Ended && !known[id] && all.InDocker(container.ID(id)) {
			e.log.Warn("container of the Docker engine without a record is left alone", "container", string(id))
			delete(live, id)
		}
	}
}
