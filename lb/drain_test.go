package lb

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/lb/labels"
)

// slow is a task whose requests end when the test says so.
func slow(t *testing.T, name string) (k labels.Task, begun chan struct{}, end func()) {
	begun = make(chan struct{}, 16)
	ended := make(chan struct{})
	end = sync.OnceFunc(func() { close(ended) })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-ended
		}
		fmt.Fprint(w, name)
	}))
	t.Cleanup(func() { end(); s.Close() })
	return labels.Task{ID: name, Host: "127.0.0.1", State: "TASK_RUNNING", Ports: []int{s.Listener.Addr().(*net.TCPAddr).Port}}, begun, end
}

// A kill that the framework announces is answered for when the task's last request has
// ended, whichever of HAProxy's workers has it.
func TestDrainedTasksAreReported(t *testing.T) {
	for _, reload := range []bool{false, true} {
		t.Run(fmt.Sprint("reload ", reload), func(t *testing.T) {
			m := newMarathon(t)
			r := start(t, m, shortDir(t), false, freeport.Take(t, 3))
			k, begun, end := slow(t, "slow")
			other := backend(t, "other")
			m.set(r.app(k))
			r.answering(t, "slow")
			answer := make(chan error, 1)
			go func() {
				got, err := get(r.http+"/slow", "web.example.com")
				if err == nil && got != "slow" {
					err = fmt.Errorf("answered by %q", got)
				}
				answer <- err
			}()
			<-begun
			m.set(r.app(k, other))
			r.answering(t, "other", "slow")
			if reload {
				pids := r.PIDs()
				r.Reload()
				waitFor(t, "a new worker", func() error {
					if now := r.PIDs(); len(now) < 3 || slices.Contains(pids, now[len(now)-1]) {
						return fmt.Errorf("processes %v", now)
					}
					return nil
				})
			}
			m.send("instance_drain_event", map[string]any{"appId": "/web", "taskId": "slow", "seconds": 5})
			r.answering(t, "other")
			m.send("instance_drain_event", map[string]any{"appId": "/else", "taskId": "nobody", "seconds": 5})
			// What is not here is answered for at once: that shows that answers come at all.
			waitFor(t, "an answer for the unknown task", func() error {
				if got := m.reported(); !slices.Equal(got, []string{"nobody"}) {
					return fmt.Errorf("drained %q", got)
				}
				return nil
			})
			end()
			if err := <-answer; err != nil {
				t.Errorf("the request under way: %v", err)
			}
			waitFor(t, "an answer for the task", func() error {
				if got := m.reported(); !slices.Equal(got, []string{"nobody", "slow"}) {
					return fmt.Errorf("drained %q", got)
				}
				return nil
			})
		})
	}
}

