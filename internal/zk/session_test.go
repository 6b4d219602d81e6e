package zk_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/zk"
)

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, url string, timeout time.Duration) *zk.Session {
	t.Helper()
	u, err := zk.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := zk.Dial(context.Background(), u, zk.Config{SessionTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSession(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	ctx := deadline(t)
	s := dial(t, ens.URL("t"), 4*time.Second)

	t.Run("nodes", func(t *testing.T) {
		if err := s.EnsurePath(ctx, "/t/a/b", zk.Public); err != nil {
			t.Fatal(err)
		}
		if err := s.EnsurePath(ctx, "/t/a/b", zk.Public); err != nil {
			t.Fatalf("again: %v", err)
		}
		if _, err := s.Create(ctx, nil, "/t/a/b/n", []byte("one"), zk.Persistent, zk.Public); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(ctx, nil, "/t/a/b/n", nil, zk.Persistent, zk.Public); fault.KindOf(err) != fault.Conflict {
			t.Errorf("second create: %v, want conflict", err)
		}
		st, err := s.Set(ctx, "/t/a/b/n", []byte("two"), 0)
		if err != nil || st.Version != 1 {
			t.Errorf("set: version %d, %v", st.Version, err)
		}
		if _, err := s.Set(ctx, "/t/a/b/n", []byte("x"), 0); fault.KindOf(err) != fault.Conflict {
			t.Errorf("set with an old version: %v, want conflict", err)
		}
		data, st, err := s.Get(ctx, "/t/a/b/n")
		if err != nil || string(data) != "two" || st.Version != 1 {
			t.Errorf("get: %q version %d, %v", data, st.Version, err)
		}
		names, err := s.Children(ctx, "/t/a/b")
		if err != nil || !slices.Equal(names, []string{"n"}) {
			t.Errorf("children: %v, %v", names, err)
		}
		if err := s.Delete(ctx, "/t/a/b/n", zk.AnyVersion); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Get(ctx, "/t/a/b/n"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("get after delete: %v, want not found", err)
		}
	})

	t.Run("multi is all or nothing", func(t *testing.T) {
		if err := s.EnsurePath(ctx, "/t/m", zk.Public); err != nil {
			t.Fatal(err)
		}
		err := s.Multi(ctx, zk.Create("/t/m/x", nil, zk.Public), zk.Check("/t/none", 0), zk.Create("/t/m/y", nil, zk.Public))
		var refused *zk.OpError
		if !errors.As(err, &refused) || refused.Index != 1 || fault.KindOf(err) != fault.NotFound {
			t.Fatalf("got %v, want step 1 not found", err)
		}
		if found, _, _ := s.Exists(ctx, "/t/m/x"); found {
			t.Error("half of the batch happened")
		}
		if err := s.Multi(ctx, zk.Create("/t/m/x", nil, zk.Public), zk.Set("/t/m/x", []byte("v"), 0), zk.Check("/t/m/x", 1)); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("sizes are refused before sending", func(t *testing.T) {
		big := make([]byte, zk.MaxData+1)
		if _, err := s.Create(ctx, nil, "/t/big", big, zk.Persistent, zk.Public); fault.KindOf(err) != fault.TooLarge {
			t.Errorf("create: %v", err)
		}
		half := make([]byte, 600<<10)
		err := s.Multi(ctx, zk.Create("/t/h1", half, zk.Public), zk.Create("/t/h2", half, zk.Public))
		if fault.KindOf(err) != fault.TooLarge || !strings.Contains(err.Error(), "limit of 1024000") {
			t.Errorf("multi: %v", err)
		}
		if _, err := s.Create(ctx, nil, "/t/fits", make([]byte, zk.MaxData), zk.Persistent, zk.Public); err != nil {
			t.Errorf("the largest value: %v", err)
		}
	})

	t.Run("children are watched", func(t *testing.T) {
		wctx, stop := context.WithCancel(ctx)
		defer stop()
		views := s.WatchChildren(wctx, "/t/w")
		expect := func(want ...string) {
			t.Helper()
			for v := range views {
				if v.Err == nil && slices.Equal(v.Names, want) {
					return
				}
			}
			t.Fatalf("the watch ended before it showed %v", want)
		}
		expect()
		if err := s.EnsurePath(ctx, "/t/w/b", zk.Public); err != nil {
			t.Fatal(err)
		}
		expect("b")
		if err := s.EnsurePath(ctx, "/t/w/a", zk.Public); err != nil {
			t.Fatal(err)
		}
		expect("a", "b")
		if err := s.Delete(ctx, "/t/w/b", -1); err != nil {
			t.Fatal(err)
		}
		expect("a")
		stop()
		for range views { // drains to the close
		}
	})

	t.Run("close frees ephemeral nodes", func(t *testing.T) {
		other := dial(t, ens.URL("t"), 30*time.Second)
		if _, err := other.Create(ctx, nil, "/t/eph", nil, zk.Ephemeral, zk.Public); err != nil {
			t.Fatal(err)
		}
		other.Close()
		if found, _, err := s.Exists(ctx, "/t/eph"); found || err != nil {
			t.Errorf("found=%v, %v", found, err)
		}
		if _, _, err := other.Get(ctx, "/t"); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("after close: %v, want unavailable", err)
		}
	})
}

func TestCredentialsGuardNodes(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	ctx := deadline(t)
	owner := dial(t, "zk://stoa:secret@"+ens.ConnectString()+"/s", 0)
	stranger := dial(t, ens.URL("s"), 0)
	if err := owner.EnsurePath(ctx, "/s", zk.Public); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Create(ctx, nil, "/s/private", []byte("x"), zk.Persistent, zk.Private); err != nil {
		t.Fatal(err)
	}
	if _, _, err := stranger.Get(ctx, "/s/private"); fault.KindOf(err) != fault.Forbidden {
		t.Errorf("a stranger reads private data: %v", err)
	}
	if _, err := stranger.Children(ctx, "/s"); err != nil {
		t.Errorf("a stranger may list public nodes: %v", err)
	}
	if _, err := stranger.Create(ctx, nil, "/s/mine", nil, zk.Persistent, zk.Public); fault.KindOf(err) != fault.Forbidden {
		t.Errorf("a stranger writes below a public node: %v", err)
	}
	if _, _, err := owner.Get(ctx, "/s/private"); err != nil {
		t.Errorf("the owner: %v", err)
	}
}

func TestTermEndsByOwnClock(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	ctx := deadline(t)
	s := dial(t, ens.URL("t"), 2*time.Second)
	term, err := s.Term(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ens.Pause() // the server can announce nothing
	select {
	case <-term.Over:
	case <-ctx.Done():
		t.Fatal("the term did not end while the servers were silent")
	}
	if _, err := s.Create(ctx, &term, "/late", nil, zk.Ephemeral, zk.Public); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("a node for a term that is over: %v, want unavailable", err)
	}
	ens.Resume()
	next, err := s.Term(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if next.ID == term.ID {
		t.Error("the old session came back")
	}
}

func TestReadsOutliveAServer(t *testing.T) {
	ens := zookeeper.Start(t, 3)
	ctx := deadline(t)
	s := dial(t, ens.URL("t"), 10*time.Second)
	if err := s.EnsurePath(ctx, "/t/a", zk.Public); err != nil {
		t.Fatal(err)
	}
	term, err := s.Term(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ens.KillLeader()
	names, err := s.Children(ctx, "/t")
	if err != nil || !slices.Equal(names, []string{"a"}) {
		t.Fatalf("children: %v, %v", names, err)
	}
	again, err := s.Term(ctx)
	if err != nil || again.ID != term.ID {
		t.Errorf("the session did not survive: %#x then %#x, %v", term.ID, again.ID, err)
	}
}
