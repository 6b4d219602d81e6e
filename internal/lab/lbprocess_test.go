package lab_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// `stoa lb` with the flags and signals of Marathon-LB: SIGHUP lists anew, SIGUSR1 reloads
// the file as it is, SIGKILL and SIGTERM leave HAProxy running, and the next start finds it.
func TestLoadBalancerProcess(t *testing.T) {
	var listings atomic.Int64
	m := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "u" || password != "p:q" {
			http.Error(w, "who is it?", http.StatusUnauthorized)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/v2/events") {
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		listings.Add(1)
		fmt.Fprint(w, `{"apps": [{"id": "/web", "labels": {"HAPROXY_GROUP": "other,external", "HAPROXY_0_ENABLED": "yes"}, "portDefinitions": [{"port": 10000}],
			"tasks": [{"id": "t", "host": "127.0.0.1", "state": "TASK_RUNNING", "ports": [9]}]}, {"id": "/off", "labels": {"HAPROXY_GROUP": "external"}, "portDefinitions": [{"port": 10001}],
			"tasks": [{"id": "u", "host": "127.0.0.1", "state": "TASK_RUNNING", "ports": [9]}]}]}`)
	}))
	t.Cleanup(func() { m.CloseClientConnections(); m.Close() })
	dir, err := os.MkdirTemp("", "lb") // short: paths of sockets end at 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	stats := freeport.Take(t, 1)[0]
	login := filepath.Join(dir, "login")
	if err := os.WriteFile(login, []byte("u:p:q\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"lb", "sse", "-m", m.URL, "--health-check", "--group", "external", "--strict-mode", "--dont-bind-http-https", "--marathon-auth-credential-file", login,
		"--log-level", "DEBUG", "--syslog-socket", "/dev/null", "--bind_addr", "127.0.0.1", "--appid_port", "0", "--stats_port", strconv.Itoa(stats),
		"--run_dir", dir, "--haproxy-config", filepath.Join(dir, "haproxy.cfg")}
	admin := fmt.Sprintf("http://127.0.0.1:%d", stats)
	pids := func() []string {
		res, _ := lab.Request("GET", admin+"/_haproxy_getpids", nil)
		return strings.Fields(string(res.Body))
	}
	serves := func() error {
		res, err := lab.Request("GET", admin+"/_haproxy_getconfig", nil)
		if text := string(res.Body); err != nil || !strings.Contains(text, "backend web_10000") || strings.Contains(text, "off_10001") || len(pids()) < 2 {
			return fmt.Errorf("%v %s", err, text)
		}
		return nil
	}
	p := lab.Start(t, "lb", lab.Stoa(t), args...)
	t.Cleanup(func() {
		b, _ := os.ReadFile(filepath.Join(dir, "haproxy.pid"))
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	})
	lab.Eventually(t, 15*time.Second, "HAProxy has the app of the group", serves)
	lab.Eventually(t, 15*time.Second, "two listings", func() error {
		if n := listings.Load(); n < 2 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	before := listings.Load()
	_ = syscall.Kill(p.PID(), syscall.SIGHUP)
	lab.Eventually(t, 15*time.Second, "one more listing", func() error {
		if n := listings.Load(); n <= before {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	was := pids()
	_ = syscall.Kill(p.PID(), syscall.SIGUSR1)
	lab.Eventually(t, 15*time.Second, "a new worker", func() error {
		if now := pids(); len(now) < 2 || now[0] != was[0] || slices.Contains(was, now[len(now)-1]) {
			return fmt.Errorf("%q became %q", was, now)
		}
		return nil
	})
	was = pids()
	p.Kill(t)
	if res, err := lab.Request("GET", admin+"/_haproxy_health_check", nil); err != nil || res.Status != 200 {
		t.Errorf("without stoa lb: %v %d", err, res.Status)
	}
	p = lab.Start(t, "lb", lab.Stoa(t), args...)
	lab.Eventually(t, 15*time.Second, "the next one answers", serves)
	if now := pids(); now[0] != was[0] {
		t.Errorf("master %s became %s", was[0], now[0])
	}
	p.Stop(t)
	if code := p.ExitCode(); code != 0 {
		t.Errorf("exit code %d after SIGTERM: %s", code, p.Output())
	}
	if res, err := lab.Request("GET", admin+"/_haproxy_health_check", nil); err != nil || res.Status != 200 {
		t.Errorf("after SIGTERM: %v %d", err, res.Status)
	}
}
