package labels

import "fmt"

// Service is one service port of one app: a frontend, a backend and its servers.
type Service struct {
	AppID       string // of the app, or of its deployment group
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
	ProxyPass   string   // prefix that is taken off the path; "" is off
	RevProxy    string   // prefix that is put before the path of Location; "" is off
	Redirect    string   // where "/" of the vhost redirects to; "" is off
	Check       *Check

	// Settings that Marathon-LB has no labels for; 0 and "" leave them out.
	MaxConn       int    // of each server
	ServerWeight  int    // of each server, 1 to 256
	TimeoutServer int    // milliseconds
	Compression   string // algorithms
	// DrainSeconds is how long our framework holds a task's kill back for its last
	// requests; it is the framework's to read, and judged here.
	DrainSeconds int

	// Templates are the texts of template labels by template name, without HAPROXY_.
	Templates map[string]string
	Servers   []Server // sorted by host and port

	// Rev tells states of services apart: two services of one Memo with equal key and Rev
	// are equal. 0 tells nothing.
	Rev uint64
}

// Auth asks for HTTP basic authentication on the vhost routes.
type Auth struct {
	Realm, User, Password string // Password is a crypt(3) hash
}

// Check is the health check that HAProxy makes itself.
type Check struct {
	HTTP     bool
	Protocol string
	Path     string // with HTTP
	Port     int    // where the check goes; 0 is the server's own port
	Index    *int   // portIndex of the app's check
	Interval int    // seconds
	Timeout  int    // seconds
	Grace    int    // seconds
	Failures int    // of the app's check: maxConsecutiveFailures
}

// Server is one task port.
type Server struct {
	Name      string // unique in the backend
	ID        int    // stable number, 1 to 32766
	Cookie    string // identity in sticky cookies
	TaskID    string
	Host      string // of the task's agent; what Addr was resolved from unless the task has an address of its own
	Addr      string // IP
	Port      int
	CheckPort int  // where checks go when a label borrowed another port; 0 is not
	Drain     bool // in the configuration, but gets no new traffic
}

// Problem is a service port that was left out or is not what its labels ask for.
type Problem struct {
	AppID  string
	Index  int
	Label  string // the label at fault; "" when it is none
	Reason string
	Kept   bool // the port is served all the same, perhaps as it was before
}

// String prints the problem for a log line.
func (p Problem) String() string {
	at := fmt.Sprintf("%s port index %d", p.AppID, p.Index)
	if p.Label != "" {
		at += " label " + p.Label
	}
	return at + ": " + p.Reason
}

// PortKey names a service port.
type PortKey struct {
	AppID string
	Index int
}

// Key gives the service's port key.
func (s Service) Key() PortKey { return PortKey{s.AppID, s.Index} }

// Options are the settings that select apps and servers.
type Options struct {
	Groups      []string // of --group; "*" takes every app
	Strict      bool     // ports are off unless enabled by label
	HealthCheck bool     // only servers that Marathon calls alive
	AllAlive    bool     // with HealthCheck: every check must say alive, not any
	KeepEmpty   bool     // services without a server stay, answering 503
	Compat      bool     // a MESOS_HTTP check does not make a port http
	BindAddr    string   // address of the own frontends unless a label says otherwise; "" is "*"
	SkipApp     string   // id without leading slash of an app to leave out
	// AssignMin and AssignMax are the service ports given to apps with an address per
	// task that name none; both 0 gives none.
	AssignMin, AssignMax int
	// Addresses gives the IP of a task's host. A host that is missing here is skipped
	// with a Problem. IPs need no entry.
	Addresses map[string]string
	// Up holds the tasks that the load balancer itself reaches: where two apps of one
	// deployment group replace each other, an old task is drained for each of these that is
	// new. nil counts the new tasks that Marathon calls alive.
	Up map[string]bool
	// LastAlive holds the tasks that were alive when Marathon last had results of them.
	LastAlive map[string]bool
	// LastGood gives the settings that a port had before its labels became wrong; it
	// keeps them, with the servers of today.
	LastGood map[PortKey]Service
}

// clashes reports virtual hosts that two services claim with the same path: the rule
// that comes first takes all.
func clashes(services []Service) []Problem {
	type claim struct{ host, path string }
	first := make(map[claim]*Service, len(services))
	var out []Problem
	for i := range services {
		s := &services[i]
		if s.Mode != "http" {
			continue
		}
		for _, h := range s.VHosts {
			key := claim{h, s.Path}
			f, taken := first[key]
			if !taken {
				first[key] = s
				continue
			}
			loser, winner := s, f
			if s.Weight > f.Weight {
				loser, winner, first[key] = f, s, s
			}
			if loser.Key() != winner.Key() {
				out = append(out, Problem{AppID: loser.AppID, Index: loser.Index, Label: fmt.Sprintf("HAPROXY_%d_VHOST", loser.Index), Kept: true,
					Reason: fmt.Sprintf("host %s is also claimed by %s, whose rule comes first", h, winner.AppID)})
			}
		}
	}
	return out
}
