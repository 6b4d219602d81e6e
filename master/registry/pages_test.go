package registry

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

// TestPagesSayTheSame writes and removes agents at random and binds whenever it can: what
// a reader finds in the store is always what was written last, and the store stays small.
// A failing seed replays.
func TestPagesSayTheSame(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, 4, rand.Uint64()} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			s := store.NewMemory()
			b := newBinder()
			want := map[string]string{}
			read := func() *binder {
				out := newBinder()
				for _, folder := range []string{pageFolder, agentFolder} {
					records, err := s.List(t.Context(), folder)
					if err != nil {
						t.Fatal(err)
					}
					for _, each := range records {
						if folder == agentFolder {
							out.wrote([]store.Op{store.Put(each.Key, each.Value)})
							continue
						}
						p, err := decodePage(each.Key, each.Value)
						if err != nil {
							t.Fatal(err)
						}
						out.addPage(p)
					}
				}
				return out
			}
			check := func(step int) {
				got := map[string]string{}
				for id, value := range read().records() {
					got[id] = string(value)
				}
				if !maps.Equal(got, want) {
					t.Fatalf("step %d: %d agents are read, want %d", step, len(got), len(want))
				}
			}
			for step := range 60 {
				for range 1 + r.IntN(20) {
					var batch []store.Op
					seen := map[string]bool{}
					for range 1 + r.IntN(40) {
						id := fmt.Sprintf("S%d", r.IntN(1500))
						if seen[id] {
							continue
						}
						seen[id] = true
						if r.IntN(3) == 0 {
							batch = append(batch, store.Delete("agents/"+id))
							delete(want, id)
							continue
						}
						value := strings.Repeat("x", 200+r.IntN(800)) + fmt.Sprint(step)
						batch = append(batch, store.Put("agents/"+id, []byte(value)))
						want[id] = value
					}
					b.translate(batch)
					if err := s.Apply(t.Context(), zk.Fence{}, batch...); err != nil {
						t.Fatal(err)
					}
					b.wrote(batch)
				}
				for rounds := 0; ; rounds++ {
					batch, bound := b.bind()
					if batch == nil {
						break
					}
					if rounds > 100 {
						t.Fatal("binding comes to no end")
					}
					if err := s.Apply(t.Context(), zk.Fence{}, batch...); err != nil {
						t.Fatal(err)
					}
					b.wrote(batch)
					bound()
					check(step)
				}
				check(step)
				if step%7 == 0 {
					b = read() // a new leader goes on
				}
			}
			if n := len(b.loose); n >= looseMax {
				t.Errorf("%d records are loose", n)
			}
			if n, limit := len(b.pages), sparePages+2*len(b.at)/fullPage+1; n > limit {
				t.Errorf("%d pages for %d agents", n, len(b.at))
			}
			// All go: nothing is left but what hides them, and that goes with the next merge.
			for chunk := range slices.Chunk(slices.Sorted(maps.Keys(want)), 100) {
				var batch []store.Op
				for _, id := range chunk {
					batch = append(batch, store.Delete("agents/"+id))
					delete(want, id)
				}
				b.translate(batch)
				if err := s.Apply(t.Context(), zk.Fence{}, batch...); err != nil {
					t.Fatal(err)
				}
				b.wrote(batch)
			}
			check(-1)
		})
	}
}

func TestDamagedPages(t *testing.T) {
	whole := (&page{number: 3, entries: map[string][]byte{"S0": []byte("{}"), "S1": []byte("{}")}}).encode()
	for n := 1; n < len(whole); n++ {
		p, err := decodePage("pages/0000000003", whole[:n])
		if err == nil && len(p.entries) != 1 {
			t.Errorf("%d of %d bytes: %v", n, len(whole), p.entries)
		}
	}
	if _, err := decodePage("pages/x", whole); err == nil {
		t.Error("a page without number")
	}
	if _, err := decodePage("pages/1", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'x'}); err == nil {
		t.Error("a length beyond all")
	}
}
