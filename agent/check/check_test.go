package check

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestDefaultsAndRefusals(t *testing.T) {
	s, err := FromHealthCheck(&mesos.HealthCheck{
		Type: mesos.HealthCheck_HTTP.Enum(), Http: &mesos.HealthCheck_HTTPCheckInfo{Port: proto.Uint32(80)},
	}, nil)
	want := Spec{Kind: HTTP, Delay: 15 * time.Second, Interval: 10 * time.Second, Timeout: 20 * time.Second,
		Scheme: "http", Path: "/", Port: 80}
	if err != nil || !same(s, want) {
		t.Errorf("%+v %v", s, err)
	}
	sh := &mesos.CommandInfo{Value: proto.String("true")}
	s, err = FromCheck(&mesos.CheckInfo{Type: mesos.CheckInfo_COMMAND.Enum(), Command: &mesos.CheckInfo_Command{Command: sh}, TimeoutSeconds: proto.Float64(0)}, nil)
	if err != nil || s.Kind != Command || !s.Shell || s.Value != "true" || s.Timeout != 0 || s.Delay != 15*time.Second {
		t.Errorf("%+v %v", s, err)
	}
	// A type that old frameworks leave unset is taken from what is there.
	if s, err = FromHealthCheck(&mesos.HealthCheck{Command: sh}, nil); err != nil || s.Kind != Command {
		t.Errorf("%+v %v", s, err)
	}
	tcp := func(port uint32) *mesos.HealthCheck_TCPCheckInfo {
		return &mesos.HealthCheck_TCPCheckInfo{Port: &port}
	}
	for field, h := range map[string]*mesos.HealthCheck{
		"type":          {},
		"http":          {Type: mesos.HealthCheck_HTTP.Enum()},
		"tcp":           {Type: mesos.HealthCheck_TCP.Enum()},
		"command":       {Type: mesos.HealthCheck_COMMAND.Enum()},
		"command.value": {Type: mesos.HealthCheck_COMMAND.Enum(), Command: &mesos.CommandInfo{}},
		"port":          {Tcp: tcp(70000)},
		"http.path":     {Http: &mesos.HealthCheck_HTTPCheckInfo{Port: proto.Uint32(1), Path: proto.String("x")}},
		"http.scheme":   {Http: &mesos.HealthCheck_HTTPCheckInfo{Port: proto.Uint32(1), Scheme: proto.String("ftp")}},
		"delay_seconds": {Tcp: tcp(1), DelaySeconds: proto.Float64(-1)},
	} {
		_, err := FromHealthCheck(h, nil)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// same compares without slices, which these specs do not have.
func same(a, b Spec) bool {
	return a.Status(Result{}).String() == b.Status(Result{}).String() && a.text() == b.text()
}

func (s Spec) text() string {
	return strings.Join([]string{s.Delay.String(), s.Interval.String(), s.Timeout.String(),
		s.Scheme, s.Path, strconv.Itoa(s.Port)}, " ")
}

func TestTimes(t *testing.T) {
	start := time.Unix(1000, 0)
	spec := Spec{Delay: 2 * time.Second, Interval: 5 * time.Second}
	if spec.First(start) != start.Add(2*time.Second) || spec.Next(start) != start.Add(5*time.Second) {
		t.Error("times")
	}
}

// probeOnce runs one probe through a runner.
func probeOnce(t *testing.T, s Spec, target Target) Result {
	t.Helper()
	r := NewRunner(quiet())
	defer r.Close()
	s.Interval = time.Hour
	got := make(chan Result, 1)
	r.Start("k", s, target, func(res Result) { got <- res })
	select {
	case res := <-got:
		return res
	case <-time.After(patience.For(20 * time.Second)):
		t.Fatal("no result")
		return Result{}
	}
}

func TestHTTPProbe(t *testing.T) {
	hang := make(chan struct{})
	mux := http.NewServeMux()
	for path, code := range map[string]int{"/200": 200, "/204": 204, "/404": 404, "/500": 500, "/304": 304} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	mux.Handle("/moved", http.RedirectHandler("/404", http.StatusFound))
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	defer close(hang)
	port := func(s *httptest.Server) int { return s.Listener.Addr().(*net.TCPAddr).Port }
	tests := []struct {
		scheme, path string
		port         int
		ok, seen     bool
		status       int
	}{
		{"http", "/200", port(plain), true, true, 200},
		{"http", "/204", port(plain), true, true, 204},
		{"http", "/304", port(plain), true, true, 304},
		{"http", "/404", port(plain), false, true, 404},
		{"http", "/500", port(plain), false, true, 500},
		{"http", "/moved", port(plain), false, true, 404},
		{"https", "/200", port(secure), true, true, 200},
		{"http", "/200", closedPort(t), false, false, 0},
		{"http", "/hang", port(plain), false, false, 0},
	}
	for _, tt := range tests {
		s := Spec{Kind: HTTP, Scheme: tt.scheme, Path: tt.path, Port: tt.port, Timeout: 5 * time.Second}
		if tt.path == "/hang" {
			s.Timeout = 50 * time.Millisecond
		}
		r := probeOnce(t, s, Target{})
		if r.OK != tt.ok || r.Seen != tt.seen || r.Status != tt.status || (r.Err == "") != tt.ok || r.TimedOut != (tt.path == "/hang") {
			t.Errorf("%s%s: %+v", tt.scheme, tt.path, r)
		}
		cs := s.Status(r)
		if cs.GetType() != mesos.CheckInfo_HTTP || cs.GetHttp() == nil || int(cs.GetHttp().GetStatusCode()) != tt.status {
			t.Errorf("%v", cs)
		}
	}
}

func closedPort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestTCPProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := Spec{Kind: TCP, Port: l.Addr().(*net.TCPAddr).Port, Timeout: 5 * time.Second}
	if r := probeOnce(t, s, Target{}); !r.OK || !r.Seen || !r.Connected {
		t.Errorf("%+v", r)
	}
	s.Port = closedPort(t)
	r := probeOnce(t, s, Target{})
	if r.OK || !r.Seen || r.Connected || r.Err == "" {
		t.Errorf("%+v", r)
	}
	if cs := s.Status(r); cs.GetTcp().Succeeded == nil || cs.GetTcp().GetSucceeded() {
		t.Errorf("%v", cs)
	}
}

func TestCommandProbe(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "probe"), []byte("#!/bin/sh\nexit $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	target := Target{Dir: dir, Env: []string{"PATH=/usr/bin:/bin", "A=task", "B=task"}}
	tests := []struct {
		name     string
		spec     Spec
		ok, seen bool
		code     int
	}{
		{"true", Spec{Shell: true, Value: "true"}, true, true, 0},
		{"exit 7", Spec{Shell: true, Value: "exit 7"}, false, true, 7},
		{"signal", Spec{Shell: true, Value: "kill -9 $$"}, false, true, 137},
		{"environment", Spec{Shell: true, Value: `test "$A$B$PWD" = "tasknew` + dir + `"`, Env: []string{"B=new"}}, true, true, 0},
		{"argv", Spec{Value: "probe", Args: []string{"probe", "3"}}, false, true, 3},
		{"no such program", Spec{Value: "no-such-program"}, false, true, 1},
		{"no such user", Spec{Shell: true, Value: "true", User: "no-such-user-here"}, false, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Kind, tt.spec.Timeout = Command, 20*time.Second
			r := probeOnce(t, tt.spec, target)
			if r.OK != tt.ok || r.Seen != tt.seen || r.ExitCode != tt.code || r.TimedOut {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestTimeoutKillsTheWholeTree(t *testing.T) {
	dir := t.TempDir()
	s := Spec{Kind: Command, Shell: true, Timeout: patience.For(300 * time.Millisecond), // it has to write the file in it
		Value: "(setsid sh -c 'trap \"\" TERM; echo $$ > child.pid; exec sleep 100' &); trap '' TERM; sleep 100"}
	r := probeOnce(t, s, Target{Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}})
	if !r.TimedOut || r.OK || r.Seen {
		t.Errorf("%+v", r)
	}
	if cs := s.Status(r); cs.GetCommand() == nil || cs.GetCommand().ExitCode != nil {
		t.Errorf("%v", cs)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "child.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
	for end := time.Now().Add(patience.For(10 * time.Second)); ; time.Sleep(2 * time.Millisecond) {
		st, err := tree.Read(pid)
		if err != nil || st.State == 'Z' {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("process %d lives on", pid)
		}
	}
}

func TestRunnerRepeatsAndStops(t *testing.T) {
	r := NewRunner(quiet())
	var calls int
	enough := make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // accepts until closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	defer l.Close()
	s := Spec{Kind: TCP, Port: l.Addr().(*net.TCPAddr).Port}
	r.Start("k", s, Target{}, func(Result) {
		if calls++; calls == 3 {
			r.Stop("k") // from inside
			close(enough)
		}
	})
	<-enough
	// Stop does not wait for a report that waits for who calls it.
	reported, goOn := make(chan struct{}), make(chan struct{})
	r.Start("waits", s, Target{}, func(Result) {
		close(reported)
		<-goOn
	})
	<-reported
	r.Stop("waits")
	close(goOn)
	// A probe that runs when it is stopped is cut short and told to nobody.
	began := make(chan struct{})
	dir := t.TempDir()
	go func() {
		for end := time.Now().Add(patience.For(20 * time.Second)); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if _, err := os.Stat(filepath.Join(dir, "began")); err == nil {
				break
			}
		}
		close(began)
	}()
	r.Start("slow", Spec{Kind: Command, Shell: true, Value: "touch began; sleep 100"}, Target{Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}},
		func(Result) { t.Error("told after Stop") })
	<-began
	r.Stop("slow")
	r.Stop("never started")
	r.Close()
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
	r.Start("late", s, Target{}, func(Result) { t.Error("told after Close") })
}
