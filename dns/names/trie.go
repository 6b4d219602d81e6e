package names

import "math/bits"

// keyed values know the text they are found by.
type keyed interface {
	comparable
	key() string
}

// trie is a persistent hash map: a copy of it stays as it is while the other one is
// changed, and both share what is equal. A change costs a path of a few branches: one for
// each 32-fold of the map's size, of at most 32 places each. Branches that were made under
// the present edit number are changed in place, so that many changes before one copy cost
// little more than in a plain map.
type trie[V keyed] struct {
	root *branch[V]
	size int
	made int // branches made or copied so far, which is what changes cost
}

const (
	fanBits = 5
	fan     = 1 << fanBits
	deepest = 12 * fanBits // bits of the hash; deeper branches are plain lists
)

// branch has values and branches below it, each in the order of their places. Where there
// is neither, nothing is stored.
type branch[V keyed] struct {
	edit   uint64
	full   uint32 // places with a value, one bit each; 0 in a list
	forked uint32 // places with a branch
	values []V
	below  []*branch[V]
}

// hashOf mixes a text into 64 bits (FNV-1a with a final mix, as its low bits are weak).
func hashOf[S string | []byte](s S) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h ^= h >> 32
	h *= 0x9E3779B97F4A7C15
	return h ^ h>>29
}

// kinBits of a hash, those that lead from the root, come from kin alone.
const kinBits = 3 * fanBits

// hashKey is hashOf, but for the bits that names of the same tasks have in common. So
// these share the upper branches, and a change of a task copies one path, not ten.
func hashKey[S string | []byte](s S) uint64 {
	const mask = 1<<kinBits - 1
	return hashOf(s)&^mask | hashOf(kin(s))&mask
}

// kin gives what names of one task label have in common: for web.fw.mesos.,
// web-abcde-s1.fw.mesos., _web._tcp.fw.mesos. and _http._web._tcp.fw.mesos. it is web. It is
// a guess that costs time where it is wrong, and nothing else.
func kin[S string | []byte](name S) S {
	label := name[:until(name, '.')]
	for len(label) > 0 && label[0] == '_' && len(label) < len(name) {
		rest := name[len(label)+1:]
		next := rest[:until(rest, '.')]
		if len(next) == 0 || next[0] != '_' || string(next) == "_tcp" || string(next) == "_udp" {
			return label[1:]
		}
		name, label = rest, next
	}
	// An agent's tail and before it five letters of a hash.
	at := len(label) - 1
	for at > 0 && label[at] >= '0' && label[at] <= '9' {
		at--
	}
	if at > 7 && at < len(label)-1 && label[at] == 's' && label[at-1] == '-' && label[at-7] == '-' {
		return label[:at-7]
	}
	return label
}

func until[S string | []byte](s S, c byte) int {
	for i := 0; i < len(s); i++ {
		if s[i] == c {
			return i
		}
	}
	return len(s)
}

// get finds a value; the zero value when there is none.
func get[V keyed, S string | []byte](t *trie[V], key S) V {
	var none V
	h := hashKey(key)
	b := t.root
	for shift := 0; b != nil; shift += fanBits {
		if shift >= deepest {
			for _, v := range b.values {
				if v.key() == string(key) {
					return v
				}
			}
			return none
		}
		place := uint32(1) << (h >> shift % fan)
		if b.full&place != 0 {
			if v := b.values[rank(b.full, place)]; v.key() == string(key) {
				return v
			}
			return none
		}
		if b.forked&place == 0 {
			return none
		}
		b = b.below[rank(b.forked, place)]
	}
	return none
}

// rank counts the places before one.
func rank(places, place uint32) int { return bits.OnesCount32(places & (place - 1)) }

// put adds a value or replaces the one with its key.
func (t *trie[V]) put(edit uint64, v V) {
	t.root = t.putAt(edit, t.root, 0, hashKey(v.key()), v)
}

