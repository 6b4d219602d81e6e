// Package render writes HAProxy's configuration for a list of services. It is a pure
// function: the same services and settings give the same bytes.
//
// Contract: Marathon-LB 1.15.0 (order of sections, names, routing rules, templates), in
// the syntax of HAProxy 2.4 and later.
package render

import (
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/lb/labels"
)

// Profile chooses between the habits of Marathon-LB and newer ones.
type Profile string

// Profiles. Standard routes :443 by the Host header and speaks HTTP/2; Compat routes as
// Marathon-LB does; Modern adds TLS 1.3 suites, longer keep-alive and cookies made by
// HAProxy to Standard.
const (
	Standard Profile = "standard"
	Compat   Profile = "compat"
	Modern   Profile = "modern"
)

// Settings are what the file holds besides the services.
type Settings struct {
	Profile      Profile // "" is Standard
	BindAddr     string  // address of the shared frontends and of stats; "" is "*"
	HTTPPort     int     // virtual hosts; 0 leaves the frontend out
	HTTPSPort    int     // virtual hosts over TLS; 0 leaves it out, as do no SSLCerts
	AppIDPort    int     // routing by X-Marathon-App-Id; 0 leaves it out
	StatsPort    int     // statistics, metrics and admin paths
	AdminBind    string  // address of the latter; "" is BindAddr
	AdminAllow   []string
	SSLCerts     []string
	GroupHTTPS   bool   // a TLS frontend for each virtual host, with its own certificates
	Maps         bool   // virtual hosts and app ids in map files rather than rules
	MapDir       string // folder of the map files
	StatsSocket  string // path of the runtime API's unix socket
	StateFile    string // where server states are kept over a reload
	AdminSocket  string // unix socket that answers the admin paths; "" leaves them out
	Syslog       string // where HAProxy logs; "" is nowhere
	HardStop     int    // seconds an old worker may live on after a reload
	MaxConn      int    // of the process
	DefaultsOpts []string
	Templates    *Templates // nil are the built-in ones
}

// Names of the map files.
const (
	DomainMap = "domain2backend.map"
	AppMap    = "app2backend.map"
)

// Entry is one line of a map file.
type Entry struct{ Key, Value string }

// Map is one map file, in its order; keys are unique.
type Map struct {
	File    string
	Entries []Entry
}

// Text gives the file's content.
func (m Map) Text() string {
	var b strings.Builder
	for _, e := range m.Entries {
		b.WriteString(e.Key + " " + e.Value + "\n")
	}
	return b.String()
}

// Config is one rendered configuration.
type Config struct {
	Text string
	// Structure is the text without the servers that can change at run time: two
	// configurations of equal structure differ by runtime commands only.
	Structure string
	Backends  []Backend
	Maps      []Map // those of DomainMap and AppMap, empty without Settings.Maps
	// Origins tell where the text comes from, in its order.
	Origins []Origin
}

// Origin is a stretch of the text and its cause.
type Origin struct {
	Line     int // the first, from 1
	Port     labels.PortKey
	Template string   // "" for what has none
	Labels   []string // labels that made it appear or changed it
}

// OwnerOf gives the service port that made the line; false for lines of the frame.
func (c Config) OwnerOf(line int) (labels.PortKey, bool) {
	i, found := slices.BinarySearchFunc(c.Origins, line, func(o Origin, l int) int { return o.Line - l })
	if !found {
		i--
	}
	if i < 0 || c.Origins[i].Port.AppID == "" {
		return labels.PortKey{}, false
	}
	return c.Origins[i].Port, true
}

