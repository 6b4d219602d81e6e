package ledger

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestLine compares a line with a plain slice over random changes.
func TestLine(t *testing.T) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed))
	type member struct{ value, place int }
	var l line[int]
	var want []*member
	for step := range 5000 {
		switch {
		case len(want) == 0 || random.IntN(5) < 2+step%2:
			m := &member{value: step}
			l.add(m.value, &m.place)
			want = append(want, m)
		case random.IntN(3) == 0:
			m := want[random.IntN(len(want))]
			m.value = -step
			l.set(m.place, m.value)
		default:
			i := random.IntN(len(want))
			l.remove(want[i].place)
			want = slices.Delete(want, i, i+1)
		}
		if step%50 != 0 {
			continue
		}
		var values []int
		for _, m := range want {
			values = append(values, m.value)
		}
		if got := l.list(); !slices.Equal(got, values) {
			t.Fatalf("seed %d, step %d: the line has %v, want %v", seed, step, got, values)
		}
		if len(l.cells) > 2*len(want)+smallLine {
			t.Fatalf("seed %d, step %d: %d places for %d members", seed, step, len(l.cells), len(want))
		}
	}
}

// TestListsAreKept shows that what a reader got stays as it was.
func TestListsAreKept(t *testing.T) {
	r := newRing[int](3)
	for i := range 3 {
		r.push(i)
	}
	before := r.list()
	for i := range 5 {
		r.push(10 + i)
	}
	r.cut(func(v int) bool { return v == 13 })
	r.push(20)
	if !slices.Equal(before, []int{0, 1, 2}) || !slices.Equal(r.list(), []int{12, 14, 20}) {
		t.Errorf("a reader's list became %v, the present one is %v", before, r.list())
	}
}
