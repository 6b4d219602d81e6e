package labels

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Service is one service port of one app: a frontend, a backend and its servers.
type Service struct {
	AppID       string
	Index       int    // {n} of the labels
	Port        int    // of the own frontend; 1 to 65535
	Backend     string // section name: app id with '_' and the port
	BindAddr    string
	BindOptions string
	SSLCert     string // certificate of the own frontend; "" is plain
	Mode        string // "http" or "tcp"
	Balance     string
	Sticky      bool
	VHosts      []string // lower-case, may be empty
	Path        string   // arguments of path_beg, with vhosts only
	Weight      int      // order of vhost rules, larger first
	ToHTTPS     bool
	HSTS        bool
	Auth        *Auth
	Allowed     []string // IPs and CIDRs; empty allows all
	Check       *Check
	Servers     []Server // sorted by host and port
}

// Auth asks for HTTP basic authentication on the vhost routes.
type Auth struct {
	Realm, User, Password string // Password is a crypt(3) hash
}

// Check is the health check that HAProxy makes itself.
type Check struct {
	HTTP     bool
	Path     string // with HTTP
	Interval int    // seconds
	Timeout  int    // seconds
	Fall     int    // failures in a row until down
}

// Server is one task port.
type Server struct {
	Name   string // unique in the backend
	ID     int    // stable number, 1 to 32766
	Cookie string // identity in sticky cookies
	TaskID string
	Host   string // as the app's task says; what Addr was resolved from
	Addr   string // IP
	Port   int
}

// Problem is a service port that was left out, and why.
type Problem struct {
	AppID  string
	Index  int
	Label  string // the label at fault; "" when it is none
	Reason string
}

// String prints the problem for a log line.
func (p Problem) String() string {
	at := fmt.Sprintf("%s port index %d", p.AppID, p.Index)
	if p.Label != "" {
		at += " label " + p.Label
	}
	return at + ": " + p.Reason
}

// Options are the settings that select apps and servers.
type Options struct {
	Groups      []string // of --group; "*" takes every app
	Strict      bool     // ports are off unless enabled by label
	HealthCheck bool     // only servers that Marathon calls alive
	KeepEmpty   bool     // services without a server stay, answering 503
	BindAddr    string   // address of the own frontends unless a label says otherwise; "" is "*"
	SkipApp     string   // id without leading slash of an app to leave out
	// Addresses gives the IP of a task's host. A host that is missing here is skipped
	// with a Problem. IPs need no entry.
	Addresses map[string]string
}

// Services gives the services of apps, sorted by app id and port, and what was left
// out with the reason. A wrong label costs only its own port.
func Services(apps []App, o Options) ([]Service, []Problem) {
	apps = slices.Clone(apps)
	slices.SortStableFunc(apps, func(a, b App) int { return cmp.Compare(a.ID, b.ID) })
	var out []Service
	var problems []Problem
	owner := map[string]string{} // bind address and port -> app
	for _, a := range apps {
		if o.SkipApp != "" && strings.TrimPrefix(a.ID, "/") == o.SkipApp {
			continue
		}
		for n := range a.servicePorts() {
			l := portLabels{app: a, n: n}
			if !l.selected(o) {
				continue
			}
			s, err := l.service(o)
			if err != nil {
				p := Problem{AppID: a.ID, Index: n, Reason: err.Error()}
				var bad *labelError
				if errors.As(err, &bad) {
					p.Label, p.Reason = bad.label, bad.reason
				}
				problems = append(problems, p)
				continue
			}
			var skipped []Problem
			s.Servers, skipped = servers(a, n, o)
			problems = append(problems, skipped...)
			if len(s.Servers) == 0 && !o.KeepEmpty {
				continue
			}
			at := s.BindAddr + ":" + strconv.Itoa(s.Port)
			if other, taken := owner[at]; taken {
				problems = append(problems, Problem{AppID: a.ID, Index: n, Reason: fmt.Sprintf("service port %d is already taken by %s", s.Port, other)})
				continue
			}
			owner[at] = a.ID
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.AppID, b.AppID), cmp.Compare(a.Port, b.Port))
	})
	return out, problems
}
