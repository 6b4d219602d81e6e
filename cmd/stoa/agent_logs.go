package main

import (
	"log/slog"

	"github.com/stoa-project/stoa/agent/tasklog"
)

// agentLogs are the flags of tasks' log files (mesos-agent.md 2.6). The sizes and options
// have the names that they have as parameters of Mesos' logrotate module.
type agentLogs struct {
	Logger        string   `name:"container_logger" env:"MESOS_CONTAINER_LOGGER" help:"org_apache_mesos_LogrotateContainerLogger takes its parameters from --modules; org_apache_mesos_SandboxContainerLogger lets stdout and stderr grow without bound. Default: they are rotated, by the four flags below."`
	MaxStdout     byteSize `name:"max_stdout_size" env:"MESOS_MAX_STDOUT_SIZE" default:"10MB" help:"Size at which a task's stdout is rotated; 0B: never."`
	MaxStderr     byteSize `name:"max_stderr_size" env:"MESOS_MAX_STDERR_SIZE" default:"10MB" help:"Size at which a task's stderr is rotated; 0B: never."`
	StdoutOptions string   `name:"logrotate_stdout_options" env:"MESOS_LOGROTATE_STDOUT_OPTIONS" help:"Lines 'rotate N' (default 9), 'compress', 'nocompress'; others have no effect."`
	StderrOptions string   `name:"logrotate_stderr_options" env:"MESOS_LOGROTATE_STDERR_OPTIONS" help:"Likewise, of stderr."`
}

// config reads the flags; modules is what --modules says, which others read too.
func (c *agentLogs) config(modules string, log *slog.Logger) (tasklog.Config, error) {
	cfg, warnings, err := tasklog.New(c.Logger, modules, uint64(c.MaxStdout), uint64(c.MaxStderr), c.StdoutOptions, c.StderrOptions)
	if err != nil {
		return cfg, err
	}
	warn(log, warnings)
	return cfg, nil
}
