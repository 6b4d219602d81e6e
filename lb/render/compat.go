package render

import (
	"fmt"
	"slices"
	"strings"
)

// compatHead gives the head as Marathon-LB 1.15.0 writes it, but for what leads the
// process: the path and level of the stats socket, the path of the state file,
// hard-stop-after, and our server in place of the Lua files.
func (s Settings) compatHead() string {
	// These suites and their order are Marathon-LB's.
	var suites []string
	for _, mac := range []string{"AES128-GCM-SHA256", "AES256-GCM-SHA384"} {
		suites = append(suites, "ECDHE-ECDSA-"+mac, "ECDHE-RSA-"+mac)
	}
	suites = append(suites, "DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384")
	for _, mac := range []string{"AES128-SHA256", "AES256-SHA384"} {
		suites = append(suites, "ECDHE-ECDSA-"+mac, "ECDHE-RSA-"+mac)
	}
	suites = append(suites, "DHE-RSA-AES128-SHA256", "DHE-RSA-AES256-SHA256", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA256", "AES256-SHA256", "!aNULL", "!MD5", "!DSS")
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("global")
	if s.Syslog != "" {
		line("  log %s local0", s.Syslog)
		line("  log %s local1 notice", s.Syslog)
	}
	line("  spread-checks 5")
	line("  max-spread-checks 15000")
	line("  maxconn %d", s.MaxConn)
	line("  tune.ssl.default-dh-param 2048")
	for _, side := range []string{"bind", "server"} {
		line("  ssl-default-%s-ciphers %s", side, strings.Join(suites, ":"))
		line("  ssl-default-%s-options no-sslv3 no-tlsv10 no-tls-tickets", side)
	}
	for _, l := range s.ourGlobals() {
		line("  %s", l)
	}
	line("defaults")
	if s.StateFile != "" {
		line("  load-server-state-from-file global")
	}
	setting := func(name, value string) { line("  %-*s%s", 27-len(value), name, value) }
	if s.Syslog != "" {
		line("  log               global")
	}
	for _, d := range [][2]string{
		{"retries", "3"}, {"backlog", "10000"}, {"maxconn", "10000"}, {"timeout connect", "3s"}, {"timeout client", "30s"}, {"timeout server", "30s"},
		{"timeout tunnel", "3600s"}, {"timeout http-keep-alive", "1s"}, {"timeout http-request", "15s"}, {"timeout queue", "30s"}, {"timeout tarpit", "60s"},
	} {
		setting(d[0], d[1])
	}
	opts := slices.Clone(s.DefaultsOpts)
	slices.Sort(opts)
	for _, o := range slices.Compact(opts) {
		line("  option            %s", o)
	}
	line("listen stats")
	line("  bind %s:%d", s.adminAddr("0.0.0.0"), s.StatsPort)
	line("  balance")
	line("  mode http")
	if len(s.AdminAllow) > 0 {
		line("  http-request deny unless { src %s }", strings.Join(s.AdminAllow, " "))
	}
	line("  stats enable")
	line("  http-request use-service prometheus-exporter if { path /metrics }")
	line("  monitor-uri /_haproxy_health_check")
	if s.AdminSocket != "" {
		line("  server admin unix@%s", s.AdminSocket)
	}
	return b.String()
}

// adminAddr gives the address of the stats listener; without any it is all.
func (s Settings) adminAddr(all string) string {
	switch {
	case s.AdminBind != "":
		return s.AdminBind
	case s.BindAddr != "":
		return s.BindAddr
	}
	return all
}
