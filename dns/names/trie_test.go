package names

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

type word struct {
	text  string
	value int
}

func (w *word) key() string { return w.text }

// The trie does what a map does, and copies of it stay as they are.
func TestTrieIsAPersistentMap(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		var now trie[*word]
		want := map[string]int{}
		type copied struct {
			trie trie[*word]
			want map[string]int
		}
		var copies []copied
		edit := uint64(1)
		for i := range 5000 {
			key := fmt.Sprint("k", r.IntN(700))
			if r.IntN(3) == 0 {
				now.remove(edit, key)
				delete(want, key)
			} else {
				now.put(edit, &word{key, i})
				want[key] = i
			}
			if r.IntN(500) == 0 {
				copies = append(copies, copied{now, maps.Clone(want)})
				edit++
			}
		}
		for _, c := range append(copies, copied{now, want}) {
			got := map[string]int{}
			for w := range c.trie.all {
				got[w.text] = w.value
				if w2 := get(&c.trie, []byte(w.text)); w2 != w {
					t.Fatalf("seed %d: %s is not found", seed, w.text)
				}
			}
			if !maps.Equal(got, c.want) || c.trie.size != len(c.want) {
				t.Fatalf("seed %d: %d values and size %d, want %d", seed, len(got), c.trie.size, len(c.want))
			}
		}
		for k := range want {
			now.remove(edit, k)
		}
		if now.root != nil || now.size != 0 {
			t.Fatalf("seed %d: something is left in an empty trie", seed)
		}
	}
}

// Keys of one hash share a list at the bottom.
func TestTrieOfEqualHashes(t *testing.T) {
	var x trie[*word]
	const h = 0x1234567
	b := &branch[*word]{edit: 1}
	for i := range 3 {
		b = x.putAt(1, b, deepest, h, &word{fmt.Sprint(i), i})
	}
	b = x.putAt(2, b, deepest, h, &word{"1", 9})
	if x.size != 3 || len(b.values) != 3 || b.values[1].value != 9 {
		t.Errorf("%+v", b)
	}
	for _, k := range []string{"1", "0", "2"} {
		b = x.removeAt(2, b, deepest, h, k)
	}
	if b != nil {
		t.Errorf("%+v", b)
	}
}

// Names of one task are neighbours in the trie.
func TestKin(t *testing.T) {
	for name, want := range map[string]string{
		"web.marathon.mesos.":                   "web",
		"web-mg4zc-s12.marathon.mesos.":         "web",
		"my-apple-pie-mg4zc-s0.marathon.mesos.": "my-apple-pie",
		"my-apple-pie.marathon.mesos.":          "my-apple-pie",
		"web.prod-mg4zc-s0.marathon.mesos.":     "web",
		"_web._tcp.marathon.mesos.":             "web",
		"_web._udp.marathon.slave.mesos.":       "web",
		"_http._web._tcp.marathon.mesos.":       "web",
		"_http._web.prod._tcp.marathon.mesos.":  "web",
		"_tcp.marathon.mesos.":                  "tcp",
		"-s1.x.":                                "-s1",
		"s1":                                    "s1",
		"_":                                     "_",
		"_.":                                    "",
		"..":                                    "",
		"":                                      "",
	} {
		if got := kin(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if got := kin([]byte(name)); string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