// File renders services, which must be sorted as labels.Services gives them. A service
// whose template labels cannot be used is left out with a Problem.
func File(services []labels.Service, s Settings) (Config, []labels.Problem) {
	if s.Templates == nil {
		s.Templates, _ = NewTemplates(nil, s.Profile == Compat)
	}
	var problems []labels.Problem
	ports := make([]*port, 0, len(services))
	for _, svc := range services {
		p, err := newPort(svc, &s)
		if err != nil {
			problem := labels.Problem{AppID: svc.AppID, Index: svc.Index, Reason: err.Error()}
			if e, ok := asTemplateError(err); ok {
				problem.Label, problem.Reason = e.Label, e.Err.Error()
			}
			problems = append(problems, problem)
			continue
		}
		ports = append(ports, p)
	}
	w := &writer{settings: s, line: 1}
	servers := 0
	for _, p := range ports {
		servers += len(p.Servers)
	}
	// Grown once to about what they will hold, not doubled on the way.
	w.text.Grow(4096 + 700*len(ports) + 80*servers)
	w.structure.Grow(4096 + 700*len(ports))
	w.origins = make([]Origin, 0, 16+12*len(ports)+servers)
	w.frame("HEAD", s.head())
	w.userlists(ports)
	w.plainFrontend(ports)
	w.appIDFrontend(ports)
	w.tlsFrontend(ports)
	for _, p := range ports {
		w.parts(p, p.frontend())
	}
	c := Config{Backends: make([]Backend, 0, len(ports))}
	for _, p := range ports {
		w.parts(p, p.backendHead())
		c.Backends = append(c.Backends, w.servers(p))
	}
	c.Text, c.Structure, c.Origins = w.text.String(), w.structure.String(), w.origins
	c.Maps = []Map{{File: DomainMap, Entries: w.domains}, {File: AppMap, Entries: w.apps}}
	return c, problems
}

// RuntimeOnly tells whether want can be reached from have by runtime commands.
func RuntimeOnly(have, want Config) bool {
	if have.Structure != want.Structure {
		return false
	}
	for i, b := range want.Backends {
		old := make(map[string]Server, len(b.Servers))
		for _, s := range have.Backends[i].Servers {
			old[s.Name] = s
		}
		for _, s := range b.Servers {
			// A server of the same name with other options would have to go first,
			// which takes as long as its last connection.
			if had, ok := old[s.Name]; ok && (had.Address != s.Address || had.Options != s.Options) {
				return false
			}
		}
	}
	return true
}

// writer fills the text and the structure side by side.
type writer struct {
	settings        Settings
	text, structure strings.Builder
	line            int
	origins         []Origin
	domains, apps   []Entry
}

// emit writes to the text, and to the structure unless the text may change at run time.
func (w *writer) emit(text string, o Origin, structural bool) {
	if text == "" {
		return
	}
	o.Line = w.line
	w.origins = append(w.origins, o)
	w.line += strings.Count(text, "\n")
	w.text.WriteString(text)
	if structural {
		w.structure.WriteString(text)
	}
}

// frame writes what belongs to no service. It ends in a line's end.
func (w *writer) frame(template, text string) {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	w.emit(text, Origin{Template: template}, true)
}

func (w *writer) parts(p *port, parts []part) {
	for _, t := range parts {
		w.emit(t.text, p.origin(t.template, t.labels), true)
	}
}

// origin names the labels behind a stretch: those that made it appear and the one that
// replaced its template.
func (p *port) origin(template string, because []string) Origin {
	o := Origin{Port: p.Key(), Template: template}
	prefix := "HAPROXY_" + strconv.Itoa(p.Index) + "_"
	for _, l := range because {
		o.Labels = append(o.Labels, prefix+l)
	}
	if _, ok := p.own[template]; ok {
		o.Labels = append(o.Labels, prefix+template)
	}
	return o
}

func (w *writer) userlists(ports []*port) {
	for _, p := range ports {
		if p.Auth != nil {
			w.parts(p, []part{p.part("USERLIST_HEAD", values{"backend": p.Backend, "user": p.Auth.User, "passwd": p.Auth.Password}, "AUTH")})
		}
	}
}

// servers writes a backend's servers and gives them as the runtime API has them.
func (w *writer) servers(p *port) Backend {
	lines, b := p.servers()
	for _, l := range lines {
		w.emit(l, p.origin("BACKEND_SERVER_OPTIONS", nil), b.Static)
	}
	return b
}
