package master_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/auth/crammd5"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/ratelimit"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/internal/wire/schedulerv0"
	"github.com/stoa-project/stoa/master"
)

var v0Credentials = auth.NewCredentials(auth.Credential{Principal: "alice", Secret: "a"}, auth.Credential{Principal: "agents", Secret: "b"})

func authenticate(t *testing.T, tr *libprocess.Transport, at, pid libprocess.UPID, principal, secret string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return crammd5.Authenticate(ctx, tr, at, pid, auth.Credential{Principal: principal, Secret: secret})
}

func v0Subscribe(principal string) *schedulerv0.Call {
	info := &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("f")}
	if principal != "" {
		info.Principal = &principal
	}
	return &schedulerv0.Call{Type: schedulerv0.Call_SUBSCRIBE.Enum(), Subscribe: &schedulerv0.Call_Subscribe{FrameworkInfo: info}}
}

// TestDriversAuthenticate: CRAM-MD5 of v0 frameworks, right, wrong and absent
// (libprocess.md 3.13).
func TestDriversAuthenticate(t *testing.T) {
	m := startMaster(t, master.Config{Security: master.Security{Credentials: v0Credentials, AuthenticateFrameworks: true}})
	d := startDriver(t, m.addr)
	d.send(v0Subscribe(""))
	if got, want := await[*messages.FrameworkErrorMessage](d).GetMessage(), fmt.Sprintf("Framework at %s is not authenticated", d.pid); got != want {
		t.Errorf("absent: %q, want %q", got, want)
	}
	if err := authenticate(t, d.transport, d.master, d.pid, "alice", "wrong"); !errors.Is(err, crammd5.ErrRefused) {
		t.Errorf("wrong secret: %v", err)
	}
	if err := authenticate(t, d.transport, d.master, d.pid, "alice", "a"); err != nil {
		t.Fatal(err)
	}
	d.send(v0Subscribe("bob"))
	if got := await[*messages.FrameworkErrorMessage](d).GetMessage(); !strings.Contains(got, "does not match principal 'bob'") {
		t.Errorf("somebody else's framework: %q", got)
	}
	d.send(v0Subscribe(""))
	await[*messages.FrameworkRegisteredMessage](d)
	b, err := m.door.View(t.Context())
	if err != nil || len(b.Frameworks) != 1 || b.Frameworks[0].Info.GetPrincipal() != "alice" {
		t.Errorf("%v %v: the principal is filled in", b.Frameworks, err)
	}
}

// TestSubscriptionWaitsForAuthentication: a SUBSCRIBE that comes while the driver
// authenticates is queued, not refused.
func TestSubscriptionWaitsForAuthentication(t *testing.T) {
	m := startMaster(t, master.Config{Security: master.Security{Credentials: v0Credentials, AuthenticateFrameworks: true}})
	d := startDriver(t, m.addr)
	// The steps by hand, with the subscription between the first and the second.
	type step struct {
		from libprocess.UPID
		m    proto.Message
	}
	steps := make(chan step, 10)
	mux := libprocess.NewMux(nil)
	libprocess.Handle(mux, "mesos.internal.AuthenticationMechanismsMessage", func(from libprocess.UPID, m *messages.AuthenticationMechanismsMessage) { steps <- step{from, m} })
	libprocess.Handle(mux, "mesos.internal.AuthenticationStepMessage", func(from libprocess.UPID, m *messages.AuthenticationStepMessage) { steps <- step{from, m} })
	libprocess.Handle(mux, "mesos.internal.AuthenticationErrorMessage", func(from libprocess.UPID, m *messages.AuthenticationErrorMessage) { steps <- step{from, m} })
	self, err := d.transport.Spawn("crammd5-authenticatee(9)", mux)
	if err != nil {
		t.Fatal(err)
	}
	send := func(to libprocess.UPID, m proto.Message) {
		if err := d.transport.Send(self, to, m); err != nil {
			t.Fatal(err)
		}
	}
	send(d.master, &messages.AuthenticateMessage{Pid: proto.String(d.pid.String())})
	offered := <-steps
	if ms := offered.m.(*messages.AuthenticationMechanismsMessage).GetMechanisms(); len(ms) != 1 || ms[0] != "CRAM-MD5" {
		t.Fatalf("mechanisms %v", ms)
	}
	d.send(v0Subscribe(""))
	// An error after this would be the refusal of the subscription.
	send(offered.from, &messages.AuthenticationStartMessage{Mechanism: proto.String("PLAIN")})
	if e, isError := (<-steps).m.(*messages.AuthenticationErrorMessage); !isError {
		t.Fatalf("PLAIN was answered with %v", e)
	}
	if got := await[*messages.FrameworkErrorMessage](d).GetMessage(); !strings.Contains(got, "is not authenticated") {
		t.Errorf("after the failed attempt: %q", got)
	}
}

