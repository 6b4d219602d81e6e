package lb

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
)

// load asks one virtual host on and on, from connections that are kept and from ones that
// are closed, and counts every request that got no 200. It never tries twice.
type load struct {
	requests, failed atomic.Int64
	mu               sync.Mutex // guards errors
	errors           []string
	stop             func()
}

// idle is how long a kept connection may rest before its end by HAProxy is no failure:
// the keep-alive timeout is one second.
const idle = 500 * time.Millisecond

func startLoad(t *testing.T, addr, host string) *load {
	l := &load{}
	done := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() { l.client(addr, host, i%3 != 0, done) })
	}
	l.stop = sync.OnceFunc(func() { close(done); clients.Wait() })
	t.Cleanup(l.stop)
	return l
}

func (l *load) client(addr, host string, keep bool, done <-chan struct{}) {
	var conn net.Conn
	var in *bufio.Reader
	var last time.Time
	drop := func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	defer drop()
	for {
		select {
		case <-done:
			return
		default:
		}
		err := func() (err error) {
			if conn == nil {
				if conn, err = net.Dial("tcp", addr); err != nil {
					return err
				}
				in, last = bufio.NewReader(conn), time.Now()
			}
			if time.Since(last) > idle {
				drop()
				return nil
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			how := "keep-alive"
			if !keep {
				how = "close"
			}
			l.requests.Add(1)
			if _, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\n\r\n", host, how); err != nil {
				return err
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, res.Body)
			if err == nil && res.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s", res.Status)
			}
			if last = time.Now(); err == nil && (res.Close || !keep) {
				drop()
			}
			return err
		}()
		if err != nil {
			drop()
			l.failed.Add(1)
			l.mu.Lock()
			if len(l.errors) < 10 {
				l.errors = append(l.errors, err.Error())
			}
			l.mu.Unlock()
		}
	}
}

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

// holds waits until HAProxy has exactly the given tasks: others are deleted, which takes
// their last connection's end.
func (r *rig) holds(t *testing.T, dir string, tasks []task) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		text, _ := os.ReadFile(dir + "/haproxy.cfg")
		ok := strings.Count(string(text), "\n  server 127_0_0_1_") == len(tasks)
		for _, k := range tasks {
			ok = ok && strings.Contains(string(text), fmt.Sprintf(":%d id ", k.Ports[0]))
		}
		s := r.Status()
		if ok && s.LastError == "" && s.Servers == len(tasks) {
			// The file is written before the commands: their effect is asked for.
			if rows, up, err := r.rows(); err == nil && up == len(tasks) && rows == up {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("tasks %v are not what HAProxy has; status %+v\n%s", list(tasks), s, text)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// rows counts the servers of /web that HAProxy has, and has in service.
func (r *rig) rows() (all, up int, err error) {
	csv, err := get(r.stats+"/haproxy?stats;csv", "")
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

// Tasks come and go, HAProxy is reloaded and the controller restarted, all under load:
// no request fails. It wants the machine for itself, so it is part of make soak.
func TestNoRequestFails(t *testing.T) {
	if os.Getenv("STOA_SOAK") != "1" {
		t.Skip("a load test of some minutes: make soak runs it")
	}
	const cycles, reloads, restarts = 200, 10, 20
	m, dir, ports := newMarathon(t), shortDir(t), freePorts(t, 3)
	r := start(t, m, dir, true, ports)
	defer func() {
		// The last controller leaves HAProxy running, as the ones before.
		_ = r.stop()
		_ = r.proxy.Close()
	}()
	tasks := []task{newTask("t0"), newTask("t1")}
	m.set(r.app(list(tasks)...))
	r.holds(t, dir, tasks)
	l := startLoad(t, fmt.Sprintf("127.0.0.1:%d", ports[0]), "web.example.com")

	check := func(what string) {
		t.Helper()
		if n := l.failed.Load(); n > 0 {
			t.Fatalf("%s: %d of %d requests failed: %q", what, n, l.requests.Load(), l.errors)
		}
	}
	before := r.Status().Reloads
	var leaving []task
	for i := range cycles {
		k := newTask(fmt.Sprint("n", i))
		tasks = append(tasks, k)
		m.set(r.app(list(tasks)...))
		r.holds(t, dir, tasks)
		old := tasks[0]
		tasks = slices.Clone(tasks[1:])
		m.set(r.app(list(tasks)...))
		r.holds(t, dir, tasks)
		// A task is ended a while after its last connection, as by a framework that drains.
		if leaving = append(leaving, old); len(leaving) > 3 {
			leaving[0].end()
			leaving = leaving[1:]
		}
	}
	check("add, drain, delete")
	if now := r.Status().Reloads; now != before {
		t.Errorf("%d reloads for changes of servers only", now-before)
	}
	t.Logf("%d cycles, %d requests", cycles, l.requests.Load())

	worker := func() string { v, _ := get(r.stats+"/_haproxy_getpids", ""); return v }
	for range reloads {
		was := worker()
		r.Reload()
		deadline := time.Now().Add(30 * time.Second)
		for worker() == was && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		// Master, newest worker, one just replaced, and those allowed to linger.
		if n := len(strings.Fields(worker())); n > 3+r.cfg.MaxOldWorkers {
			t.Errorf("%d haproxy processes", n)
		}
	}
	check("reloads")

	for i := range restarts {
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r = start(t, m, dir, true, ports)
		k := newTask(fmt.Sprint("r", i))
		tasks = append(tasks, k)
		m.set(r.app(list(tasks)...))
		r.holds(t, dir, tasks)
	}
	check("restarts of the controller")
	l.stop()
	check("at the end")
	for _, k := range append(tasks, leaving...) {
		k.end()
	}
	t.Logf("%d requests, none failed", l.requests.Load())
}
