package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// lbAddr is where the benchmark's frontends listen: nothing else does.
const lbAddr = "127.7.7.7"

// bigMarathon is a scripted Marathon of many apps that tells of new tasks.
type bigMarathon struct {
	*httptest.Server
	mu     sync.Mutex // guards tasks
	tasks  [][]map[string]any
	events chan string
}

func newBigMarathon(apps, each int) *bigMarathon {
	m := &bigMarathon{events: make(chan string, 16)}
	for i := range apps {
		m.tasks = append(m.tasks, nil)
		for k := range each {
			m.tasks[i] = append(m.tasks[i], lbTask(i, k))
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/apps", func(w http.ResponseWriter, _ *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		var all []any
		for i := range m.tasks {
			all = append(all, m.app(i))
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"apps": all})
	})
	mux.HandleFunc("GET /v2/apps/{id}", func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		var i int
		if _, err := fmt.Sscanf(r.PathValue("id"), "app-%d", &i); err != nil || i >= len(m.tasks) {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"app": m.app(i)})
	})
	mux.HandleFunc("GET /v2/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case e := <-m.events:
				fmt.Fprintf(w, "event: status_update_event\r\ndata: %s\r\n\r\n", e)
			}
		}
	})
	m.Server = httptest.NewServer(mux)
	return m
}

func lbTask(app, k int) map[string]any {
	return map[string]any{"id": fmt.Sprintf("app-%d.%d", app, k), "host": fmt.Sprintf("10.%d.%d.%d", app/250, app%250, k%250+1), "ports": []int{31000 + k}, "state": "TASK_RUNNING"}
}

func (m *bigMarathon) app(i int) map[string]any {
	return map[string]any{"id": fmt.Sprintf("/app-%d", i), "portDefinitions": []any{map[string]any{"port": 10000 + i}}, "tasks": m.tasks[i],
		"labels": map[string]string{"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": fmt.Sprintf("app-%d.example.com", i)}}
}

// start adds a task to an app and tells of it.
func (m *bigMarathon) start(i int) map[string]any {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := lbTask(i, len(m.tasks[i]))
	m.tasks[i] = append(m.tasks[i], k)
	e, _ := json.Marshal(map[string]any{"eventType": "status_update_event", "appId": fmt.Sprintf("/app-%d", i),
		"taskId": k["id"], "taskStatus": "TASK_RUNNING", "host": k["host"], "ports": k["ports"]})
	m.events <- string(e)
	return k
}

// balance runs `stoa lb` before n apps of ten tasks and measures, for 100 new tasks, the
// time from Marathon's event to the server being in service in HAProxy: the 99th
// percentile in milliseconds.
func balance(n int) (float64, map[string]float64, error) {
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	m := newBigMarathon(n, 10)
	defer func() { m.CloseClientConnections(); m.Close() }()
	cmd := exec.Command(stoa(), "lb", "--marathon", m.URL, "--group", "external", "--bind_addr", lbAddr, "--stats_port", "9090", "--dont-bind-http-https",
		"--run_dir", dir, "--haproxy-config", filepath.Join(dir, "haproxy.cfg"), "--syslog-socket", "/dev/null")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return 0, nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		// HAProxy outlives its controller by design; here it has no further use.
		var pid int
		b, _ := os.ReadFile(filepath.Join(dir, "haproxy.pid"))
		if _, err := fmt.Sscan(string(b), &pid); err == nil {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}()
	socket := filepath.Join(dir, "stats.sock")
	began := time.Now()
	for deadline := began.Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if inService(socket, fmt.Sprintf("app-%d_%d", n-1, 10000+n-1), lbTask(n-1, 9)) {
			break
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			return 0, nil, fmt.Errorf("the first configuration is not in HAProxy after a minute: %.2000s", text)
		}
	}
	extra := map[string]float64{"ready_s": time.Since(began).Seconds()}
	// The listing that the stream's start asks for is over.
	time.Sleep(time.Second)
	// The first reload may be followed by one more, from the listing at the stream's start.
	before, err := reloadsOf()
	if err != nil {
		return 0, nil, err
	}
	var took []float64
	for i := range 100 {
		app := i * (n / 100)
		// Changes nearer than 20 ms are taken together; this is the time of one.
		time.Sleep(30 * time.Millisecond)
		at := time.Now()
		k := m.start(app)
		for ; !inService(socket, fmt.Sprintf("app-%d_%d", app, 10000+app), k); time.Sleep(200 * time.Microsecond) {
			if time.Since(at) > 10*time.Second {
				return 0, nil, fmt.Errorf("task %v is not in HAProxy after ten seconds", k["id"])
			}
		}
		took = append(took, time.Since(at).Seconds()*1000)
	}
	after, err := reloadsOf()
	if err != nil {
		return 0, nil, err
	}
	slices.Sort(took)
	extra["p50_ms"], extra["max_ms"] = took[len(took)/2], took[len(took)-1]
	extra["reloads_count"] = float64(after - before)
	extra["rss_mib"] = rss(cmd.Process.Pid)
	return took[len(took)*99/100], extra, nil
}

func reloadsOf() (int, error) {
	res, err := http.Get("http://" + lbAddr + ":9090/_stoa/status")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var s struct{ Reloads int }
	return s.Reloads, json.NewDecoder(res.Body).Decode(&s)
}

// inService asks HAProxy itself.
func inService(socket, backend string, task map[string]any) bool {
	said, err := command(socket, "show servers state "+backend)
	if err != nil {
		return false
	}
	want := fmt.Sprintf("%s_%d", strings.ReplaceAll(task["host"].(string), ".", "_"), task["ports"].([]int)[0])
	for line := range strings.Lines(said) {
		if f := strings.Fields(line); len(f) > 6 && f[3] == want {
			return f[6] == "0" // administrative state: none
		}
	}
	return false
}

func command(socket, line string) (string, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// runtimeCommand measures, in a HAProxy of one backend, what a new server costs at
// least: the commands and the question whether it serves.
func runtimeCommand(int) (float64, error) {
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "cfg")
	text := "global\n  stats socket " + socket + " level admin\ndefaults\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\nbackend b\n  balance roundrobin\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return 0, err
	}
	cmd := exec.Command("haproxy", "-db", "-f", file)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := command(socket, "show info"); err == nil {
			break
		} else if time.Now().After(deadline) {
			return 0, errors.Join(errors.New("the floor's haproxy does not answer"), err)
		}
	}
	var took []float64
	for i := range 100 {
		at := time.Now()
		k := lbTask(0, i)
		name := fmt.Sprintf("%s_%d", strings.ReplaceAll(k["host"].(string), ".", "_"), k["ports"].([]int)[0])
		if _, err := command(socket, fmt.Sprintf("add server b/%s %s:%d;enable server b/%s", name, k["host"], k["ports"].([]int)[0], name)); err != nil {
			return 0, err
		}
		if !inService(socket, "b", k) {
			return 0, fmt.Errorf("server %s is not in service", name)
		}
		took = append(took, time.Since(at).Seconds()*1000)
	}
	slices.Sort(took)
	return took[len(took)*99/100], nil
}
