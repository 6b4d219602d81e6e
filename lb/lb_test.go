package lb

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/lb/labels"
)

// marathon is a scripted Marathon: one listing and one event stream.
type marathon struct {
	*httptest.Server
	mu     sync.Mutex // guards the rest
	apps   []labels.App
	events chan struct{} // closed and replaced at each change
	next   string        // the event at the next change; "" is one that says nothing

	streams atomic.Int64    // that were opened
	names   map[string]bool // under which load balancers answer drains
	drained []string        // what they answered
}

func newMarathon(t *testing.T) *marathon {
	m := &marathon{events: make(chan struct{}), names: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/apps", func(w http.ResponseWriter, _ *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"apps": m.apps})
	})
	mux.HandleFunc("GET /v2/apps/{id...}", func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, a := range m.apps {
			if a.ID == "/"+r.PathValue("id") {
				_ = json.NewEncoder(w).Encode(map[string]any{"app": a})
				return
			}
		}
		http.NotFound(w, r)
	})
	mux.HandleFunc("POST /v2/events/drained", m.takeReport)
	mux.HandleFunc("GET /v2/events", func(w http.ResponseWriter, r *http.Request) {
		m.streams.Add(1)
		m.mu.Lock()
		m.names[r.URL.Query().Get("drain")] = true
		m.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			m.mu.Lock()
			next := m.events
			m.mu.Unlock()
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-next:
				m.mu.Lock()
				event := m.next
				m.mu.Unlock()
				if event == "" {
					event = "event: status_update_event\r\ndata: {}\r\n\r\n"
				}
				fmt.Fprint(w, event)
			}
		}
	})
	m.Server = httptest.NewServer(mux)
	t.Cleanup(func() { m.CloseClientConnections(); m.Close() })
	return m
}

func (m *marathon) set(apps ...labels.App) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apps, m.next = apps, ""
	close(m.events)
	m.events = make(chan struct{})
}

// backend is an HTTP server that answers with its name, as a task would.
func backend(t *testing.T, name string) labels.Task {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
	t.Cleanup(s.Close)
	return labels.Task{ID: name, Host: "127.0.0.1", State: "TASK_RUNNING", Ports: []int{s.Listener.Addr().(*net.TCPAddr).Port}}
}

// rig is a running load balancer in front of a scripted Marathon.
type rig struct {
	*LB
	m           *marathon
	http, stats string
	servicePort int
	stop        func() error
}

func testConfig(m *marathon, dir string, ports []int) Config {
	cfg := Defaults()
	cfg.Marathon, cfg.Groups, cfg.BindAddr = []string{m.URL}, []string{"external"}, "127.0.0.1"
	cfg.HTTPPort, cfg.StatsPort, cfg.HTTPSPort, cfg.AppIDPort = ports[0], ports[1], 0, 0
	cfg.ConfigPath, cfg.RunDir = filepath.Join(dir, "haproxy.cfg"), dir
	cfg.KeepEmpty, cfg.ReloadInterval, cfg.CertInterval = true, 10*time.Millisecond, 50*time.Millisecond
	return cfg
}

func start(t *testing.T, m *marathon, dir string, keepHAProxy bool, ports []int) *rig {
	t.Helper()
	cfg := testConfig(m, dir, ports)
	cfg.StopHAProxy = !keepHAProxy
	return startWith(t, m, cfg, ports)
}

func startWith(t *testing.T, m *marathon, cfg Config, ports []int) *rig {
	t.Helper()
	b, err := New(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &rig{LB: b, m: m, http: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), stats: fmt.Sprintf("http://127.0.0.1:%d", ports[1]), servicePort: ports[2], stop: stop}
}

// shortDir gives a folder whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (r *rig) app(tasks ...labels.Task) labels.App {
	return labels.App{ID: "/web", PortDefinitions: []labels.PortDefinition{{Port: r.servicePort}}, Tasks: tasks,
		Labels: map[string]string{"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "web.example.com"}}
}

func get(url, host string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Host, req.Close = host, true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", res.Status)
	}
	return string(b), err
}

