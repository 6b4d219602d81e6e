package executors

import (
	"context"
	"fmt"
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

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/executor"
)

// fake knows framework f with executor e, which has subscribed when subscribed is set.
type fake struct {
	phase      Phase
	subscribed bool
	events     chan lifecycle.Event

	framework, executor string // empty: f and e
}

func (f *fake) Phase() Phase { return f.phase }
func (f *fake) Standing(_ context.Context, k lifecycle.ExecutorKey) (bool, bool, bool, error) {
	if f.framework == "" {
		f.framework, f.executor = "f", "e"
	}
	known := string(k.Framework) == f.framework
	return known, known && string(k.Executor) == f.executor, f.subscribed, nil
}
func (f *fake) Container(context.Context, lifecycle.ExecutorKey) (lifecycle.ContainerID, error) {
	return "c", nil
}
func (f *fake) Deliver(_ context.Context, ev lifecycle.Event) { f.events <- ev }

func serve(t *testing.T, f *fake) (*Server, string) {
	t.Helper()
	f.events = make(chan lifecycle.Event, 10)
	s := New(f, slog.New(slog.DiscardHandler))
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return s, srv.URL
}

const ids = `"framework_id":{"value":"f"},"executor_id":{"value":"e"}`

func TestErrorsAsRecorded(t *testing.T) {
	status := func(rest string) string {
		return `{"type":"UPDATE",` + ids + `,"update":{"status":{"task_id":{"value":"t"},` + rest + `}}}`
	}
	for name, c := range map[string]struct {
		method, body string
		phase        Phase
	}{
		"executor-get":                         {method: "GET", phase: Ready},
		"executor-heartbeat":                   {body: `{"type":"HEARTBEAT","framework_id":{"value":"any"},"executor_id":{"value":"any"}}`, phase: Ready},
		"executor-no-ids":                      {body: `{"type":"SUBSCRIBE"}`, phase: Ready},
		"executor-subscribe-missing":           {body: `{"type":"SUBSCRIBE",` + ids + `}`, phase: Ready},
		"executor-subscribe-unknown-framework": {body: `{"type":"SUBSCRIBE","subscribe":{},"framework_id":{"value":"x"},"executor_id":{"value":"e"}}`, phase: Ready},
		"executor-subscribe-unknown-executor":  {body: `{"type":"SUBSCRIBE","subscribe":{},"framework_id":{"value":"f"},"executor_id":{"value":"x"}}`, phase: Ready},
		"executor-update-no-uuid":              {body: status(`"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR"`), phase: Ready},
		"executor-update-staging":              {body: status(`"state":"TASK_STAGING","source":"SOURCE_EXECUTOR","uuid":"AAAAAAAAAAAAAAAAAAAAAA=="`), phase: Ready},
		"executor-update-unknown-framework": {body: strings.Replace(status(`"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","uuid":"AAAAAAAAAAAAAAAAAAAAAA=="`),
			`"value":"f"`, `"value":"x"`, 1), phase: Ready},
		"recovering-executor-heartbeat": {body: `{"type":"HEARTBEAT",` + ids + `}`, phase: Starting},
	} {
		t.Run(name, func(t *testing.T) {
			_, url := serve(t, &fake{phase: c.phase})
			if c.method == "" {
				c.method = "POST"
			}
			req, err := http.NewRequest(c.method, url, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, _ := io.ReadAll(resp.Body)
			b, err := os.ReadFile(filepath.Join("testdata", name+".http"))
			if err != nil {
				t.Fatal(err)
			}
			head, want, _ := strings.Cut(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n\n")
			code, _ := strconv.Atoi(strings.Fields(head)[1])
			want = strings.TrimSuffix(want, "\n")
			if resp.StatusCode != code || string(got) != want {
				t.Errorf("%d %q, recorded %d %q", resp.StatusCode, got, code, want)
			}
			if code == 405 && resp.Header.Get("Allow") != "POST" {
				t.Errorf("Allow %q", resp.Header.Get("Allow"))
			}
			if ct := resp.Header.Get("Content-Type"); code == 202 && ct != "" {
				t.Errorf("an empty answer has Content-Type %q", ct)
			}
		})
	}
}

// mesos-agent.md 0.2, 1.3: media types of requests, what SUBSCRIBE is answered in, and
// bodies that are too long or no calls.
func TestMediaTypes(t *testing.T) {
	subscribe := `{"type":"SUBSCRIBE",` + ids + `,"subscribe":{}}`
	for _, c := range []struct {
		name, media, accept, body string
		status                    int
		want                      string
	}{
		{"none", "", "", subscribe, 400, "Expecting 'Content-Type' to be present"},
		{"charset", "application/json; charset=utf-8", "", subscribe, 415, "Expecting 'Content-Type' of application/json or application/x-protobuf"},
		{"records", "application/recordio", "", subscribe, 415, "Expecting 'Content-Type' of application/json or application/x-protobuf"},
		{"any", "application/json", "*/*", subscribe, 200, "application/json"},
		{"json first", "application/json", "application/x-protobuf, application/json", subscribe, 200, "application/json"},
		{"protobuf", "application/json", "application/x-protobuf", subscribe, 200, "application/x-protobuf"},
		{"stream of records", "application/json", "application/recordio", subscribe, 406, "Expecting 'Accept' to allow application/json or application/x-protobuf"},
		{"html", "application/json", "text/html", subscribe, 406, "Expecting 'Accept' to allow application/json or application/x-protobuf"},
		{"html, but no stream", "application/json", "text/html", `{"type":"MESSAGE",` + ids + `,"message":{"data":"YQ=="}}`, 202, ""},
		{"too long", "application/json", "", strings.Repeat(" ", maxBody+1), 413, "The body is over the limit of 16 MiB"},
		{"no call", "application/x-protobuf", "", "\xff\xff", 400, ""},
	} {
		_, url := serve(t, &fake{phase: Ready, subscribed: true})
		req, err := http.NewRequest("POST", url, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.media != "" {
			req.Header.Set("Content-Type", c.media)
		}
		if c.accept != "" {
			req.Header.Set("Accept", c.accept)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got := resp.Header.Get("Content-Type")
		if c.status != 200 {
			b, _ := io.ReadAll(resp.Body)
			got = string(b)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status || c.want != "" && got != c.want {
			t.Errorf("%s: %d %q, want %d %q", c.name, resp.StatusCode, got, c.status, c.want)
		}
	}
}

func TestStandingIsAsked(t *testing.T) {
	_, url := serve(t, &fake{phase: Ready})
	resp, err := http.Post(url, "application/json", strings.NewReader(`{"type":"MESSAGE",`+ids+`,"message":{"data":"YQ=="}}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("an executor that has not subscribed gets %d", resp.StatusCode)
	}
}

// A stream carries what is sent, gives way to a newer one, and ends when told.
func TestStream(t *testing.T) {
	f := &fake{phase: Reconnecting}
	s, url := serve(t, f)
	key := lifecycle.ExecutorKey{Framework: "f", Executor: "e"}
	subscribe := func() *wire.Reader {
		resp, err := http.Post(url, "application/json", strings.NewReader(`{"type":"SUBSCRIBE",`+ids+`,"subscribe":{}}`))
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("subscribe: %v %v", resp, err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if _, ok := (<-f.events).(lifecycle.ExecutorSubscribed); !ok {
			t.Fatal("no subscription was delivered")
		}
		return wire.NewReader(resp.Body, 0)
	}
	first := subscribe()
	s.Send(key, &executor.Event{Type: executor.Event_SHUTDOWN.Enum()})
	if b, err := first.ReadRecord(); err != nil || string(b) != `{"type":"SHUTDOWN"}` {
		t.Errorf("got %s, %v", b, err)
	}
	second := subscribe()
	if _, err := first.ReadRecord(); err != io.EOF {
		t.Errorf("the old stream goes on: %v", err)
	}
	s.Send(key, &executor.Event{Type: executor.Event_SHUTDOWN.Enum()})
	s.Close(key)
	if _, err := second.ReadRecord(); err != nil {
		t.Errorf("what was queued before the end is lost: %v", err)
	}
	if _, err := second.ReadRecord(); err != io.EOF {
		t.Errorf("the stream goes on after its end: %v", err)
	}
	s.Send(key, &executor.Event{Type: executor.Event_SHUTDOWN.Enum()}) // nobody there: lost, no panic
}

// The first event of a stream is SUBSCRIBED, whatever the core had to say before it heard
// of the subscription (mesos-agent.md 1.2); an order to end is heard at once.
func TestSubscribedComesFirst(t *testing.T) {
	s := New(&fake{}, slog.New(slog.DiscardHandler))
	key := lifecycle.ExecutorKey{Framework: "f", Executor: "e"}
	st := s.open(key, wire.JSON)
	for _, kind := range []executor.Event_Type{executor.Event_LAUNCH, executor.Event_KILL, executor.Event_ACKNOWLEDGED, executor.Event_SUBSCRIBED, executor.Event_LAUNCH} {
		s.Send(key, &executor.Event{Type: kind.Enum()})
	}
	events, over := st.take()
	if len(events) != 2 || string(events[0]) != `{"type":"SUBSCRIBED"}` || string(events[1]) != `{"type":"LAUNCH"}` || over {
		t.Errorf("%q", events)
	}
	st = s.open(key, wire.JSON)
	s.Send(key, &executor.Event{Type: executor.Event_SHUTDOWN.Enum()})
	s.Close(key)
	if events, over := st.take(); len(events) != 1 || !over {
		t.Errorf("%q %v", events, over)
	}
}

// An executor that does not read loses its stream when a write takes too long, or when
// too much waits for it; what is queued is bounded in number and size.
func TestSlowExecutorIsCutOff(t *testing.T) {
	f := &fake{phase: Ready, events: make(chan lifecycle.Event, 10)}
	s := New(f, slog.New(slog.DiscardHandler))
	s.writeWait = 200 * time.Millisecond
	ended := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(w, r)
		close(ended)
	}))
	t.Cleanup(srv.Close)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"type":"SUBSCRIBE",` + ids + `,"subscribe":{}}`
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	<-f.events
	key := lifecycle.ExecutorKey{Framework: "f", Executor: "e"}
	s.Send(key, &executor.Event{Type: executor.Event_SUBSCRIBED.Enum()})
	big := &executor.Event{Type: executor.Event_MESSAGE.Enum(), Message: &executor.Event_Message{Data: make([]byte, 8<<20)}}
	for range 4 { // more than the connection holds
		s.Send(key, big)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the stream of an executor that reads nothing does not end")
	}

	st := newStream(wire.JSON)
	st.greeted = true
	n := 0
	for st.put(executor.Event_MESSAGE, make([]byte, 1<<20)) {
		n++
	}
	if n != queueBytes>>20 {
		t.Errorf("%d MiB are queued", n)
	}
	st.take()
	for n = 0; st.put(executor.Event_KILL, []byte("{}")); n++ {
	}
	if n != queueSize {
		t.Errorf("%d events are queued", n)
	}
}