// own gives the branch in a form that this edit may change; nil: an empty one.
func (t *trie[V]) own(edit uint64, b *branch[V]) *branch[V] {
	if b == nil {
		t.made++
		return &branch[V]{edit: edit}
	}
	if b.edit == edit {
		return b
	}
	t.made++
	c := &branch[V]{edit: edit, full: b.full, forked: b.forked}
	if len(b.values) > 0 {
		c.values = append(make([]V, 0, len(b.values)), b.values...)
	}
	if len(b.below) > 0 {
		c.below = append(make([]*branch[V], 0, len(b.below)), b.below...)
	}
	return c
}

func (t *trie[V]) putAt(edit uint64, b *branch[V], shift int, h uint64, v V) *branch[V] {
	b = t.own(edit, b)
	if shift >= deepest {
		for i := range b.values {
			if b.values[i].key() == v.key() {
				b.values[i] = v
				return b
			}
		}
		b.values = append(b.values, v)
		t.size++
		return b
	}
	place := uint32(1) << (h >> shift % fan)
	i, k := rank(b.full, place), rank(b.forked, place)
	switch {
	case b.forked&place != 0:
		b.below[k] = t.putAt(edit, b.below[k], shift+fanBits, h, v)
	case b.full&place == 0:
		b.full |= place
		b.values = wider(b.values, i, v)
		t.size++
	case b.values[i].key() == v.key():
		b.values[i] = v
	default: // two values share the path so far
		old := b.values[i]
		below := t.putAt(edit, nil, shift+fanBits, hashKey(old.key()), old)
		t.size-- // old was counted before
		below = t.putAt(edit, below, shift+fanBits, h, v)
		b.full, b.values = b.full&^place, narrower(b.values, i)
		b.forked, b.below = b.forked|place, wider(b.below, k, below)
	}
	return b
}

// wider puts v in at i, in a list just as long as needed: there are many branches.
func wider[T any](list []T, i int, v T) []T {
	out := list
	if len(list) == cap(list) {
		out = make([]T, len(list)+1)
		copy(out, list[:i])
	} else {
		out = list[:len(list)+1]
	}
	copy(out[i+1:], list[i:])
	out[i] = v
	return out
}

// narrower takes out what is at i; nothing is kept alive behind the end.
func narrower[T any](list []T, i int) []T {
	var none T
	copy(list[i:], list[i+1:])
	list[len(list)-1] = none
	if len(list) == 1 {
		return nil
	}
	return list[:len(list)-1]
}

// remove takes the value of a key out, if there is one.
func (t *trie[V]) remove(edit uint64, key string) {
	var none V
	if get(t, key) == none {
		return
	}
	t.size--
	t.root = t.removeAt(edit, t.root, 0, hashKey(key), key)
}

// removeAt gives nil for a branch that became empty.
func (t *trie[V]) removeAt(edit uint64, b *branch[V], shift int, h uint64, key string) *branch[V] {
	b = t.own(edit, b)
	place := uint32(1) << (h >> shift % fan)
	switch k := rank(b.forked, place); {
	case shift >= deepest:
		i := 0
		for b.values[i].key() != key {
			i++
		}
		b.values = narrower(b.values, i)
	case b.forked&place != 0:
		if b.below[k] = t.removeAt(edit, b.below[k], shift+fanBits, h, key); b.below[k] == nil {
			b.forked, b.below = b.forked&^place, narrower(b.below, k)
		}
	default:
		b.values = narrower(b.values, rank(b.full, place))
		b.full &^= place
	}
	if len(b.values)+len(b.below) == 0 {
		return nil
	}
	return b
}

// all yields every value, in no useful order.
func (t *trie[V]) all(yield func(V) bool) { t.root.each(yield) }

func (b *branch[V]) each(yield func(V) bool) bool {
	if b == nil {
		return true
	}
	for _, v := range b.values {
		if !yield(v) {
			return false
		}
	}
	for _, c := range b.below {
		if !c.each(yield) {
			return false
		}
	}
	return true
}
