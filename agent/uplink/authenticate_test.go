package uplink

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/auth/crammd5"
	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// attempts plays the authentication: each attempt waits for a result.
type attempts struct {
	asked   chan libprocess.UPID
	results chan error
}

func (a *attempts) do(ctx context.Context, master, _ libprocess.UPID) error {
	a.asked <- master
	select {
	case err := <-a.results:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func authenticating(t *testing.T) (*bench, *attempts) {
	t.Helper()
	a := &attempts{asked: make(chan libprocess.UPID, 10), results: make(chan error, 10)}
	b := &bench{T: t, tr: &transport{out: make(chan sent, 1000)}, ls: make(leaders, 1), err: make(chan error, 1),
		own: &owner{events: make(chan lifecycle.Event, 100), lost: make(chan struct{}, 100), ended: make(chan string, 1)}}
	up, err := New(Config{ID: "slave(1)", Detector: b.ls, Backoff: time.Millisecond, PingTimeout: time.Hour, Version: make([]byte, 16),
		Authentication: Authentication{Do: a.do}}, b.tr, b.own, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b.up = up
	ctx, cancel := context.WithCancel(context.Background())
	go func() { b.err <- up.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-up.done })
	return b, a
}

// nothing says that no registration was sent so far.
func (b *bench) nothing() {
	b.Helper()
	select {
	case s := <-b.tr.out:
		b.Fatalf("%T was sent before the authentication", s.msg)
	default:
	}
}

func TestAuthenticatesBeforeItRegisters(t *testing.T) {
	b, a := authenticating(t)
	m := b.lead(1)
	if got := <-a.asked; got != m {
		t.Errorf("authenticates with %v", got)
	}
	b.nothing()
	a.results <- errors.New("try again")
	<-a.asked
	b.nothing()
	a.results <- nil
	expect(b, &messages.RegisterSlaveMessage{})
	b.registered(m, "S0")
	// The master that has lost the agent has forgotten who it is.
	b.tr.receive(t, m, &messages.PingSlaveMessage{Connected: proto.Bool(false)})
	<-a.asked
	a.results <- nil
	expect(b, &messages.ReregisterSlaveMessage{})
}

func TestRefusedCredentialEndsTheAgent(t *testing.T) {
	b, a := authenticating(t)
	b.lead(1)
	<-a.asked
	a.results <- crammd5.ErrRefused
	if err := <-b.err; !errors.Is(err, crammd5.ErrRefused) {
		t.Errorf("ended with %v", err)
	}
	b.nothing()
}

// A result of the old leader counts for nothing with the new one.
func TestAuthenticatesWithEachLeader(t *testing.T) {
	b, a := authenticating(t)
	b.lead(1)
	<-a.asked
	second := b.lead(2)
	if got := <-a.asked; got != second {
		t.Errorf("authenticates with %v", got)
	}
	a.results <- nil // one of the two attempts takes it
	select {
	case s := <-b.tr.out:
		if s.to != second {
			t.Errorf("%T was sent to %v", s.msg, s.to)
		}
	case <-time.After(100 * time.Millisecond): // the old leader's attempt took it
		a.results <- nil
		if s := expect(b, &messages.RegisterSlaveMessage{}); s.to != second {
			t.Errorf("registers with %v", s.to)
		}
	}
}

func TestPatienceGrows(t *testing.T) {
	a := Authentication{}
	a.defaults()
	for tries := range 40 {
		if d := a.timeout(tries); d < 5*time.Second || d > time.Minute {
			t.Errorf("try %d: %v", tries, d)
		}
	}
	if d := a.timeout(0); d > 7*time.Second {
		t.Errorf("the first try may take %v", d)
	}
}
