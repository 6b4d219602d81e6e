package repo

import (
	"encoding/base64"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

// noise is text that does not compress well.
func noise(n int) string {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// TestLargeRecords: what is larger than a store takes is compressed, then cut, and read
// back as it was; parts of what was replaced or removed go away.
func TestLargeRecords(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			r := New(s)
			if err := r.Open(t.Context(), zk.Fence{}); err != nil {
				t.Fatal(err)
			}
			parts := func() int {
				recs, err := s.List(t.Context(), partsPrefix)
				if err != nil {
					t.Fatal(err)
				}
				return len(recs)
			}
			for _, each := range []struct {
				text  string
				parts int
			}{
				{"small", 0}, {strings.Repeat("compressible ", 1<<18), 0}, {noise(3 << 20), 4}, {noise(2 << 20), 3}, {"small again", 0},
			} {
				want := &core.FrameworkRecord{ID: each.text}
				if err := r.Apply(t.Context(), zk.Fence{}, []core.Change{{Key: core.FrameworkKey, Value: want}}); err != nil {
					t.Fatal(err)
				}
				if err := r.Open(t.Context(), zk.Fence{}); err != nil { // as the next leader does
					t.Fatal(err)
				}
				if n := parts(); n != each.parts {
					t.Errorf("%d parts for %d bytes, want %d", n, len(each.text), each.parts)
				}
				got, err := r.Load(t.Context())
				if err != nil || got.FrameworkID != each.text {
					t.Errorf("%d bytes came back as %d: %v", len(each.text), len(got.FrameworkID), err)
				}
				for k, v := range contents(t, s) {
					if len(v) > store.MaxValue {
						t.Errorf("%s has %d bytes", k, len(v))
					}
				}
			}
		})
	}
}

// TestDamagedParts: a record whose parts are not all there is named, never taken as empty.
func TestDamagedParts(t *testing.T) {
	s := store.NewMemory()
	r := New(s)
	if err := r.Apply(t.Context(), zk.Fence{}, []core.Change{{Key: core.FrameworkKey, Value: &core.FrameworkRecord{ID: noise(2 << 20)}}}); err != nil {
		t.Fatal(err)
	}
	recs, err := s.List(t.Context(), partsPrefix)
	if err != nil || len(recs) != 3 {
		t.Fatal(len(recs), err)
	}
	before := contents(t, s)
	for what, op := range map[string]store.Op{
		"a part is gone": store.Delete(recs[1].Key), "a part is other bytes": store.Put(recs[0].Key, []byte("x")),
		"the head is odd": store.Put(core.FrameworkKey, []byte(partsMark+"? 3")), "the head asks for too much": store.Put(core.FrameworkKey, []byte(partsMark+"0123456789abcdef 99999999")),
	} {
		if err := s.Apply(t.Context(), zk.Fence{}, op); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Load(t.Context()); fault.KindOf(err) != fault.Malformed || !strings.Contains(err.Error(), core.FrameworkKey) {
			t.Errorf("%s: %v", what, err)
		}
		for k, v := range before {
			if err := s.Apply(t.Context(), zk.Fence{}, store.Put(k, []byte(v))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := contents(t, s); !reflect.DeepEqual(got, before) {
		t.Error("the test did not put things back")
	}
}
