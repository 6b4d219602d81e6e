package store_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

var free zk.Fence

// TestBackends runs the contract of Store on each backend.
func TestBackends(t *testing.T) {
	var (
		once sync.Once
		ens  *zookeeper.Ensemble
	)
	ensemble := func() *zookeeper.Ensemble {
		once.Do(func() { ens = zookeeper.Start(t, 1) })
		return ens
	}
	for name, open := range map[string]func(t *testing.T) store.Store{
		"memory": func(*testing.T) store.Store { return store.NewMemory() },
		"file":   func(t *testing.T) store.Store { return openFile(t, filepath.Join(t.TempDir(), "sub", "state.db")) },
		"zookeeper": func(t *testing.T) store.Store {
			return store.NewZK(dial(t, ensemble(), 0), "/"+strings.ReplaceAll(t.Name(), "/", "_"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range conformance {
				t.Run(c.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					s := open(t)
					defer s.Close()
					c.run(t, ctx, s)
				})
			}
		})
	}
}

func openFile(t *testing.T, path string) *store.File {
	t.Helper()
	f, err := store.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func dial(t *testing.T, ens *zookeeper.Ensemble, timeout time.Duration) *zk.Session {
	t.Helper()
	u, err := zk.Parse(ens.URL("store"))
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

var conformance = []struct {
	name string
	run  func(t *testing.T, ctx context.Context, s store.Store)
}{
	{"versions grow from 0", func(t *testing.T, ctx context.Context, s store.Store) {
		apply(t, ctx, s, store.Put("a/b", []byte("1")))
		expect(t, ctx, s, "a/b", "1", 0)
		apply(t, ctx, s, store.Put("a/b", []byte("2")))
		apply(t, ctx, s, store.Op{Key: "a/b", Value: []byte("3"), Version: 1})
		expect(t, ctx, s, "a/b", "3", 2)
		apply(t, ctx, s, store.Delete("a/b"))
		gone(t, ctx, s, "a/b")
		apply(t, ctx, s, store.Create("a/b", nil))
		expect(t, ctx, s, "a/b", "", 0)
	}},
	{"versions guard", func(t *testing.T, ctx context.Context, s store.Store) {
		apply(t, ctx, s, store.Create("k", []byte("x")))
		for _, op := range []store.Op{
			store.Create("k", nil),
			{Key: "k", Version: 1},
			{Key: "k", Version: 1, Delete: true},
			{Key: "none", Version: 0},
			{Key: "none", Version: 0, Delete: true},
		} {
			err := s.Apply(ctx, free, op)
			if fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), op.Key) {
				t.Errorf("%+v: %v, want a conflict naming the key", op, err)
			}
		}
		expect(t, ctx, s, "k", "x", 0)
		apply(t, ctx, s, store.Op{Key: "k", Version: 0, Delete: true})
		gone(t, ctx, s, "k")
	}},
	{"a batch is all or nothing", func(t *testing.T, ctx context.Context, s store.Store) {
		apply(t, ctx, s, store.Put("x/1", []byte("old")))
		err := s.Apply(ctx, free, store.Put("x/1", []byte("new")), store.Put("x/2", nil), store.Create("x/1", nil))
		if fault.KindOf(err) != fault.Conflict {
			t.Fatalf("got %v, want conflict", err)
		}
		expect(t, ctx, s, "x/1", "old", 0)
		gone(t, ctx, s, "x/2")
	}},
	{"ops of a batch see each other", func(t *testing.T, ctx context.Context, s store.Store) {
		apply(t, ctx, s,
			store.Create("y", []byte("1")),
			store.Op{Key: "y", Value: []byte("2"), Version: 0},
			store.Put("y", []byte("3")),
			store.Put("z", nil), store.Delete("z"), store.Delete("never"))
		expect(t, ctx, s, "y", "3", 2)
		gone(t, ctx, s, "z")
		apply(t, ctx, s, store.Delete("y"), store.Create("y", []byte("again")))
		expect(t, ctx, s, "y", "again", 0)
		apply(t, ctx, s)
	}},
	{"lists are sorted and by whole parts", func(t *testing.T, ctx context.Context, s store.Store) {
		keys := []string{"apps/a", "apps/a/b", "apps/b~c", "appsx/a", "apps/Ü %2F?", "framework-id", "versions/prod~web/1", "versions/prod~web/2", "versions/prod~webx/1", "./..", "%"}
		for _, k := range keys {
			apply(t, ctx, s, store.Put(k, []byte(k)))
		}
		for prefix, want := range map[string]string{
			"apps":              "apps/a,apps/a/b,apps/b~c,apps/Ü %2F?",
			"versions/prod~web": "versions/prod~web/1,versions/prod~web/2",
			"framework-id":      "",
			"none":              "",
			"app":               "",
			".":                 "./..",
			"":                  "%,./..,apps/a,apps/a/b,apps/b~c,apps/Ü %2F?,appsx/a,framework-id,versions/prod~web/1,versions/prod~web/2,versions/prod~webx/1",
		} {
			records, err := s.List(ctx, prefix)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range records {
				got = append(got, r.Key)
				if string(r.Value) != r.Key {
					t.Errorf("%s holds %q", r.Key, r.Value)
				}
			}
			if strings.Join(got, ",") != want {
				t.Errorf("List(%q) = %q, want %q", prefix, got, want)
			}
		}
	}},
	{"limits", func(t *testing.T, ctx context.Context, s store.Store) {
		largest := bytes.Repeat([]byte{'v'}, store.MaxValue)
		apply(t, ctx, s, store.Put("big/1", largest))
		r, err := s.Get(ctx, "big/1")
		if err != nil || !bytes.Equal(r.Value, largest) {
			t.Errorf("the largest value came back with %d bytes, %v", len(r.Value), err)
		}
		half := largest[:600<<10]
		for _, ops := range [][]store.Op{
			{store.Put("big/2", append(largest, 'v'))},
			{store.Put("big/3", half), store.Put("big/4", half)},
			{store.Put(strings.Repeat("k", store.MaxKey+1), nil)},
		} {
			if err := s.Apply(ctx, free, ops...); fault.KindOf(err) != fault.TooLarge {
				t.Errorf("%.40s: %v, want too large", ops[0].Key, err)
			}
		}
		gone(t, ctx, s, "big/3")
		var many []store.Op // the most ops that a batch can hold
		for i := 0; store.Size(many...) < store.MaxBatch-2*store.OpOverhead; i++ {
			many = append(many, store.Put("many/"+strconv.Itoa(i), nil))
		}
		apply(t, ctx, s, many...)
	}},
	{"bad keys", func(t *testing.T, ctx context.Context, s store.Store) {
		for _, k := range []string{"", "/a", "a/", "a//b"} {
			if err := s.Apply(ctx, free, store.Put(k, nil)); fault.KindOf(err) != fault.Invalid {
				t.Errorf("Put(%q): %v, want invalid", k, err)
			}
		}
		if err := s.Apply(ctx, free, store.Op{Key: "a", Version: store.Absent, Delete: true}); fault.KindOf(err) != fault.Invalid {
			t.Errorf("delete of an absent key: %v, want invalid", err)
		}
	}},
	{"values are copies", func(t *testing.T, ctx context.Context, s store.Store) {
		v := []byte("abc")
		apply(t, ctx, s, store.Put("v", v))
		v[0] = 'x'
		r, err := s.Get(ctx, "v")
		if err != nil {
			t.Fatal(err)
		}
		r.Value[1] = 'x'
		expect(t, ctx, s, "v", "abc", 0)
	}},
	{"concurrent batches", func(t *testing.T, ctx context.Context, s store.Store) {
		apply(t, ctx, s, store.Create("n", []byte("0")))
		const writers, each = 8, 10
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if err := s.Apply(ctx, free, store.Create(fmt.Sprintf("c/%d-%d", w, i), nil)); err != nil {
						t.Error(err)
					}
					for { // count up with compare and swap
						r, err := s.Get(ctx, "n")
						if err != nil {
							t.Error(err)
							return
						}
						n, _ := strconv.Atoi(string(r.Value))
						err = s.Apply(ctx, free, store.Op{Key: "n", Value: []byte(strconv.Itoa(n + 1)), Version: r.Version})
						if err == nil {
							break
						}
						if fault.KindOf(err) != fault.Conflict {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		expect(t, ctx, s, "n", strconv.Itoa(writers*each), writers*each)
		if l, err := s.List(ctx, "c"); err != nil || len(l) != writers*each {
			t.Errorf("%d records, %v; want %d", len(l), err, writers*each)
		}
	}},
}

func apply(t *testing.T, ctx context.Context, s store.Store, ops ...store.Op) {
	t.Helper()
	if err := s.Apply(ctx, free, ops...); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, ctx context.Context, s store.Store, key, value string, version int64) {
	t.Helper()
	r, err := s.Get(ctx, key)
	if err != nil || r.Key != key || string(r.Value) != value || r.Version != version {
		t.Fatalf("%s = %+v, %v; want %q version %d", key, r, err, value, version)
	}
}

func gone(t *testing.T, ctx context.Context, s store.Store, key string) {
	t.Helper()
	if r, err := s.Get(ctx, key); fault.KindOf(err) != fault.NotFound {
		t.Fatalf("%s = %+v, %v; want not found", key, r, err)
	}
}
