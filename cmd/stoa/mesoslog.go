package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/stoa-project/stoa/internal/fault"
)

// mesosLogging are the logging flags of Mesos daemons (mesos-master.md 10, mesos-agent.md 13).
type mesosLogging struct {
	LogDir       string `name:"log_dir" env:"MESOS_LOG_DIR" help:"Folder of a log file, mesos-master.INFO or mesos-agent.INFO, beside the standard error; read through /files."`
	ExternalLog  string `name:"external_log_file" env:"MESOS_EXTERNAL_LOG_FILE" help:"File that something else writes the log to; read through /files."`
	LoggingLevel string `name:"logging_level" env:"MESOS_LOGGING_LEVEL" default:"INFO" enum:"INFO,WARNING,ERROR" help:"Least level logged: INFO, WARNING or ERROR. --log_level, of every verb, counts when this is INFO."`
	Quiet        bool   `name:"quiet" env:"MESOS_QUIET" negatable:"" help:"Nothing on the standard error."`
	LogBufSecs   int    `name:"logbufsecs" env:"MESOS_LOGBUFSECS" help:"Accepted; nothing is held back."`
	DriverLogs   bool   `name:"initialize_driver_logging" env:"MESOS_INITIALIZE_DRIVER_LOGGING" default:"true" negatable:"" help:"Accepted."`
}

// logFile is an open log file and the one that readers are shown.
type logFile struct {
	name string // shown as the log; empty: none
	file *os.File
}

func (f *logFile) close() {
	if f.file != nil {
		_ = f.file.Close() // it is written without a buffer
	}
}

// open makes the logger that the flags ask for, and the level that /logging/toggle
// changes; verb is master or agent. The file is appended to, so that whoever
// rotates it may truncate it.
func (c *mesosLogging) open(p *process, verb string) (*slog.Logger, *slog.LevelVar, *logFile, error) {
	f := &logFile{}
	out := p.stderr
	if c.Quiet {
		out = io.Discard
	}
	if c.LogDir != "" {
		name := filepath.Join(c.LogDir, "mesos-"+verb+".INFO")
		err := os.MkdirAll(c.LogDir, 0o755)
		if err == nil {
			f.file, err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		}
		if err != nil {
			return nil, nil, nil, fault.New("stoa "+verb, fault.Invalid, "--log_dir="+c.LogDir, err)
		}
		f.name = name
		out = io.MultiWriter(f.file, out)
	}
	if c.ExternalLog != "" {
		f.name = c.ExternalLog
		if !filepath.IsAbs(f.name) {
			f.close()
			return nil, nil, nil, fault.New("stoa "+verb, fault.Invalid, "--external_log_file="+c.ExternalLog, errors.New("it must be an absolute path"))
		}
	}
	level := new(slog.LevelVar)
	level.Set(p.level)
	switch c.LoggingLevel {
	case "WARNING":
		level.Set(slog.LevelWarn)
	case "ERROR":
		level.Set(slog.LevelError)
	}
	return p.logger(out, level), level, f, nil
}
