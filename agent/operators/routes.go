package operators

import (
	"html"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// route is one endpoint. Any method will do, as with Mesos, but where the handler says
// otherwise (mesos-agent.md 0.1).
type route struct {
	path    string
	also    string // an older name, "" when there is none
	text    string // what it is for, in a line of /help; empty: not shown there
	handler echo.HandlerFunc
}

func (s *server) routes() []route {
	return []route{
		{"/api/v1", "", "Operator API: POST a call in JSON or protobuf.", s.call},
		{"/api/v1/executor", "", "Executor API: POST a call in JSON or protobuf.", echo.WrapHandler(s.Executors)},
		{"/containerizer/debug", "", "What is being done to containers and has not ended yet.", s.recovered(s.json(s.pending))},
		{"/containers", "", "Containers with their resource usage; ?container_id=, or ?framework_id= and ?executor_id=, gives some.", s.reads(s.recovered(s.containers))},
		{"/files/browse", "/files/browse.json", "Files below the virtual path in ?path=.", s.recovered(s.browse)},
		{"/files/debug", "/files/debug.json", "Virtual files and the real ones behind them.", s.recovered(s.json(s.debug))},
		{"/files/download", "/files/download.json", "The file at the virtual path in ?path=.", s.recovered(s.download)},
		{"/files/read", "/files/read.json", "A piece of the file in ?path=, from ?offset= and of ?length= bytes.", s.recovered(s.read)},
		{"/flags", "", "All flags with their values.", s.reads(s.recovered(s.json(s.flags)))},
		{"/health", "", "200 while this agent answers.", func(c echo.Context) error { c.Response().WriteHeader(http.StatusOK); return nil }},
		{"/help", "", "This page.", s.help},
		{"/help/*", "", "", s.help},
		{"/logging/toggle", "", "The log's verbosity; ?level= and ?duration= set it for a time.", s.toggle},
		{"/memory-profiler/*", "", "", noProfiler},
		{"/metrics", "", "All metrics as Prometheus text.", echo.WrapHandler(s.Metrics.Handler())},
		{"/metrics/snapshot", "", "All metrics as one JSON object.", s.snapshot},
		{"/monitor/statistics", "/monitor/statistics.json", "Resource usage of the containers; twice a second at most.", s.reads(s.recovered(s.json(s.statistics)))},
		{"/profiler/*", "", "", noProfiler},
		{"/state", "/state.json", "Everything this agent knows.", s.recovered(s.json(s.state))},
		{"/system/stats.json", "", "Load and memory of this host.", s.json(systemStats)},
		{"/version", "", "Version of this program.", s.json(s.version)},
		{"/__processes__", "", "Processes behind this address.", s.json(s.processes)},
	}
}

// register makes the endpoints known to the router.
func (s *server) register(e *echo.Echo) {
	for _, r := range s.routes() {
		e.Any(r.path, s.authorized(r.handler))
		if r.also != "" {
			e.Any(r.also, s.authorized(r.handler))
		}
	}
}

// reads refuses every method but GET where rules say who may do what.
func (s *server) reads(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if m := c.Request().Method; s.Rules != nil && m != http.MethodGet && m != http.MethodHead {
			c.Response().Header().Set("Allow", http.MethodGet)
			return plain(c, http.StatusMethodNotAllowed, "405 Method Not Allowed. Expecting one of { 'GET' }, but received '"+m+"'.")
		}
		return next(c)
	}
}

func noProfiler(c echo.Context) error {
	return plain(c, http.StatusBadRequest, "This program has no profiler that can be switched on.\n")
}

// process is the name of the agent's libprocess process, as in "slave(1)@ip:port".
func (s *server) process() string {
	name, _, _ := strings.Cut(s.PID, "@")
	return name
}

func (s *server) processes(echo.Context) (any, error) {
	return []map[string]any{{"id": s.process(), "events": []any{}}}, nil
}

// help is a line for every endpoint, or for those below the name in /help/NAME.
func (s *server) help(c echo.Context) error {
	group := strings.Trim(strings.TrimPrefix(c.Request().URL.Path, "/help"), "/")
	below := strings.Trim(strings.TrimPrefix(group, s.process()), "/")
	var b strings.Builder
	b.WriteString("<html><head><title>Help</title></head><body><h2>HELP</h2>\n<dl>\n")
	found := false
	for _, r := range s.routes() {
		if r.text == "" || below != "" && r.path != "/"+below && !strings.HasPrefix(r.path, "/"+below+"/") {
			continue
		}
		found = true
		b.WriteString("<dt>" + html.EscapeString(r.path) + "</dt><dd>" + html.EscapeString(r.text) + "</dd>\n")
	}
	if !found {
		return plain(c, http.StatusBadRequest, "No help available for '/"+group+"'.\n")
	}
	b.WriteString("</dl></body></html>\n")
	return answer(c, "text/html", []byte(b.String()))
}

type pendingJSON struct {
	Operation string            `json:"operation"`
	Args      map[string]string `json:"args"`
}

// pending is GET /containerizer/debug: containers that are being made, or being ended. It
// is for what hangs.
func (s *server) pending(c echo.Context) (any, error) {
	v, err := s.see(c.Request().Context())
	if err != nil {
		return nil, err
	}
	out := []pendingJSON{}
	add := func(operation, id string) {
		out = append(out, pendingJSON{operation, map[string]string{"containerId": id}})
	}
	for _, f := range v.Frameworks {
		for _, e := range f.Executors {
			switch e.Phase {
			case "LAUNCHING":
				add("launch", string(e.Container))
			case "TERMINATING":
				add("destroy", string(e.Container))
			}
			for _, n := range e.Nested {
				if n.PID == 0 {
					add("launch", string(n.Container))
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b pendingJSON) int { return strings.Compare(a.Args["containerId"], b.Args["containerId"]) })
	return map[string]any{"pending": out}, nil
}
