package names

import "slices"

// Set shows values under a name, in no useful order. It never changes.
type Set[T any] struct {
	few  []T
	many *pages[T] // instead of few in large sets
}

// Len counts the values.
func (s Set[T]) Len() int {
	if s.many != nil {
		return s.many.size
	}
	return len(s.few)
}

// At gives the value at a place from 0 to Len()-1.
func (s Set[T]) At(i int) T {
	if s.many != nil {
		return s.many.at(i)
	}
	return s.few[i]
}

// list gives all values; they must not be changed.
func (s Set[T]) list() []T {
	if s.many == nil {
		return s.few
	}
	out := make([]T, 0, s.many.size)
	for _, g := range s.many.list {
		out = append(out, g.values...)
	}
	return out
}

const (
	// pageSize is how many values of a large set are copied when one changes.
	pageSize = 256
	// searchable is the size up to which a value is found by looking at all of them.
	searchable = 32
)

// manyValues is the size from which a set is kept in pages, and until which it stays so
// when it shrinks; fixed but for tests.
var manyValues = 2 * pageSize

// pages is a large set, persistent as the trie is: what was made under another edit is
// copied before it is changed, page by page.
type pages[T any] struct {
	edit uint64
	list []*page[T] // all full but the last
	size int
}

type page[T any] struct {
	edit   uint64
	values []T
	refs   []uint32 // how many brought each; nil: one
}

func (p *pages[T]) at(i int) T { return p.list[i/pageSize].values[i%pageSize] }

func (p *pages[T]) own(edit uint64) *pages[T] {
	if p.edit == edit {
		return p
	}
	return &pages[T]{edit: edit, list: slices.Clone(p.list), size: p.size}
}

// page gives the page of a place in a form that may be changed. The pages are owned.
func (p *pages[T]) page(i int) *page[T] {
	g := p.list[i/pageSize]
	if g.edit != p.edit {
		g = &page[T]{edit: p.edit, values: append(make([]T, 0, len(g.values)+1), g.values...), refs: slices.Clone(g.refs)}
		p.list[i/pageSize] = g
	}
	return g
}

func (p *pages[T]) push(v T, refs uint32) {
	if p.size%pageSize == 0 {
		p.list = append(p.list, &page[T]{edit: p.edit})
	}
	g := p.page(p.size)
	g.values = append(g.values, v)
	if g.refs != nil || refs != 1 {
		if g.refs == nil {
			g.refs = ones(len(g.values) - 1)
		}
		g.refs = append(g.refs, refs)
	}
	p.size++
}

func (p *pages[T]) refs(i int) uint32 {
	if g := p.list[i/pageSize]; g.refs != nil {
		return g.refs[i%pageSize]
	}
	return 1
}

func (p *pages[T]) set(i int, v T, refs uint32) {
	g := p.page(i)
	g.values[i%pageSize] = v
	if g.refs == nil && refs != 1 {
		g.refs = ones(len(g.values))
	}
	if g.refs != nil {
		g.refs[i%pageSize] = refs
	}
}

func (p *pages[T]) pop() {
	p.size--
	g := p.page(p.size)
	g.values = narrower(g.values, len(g.values)-1)
	if g.refs != nil {
		g.refs = g.refs[:len(g.refs)-1]
	}
	if p.size%pageSize == 0 {
		p.list = narrower(p.list, len(p.list)-1)
	}
}

func ones(n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// index finds values in large sets: by name, the place of each value in the list.
type index[T comparable] map[string]map[T]int32

// key is what a value is found by; services are the same whatever glue they have.
func key[T comparable](v T) T {
	if s, ok := any(&v).(*Service); ok {
		s.glue = nil
	}
	return v
}

func (x index[T]) find(name string, set Set[T], v T) int {
	v = key(v)
	if set.Len() <= searchable {
		for i := range set.Len() {
			if key(set.At(i)) == v {
				return i
			}
		}
		return -1
	}
	m := x[name]
	if m == nil {
		m = make(map[T]int32, 2*set.Len())
		for i := range set.Len() {
			m[key(set.At(i))] = int32(i) //nolint:gosec // sets are far smaller
		}
		x[name] = m
	}
	if i, ok := m[v]; ok {
		return int(i)
	}
	return -1
}

// shelf is where a set that may be changed is kept.
type shelf[T comparable] struct {
	edit uint64
	few  *[]T
	refs *[]uint32 // of few; nil: one each
	many **pages[T]
}

func (s shelf[T]) set() Set[T] { return Set[T]{*s.few, *s.many} }

// pages gives the pages of a large set; nil: it is none.
func (s shelf[T]) pages() *pages[T] {
	if *s.many != nil {
		*s.many = (*s.many).own(s.edit)
	}
	return *s.many
}

// add puts one more v into a set and says whether it is the first, and where it is.
func add[T comparable](x index[T], name string, to shelf[T], v T) (at int, first bool) {
	many := to.pages()
	if i := x.find(name, to.set(), v); i >= 0 {
		if many != nil {
			many.set(i, many.at(i), many.refs(i)+1)
			return i, false
		}
		if *to.refs == nil {
			*to.refs = ones(len(*to.few))
		}
		(*to.refs)[i]++
		return i, false
	}
	at = to.set().Len()
	if m := x[name]; m != nil {
		m[key(v)] = int32(at) //nolint:gosec // as above
	}
	if many != nil {
		many.push(v, 1)
		return at, true
	}
	if at == cap(*to.few) { // there are many small sets: doubling would waste much
		*to.few = append(make([]T, 0, at+1+at/4), *to.few...)
	}
	*to.few = append(*to.few, v)
	if *to.refs != nil {
		*to.refs = append(*to.refs, 1)
	}
	if at+1 > manyValues {
		many = &pages[T]{edit: to.edit}
		for i, v := range *to.few {
			n := uint32(1)
			if *to.refs != nil {
				n = (*to.refs)[i]
			}
			many.push(v, n)
		}
		*to.few, *to.refs, *to.many = nil, nil, many
	}
	return at, true
}

// drop takes one v out of a set and says whether it was the last.
func drop[T comparable](x index[T], name string, from shelf[T], v T) bool {
	many := from.pages()
	i := x.find(name, from.set(), v)
	if i < 0 {
		return false
	}
	last := from.set().Len() - 1
	moved := from.set().At(last)
	switch {
	case many != nil && many.refs(i) > 1:
		many.set(i, many.at(i), many.refs(i)-1)
		return false
	case many != nil:
		many.set(i, moved, many.refs(last))
		if many.pop(); last == 0 {
			*from.many = nil
		}
	case *from.refs != nil && (*from.refs)[i] > 1:
		(*from.refs)[i]--
		return false
	default:
		(*from.few)[i] = moved
		*from.few = narrower(*from.few, last)
		if *from.refs != nil {
			(*from.refs)[i] = (*from.refs)[last]
			*from.refs = (*from.refs)[:last]
		}
	}
	if m := x[name]; m != nil {
		delete(m, key(v))
		if i < last {
			m[key(moved)] = int32(i) //nolint:gosec // as above
		}
		if last <= searchable {
			delete(x, name)
		}
	}
	if many != nil && last > 0 && last <= manyValues/4 { // few again
		list, refs := make([]T, 0, last), make([]uint32, 0, last)
		for i := range last {
			list, refs = append(list, many.at(i)), append(refs, many.refs(i))
		}
		*from.few, *from.refs, *from.many = list, refs, nil
	}
	return true
}
