package zdd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is a scripted Marathon with a load balancer: instances run at once, and a task
// that the merged group drains has no requests.
type world struct {
	*httptest.Server
	mu    sync.Mutex // guards the rest
	apps  map[string]app
	calls []string
	rows  func() string // of the statistics, after its head
	pids  string
	fail  map[string]int // status by call
}

const csvHead = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,\n"

func newWorld(t *testing.T) *world {
	w := &world{apps: map[string]app{}, pids: "1 2\n", fail: map[string]int{}, rows: func() string { return "" }}
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) any) {
		mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
			w.mu.Lock()
			defer w.mu.Unlock()
			call := r.Method + " " + r.URL.Path
			if r.Method != "GET" {
				b, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(b))
				text := call
				if r.Method != "POST" || !strings.HasSuffix(r.URL.Path, "apps") {
					text += " " + r.URL.RawQuery + string(b)
				}
				w.calls = append(w.calls, text)
			}
			if code := w.fail[call]; code != 0 {
				http.Error(rw, "no", code)
				return
			}
			_ = json.NewEncoder(rw).Encode(f(r))
		})
	}
	body := func(r *http.Request) app {
		b, _ := io.ReadAll(r.Body)
		a, err := readApp(b)
		if err != nil {
			t.Error(err)
		}
		return a
	}
	handle("GET /v2/apps", func(*http.Request) any {
		var all []app
		for _, a := range w.apps {
			all = append(all, a)
		}
		return map[string]any{"apps": all}
	})
	handle("POST /v2/apps", func(r *http.Request) any {
		a := body(r)
		w.apps[a.id()] = a
		w.run(a, a.instances())
		return a
	})
	handle("GET /v2/apps/{id}", func(r *http.Request) any { return map[string]any{"app": w.apps["/"+r.PathValue("id")]} })
	handle("PUT /v2/apps/{id}", func(r *http.Request) any {
		a := w.apps["/"+r.PathValue("id")]
		w.run(a, body(r).instances())
		return map[string]any{}
	})
	handle("DELETE /v2/apps/{id}", func(r *http.Request) any { delete(w.apps, "/"+r.PathValue("id")); return map[string]any{} })
	handle("POST /v2/tasks/delete", func(r *http.Request) any {
		ids, _ := body(r)["ids"].([]any)
		for _, a := range w.apps {
			var left []any
			for _, k := range a["tasks"].([]any) {
				gone := false
				for _, id := range ids {
					gone = gone || k.(map[string]any)["id"] == id
				}
				if !gone {
					left = append(left, k)
				}
			}
			a["tasks"], a["instances"] = append([]any{}, left...), len(left)
		}
		return map[string]any{}
	})
	mux.HandleFunc("GET /_haproxy_getpids", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, w.pids) })
	mux.HandleFunc("GET /haproxy", func(rw http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		fmt.Fprint(rw, csvHead+w.rows())
	})
	w.Server = httptest.NewServer(mux)
	t.Cleanup(w.Close)
	return w
}

// run gives an app n tasks.
func (w *world) run(a app, n int) {
	port := 31000
	if a.label(labelColour) == "green" {
		port = 32000
	}
	tasks := []any{}
	for i := range n {
		tasks = append(tasks, map[string]any{"id": fmt.Sprintf("%s.%d", a.id(), i), "host": "10.0.0.1", "ports": []any{port + i}, "state": "TASK_RUNNING"})
	}
	a["instances"], a["tasks"] = n, tasks
}

// balanced gives the rows of a load balancer that drains old tasks beyond the target.
func (w *world) balanced() string {
	var b strings.Builder
	drain := 0
	if g, b := w.apps["/web-green"], w.apps["/web-blue"]; g != nil && b != nil {
		drain = min(b.instances(), g.instances(), max(0, g.instances()+b.instances()-g.target()))
	}
	for _, colour := range []string{"green", "blue"} {
		a := w.apps["/web-"+colour]
		if a == nil {
			continue
		}
		for i, k := range a["tasks"].([]any) {
			status := "UP"
			if colour == "blue" && i < drain {
				status = "MAINT"
			}
			port, _ := whole(k.(map[string]any)["ports"].([]any)[0])
			fmt.Fprintf(&b, "web_10000,10_0_0_1_%d,0,0,0,0,,0,0,0,,0,,0,0,0,0,%s,1,\n", port, status)
		}
	}
	return b.String() + "web_10000,BACKEND,0,0,9,0,,0,0,0,,0,,0,0,0,0,UP,1,\nother,x,0,0,9,0,,0,0,0,,0,,0,0,0,0,MAINT,1,\n"
}

