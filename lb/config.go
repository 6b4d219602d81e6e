package lb

import (
	"time"

	"github.com/stoa-project/stoa/lb/follow"
	"github.com/stoa-project/stoa/lb/render"
)

// Config is everything `stoa lb` can be told.
type Config struct {
	Marathon    []string // URLs
	User        string   // HTTP basic authentication to Marathon
	Password    string
	Token       TokenSource // authorizes requests to Marathon instead; nil does not
	CAFile      string      // certificates that Marathon's is checked against; "" is the system's
	Insecure    bool        // Marathon's certificate is not checked
	Groups      []string    // "*" takes every app; empty is an error
	Strict      bool
	HealthCheck bool
	AllAlive    bool // with HealthCheck: all checks must say alive, not any
	KeepEmpty   bool
	SkipApp     string
	// AssignMin and AssignMax are the service ports for apps with an address per task.
	AssignMin, AssignMax int
	// LastKnown is how many tasks' health is remembered while Marathon has no results.
	LastKnown int

	Profile    render.Profile
	BindAddr   string   // of every frontend, "" is "*"
	HTTPPort   int      // virtual hosts, 0 is off
	HTTPSPort  int      // virtual hosts over TLS, 0 is off
	AppIDPort  int      // by X-Marathon-App-Id, 0 is off
	StatsPort  int      // statistics and admin paths
	AdminBind  string   // address of the latter, "" is BindAddr
	AdminAllow []string // networks that may ask there; empty is all
	SSLCerts   []string
	GroupHTTPS bool              // TLS frontends per virtual host
	Maps       bool              // map files instead of rules where possible
	Templates  map[string]string // texts of templates by name without HAPROXY_
	Syslog     string            // where HAProxy logs, "" is nowhere

	HAProxyPath string // "" looks for it
	ConfigPath  string
	RunDir      string // sockets, pid, state and archive of HAProxy
	Command     string // reloads a HAProxy that is not ours
	// CommandRetry and CommandRetries bound the wait for a new process after Command.
	CommandRetry   time.Duration
	CommandRetries int
	SkipValidation bool
	// SkipCleanup keeps a refused configuration from being searched for the app at fault:
	// nothing changes until it is right.
	SkipCleanup bool
	// StopHAProxy ends HAProxy with Run; else it goes on serving and the next start adopts it.
	StopHAProxy   bool
	HardStop      time.Duration // an old worker's life after a reload
	MaxOldWorkers int
	Archives      int // configurations kept

	RelayBind       string        // host:port at which other load balancers follow this one; "" is none
	NoDrain         bool          // kills do not wait for this load balancer
	Poll            time.Duration // lists at this interval instead of following events; 0 follows
	Resync          time.Duration // full listing at least this often
	MaxBackoff      time.Duration // between two connects to the event stream
	ReloadInterval  time.Duration // between two reloads
	ChangeInterval  time.Duration // between two changes of any kind
	CertInterval    time.Duration // between two looks at the certificate files
	DefaultsOptions []string      // "option" lines of the defaults section
}

// TokenSource gives the value of the Authorization header; follow.Login is one.
type TokenSource = follow.TokenSource

// Defaults gives Marathon-LB's settings.
func Defaults() Config {
	return Config{
		Marathon: []string{"http://master.mesos:8080"}, HTTPPort: 80, HTTPSPort: 443, AppIDPort: 9091, StatsPort: 9090,
		ConfigPath: "/etc/haproxy/haproxy.cfg", RunDir: "/run/stoa-lb", Profile: render.Standard, Maps: true,
		AssignMin: 10050, AssignMax: 10100, LastKnown: 1000, CommandRetry: 10 * time.Second, CommandRetries: 10,
		HardStop: 15 * time.Minute, MaxOldWorkers: 4, Archives: 5,
		Resync: 5 * time.Minute, MaxBackoff: 5 * time.Minute, ReloadInterval: 2 * time.Second, ChangeInterval: 20 * time.Millisecond, CertInterval: 2 * time.Second,
		DefaultsOptions: []string{"redispatch", "http-server-close", "dontlognull", "idle-close-on-response"},
	}
}
