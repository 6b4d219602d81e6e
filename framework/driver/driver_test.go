package driver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"go.uber.org/goleak"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/match"
	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// master is a fake master: one subscription at a time, which the test feeds.
type master struct {
	*httptest.Server
	calls chan *scheduler.Call

	mu       sync.Mutex // guards the fields below
	events   chan *scheduler.Event
	refusing bool // answers 503 to everything but SUBSCRIBE
}

func newMaster(t *testing.T) *master {
	m := &master{calls: make(chan *scheduler.Call, 100)}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Server.Close)
	t.Cleanup(m.hangUp)
	return m
}

func (m *master) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var call scheduler.Call
	if err := call.Unmarshal(body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	refuse := m.refusing && call.Type != scheduler.Call_SUBSCRIBE
	m.mu.Unlock()
	if refuse {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if call.Type != scheduler.Call_SUBSCRIBE {
		if r.Header.Get("Mesos-Stream-Id") != "stream" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		m.calls <- &call
		w.WriteHeader(http.StatusAccepted)
		return
	}
	events := make(chan *scheduler.Event, 100)
	m.mu.Lock()
	m.events = events
	m.mu.Unlock()
	m.calls <- &call
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.Header().Set("Mesos-Stream-Id", "stream")
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			b, err := e.Marshal()
			if err != nil {
				return
			}
			w.Write(wire.AppendRecord(nil, b))
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (m *master) send(e *scheduler.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events <- e
}

// hangUp ends the subscription.
func (m *master) hangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.events != nil {
		close(m.events)
		m.events = nil
	}
}

func (m *master) subscribed(id string) {
	m.send(&scheduler.Event{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{
		FrameworkID: &mesos.FrameworkID{Value: id}, HeartbeatIntervalSeconds: ptr(15.0)}})
}

func (m *master) call(t *testing.T, kind scheduler.Call_Type) *scheduler.Call {
	t.Helper()
	select {
	case c := <-m.calls:
		if c.Type != kind {
			t.Fatalf("got %s, want %s", c.Type, kind)
		}
		return c
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s", kind)
		return nil
	}
}

// bench runs a driver against a fake master.
type bench struct {
	*Driver
	inputs chan core.Input
	ended  chan error
}

func run(t *testing.T, m *master, cfg Config, frameworkID string) *bench {
	t.Helper()
	at, err := election.MasterAt(strings.TrimPrefix(m.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{inputs: make(chan core.Input, 100), ended: make(chan error, 1)}
	b.Driver = New(cfg, election.NewStatic(at.JSON()), func(in core.Input) { b.inputs <- in }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.ended <- b.Run(ctx, frameworkID)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return b
}

func take[T core.Input](t *testing.T, b *bench) T {
	t.Helper()
	select {
	case in := <-b.inputs:
		v, ok := in.(T)
		if !ok {
			t.Fatalf("got %T %+v", in, in)
		}
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %T", *new(T))
		panic("unreachable")
	}
}

func TestSubscription(t *testing.T) {
	m := newMaster(t)
	b := run(t, m, Config{Name: "marathon", User: "u", Hostname: "h", FailoverTimeout: time.Hour, Checkpoint: true}, "")
	sub := m.call(t, scheduler.Call_SUBSCRIBE).Subscribe.FrameworkInfo
	if sub.ID != nil || sub.Name != "marathon" || len(sub.Roles) != 1 || sub.Roles[0] != "*" || *sub.FailoverTimeout != 3600 || !*sub.Checkpoint {
		t.Errorf("subscribed as %+v", sub)
	}
	m.subscribed("F")
	if got := take[core.Subscribed](t, b); got.FrameworkID != "F" || "http://"+got.Master != m.URL {
		t.Errorf("got %+v", got)
	}

	m.send(&scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: "O"}, AgentID: mesos.AgentID{Value: "S"}, Hostname: "h1",
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: ptr("*")},
		Resources: []mesos.Resource{
			{Name: "cpus", Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: 1.5}},
			{Name: "ports", Type: mesos.RANGES.Enum(), Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 31000, End: 31001}}}},
		},
		Attributes: []mesos.Attribute{{Name: "rack", Type: mesos.SCALAR, Scalar: &mesos.Value_Scalar{Value: 8}}},
	}}}})
	o := take[core.Offers](t, b).Offers[0]
	if o.ID != "O" || o.AgentID != "S" || o.Role != "*" || o.Resources[0].Milli != 1500 || o.Resources[1].Ranges[0] != (match.Range{Begin: 31000, End: 31001}) || o.Attributes[0].Value != "8" {
		t.Errorf("offer %+v", o)
	}

	m.send(&scheduler.Event{Type: scheduler.Event_UPDATE, Update: &scheduler.Event_Update{Status: mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: "a.instance-u._app.1"}, State: mesos.TASK_RUNNING.Enum(), UUID: []byte("uuid"),
		AgentID: &mesos.AgentID{Value: "S"}, Healthy: ptr(true), Reason: mesos.REASON_RECONCILIATION.Enum(),
		ContainerStatus: &mesos.ContainerStatus{NetworkInfos: []mesos.NetworkInfo{{IPAddresses: []mesos.NetworkInfo_IPAddress{{IPAddress: ptr("10.0.0.1")}}}}},
	}}})
	u := take[core.Update](t, b)
	if u.Task != "a.instance-u._app.1" || u.State != "TASK_RUNNING" || u.Reason != "REASON_RECONCILIATION" || !*u.Healthy || u.IPs[0].IPAddress != "10.0.0.1" || string(u.UUID) != "uuid" {
		t.Errorf("update %+v", u)
	}

	for _, e := range []core.Effect{
		core.Acknowledge{AgentID: "S", Task: "t", UUID: []byte("uuid")}, core.Decline{Offers: []string{"O"}, Refuse: time.Minute},
		core.Kill{Task: "t", AgentID: "S"}, core.Revive{Roles: []string{"a"}}, core.Suppress{Roles: []string{"b"}},
		core.Reconcile{Tasks: []core.TaskRef{{Task: "t", AgentID: "S"}}}, core.Reconcile{},
	} {
		b.Send(e)
	}
	if c := m.call(t, scheduler.Call_ACKNOWLEDGE); c.FrameworkID.Value != "F" || string(c.Acknowledge.UUID) != "uuid" {
		t.Errorf("acknowledged %+v", c)
	}
	if c := m.call(t, scheduler.Call_DECLINE); *c.Decline.Filters.RefuseSeconds != 60 {
		t.Errorf("declined %+v", c)
	}
	m.call(t, scheduler.Call_KILL)
	if c := m.call(t, scheduler.Call_REVIVE); !slices.Equal(c.Revive.Roles, []string{"a"}) {
		t.Errorf("revived %+v", c.Revive)
	}
	if c := m.call(t, scheduler.Call_SUPPRESS); !slices.Equal(c.Suppress.Roles, []string{"b"}) {
		t.Errorf("suppressed %+v", c.Suppress)
	}
	if c := m.call(t, scheduler.Call_RECONCILE); len(c.Reconcile.Tasks) != 1 {
		t.Errorf("reconciled %+v", c)
	}
	if c := m.call(t, scheduler.Call_RECONCILE); len(c.Reconcile.Tasks) != 0 {
		t.Errorf("reconciled %+v", c)
	}
}

