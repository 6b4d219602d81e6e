// Package render writes HAProxy's configuration for a list of services. It is a pure
// function: the same services and settings give the same bytes.
//
// Contract: Marathon-LB 1.15.0 (order of sections, names, routing rules), in the syntax of
// HAProxy 2.4 and later.
package render

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/lb/labels"
)

// Settings are what the file holds besides the services.
type Settings struct {
	BindAddr     string // address of the shared frontends and of stats; "" is "*"
	HTTPPort     int    // virtual hosts; 0 leaves the frontend out
	HTTPSPort    int    // virtual hosts over TLS; 0 leaves it out, as do no SSLCerts
	AppIDPort    int    // routing by X-Marathon-App-Id; 0 leaves it out
	StatsPort    int    // statistics, metrics and admin paths
	SSLCerts     []string
	StatsSocket  string // path of the runtime API's unix socket
	StateFile    string // where server states are kept over a reload
	AdminSocket  string // unix socket that answers the admin paths; "" leaves them out
	HardStop     int    // seconds an old worker may live on after a reload
	MaxConn      int    // of the process
	DefaultsOpts []string
}

// Backend is the part of the configuration that may change without a reload.
type Backend struct {
	Name    string
	Options string // what follows the address in each server line and is not its id
	Servers []labels.Server
	// Static backends cannot change at run time (sticky cookies, some balance
	// algorithms): their servers are part of Structure.
	Static bool
}

// Config is one rendered configuration.
type Config struct {
	Text string
	// Structure is the text without the servers that can change at run time: two
	// configurations of equal structure differ by runtime commands only.
	Structure string
	Backends  []Backend
}

// File renders services, which must be sorted as labels.Services gives them.
func File(services []labels.Service, s Settings) Config {
	w := &writer{settings: s}
	w.head()
	w.userlists(services)
	w.vhostFrontend(services, false)
	w.appIDFrontend(services)
	w.vhostFrontend(services, true)
	for _, svc := range services {
		w.frontend(svc)
	}
	var c Config
	for _, svc := range services {
		c.Backends = append(c.Backends, w.backend(svc))
	}
	c.Text, c.Structure = w.text.String(), w.structure.String()
	return c
}

// writer fills the text and the structure side by side.
type writer struct {
	settings        Settings
	text, structure strings.Builder
}

// line writes to both; server lines go through serverLine.
func (w *writer) line(format string, args ...any) {
	l := fmt.Sprintf(format, args...) + "\n"
	w.text.WriteString(l)
	w.structure.WriteString(l)
}

func (w *writer) bind() string {
	if w.settings.BindAddr == "" {
		return "*"
	}
	return w.settings.BindAddr
}

func (w *writer) head() {
	s := w.settings
	w.line("global")
	if s.StatsSocket != "" {
		w.line("  stats socket %s mode 600 level admin expose-fd listeners", s.StatsSocket)
	}
	if s.StateFile != "" {
		w.line("  server-state-file %s", s.StateFile)
	}
	w.line("  hard-stop-after %ds", s.HardStop)
	w.line("  maxconn %d", s.MaxConn)
	w.line("  spread-checks 5")
	w.line("  max-spread-checks 15000")
	w.line("  tune.ssl.default-dh-param 2048")
	w.line("  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets")
	w.line("")
	w.line("defaults")
	if s.StateFile != "" {
		w.line("  load-server-state-from-file global")
	}
	w.line("  retries 3")
	w.line("  backlog 10000")
	w.line("  maxconn 10000")
	w.line("  timeout connect 3s")
	w.line("  timeout client 30s")
	w.line("  timeout server 30s")
	w.line("  timeout tunnel 3600s")
	w.line("  timeout http-keep-alive 1s")
	w.line("  timeout http-request 15s")
	w.line("  timeout queue 30s")
	w.line("  timeout tarpit 60s")
	opts := slices.Clone(s.DefaultsOpts)
	slices.Sort(opts)
	for _, o := range slices.Compact(opts) {
		w.line("  option %s", o)
	}
	w.line("")
	w.line("listen stats")
	w.line("  bind %s:%d", w.bind(), s.StatsPort)
	w.line("  mode http")
	w.line("  balance roundrobin")
	w.line("  monitor-uri /_haproxy_health_check")
	w.line("  http-request use-service prometheus-exporter if { path /metrics }")
	w.line("  stats enable")
	if s.AdminSocket != "" {
		w.line("  server admin unix@%s", s.AdminSocket)
	}
}

func userlist(s labels.Service) string { return "user_" + s.Backend }

func (w *writer) userlists(services []labels.Service) {
	for _, s := range services {
		if s.Auth != nil {
			w.line("")
			w.line("userlist %s", userlist(s))
			w.line("  user %s password %s", s.Auth.User, s.Auth.Password)
		}
	}
}

// byWeight gives the services with virtual hosts in the order of their rules: larger
// weight first, wildcards last, else as they come.
func byWeight(services []labels.Service) []labels.Service {
	var out []labels.Service
	for _, s := range services {
		if len(s.VHosts) > 0 && s.Mode == "http" {
			out = append(out, s)
		}
	}
	wild := func(s labels.Service) int {
		if slices.ContainsFunc(s.VHosts, func(h string) bool { return strings.HasPrefix(h, "*.") }) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(out, func(a, b labels.Service) int {
		if d := wild(a) - wild(b); d != 0 {
			return d
		}
		return b.Weight - a.Weight
	})
	return out
}

// aclSuffix is the part of ACL names that tells services apart.
func aclSuffix(s labels.Service) string {
	app := strings.ReplaceAll(strings.TrimPrefix(s.AppID, "/"), "/", "_")
	host := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, s.VHosts[0])
	return host + "_" + app
}

