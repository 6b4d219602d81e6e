package operators

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// bodyLimit bounds one request body: executors' updates are the largest.
const bodyLimit = 16 << 20

// Config is what can be looked at, and how.
type Config struct {
	PID          string              // "slave(1)@ip:port"
	Info         *messages.SlaveInfo // without id
	Capabilities []*mesos.AgentInfo_Capability
	Version      string // the Mesos version claimed
	Build        string // the version of this program
	Started      time.Time
	Flags        map[string]string // name -> value
	LogDir       string            // of the agent's log, as /state prints it; empty: none
	ExternalLog  string            // a log file that something else writes, likewise
	LogFile      string            // the log that Files shows; empty: none
	Heartbeat    time.Duration     // of output streams (--http_heartbeat_interval); 0: 30 s
	LogLevel     *slog.LevelVar    // of the logger, lowered by /logging/toggle; nil: it stays as it is

	// Recovered tells whether recovery has ended.
	Recovered func() bool
	// View gives a picture of the core.
	View func(ctx context.Context) (*lifecycle.View, error)
	// MasterHostname names the detected leader, "" when there is none.
	MasterHostname func() string
	// Usage gives what a container uses now.
	Usage func(ctx context.Context, id lifecycle.ContainerID) (*mesos.ResourceStatistics, error)

	// Rules say who may do and see what; nil: everybody everything.
	Rules *acl.List
	// PruneImages removes images that nothing uses, but for the given ones; nil: there are none.
	PruneImages func(excluded []*mesos.Image)

	Containers Containers
	Files      *sandbox.Files
	Metrics    *metrics.Registry
	Executors  http.Handler // POST /api/v1/executor
}

type server struct {
	Config
	log       *slog.Logger
	verbosity *web.Verbosity

	usage *paced[[]measured] // of all containers

	inputs   sync.Mutex                     // guards attached
	attached map[lifecycle.ContainerID]bool // containers with an input connection
}

// New makes the handler of all the agent's HTTP routes, without the process id's prefix
// ("/slave(1)/…"), which the transport takes off.
func New(cfg Config, log *slog.Logger) http.Handler {
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = 30 * time.Second
	}
	s := &server{Config: cfg, log: log, verbosity: web.NewVerbosity(cfg.LogLevel, log), attached: map[lifecycle.ContainerID]bool{}}
	s.usage = &paced[[]measured]{every: measureEvery, f: s.measureAll}
	e := web.New(web.Config{
		Logger: log, Room: "agent", Metrics: cfg.Metrics, BodyLimit: bodyLimit,
		// Of ATTACH_CONTAINER_INPUT; a record is bounded by bodyLimit.
		Endless: func(r *http.Request) bool {
			return r.URL.Path == "/api/v1" && r.Header.Get("Content-Type") == wire.MediaRecordIO
		},
		ErrorBody: func(status int, err error) (string, []byte) {
			if status == http.StatusNotFound {
				return textType, []byte("404 Not Found.")
			}
			return textType, []byte(err.Error())
		},
	})
	s.register(e)
	return e
}

const textType = "text/plain; charset=utf-8"

// plain answers one sentence.
func plain(c echo.Context, status int, text string) error {
	h := c.Response().Header()
	h.Set("Content-Type", textType)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	c.Response().WriteHeader(status)
	_, err := io.WriteString(c.Response(), text)
	return err
}

// recovered answers 503 until the agent has recovered.
func (s *server) recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !s.Recovered() {
			return plain(c, http.StatusServiceUnavailable, "Agent has not finished recovery")
		}
		return next(c)
	}
}

// json answers what f gives, with the callback that old web pages ask for.
func (s *server) json(f func(echo.Context) (any, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		v, err := f(c)
		if err != nil {
			return plain(c, http.StatusServiceUnavailable, err.Error())
		}
		return answerJSON(c, v)
	}
}

func answerJSON(c echo.Context, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return answerBytes(c, b)
}

func answerBytes(c echo.Context, b []byte) error {
	kind := "application/json"
	if cb := c.QueryParam("jsonp"); callbackName(cb) {
		kind = "text/javascript"
		b = append(append([]byte(cb+"("), b...), ')')
	}
	return answer(c, kind, b)
}

// answer gives 200 with exactly this media type, compressed when the client takes that.
func answer(c echo.Context, media string, body []byte) error {
	web.Answer(c.Response(), c.Request(), media, body)
	return nil
}

// callbackName admits names of JavaScript functions only: the answer is run as a script.
func callbackName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '$':
		default:
			return false
		}
	}
	return true
}

func (s *server) version(echo.Context) (any, error) {
	return map[string]any{"version": s.Version, "build_date": "", "build_time": float(0), "build_user": "", "stoa_version": s.Build}, nil
}

func (s *server) flags(echo.Context) (any, error) {
	return map[string]any{"flags": s.flagMap()}, nil
}

func (s *server) flagMap() map[string]string {
	if s.Flags == nil {
		return map[string]string{}
	}
	return s.Flags
}

// toggle tells the level of the log, or sets it for a time (mesos-agent.md 0.1).
func (s *server) toggle(c echo.Context) error {
	status, answer := s.verbosity.Toggle(c.QueryParams())
	if answer == "" {
		c.Response().WriteHeader(status)
		return nil
	}
	return plain(c, status, answer)
}

func (s *server) debug(echo.Context) (any, error) { return s.Files.Roots(), nil }

func (s *server) snapshot(c echo.Context) error {
	// Nothing here has to be waited for, so that any time is enough.
	if text := c.QueryParam("timeout"); c.QueryParams().Has("timeout") {
		if _, err := web.ParseDuration(text); err != nil {
			return plain(c, http.StatusBadRequest, "Invalid timeout '"+text+"': "+err.Error()+".\n")
		}
	}
	out := map[string]float{}
	for k, v := range s.Metrics.Snapshot() {
		out[k] = float(v)
	}
	return answerJSON(c, out)
}

// systemStats describes the host (mesos-agent.md 0.1).
func systemStats(echo.Context) (any, error) {
	l := SystemLoad()
	total, free := SystemMemory()
	return map[string]any{ // the counts are integers there, as recorded of a Mesos agent
		"avg_load_1min": float(l[0]), "avg_load_5min": float(l[1]), "avg_load_15min": float(l[2]),
		"cpus_total": runtime.NumCPU(), "mem_total_bytes": uint64(total), "mem_free_bytes": uint64(free),
	}, nil
}

// SystemLoad gives the load averages over 1, 5 and 15 minutes; zeros where unknown.
func SystemLoad() (l [3]float64) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return l
	}
	scan(string(b), &l[0], &l[1], &l[2])
	return l
}