// TestRoles: a subscription starts with the last roles, and hears of new ones.
func TestRoles(t *testing.T) {
	m := newMaster(t)
	b := run(t, m, Config{Role: "own"}, "F")
	if c := m.call(t, scheduler.Call_SUBSCRIBE); !slices.Equal(c.Subscribe.FrameworkInfo.Roles, []string{"own"}) {
		t.Errorf("subscribed in %v", c.Subscribe.FrameworkInfo.Roles)
	}
	b.Send(core.Roles{Roles: []string{"early", "own"}}) // before the answer has come
	m.subscribed("F")
	take[core.Subscribed](t, b)
	if c := m.call(t, scheduler.Call_UPDATE_FRAMEWORK).UpdateFramework; !slices.Equal(c.FrameworkInfo.Roles, []string{"early", "own"}) || c.FrameworkInfo.ID.Value != "F" {
		t.Errorf("updated to %+v", c)
	}
	b.Send(core.Roles{Roles: []string{"early", "new", "own"}, Suppressed: []string{"own"}})
	if c := m.call(t, scheduler.Call_UPDATE_FRAMEWORK).UpdateFramework; !slices.Equal(c.FrameworkInfo.Roles, []string{"early", "new", "own"}) || !slices.Equal(c.SuppressedRoles, []string{"own"}) {
		t.Errorf("updated to %+v", c)
	}
	m.hangUp()
	take[core.Disconnected](t, b)
	if c := m.call(t, scheduler.Call_SUBSCRIBE).Subscribe; !slices.Equal(c.FrameworkInfo.Roles, []string{"early", "new", "own"}) || len(c.SuppressedRoles) != 0 {
		t.Errorf("subscribed again as %+v", c)
	}
}