func waitFor(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// While nobody leads, tasks come and go; who comes next finds out what HAProxy does and
// changes it without a reload.
func TestNextControllerNeedsNoReload(t *testing.T) {
	m, dir, ports := newMarathon(t), shortDir(t), freeport.Take(t, 3)
	first := start(t, m, dir, true, ports)
	a, b, c := backend(t, "a"), backend(t, "b"), backend(t, "c")
	m.set(first.app(a, b))
	first.answering(t, "a", "b")
	pids := newest(first)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	// As if the one before had ended between writing the file and sending its commands.
	text, err := os.ReadFile(first.cfg.ConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	m.set(first.app(b, c))
	second := start(t, m, dir, false, ports)
	second.answering(t, "b", "c")
	if s := second.Status(); s.Reloads != 0 || newest(second) != pids {
		t.Errorf("%d reloads, processes %v %v", s.Reloads, pids, second.PIDs())
	}
	if now, err := os.ReadFile(second.cfg.ConfigPath); err != nil || string(now) == string(text) {
		t.Errorf("the file is as before, %v", err)
	}
}

// Without Marathon and with HAProxy gone, as after a restart of the machine, the
// configuration of the last run serves.
func TestLastConfigurationServesWithoutMarathon(t *testing.T) {
	m, dir, ports := newMarathon(t), shortDir(t), freeport.Take(t, 3)
	first := start(t, m, dir, false, ports)
	m.set(first.app(backend(t, "a")))
	first.answering(t, "a")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	m.CloseClientConnections()
	m.Close()
	second := start(t, m, dir, false, ports)
	second.answering(t, "a")
	for _, p := range second.PIDs() {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
	second.answering(t, "a")
}

// A task costs one group of runtime commands, one that changes nothing none.
func TestOneGroupForEachTask(t *testing.T) {
	m := newMarathon(t)
	r := start(t, m, shortDir(t), false, freeport.Take(t, 3))
	a, b := backend(t, "a"), backend(t, "b")
	m.set(r.app(a))
	r.answering(t, "a")
	groups := func() (n float64) {
		text, err := get(r.stats+"/_stoa/metrics", "")
		for line := range strings.Lines(text) {
			if v, ok := strings.CutPrefix(line, "stoa_lb_runtime_groups_total "); ok {
				n, err = strconv.ParseFloat(strings.TrimSpace(v), 64)
				if err == nil {
					return n
				}
			}
		}
		t.Fatalf("no count of runtime groups: %v", err)
		return 0
	}
	before := groups()
	m.set(r.app(a, b))
	r.answering(t, "a", "b")
	if now := groups(); now != before+1 {
		t.Errorf("a new task cost %v groups of commands, want 1", now-before)
	}
	m.set(r.app(a, b))
	m.set(r.app(a))
	r.answering(t, "a")
	if now := groups(); now != before+2 {
		t.Errorf("an end cost %v groups of commands, want 1", now-before-1)
	}
}

// The new app of a deployment group takes over when HAProxy itself reaches it.
func TestOldTasksDrainWhenHAProxyReachesTheNew(t *testing.T) {
	m := newMarathon(t)
	r := start(t, m, shortDir(t), false, freeport.Take(t, 3))
	// Its checks fail until it is told otherwise.
	healthy := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case <-healthy:
			fmt.Fprint(w, "green")
		default:
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	app := func(colour string, port int, k labels.Task) labels.App {
		a := r.app(k)
		a.ID, a.PortDefinitions, a.Instances = "/web-"+colour, []labels.PortDefinition{{Port: port}}, 1
		a.HealthChecks = []labels.HealthCheck{{Protocol: "HTTP", PortIndex: new(int), IntervalSeconds: 1, TimeoutSeconds: 1}}
		k.HealthCheckResults = []labels.HealthResult{{Alive: true}}
		a.Tasks = []labels.Task{k}
		for l, v := range map[string]string{"GROUP": "web", "COLOUR": colour, "STARTED_AT": "2026-01-0" + strconv.Itoa(len(colour)), "TARGET_INSTANCES": "1", "NEW_INSTANCES": "0"} {
			a.Labels["HAPROXY_DEPLOYMENT_"+l] = v
		}
		a.Labels["HAPROXY_0_PORT"] = strconv.Itoa(r.servicePort)
		return a
	}
	blue := app("blue", r.servicePort, backend(t, "blue"))
	m.set(blue)
	r.answering(t, "blue")
	green := app("green", r.servicePort+1, labels.Task{ID: "green", Host: "127.0.0.1", State: "TASK_RUNNING", Ports: []int{s.Listener.Addr().(*net.TCPAddr).Port}})
	m.set(blue, green)
	// Marathon calls the new one alive, HAProxy does not: the old one serves on.
	waitFor(t, "the new task in HAProxy, down", func() error {
		csv, err := get(r.stats+"/haproxy?stats;csv", "")
		if err == nil && !strings.Contains(csv, ",DOWN,") {
			err = fmt.Errorf("%s", csv)
		}
		return err
	})
	r.answering(t, "blue")
	close(healthy)
	r.answering(t, "green")
}

// A HAProxy that somebody else started is reloaded by his command.
func TestCommandReloadsAnotherHAProxy(t *testing.T) {
	m, dir, ports := newMarathon(t), shortDir(t), freeport.Take(t, 3)
	owner := start(t, m, dir, true, ports)
	a, b := backend(t, "a"), backend(t, "b")
	m.set(owner.app(a))
	owner.answering(t, "a")
	master := owner.PIDs()[0]
	if err := owner.stop(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(master, syscall.SIGTERM) }()
	ran := filepath.Join(dir, "ran")
	cfg := testConfig(m, dir, ports)
	cfg.Command = fmt.Sprintf("echo x >>%s && kill -USR2 %d", ran, master)
	cfg.CommandRetry = time.Second // a HAProxy that is just being reloaded may miss the signal
	r := startWith(t, m, cfg, ports)
	m.set(r.app(b))
	r.answering(t, "b")
	if text, err := os.ReadFile(ran); err != nil || len(text) == 0 {
		t.Errorf("the command did not run: %v", err)
	}
	if syscall.Kill(master, 0) != nil {
		t.Error("the other's HAProxy was ended")
	}
}

// Without events, listings at an interval are enough.
func TestPolling(t *testing.T) {
	m, dir, ports := newMarathon(t), shortDir(t), freeport.Take(t, 3)
	cfg := testConfig(m, dir, ports)
	cfg.Poll, cfg.StopHAProxy = 30*time.Millisecond, true
	r := startWith(t, m, cfg, ports)
	m.set(r.app(backend(t, "a")))
	r.answering(t, "a")
	m.set(r.app(backend(t, "b")))
	r.answering(t, "b")
	if n := m.streams.Load(); n != 0 {
		t.Errorf("%d event streams were opened", n)
	}
}

// send tells all streams of an event; the listing is as it was.
func (m *marathon) send(kind string, body map[string]any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, _ := json.Marshal(body)
	m.next = fmt.Sprintf("event: %s\r\ndata: %s\r\n\r\n", kind, text)
	close(m.events)
	m.events = make(chan struct{})
}

// reported gives the tasks that were said to be drained, sorted.
func (m *marathon) reported() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.drained)
	slices.Sort(out)
	return out
}

func (m *marathon) takeReport(_ http.ResponseWriter, r *http.Request) {
	var body struct {
		Balancer string
		Tasks    []string
	}
	b, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(b, &body)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[body.Balancer] {
		m.drained = append(m.drained, body.Tasks...)
	}
}
