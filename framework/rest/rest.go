// Package rest is Marathon's REST API over the framework's core: it reads immutable
// snapshots, turns request bodies into edits of the app tree, and words answers and
// refusals the way Marathon's clients parse them. A standby forwards to the leader.
package rest

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/repo"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/web"
)

// Body limits in bytes: one app or task list, and one whole tree.
const (
	bodyLimit  = 1 << 20
	groupLimit = 32 << 20
)

// maxTrees bounds how many whole-tree bodies are worked on at once: a decoded body takes
// many times its size.
const maxTrees = 2

// Core is the state this API shows and changes. Both methods may be called from any
// goroutine, but only while Leadership says that this process leads.
type Core interface {
	// Do submits a command and waits until its outcome is durable.
	Do(ctx context.Context, cmd core.Command) (core.Outcome, error)
	// Snapshot is the present state, nil while this process does not lead.
	Snapshot() *core.Snapshot
}

// Leadership tells who leads.
type Leadership interface {
	// Leader gives the leader's host:port, "" when none is known, and whether it is this
	// process and ready to answer.
	Leader() (address string, self bool)
	// Abdicate gives leadership up soon after it returns, and leaves the handover to the
	// next leader. An error says why it could not be left; then leadership is kept.
	Abdicate(context.Context, repo.Handover) error
}

// Events is the event stream.
type Events interface {
	http.Handler
	Publish(core.Event)
}

// Config shapes the API.
type Config struct {
	Core       Core
	Leadership Leadership
	Events     Events
	Drains     Drains            // nil: reports of load balancers go nowhere
	Metrics    *metrics.Registry // nil: none, and /metrics answers 404
	// NoPrometheus is --disable_metrics_prometheus: /metrics answers in JSON only.
	NoPrometheus bool
	Traffic      *Traffic     // nil: requests are not counted in Marathon's way
	Log          *slog.Logger // nil: none

	Self    string            // host:port under which this process is known; for X-Marathon-Via
	Rules   app.Rules         // how definitions are completed and judged
	Ports   app.PortPool      // service ports to assign
	Info    Info              // settings shown by /v2/info
	Origins []string          // --access_control_allow_origin; empty: no CORS headers
	Headers map[string]string // further headers of every answer

	Auth          auth.Authenticator // --http_credentials; nil: everybody may ask
	MaxRequests   int                // --http_max_concurrent_requests; 0: no limit
	NoCompression bool               // --disable_http_compression
	Assets        string             // --assets_path: folder served below /ui; empty: the page of this package

	PeerTLS        *tlsport.Port // how the leader is spoken to; nil: in plain text
	ConnectTimeout time.Duration // to the leader; 0: 5 s
	ReadTimeout    time.Duration // for the leader's answer; 0: 10 s
	LeaderConns    int           // connections to the leader at once; 0: 64
	LeaderWait     time.Duration // how long a standby looks for a leader before 502; 0: 2.5 s

	Now func() time.Time // nil: the clock
}

// Info is what /v2/info shows beside the live facts. The maps are printed as they are,
// nil values as null.
type Info struct {
	Name      string // framework name
	Version   string
	BuildRef  string
	Marathon  func() map[string]any // marathon_config; nil: none
	ZooKeeper map[string]any        // zookeeper_config
	HTTP      map[string]any        // http_config
}

// api answers requests; its fields do not change after New.
type api struct {
	Config
	now   func() time.Time
	trees chan struct{} // one token for each whole-tree body being worked on

	appTexts  texts[app.App, []byte]        // definitions as clients see them
	taskTexts texts[app.Instance, taskText] // instances as clients see them
	listTexts texts[core.AppState, []byte]  // all tasks of an app, of apps that have few
}

