package probe

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/internal/lab/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// task describes a running instance behind a listener.
func task(t *testing.T, addr net.Addr, checks ...app.HealthCheck) core.StartProbes {
	t.Helper()
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	zero := 0
	for i := range checks {
		checks[i].IntervalSeconds, checks[i].TimeoutSeconds, checks[i].PortIndex = 1, 1, &zero
	}
	return core.StartProbes{
		Instance: &app.Instance{ID: "a.instance-1", Launch: 1, Host: "127.0.0.1", HostPorts: []int{n}},
		Spec: &app.App{ID: "/a", Networks: app.List[app.Network]{{Mode: app.NetworkHost}},
			PortDefinitions: []app.PortDefinition{{Name: "http-api"}}, HealthChecks: checks},
	}
}

func prober(t *testing.T) (*Prober, chan core.Input) {
	t.Helper()
	results := make(chan core.Input, 100)
	p := New(Config{Deliver: func(in core.Input) { results <- in }}, slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	return p, results
}

func next(t *testing.T, results chan core.Input) core.Input {
	t.Helper()
	select {
	case in := <-results:
		return in
	case <-time.After(20 * time.Second):
		t.Fatal("no result")
		return nil
	}
}

func TestChecks(t *testing.T) {
	var status atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/nowhere", http.StatusFound)
			return
		}
		w.WriteHeader(int(status.Load()))
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	closed := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: freeport.Row(t, 1)}
	for _, c := range []struct {
		name   string
		addr   net.Addr
		check  app.HealthCheck
		status int
		ok     bool
	}{
		{"http 200", plain.Listener.Addr(), app.HealthCheck{Protocol: app.HealthHTTP, Path: "/"}, 200, true},
		{"http 399", plain.Listener.Addr(), app.HealthCheck{Protocol: app.HealthHTTP, Path: "health"}, 399, true},
		{"http 400", plain.Listener.Addr(), app.HealthCheck{Protocol: app.HealthHTTP}, 400, false},
		{"redirects count and are not followed", plain.Listener.Addr(), app.HealthCheck{Protocol: app.HealthHTTP, Path: "/moved"}, 500, true},
		{"https with any certificate", secure.Listener.Addr(), app.HealthCheck{Protocol: app.HealthHTTPS, Path: "/"}, 204, true},
		{"tcp", plain.Listener.Addr(), app.HealthCheck{Protocol: app.HealthTCP}, 500, true},
		{"tcp refused", closed, app.HealthCheck{Protocol: app.HealthTCP}, 0, false},
		{"http refused", closed, app.HealthCheck{Protocol: app.HealthHTTP}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			status.Store(int64(c.status))
			p, results := prober(t)
			p.Start(task(t, c.addr, c.check))
			got := next(t, results).(core.Probed)
			if got.OK != c.ok || got.Instance != "a.instance-1" || got.Launch != 1 || (got.Cause == "") != c.ok {
				t.Errorf("got %+v, want ok %t", got, c.ok)
			}
		})
	}
}

func TestChecksBesideTheTaskAreLeftAlone(t *testing.T) {
	p, results := prober(t)
	p.Start(task(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, app.HealthCheck{Protocol: app.HealthMesosTCP}, app.HealthCheck{Protocol: app.HealthCommand}))
	p.Stop("a.instance-1")
	p.Close()
	if len(results) != 0 {
		t.Errorf("%d results", len(results))
	}
}

func TestReadinessEndsWhenReady(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if asked.Add(1) == 1 {
			w.WriteHeader(503)
		}
		w.Write([]byte("body"))
	}))
	defer server.Close()
	p, results := prober(t)
	s := task(t, server.Listener.Addr())
	s.Readiness = true
	s.Spec.ReadinessChecks = []app.ReadinessCheck{{Name: "r", Protocol: "HTTP", Path: "/", PortName: "http-api",
		IntervalSeconds: 1, TimeoutSeconds: 1, HTTPStatusCodesForReady: []int{200}}}
	p.Start(s)
	first, second := next(t, results).(core.Readied), next(t, results).(core.Readied)
	if first.Result.Ready || first.Result.Status != 503 || first.Result.Body != "body" {
		t.Errorf("first %+v", first)
	}
	if !second.Result.Ready || second.Result.ContentType != "text/plain" {
		t.Errorf("second %+v", second)
	}
}
