package rest

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
)

// The tests whose names begin with TestConformance go through the contract table by table:
// the numbers are the section of marathon.md, the subtests its rows.

const sleeper = `{"id":"/a","cmd":"sleep 9"}`

// front is a process that does not lead, before the stack.
func front(t *testing.T, self, leader string, wait time.Duration) *stack {
	t.Helper()
	srv := httptest.NewServer(New(Config{Leadership: standby{leader}, Self: self, LeaderWait: wait, Rules: app.Rules{}}))
	t.Cleanup(srv.Close)
	return &stack{t: t, server: srv}
}

func TestConformance_1_1_Transport(t *testing.T) {
	t.Run("GET / leads to the page", func(t *testing.T) {
		if a := newStack(t).want(302, "GET", "/", ""); a.header.Get("Location") != "/ui/" {
			t.Errorf("location %q", a.header.Get("Location"))
		}
	})
	t.Run("headers of the leader", func(t *testing.T) {
		s := newStack(t)
		for _, path := range []string{"/v2/apps", "/ping", "/v2/none", "/metrics"} {
			a := s.call("GET", path, "")
			for name, want := range map[string]string{"X-Marathon-Leader": "http://leader:8080", "Pragma": "no-cache", "Expires": "0",
				"Cache-Control": "no-cache, no-store, must-revalidate", "X-Frame-Options": "DENY", "X-XSS-Protection": "1; mode=block"} {
				if got := a.header.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", path, name, got, want)
				}
			}
		}
	})
	t.Run("standby forwards", func(t *testing.T) {
		var seen *http.Request
		leader := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = r.Clone(r.Context())
			w.Header().Set("X-Of-The-Leader", "yes")
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write([]byte(`{"message":"body"}`))
		}))
		defer leader.Close()
		via := front(t, "standby:1", strings.TrimPrefix(leader.URL, "http://"), time.Second)
		a := via.call("PUT", "/v2/apps//x?force=true", `{"a":1}`, "X-Forwarded-For", "10.9.9.9", "X-Other", "kept")
		if a.status != http.StatusTeapot || a.text != `{"message":"body"}` || a.header.Get("X-Of-The-Leader") != "yes" || a.header.Get("X-Marathon-Via") != "1.1 standby:1" {
			t.Errorf("answer %+v", a)
		}
		if seen.URL.RequestURI() != "/v2/apps//x?force=true" || seen.Header.Get("X-Other") != "kept" || seen.Header.Get("X-Marathon-Via") != "1.1 standby:1" ||
			seen.Header.Get("X-Forwarded-For") != "10.9.9.9, 127.0.0.1" || seen.Host == via.server.Listener.Addr().String() {
			t.Errorf("forwarded %s %v for host %s", seen.URL.RequestURI(), seen.Header, seen.Host)
		}
		for _, path := range []string{"/ping", "/metrics", "/metrics/prometheus", "/v2/info", "/ui/"} {
			if a := via.call("GET", path, ""); a.status != http.StatusTeapot {
				t.Errorf("%s was answered by the standby: %d", path, a.status)
			}
		}
	})
	t.Run("standby redirects event streams", func(t *testing.T) {
		via := front(t, "standby:1", "leader:8080", time.Second)
		a := via.want(302, "GET", "/v2/events?event_type=a&event_type=b", "", "Accept", "text/event-stream")
		if a.header.Get("Location") != "http://leader:8080/v2/events?event_type=a&event_type=b" {
			t.Errorf("location %q", a.header.Get("Location"))
		}
	})
	t.Run("loop", func(t *testing.T) {
		front(t, "standby:1", "127.0.0.1:1", time.Second).want(502, "GET", "/ping", "", "X-Marathon-Via", "1.1 standby:1")
	})
	t.Run("leader refuses the connection", func(t *testing.T) {
		front(t, "standby:1", "127.0.0.1:1", time.Second).want(502, "GET", "/ping", "")
	})
	t.Run("no leader", func(t *testing.T) {
		front(t, "standby:1", "", time.Millisecond).want(502, "GET", "/v2/apps", "").has(t, "message", `"Could not determine the current leader"`)
	})
	t.Run("cross-origin requests", func(t *testing.T) {
		s := newStackWith(t, func(c *Config) { c.Origins = []string{"http://one", "http://two"} })
		a := s.want(200, "GET", "/v2/apps", "", "Access-Control-Request-Headers", "X-Mine")
		for name, want := range map[string]string{"Access-Control-Allow-Origin": "http://two", "Access-Control-Allow-Headers": "X-Mine",
			"Access-Control-Allow-Methods": "GET, HEAD, OPTIONS", "Access-Control-Max-Age": "86400"} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if a := newStack(t).want(200, "GET", "/v2/apps", ""); a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Error("CORS headers without the flag")
		}
	})
	t.Run("media types and methods", func(t *testing.T) {
		s := newStack(t)
		s.want(415, "POST", "/v2/apps", sleeper, "Content-Type", "text/plain")
		s.want(406, "GET", "/v2/apps", "", "Accept", "image/png")
		s.want(405, "DELETE", "/v2/apps", "").has(t, "message", `"Method Not Allowed"`)
	})
	t.Run("slashes", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/foo/bar","cmd":"sleep 9"}`)
		for _, path := range []string{"/v2/apps/foo/bar", "/v2/apps//foo/bar", "/v2/apps//foo//bar/", "/v2/apps/foo/bar/"} {
			s.want(200, "GET", path, "").has(t, "app.id", `"/foo/bar"`)
		}
		for _, path := range []string{"/v2/groups//versions", "/v2/groups/versions"} {
			if list, ok := s.want(200, "GET", path, "").json.([]any); !ok || len(list) == 0 {
				t.Errorf("%s gives no list of versions", path)
			}
		}
	})
	t.Run("GET with a body", func(t *testing.T) {
		s := newStack(t)
		s.want(200, "GET", "/v2/apps", `""`, "Content-Type", "application/json")
		s.want(404, "DELETE", "/v2/apps/none", `""`, "Content-Type", "application/json")
	})
}

