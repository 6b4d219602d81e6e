package agent

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/stoa-project/stoa/agent/container/cni"
	"github.com/stoa-project/stoa/internal/fault"
)

// CNI is where container networks are (mesos-agent.md 7.8, 13).
type CNI struct {
	ConfigDir  string // --network_cni_config_dir
	PluginsDir string // --network_cni_plugins_dir
	Persist    bool   // --network_cni_root_dir_persist: what was made is noted in the work folder
	NoMetrics  bool   // --no-network_cni_metrics: what they carry is told to nobody
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
	dir := a.cfg.RuntimeDir
	if c.Persist {
		dir = a.cfg.WorkDir
	}
	return cni.New(cni.Config{
		ConfigDir: c.ConfigDir, PluginsDir: c.PluginsDir, Dir: filepath.Join(dir, "isolators", "network", "cni"), DNS: a.dns.CNI,
	}, a.log)
}
