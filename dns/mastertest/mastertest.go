// Package mastertest is a Mesos master for tests of dns, as far as dns speaks with one:
// the operator event stream, /master/state and redirects, over real sockets and at the
// test's command.
package mastertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Master is the fake.
type Master struct {
	t   testing.TB
	srv *httptest.Server

	mu      sync.Mutex // guards the fields below
	state   *masterapi.Response_GetState
	poll    []byte // body of /master/state
	refuse  int    // status of SUBSCRIBE instead of a stream; 0: stream
	leader  string // host:port to redirect to; empty: leads itself
	streams map[chan []byte]struct{}
	asked   map[string]int // requests by path
}

// Start runs a master with nothing on it until the test ends.
func Start(t testing.TB) *Master {
	m := &Master{t: t, state: &masterapi.Response_GetState{}, streams: map[chan []byte]struct{}{}, asked: map[string]int{}}
	m.srv = httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(func() {
		m.Drop()
		m.srv.CloseClientConnections()
		m.srv.Close()
	})
	return m
}

// Addr is its host:port.
func (m *Master) Addr() string { return m.srv.Listener.Addr().String() }

// SetState is what the next SUBSCRIBED says.
func (m *Master) SetState(s *masterapi.Response_GetState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
}

// SetPoll is the body of /master/state.
func (m *Master) SetPoll(body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.poll = body
}

// Refuse answers SUBSCRIBE with a status from now on; 0 offers the stream again.
func (m *Master) Refuse(status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = status
}

// Redirect makes it a standby of the leader at addr; "" makes it lead again.
func (m *Master) Redirect(addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leader = addr
}

// Asked counts the requests for a path.
func (m *Master) Asked(path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[path]
}

// Drop ends all streams.
func (m *Master) Drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.streams {
		close(s)
		delete(m.streams, s)
	}
}

// Send puts an event on all streams.
func (m *Master) Send(e *masterapi.Event) {
	m.t.Helper()
	raw, err := wire.Protobuf.Marshal(e)
	if err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.streams {
		s <- raw
	}
}

// Streams counts open streams.
func (m *Master) Streams() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.streams)
}