func TestConformance_1_2_ErrorShapes(t *testing.T) {
	for _, c := range []struct {
		row, method, path, body string
		status                  int
		want                    []string
	}{
		{"broken rule", "POST", "/v2/apps", `{"id":"/y","cmd":"sleep 1","upgradeStrategy":{"minimumHealthCapacity":2}}`, 422,
			[]string{"message", `"Object is not valid"`, "details", `[{"path":"/upgradeStrategy/minimumHealthCapacity","errors":["got 2.0, expected between 0.0 and 1.0"]}]`}},
		{"path of a list's element", "POST", "/v2/apps", `{"id":"/y","cmd":"sleep 1","networks":[{"mode":"container/bridge"}],"container":{"type":"MESOS","portMappings":[{"name":"UPPER"}]}}`, 422,
			[]string{"details.0.path", `"/container/portMappings(0)/name"`}},
		{"several rules on one path", "POST", "/v2/apps", `{"id":"/y","cmd":"sleep 1","role":"x y"}`, 422, []string{"details.0.path", `"/role"`, "details.1", "null"}},
		{"the object as a whole", "POST", "/v2/apps", `{"id":"/y"}`, 422,
			[]string{"details", `[{"path":"/","errors":["AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."]}]`}},
		{"missing field", "POST", "/v2/apps", `{"cmd":"sleep 1"}`, 422, []string{"message", `"Invalid JSON"`, "details", `[{"path":"/id","errors":["error.path.missing"]}]`}},
		{"not a string", "POST", "/v2/apps", `{"id":7,"cmd":"sleep 1"}`, 422, []string{"message", `"Invalid JSON"`, "details", `[{"path":"/id","errors":["error.expected.jsstring"]}]`}},
		{"not a number", "POST", "/v2/apps", `{"id":"/y","cpus":"1"}`, 422, []string{"details", `[{"path":"/cpus","errors":["error.expected.jsnumber"]}]`}},
		{"not an object", "POST", "/v2/apps", `{"id":"/y","container":[]}`, 422, []string{"details", `[{"path":"/container","errors":["error.expected.jsobject"]}]`}},
		{"not an array", "POST", "/v2/apps", `{"id":"/y","args":{}}`, 422, []string{"details", `[{"path":"/args","errors":["error.expected.jsarray"]}]`}},
		{"not a boolean", "POST", "/v2/apps", `{"id":"/y","requirePorts":1}`, 422, []string{"details", `[{"path":"/requirePorts","errors":["error.expected.jsboolean"]}]`}},
		{"no body", "POST", "/v2/apps", "", 400, []string{"message", `"Please specify data in JSON format"`}},
		{"illegal argument", "GET", "/v2/apps/a/versions/yesterday", "", 422, []string{"details", "null"}},
		{"bad label selector", "GET", "/v2/apps?label=a%20b", "", 422, []string{"details", "null"}},
		{"bad request of a resource", "DELETE", "/v2/apps/a/tasks?scale=true&wipe=true", "", 400, []string{"message", `"You cannot use scale and wipe at the same time."`}},
		{"name conflict", "POST", "/v2/apps", sleeper, 409, []string{"message", `"An app with id [/a] already exists."`, "deployments", "null"}},
		{"unknown app", "GET", "/v2/apps/x", "", 404, []string{"message", `"App '/x' does not exist"`}},
		{"unknown group", "GET", "/v2/groups/x", "", 404, []string{"message", `"Group '/x' does not exist"`}},
		{"unknown version", "GET", "/v2/apps/a/versions/2001-01-01T00:00:00.000Z", "", 404, []string{"message", `"App '/a' does not exist in version 2001-01-01T00:00:00.000Z"`}},
		{"unknown version of a group", "GET", "/v2/groups/versions/2001-01-01T00:00:00.000Z", "", 404, []string{"message", `"Group '/' does not exist in version 2001-01-01T00:00:00.000Z"`}},
		{"unknown deployment", "DELETE", "/v2/deployments/x", "", 404, []string{"message", `"DeploymentPlan x does not exist"`}},
		{"unknown task", "DELETE", "/v2/apps/a/tasks/a.instance-00000000-0000-4000-8000-000000000099._app.1", "", 404,
			[]string{"message", `"Task 'a.instance-00000000-0000-4000-8000-000000000099._app.1' does not exist"`}},
		{"unknown route", "GET", "/v2/ping", "", 404, []string{"message", `"URI not found"`}},
		{"legacy and present networking mixed", "POST", "/v2/apps", `{"id":"/y","cmd":"sleep 1","ipAddress":{},"networks":[{"mode":"host"}]}`, 422, []string{"message", `"Object is not valid"`}},
	} {
		t.Run(c.row, func(t *testing.T) {
			s := newStack(t)
			s.want(201, "POST", "/v2/apps", sleeper)
			s.want(c.status, c.method, c.path, c.body).has(t, c.want...)
		})
	}
	t.Run("broken JSON", func(t *testing.T) {
		a := newStack(t).want(400, "POST", "/v2/apps", `{"id":`)
		a.has(t, "message", `"Invalid JSON"`)
		if d, ok := a.at("details").(string); !ok || d == "" {
			t.Errorf("details are %v, want a text", a.at("details"))
		}
	})
	t.Run("locked", func(t *testing.T) {
		s := newStack(t)
		id := s.want(201, "POST", "/v2/apps", sleeper).at("deployments.0.id").(string)
		s.want(409, "PUT", "/v2/apps/a", `{"instances":2}`).has(t, "deployments", `[{"id":"`+id+`"}]`,
			"message", `"App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'."`)
	})
	t.Run("too many deployments", func(t *testing.T) {
		s := newStack(t)
		for i := range 100 {
			s.want(201, "POST", "/v2/apps", `{"id":"/a`+string(rune('a'+i/26))+string(rune('a'+i%26))+`","cmd":"sleep 9"}`)
		}
		a := s.want(403, "POST", "/v2/apps?force=true", sleeper)
		if text, _ := a.at("message").(string); !strings.Contains(text, "--max_running_deployments") {
			t.Errorf("message %q", text)
		}
	})
}