func TestResubscribesWithItsID(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*master, *bench)
	}{
		{"the stream ends", func(m *master, _ *bench) { m.hangUp() }},
		{"an error event", func(m *master, _ *bench) {
			m.send(&scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: "oops"}})
		}},
		{"a call fails", func(m *master, b *bench) {
			m.mu.Lock()
			m.refusing = true
			m.mu.Unlock()
			b.Send(core.Revive{})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMaster(t)
			b := run(t, m, Config{}, "")
			m.call(t, scheduler.Call_SUBSCRIBE)
			m.subscribed("F")
			take[core.Subscribed](t, b)
			c.end(m, b)
			take[core.Disconnected](t, b)
			if id := m.call(t, scheduler.Call_SUBSCRIBE).Subscribe.FrameworkInfo.ID; id == nil || id.Value != "F" {
				t.Errorf("subscribed again as %v", id)
			}
			m.subscribed("F")
			take[core.Subscribed](t, b)
		})
	}
}

func TestSilenceEndsTheSubscription(t *testing.T) {
	m := newMaster(t)
	b := run(t, m, Config{MissedHeartbeats: 1}, "F")
	m.call(t, scheduler.Call_SUBSCRIBE)
	m.send(&scheduler.Event{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{
		FrameworkID: &mesos.FrameworkID{Value: "F"}, HeartbeatIntervalSeconds: ptr(0.05)}})
	take[core.Subscribed](t, b)
	take[core.Disconnected](t, b)
}

func TestRemovedFrameworkEnds(t *testing.T) {
	for text, want := range map[string]error{
		"Framework has been removed": ErrRemoved, "Framework failed over": ErrReplaced,
	} {
		m := newMaster(t)
		b := run(t, m, Config{}, "F")
		m.call(t, scheduler.Call_SUBSCRIBE)
		m.send(&scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: text}})
		select {
		case err := <-b.ended:
			if !errors.Is(err, want) {
				t.Errorf("%q ended with %v", text, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%q did not end the driver", text)
		}
	}
}