// answering waits until exactly the named tasks answer on the virtual host.
func (r *rig) answering(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		seen := map[string]bool{}
		var err error
		for range 8 {
			var name string
			if name, err = get(r.http, "web.example.com"); err != nil {
				break
			}
			seen[name] = true
		}
		got := []string{}
		for n := range seen {
			got = append(got, n)
		}
		slices.Sort(got)
		if err == nil && slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("answered by %v, want %v; %v; status %+v", got, want, err, r.Status())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// problems waits until n ports are reported, and gives them.
func (r *rig) problems(t *testing.T, n int) []string {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		got := r.Status().Problems
		if len(got) == n {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("problems %q, want %d", got, n)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestServersFollowTasksWithoutAReload(t *testing.T) {
	m := newMarathon(t)
	r := start(t, m, shortDir(t), false, freeport.Take(t, 3))
	a, b, c := backend(t, "a"), backend(t, "b"), backend(t, "c")
	m.set(r.app(a))
	r.answering(t, "a")
	reloads, pids := r.Status().Reloads, r.PIDs()
	m.set(r.app(a, b))
	r.answering(t, "a", "b")
	m.set(r.app(b, c))
	r.answering(t, "b", "c")
	m.set(r.app(a, c)) // a comes back
	r.answering(t, "a", "c")
	m.set(r.app())
	m.set(r.app(b))
	r.answering(t, "b")
	if now := r.Status().Reloads; now != reloads {
		t.Errorf("%d reloads became %d", reloads, now)
	}
	// The own frontend and the stats listener answer too.
	if got, err := get(fmt.Sprintf("http://127.0.0.1:%d", r.servicePort), ""); err != nil || got != "b" {
		t.Errorf("service port: %q %v", got, err)
	}
	for path, want := range map[string]string{
		"/_haproxy_health_check": "", "/_haproxy_getconfig": "backend web_" + strconv.Itoa(r.servicePort), "/haproxy?stats;csv": "web_",
		"/metrics": "haproxy_process", "/_stoa/status": `"servers":1`, "/_stoa/metrics": "stoa_lb_services 1", "/_haproxy_getpids": strconv.Itoa(pids[0]),
	} {
		if got, err := get(r.stats+path, ""); err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %v, want %q in %.200s", path, err, want, got)
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for _, p := range pids {
		if syscall.Kill(p, 0) == nil {
			t.Errorf("HAProxy process %d outlived Run", p)
		}
	}
}

func TestBadAppDoesNotStopTheOthers(t *testing.T) {
	m := newMarathon(t)
	r := start(t, m, shortDir(t), false, freeport.Take(t, 3))
	a := backend(t, "a")
	bad := labels.App{ID: "/bad", PortDefinitions: []labels.PortDefinition{{Port: r.servicePort + 1}}, Tasks: []labels.Task{a},
		Labels: map[string]string{"HAPROXY_GROUP": "external", "HAPROXY_0_BIND_OPTIONS": "nonsense"}}
	m.set(bad, r.app(a))
	r.answering(t, "a")
	if p := r.problems(t, 1); !strings.Contains(p[0], "/bad") || !strings.Contains(p[0], "nonsense") {
		t.Errorf("problems %q, want one that names /bad and the word", p)
	}
	b := backend(t, "b")
	m.set(bad, r.app(b))
	r.answering(t, "b")
	r.problems(t, 1)
}

// A port that something else holds costs its own app only, and comes back when it is free.
func TestBusyPort(t *testing.T) {
	m := newMarathon(t)
	r := start(t, m, shortDir(t), false, freeport.Take(t, 3))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := backend(t, "a")
	taken := labels.App{ID: "/taken", PortDefinitions: []labels.PortDefinition{{Port: l.Addr().(*net.TCPAddr).Port}}, Tasks: []labels.Task{a}, Labels: map[string]string{"HAPROXY_GROUP": "external"}}
	m.set(taken, r.app(a))
	r.answering(t, "a")
	if p := r.problems(t, 1); !strings.Contains(p[0], "in use") {
		t.Errorf("problems %q, want one of the port in use", p)
	}
	// No event tells that it is free; it is found out.
	l.Close()
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := get("http://"+l.Addr().String(), "")
		if err == nil && got == "a" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the freed port: %q %v", got, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.problems(t, 0)
}

func TestDeadHAProxyIsStartedAgain(t *testing.T) {
	m := newMarathon(t)
	r := start(t, m, shortDir(t), false, freeport.Take(t, 3))
	m.set(r.app(backend(t, "a")))
	r.answering(t, "a")
	file, err := os.ReadFile(r.cfg.ConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	for _, p := range r.PIDs() {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
	r.answering(t, "a")
	t.Logf("answers again after %v", time.Since(killed))
	if now, err := os.ReadFile(r.cfg.ConfigPath); err != nil || string(now) != string(file) {
		t.Errorf("another configuration than before, %v", err)
	}
}

// Traffic does not depend on the controller; the next one adopts the process.
func TestNextControllerAdoptsHAProxy(t *testing.T) {
	m, dir, ports := newMarathon(t), shortDir(t), freeport.Take(t, 3)
	first := start(t, m, dir, true, ports)
	m.set(first.app(backend(t, "a")))
	first.answering(t, "a")
	master := first.PIDs()[0]
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	first.answering(t, "a")
	second := start(t, m, dir, false, ports)
	m.set(second.app(backend(t, "b")))
	second.answering(t, "b")
	if got := second.PIDs()[0]; got != master {
		t.Errorf("master %d was replaced by %d", master, got)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for name, change := range map[string]func(*Config){
		"--group":    func(c *Config) { c.Groups = nil },
		"--marathon": func(c *Config) { c.Marathon = []string{"localhost:8080"} },
		"absolute":   func(c *Config) { c.RunDir = "run" },
		"socket":     func(c *Config) { c.RunDir = "/" + strings.Repeat("x", 120) },
	} {
		cfg := Defaults()
		cfg.Groups = []string{"*"}
		change(&cfg)
		if _, err := New(cfg, log); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not name %q", err, name)
		}
	}
	cfg := Defaults()
	cfg.Groups, cfg.HAProxyPath = []string{"*"}, "/nowhere/haproxy"
	b, err := New(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "apt-get install haproxy") {
		t.Errorf("without a binary: %v, want the cure", err)
	}
}
