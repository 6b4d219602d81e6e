package operators

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// Views is what the shell asks of the master's door.
type Views interface {
	// View gives the book as it is now; fault.Unavailable while this master does not lead
	// or recovers. While nothing changes it gives the same pointer again.
	View(context.Context) (*ledger.Snapshot, error)
	// Atomically runs fn with the book as it is now on the goroutine that also calls
	// Publish, between two events. fn must be quick. Errors are View's.
	Atomically(ctx context.Context, fn func(*ledger.Snapshot)) error
	// Teardown removes a framework and gives the answer for the operator.
	Teardown(context.Context, ledger.FrameworkID) (ledger.Answer, error)
	// Order hands a call that changes the book to the ledger and gives the answer for the
	// operator; it may wait for the registry.
	Order(context.Context, ledger.OperatorCall) (ledger.Answer, error)
	// Leading describes this master from its election to the end of its term; nil
	// otherwise.
	Leading() *mesos.MasterInfo
	// Started is when this process began to serve.
	Started() time.Time
}

// Config of the shell. Zero values are defaults.
type Config struct {
	Cluster       string             // --cluster; empty: not printed
	Flags         map[string]string  // all flags as given
	Version       *mesos.VersionInfo // of /version; also the first lines of /state
	LogFile       string             // read through the virtual file /master/log; empty: there is none
	LogDir        string             // --log_dir, as /state prints it
	External      string             // --external_log_file, as /state prints it
	LogLevel      *slog.LevelVar     // of the logger, lowered by /logging/toggle; nil: it stays as it is
	WebUIDir      string             // --webui_dir: files served at /; empty: none
	SnapshotEvery time.Duration      // between two answers of /metrics/snapshot, which wait for it; 0: none wait
	Metrics       *metrics.Registry  // nil: an own one
	ACL           *acl.List          // what operators may do and see; nil: everything

	Heartbeat      time.Duration // of the event stream, 15 s
	MaxSubscribers int           // --max_operator_event_stream_subscribers, 1000: beyond it the oldest stream is closed
	QueueLength    int           // events a subscriber may be behind, 65536
	BodyLimit      int64         // of one call, 4 MiB
	Logger         *slog.Logger
}

