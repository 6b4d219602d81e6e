package driver

import (
	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/app"
)

// healthCheck builds the check that runs beside the task: the first that the framework
// does not make itself, nil when there is none (marathon.md 8).
func healthCheck(a *app.App, ports []port) *mesos.HealthCheck {
	for i := range a.HealthChecks {
		h := &a.HealthChecks[i]
		if h.ByFramework() {
			continue
		}
		return mesosCheck(h, ports)
	}
	return nil
}

func mesosCheck(h *app.HealthCheck, ports []port) *mesos.HealthCheck {
	out := &mesos.HealthCheck{
		DelaySeconds:        ptr(float64(h.DelaySeconds)),
		IntervalSeconds:     ptr(float64(h.IntervalSeconds)),
		TimeoutSeconds:      ptr(float64(h.TimeoutSeconds)),
		GracePeriodSeconds:  ptr(float64(h.GracePeriodSeconds)),
		ConsecutiveFailures: ptr(uint32(h.MaxConsecutiveFailures)),
	}
	family := mesos.IPv4
	if h.IPProtocol == "IPv6" {
		family = mesos.IPv6
	}
	switch h.Protocol {
	case app.HealthCommand:
		out.Type = mesos.HealthCheck_COMMAND
		line := ""
		if h.Command != nil {
			line = h.Command.Value
		}
		out.Command = &mesos.CommandInfo{Shell: ptr(true), Value: ptr(line)}
	case app.HealthMesosTCP:
		out.Type = mesos.HealthCheck_TCP
		out.TCP = &mesos.HealthCheck_TCPCheckInfo{Protocol: &family, Port: checkPort(h, ports)}
	default:
		out.Type = mesos.HealthCheck_HTTP
		scheme := "http"
		if h.Protocol == app.HealthMesosHTTPS {
			scheme = "https"
		}
		out.HTTP = &mesos.HealthCheck_HTTPCheckInfo{Protocol: &family, Scheme: &scheme, Port: checkPort(h, ports)}
		if h.Path != "" {
			out.HTTP.Path = ptr(h.Path)
		}
	}
	return out
}

// checkPort is where a check beside the task connects: inside the container.
func checkPort(h *app.HealthCheck, ports []port) uint32 {
	if h.Port != nil {
		return uint32(*h.Port)
	}
	if i := h.PortIndex; i != nil && *i >= 0 && *i < len(ports) {
		return uint32(ports[*i].container)
	}
	return 0
}

// taskCheck builds the check that only reports, nil when there is none.
func taskCheck(c *app.Check, ports []port) *mesos.CheckInfo {
	if c == nil {
		return nil
	}
	out := &mesos.CheckInfo{
		DelaySeconds:    ptr(float64(c.DelaySeconds)),
		IntervalSeconds: ptr(float64(c.IntervalSeconds)),
		TimeoutSeconds:  ptr(float64(c.TimeoutSeconds)),
	}
	at := func(port, index *int) uint32 {
		return checkPort(&app.HealthCheck{Port: port, PortIndex: index}, ports)
	}
	switch {
	case c.HTTP != nil:
		out.Type = mesos.CheckInfo_HTTP
		out.HTTP = &mesos.CheckInfo_Http{Port: at(c.HTTP.Port, c.HTTP.PortIndex)}
		if c.HTTP.Path != "" {
			out.HTTP.Path = ptr(c.HTTP.Path)
		}
	case c.TCP != nil:
		out.Type = mesos.CheckInfo_TCP
		out.TCP = &mesos.CheckInfo_Tcp{Port: at(c.TCP.Port, c.TCP.PortIndex)}
	case c.Exec != nil:
		out.Type = mesos.CheckInfo_COMMAND
		out.Command = &mesos.CheckInfo_Command{Command: execCommand(c.Exec.Command)}
	}
	return out
}

// execCommand is a command of a check.
func execCommand(c app.CheckCommand) mesos.CommandInfo {
	if len(c.Argv) > 0 {
		return mesos.CommandInfo{Shell: ptr(false), Value: ptr(c.Argv[0]), Arguments: c.Argv}
	}
	return mesos.CommandInfo{Shell: ptr(true), Value: ptr(c.Shell)}
}
