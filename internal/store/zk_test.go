package store_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/store"
)

func TestFencing(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	session := dial(t, ens, 0)
	s := store.NewZK(session, "/store")
	campaign := func() election.Lease {
		t.Helper()
		l, err := election.NewZK(session, "/elect", election.MasterPrefix, slog.New(slog.DiscardHandler)).Campaign(ctx, []byte("me"))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := campaign()
	if err := s.Apply(ctx, first.Fence(), store.Put("a", []byte("first"))); err != nil {
		t.Fatal(err)
	}
	first.Resign()
	second := campaign()
	for _, op := range []store.Op{store.Put("a", []byte("stale")), store.Create("b", nil), store.Delete("a")} {
		if err := s.Apply(ctx, first.Fence(), op); fault.KindOf(err) != fault.Fenced {
			t.Errorf("a stale leader's %+v: %v, want fenced", op, err)
		}
	}
	expect(t, ctx, s, "a", "first", 0)
	gone(t, ctx, s, "b")
	if err := s.Apply(ctx, second.Fence(), store.Put("a", []byte("second"))); err != nil {
		t.Fatal(err)
	}

	// The session behind the lease ends: its node goes, and writes with it are refused.
	other := dial(t, ens, 0)
	session.Close()
	fresh := store.NewZK(other, "/store")
	if err := fresh.Apply(ctx, second.Fence(), store.Put("a", []byte("stale"))); fault.KindOf(err) != fault.Fenced {
		t.Errorf("after the session ended: %v, want fenced", err)
	}
	expect(t, ctx, fresh, "a", "second", 1)
}

// Two processes wrote in turn: what one believes about keys may be wrong.
func TestWrongBeliefsAreCorrected(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	one, two := store.NewZK(dial(t, ens, 0), "/s"), store.NewZK(dial(t, ens, 0), "/s")
	apply(t, ctx, one, store.Put("x/a", []byte("1")))
	apply(t, ctx, two, store.Put("x/a", []byte("2"))) // two believes it absent
	expect(t, ctx, two, "x/a", "2", 1)
	apply(t, ctx, two, store.Delete("x/a"))
	apply(t, ctx, one, store.Put("x/a", []byte("3")), store.Put("x/b", nil)) // one believes it present
	expect(t, ctx, one, "x/a", "3", 0)
	apply(t, ctx, two, store.Delete("x/b"), store.Delete("x/none"))
	gone(t, ctx, one, "x/b")
	apply(t, ctx, one, store.Delete("x/b"), store.Delete("x/a"))
	gone(t, ctx, two, "x/a")
}

func TestUnavailableWithoutServers(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	s := store.NewZK(dial(t, ens, 0), "/s")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	apply(t, ctx, s, store.Put("a", nil))
	ens.KillLeader()
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	err := s.Apply(short, free, store.Put("a", nil))
	if k := fault.KindOf(err); k != fault.Unavailable && k != fault.Timeout {
		t.Errorf("got %v, want unavailable or timeout", err)
	}
}
