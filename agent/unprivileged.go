package agent

import (
	"log/slog"
	"os"
)

// unprivileged fits the configuration to an agent that is not root: what only root can do
// is left out, and said. It still has sandboxes, limits of resources by setrlimit,
// no_new_privs and system call filters.
func (c *Config) unprivileged(log *slog.Logger) {
	if os.Geteuid() == 0 {
		return
	}
	var without []string
	off := func(flag *bool, name string) {
		if *flag {
			*flag = false
			without = append(without, name)
		}
	}
	switchUser := !c.NoSwitchUser
	off(&switchUser, "users (tasks run as the agent's own)")
	c.NoSwitchUser = true
	off(&c.Confine.PID, "namespaces/pid")
	off(&c.Confine.IPC, "namespaces/ipc")
	off(&c.Confine.Capabilities, "linux/capabilities (a task of this user has none)")
	if c.Confine.Seccomp && !c.Confine.NoNewPrivs { // without it the kernel lets only root set a filter
		c.Confine.NoNewPrivs = true
		log.Info("linux/nnp is on: without root it goes with linux/seccomp")
	}
	without = append(without, "CPU, memory and process counts, unless this user may write to the cgroups", "mounts, images and container networks")
	log.Warn("this agent is not root; tasks are not isolated in", "not_isolated", without)
}
