package names

import "math/bits"

// keyed values know the text they are found by.
type keyed interface {
	comparable
	key() string
}

// trie is a persistent hash map: a copy of it stays as it is while the other one is
// changed, and both share what is equal. A change costs a path of a few branches,
// whatever the size of the map. Branches that were made under the present edit number
// are changed in place, so that many changes before one copy cost little more than in a
// plain map.
type trie[V keyed] struct {
	root *trunk[V]
	size int
}

const (
	rootBits = 10
	fanBits  = 5
	fan      = 1 << fanBits
	deepest  = rootBits + 10*fanBits // bits of the hash; deeper branches are plain lists
)

// trunk is the top of the trie: wide, because it is copied once per edit, and each step
// less down to a value saves a miss of the processor's caches.
type trunk[V keyed] struct {
	edit  uint64
	below [1 << rootBits]*branch[V]
}

type branch[V keyed] struct {
	edit  uint64
	used  uint32 // places that are taken, one bit each; 0 in a list
	slots []slot[V]
}

// slot has either a branch below it or a value.
type slot[V keyed] struct {
	below *branch[V]
	value V
}

// hashKey mixes a text into 64 bits (FNV-1a with a final mix, as its low bits are weak).
func hashKey[S string | []byte](s S) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h ^= h >> 32
	h *= 0x9E3779B97F4A7C15
	return h ^ h>>29
}

// get finds a value; the zero value when there is none.
func get[V keyed, S string | []byte](t *trie[V], key S) V {
	var none V
	if t.root == nil {
		return none
	}
	h := hashKey(key)
	b := t.root.below[h%(1<<rootBits)]
	for shift := rootBits; b != nil; shift += fanBits {
		if shift >= deepest {
			for i := range b.slots {
				if b.slots[i].value.key() == string(key) {
					return b.slots[i].value
				}
			}
			return none
		}
		place := uint32(1) << (h >> shift % fan)
		if b.used&place == 0 {
			return none
		}
		s := &b.slots[bits.OnesCount32(b.used&(place-1))]
		if s.below == nil {
			if s.value.key() == string(key) {
				return s.value
			}
			return none
		}
		b = s.below
	}
	return none
}

// put adds a value or replaces the one with its key.
func (t *trie[V]) put(edit uint64, v V) {
	h := hashKey(v.key())
	b := t.own(edit, h)
	if *b == nil {
		*b = &branch[V]{edit: edit}
	}
	*b = t.putAt(edit, *b, rootBits, h, v)
}

// own gives the place below the trunk that a hash leads to, in a trunk of this edit.
func (t *trie[V]) own(edit, h uint64) **branch[V] {
	if t.root == nil {
		t.root = &trunk[V]{edit: edit}
	} else if t.root.edit != edit {
		c := *t.root
		c.edit = edit
		t.root = &c
	}
	return &t.root.below[h%(1<<rootBits)]
}

func (b *branch[V]) own(edit uint64) *branch[V] {
	if b.edit == edit {
		return b
	}
	return &branch[V]{edit: edit, used: b.used, slots: append(make([]slot[V], 0, len(b.slots)), b.slots...)}
}

func (t *trie[V]) putAt(edit uint64, b *branch[V], shift int, h uint64, v V) *branch[V] {
	b = b.own(edit)
	if shift >= deepest {
		for i := range b.slots {
			if b.slots[i].value.key() == v.key() {
				b.slots[i].value = v
				return b
			}
		}
		b.slots = append(b.slots, slot[V]{value: v})
		t.size++
		return b
	}
	place := uint32(1) << (h >> shift % fan)
	i := bits.OnesCount32(b.used & (place - 1))
	switch {
	case b.used&place == 0:
		b.used |= place
		wider := make([]slot[V], len(b.slots)+1) // just as wide as needed: there are many branches
		copy(wider, b.slots[:i])
		wider[i].value = v
		copy(wider[i+1:], b.slots[i:])
		b.slots = wider
		t.size++
	case b.slots[i].below != nil:
		b.slots[i].below = t.putAt(edit, b.slots[i].below, shift+fanBits, h, v)
	case b.slots[i].value.key() == v.key():
		b.slots[i].value = v
	default: // two values share the path so far
		old := b.slots[i].value
		below := &branch[V]{edit: edit}
		below = t.putAt(edit, below, shift+fanBits, hashKey(old.key()), old)
		t.size-- // old was counted before
		b.slots[i] = slot[V]{below: t.putAt(edit, below, shift+fanBits, h, v)}
	}
	return b
}

// remove takes the value of a key out, if there is one.
func (t *trie[V]) remove(edit uint64, key string) {
	var none V
	if get(t, key) == none {
		return
	}
	t.size--
	h := hashKey(key)
	b := t.own(edit, h)
	*b = removeAt(edit, *b, rootBits, h, key)
}

// removeAt gives nil for a branch that became empty.
func removeAt[V keyed](edit uint64, b *branch[V], shift int, h uint64, key string) *branch[V] {
	b = b.own(edit)
	i := 0
	if shift >= deepest {
		for b.slots[i].value.key() != key {
			i++
		}
	} else {
		place := uint32(1) << (h >> shift % fan)
		i = bits.OnesCount32(b.used & (place - 1))
		if b.slots[i].below != nil {
			if b.slots[i].below = removeAt(edit, b.slots[i].below, shift+fanBits, h, key); b.slots[i].below != nil {
				return b
			}
		}
		b.used &^= place
	}
	b.slots = append(b.slots[:i], b.slots[i+1:]...)
	b.slots[:len(b.slots)+1][len(b.slots)] = slot[V]{} // nothing is kept alive behind the end
	if len(b.slots) == 0 {
		return nil
	}
	return b
}

// all yields every value, in no useful order.
func (t *trie[V]) all(yield func(V) bool) {
	if t.root == nil {
		return
	}
	for _, b := range t.root.below {
		if !b.each(yield) {
			return
		}
	}
}

func (b *branch[V]) each(yield func(V) bool) bool {
	if b == nil {
		return true
	}
	for i := range b.slots {
		if b.slots[i].below != nil {
			if !b.slots[i].below.each(yield) {
				return false
			}
		} else if !yield(b.slots[i].value) {
			return false
		}
	}
	return true
}
