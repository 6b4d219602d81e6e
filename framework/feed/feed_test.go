package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/deploy"
	"go.uber.org/goleak"
)

var rewrite = flag.Bool("rewrite", false, "write what is seen into the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// every is one event of each type.
func every() []core.Event {
	at := core.At(1566162693328)
	yes, zero := true, 0
	plan := &deploy.Plan{ID: "867ed450-f6a8-4d33-9b0e-e11c5513990b", Version: 1566162690000, Steps: []deploy.Step{
		{Actions: []deploy.Action{{Verb: deploy.Start, ID: "/shop/web"}}},
		{Actions: []deploy.Action{{Verb: deploy.Scale, ID: "/shop/web"}}}}}
	check := &app.HealthCheck{Protocol: app.HealthHTTP, Path: "/", PortIndex: &zero, GracePeriodSeconds: 300, IntervalSeconds: 60,
		TimeoutSeconds: 20, MaxConsecutiveFailures: 3, DelaySeconds: 15, IPProtocol: "IPv4"}
	id := app.NewInstanceID("/shop/web", "c8ac1bd9-ec45-11e6-9d4e-02421c8ac1bd")
	const v = app.Timestamp(1566162000000)
	return []core.Event{
		streamEvent{at, "10.0.0.9:4242", true},
		streamEvent{at, "10.0.0.9:4242", false},
		APIPost{at, "10.0.0.9", "/v2/apps/shop/web", &app.App{ID: "/shop/web", Cmd: "a && b", Version: v}},
		core.StatusUpdate{At: at, AgentID: "a-S1", Task: id.Task(1), State: "TASK_RUNNING", App: "/shop/web", Host: "host1",
			IPs: []app.IPAddress{{IPAddress: "10.0.0.1", Protocol: "IPv4"}}, Ports: []int{31372}, Version: v},
		core.StatusUpdate{At: at, Task: id.Task(2), State: "TASK_FAILED", Message: "exit <1>", App: "/shop/web", Version: v},
		core.InstanceChanged{At: at, Instance: id, Condition: app.Running, App: "/shop/web", AgentID: "a-S1", Host: "host1", Version: v},
		core.UnknownInstanceTerminated{At: at, Instance: id, App: "/shop/web", Condition: app.Killed},
		core.InstanceHealthChanged{At: at, Instance: id, App: "/shop/web", Healthy: &yes, Version: v},
		core.InstanceHealthChanged{At: at, Instance: id, App: "/shop/web", Version: v},
		core.AppTerminated{At: at, App: "/shop/web"},
		core.HealthCheckAdded{At: at, App: "/shop/web", Version: v, Check: check},
		core.HealthCheckRemoved{At: at, App: "/shop/web"},
		core.HealthCheckFailed{At: at, App: "/shop/web", Instance: id, Task: id.Task(1), Check: check},
		core.HealthStatusChanged{At: at, App: "/shop/web", Instance: id, Task: id.Task(1), Version: v, Alive: true},
		core.UnhealthyKill{At: at, App: "/shop/web", Instance: id, Task: id.Task(1), Version: v, Reason: "500", Host: "host1", AgentID: "a-S1"},
		core.GroupChanged{At: at, Group: "/shop", Version: v},
		core.GroupChanged{At: at, Group: "/shop", Version: v, Reason: "locked"},
		core.DeploymentInfo{At: at, Plan: plan, Step: plan.Steps[1]},
		core.DeploymentStep{At: at, Plan: plan, Step: plan.Steps[0]},
		core.DeploymentStep{At: at, Plan: plan, Step: plan.Steps[0], Failed: true},
		core.DeploymentEnded{At: at, Plan: plan},
		core.DeploymentEnded{At: at, Plan: &deploy.Plan{ID: "x", Version: v}, Reason: "The upgrade has been cancelled"},
		core.SchedulerRegistered{At: at, FrameworkID: "fw-1", Master: "10.0.0.1:5050"},
		core.SchedulerRegistered{At: at, FrameworkID: "fw-1", Master: "10.0.0.2:5050", Again: true},
		core.SchedulerDisconnected{At: at},
		core.FrameworkMessage{At: at, AgentID: "a-S1", ExecutorID: "e", Message: []byte("hi")},
		PodEvent{At: at, What: PodCreated, ClientIP: "10.0.0.9", URI: "/v2/pods"},
		PodEvent{At: at, What: PodUpdated, ClientIP: "10.0.0.9", URI: "/v2/pods/shop/pod"},
		PodEvent{At: at, What: PodDeleted, ClientIP: "10.0.0.9", URI: "/v2/pods/shop/pod"},
	}
}

// TestConformance_9_2_EveryType compares the data line of every event with the golden file.
func TestConformance_9_2_EveryType(t *testing.T) {
	const golden = "testdata/events.txt"
	var got bytes.Buffer
	for _, e := range every() {
		line, err := render(e)
		if err != nil {
			t.Fatal(err)
		}
		var head struct {
			EventType string        `json:"eventType"`
			Timestamp app.Timestamp `json:"timestamp"`
		}
		if err := json.Unmarshal(line, &head); err != nil || head.EventType != e.Type() || head.Timestamp != 1566162693328 || bytes.ContainsAny(line, "\r\n") {
			t.Errorf("%s: %v", line, err)
		}
		got.Write(append(line, '\n'))
	}
	if *rewrite {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
	}
}

// attach opens a stream and waits until it is attached.
func attach(t *testing.T, f *Feed, url string) io.ReadCloser {
	t.Helper()
	before := f.Clients()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	r, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if f.Clients() != before+1 {
		t.Fatalf("%d clients", f.Clients())
	}
	return resp.Body
}

func serve(t *testing.T, cfg Config) (*Feed, string) {
	f := New(cfg, nil)
	srv := httptest.NewServer(f)
	t.Cleanup(func() {
		f.EndAll()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return f, srv.URL
}

// TestConformance_9_1_FilterAndDetach also checks that a client's leaving is told to the others.
func TestConformance_9_1_FilterAndDetach(t *testing.T) {
	f, url := serve(t, Config{Heartbeat: time.Hour})
	body := attach(t, f, url+"?event_type=app_terminated_event&event_type=event_stream_detached")
	other := attach(t, f, url+"?event_type=none")
	f.Publish(core.SchedulerDisconnected{At: 1})
	f.Publish(core.AppTerminated{At: 1, App: "/a"})
	other.Close()
	want := "event: app_terminated_event\r\ndata: {\"eventType\":\"app_terminated_event\",\"timestamp\":\"1970-01-01T00:00:00.001Z\",\"appId\":\"/a\"}\r\n\r\n" +
		"event: event_stream_detached\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(body, got); err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestConformance_9_1_Heartbeat(t *testing.T) {
	f, url := serve(t, Config{Heartbeat: time.Millisecond})
	body := attach(t, f, url+"?event_type=none")
	got := make([]byte, 4)
	if _, err := io.ReadFull(body, got); err != nil || string(got) != "\r\n\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

// stuck is a client that takes the header and then nothing.
type stuck struct {
	http.ResponseWriter
	begun, release chan struct{}
	writes         int
}

func (s *stuck) Write(b []byte) (int, error) {
	if s.writes++; s.writes == 1 {
		close(s.begun)
		<-s.release
	}
	return len(b), nil
}

func (s *stuck) Flush() {}

// TestConformance_9_1_SlowClient fills the queue of a client that does not read: it is cut off, and
// publishing never waits for it.
func TestConformance_9_1_SlowClient(t *testing.T) {
	const limit = 8
	f := New(Config{MaxOutstanding: limit, Heartbeat: time.Hour}, nil)
	w := &stuck{ResponseWriter: httptest.NewRecorder(), begun: make(chan struct{}), release: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.ServeHTTP(w, httptest.NewRequest("GET", "/v2/events", nil))
	}()
	<-w.begun // it is writing event_stream_attached
	for range limit {
		f.Publish(core.AppTerminated{At: 1, App: "/a"})
	}
	if f.Clients() != 1 {
		t.Fatal("cut off too early")
	}
	f.Publish(core.AppTerminated{At: 1, App: "/a"})
	if f.Clients() != 0 {
		t.Fatal("a client that is too far behind stays")
	}
	close(w.release)
	<-ended
}

func TestConformance_9_1_StreamsEndWithLeadership(t *testing.T) {
	f, url := serve(t, Config{Heartbeat: time.Hour})
	body := attach(t, f, url)
	f.EndAll()
	rest, err := io.ReadAll(body)
	if err != nil || !strings.HasPrefix(string(rest), "event: event_stream_attached\r\n") {
		t.Errorf("got %q, %v", rest, err)
	}
	attach(t, f, url)
}
