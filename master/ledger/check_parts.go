package ledger

import (
	"fmt"
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// The parts that tasks and executors have in common. Each check's answer is empty, or
// the sentence that goes behind the name of the part.

func checkCheck(c *mesos.CheckInfo) string {
	if c == nil {
		return ""
	}
	if c.Type == nil {
		return "CheckInfo must specify 'type'"
	}
	switch c.GetType() {
	case mesos.CheckInfo_COMMAND:
		if c.Command == nil {
			return "Expecting 'command' to be set for COMMAND check"
		}
		if why := checkProbe("Command check", "Check's", c.GetCommand().GetCommand()); why != "" {
			return why
		}
	case mesos.CheckInfo_HTTP:
		if c.Http == nil {
			return "Expecting 'http' to be set for HTTP check"
		}
		if p := c.GetHttp().Path; p != nil && !strings.HasPrefix(*p, "/") {
			return fmt.Sprintf("The path '%s' of HTTP check must start with '/'", *p)
		}
	case mesos.CheckInfo_TCP:
		if c.Tcp == nil {
			return "Expecting 'tcp' to be set for TCP check"
		}
	default:
		return fmt.Sprintf("'%s' is not a valid check type", c.GetType())
	}
	return checkSeconds(span{"delay_seconds", c.DelaySeconds}, span{"interval_seconds", c.IntervalSeconds},
		span{"timeout_seconds", c.TimeoutSeconds})
}

func checkHealthCheck(h *mesos.HealthCheck) string {
	if h == nil {
		return ""
	}
	if h.Type == nil {
		return "HealthCheck must specify 'type'"
	}
	switch h.GetType() {
	case mesos.HealthCheck_COMMAND:
		if h.Command == nil {
			return "Expecting 'command' to be set for COMMAND health check"
		}
		if why := checkProbe("Command health check", "Health check's", h.GetCommand()); why != "" {
			return why
		}
	case mesos.HealthCheck_HTTP:
		if h.Http == nil {
			return "Expecting 'http' to be set for HTTP health check"
		}
		if s := h.GetHttp().Scheme; s != nil && *s != "http" && *s != "https" {
			return fmt.Sprintf("Unsupported HTTP health check scheme: '%s'", *s)
		}
		if p := h.GetHttp().Path; p != nil && !strings.HasPrefix(*p, "/") {
			return fmt.Sprintf("The path '%s' of HTTP health check must start with '/'", *p)
		}
	case mesos.HealthCheck_TCP:
		if h.Tcp == nil {
			return "Expecting 'tcp' to be set for TCP health check"
		}
	default:
		return fmt.Sprintf("'%s' is not a valid health check type", h.GetType())
	}
	return checkSeconds(span{"delay_seconds", h.DelaySeconds}, span{"grace_period_seconds", h.GracePeriodSeconds},
		span{"interval_seconds", h.IntervalSeconds}, span{"timeout_seconds", h.TimeoutSeconds})
}

// checkProbe checks the command of a check.
func checkProbe(what, whose string, c *mesos.CommandInfo) string {
	switch {
	case c == nil || c.Value == nil && c.GetShell():
		return what + " must contain 'shell command'"
	case c.Value == nil:
		return what + " must contain 'executable path'"
	}
	if why := checkCommand(c); why != "" {
		return whose + " `CommandInfo` is invalid: " + why
	}
	return ""
}

// span is a time of a check by its name, in seconds.
type span struct {
	name  string
	value *float64
}

func checkSeconds(spans ...span) string {
	for _, s := range spans {
		if s.value != nil && !(*s.value >= 0 && *s.value < maxSeconds) {
			return fmt.Sprintf("Expecting '%s' to be non-negative: %v is no number of seconds to wait", s.name, *s.value)
		}
	}
	return ""
}

// checkCommand checks the environment of a command: values with values, secrets with
// secrets.
func checkCommand(c *mesos.CommandInfo) string {
	for _, v := range c.GetEnvironment().GetVariables() {
		switch v.GetType() {
		case mesos.Environment_Variable_SECRET:
			switch {
			case v.Secret == nil:
				return fmt.Sprintf("Environment variable '%s' of type 'SECRET' must have a secret set", v.GetName())
			case v.Value != nil:
				return fmt.Sprintf("Environment variable '%s' of type 'SECRET' must not have a value set", v.GetName())
			}
			if why := checkSecret(v.GetSecret()); why != "" {
				return fmt.Sprintf("Environment variable '%s' specifies an invalid secret: %s", v.GetName(), why)
			}
			if strings.IndexByte(string(v.GetSecret().GetValue().GetData()), 0) >= 0 {
				return fmt.Sprintf("Environment variable '%s' specifies a secret containing null bytes, which no environment can hold", v.GetName())
			}
		case mesos.Environment_Variable_VALUE:
			switch {
			case v.Value == nil:
				return fmt.Sprintf("Environment variable '%s' of type 'VALUE' must have a value set", v.GetName())
			case v.Secret != nil:
				return fmt.Sprintf("Environment variable '%s' of type 'VALUE' must not have a secret set", v.GetName())
			}
		default:
			return "Environment variable of type 'UNKNOWN' is not allowed"
		}
	}
	return ""
}

func checkSecret(s *mesos.Secret) string {
	switch s.GetType() {
	case mesos.Secret_REFERENCE:
		if s.Reference == nil || s.Value != nil {
			return "Secret of type REFERENCE must have the 'reference' field set, and no 'value'"
		}
	case mesos.Secret_VALUE:
		if s.Value == nil || s.Reference != nil {
			return "Secret of type VALUE must have the 'value' field set, and no 'reference'"
		}
	}
	return ""
}

func checkContainer(c *mesos.ContainerInfo) string {
	for _, v := range c.GetVolumes() {
		if why := checkVolume(v); why != "" {
			return "Invalid volume: " + why
		}
	}
	if c != nil && c.GetType() == mesos.ContainerInfo_DOCKER {
		if c.Docker == nil {
			return "DockerInfo 'docker' is not set for DOCKER typed ContainerInfo"
		}
		for _, p := range c.GetDocker().GetParameters() {
			if p.GetKey() == "name" {
				return "Parameter in DockerInfo must not be 'name'"
			}
		}
	}
	return ""
}

// checkVolume wants exactly one origin, and what the origin's type needs.
func checkVolume(v *mesos.Volume) string {
	n := 0
	for _, set := range []bool{v.HostPath != nil, v.Image != nil, v.Source != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return "Only one of them should be set: 'host_path', 'image' and 'source'"
	}
	if v.Source == nil {
		return ""
	}
	missing := func(field string) string {
		return fmt.Sprintf("'source.%s' is not set for %s volume", field, v.GetSource().GetType())
	}
	switch s := v.GetSource(); s.GetType() {
	case mesos.Volume_Source_DOCKER_VOLUME:
		if s.DockerVolume == nil {
			return missing("docker_volume")
		}
	case mesos.Volume_Source_HOST_PATH:
		if s.HostPath == nil {
			return missing("host_path")
		}
	case mesos.Volume_Source_SANDBOX_PATH:
		if s.SandboxPath == nil {
			return missing("sandbox_path")
		}
	case mesos.Volume_Source_SECRET:
		if s.Secret == nil {
			return missing("secret")
		}
	case mesos.Volume_Source_CSI_VOLUME:
		if s.CsiVolume == nil {
			return missing("csi_volume")
		}
		if s.GetCsiVolume().StaticProvisioning == nil {
			return missing("csi_volume.static_provisioning")
		}
	default:
		return "'source.type' is unknown"
	}
	return ""
}
