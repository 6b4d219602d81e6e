package follow

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
)

// marathon is a scripted Marathon that counts what it is asked.
type marathon struct {
	*httptest.Server
	mu      sync.Mutex // guards the rest
	apps    map[string]labels.App
	full    int
	single  int
	streams []chan string // an event each, or "" to cut
}

func newMarathon(t *testing.T) *marathon {
	m := &marathon{apps: map[string]labels.App{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/apps", func(w http.ResponseWriter, _ *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.full++
		var all []labels.App
		for _, a := range m.apps {
			all = append(all, a)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"apps": all})
	})
	mux.HandleFunc("GET /v2/apps/{id...}", func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.single++
		a, ok := m.apps["/"+r.PathValue("id")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"app": a})
	})
	mux.HandleFunc("GET /v2/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		out := make(chan string, 100)
		m.mu.Lock()
		m.streams = append(m.streams, out)
		m.mu.Unlock()
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case e := <-out:
				if e == "" {
					return
				}
				fmt.Fprint(w, e)
				_ = http.NewResponseController(w).Flush()
			}
		}
	})
	m.Server = httptest.NewServer(mux)
	t.Cleanup(func() { m.CloseClientConnections(); m.Close() })
	return m
}

func (m *marathon) put(a labels.App) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apps[a.ID] = a
}

// say sends an event on the newest stream.
func (m *marathon) say(kind, data string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.streams[len(m.streams)-1] <- "event: " + kind + "\r\ndata: " + data + "\r\n\r\n"
}

func (m *marathon) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.streams[len(m.streams)-1] <- ""
}

func (m *marathon) asked() (full, single int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.full, m.single
}

// watch runs a Follower and gives the newest state on demand.
type watch struct {
	mu   sync.Mutex // guards apps and n
	apps []labels.App
	n    int
	f    *Follower
}

