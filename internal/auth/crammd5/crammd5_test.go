package crammd5

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

func transport(t *testing.T) *libprocess.Transport {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := libprocess.New(libprocess.Config{Listener: l, Advertise: netip.AddrPort{}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- tr.Serve() }()
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return tr
}

// master is a process "master" with a server.
func master(t *testing.T, cfg Config) (*Server, libprocess.UPID) {
	t.Helper()
	cfg.Transport, cfg.Process = transport(t), "master"
	s := NewServer(cfg)
	mux := libprocess.NewMux(func(peer libprocess.UPID, _ error) { s.Forget(peer) })
	s.Handle(mux)
	pid, err := cfg.Transport.Spawn("master", mux)
	if err != nil {
		t.Fatal(err)
	}
	return s, pid
}

var known = auth.NewCredentials(auth.Credential{Principal: "p", Secret: "s"}, auth.Credential{Principal: "with space", Secret: "x y"})

func (s *Server) principal(pid libprocess.UPID) string {
	got := make(chan string, 1)
	s.When(pid, func(p string, known bool) {
		if !known {
			p = "nobody"
		}
		got <- p
	})
	return <-got
}

// TestRecordedAnswer is the example of RFC 2195, section 2.
func TestRecordedAnswer(t *testing.T) {
	c := []byte("<1896.697170952@postoffice.reston.mci.net>")
	r := response("tim", "tanstaaftanstaaf", c)
	if string(r) != "tim b913a602c7eda7a495b4e6e7334d3890" {
		t.Errorf("response %q", r)
	}
	if p, ok := check(auth.NewCredentials(auth.Credential{Principal: "tim", Secret: "tanstaaftanstaaf"}), c, r); p != "tim" || !ok {
		t.Errorf("check: %q %v", p, ok)
	}
	for _, bad := range []string{"", " ", "tim", "tim x", " b913a602c7eda7a495b4e6e7334d3890", "tom b913a602c7eda7a495b4e6e7334d3890"} {
		if _, ok := check(known, c, []byte(bad)); ok {
			t.Errorf("%q was accepted", bad)
		}
	}
	// The digest of an empty secret does not open the door of a principal that is not known.
	if _, ok := check(known, c, response("stranger", "", c)); ok {
		t.Error("an unknown principal was accepted")
	}
}

func TestBothSides(t *testing.T) {
	s, at := master(t, Config{Secrets: known})
	peer := transport(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	pid := peer.PID("slave(1)")
	if got := s.principal(pid); got != "nobody" {
		t.Errorf("before: %q", got)
	}
	for _, c := range []auth.Credential{{Principal: "p", Secret: "s"}, {Principal: "with space", Secret: "x y"}} {
		if err := Authenticate(ctx, peer, at, pid, c); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if got := s.principal(pid); got != c.Principal {
			t.Errorf("after: %q, want %q", got, c.Principal)
		}
	}
	for _, c := range []auth.Credential{{Principal: "p", Secret: "wrong"}, {Principal: "stranger", Secret: "s"}} {
		if err := Authenticate(ctx, peer, at, pid, c); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want a refusal", c, err)
		}
		if got := s.principal(pid); got != "nobody" {
			t.Errorf("a refused attempt leaves %q: an attempt erases what was known", got)
		}
	}
	if err := Authenticate(ctx, peer, at, pid, auth.Credential{Principal: "p", Secret: "s"}); err != nil {
		t.Fatal(err)
	}
	s.Forget(pid)
	if got := s.principal(pid); got != "nobody" {
		t.Errorf("after Forget: %q", got)
	}
}

func TestNoCredentials(t *testing.T) {
	_, at := master(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	peer := transport(t)
	err := Authenticate(ctx, peer, at, peer.PID("x"), auth.Credential{Principal: "p", Secret: "s"})
	if err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("%v, want an error that is worth a retry", err)
	}
}

// TestWhoWaits: what comes while an attempt is under way waits for its end, also when the
// attempt never gets there.
func TestWhoWaits(t *testing.T) {
	s, at := master(t, Config{Secrets: known, Timeout: 50 * time.Millisecond, Waiting: 1})
	peer := transport(t)
	var mechanisms atomic.Int32
	mux := libprocess.NewMux(nil)
	libprocess.Handle(mux, prefix+"AuthenticationMechanismsMessage", func(libprocess.UPID, *messages.AuthenticationMechanismsMessage) { mechanisms.Add(1) })
	self, err := peer.Spawn("silent(1)", mux)
	if err != nil {
		t.Fatal(err)
	}
	pid := peer.PID("scheduler-1")
	if err := peer.Send(self, at, &messages.AuthenticateMessage{Pid: proto.String(pid.String())}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for mechanisms.Load() == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if got := s.principal(pid); got != "nobody" {
		t.Errorf("after the timeout: %q", got)
	}
	s.mu.Lock()
	left := len(s.pending)
	s.mu.Unlock()
	if left != 0 {
		t.Errorf("%d attempts are left", left)
	}
}

// TestStrangersAnswer: a response that comes from another process than the one that asked
// counts for nothing.
func TestStrangersAnswer(t *testing.T) {
	s, at := master(t, Config{Secrets: known, Timeout: 200 * time.Millisecond})
	peer, stranger := transport(t), transport(t)
	from, err := stranger.Spawn("stranger", libprocess.NewMux(nil))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	mux := libprocess.NewMux(nil)
	libprocess.Handle(mux, prefix+"AuthenticationMechanismsMessage", func(session libprocess.UPID, _ *messages.AuthenticationMechanismsMessage) {
		_ = stranger.Send(from, session, &messages.AuthenticationStartMessage{Mechanism: proto.String(Mechanism)})
		_ = stranger.Send(from, session, &messages.AuthenticationStepMessage{Data: []byte("p 00")})
		close(asked)
	})
	self, err := peer.Spawn("silent(1)", mux)
	if err != nil {
		t.Fatal(err)
	}
	pid := peer.PID("slave(1)")
	if err := peer.Send(self, at, &messages.AuthenticateMessage{Pid: proto.String(pid.String())}); err != nil {
		t.Fatal(err)
	}
	<-asked
	if got := s.principal(pid); got != "nobody" {
		t.Errorf("principal %q", got)
	}
}
