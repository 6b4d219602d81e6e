package master_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master"
)

// running is a master in this process, on a real port.
type running struct {
	t    *testing.T
	door *master.Door
	addr string
	stop func()
	as   string // principal whose requests these are; its secret is the same word. Empty: nobody
}

// sign shows who asks.
func (m *running) sign(r *http.Request) {
	if m.as != "" {
		r.SetBasicAuth(m.as, m.as)
	}
}

// by gives the same master to somebody else.
func (m *running) by(principal string) *running {
	other := *m
	other.as = principal
	return &other
}

// startMaster starts a master and waits until it leads.
func startMaster(t *testing.T, cfg master.Config) *running {
	t.Helper()
	m := startStandby(t, cfg)
	eventually(t, "the master leads", func() bool {
		_, err := m.door.View(context.Background())
		return err == nil
	})
	return m
}

// startStandby starts a master that need not lead.
func startStandby(t *testing.T, cfg master.Config) *running {
	t.Helper()
	if cfg.Listener == nil {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Listener = l
	}
	var log *slog.Logger
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(writer{t}, nil))
	}
	door, err := master.New(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- door.Run(ctx) }()
	stopped := false
	m := &running{t: t, door: door, addr: door.Addr(), stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("master ended with %v", err)
		}
	}}
	t.Cleanup(m.stop)
	return m
}

// writer logs into the test, lines after its end are lost.
type writer struct{ t *testing.T }

func (w writer) Write(p []byte) (int, error) {
	defer func() { _ = recover() }() // the test is over
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// eventually polls with a deadline; no test depends on how long something takes.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !yes() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// post sends one request to the scheduler endpoint and gives the whole answer.
func (m *running) post(header map[string]string, body string) (*http.Response, string) {
	m.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+m.addr+"/api/v1/scheduler", strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	m.sign(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp, string(text)
}

// subscription is a framework's stream, read by hand.
type subscription struct {
	t      *testing.T
	m      *running
	codec  wire.Codec
	stream string
	resp   *http.Response
	events chan *scheduler.Event
	passed []*scheduler.Event // by next, for a later next
	id     string
}

// subscribe opens a stream; call is SUBSCRIBE as JSON.
func (m *running) subscribe(call string) *subscription {
	m.t.Helper()
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	s := m.open("/api/v1/scheduler", h, []byte(call))
	if s.codec.MediaType != wire.MediaJSON {
		m.t.Fatalf("stream of %s", s.codec.MediaType)
	}
	return s
}

// open sends a SUBSCRIBE as given and reads the stream in whatever codec it comes.
func (m *running) open(path string, header http.Header, body []byte) *subscription {
	m.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+m.addr+path, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header = header
	m.sign(req)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}).Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.ContentLength != -1 {
		m.t.Fatalf("subscribe: %s, %v, %s", resp.Status, resp.Header, readAll(m.t, resp))
	}
	s := &subscription{t: m.t, m: m, codec: wire.JSON, stream: resp.Header.Get("Mesos-Stream-Id"), resp: resp,
		events: make(chan *scheduler.Event, 10000)}
	switch got := resp.Header.Get("Content-Type"); got {
	case wire.MediaJSON:
	case wire.MediaProtobuf:
		s.codec = wire.Protobuf
	default:
		m.t.Fatalf("stream of %q", got)
	}
	go func() {
		defer close(s.events)
		records := wire.NewReader(resp.Body, 4<<20)
		for {
			data, err := records.ReadRecord()
			if err != nil {
				return
			}
			e := &scheduler.Event{}
			if err := s.codec.Unmarshal(data, e); err != nil {
				s.t.Errorf("event %s: %v", data, err)
				return
			}
			s.events <- e
		}
	}()
	m.t.Cleanup(s.close)
	return s
}

func (s *subscription) close() { s.resp.Body.Close() }

// next waits for the first event of the kind that was not taken yet.
func (s *subscription) next(kind scheduler.Event_Type) *scheduler.Event {
	s.t.Helper()
	for i, e := range s.passed {
		if e.GetType() == kind {
			s.passed = append(s.passed[:i], s.passed[i+1:]...)
			return e
		}
	}
	deadline := time.After(20 * time.Second)
	for {
		select {
		case e, open := <-s.events:
			if !open {
				s.t.Fatalf("the stream ended before %s", kind)
			}
			if e.GetType() == scheduler.Event_SUBSCRIBED {
				s.id = e.GetSubscribed().GetFrameworkId().GetValue()
			}
			if e.GetType() == kind {
				return e
			}
			s.passed = append(s.passed, e)
		case <-deadline:
			s.t.Fatalf("no %s in time", kind)
		}
	}
}

// ended waits for the end of the stream.
func (s *subscription) ended() {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case _, open := <-s.events:
			if !open {
				return
			}
		case <-deadline:
			s.t.Fatal("the stream did not end in time")
		}
	}
}

// call sends a call on the subscription; the body is completed with the framework's id.
func (s *subscription) call(body string) (int, string) {
	s.t.Helper()
	body = strings.Replace(body, "{", `{"framework_id":{"value":"`+s.id+`"},`, 1)
	resp, text := s.m.post(map[string]string{"Content-Type": "application/json", "Mesos-Stream-Id": s.stream}, body)
	return resp.StatusCode, text
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