func TestConformance_1_3_JSONRules(t *testing.T) {
	t.Run("timestamps", func(t *testing.T) {
		s := newStack(t)
		v := s.want(201, "POST", "/v2/apps", sleeper).at("version").(string)
		if v != "2021-01-01T00:00:00.000Z" {
			t.Errorf("version %s", v)
		}
		for _, same := range []string{"2021-01-01T00:00:00.000Z", "2021-01-01T00:00:00Z", "2021-01-01T01:00:00.0009+01:00"} {
			s.want(200, "GET", "/v2/apps/a/versions/"+same, "")
		}
	})
	t.Run("no null but in info", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", sleeper)
		s.run()
		for _, path := range []string{"/v2/apps?embed=apps.tasks&embed=apps.readiness&embed=apps.taskStats", "/v2/apps/a", "/v2/groups", "/v2/tasks", "/v2/queue", "/v2/deployments"} {
			if text := s.want(200, "GET", path, "").text; strings.Contains(text, "null") {
				t.Errorf("%s: %s", path, text)
			}
		}
		s.want(200, "GET", "/v2/info", "").has(t, "marathon_config", `{"master":"zk://x","webui_url":null}`)
	})
	t.Run("null is absent", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 9","ports":null,"dependencies":null,"env":{"A":"1"},"container":null}`).
			has(t, "portDefinitions.0.name", `"default"`, "env.A", `"1"`)
		s.want(200, "PUT", "/v2/apps/a?force=true", `{"env":null,"cmd":null}`)
		s.want(200, "GET", "/v2/apps/a", "").has(t, "app.env.A", `"1"`, "app.cmd", `"sleep 9"`)
	})
	t.Run("unknown keys and read-modify-write", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 9","nobody":{"knows":1}}`).has(t, "nobody", "null")
		s.run()
		before := s.want(200, "GET", "/v2/apps/a", "")
		body, err := json.Marshal(before.at("app"))
		if err != nil {
			t.Fatal(err)
		}
		s.want(422, "PUT", "/v2/apps/a", string(body)) // version belongs to roll-backs
		whole := before.at("app").(map[string]any)
		version := before.at("app.version").(string)
		delete(whole, "version")
		body, _ = json.Marshal(whole)
		s.want(200, "PUT", "/v2/apps/a", string(body))
		s.want(200, "GET", "/v2/apps/a", "").has(t, "app.version", `"`+version+`"`, "app.deployments", "[]")
	})
	t.Run("empty collections", func(t *testing.T) {
		a := newStack(t).want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 9","labels":{},"env":{},"constraints":[],"fetch":[],"dependencies":[]}`)
		a.has(t, "labels", "{}", "env", "null", "constraints", "null", "fetch", "null", "dependencies", "null", "networks", `[{"mode":"host"}]`)
	})
	t.Run("numbers", func(t *testing.T) {
		text := newStack(t).want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 9","cpus":0.1,"mem":128.0}`).text
		for _, want := range []string{`"cpus":0.1,`, `"mem":128,`, `"disk":0,`, `"gpus":0,`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is not in %s", want, text)
			}
		}
	})
	t.Run("version in a body", func(t *testing.T) {
		s := newStack(t)
		s.want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 9","version":"1999-01-01T00:00:00.000Z"}`).has(t, "version", `"2021-01-01T00:00:00.000Z"`)
		s.want(200, "PUT", "/v2/apps/a?partialUpdate=false&force=true", `{"cmd":"sleep 9","version":"1999-01-01T00:00:00.000Z"}`)
		s.want(422, "PUT", "/v2/apps/a", `{"cmd":"sleep 9","version":"1999-01-01T00:00:00.000Z"}`).
			has(t, "details.0.errors.0", `"The 'version' field may only be combined with the 'id' field."`)
		s.want(422, "PATCH", "/v2/apps/a", `{"cmd":"sleep 9","version":"1999-01-01T00:00:00.000Z"}`)
	})
	t.Run("set-like lists", func(t *testing.T) {
		a := newStack(t).want(201, "POST", "/v2/apps", `{"id":"/a","cmd":"sleep 9","constraints":[["hostname","UNIQUE"],["hostname","unique"]],"dependencies":["/b","b"],"acceptedResourceRoles":["*","*"]}`)
		a.has(t, "constraints", `[["hostname","UNIQUE"]]`, "dependencies", `["/b"]`, "acceptedResourceRoles", `["*"]`)
	})
}

// readFrame gives one frame of an event stream, without its ends of lines.
func readFrame(t *testing.T, r *bufio.Reader) (event, data string) {
	t.Helper()
	for {
		head, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if head == "\r\n" {
			continue // a heartbeat
		}
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if end, err := r.ReadString('\n'); err != nil || end != "\r\n" {
			t.Fatalf("frame %q %q ends with %q, %v", head, line, end, err)
		}
		return strings.TrimSuffix(strings.TrimPrefix(head, "event: "), "\r\n"), strings.TrimSuffix(strings.TrimPrefix(line, "data: "), "\r\n")
	}
}
