package lb

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
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
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/internal/lab/httpload"
	"github.com/stoa-project/stoa/lb/labels"
	"github.com/stoa-project/stoa/lb/rest"
)

// task is a backend that can end.
type task struct {
	labels.Task
	end func()
}

func newTask(name string) task {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
	return task{labels.Task{ID: name, Host: "127.0.0.1", State: "TASK_RUNNING", Ports: []int{s.Listener.Addr().(*net.TCPAddr).Port}}, s.Close}
}

func list(tasks []task) []labels.Task {
	var out []labels.Task
	for _, k := range tasks {
		out = append(out, k.Task)
	}
	return out
}

// controller is `stoa lb` in a process of its own, so that it can be killed.
type controller struct {
	cmd  *exec.Cmd
	m    *marathon
	cfg  Config
	http string // of statistics and admin paths
	port int    // of the one service
}

// childConfig names the variable that makes the test binary a controller.
const childConfig = "STOA_TEST_LB_CONFIG"

func TestMain(m *testing.M) {
	text := os.Getenv(childConfig)
	if text == "" {
		os.Exit(m.Run())
	}
	var cfg Config
	err := json.Unmarshal([]byte(text), &cfg)
	var b *LB
	if err == nil {
		b, err = New(cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	}
	if err == nil {
		err = b.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (c *controller) start(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(c.cfg)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(c.cfg.RunDir, "controller.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), childConfig+"="+string(text))
	c.cmd.Stderr = log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (c *controller) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *controller) log() string {
	b, _ := os.ReadFile(filepath.Join(c.cfg.RunDir, "controller.log"))
	return string(b[max(0, len(b)-20000):])
}

func (c *controller) app(tasks ...labels.Task) labels.App {
	return (&rig{servicePort: c.port}).app(tasks...)
}

func (c *controller) status() (s rest.Status, err error) {
	text, err := get(c.http+"/_stoa/status", "")
	if err == nil {
		err = json.Unmarshal([]byte(text), &s)
	}
	return s, err
}

// pids are the master and its workers.
func (c *controller) pids() []string {
	text, _ := get(c.http+"/_haproxy_getpids", "")
	return strings.Fields(text)
}

// holds waits until HAProxy has exactly the given tasks: others are deleted, which takes
// their last connection's end.
func (c *controller) holds(t *testing.T, tasks []task) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		text, _ := os.ReadFile(c.cfg.ConfigPath)
		ok := strings.Count(string(text), "\n  server 127_0_0_1_") == len(tasks)
		for _, k := range tasks {
			ok = ok && strings.Contains(string(text), fmt.Sprintf(":%d id ", k.Ports[0]))
		}
		s, err := c.status()
		if ok && err == nil && s.LastError == "" && s.Servers == len(tasks) {
			// The file is written before the commands: their effect is asked for.
			if rows, up, err := rows(c.http); err == nil && up == len(tasks) && rows == up {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("tasks %v are not what HAProxy has; status %+v %v\n%s\n%s", list(tasks), s, err, text, c.log())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// rows counts the servers of /web that HAProxy has, and has in service.
func rows(stats string) (all, up int, err error) {
	csv, err := get(stats+"/haproxy?stats;csv", "")
	for line := range strings.Lines(csv) {
		if f := strings.Split(line, ","); len(f) > 17 && strings.HasPrefix(f[0], "web_") && strings.HasPrefix(f[1], "127_") {
			all++
			if f[17] == "no check" {
				up++
			}
		}
	}
	return all, up, err
}

// workers counts HAProxy's workers on and on, and keeps the most that were seen.
func (c *controller) countWorkers(t *testing.T) (most func() int) {
	done := make(chan struct{})
	var seen int
	var counting sync.WaitGroup
	counting.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
			b, _ := os.ReadFile(filepath.Join(c.cfg.RunDir, "haproxy.pid"))
			pid := strings.TrimSpace(string(b))
			b, _ = os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
			seen = max(seen, len(strings.Fields(string(b))))
		}
	})
	stop := sync.OnceFunc(func() { close(done); counting.Wait() })
	t.Cleanup(stop)
	return func() int { stop(); return seen }
}

// Tasks come and go, HAProxy is reloaded and the controller killed, all under load: no
// request fails, HAProxy never has more workers than it may, and nearly no event costs a
// reload. The long form wants the machine for itself, so it is part of make soak.
func TestNoRequestFails(t *testing.T) {
	cycles, reloads, kills := 12, 2, 3
	if os.Getenv("STOA_SOAK") == "1" {
		cycles, reloads, kills = 200, 10, 20
	}
	m, dir, ports := newMarathon(t), shortDir(t), freeport.Take(t, 3)
	c := &controller{m: m, cfg: testConfig(m, dir, ports), http: fmt.Sprintf("http://127.0.0.1:%d", ports[1]), port: ports[2]}
	c.start(t)
	defer func() { c.kill(); endHAProxy(dir) }()
	tasks := []task{newTask("t0"), newTask("t1")}
	m.set(c.app(list(tasks)...))
	c.holds(t, tasks)
	most := c.countWorkers(t)
	l := httpload.Start(t, fmt.Sprintf("127.0.0.1:%d", ports[0]), "web.example.com")
	check := func(what string) { l.Check(t, what, c.log) }
	var leaving []task
	replace := func(i int) {
		k := newTask(fmt.Sprint("n", i))
		tasks = append(tasks, k)
		m.set(c.app(list(tasks)...))
		c.holds(t, tasks)
		old := tasks[0]
		tasks = slices.Clone(tasks[1:])
		m.set(c.app(list(tasks)...))
		c.holds(t, tasks)
		// A task is ended a while after its last connection, as by a framework that drains.
		if leaving = append(leaving, old); len(leaving) > 3 {
			leaving[0].end()
			leaving = leaving[1:]
		}
	}
	before, err := c.status()
	if err != nil {
		t.Fatal(err)
	}
	events, reloaded := 0, 0
	for i := range cycles {
		replace(i)
		events += 2
	}
	check(fmt.Sprintf("%d tasks added, drained, deleted", cycles))

	if now, err := c.status(); err != nil || now.Reloads != before.Reloads {
		t.Errorf("%d reloads for changes of servers only, %v", now.Reloads-before.Reloads, err)
	}
	for i := range reloads {
		was := c.pids()
		if _, err := get(c.http+"/_mlb_signal/usr1", ""); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(30 * time.Second)
		for now := c.pids(); len(now) < 2 || slices.Contains(was, now[len(now)-1]); now = c.pids() {
			if time.Now().After(deadline) {
				t.Fatalf("no new worker 30 s after a reload was asked for\n%s", c.log())
			}
			time.Sleep(10 * time.Millisecond)
		}
		// Old workers still serve: what leaves now must leave them too.
		replace(cycles + i)
		events += 2
	}
	check(fmt.Sprintf("%d reloads", reloads))

	for i := range kills {
		if s, err := c.status(); err == nil && i > 0 {
			reloaded += s.Reloads
		}
		// Killed in the middle of a change, at another moment each time.
		k := newTask(fmt.Sprint("r", i))
		tasks = append(tasks, k)
		m.set(c.app(list(tasks)...))
		time.Sleep(time.Duration(i) * time.Millisecond / 2)
		c.kill()
		c.start(t)
		c.holds(t, tasks)
		replace(cycles + reloads + i)
		events += 3
	}
	if s, err := c.status(); err == nil {
		reloaded += s.Reloads
	}
	check(fmt.Sprintf("%d kills of the controller", kills))
	l.Stop()
	check("at the end")
	for _, k := range append(tasks, leaving...) {
		k.end()
	}
	if n := most(); n > c.cfg.MaxOldWorkers+1 {
		t.Errorf("%d haproxy workers at once, at most %d old ones are allowed beside the newest", n, c.cfg.MaxOldWorkers)
	}
	if reloaded*20 > events {
		t.Errorf("%d of %d events cost a reload", reloaded, events)
	}
	t.Logf("%d events, %d reloads beside those asked for, at most %d workers", events, reloaded, most())
}

// endHAProxy ends the HAProxy that a killed controller left.
func endHAProxy(dir string) {
	b, _ := os.ReadFile(filepath.Join(dir, "haproxy.pid"))
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err == nil {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
}