// New builds the API; it starts nothing.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &api{Config: cfg, now: time.Now, trees: make(chan struct{}, maxTrees)}
	if cfg.Now != nil {
		a.now = cfg.Now
	}
	e := web.New(web.Config{
		Logger: cfg.Log, Room: "framework", Metrics: cfg.Metrics, BodyLimit: groupLimit,
		ErrorBody: errorBody, ErrorStatus: errorStatus,
	})
	if cfg.Traffic != nil {
		e.Use(cfg.Traffic.observe)
	}
	e.Use(a.standardHeaders)
	if cfg.Auth != nil {
		e.Use(known(cfg.Auth))
	}
	e.Use(newForwarder(cfg).leaderOnly)
	if cfg.MaxRequests > 0 {
		e.Use(atMost(cfg.MaxRequests))
	}
	if !cfg.NoCompression {
		e.Use(compress())
	}
	e.Use(mediaTypes)
	a.routes(e)
	a.pages(e)
	return e
}

func (a *api) routes(e *echo.Echo) {
	e.Any("/v2/apps", a.apps)
	e.Any("/v2/apps/*", a.appsBelow)
	e.Any("/v2/groups", a.groups)
	e.Any("/v2/groups/*", a.groups)
	e.Any("/v2/tasks", a.allTasks)
	e.Any("/v2/tasks/delete", a.deleteTasks)
	e.Any("/v2/deployments", a.deployments)
	e.Any("/v2/deployments/:id", a.deployment)
	e.Any("/v2/queue", a.queue)
	e.Any("/v2/queue/*", a.queueDelay)
	e.Any("/v2/pods", a.pods)
	e.Any("/v2/pods/*", a.pods)
	e.Any("/v2/events", a.events)
	e.Any("/v2/events/drained", a.drained)
	e.Any("/v2/info", a.info)
	e.Any("/v2/leader", a.leader)
	e.Any("/v2/plugins", a.plugins)
	e.Any("/v2/plugins/*", a.plugins)
	e.Any("/ping", a.ping)
	e.Any("/metrics", a.metricsPage)
	e.Any("/metrics/prometheus", a.prometheus)
	e.RouteNotFound("/*", func(echo.Context) error { return echo.NewHTTPError(http.StatusNotFound, "URI not found") })
}

// standardHeaders adds what every answer carries (marathon.md 1.1).
func (a *api) standardHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
		h.Set("Pragma", "no-cache")
		h.Set("Expires", "0")
		if n := len(a.Origins); n > 0 {
			h.Set("Access-Control-Allow-Origin", a.Origins[n-1])
			h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
			h.Set("Access-Control-Max-Age", "86400")
			if asked := c.Request().Header.Get("Access-Control-Request-Headers"); asked != "" {
				h.Set("Access-Control-Allow-Headers", asked)
			}
		}
		for k, v := range a.Headers {
			h.Set(k, v)
		}
		return next(c)
	}
}

// methods answers 405 unless the request's method is one of those served. HEAD counts
// as GET.
func methods(c echo.Context, served map[string]echo.HandlerFunc) error {
	method := c.Request().Method
	if method == http.MethodHead && served[http.MethodHead] == nil {
		method = http.MethodGet
	}
	if h := served[method]; h != nil {
		return h(c)
	}
	for m := range served {
		c.Response().Header().Add("Allow", m)
	}
	return echo.NewHTTPError(http.StatusMethodNotAllowed, "Method Not Allowed")
}

// snapshot gives the present state; fault.Unavailable when leadership just ended.
func (a *api) snapshot() (*core.Snapshot, error) {
	if s := a.Core.Snapshot(); s != nil {
		return s, nil
	}
	return nil, errNotLeading
}

// presentApp gives the newest snapshot and an app in it, or 404.
func (a *api) presentApp(id app.PathID) (*core.Snapshot, *app.App, error) {
	s, err := a.snapshot()
	if err != nil {
		return nil, nil, err
	}
	x := s.Root.App(id)
	if x == nil {
		return nil, nil, noApp(id)
	}
	return s, x, nil
}

// presentGroup gives the newest snapshot and a group in it, or 404.
func (a *api) presentGroup(id app.PathID) (*core.Snapshot, *app.Group, error) {
	s, err := a.snapshot()
	if err != nil {
		return nil, nil, err
	}
	g := s.Root.Group(id)
	if g == nil {
		return nil, nil, noGroup(id)
	}
	return s, g, nil
}