const webApp = `{"id": "web", "cmd": null, "instances": 3, "cpus": 0.25, "portDefinitions": [{"port": 10000}],
 "labels": {"HAPROXY_DEPLOYMENT_GROUP": "web", "HAPROXY_DEPLOYMENT_ALT_PORT": "10001"}}`

func options(w *world) Options {
	return Options{App: []byte(webApp), Marathon: w.URL, Balancer: w.URL, Force: true, Initial: 1, MaxWait: 10 * time.Second, StepDelay: time.Millisecond,
		Out: io.Discard, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC) }}
}

func code(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestFirstIsBlueOnItsOwnPort(t *testing.T) {
	w := newWorld(t)
	var out bytes.Buffer
	o := options(w)
	o.DryRun, o.Out = true, &out
	if err := Run(t.Context(), o); err != nil || len(w.calls) > 0 {
		t.Fatalf("a dry run: %v, calls %q", err, w.calls)
	}
	var got, want any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal([]byte(`{"id": "/web-blue", "instances": 3, "cpus": 0.25, "portDefinitions": [{"port": 10000}], "labels": {
		"HAPROXY_DEPLOYMENT_GROUP": "web", "HAPROXY_DEPLOYMENT_ALT_PORT": "10001", "HAPROXY_APP_ID": "web", "HAPROXY_0_PORT": "10000",
		"HAPROXY_DEPLOYMENT_COLOUR": "blue", "HAPROXY_DEPLOYMENT_TARGET_INSTANCES": "3", "HAPROXY_DEPLOYMENT_NEW_INSTANCES": "0",
		"HAPROXY_DEPLOYMENT_STARTED_AT": "2026-01-02T03:04:05.000678"}}`), &want)
	if g, w := text(got), text(want); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func text(v any) string { b, _ := json.MarshalIndent(v, "", " "); return string(b) }

// blue makes the first deployment.
func blue(t *testing.T, w *world) {
	t.Helper()
	if err := Run(t.Context(), options(w)); err != nil {
		t.Fatal(err)
	}
	w.calls = nil
	w.rows = w.balanced
}

func TestBlueBecomesGreen(t *testing.T) {
	w := newWorld(t)
	blue(t, w)
	hook := filepath.Join(t.TempDir(), "hook")
	said := hook + ".out"
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho \"$2\" >>"+said+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	o := options(w)
	o.Hook, o.Now = hook, func() time.Time { return time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC) }
	if err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"POST /v2/apps",
		`POST /v2/tasks/delete scale=true{"ids":["/web-blue.0"]}`, // one is new, so one old goes
		`PUT /v2/apps/web-green {"instances":2}`,
		`POST /v2/tasks/delete scale=true{"ids":["/web-blue.1"]}`,
		`PUT /v2/apps/web-green {"instances":3}`,
		`DELETE /v2/apps/web-blue `,
	}
	if text(w.calls) != text(want) {
		t.Errorf("calls\n%s\nwant\n%s", text(w.calls), text(want))
	}
	green := w.apps["/web-green"]
	if port, _ := green.servicePort(); port != 10001 || green.label(labelPort) != "10000" || green.target() != 3 || len(w.apps) != 1 {
		t.Errorf("the new app is %s", text(green))
	}
	if b, _ := os.ReadFile(said); string(b) != "[\"/web-blue.0\"]\n[\"/web-blue.1\"]\n" {
		t.Errorf("the hook heard %q", b)
	}
}

func TestHybridStaysAndIsCompleted(t *testing.T) {
	w := newWorld(t)
	blue(t, w)
	o := options(w)
	o.New, o.Now = 2, func() time.Time { return time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC) }
	// A hybrid deployment wants as many up as there are in the end.
	if err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if b, g := w.apps["/web-blue"], w.apps["/web-green"]; b == nil || g == nil || g.instances() != 2 || b.instances() != 1 {
		t.Fatalf("apps %s, want 1 blue and 2 green", text(w.apps))
	}
	if err := Run(t.Context(), options(w)); code(err) != Unknown || !strings.Contains(err.Error(), "--complete-cur") {
		t.Errorf("a third deployment: %v", err)
	}
	o.Current = true
	if err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if g := w.apps["/web-green"]; len(w.apps) != 1 || g.instances() != 3 {
		t.Errorf("after --complete-cur: %s", text(w.apps))
	}
}