func (c *Config) defaults() {
	if c.Version == nil {
		c.Version = &mesos.VersionInfo{}
	}
	if c.Metrics == nil {
		c.Metrics = metrics.New()
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = ledger.Heartbeat
	}
	if c.MaxSubscribers <= 0 {
		c.MaxSubscribers = 1000
	}
	if c.QueueLength <= 0 {
		c.QueueLength = 1 << 16
	}
	if c.BodyLimit <= 0 {
		c.BodyLimit = 4 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Shell answers operators.
type Shell struct {
	cfg   Config
	views Views
	log   *slog.Logger
	hub   *hub
	lists map[string]*shared // JSON endpoints by path, v1 reads by type and media type
	pages pageStore          // of all long answers
	tally tally

	verbosity *web.Verbosity
	scrapes   *pace // of /metrics/snapshot

	everything Views                   // views without the limits of a reader
	sight      *sight                  // what this shell's one reader may see; nil: everything
	limited    viewers                 // shells of limited readers
	handlers   map[string]http.Handler // of a limited reader's shell, by path
}

// New makes the shell and declares its metrics; it starts nothing.
func New(cfg Config, views Views) *Shell {
	cfg.defaults()
	s := &Shell{cfg: cfg, views: views, everything: views, log: cfg.Logger, verbosity: web.NewVerbosity(cfg.LogLevel, cfg.Logger), scrapes: &pace{}}
	s.hub = newHub(cfg.MaxSubscribers, cfg.QueueLength, cfg.Logger)
	s.lists = map[string]*shared{}
	s.scrapes.every = cfg.SnapshotEvery
	s.addLists()
	s.declareMetrics()
	return s
}

// Needs is what a route asks of the master that answers it.
type Needs uint8

// The levels: standbys answer Anyone routes themselves and redirect the others to the
// leader; Recovered routes also answer 503 until the registry is read.
const (
	Anyone Needs = iota
	Leader
	Recovered
)

// Route is one path with all its methods; paths are without the /master prefix.
type Route struct {
	Path    string
	Needs   Needs
	Handler http.Handler
}

// endpoints lists the routes as this shell answers them.
func (s *Shell) endpoints() []Route {
	routes := []Route{
		{"/version", Anyone, http.HandlerFunc(s.version)},
		{"/flags", Anyone, http.HandlerFunc(s.flags)},
		{"/metrics/snapshot", Anyone, http.HandlerFunc(s.metricsSnapshot)},
		{"/system/stats.json", Anyone, http.HandlerFunc(s.systemStats)},
		{"/logging/toggle", Anyone, http.HandlerFunc(s.loggingToggle)},
		{"/files/browse", Anyone, http.HandlerFunc(s.filesBrowse)},
		{"/files/read", Anyone, http.HandlerFunc(s.filesRead)},
		{"/files/download", Anyone, http.HandlerFunc(s.filesDownload)},
		{"/files/debug", Anyone, http.HandlerFunc(s.filesDebug)},
		{"/files/browse.json", Anyone, http.HandlerFunc(s.filesBrowse)}, // the .json names are those of older days
		{"/files/read.json", Anyone, http.HandlerFunc(s.filesRead)},
		{"/files/download.json", Anyone, http.HandlerFunc(s.filesDownload)},
		{"/files/debug.json", Anyone, http.HandlerFunc(s.filesDebug)},
		{"/help", Anyone, http.HandlerFunc(s.help)},
		{"/help/*", Anyone, http.HandlerFunc(s.help)},
		{"/registrar(1)/registry", Anyone, http.HandlerFunc(s.registry)},
		{"/state", Leader, s.polled("/state", "", nil)},
		{"/state.json", Leader, s.polled("/state", "", nil)}, // the name of older days, still asked for by old tools
		{"/state-summary", Leader, s.polled("/state-summary", "", nil)},
		{"/slaves", Leader, s.polled("/slaves", "slave_id", s.agentNamed)},
		{"/frameworks", Leader, s.polled("/frameworks", "framework_id", s.frameworkNamed)},
		{"/tasks", Leader, http.HandlerFunc(s.tasks)},
		{"/roles", Leader, http.HandlerFunc(s.roles)},
		{"/tasks.json", Leader, http.HandlerFunc(s.tasks)}, // as /state.json
		{"/roles.json", Leader, http.HandlerFunc(s.roles)},
		{"/weights", Leader, http.HandlerFunc(s.weights)},
		{"/quota", Leader, http.HandlerFunc(s.quota)},
		{"/quota/*", Leader, http.HandlerFunc(s.quota)},
		{"/machine/down", Leader, s.machines(startCall)},
		{"/machine/up", Leader, s.machines(stopCall)},
		{"/maintenance/status", Leader, http.HandlerFunc(s.maintenanceStatus)},
		{"/maintenance/schedule", Leader, http.HandlerFunc(s.maintenanceSchedule)},
		{"/teardown", Leader, http.HandlerFunc(s.teardownForm)},
		{"/reserve", Leader, s.operationForm("resources", reserveCall)},
		{"/unreserve", Leader, s.operationForm("resources", unreserveCall)},
		{"/create-volumes", Leader, s.operationForm("volumes", createCall)},
		{"/destroy-volumes", Leader, s.operationForm("volumes", destroyCall)},
		{"/api/v1", Recovered, http.HandlerFunc(s.call)},
	}
	if s.cfg.WebUIDir != "" {
		for _, path := range []string{"/", "/app/*", "/assets/*"} {
			routes = append(routes, Route{path, Anyone, http.HandlerFunc(s.webUI)})
		}
	}
	return routes
}

// Publish hands an event to the subscribers; the ledger's owner calls it for each
// operator event, in order. It costs a queue's append for each subscriber and never blocks. The event
// must not be changed afterwards.
func (s *Shell) Publish(e *masterapi.Event) { s.hub.publish(e) }

// TermEnded closes the subscriptions and forgets what was encoded.
func (s *Shell) TermEnded() {
	s.hub.endAll("leadership ended")
	for _, l := range s.lists {
		l.forget()
	}
	s.forgetViewers()
}
