package allocate

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoa-project/stoa/internal/resource"
)

// TestRanking: through any sequence of joining, leaving, moving and changes of the
// cluster's totals a ranking gives its nodes in the order of compare.
func TestRanking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		al := New(Config{})
		al.fair = al.fair.With("cpus", resource.Whole(1000))
		r := &ranking{slot: everyone}
		nodes := make([]*node, rapid.IntRange(1, 400).Draw(t, "nodes"))
		for i := range nodes {
			nodes[i] = &node{name: fmt.Sprintf("n%03d", i), weight: float64(1 + i%3)}
			al.join(r, nodes[i])
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				for range rapid.IntRange(1, 100).Draw(t, "moves") {
					n := nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")]
					n.allocated = n.allocated.With("cpus", resource.Whole(int64(rapid.IntRange(0, 20).Draw(t, "cpus"))))
					n.count += uint64(rapid.IntRange(0, 1).Draw(t, "grants"))
					al.touch(n)
				}
			case 1:
				leave(nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")], everyone)
			case 2:
				al.join(r, nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")])
			case 3:
				al.totals++
				al.fair = al.fair.With("cpus", resource.Whole(int64(rapid.IntRange(1, 2000).Draw(t, "total"))))
			}
			al.settle()
			var want, got []string
			in := slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n.at[everyone].in == nil })
			slices.SortFunc(in, func(a, b *node) int {
				return compare(entry{al.share(a), a.count, a}, entry{al.share(b), b.count, b})
			})
			for _, n := range in {
				want = append(want, n.name)
			}
			al.each(r, func(n *node) bool { got = append(got, n.name); return true })
			if !slices.Equal(got, want) || r.size != len(want) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	})
}

// TestDraw: the random sorter puts whoever weighs three times as much first three times as
// often, and leaves nobody out.
func TestDraw(t *testing.T) {
	al := New(Config{Seed: 7})
	r := &ranking{slot: everyone, random: true}
	for name, w := range map[string]float64{"a": 1, "b": 1, "c": 3} {
		al.join(r, &node{name: name, weight: w})
	}
	first := map[string]int{}
	const draws = 30000
	for range draws {
		var order []string
		al.each(r, func(n *node) bool { order = append(order, n.name); return true })
		first[order[0]]++
		if slices.Sort(order); !slices.Equal(order, []string{"a", "b", "c"}) {
			t.Fatalf("drawn: %v", order)
		}
	}
	for name, want := range map[string]float64{"a": 0.2, "b": 0.2, "c": 0.6} {
		if got := float64(first[name]) / draws; got < want-0.02 || got > want+0.02 {
			t.Errorf("%s was first in %.3f of all draws, want %.1f", name, got, want)
		}
	}
}
