package render

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ciphers are for TLS up to 1.2, in the order that the server prefers.
const ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" +
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384"

// ourGlobals are the lines of the global section without which the process cannot be
// led: they are added to a user's HEAD that lacks them.
func (s Settings) ourGlobals() []string {
	var out []string
	if s.StatsSocket != "" {
		out = append(out, fmt.Sprintf("stats socket %s mode 600 level admin expose-fd listeners", s.StatsSocket))
	}
	if s.StateFile != "" {
		out = append(out, "server-state-file "+s.StateFile)
	}
	return append(out, fmt.Sprintf("hard-stop-after %ds", s.HardStop))
}

// head gives the global, defaults and stats sections.
func (s Settings) head() string {
	if text, ok := s.Templates.texts["HEAD"]; ok {
		fixed, _ := FixHead(text, s)
		return fixed
	}
	if s.Profile == Compat {
		return s.compatHead()
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("global")
	if s.Syslog != "" {
		line("  log %s local0", s.Syslog)
		line("  log %s local1 notice", s.Syslog)
	}
	for _, l := range s.ourGlobals() {
		line("  %s", l)
	}
	line("  maxconn %d", s.MaxConn)
	line("  spread-checks 5")
	line("  max-spread-checks 15000")
	line("  tune.ssl.default-dh-param 2048")
	for _, side := range []string{"bind", "server"} {
		line("  ssl-default-%s-ciphers %s", side, ciphers)
		if s.Profile == Modern {
			line("  ssl-default-%s-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", side)
		}
		line("  ssl-default-%s-options ssl-min-ver TLSv1.2 no-tls-tickets", side)
	}
	line("")
	line("defaults")
	if s.Syslog != "" {
		line("  log global")
	}
	if s.StateFile != "" {
		line("  load-server-state-from-file global")
	}
	line("  retries 3")
	line("  backlog 10000")
	line("  maxconn 10000")
	line("  timeout connect 3s")
	line("  timeout client 30s")
	line("  timeout server 30s")
	line("  timeout tunnel 3600s")
	if s.Profile == Modern {
		line("  timeout http-keep-alive 10s")
		line("  http-reuse safe")
	} else {
		line("  timeout http-keep-alive 1s")
	}
	line("  timeout http-request 15s")
	line("  timeout queue 30s")
	line("  timeout tarpit 60s")
	opts := slices.Clone(s.DefaultsOpts)
	slices.Sort(opts)
	for _, o := range slices.Compact(opts) {
		line("  option %s", o)
	}
	line("")
	line("listen stats")
	line("  bind %s:%d", s.adminAddr("*"), s.StatsPort)
	line("  mode http")
	line("  balance roundrobin")
	line("  monitor-uri /_haproxy_health_check")
	if len(s.AdminAllow) > 0 {
		line("  http-request deny unless { src %s }", strings.Join(s.AdminAllow, " "))
	}
	line("  http-request use-service prometheus-exporter if { path /metrics }")
	line("  stats enable")
	if s.AdminSocket != "" {
		line("  server admin unix@%s", s.AdminSocket)
	}
	return b.String()
}

var (
	daemonWord = regexp.MustCompile(`(?m)^[ \t]*daemon[ \t]*(#.*)?\n?`)
	luaLine    = regexp.MustCompile(`(?m)^[ \t]*(lua-load\b.*|http-request[ \t]+use-service[ \t]+lua\..*)\n?`)
	globalLine = regexp.MustCompile(`(?m)^global[ \t]*(#.*)?$`)
	stateLines = regexp.MustCompile(`(?m)^[ \t]*server-state-(file|base)\b.*\n?`)
	statsLine  = regexp.MustCompile(`(?m)^listen[ \t]+stats\b.*$`)
)

// FixHead makes a user's HEAD one that can be led: without daemon, with the sockets and
// limits that the process needs, and with the admin paths that Marathon-LB answered by
// Lua files handed to ours. It tells what it changed.
func FixHead(text string, s Settings) (string, []string) {
	var notes []string
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if daemonWord.MatchString(text) {
		text = daemonWord.ReplaceAllString(text, "")
		notes = append(notes, "'daemon' was taken out: the process is ours to watch")
	}
	if luaLine.MatchString(text) {
		text = luaLine.ReplaceAllString(text, "")
		notes = append(notes, "the Lua lines were taken out: their paths are answered without")
		if s.AdminSocket != "" {
			text = statsLine.ReplaceAllStringFunc(text, func(l string) string { return l + "\n  server admin unix@" + s.AdminSocket })
		}
	}
	var add []string
	if s.StateFile != "" && stateLines.MatchString(text) {
		// It is written before each reload, so its place is ours to say.
		text = stateLines.ReplaceAllString(text, "")
		notes = append(notes, "server-state-file and server-state-base were replaced")
	}
	for _, l := range s.ourGlobals() {
		key := strings.Fields(l)[0]
		if key == "stats" {
			key = s.StatsSocket
		}
		if !strings.Contains(text, key) {
			add = append(add, l)
		}
	}
	switch at := globalLine.FindStringIndex(text); {
	case len(add) == 0:
	case at == nil:
		text = "global\n  " + strings.Join(add, "\n  ") + "\n\n" + text
		notes = append(notes, "a global section was added")
	default:
		text = text[:at[1]] + "\n  " + strings.Join(add, "\n  ") + text[at[1]:]
		notes = append(notes, "added to the global section: "+strings.Join(add, "; "))
	}
	return text, notes
}

// sharedHead gives the head of one of the shared frontends.
func (s Settings) sharedHead(name string) string {
	if text, ok := s.Templates.texts[name]; ok {
		if catalog[name].plain {
			return text
		}
		var b strings.Builder
		s.Templates.forms[name].write(&b, values{"sslCerts": crts(s.SSLCerts)}.get)
		return b.String()
	}
	switch name {
	case "HTTP_FRONTEND_HEAD":
		return fmt.Sprintf("\nfrontend marathon_http_in\n  bind %s:%d\n  mode http\n", s.bind(), s.HTTPPort)
	case "HTTP_FRONTEND_APPID_HEAD":
		return fmt.Sprintf("\nfrontend marathon_http_appid_in\n  bind %s:%d\n  mode http\n", s.bind(), s.AppIDPort)
	case "HTTPS_GROUPED_FRONTEND_HEAD":
		hello := "req.ssl_hello_type"
		if s.Profile == Compat {
			hello = "req_ssl_hello_type"
		}
		return fmt.Sprintf("\nfrontend marathon_https_in\n  bind %s:%d\n  mode tcp\n  tcp-request inspect-delay 5s\n  tcp-request content accept if { %s 1 }\n", s.bind(), s.HTTPSPort, hello)
	default:
		return fmt.Sprintf("\nfrontend marathon_https_in\n  bind %s:%d ssl %s%s\n  mode http\n", s.bind(), s.HTTPSPort, crts(s.SSLCerts), s.alpn())
	}
}

func (s Settings) alpn() string {
	if s.Profile == Compat {
		return ""
	}
	return " alpn h2,http/1.1"
}

func (s Settings) bind() string {
	if s.BindAddr == "" {
		return "*"
	}
	return s.BindAddr
}

func crts(certs []string) string {
	return "crt " + strings.Join(certs, " crt ")
}
