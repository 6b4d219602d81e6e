package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/feed"
	"github.com/stoa-project/stoa/framework/match"
	"github.com/stoa-project/stoa/framework/repo"
	"github.com/stoa-project/stoa/internal/metrics"
)

// stack is the API over the real core, with a store that is durable at once and agents
// that launch what they are told and report what the test says.
type stack struct {
	t      testing.TB
	feed   *feed.Feed
	server *httptest.Server

	mu       sync.Mutex // guards the fields below
	core     *core.Core
	now      time.Time
	token    uint64
	replies  map[uint64]core.Reply
	shown    *core.Snapshot
	launched []core.Launch
	killed   []app.TaskID
	offers   int
	leader   string
	self     bool
	resigned bool
	left     repo.Handover
	stored   int // bytes of all records written
}

func (s *stack) Leader() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader, s.self
}

func (s *stack) Abdicate(_ context.Context, h repo.Handover) error {
	if err := h.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resigned, s.left = true, h
	return nil
}

func (s *stack) Snapshot() *core.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown
}

func (s *stack) Do(_ context.Context, cmd core.Command) (core.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token++
	token := s.token
	s.step(core.Do{Token: token, Command: cmd})
	r := s.replies[token]
	return r.Outcome, r.Err
}

func (s *stack) step(in core.Input) { s.carryOut(s.core.Step(s.now, in)) }

func (s *stack) carryOut(effects []core.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case core.Persist:
			for _, ch := range e.Changes {
				if ch.Value != nil {
					b, err := json.Marshal(ch.Value)
					if err != nil {
						s.t.Fatal(err)
					}
					s.stored += len(b)
				}
			}
			s.step(core.Persisted{Batch: e.Batch})
		case core.Reply:
			s.replies[e.Token] = e
		case core.Show:
			s.shown = e.Snapshot
		case core.Publish:
			s.feed.Publish(e.Event)
		case core.Accept:
			s.launched = append(s.launched, e.Tasks...)
		case core.Kill:
			s.killed = append(s.killed, e.Task)
		}
	}
}

// offer brings one big offer of an agent.
func (s *stack) offer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offers++
	s.step(core.Offers{Offers: []*match.Offer{{
		ID: fmt.Sprint("offer-", s.offers), AgentID: "agent-1", Hostname: "host1", Role: "*",
		Resources: []match.Resource{
			{Name: "cpus", Role: "*", Milli: 64000}, {Name: "mem", Role: "*", Milli: 64000000}, {Name: "disk", Role: "*", Milli: 64000000},
			{Name: "ports", Role: "*", Ranges: []match.Range{{Begin: 31000, End: 32000}}},
		},
	}}})
}

// report sends a status of every launched task that has none of a later launch.
func (s *stack) report(task app.TaskID, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step(core.Update{Task: task, AgentID: "agent-1", State: state, UUID: []byte("u"), IPs: []app.IPAddress{{IPAddress: "10.0.0.1", Protocol: "IPv4"}}})
}

// reportWith is report with the agent's message.
func (s *stack) reportWith(task app.TaskID, state, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step(core.Update{Task: task, AgentID: "agent-1", State: state, Message: message, UUID: []byte("u")})
}

// run offers until nothing more is launched and reports everything running.
func (s *stack) run() []app.TaskID {
	var all []app.TaskID
	for {
		s.advance(time.Second)
		s.offer()
		s.mu.Lock()
		batch := s.launched
		s.launched = nil
		s.mu.Unlock()
		if len(batch) == 0 {
			return all
		}
		for _, l := range batch {
			for k := range l.Instance.TaskCount() {
				id := l.Instance.TaskIDAt(k)
				s.report(id, "TASK_RUNNING")
				all = append(all, id)
			}
		}
	}
}

// finish reports the end of every task that was told to end.
func (s *stack) finish() {
	s.mu.Lock()
	killed := s.killed
	s.killed = nil
	s.mu.Unlock()
	for _, id := range killed {
		s.report(id, "TASK_KILLED")
	}
}

func (s *stack) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
	s.step(core.Tick{})
}

func newStack(t *testing.T) *stack {
	t.Helper()
	return newStackWith(t, func(*Config) {})
}

// newStackWith is a stack whose API is set up differently.
func newStackWith(t testing.TB, set func(*Config)) *stack {
	t.Helper()
	s := &stack{t: t, now: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), replies: map[uint64]core.Reply{}, leader: "leader:8080", self: true}
	s.feed = feed.New(feed.Config{Heartbeat: time.Hour}, nil)
	n, seed := 0, uint64(1)
	c, effects, err := core.New(core.Config{
		Ports: app.PortPool{Min: 10000, Max: 20000},
		UUID:  func() string { n++; return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) },
		Rand:  func() uint64 { seed = seed*6364136223846793005 + 1; return seed },
	}, s.now, core.Stored{})
	if err != nil {
		t.Fatal(err)
	}
	s.core = c
	s.carryOut(effects)
	s.step(core.Subscribed{FrameworkID: "fw-1", Master: "master:5050"})
	cfg := Config{
		Core: s, Leadership: s, Events: s.feed, Metrics: metrics.New(), Self: "leader:8080",
		Rules: app.Rules{MesosRole: "*", BridgeName: "mesos-bridge"}, Ports: app.PortPool{Min: 10000, Max: 20000},
		Info: Info{Name: "marathon", Version: "1.10.26", Marathon: func() map[string]any { return map[string]any{"master": "zk://x", "webui_url": nil} }},
		Now: func() time.Time {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.now
		},
	}
	set(&cfg)
	s.server = httptest.NewServer(New(cfg))
	t.Cleanup(func() {
		s.feed.EndAll()
		s.server.Close()
	})
	return s
}

// answer is a response, its body decoded when it is JSON.
type answer struct {
	status int
	header http.Header
	text   string
	json   any
}

// call makes one request; body may be empty.
func (s *stack) call(method, path, body string, headers ...string) answer {
	s.t.Helper()
	r, err := http.NewRequest(method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(raw)}
	d := json.NewDecoder(bytes.NewReader(raw))
	_ = d.Decode(&a.json)
	return a
}

// want makes a request and checks the status.
func (s *stack) want(status int, method, path, body string, headers ...string) answer {
	s.t.Helper()
	a := s.call(method, path, body, headers...)
	if a.status != status {
		s.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.status, status, a.text)
	}
	return a
}

// at reads a member by a path like "app.tasks.0.id"; nil when it is not there.
func (a answer) at(path string) any {
	v := a.json
	for key := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// has checks members: pairs of a path and the JSON expected there.
func (a answer) has(t *testing.T, pairs ...string) {
	t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		got, _ := json.Marshal(a.at(pairs[i]))
		var want any
		if err := json.Unmarshal([]byte(pairs[i+1]), &want); err != nil {
			t.Fatalf("%s: %v", pairs[i+1], err)
		}
		w, _ := json.Marshal(want)
		if !bytes.Equal(got, w) {
			t.Errorf("%s = %s, want %s in %s", pairs[i], got, w, a.text)
		}
	}
}

// health reports the result of the check that runs beside a running task.
func (s *stack) health(task app.TaskID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step(core.Update{Task: task, AgentID: "agent-1", State: "TASK_RUNNING", UUID: []byte("u"), Healthy: &ok})
}