// vhostFrontend writes the frontend that routes by host name, plain or over TLS.
func (w *writer) vhostFrontend(services []labels.Service, tls bool) {
	s := w.settings
	w2 := func(port int, certs string) {
		name := "marathon_http_in"
		if tls {
			name = "marathon_https_in"
		}
		w.line("")
		w.line("frontend %s", name)
		w.line("  bind %s:%d%s", w.bind(), port, certs)
		w.line("  mode http")
		for _, svc := range byWeight(services) {
			w.vhostRules(svc, tls)
		}
	}
	switch {
	case !tls && s.HTTPPort > 0:
		w2(s.HTTPPort, "")
	case tls && s.HTTPSPort > 0 && len(s.SSLCerts) > 0:
		w2(s.HTTPSPort, " ssl crt "+strings.Join(s.SSLCerts, " crt ")+" alpn h2,http/1.1")
	}
}

func (w *writer) vhostRules(s labels.Service, tls bool) {
	host := "host_" + aclSuffix(s)
	for _, h := range s.VHosts {
		if rest, ok := strings.CutPrefix(h, "*"); ok {
			w.line("  acl %s hdr(host),field(1,:) -i -m end %s", host, rest)
		} else {
			w.line("  acl %s hdr(host),field(1,:) -i %s", host, h)
		}
	}
	cond := host
	if s.Path != "" {
		w.line("  acl path_%s path_beg %s", s.Backend, s.Path)
		cond += " path_" + s.Backend
	}
	if !tls && s.ToHTTPS {
		w.line("  redirect scheme https code 301 if %s", cond)
		return
	}
	if s.Auth != nil {
		acl := "auth_" + aclSuffix(s)
		w.line("  acl %s http_auth(%s)", acl, userlist(s))
		w.line("  http-request auth realm %s if %s !%s", s.Auth.Realm, cond, acl)
	}
	w.line("  use_backend %s if %s", s.Backend, cond)
}

func (w *writer) appIDFrontend(services []labels.Service) {
	if w.settings.AppIDPort == 0 {
		return
	}
	w.line("")
	w.line("frontend marathon_http_appid_in")
	w.line("  bind %s:%d", w.bind(), w.settings.AppIDPort)
	w.line("  mode http")
	seen := map[string]bool{}
	for _, s := range services {
		if s.Mode != "http" || seen[s.AppID] {
			continue
		}
		seen[s.AppID] = true
		w.line("  acl app_%s hdr(x-marathon-app-id) -i %s", s.Backend, s.AppID)
		w.line("  use_backend %s if app_%s", s.Backend, s.Backend)
	}
}

// frontend writes a service's own frontend.
func (w *writer) frontend(s labels.Service) {
	bind := fmt.Sprintf("%s:%d", s.BindAddr, s.Port)
	if s.SSLCert != "" {
		bind += " ssl crt " + s.SSLCert
	}
	if s.BindOptions != "" {
		bind += " " + s.BindOptions
	}
	w.line("")
	w.line("frontend %s", s.Backend)
	w.line("  bind %s", bind)
	w.line("  mode %s", s.Mode)
	w.line("  use_backend %s", s.Backend)
}

// runtimeBalance are the algorithms whose backends take servers at run time.
var runtimeBalance = []string{"roundrobin", "leastconn", "first", "random"}

// backend writes a service's backend and gives its part that may change.
func (w *writer) backend(s labels.Service) Backend {
	w.line("")
	w.line("backend %s", s.Backend)
	w.line("  balance %s", s.Balance)
	w.line("  mode %s", s.Mode)
	if s.Mode == "http" {
		if s.HSTS {
			w.line("  http-response set-header Strict-Transport-Security max-age=15768000")
		}
		w.line("  option forwardfor")
		w.line("  http-request set-header X-Forwarded-Port %%[dst_port]")
		w.line("  http-request add-header X-Forwarded-Proto https if { ssl_fc }")
	}
	if len(s.Allowed) > 0 {
		w.line("  acl network_allowed src %s", strings.Join(s.Allowed, " "))
		if s.Mode == "http" {
			w.line("  http-request deny if !network_allowed")
		} else {
			w.line("  tcp-request content reject if !network_allowed")
		}
	}
	if s.Sticky {
		w.line("  cookie mesosphere_server_id insert indirect nocache")
	}
	options := ""
	if c := s.Check; c != nil {
		if c.HTTP {
			w.line("  option httpchk GET %s", c.Path)
			w.line("  timeout check %ds", c.Timeout)
		}
		options = fmt.Sprintf(" check inter %ds fall %d", c.Interval, c.Fall)
	}
	b := Backend{Name: s.Backend, Options: strings.TrimSpace(options), Servers: s.Servers}
	b.Static = s.Sticky || !slices.Contains(runtimeBalance, strings.SplitN(strings.TrimSpace(s.Balance), " ", 2)[0])
	// The options stand for the lines below, so that a changed check is a changed structure.
	w.structure.WriteString("  # servers" + options + "\n")
	for _, k := range s.Servers {
		line := fmt.Sprintf("  server %s %s id %d", k.Name, Address(k), k.ID)
		if s.Sticky {
			line += " cookie " + k.Cookie
		}
		line += options + "\n"
		w.text.WriteString(line)
		if b.Static {
			w.structure.WriteString(line)
		}
	}
	return b
}

// Address gives a server's address and port as HAProxy reads them; an IPv6 address
// stands in brackets.
func Address(s labels.Server) string {
	if strings.Contains(s.Addr, ":") {
		return "[" + s.Addr + "]:" + strconv.Itoa(s.Port)
	}
	return s.Addr + ":" + strconv.Itoa(s.Port)
}
