package operators_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
	"github.com/stoa-project/stoa/master/operators"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// publish changes the book and publishes, as the ledger's owner does.
func (d *door) publish(s *operators.Shell, e *masterapi.Event, after *ledger.Snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if after != nil {
		d.book = after
	}
	s.Publish(e)
}

// serve closes its server after all listeners that were made later.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

// listener reads one event stream.
type listener struct {
	t     *testing.T
	codec wire.Codec
	r     *wire.Reader
	body  io.Closer
	resp  *http.Response
}

func listen(t *testing.T, url string, codec wire.Codec) *listener {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url+"/api/v1", strings.NewReader(`{"type":"SUBSCRIBE"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", wire.MediaJSON)
	req.Header.Set("Accept", codec.MediaType)
	req.Header.Set("Connection", "close") // mesos-go does; the stream stays open all the same
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != codec.MediaType || resp.ContentLength != -1 {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	l := &listener{t: t, codec: codec, r: wire.NewReader(bufio.NewReader(resp.Body), 0), body: resp.Body, resp: resp}
	t.Cleanup(func() { resp.Body.Close() })
	return l
}

func (l *listener) record() []byte {
	l.t.Helper()
	raw, err := l.r.ReadRecord()
	if err != nil {
		l.t.Fatalf("the stream ended: %v", err)
	}
	return raw
}

func (l *listener) next() *masterapi.Event {
	l.t.Helper()
	e := &masterapi.Event{}
	if err := l.codec.Unmarshal(l.record(), e); err != nil {
		l.t.Fatal(err)
	}
	return e
}

// recordedEvents are the events of the recording, which holds one of each type.
func recordedEvents(t *testing.T) (events []*masterapi.Event, inJSON [][]byte) {
	t.Helper()
	for _, name := range []string{"SUBSCRIBE.pb.recordio", "SUBSCRIBE.json.recordio"} {
		raw, err := os.ReadFile(filepath.Join("testdata", "v1", name))
		if err != nil {
			t.Fatal(err)
		}
		r := wire.NewReader(bytes.NewReader(raw), 0)
		for {
			rec, err := r.ReadRecord()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(name, "json") {
				inJSON = append(inJSON, append([]byte(nil), rec...))
				continue
			}
			e := &masterapi.Event{}
			if err := proto.Unmarshal(rec, e); err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
	}
	return events, inJSON
}

// Events come out in the order they went in, each in the form that the real master sent,
// in both codecs.
func TestStreamAsRecorded(t *testing.T) {
	shell, d := recordedShell(t, nil)
	srv := serve(t, mux(shell))
	events, _ := recordedEvents(t)
	inJSON, inPB := listen(t, srv.URL, wire.JSON), listen(t, srv.URL, wire.Protobuf)
	for _, l := range []*listener{inJSON, inPB} {
		first := l.next()
		if s := first.GetSubscribed(); s.GetHeartbeatIntervalSeconds() != 15 || len(s.GetGetState().GetGetAgents().GetAgents()) != 2 ||
			len(s.GetGetState().GetGetTasks().GetCompletedTasks()) != 6 {
			t.Errorf("SUBSCRIBED %.1000v", s)
		}
		if e := l.next(); e.GetType() != masterapi.Event_HEARTBEAT {
			t.Errorf("second event %v", e.GetType())
		}
	}
	seen := map[masterapi.Event_Type]bool{}
	for _, e := range events {
		if e.GetType() == masterapi.Event_SUBSCRIBED || e.GetType() == masterapi.Event_HEARTBEAT {
			continue
		}
		seen[e.GetType()] = true
		want, err := wire.JSON.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		d.publish(shell, e, nil)
		compare(t, "", ordered(t, want), ordered(t, inJSON.record()), nil)
		if got := inPB.next(); !proto.Equal(got, e) {
			t.Errorf("%v, want %v", got, e)
		}
	}
	if len(seen) != 7 {
		t.Errorf("the recording has the types %v", seen)
	}
	shell.TermEnded()
	for _, l := range []*listener{inJSON, inPB} {
		if _, err := l.r.ReadRecord(); err != io.EOF {
			t.Errorf("after the term: %v", err)
		}
	}
}

// The ledger's resources leave in the form of operator endpoints; the ledger's event
// itself stays as it was.
func TestAgentAddedIsConverted(t *testing.T) {
	shell, d := recordedShell(t, nil)
	srv := serve(t, mux(shell))
	l := listen(t, srv.URL, wire.JSON)
	l.next()
	l.next()
	agent := d.book.Agents[0].Wire()
	e := &masterapi.Event{Type: masterapi.Event_AGENT_ADDED.Enum(), AgentAdded: &masterapi.Event_AgentAdded{Agent: agent}}
	before := proto.Clone(e)
	d.publish(shell, e, nil)
	for _, r := range l.next().GetAgentAdded().GetAgent().GetTotalResources() {
		if r.Role == nil {
			t.Errorf("%v has no role", r)
		}
	}
	if !proto.Equal(before, e) {
		t.Error("the event was changed")
	}
}

// However subscriptions and events interleave, what the snapshot holds and the events
// after it make one sequence without hole or repetition.
func TestSubscribeIsGapless(t *testing.T) {
	const total, subscribers = 400, 8
	shell, d := recordedShell(t, nil)
	d.book = &ledger.Snapshot{Master: d.book.Master}
	srv := serve(t, mux(shell))
	task := func(i int) *mesos.Task {
		id := fmt.Sprint(i)
		return &mesos.Task{Name: &id, TaskId: &mesos.TaskID{Value: &id}, FrameworkId: &mesos.FrameworkID{Value: proto.String("f")},
			AgentId: &mesos.AgentID{Value: proto.String("a")}, State: mesos.TaskState_TASK_STAGING.Enum()}
	}
	var wg sync.WaitGroup
	halfway := make(chan struct{})
	wg.Go(func() {
		var tasks []*mesos.Task
		for i := range total {
			tasks = append(tasks[:i:i], task(i))
			f := &ledger.FrameworkView{ID: "f", Info: &mesos.FrameworkInfo{User: proto.String("u"), Name: proto.String("n")}, Tasks: tasks}
			d.publish(shell, &masterapi.Event{Type: masterapi.Event_TASK_ADDED.Enum(), TaskAdded: &masterapi.Event_TaskAdded{Task: tasks[i]}},
				&ledger.Snapshot{Master: d.leading, Frameworks: []*ledger.FrameworkView{f}})
			if i == total/2 {
				<-halfway // at least one subscription begins in the middle
			}
		}
	})
	for n := range subscribers {
		codec := []wire.Codec{wire.JSON, wire.Protobuf}[n%2]
		wg.Go(func() {
			if n == 0 {
				defer func() {
					select {
					case <-halfway:
					default:
						close(halfway)
					}
				}()
			}
			l := listen(t, srv.URL, codec)
			have := len(l.next().GetSubscribed().GetGetState().GetGetTasks().GetTasks())
			l.next()
			if n == 0 {
				close(halfway)
			}
			for ; have < total; have++ {
				if got := l.next().GetTaskAdded().GetTask().GetName(); got != fmt.Sprint(have) {
					t.Errorf("subscriber %d: task %s after %d", n, got, have)
					return
				}
			}
		})
	}
	wg.Wait()
}

// stuck is a client that takes a write for each token and is gone when writes is closed.
type stuck struct {
	http.ResponseWriter
	writes  chan struct{} // one token for each write that may pass
	reached chan struct{} // closed at the first write that waits
	once    sync.Once
}

func (s *stuck) Write(p []byte) (int, error) {
	open := true
	select {
	case _, open = <-s.writes:
	default:
		s.once.Do(func() { close(s.reached) })
		_, open = <-s.writes
	}
	if !open {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func (s *stuck) Flush() {}

// A subscriber that does not read is dropped with a reason in the log; the others and
// the publisher notice nothing.
func TestSlowSubscriberIsDropped(t *testing.T) {
	var logged syncBuffer
	shell, d := recordedShell(t, func(c *operators.Config) {
		c.QueueLength = 3
		c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	})
	h := mux(shell)
	slow := &stuck{ResponseWriter: httptest.NewRecorder(), writes: make(chan struct{}, 16), reached: make(chan struct{})}
	slow.writes <- struct{}{} // SUBSCRIBED
	slow.writes <- struct{}{} // HEARTBEAT
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r := httptest.NewRequest(http.MethodPost, "/api/v1", strings.NewReader(`{"type":"SUBSCRIBE"}`))
		r.Header.Set("Content-Type", wire.MediaJSON)
		h.ServeHTTP(slow, r)
	}()
	srv := serve(t, h)
	good := listen(t, srv.URL, wire.Protobuf)
	good.next()
	good.next()
	removed := func(i int) *masterapi.Event {
		return &masterapi.Event{Type: masterapi.Event_AGENT_REMOVED.Enum(),
			AgentRemoved: &masterapi.Event_AgentRemoved{AgentId: &mesos.AgentID{Value: proto.String(fmt.Sprint(i))}}}
	}
	publish := func(i int) {
		d.publish(shell, removed(i), nil)
		if got := good.next().GetAgentRemoved().GetAgentId().GetValue(); got != fmt.Sprint(i) {
			t.Errorf("%s, want %d", got, i)
		}
	}
	waitFor(t, "both subscribe", func() bool { return streams(t, h) == 2 })
	publish(0)
	<-slow.reached // it holds event 0 and reads no more
	for i := 1; i <= 4; i++ {
		publish(i) // 1 to 3 fill the queue, 4 is one too many
	}
	if n := streams(t, h); n != 1 {
		t.Errorf("%v subscribers, want 1", n)
	}
	if text := logged.String(); !strings.Contains(text, "it reads too slowly") {
		t.Errorf("log: %s", text)
	}
	for range 8 {
		slow.writes <- struct{}{}
	}
	<-ended
	publish(5)
}

// Beyond the limit the oldest stream gives way.
func TestOldestSubscriberGivesWay(t *testing.T) {
	shell, d := recordedShell(t, func(c *operators.Config) { c.MaxSubscribers = 2 })
	srv := serve(t, mux(shell))
	var all []*listener
	for range 3 {
		l := listen(t, srv.URL, wire.JSON)
		l.next()
		l.next()
		all = append(all, l)
	}
	if _, err := all[0].r.ReadRecord(); err != io.EOF {
		t.Errorf("the oldest: %v", err)
	}
	d.publish(shell, &masterapi.Event{Type: masterapi.Event_HEARTBEAT.Enum()}, nil)
	all[1].next()
	all[2].next()
}

// A client that goes away frees its place.
func TestGoneSubscriberIsRemoved(t *testing.T) {
	shell, _ := recordedShell(t, nil)
	h := mux(shell)
	srv := serve(t, h)
	l := listen(t, srv.URL, wire.JSON)
	l.next()
	l.body.Close()
	waitFor(t, "no subscriber is left", func() bool { return streams(t, h) == 0 })
}

// Heartbeats come at their interval, whatever else is sent.
func TestHeartbeats(t *testing.T) {
	shell, _ := recordedShell(t, func(c *operators.Config) { c.Heartbeat = time.Millisecond })
	srv := serve(t, mux(shell))
	l := listen(t, srv.URL, wire.JSON)
	if got := l.next().GetSubscribed().GetHeartbeatIntervalSeconds(); got != 0.001 {
		t.Errorf("interval %v", got)
	}
	for range 5 {
		if e := l.next(); e.GetType() != masterapi.Event_HEARTBEAT {
			t.Errorf("%v", e)
		}
	}
}

func TestSubscribeWhileRecovering(t *testing.T) {
	shell, d := recordedShell(t, nil)
	d.recovering()
	if got := post(mux(shell), http.MethodPost, "/api/v1", `{"type":"SUBSCRIBE"}`); got.Code != 503 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func streams(t *testing.T, h http.Handler) float64 {
	t.Helper()
	r := &masterapi.Response{}
	if err := wire.UnmarshalJSON(post(h, http.MethodPost, "/api/v1", `{"type":"GET_METRICS","get_metrics":{}}`).Body.Bytes(), r); err != nil {
		t.Fatal(err)
	}
	for _, m := range r.GetGetMetrics().GetMetrics() {
		if m.GetName() == "master/operator_event_stream_subscribers" {
			return m.GetValue()
		}
	}
	t.Fatal("no such metric")
	return 0
}

// waitFor polls with a deadline; no test depends on how long something takes.
func waitFor(t *testing.T, what string, yes func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !yes() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// syncBuffer is a log that a test reads while others write.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
