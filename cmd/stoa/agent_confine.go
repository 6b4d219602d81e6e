package main

import (
	"errors"
	"path/filepath"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/agent/confine"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// agentConfine are the flags of what tasks are confined by; --isolation turns each part on
// (mesos-agent.md 7.2, 7.9 and 13).
type agentConfine struct {
	Effective      string   `name:"effective_capabilities" aliases:"allowed_capabilities" env:"MESOS_EFFECTIVE_CAPABILITIES,MESOS_ALLOWED_CAPABILITIES" help:"Capabilities of tasks that ask for none: {\"capabilities\":[\"NET_RAW\"]}, or a file with it. Needs linux/capabilities."`
	Bounding       string   `name:"bounding_capabilities" env:"MESOS_BOUNDING_CAPABILITIES" help:"The most that tasks may ask for; likewise."`
	SeccompDir     string   `name:"seccomp_config_dir" env:"MESOS_SECCOMP_CONFIG_DIR" help:"Folder of seccomp profiles in Docker's format. Needs linux/seccomp."`
	SeccompProfile string   `name:"seccomp_profile_name" env:"MESOS_SECCOMP_PROFILE_NAME" help:"Profile of tasks that name none; default: the one in this program."`
	ShmSize        byteSize `name:"default_container_shm_size" env:"MESOS_DEFAULT_CONTAINER_SHM_SIZE" help:"Size of a task's own /dev/shm; default: half of the memory. Needs namespaces/ipc."`
	NoSharedPID    bool     `name:"disallow_sharing_agent_pid_namespace" env:"MESOS_DISALLOW_SHARING_AGENT_PID_NAMESPACE" negatable:"" help:"Refuse tasks that want to see the host's processes. Needs namespaces/pid."`
	NoSharedIPC    bool     `name:"disallow_sharing_agent_ipc_namespace" env:"MESOS_DISALLOW_SHARING_AGENT_IPC_NAMESPACE" negatable:"" help:"Refuse tasks that want to share the host's memory segments. Needs namespaces/ipc."`
	Devices        string   `name:"allowed_devices" env:"MESOS_ALLOWED_DEVICES" help:"Devices that tasks may use beside the usual ones: {\"allowed_devices\":[{\"device\":{\"path\":\"/dev/fuse\"},\"access\":{\"read\":true,\"write\":true}}]}, or a file with it. Needs cgroups/devices."`
	TaskUser       string   `name:"default_task_user" env:"STOA_DEFAULT_TASK_USER" help:"User of tasks that name none, instead of their framework's: nobody keeps them from being root."`
	HostPaths      []string `name:"allowed_host_paths" env:"STOA_ALLOWED_HOST_PATHS" help:"Folders of the host that tasks' volumes may show, with a comma between; all when empty."`
	SecretsDir     string   `name:"secrets_dir" env:"STOA_SECRETS_DIR" help:"Folder of the secrets that tasks may refer to: the one called db/password is the file db/password there."`
	PidsLimit      int64    `name:"cgroups_pids_limit" env:"STOA_CGROUPS_PIDS_LIMIT" default:"4096" help:"Processes and threads of one container, where cgroups are used; 0: no limit."`
}

// apply adds what is no part of the isolators' own configuration.
func (c *agentConfine) apply(cfg *agent.Config) error {
	cfg.PidsLimit, cfg.DefaultTaskUser, cfg.AllowedHostPaths = c.PidsLimit, c.TaskUser, c.HostPaths
	if cfg.SecretsDir = c.SecretsDir; c.SecretsDir != "" && !filepath.IsAbs(c.SecretsDir) {
		return fault.New("stoa agent", fault.Invalid, "--secrets_dir "+c.SecretsDir, errors.New("give an absolute path"))
	}
	if c.PidsLimit <= 0 {
		cfg.PidsLimit = -1
	}
	if c.Devices == "" {
		return nil
	}
	text, err := textOrFile(c.Devices)
	if err == nil {
		cfg.AllowedDevices = new(mesos.DeviceWhitelist)
		err = wire.UnmarshalJSON(text, cfg.AllowedDevices)
	}
	if err != nil {
		return fault.New("stoa agent", fault.Invalid, "--allowed_devices", err)
	}
	return nil
}

func (c *agentConfine) confineConfig() (confine.Config, error) {
	cfg := confine.Config{
		SeccompConfigDir: c.SeccompDir, SeccompProfileName: c.SeccompProfile, DefaultShmSize: uint64(c.ShmSize),
		DisallowPID: c.NoSharedPID, DisallowIPC: c.NoSharedIPC,
	}
	for _, each := range []struct {
		flag, text string
		into       **mesos.CapabilityInfo
	}{{"--effective_capabilities", c.Effective, &cfg.EffectiveCapabilities}, {"--bounding_capabilities", c.Bounding, &cfg.BoundingCapabilities}} {
		if each.text == "" {
			continue
		}
		text, err := textOrFile(each.text)
		if err != nil {
			return cfg, fault.New("stoa agent", fault.Invalid, each.flag, err)
		}
		info := new(mesos.CapabilityInfo)
		if err := wire.UnmarshalJSON(text, info); err != nil {
			return cfg, fault.New("stoa agent", fault.Invalid, each.flag, err)
		}
		*each.into = info
	}
	return cfg, nil
}
