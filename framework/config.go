// Package framework is the door of the framework room: it elects, and while it leads it
// runs the core between its shells: records, Mesos client, health checks, REST and events.
package framework

import (
	"net"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/zk"
)

// Config is everything an operator sets; zero values take Marathon's defaults
// (marathon.md 11), which the comments name.
type Config struct {
	// Master is the --master flag: zk://…/mesos, host:port or http://host:port. Required.
	Master string
	// ZK is where election and records are; nil: this process always leads and keeps its
	// records in a file under WorkDir.
	ZK      *zk.URL
	WorkDir string

	// Listener takes the API's requests when set; else HTTPAddress and HTTPPort are bound
	// by Run (port 0: any).
	Listener    net.Listener
	HTTPAddress string // all addresses
	HTTPPort    int    // 8080
	// Hostname is where other processes reach this one; the machine's name.
	Hostname string
	WebUI    string // http://hostname:port

	// MasterTLS is how the master is spoken to (LIBPROCESS_SSL_*); nil: in plain text.
	MasterTLS *tlsport.Port
	// MasterCredential shows the master who this framework is, by HTTP basic; empty: nothing does.
	MasterCredential auth.Credential

	// TLS of the API's second address; nil: there is none.
	TLS          *tlsport.Port
	HTTPSAddress string // all addresses
	HTTPSPort    int    // 8443
	NoHTTP       bool   // only that one; other frameworks are then spoken to by TLS too

	Name            string // marathon
	Role            string // *
	User            string // of tasks without one; empty: the agent's choice
	Principal       string
	FailoverTimeout time.Duration // 604800 s
	NoCheckpoint    bool
	EnvPrefix       string
	DefaultNetwork  string
	BridgeName      string // mesos-bridge
	Features        []string
	Ports           app.PortPool // 10000–20000
	AcceptedRoles   string       // any, unreserved or reserved
	EnforceRoles    bool         // of apps below new top-level groups: the group's name is their role

	LaunchConfirmTimeout time.Duration // 300 s
	LaunchTimeout        time.Duration // 300 s
	ReconcileInitial     time.Duration // 15 s
	ReconcileInterval    time.Duration // 600 s
	ScaleInitial         time.Duration // 15 s
	ScaleInterval        time.Duration // 300 s
	ReviveInterval       time.Duration // 5 s
	DeclineFor           time.Duration // 120 s
	KeepOffers           bool          // never SUPPRESS
	MaxPerOffer          int           // 1000; Marathon: 5, which makes a large app wait for many offers
	MaxDeployments       int           // 100
	MaxVersions          int           // 50
	KillsInFlight        int           // 100
	KillRetry            time.Duration // 30 s
	Draining             time.Duration
	IgnoreMaintenance    bool
	ReservationTimeout   time.Duration // until a reservation must show in an offer: 20 s
	AnyGPU               bool          // apps that need no GPU may go where there are some
	MissedHeartbeats     int           // 5
	MaxProbes            int           // 256

	SessionTimeout time.Duration // of ZooKeeper: 10 s
	EventsPending  int           // undelivered events of one stream: 1024
	Origins        []string      // Access-Control-Allow-Origin
	// Credential is the user and password that every request must carry; empty: none.
	Credential    auth.Credential
	Realm         string        // of basic authentication: Mesosphere
	MaxRequests   int           // answered at once, event streams apart; 0: any number
	NoCompression bool          // answers are never compressed
	Assets        string        // folder served below /ui; empty: the page of this program
	ProxyConnect  time.Duration // to the leader: 5 s
	ProxyRead     time.Duration // for the leader's answer: 10 s
	Version       string        // of this build, for /v2/info

	MetricsPrefix string   // before the names of Marathon's metrics: marathon
	NoPrometheus  bool     // no Prometheus text
	StatsD        []StatsD // where metrics are pushed to

	LaunchTokens   int           // launches in each TokenRefresh; 0: any number. Marathon: 100
	TokenRefresh   time.Duration // 30 s
	LostInitial    time.Duration // until unreachable instances are looked at for the first time; 0: at once
	LostInterval   time.Duration // then so often: 5 s
	PrepareTimeout time.Duration // of loading the records after an election: 180 s
	ProxyConns     int           // connections to the leader: 64
	MesosUI        string        // shown by /v2/info; empty: the present master's address
	Heartbeat      time.Duration // of the master, when it does not say: 15 s
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "marathon"
	}
	if c.Role == "" {
		c.Role = "*"
	}
	if c.Realm == "" {
		c.Realm = "Mesosphere"
	}
	if c.MetricsPrefix == "" {
		c.MetricsPrefix = "marathon"
	}
	if c.BridgeName == "" {
		c.BridgeName = "mesos-bridge"
	}
	if c.FailoverTimeout == 0 {
		c.FailoverTimeout = 604800 * time.Second
	}
	if c.Ports == (app.PortPool{}) {
		c.Ports = app.PortPool{Min: 10000, Max: 20000}
	}
	return c
}

// rules is how definitions are completed and judged.
func (c Config) rules() app.Rules {
	r := app.Rules{MesosRole: c.Role, EnforceNewGroups: c.EnforceRoles, DefaultNetwork: c.DefaultNetwork, BridgeName: c.BridgeName, Features: map[string]bool{}}
	for _, f := range c.Features {
		r.Features[f] = true
	}
	return r
}

// authenticator judges the API's callers; nil when everybody may call.
func (c Config) authenticator() auth.Authenticator {
	if c.Credential == (auth.Credential{}) {
		return nil
	}
	return &auth.Basic{Realm: c.Realm, Credentials: auth.NewCredentials(c.Credential)}
}
