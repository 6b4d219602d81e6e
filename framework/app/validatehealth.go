package app

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const portIndexText = "Health check port indices must address an element of the ports array or container port mappings."

// checkHealth judges health checks, readiness checks and the Mesos check (Marathon
// contract 2.10, 2.12, 8).
func (a *App) checkHealth(p *problems) {
	byMesos := 0
	for i := range a.HealthChecks {
		h := &a.HealthChecks[i]
		path := index("/healthChecks", i)
		if strings.HasPrefix(string(h.Protocol), "MESOS_") {
			byMesos++
		}
		for _, f := range []struct {
			name string
			v    int
		}{{"delaySeconds", h.DelaySeconds}, {"gracePeriodSeconds", h.GracePeriodSeconds}, {"intervalSeconds", h.IntervalSeconds},
			{"maxConsecutiveFailures", h.MaxConsecutiveFailures}, {"timeoutSeconds", h.TimeoutSeconds}} {
			if f.v < 0 {
				p.add(path+"/"+f.name, fmt.Sprintf("got %d, expected 0 or more", f.v))
			}
		}
		a.checkHealthTarget(path, h, p)
	}
	if byMesos > 1 {
		p.add("/healthChecks", "AppDefinition can contain at most one Mesos health check")
	}
	a.checkReadiness(p)
	a.checkTaskCheck(p)
}

func (a *App) checkHealthTarget(path string, h *HealthCheck, p *problems) {
	if h.Protocol == HealthCommand {
		if h.Command == nil || h.Command.Value == "" {
			p.add(path+"/command", "not defined: a COMMAND check needs a command with a value")
		}
		if h.Port != nil || h.PortIndex != nil || h.Path != "" {
			p.add(path, "a COMMAND check must not have path, port or portIndex")
		}
		return
	}
	if h.Command != nil {
		p.add(path+"/command", "is only allowed with protocol COMMAND")
	}
	if h.Path != "" && (h.Protocol == HealthTCP || h.Protocol == HealthMesosTCP) {
		p.add(path+"/path", "is not allowed with a TCP check")
	}
	if h.IgnoreHTTP1xx != nil && h.Protocol != HealthHTTP && h.Protocol != HealthHTTPS {
		p.add(path+"/ignoreHttp1xx", "is only allowed with protocol HTTP or HTTPS")
	}
	switch {
	case h.Port != nil && h.PortIndex != nil:
		p.add(path, "must not have both port and portIndex")
	case h.Port != nil && (*h.Port < 1 || *h.Port > 65535):
		p.add(path+"/port", fmt.Sprintf("got %d, expected between 1 and 65535", *h.Port))
	case h.Port == nil && (h.PortIndex == nil || *h.PortIndex < 0 || *h.PortIndex >= a.PortCount()):
		p.add(path+"/portIndex", portIndexText)
	}
}

func (a *App) checkReadiness(p *problems) {
	if len(a.ReadinessChecks) > 1 {
		p.add("/readinessChecks", fmt.Sprintf("has %d elements, expected 1 or less", len(a.ReadinessChecks)))
		return
	}
	names := a.portNames()
	for i, r := range a.ReadinessChecks {
		path := index("/readinessChecks", i)
		if r.TimeoutSeconds < 1 || r.IntervalSeconds < 1 || r.TimeoutSeconds >= r.IntervalSeconds {
			p.add(path+"/timeoutSeconds", fmt.Sprintf("got %d, expected 1 or more and less than intervalSeconds, which is %d", r.TimeoutSeconds, r.IntervalSeconds))
		}
		if !slices.Contains(names, r.PortName) {
			p.add(path+"/portName", fmt.Sprintf("must be the name of one of the app's ports: %q is not", clip(r.PortName)))
		}
		for j, code := range r.HTTPStatusCodesForReady {
			if code < 100 || code > 999 {
				p.add(index(path+"/httpStatusCodesForReady", j), fmt.Sprintf("got %d, expected between 100 and 999", code))
			}
		}
	}
}

func (a *App) portNames() []string {
	var out []string
	if a.HostNetworking() {
		for _, d := range a.PortDefinitions {
			out = append(out, d.Name)
		}
	} else if a.Container != nil {
		for _, m := range a.Container.PortMappings {
			out = append(out, m.Name)
		}
	}
	return out
}

func (a *App) checkTaskCheck(p *problems) {
	c := a.Check
	if c == nil {
		return
	}
	kinds := 0
	target := func(path string, port, portIndex *int) {
		kinds++
		switch {
		case (port == nil) == (portIndex == nil):
			p.add(path, "must have exactly one of port and portIndex")
		case port != nil:
			checkPort(path+"/port", *port, p)
		case *portIndex < 0 || *portIndex >= a.PortCount():
			p.add(path+"/portIndex", portIndexText)
		}
	}
	if c.HTTP != nil {
		target("/check/http", c.HTTP.Port, c.HTTP.PortIndex)
	}
	if c.TCP != nil {
		target("/check/tcp", c.TCP.Port, c.TCP.PortIndex)
	}
	if c.Exec != nil {
		kinds++
		if (c.Exec.Command.Shell == "") == (len(c.Exec.Command.Argv) == 0) {
			p.add("/check/exec/command", "must have exactly one of shell and argv")
		}
	}
	if kinds != 1 {
		p.add("/check", "must have exactly one of http, tcp and exec")
	}
	if c.IntervalSeconds < 0 || c.TimeoutSeconds < 0 || c.DelaySeconds < 0 {
		p.add("/check", "intervalSeconds, timeoutSeconds and delaySeconds must be 0 or more")
	}
}

var isValue = regexp.MustCompile(`^[a-zA-Z0-9_/.-]*$`)

// check judges one constraint (marathon.md 6.2).
func (c Constraint) check(path string, p *problems) {
	if c.Field == "" {
		p.add(path, "Missing field and operator")
	}
	switch c.Operator {
	case OpUnique:
		if c.Value != "" {
			p.add(path, "UNIQUE does not accept a value")
		}
	case OpCluster:
	case OpGroupBy:
		if n, err := strconv.Atoi(c.Value); c.Value != "" && (err != nil || n < 0) {
			p.add(path, "GROUP BY must define an integer value or else no value at all")
		}
	case OpMaxPer:
		if _, err := strconv.Atoi(c.Value); err != nil {
			p.add(path, "MAX_PER requires an integer value")
		}
	case OpLike, OpUnlike:
		if c.Value == "" {
			p.add(path, "LIKE and UNLIKE require a non-empty, regular expression value")
		} else if _, err := regexp.Compile(c.Value); err != nil {
			p.add(path, "'"+clip(c.Value)+"' is not a valid regular expression (RE2 syntax): "+err.Error())
		}
	case OpIs:
		if c.Value == "" || !isValue.MatchString(c.Value) {
			p.add(path, "IS only supports Mesos text and float values, matching "+isValue.String())
		}
	default:
		p.add(path, "operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER, UNLIKE or IS")
	}
}
