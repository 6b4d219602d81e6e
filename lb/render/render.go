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
// Marathon-LB does, and has its sticky cookies; Modern adds TLS 1.3 suites and longer
// keep-alive to Standard.
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

// Memo keeps what was rendered of each service, so that one that has not changed costs
// a copy of its text. It serves one set of Settings; only MaxConn may differ between
// calls. It belongs to one goroutine.
type Memo struct {
	ports map[labels.PortKey]*port
	size  [2]int // of the last text and structure
}

// File renders services, which must be sorted as labels.Services gives them. A service
// whose template labels cannot be used is left out with a Problem.
func File(services []labels.Service, s Settings) (Config, []labels.Problem) {
	return new(Memo).file(services, s, true)
}

// File does what the function of that name does, but for Origins.
func (m *Memo) File(services []labels.Service, s Settings) (Config, []labels.Problem) {
	return m.file(services, s, false)
}

func (m *Memo) file(services []labels.Service, s Settings, origins bool) (Config, []labels.Problem) {
	if s.Templates == nil {
		s.Templates, _ = NewTemplates(nil, s.Profile == Compat)
	}
	var problems []labels.Problem
	ports := make([]*port, 0, len(services))
	if m.ports == nil || len(m.ports) > 2*len(services)+100 {
		m.ports = make(map[labels.PortKey]*port, len(services))
	}
	for i := range services {
		svc := &services[i]
		if p, ok := m.ports[svc.Key()]; ok && svc.Rev != 0 && p.Rev == svc.Rev {
			ports = append(ports, p)
			continue
		}
		p, err := newPort(*svc, &s)
		if err != nil {
			problem := labels.Problem{AppID: svc.AppID, Index: svc.Index, Reason: err.Error()}
			if e, ok := asTemplateError(err); ok {
				problem.Label, problem.Reason = e.Label, e.Err.Error()
			}
			problems = append(problems, problem)
			continue
		}
		if svc.Rev != 0 {
			m.ports[svc.Key()] = p
		}
		ports = append(ports, p)
	}
	w := &writer{settings: s, line: 1, explain: origins}
	// Grown once to about what they will hold, not doubled on the way.
	if m.size[0] == 0 {
		servers := 0
		for _, p := range ports {
			servers += len(p.Servers)
		}
		m.size = [2]int{4096 + 700*len(ports) + 80*servers, 4096 + 700*len(ports)}
	}
	w.text.Grow(m.size[0] + 1024)
	w.structure.Grow(m.size[1] + 1024)
	w.frame("HEAD", s.head())
	w.userlists(ports)
	w.plainFrontend(ports)
	w.appIDFrontend(ports)
	w.tlsFrontend(ports)
	for _, p := range ports {
		w.whole(p, &p.front, p.frontend)
	}
	c := Config{Backends: make([]Backend, 0, len(ports))}
	for _, p := range ports {
		w.whole(p, &p.head, p.backendHead)
		text, b := p.servers()
		w.emit(text, p, "BACKEND_SERVER_OPTIONS", nil, b.Static)
		c.Backends = append(c.Backends, b)
	}
	c.Text, c.Structure, c.Origins = w.text.String(), w.structure.String(), w.origins
	m.size = [2]int{len(c.Text), len(c.Structure)}
	c.Maps = []Map{{File: DomainMap, Entries: w.domains}, {File: AppMap, Entries: w.apps}}
	return c, problems
}

// RuntimeOnly tells whether want can be reached from have by runtime commands.
func RuntimeOnly(have, want Config) bool {
	if have.Structure != want.Structure {
		return false
	}
	for i, b := range want.Backends {
		before := have.Backends[i].Servers
		if SameServers(before, b.Servers) {
			continue
		}
		old := make(map[string]*Server, len(before))
		for k := range before {
			old[before[k].Name] = &before[k]
		}
		for k := range b.Servers {
			// A server of the same name with other options would have to go first,
			// which takes as long as its last connection.
			s := &b.Servers[k]
			if had, ok := old[s.Name]; ok && (had.Address != s.Address || had.Options != s.Options) {
				return false
			}
		}
	}
	return true
}

// SameServers tells at once that two backends' servers are one and the same list, as
// they are after a change elsewhere. Other equal lists count as different.
func SameServers(a, b []Server) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// writer fills the text and the structure side by side.
type writer struct {
	settings        Settings
	text, structure strings.Builder
	explain         bool // Origins are asked for
	line            int  // with explain
	origins         []Origin
	domains, apps   []Entry
}

// emit writes to the text, and to the structure unless the text may change at run time.
// Without a port it is part of the frame.
func (w *writer) emit(text string, p *port, template string, because []string, structural bool) {
	if text == "" {
		return
	}
	if w.explain {
		o := Origin{Template: template}
		if p != nil {
			o = p.origin(template, because)
		}
		o.Line = w.line
		w.origins = append(w.origins, o)
		w.line += strings.Count(text, "\n")
	}
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
	w.emit(text, nil, template, nil, true)
}

func (w *writer) parts(p *port, parts []part) {
	for _, t := range parts {
		w.emit(t.text, p, t.template, t.labels, true)
	}
}

// whole writes parts that are made once and kept as one text in slot.
func (w *writer) whole(p *port, slot *string, parts func() []part) {
	if w.explain {
		w.parts(p, parts())
		return
	}
	if *slot == "" {
		var b strings.Builder
		for _, t := range parts() {
			b.WriteString(t.text)
		}
		*slot = b.String()
	}
	w.emit(*slot, p, "", nil, true)
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
