package render

import (
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/lb/labels"
)

// Server is one server line, taken apart for the runtime API.
type Server struct {
	Name    string
	Address string // with the port
	Options string // what follows the address
	Checked bool   // its options ask for health checks
	Drain   bool   // gets no new traffic
}

// Backend is the part of the configuration that may change without a reload.
type Backend struct {
	Name    string
	Servers []Server
	// Static backends cannot change at run time (fixed cookies, some balance
	// algorithms, unusual options): their servers are part of Structure.
	Static bool
	// CookieKey must be set again before a new server of the backend serves; "" is none.
	CookieKey string
}

// runtimeBalance are the algorithms whose backends take servers at run time.
var runtimeBalance = []string{"roundrobin", "leastconn", "first", "random"}

// runtimeOptions are the server options that HAProxy takes at run time, with the number
// of words that follow each.
var runtimeOptions = map[string]int{
	"id": 1, "check": 0, "inter": 1, "fastinter": 1, "downinter": 1, "fall": 1, "rise": 1, "port": 1, "addr": 1, "weight": 1, "maxconn": 1,
	"minconn": 1, "maxqueue": 1, "backup": 0, "slowstart": 1, "send-proxy": 0, "send-proxy-v2": 0, "agent-check": 0, "agent-port": 1,
	"agent-inter": 1, "agent-addr": 1, "agent-send": 1, "track": 1, "proto": 1, "source": 1, "observe": 1, "on-error": 1, "error-limit": 1,
	"on-marked-down": 1, "on-marked-up": 1, "ssl": 0, "verify": 1, "sni": 1, "ca-file": 1, "crt": 1, "pool-max-conn": 1, "pool-purge-delay": 1, "check-ssl": 0,
	"check-send-proxy": 0, "tfo": 0,
}

// fitsRuntime tells whether options can be given at run time: every one is known to be
// taken, and no word could end the command and begin another.
func fitsRuntime(options string) bool {
	f := strings.Fields(options)
	for i := 0; i < len(f); i++ {
		n, ok := runtimeOptions[f[i]]
		if !ok || i+n >= len(f) && n > 0 {
			return false
		}
		i += n
	}
	return !strings.ContainsAny(options, ";\\\"'#$<>`\n\r{}")
}

// servers renders the server lines; the Backend has them taken apart.
func (p *port) servers() (string, Backend) {
	if p.backend == nil {
		b := Backend{}
		p.lines, b = p.makeServers()
		p.backend = &b
	}
	return p.lines, *p.backend
}

func (p *port) makeServers() (string, Backend) {
	b := Backend{Name: p.Backend, Static: p.Sticky && !p.dynamicCookie()}
	if !slices.Contains(runtimeBalance, strings.SplitN(strings.TrimSpace(p.Balance), " ", 2)[0]) {
		b.Static = true
	}
	if p.Sticky && p.dynamicCookie() {
		b.CookieKey = p.Backend
	}
	extra := ""
	if p.ServerWeight > 0 {
		extra += " weight " + strconv.Itoa(p.ServerWeight)
	}
	if p.MaxConn > 0 {
		extra += " maxconn " + strconv.Itoa(p.MaxConn)
	}
	b.Servers = make([]Server, 0, len(p.Servers))
	check, checkTo := "", -1
	var text, one strings.Builder
	text.Grow(80 * len(p.Servers))
	own := p.replaced("BACKEND_SERVER_OPTIONS")
	var last tail
	for i := range p.Servers {
		k := &p.Servers[i]
		// One check text serves all servers unless each has a check port of its own.
		if p.Check != nil && checkTo != k.CheckPort {
			check, checkTo = strings.TrimRight(p.text("BACKEND_SERVER_"+p.checkKind()+"_HEALTHCHECK_OPTIONS", p.checkValues(k.CheckPort)), "\n"), k.CheckPort
		}
		cookie, other := "", extra
		switch {
		case p.Sticky && b.CookieKey == "":
			cookie = " check cookie " + k.Cookie
		case p.Sticky && (own || p.Check == nil):
			cookie = " check" // else the check text begins so
		}
		if k.Drain {
			other += " disabled"
		}
		id, address := strconv.Itoa(k.ID), host4(k)+":"+strconv.Itoa(k.Port)
		if !own {
			s, ok := last.server(k.Name, address, id, cookie+check+extra)
			s.Drain = k.Drain
			b.Static = b.Static || !ok
			b.Servers = append(b.Servers, s)
			for _, t := range []string{"  server ", k.Name, " ", address, " id ", id, cookie, check, other, "\n"} {
				text.WriteString(t)
			}
			continue
		}
		one.Reset()
		p.write(&one, "BACKEND_SERVER_OPTIONS", func(name string) string {
			switch name {
			case "host":
				return k.Host
			case "host_ipv4":
				return host4(k)
			case "port":
				return strconv.Itoa(k.Port)
			case "serverName":
				return k.Name
			case "serverId":
				return id
			case "cookieOptions":
				return cookie
			case "healthCheckOptions":
				return check
			default: // otherOptions
				return other
			}
		})
		line := one.String()
		if !strings.HasSuffix(line, "\n") {
			line += "\n"
		}
		text.WriteString(line)
		s, ok := takeApart(line, k.Name, address)
		b.Static = b.Static || !ok
		b.Servers = append(b.Servers, s)
	}
	return text.String(), b
}

// tail is what follows the id in the built-in server line. It is mostly the same for all
// servers of a backend, so it is judged once.
type tail struct {
	options     string
	fits, check bool
	known       bool
}

func (t *tail) server(name, address, id, options string) (Server, bool) {
	if !t.known || t.options != options {
		*t = tail{options: options, fits: fitsRuntime(options), check: checked(strings.TrimSpace(options)), known: true}
	}
	return Server{Name: name, Address: address, Options: "id " + id + options, Checked: t.check}, t.fits && !strings.Contains(options, "\n")
}

// checked tells whether options ask for health checks.
func checked(options string) bool {
	return options == "check" || strings.HasPrefix(options, "check ") || strings.Contains(options, " check ") || strings.HasSuffix(options, " check")
}

// takeApart reads a server line back. It fails on what cannot be done at run time.
func takeApart(line, name, address string) (Server, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "server "+name+" "+address)
	if !ok || strings.Contains(rest, "\n") {
		return Server{Name: name, Address: address, Options: line}, false
	}
	s := Server{Name: name, Address: address, Options: strings.TrimSpace(rest)}
	if cut, ok := strings.CutSuffix(s.Options, "disabled"); ok && (cut == "" || strings.HasSuffix(cut, " ")) {
		s.Options, s.Drain = strings.TrimSpace(cut), true
	}
	s.Checked = checked(s.Options)
	return s, fitsRuntime(s.Options)
}

// host4 gives a server's address as HAProxy reads it before a port; an IPv6 address
// stands in brackets.
func host4(s *labels.Server) string {
	if strings.Contains(s.Addr, ":") {
		return "[" + s.Addr + "]"
	}
	return s.Addr
}
