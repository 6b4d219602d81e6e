package load

import (
	"testing"

	"github.com/stoa-project/stoa/internal/resource"
)

// Tasks are cut out of offers exactly, across reservations, until nothing fits.
func TestTakeUsesTheWholeOffer(t *testing.T) {
	free, err := resource.Parse("cpus:0.25;cpus(web):0.2;mem(web):100", "*")
	if err != nil {
		t.Fatal(err)
	}
	var all resource.Resources
	for range 4 {
		taken, rest, ok := take(free, 0.1, 10)
		if !ok {
			t.Fatalf("no room in %s", free)
		}
		all, free = all.Add(taken), rest
	}
	if all.Get("cpus") != resource.FromFloat(0.4) || all.Get("mem") != resource.Whole(40) {
		t.Errorf("taken %s", all)
	}
	if _, rest, ok := take(free, 0.1, 10); ok || !rest.Equal(free) {
		t.Errorf("a fifth task was cut out of %s", free)
	}
	if free.Get("cpus") != resource.FromFloat(0.05) || free.Get("mem") != resource.Whole(60) {
		t.Errorf("left %s", free)
	}
}

func TestNamesOfTasks(t *testing.T) {
	for _, c := range []struct {
		id   string
		want int
		ok   bool
	}{{name(7, 1), 7, true}, {name(12, 3), 12, true}, {"load--1", 0, false}, {"other", 0, false}, {"", 0, false}} {
		if i, ok := index(c.id); i != c.want || ok != c.ok {
			t.Errorf("%q: %d %v", c.id, i, ok)
		}
	}
}
