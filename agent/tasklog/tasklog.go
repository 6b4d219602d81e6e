// Package tasklog decides how large the log files of a task may become (mesos-agent.md
// 2.6): by the flags, by the parameters of Mesos' logrotate module, which are understood
// without the module, and by what a task's environment asks for.
package tasklog

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// The loggers that --container_logger may name.
const (
	Sandbox   = "org_apache_mesos_SandboxContainerLogger"   // files grow without bound
	Logrotate = "org_apache_mesos_LogrotateContainerLogger" // files are rotated; with its parameters in --modules
)

// Defaults: 10 files of 10 MB, the one that is written to among them.
const (
	DefaultSize  = 10 << 20
	DefaultFiles = 9
	minSize      = 4096 // one page
	maxFiles     = 1000
)

// Config is what the operator wants. The zero value lets files grow without bound.
type Config struct {
	Logs   container.Logs
	Prefix string // of variables in a task's environment that change it; empty: CONTAINER_LOGGER_
}

// Default is what the flags give when none is set.
var Default = Config{Logs: container.Logs{
	Stdout: container.Rotation{Max: DefaultSize, Files: DefaultFiles}, Stderr: container.Rotation{Max: DefaultSize, Files: DefaultFiles},
}}

// New reads the flags: sizes in bytes, lines of logrotate's configuration, --container_logger
// and --modules. warnings are sentences about what has no effect.
func New(logger, modules string, stdout, stderr uint64, stdoutOptions, stderrOptions string) (c Config, warnings []string, err error) {
	const op = "agent"
	switch logger {
	case Sandbox:
		return Config{}, nil, nil
	case "", Logrotate:
	default:
		return c, nil, fault.New(op, fault.Invalid, "--container_logger", fmt.Errorf("%q is neither %s nor %s", logger, Logrotate, Sandbox))
	}
	set := settings{stdoutSize: stdout, stderrSize: stderr, stdoutOptions: stdoutOptions, stderrOptions: stderrOptions}
	if logger == Logrotate && modules != "" {
		if err := set.module(modules); err != nil {
			return c, nil, fault.New(op, fault.Invalid, "--modules", err)
		}
	}
	c.Prefix = set.prefix
	out, warnings := rotation(set.stdoutSize, set.stdoutOptions)
	errs, more := rotation(set.stderrSize, set.stderrOptions)
	c.Logs = container.Logs{Stdout: out, Stderr: errs}
	return c, append(warnings, more...), nil
}

type settings struct {
	stdoutSize, stderrSize       uint64
	stdoutOptions, stderrOptions string
	prefix                       string
}

// module takes the parameters of the logrotate module out of a modules file.
func (s *settings) module(text string) error {
	var file struct {
		Libraries []struct {
			Modules []struct {
				Name       string `json:"name"`
				Parameters []struct {
					Key   string `json:"key"`
					Value string `json:"value"`
				} `json:"parameters"`
			} `json:"modules"`
		} `json:"libraries"`
	}
	if err := json.Unmarshal([]byte(text), &file); err != nil {
		return err
	}
	for _, l := range file.Libraries {
		for _, m := range l.Modules {
			if m.Name != Logrotate {
				continue
			}
			for _, p := range m.Parameters {
				if err := s.parameter(p.Key, p.Value); err != nil {
					return fmt.Errorf("%s: %w", p.Key, err)
				}
			}
		}
	}
	return nil
}

func (s *settings) parameter(key, value string) error {
	var err error
	switch key {
	case "max_stdout_size":
		s.stdoutSize, err = ParseSize(value)
	case "max_stderr_size":
		s.stderrSize, err = ParseSize(value)
	case "logrotate_stdout_options":
		s.stdoutOptions = value
	case "logrotate_stderr_options":
		s.stderrOptions = value
	case "environment_variable_prefix":
		s.prefix = value
	}
	return err // what names helper programs and their threads has nothing to say here
}

// For gives the bounds of a task's files, whose environment may ask for others. A value
// that cannot be read leaves the operator's.
func (c Config) For(env *mesos.Environment) *container.Logs {
	logs := c.Logs
	if logs == (container.Logs{}) {
		return nil
	}
	prefix := c.Prefix
	if prefix == "" {
		prefix = "CONTAINER_LOGGER_"
	}
	for _, v := range env.GetVariables() {
		name, ours := strings.CutPrefix(v.GetName(), prefix)
		if !ours {
			continue
		}
		into := &logs.Stdout
		if strings.Contains(name, "STDERR") {
			into = &logs.Stderr
		}
		switch name {
		case "MAX_STDOUT_SIZE", "MAX_STDERR_SIZE":
			if n, err := ParseSize(v.GetValue()); err == nil && n > 0 {
				into.Max = max(n, minSize)
			}
		case "LOGROTATE_STDOUT_OPTIONS", "LOGROTATE_STDERR_OPTIONS":
			r, _ := rotation(into.Max, v.GetValue())
			into.Files, into.Compress = r.Files, r.Compress
		}
	}
	return &logs
}

// rotation reads lines of logrotate's configuration. "rotate N", "compress" and
// "nocompress" count; commands of others are never run.
func rotation(size uint64, options string) (r container.Rotation, warnings []string) {
	if size == 0 {
		return r, nil
	}
	r = container.Rotation{Max: max(size, minSize), Files: DefaultFiles}
	for line := range strings.Lines(options) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
		case len(words) == 2 && words[0] == "rotate":
			if n, err := strconv.Atoi(words[1]); err == nil && n >= 0 {
				r.Files = min(n, maxFiles)
				continue
			}
			warnings = append(warnings, fmt.Sprintf("logrotate option %q has no effect: it needs a number", strings.TrimSpace(line)))
		case len(words) == 1 && words[0] == "compress":
			r.Compress = true
		case len(words) == 1 && words[0] == "nocompress":
			r.Compress = false
		default:
			warnings = append(warnings, fmt.Sprintf("logrotate option %q has no effect", strings.TrimSpace(line)))
		}
	}
	return r, warnings
}

// ParseSize reads bytes in Mesos' notation: "10MB" (mesos-agent.md 0.3).
func ParseSize(text string) (uint64, error) {
	for _, u := range []struct {
		name string
		unit float64
	}{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}, {"B", 1}} {
		digits, ok := strings.CutSuffix(strings.TrimSpace(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || !(n >= 0) || n*u.unit >= math.MaxInt64 {
			break
		}
		return uint64(n * u.unit), nil
	}
	return 0, errors.New("write a number and one of B, KB, MB, GB, TB")
}
