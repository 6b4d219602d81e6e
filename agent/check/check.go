// Package check probes tasks: COMMAND, HTTP and TCP checks and health checks
// (mesos-agent.md 5). Runner probes and tells each result; what a series of results means
// is decided by package lifecycle.
package check

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Kind is how a task is probed.
type Kind uint8

// The kinds.
const (
	Command Kind = iota + 1
	HTTP
	TCP
)

// Spec is one check or health check with defaults filled in (mesos-agent.md 5.1).
type Spec struct {
	Kind     Kind
	Delay    time.Duration // before the first probe
	Interval time.Duration // from the end of one probe to the start of the next
	Timeout  time.Duration // of one probe; 0 none

	Shell bool     // Command: through /bin/sh -c
	Value string   // Command: shell text or program
	Args  []string // Command: argv with argv[0], when not Shell
	Env   []string // Command: "NAME=value", added to the task's
	User  string   // Command: empty means the task's

	Scheme string // HTTP: "http" or "https" (certificates are not verified)
	Path   string // HTTP: begins with '/'
	Port   int    // HTTP and TCP
	IPv6   bool   // HTTP and TCP: ::1 instead of 127.0.0.1
}

// Secrets gives a secret as the value of a variable.
type Secrets func(*mesos.Secret) (string, error)

// FromHealthCheck reads a health check; fault.Invalid names the field.
func FromHealthCheck(h *mesos.HealthCheck, secrets Secrets) (Spec, error) {
	s := Spec{}
	if err := s.times(h.GetDelaySeconds(), h.GetIntervalSeconds(), h.GetTimeoutSeconds(), h.GetGracePeriodSeconds()); err != nil {
		return s, err
	}
	kind := h.GetType()
	if kind == mesos.HealthCheck_UNKNOWN { // old frameworks leave it unset
		switch {
		case h.Command != nil:
			kind = mesos.HealthCheck_COMMAND
		case h.Http != nil:
			kind = mesos.HealthCheck_HTTP
		case h.Tcp != nil:
			kind = mesos.HealthCheck_TCP
		}
	}
	switch kind {
	case mesos.HealthCheck_COMMAND:
		return s.command(h.GetCommand(), secrets)
	case mesos.HealthCheck_HTTP:
		if h.Http == nil {
			return s, invalid("http", "expecting 'http' to be set for HTTP health check")
		}
		s.Kind, s.Scheme = HTTP, h.Http.GetScheme()
		s.IPv6 = h.Http.GetProtocol() == mesos.NetworkInfo_IPv6
		return s.web(h.Http.GetPath(), h.Http.GetPort())
	case mesos.HealthCheck_TCP:
		if h.Tcp == nil {
			return s, invalid("tcp", "expecting 'tcp' to be set for TCP health check")
		}
		s.Kind = TCP
		s.IPv6 = h.Tcp.GetProtocol() == mesos.NetworkInfo_IPv6
		return s.port(h.Tcp.GetPort())
	}
	return s, invalid("type", "must be COMMAND, HTTP or TCP")
}

// FromCheck reads a check; fault.Invalid names the field.
func FromCheck(c *mesos.CheckInfo, secrets Secrets) (Spec, error) {
	s := Spec{}
	if err := s.times(c.GetDelaySeconds(), c.GetIntervalSeconds(), c.GetTimeoutSeconds(), 0); err != nil {
		return s, err
	}
	switch c.GetType() {
	case mesos.CheckInfo_COMMAND:
		return s.command(c.GetCommand().GetCommand(), secrets)
	case mesos.CheckInfo_HTTP:
		if c.Http == nil {
			return s, invalid("http", "expecting 'http' to be set for HTTP check")
		}
		s.Kind = HTTP
		return s.web(c.Http.GetPath(), c.Http.GetPort())
	case mesos.CheckInfo_TCP:
		if c.Tcp == nil {
			return s, invalid("tcp", "expecting 'tcp' to be set for TCP check")
		}
		s.Kind = TCP
		return s.port(c.Tcp.GetPort())
	}
	return s, invalid("type", "must be COMMAND, HTTP or TCP")
}

func invalid(field, format string, args ...any) error {
	return fault.New("check", fault.Invalid, field, fmt.Errorf(format, args...))
}

// maxSeconds keeps durations far from overflow: about 100 years.
const maxSeconds = 3.2e9

func (s *Spec) times(delay, interval, timeout, grace float64) error {
	for _, t := range []struct {
		field   string
		seconds float64
		to      *time.Duration
	}{
		{"delay_seconds", delay, &s.Delay},
		{"interval_seconds", interval, &s.Interval},
		{"timeout_seconds", timeout, &s.Timeout},
		{"grace_period_seconds", grace, new(time.Duration)}, // only checked: lifecycle counts failures,
	} {
		if math.IsNaN(t.seconds) || t.seconds < 0 {
			return invalid(t.field, "expecting a non-negative number, not %v", t.seconds)
		}
		*t.to = time.Duration(min(t.seconds, maxSeconds) * float64(time.Second))
	}
	return nil
}

func (s Spec) command(c *mesos.CommandInfo, secrets Secrets) (Spec, error) {
	if c == nil {
		return s, invalid("command", "must be set for a COMMAND check")
	}
	if c.Value == nil {
		return s, invalid("command.value", "must be set: it is the text for the shell or the program to run")
	}
	s.Kind, s.Shell, s.Value, s.User = Command, c.GetShell(), c.GetValue(), c.GetUser()
	s.Args = c.GetArguments()
	for _, v := range c.GetEnvironment().GetVariables() {
		value := v.GetValue()
		if v.GetType() == mesos.Environment_Variable_SECRET {
			var err error
			if value, err = secrets(v.GetSecret()); err != nil {
				return s, invalid("command.environment", "variable %q: %w", v.GetName(), err)
			}
		}
		s.Env = append(s.Env, v.GetName()+"="+value)
	}
	return s, nil
}

func (s Spec) web(path string, port uint32) (Spec, error) {
	switch s.Scheme {
	case "":
		s.Scheme = "http"
	case "http", "https":
	default:
		return s, invalid("http.scheme", "must be http or https, not %q", s.Scheme)
	}
	if path == "" {
		path = "/"
	}
	if !strings.HasPrefix(path, "/") {
		return s, invalid("http.path", "must begin with '/', not %q", path)
	}
	s.Path = path
	return s.port(port)
}

func (s Spec) port(port uint32) (Spec, error) {
	if port == 0 || port > 65535 {
		return s, invalid("port", "must be between 1 and 65535, not %d", port)
	}
	s.Port = int(port)
	return s, nil
}

// First gives the time of the first probe.
func (s Spec) First(start time.Time) time.Time { return start.Add(s.Delay) }

// Next gives the time of the probe that follows one that ended at now.
func (s Spec) Next(now time.Time) time.Time { return now.Add(s.Interval) }