// TestAgentsAuthenticate: without it a registration is ignored, with it the agent joins.
func TestAgentsAuthenticate(t *testing.T) {
	m := startMaster(t, master.Config{Security: withACL(t, `{
		"register_agents":[{"principals":{"values":["agents"]},"agents":{"type":"ANY"}},{"principals":{"type":"ANY"},"agents":{"type":"NONE"}}]}`,
		master.Security{Credentials: v0Credentials, AuthenticateAgents: true})})
	a := startAgent(t, m.addr)
	a.transport.Link(a.pid, a.master, true)
	a.send(a.registration())
	if err := authenticate(t, a.transport, a.master, a.pid, "agents", "b"); err != nil {
		t.Fatal(err)
	}
	if b, err := m.door.View(t.Context()); err != nil || len(b.Agents) != 0 {
		t.Fatalf("an agent without authentication joined: %v %v", b.Agents, err)
	}
	a.register()
}

// TestRateLimits: what comes faster than a principal may waits, and beyond its capacity
// an HTTP call is 429, a driver's message dropped with an error (mesos-master.md 8.5).
func TestRateLimits(t *testing.T) {
	limits, err := ratelimit.Parse([]byte(`{"limits":[{"principal":"alice","qps":0.001,"capacity":1},{"principal":"bob","qps":200}]}`))
	if err != nil {
		t.Fatal(err)
	}
	m := startMaster(t, master.Config{Security: master.Security{Limits: limits}})
	f := m.subscribe(fmt.Sprintf(subscribeJSON, `,"principal":"alice"`, ""))
	f.next(scheduler.Event_SUBSCRIBED)
	if code, text := f.call(`{"type":"REVIVE"}`); code != 202 {
		t.Errorf("the first call: %d %s", code, text)
	}
	if code, text := f.call(`{"type":"REVIVE"}`); code != 429 || text != "Call dropped: capacity(1) exceeded" {
		t.Errorf("one too many: %d %q", code, text)
	}
	g := m.subscribe(fmt.Sprintf(subscribeJSON, `,"principal":"bob"`, ""))
	g.next(scheduler.Event_SUBSCRIBED)
	began := time.Now()
	for range 5 {
		if code, text := g.call(`{"type":"REVIVE"}`); code != 202 {
			t.Errorf("bob: %d %s", code, text)
		}
	}
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("five calls at 200 a second took %v", took)
	}
	d := startDriver(t, m.addr)
	d.send(v0Subscribe("alice")) // alice's one turn is taken
	id := await[*messages.FrameworkRegisteredMessage](d).GetFrameworkId()
	d.send(&schedulerv0.Call{Type: schedulerv0.Call_REVIVE.Enum(), FrameworkId: id})
	if got := await[*messages.FrameworkErrorMessage](d).GetMessage(); got != "Message REVIVE dropped: capacity(1) exceeded" {
		t.Errorf("driver: %q", got)
	}
}

func TestFirewall(t *testing.T) {
	f, err := web.ParseFirewall([]byte(`{"disabled_endpoints":{"paths":["/state","/master/tasks","/api/v1/scheduler"]}}`), "master")
	if err != nil {
		t.Fatal(err)
	}
	m := startMaster(t, master.Config{Security: master.Security{Firewall: f}})
	for path, code := range map[string]int{"/state": 403, "/master/state": 403, "/state/": 403, "/tasks": 403, "/master/tasks": 403,
		"/api/v1/scheduler": 403, "/state-summary": 200, "/slaves": 200, "/health": 200} {
		resp, body := m.ask("GET", path, "", "")
		if resp.StatusCode != code || (code == 403 && !strings.HasSuffix(body, "is disabled")) {
			t.Errorf("%s: %s %q, want %d", path, resp.Status, body, code)
		}
	}
	if _, err := web.ParseFirewall([]byte(`{"disabled_endpoints":{"paths":["state"]}}`), "master"); err == nil {
		t.Error("a path without / was accepted")
	}
}