func (m *Master) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked[r.URL.Path]++
	leader, refuse, poll := m.leader, m.refuse, m.poll
	m.mu.Unlock()
	switch {
	case leader != "" || r.URL.Path == "/master/redirect":
		path := r.URL.Path
		if path == "/master/redirect" {
			path = ""
		}
		if leader == "" {
			leader = m.Addr()
		}
		w.Header().Set("Location", "//"+leader+path)
		w.WriteHeader(http.StatusTemporaryRedirect)
	case r.URL.Path == "/master/state" && poll != nil:
		w.Header().Set("Content-Type", wire.MediaJSON)
		_, _ = w.Write(poll)
	case r.URL.Path == "/api/v1" && refuse != 0:
		http.Error(w, "no", refuse)
	case r.URL.Path == "/api/v1":
		m.stream(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (m *Master) stream(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var call masterapi.Call
	codec, ok := wire.CodecFor(r.Header.Get("Content-Type"))
	if err != nil || !ok || codec.Unmarshal(body, &call) != nil || call.GetType() != masterapi.Call_SUBSCRIBE {
		http.Error(w, "expected SUBSCRIBE", http.StatusBadRequest)
		return
	}
	out, _ := wire.Negotiate(r.Header.Values("Accept"))
	w.Header().Set("Content-Type", out.MediaType)
	events := make(chan []byte, 1024)
	m.mu.Lock()
	first := &masterapi.Event{
		Type:       masterapi.Event_SUBSCRIBED.Enum(),
		Subscribed: &masterapi.Event_Subscribed{GetState: m.state, HeartbeatIntervalSeconds: proto.Float64(15)},
	}
	raw, err := wire.Protobuf.Marshal(first)
	if err != nil {
		m.mu.Unlock()
		m.t.Error(err)
		return
	}
	events <- raw
	m.streams[events] = struct{}{}
	m.mu.Unlock()
	for {
		select {
		case raw, ok := <-events:
			if !ok {
				return
			}
			var e masterapi.Event
			if err := proto.Unmarshal(raw, &e); err != nil {
				m.t.Error(err)
				return
			}
			payload, err := out.Marshal(&e)
			if err != nil {
				m.t.Error(err)
				return
			}
			if _, err := w.Write(wire.AppendRecord(nil, payload)); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			m.mu.Lock()
			delete(m.streams, events)
			m.mu.Unlock()
			return
		}
	}
}

// Framework, Agent and Task make short descriptions of what runs on the master.

// Framework with a host name for its scheduler.
func Framework(id, name, host string) *masterapi.Response_GetFrameworks_Framework {
	return &masterapi.Response_GetFrameworks_Framework{
		FrameworkInfo: &mesos.FrameworkInfo{
			User: proto.String("root"), Name: proto.String(name), Id: &mesos.FrameworkID{Value: &id}, Hostname: &host,
		},
		Active: proto.Bool(true), Connected: proto.Bool(true), Recovered: proto.Bool(false),
	}
}

// Agent at host:port.
func Agent(id, addr string) *masterapi.Response_GetAgents_Agent {
	return &masterapi.Response_GetAgents_Agent{
		AgentInfo: &mesos.AgentInfo{Hostname: proto.String("host-" + strings.ToLower(id)), Id: &mesos.AgentID{Value: &id}},
		Active:    proto.Bool(true), Version: proto.String("1.12.0"), Pid: proto.String("slave(1)@" + addr),
	}
}

// Task that runs, with a DiscoveryInfo of that name and ports when there are any.
func Task(framework, id, name, agent string, ports ...uint32) *mesos.Task {
	t := &mesos.Task{
		Name: &name, TaskId: &mesos.TaskID{Value: &id}, FrameworkId: &mesos.FrameworkID{Value: &framework},
		AgentId: &mesos.AgentID{Value: &agent}, State: mesos.TaskState_TASK_RUNNING.Enum(),
	}
	if len(ports) > 0 {
		t.Discovery = &mesos.DiscoveryInfo{
			Visibility: mesos.DiscoveryInfo_FRAMEWORK.Enum(), Name: &name, Ports: &mesos.Ports{},
		}
		for _, p := range ports {
			t.Discovery.Ports.Ports = append(t.Discovery.Ports.Ports, &mesos.Port{Number: &p, Name: proto.String("http"), Protocol: proto.String("tcp")})
		}
	}
	return t
}

// State of frameworks, agents and tasks.
func State(fs []*masterapi.Response_GetFrameworks_Framework, as []*masterapi.Response_GetAgents_Agent, ts []*mesos.Task) *masterapi.Response_GetState {
	return &masterapi.Response_GetState{
		GetFrameworks: &masterapi.Response_GetFrameworks{Frameworks: fs},
		GetAgents:     &masterapi.Response_GetAgents{Agents: as},
		GetTasks:      &masterapi.Response_GetTasks{Tasks: ts},
	}
}

// Added is the event of a new or returning task.
func Added(t *mesos.Task) *masterapi.Event {
	return &masterapi.Event{Type: masterapi.Event_TASK_ADDED.Enum(), TaskAdded: &masterapi.Event_TaskAdded{Task: t}}
}

// Updated is the event of a task's new state.
func Updated(t *mesos.Task, state mesos.TaskState) *masterapi.Event {
	return &masterapi.Event{Type: masterapi.Event_TASK_UPDATED.Enum(), TaskUpdated: &masterapi.Event_TaskUpdated{
		FrameworkId: t.GetFrameworkId(), State: &state,
		Status: &mesos.TaskStatus{TaskId: t.GetTaskId(), State: &state, AgentId: t.GetAgentId()},
	}}
}