func follow(t *testing.T, m *marathon) *watch {
	f, err := New(Config{URLs: []string{m.URL}, MaxBackoff: time.Second, Resync: time.Hour, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{f: f}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.Run(ctx, func(apps []labels.App) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.apps, w.n = apps, w.n+1
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// until waits for a state that ok takes.
func (w *watch) until(t *testing.T, what string, ok func([]labels.App) bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		w.mu.Lock()
		apps := w.apps
		w.mu.Unlock()
		if ok(apps) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not reached, apps are %+v", what, apps)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func state(task string) func([]labels.App) string {
	return func(apps []labels.App) string {
		for _, a := range apps {
			for _, k := range a.Tasks {
				if k.ID == task {
					return k.State
				}
			}
		}
		return ""
	}
}

func is(task, want string) func([]labels.App) bool {
	return func(apps []labels.App) bool { return state(task)(apps) == want }
}

func TestEventsCostOneAppEach(t *testing.T) {
	m := newMarathon(t)
	run := labels.Task{ID: "web.instance-1._app.1", State: "TASK_RUNNING", Host: "a"}
	m.put(labels.App{ID: "/web", Tasks: []labels.Task{run}})
	m.put(labels.App{ID: "/other"})
	w := follow(t, m)
	w.until(t, "listed", is(run.ID, "TASK_RUNNING"))
	w.until(t, "connected", func([]labels.App) bool { return w.f.State().Connected })
	// The listing that follows the connect.
	w.until(t, "listed again", func([]labels.App) bool { full, _ := m.asked(); return full >= 2 })
	full, _ := m.asked()

	// A task that is told to die is out at once and stays out, although the listing lags.
	m.say("unhealthy_instance_kill_event", `{"appId":"/web","taskId":"","instanceId":"web.instance-1"}`)
	w.until(t, "killed", is(run.ID, "TASK_KILLING"))
	w.until(t, "fetched", func([]labels.App) bool { _, n := m.asked(); return n >= 1 })
	w.until(t, "still killed", is(run.ID, "TASK_KILLING"))

	// A new task is known from its event alone; then the app is fetched.
	m.say("status_update_event", `{"appId":"/web","taskId":"t2","taskStatus":"TASK_RUNNING","host":"b","ports":[1]}`)
	w.until(t, "new task", func([]labels.App) bool { _, n := m.asked(); return n >= 2 })

	m.say("app_terminated_event", `{"appId":"/other"}`)
	w.until(t, "app gone", func(apps []labels.App) bool { _, n := m.asked(); return n >= 3 })
	if now, _ := m.asked(); now != full {
		t.Errorf("%d full listings became %d", full, now)
	}
	// What cannot be read leads to a listing.
	m.say("status_update_event", `{"appId":7`)
	w.until(t, "listed for an unreadable event", func([]labels.App) bool { now, _ := m.asked(); return now > full })
}

func TestReconnectLists(t *testing.T) {
	m := newMarathon(t)
	m.put(labels.App{ID: "/web"})
	w := follow(t, m)
	w.until(t, "connected", func(apps []labels.App) bool { return w.f.State().Connected && len(apps) == 1 })
	m.put(labels.App{ID: "/missed"})
	m.cut()
	w.until(t, "what was missed", func(apps []labels.App) bool { return len(apps) == 2 })
}

// Events in any order, twice, or about nothing known change no more than they say.
func TestModel(t *testing.T) {
	now := time.Unix(0, 0)
	m := newModel()
	m.replace(now, []labels.App{{ID: "/web", Tasks: []labels.Task{{ID: "t1", State: "TASK_RUNNING"}}}})
	handed := m.list()
	steps := []struct {
		kind, data string
		changed    bool
	}{
		{"status_update_event", `{"appId":"/web","taskId":"t1","taskStatus":"TASK_RUNNING"}`, false},
		{"status_update_event", `{"appId":"/web","taskId":"t2","taskStatus":"TASK_STARTING"}`, true},
		{"status_update_event", `{"appId":"/web","taskId":"t2","taskStatus":"TASK_RUNNING"}`, true},
		{"status_update_event", `{"appId":"/web","taskId":"t1","taskStatus":"TASK_KILLING"}`, true},
		{"status_update_event", `{"appId":"/web","taskId":"t1","taskStatus":"TASK_KILLING"}`, false},
		{"status_update_event", `{"appId":"/gone","taskId":"t9","taskStatus":"TASK_RUNNING"}`, false},
		{"instance_changed_event", `{"runSpecId":"/web","instanceId":"web.instance-1","condition":"Running"}`, false},
		{"api_post_event", `{"appDefinition":{"id":"/web"}}`, false},
		{"group_change_success", `{"groupId":"/"}`, false},
		{"app_terminated_event", `{"appId":"/web"}`, true},
		{"app_terminated_event", `{"appId":"/web"}`, false},
	}
	for i, s := range steps {
		if got := m.apply(now, parse(s.kind, s.data)); got != s.changed {
			t.Errorf("step %d %s %s: changed %v, want %v", i, s.kind, s.data, got, s.changed)
		}
	}
	m.put(labels.App{ID: "/web", Tasks: []labels.Task{{ID: "t1", State: "TASK_RUNNING"}, {ID: "t2", State: "TASK_RUNNING"}}})
	if one, two := state("t1")(m.list()), state("t2")(m.list()); one != "TASK_KILLING" || two != "TASK_RUNNING" {
		t.Errorf("listed after the events: %s and %s, want only the first out of service", one, two)
	}
	if handed[0].Tasks[0].State != "TASK_RUNNING" {
		t.Error("a state that was handed out changed later")
	}
	if app := parse("api_post_event", `{"appDefinition":{"id":"/web"}}`).app(); app != "/web" {
		t.Errorf("app of api_post_event: %q", app)
	}
	// A told death is forgotten when the listing has had time to know.
	m.replace(now.Add(2*doomed), []labels.App{{ID: "/web", Tasks: []labels.Task{{ID: "t1", State: "TASK_RUNNING"}}}})
	if got := state("t1")(m.list()); got != "TASK_RUNNING" {
		t.Errorf("state %s", got)
	}
}

// A task that starts is not one that ends, and an instance's next task is not condemned
// with the one before.
func TestStartingTasksAreNotCondemned(t *testing.T) {
	now := time.Now()
	const first, second = "web.instance-1._app.1", "web.instance-1._app.2"
	listed := func(id string) []labels.App {
		return []labels.App{{ID: "/web", Tasks: []labels.Task{{ID: id, State: "TASK_RUNNING"}}}}
	}
	m := newModel()
	for _, status := range []string{"TASK_STAGING", "TASK_STARTING", "TASK_RUNNING"} {
		m.apply(now, parse("status_update_event", `{"appId":"/web","taskId":"`+first+`","instanceId":"web.instance-1","taskStatus":"`+status+`"}`))
	}
	m.replace(now, listed(first))
	if got := m.list()[0].Tasks[0].State; got != "TASK_RUNNING" {
		t.Errorf("after its start: %s", got)
	}
	m.apply(now, parse("instance_changed_event", `{"runSpecId":"/web","instanceId":"web.instance-1","condition":"Killing"}`))
	m.apply(now, parse("status_update_event", `{"appId":"/web","taskId":"`+first+`","instanceId":"web.instance-1","taskStatus":"TASK_FAILED"}`))
	m.replace(now, listed(first))
	if got := m.list()[0].Tasks[0].State; got != "TASK_KILLING" {
		t.Errorf("told to die, listed as running: %s", got)
	}
	m.replace(now, listed(second))
	if got := m.list()[0].Tasks[0].State; got != "TASK_RUNNING" {
		t.Errorf("its replacement: %s", got)
	}
}

func TestDCOSLogin(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	logins := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		logins++
		var in struct {
			UID, Token string
			Exp        int64
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		if in.UID != "svc" || strings.Count(in.Token, ".") != 2 || in.Exp < time.Now().Unix() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "dcos-acs-auth-cookie", Value: "secret"})
	}))
	defer s.Close()
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	credentials, _ := json.Marshal(map[string]string{"uid": "svc", "private_key": string(text), "login_endpoint": s.URL})
	l, err := NewLogin(string(credentials), s.Client())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := l.Authorization(context.Background()); err != nil || got != "token=secret" {
			t.Errorf("%q %v", got, err)
		}
	}
	if logins != 1 {
		t.Errorf("%d logins, want one for as long as the token lives", logins)
	}
	for _, bad := range []string{"", "{}", `{"uid":"a","login_endpoint":"http://x","private_key":"no"}`} {
		if _, err := NewLogin(bad, nil); err == nil || !strings.Contains(err.Error(), "--dcos-auth-credentials") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