func TestTaskInfo(t *testing.T) {
	grace, zero := 7, 0
	a := &app.App{ID: "/a/b/web", Cmd: "run", Cpus: 0.1, Mem: 32, User: "joe", Version: 1_600_000_000_000,
		Labels: app.Dict{"Tier-1": "x"}, Env: map[string]app.EnvValue{"PORT0": {Value: "own"}, "S": {Secret: "s"}},
		Secrets:              map[string]app.SecretDef{"s": {Source: "/team/s"}},
		Networks:             app.List[app.Network]{{Mode: app.NetworkHost}},
		PortDefinitions:      []app.PortDefinition{{Name: "web", Port: 10000, Protocol: "udp,tcp", Labels: map[string]string{"VIP_0": "v"}}, {Port: 10001, Protocol: "tcp"}},
		Fetch:                []app.Artifact{{URI: "http://x/y.tgz", Extract: true}},
		HealthChecks:         []app.HealthCheck{{Protocol: app.HealthHTTP}, {Protocol: app.HealthMesosHTTP, PortIndex: &zero, Path: "/h", MaxConsecutiveFailures: 3}},
		TaskKillGraceSeconds: &grace,
	}
	l := core.Launch{Spec: a.RunSpec(), HostPorts: []uint32{31005, 31006}, Instance: &app.Instance{ID: "a_b_web.instance-u", Launch: 2, AgentID: "S", Host: "h1", Role: "*"},
		Resources: []match.Resource{{Name: "cpus", Role: "*", Milli: 100}, {Name: "ports", Role: "*", Ranges: []match.Range{{Begin: 31005, End: 31006}}}}}
	got := New(Config{}, nil, nil, nil).taskInfo(&l)
	if got.Name != "web.b.a" || got.TaskID.Value != "a_b_web.instance-u._app.2" || got.AgentID.Value != "S" {
		t.Errorf("name %s, id %s", got.Name, got.TaskID.Value)
	}
	if d := got.Discovery; *d.Name != "web.b.a" || len(d.Ports.Ports) != 3 || d.Ports.Ports[0].Number != 31005 || *d.Ports.Ports[0].Protocol != "udp" || *d.Ports.Ports[1].Name != "web" || d.Ports.Ports[2].Number != 31006 {
		t.Errorf("discovery %+v", d)
	}
	if !*got.Command.Shell || *got.Command.Value != "run" || *got.Command.User != "joe" || got.Command.URIs[0].Value != "http://x/y.tgz" {
		t.Errorf("command %+v", got.Command)
	}
	if got.HealthCheck.Type != mesos.HealthCheck_HTTP || got.HealthCheck.HTTP.Port != 31005 || *got.HealthCheck.HTTP.Path != "/h" {
		t.Errorf("health check %+v", got.HealthCheck)
	}
	if got.KillPolicy.GracePeriod.Nanoseconds != 7e9 || got.Resources[0].Scalar.Value != 0.1 || *got.Resources[1].AllocationInfo.Role != "*" {
		t.Errorf("kill policy %+v, resources %+v", got.KillPolicy, got.Resources)
	}
	vars := map[string]string{}
	for _, v := range got.Command.Environment.Variables {
		if v.Value != nil {
			vars[v.Name] = *v.Value
		}
	}
	for k, want := range map[string]string{
		"MARATHON_APP_ID": "/a/b/web", "MESOS_TASK_ID": "a_b_web.instance-u._app.2", "MARATHON_APP_VERSION": "2020-09-13T12:26:40.000Z",
		"MARATHON_APP_RESOURCE_CPUS": "0.1", "MARATHON_APP_RESOURCE_MEM": "32.0", "MARATHON_APP_RESOURCE_GPUS": "0",
		"MARATHON_APP_LABELS": "TIER_1", "MARATHON_APP_LABEL_TIER_1": "x", "HOST": "h1",
		"PORT": "31005", "PORTS": "31005,31006", "PORT0": "own", "PORT1": "31006", "PORT_10000": "31005", "PORT_WEB": "31005",
	} {
		if vars[k] != want {
			t.Errorf("%s=%q, want %q", k, vars[k], want)
		}
	}
	if _, set := vars["S"]; set {
		t.Error("a variable of a secret is set")
	}
}

// TestContainerPorts checks marathon.md 7.3 and 2.4 for mapped, fixed and absent ports.
func TestContainerPorts(t *testing.T) {
	zero := 0
	a := &app.App{ID: "/c", Networks: app.List[app.Network]{{Mode: app.NetworkBridge}},
		Container: &app.Container{Type: app.Docker, Docker: &app.DockerImage{Image: "nginx"}, PortMappings: []app.PortMapping{
			{ContainerPort: 80, HostPort: &zero, Protocol: "tcp", Name: "http-api"}, {ContainerPort: 9000, Protocol: "tcp"}, {ContainerPort: 0, HostPort: &zero, Protocol: "tcp"}}}}
	l := core.Launch{Spec: a.RunSpec(), HostPorts: []uint32{31001, 0, 31002}, Instance: &app.Instance{ID: "c.instance-u", Launch: 1, Host: "h"}}
	ports := portsOf(&l)
	vars := map[string]string{}
	portVars(vars, "h", ports, "P_")
	for k, want := range map[string]string{"P_PORT0": "31001", "P_PORT1": "9000", "P_PORT2": "31002", "P_PORTS": "31001,31002", "P_PORT": "31001",
		"P_PORT_80": "31001", "P_PORT_9000": "9000", "P_PORT_31002": "31002", "P_PORT_HTTP-API": "31001", "P_HOST": "h"} {
		if vars[k] != want {
			t.Errorf("%s=%q, want %q", k, vars[k], want)
		}
	}
	box := container(a, "t", ports, "mesos-bridge")
	if *box.Docker.Network != mesos.ContainerInfo_DockerInfo_BRIDGE || len(box.Docker.PortMappings) != 2 || box.Docker.PortMappings[1].ContainerPort != 31002 {
		t.Errorf("docker %+v", box.Docker)
	}
}
