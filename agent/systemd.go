package agent

import (
	"log/slog"
	"os"
	"os/exec"
)

// executorsSlice is where Mesos keeps what must outlive its agent under systemd
// (mesos-agent.md 7.1).
const executorsSlice = "mesos_executors.slice"

// keeperScope gives what the keeper is started by under systemd, nil elsewhere: a scope of
// its own in executorsSlice. Without one it belongs to the agent's unit, and a stop of that
// ends it with all tasks unless the unit says KillMode=process.
func (c Config) keeperScope(log *slog.Logger) []string {
	if c.SystemdDir == "" || os.Geteuid() != 0 {
		return nil
	}
	if info, err := os.Stat(c.SystemdDir); err != nil || !info.IsDir() {
		return nil // systemd does not run this host
	}
	run, err := exec.LookPath("systemd-run")
	if err != nil {
		log.Warn("the keeper gets no scope of its own: a stop of this agent's unit may end it and all tasks", "err", err)
		return nil
	}
	return []string{run, "--scope", "--quiet", "--collect", "--slice=" + executorsSlice, "--property=Delegate=yes",
		"--property=TasksMax=infinity", // without cgroups/ in --isolation all tasks are in it
		"--description=Keeper of the tasks of a Stoa agent", "--"}
}