// Requests that never end are waited for, but not for ever.
func TestMaxWait(t *testing.T) {
	w := newWorld(t)
	blue(t, w)
	w.rows = func() string { return strings.ReplaceAll(w.balanced(), ",0,0,0,0,,0,0,0,", ",0,0,7,0,,0,0,0,") }
	o := options(w)
	o.MaxWait = 20 * time.Millisecond
	if err := Run(t.Context(), o); err != nil || len(w.apps) != 1 {
		t.Errorf("%v, apps %s", err, text(w.apps))
	}
}

func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world, *Options)
		first  bool
		want   int
	}{
		"no id":           {func(_ *world, o *Options) { o.App = []byte(`{"labels": {}}`) }, true, BadApp},
		"no labels":       {func(_ *world, o *Options) { o.App = []byte(`{"id": "x"}`) }, true, BadApp},
		"no group":        {func(_ *world, o *Options) { o.App = []byte(`{"id": "x", "labels": {"a": "b"}}`) }, true, BadApp},
		"no port":         {func(_ *world, o *Options) { o.App = []byte(strings.Replace(webApp, "portDef", "xDef", 1)) }, true, BadApp},
		"no JSON":         {func(_ *world, o *Options) { o.App = []byte(`{`) }, true, BadApp},
		"complete-cur":    {func(_ *world, o *Options) { o.Current = true }, false, BadArgument},
		"complete-prev":   {func(_ *world, o *Options) { o.Previous = true }, true, BadArgument},
		"declined":        {func(_ *world, o *Options) { o.Force, o.Confirm = false, func(string) bool { return false } }, true, Declined},
		"marathon":        {func(w *world, _ *Options) { w.fail["GET /v2/apps"] = 500 }, true, BadMarathon},
		"create":          {func(w *world, _ *Options) { w.fail["POST /v2/apps"] = 409 }, true, NotCreated},
		"kill":            {func(w *world, _ *Options) { w.fail["POST /v2/tasks/delete"] = 500 }, false, NotScaled},
		"scale":           {func(w *world, _ *Options) { w.fail["PUT /v2/apps/web-green"] = 409 }, false, NotScaled},
		"delete":          {func(w *world, _ *Options) { w.fail["DELETE /v2/apps/web-blue"] = 500 }, false, NotDeleted},
		"balancer":        {func(_ *world, o *Options) { o.Balancer = "http://127.0.0.1:1" }, false, BadBalancer},
		"hook":            {func(_ *world, o *Options) { o.Hook = "/bin/false" }, false, Unknown},
		"marathon's flag": {func(_ *world, o *Options) { o.Marathon = "x" }, true, BadArgument},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if !c.first {
				blue(t, w)
			}
			o := options(w)
			c.change(w, &o)
			if err := Run(t.Context(), o); code(err) != c.want {
				t.Errorf("%v has code %d, want %d", err, code(err), c.want)
			}
		})
	}
}

func TestGrow(t *testing.T) {
	for _, c := range []struct {
		has, target, fresh, old, linear int
		hybrid                          bool
		want                            int
	}{
		{10, 30, 0, 30, 0, false, 15}, {10, 30, 0, 8, 0, false, 30}, {1, 3, 0, 3, 0, false, 2}, {2, 3, 0, 3, 0, false, 3},
		{10, 30, 15, 20, 0, true, 15}, {1, 30, 15, 29, 0, true, 2}, {10, 30, 0, 2, 4, false, 14}, {29, 30, 0, 2, 4, false, 30},
	} {
		next := app{"instances": c.has, "labels": map[string]any{labelTarget: fmt.Sprint(c.target), labelNew: fmt.Sprint(c.fresh)}}
		if got, more := grow(next, app{"instances": c.old}, c.linear, c.hybrid); got != c.want || !more {
			t.Errorf("%+v: %d %v", c, got, more)
		}
	}
	if _, more := grow(app{"instances": 3, "labels": map[string]any{labelTarget: "3"}}, app{}, 0, false); more {
		t.Error("grows beyond its target")
	}
}
