package names

import (
	"slices"
	"strings"
)

// op is one thing that a name gains or loses: addresses, or one service.
type op struct {
	name   string
	addrs  *Addrs
	target string
	port   uint16
	glue   *Addrs // of the target, when the task that brings the service brings these too
}

// searchable is the size up to which a value is found by looking at all of them.
const searchable = 32

// index finds values in large sets: by name, the place of each value in the list.
type index[T comparable] map[string]map[T]int32

// key is what a value is found by; services are the same whatever glue they have.
func key[T comparable](v T) T {
	if s, ok := any(&v).(*Service); ok {
		s.glue = nil
	}
	return v
}

func (x index[T]) find(name string, list []T, v T) int {
	v = key(v)
	if len(list) <= searchable {
		return slices.IndexFunc(list, func(e T) bool { return key(e) == v })
	}
	m := x[name]
	if m == nil {
		m = make(map[T]int32, 2*len(list))
		for i, e := range list {
			m[key(e)] = int32(i) //nolint:gosec // sets are far smaller
		}
		x[name] = m
	}
	if i, ok := m[v]; ok {
		return int(i)
	}
	return -1
}

// add puts one more v into a set and says whether it is the first.
func add[T comparable](x index[T], name string, list *[]T, refs *[]uint32, v T) bool {
	if i := x.find(name, *list, v); i >= 0 {
		if *refs == nil {
			*refs = ones(len(*list))
		}
		(*refs)[i]++
		return false
	}
	if m := x[name]; m != nil {
		m[key(v)] = int32(len(*list)) //nolint:gosec // as above
	}
	if n := len(*list); n == cap(*list) { // many small sets: doubling would waste much
		*list = append(make([]T, 0, n+1+n/4), *list...)
	}
	*list = append(*list, v)
	if *refs != nil {
		*refs = append(*refs, 1)
	}
	return true
}

// drop takes one v out of a set and says whether it was the last.
func drop[T comparable](x index[T], name string, list *[]T, refs *[]uint32, v T) bool {
	i := x.find(name, *list, v)
	if i < 0 {
		return false
	}
	if *refs != nil && (*refs)[i] > 1 {
		(*refs)[i]--
		return false
	}
	last := len(*list) - 1
	(*list)[i] = (*list)[last]
	*list = (*list)[:last]
	if *refs != nil {
		(*refs)[i] = (*refs)[last]
		*refs = (*refs)[:last]
	}
	if m := x[name]; m != nil {
		delete(m, key(v))
		if i < last {
			m[key((*list)[i])] = int32(i) //nolint:gosec // as above
		}
		if last <= searchable {
			delete(x, name)
		}
	}
	return true
}

func ones(n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// node gives a node that may be changed; it and the names above it are made when they
// are missing.
func (s *State) node(name string) *Node {
	n := get(&s.nodes, name)
	if n != nil {
		if n.edit != s.edit {
			c := *n
			n = &c
			n.edit = s.edit
			s.nodes.put(s.edit, n)
		}
		return n
	}
	n = &Node{name: name, edit: s.edit}
	s.nodes.put(s.edit, n)
	if name != s.apex {
		// The name above shares this one's text.
		if above := name[strings.IndexByte(name, '.')+1:]; above != "" {
			s.node(above).below++
		}
	}
	return n
}

// prune removes a node that has nothing, and those above it that had only it.
func (s *State) prune(n *Node) {
	for n.below == 0 && n.Empty() {
		s.nodes.remove(s.edit, n.name)
		above := n.name[strings.IndexByte(n.name, '.')+1:]
		if above == "" {
			return
		}
		n = s.node(above)
		n.below--
	}
}

// usable says whether a name can be in the zone.
func (s *State) usable(name string) bool {
	return get(&s.nodes, name) != nil || validName(name) // names of the zone were checked before
}

// assert adds what op says.
func (s *State) assert(o op) {
	if o.addrs != nil {
		s.addAddrs(o.name, o.addrs)
		return
	}
	if o.port == 0 {
		return
	}
	if !s.usable(o.name) || !s.usable(o.target) {
		s.skip("unusable name", 1)
		return
	}
	if t := get(&s.nodes, o.target); t != nil {
		o.target = t.name // one text for all services there
	}
	n := s.node(o.name)
	srv := s.ownServices(n)
	refs := srv.counts()
	v := Service{Target: o.target, Port: o.port, glue: o.glue}
	if add(s.bigSRV, n.name, &srv.List, &refs, v) {
		s.counts.SRV++
	} else if i := s.bigSRV.find(n.name, srv.List, v); srv.List[i].glue != o.glue {
		srv.List[i].glue = nil // several tasks have a say
	}
	srv.count(refs)
}

// retract takes away what an assert of the same op added.
func (s *State) retract(o op) {
	if o.addrs != nil {
		s.dropAddrs(o.name, o.addrs)
		return
	}
	if o.port == 0 {
		return
	}
	if !validName(o.name) || !validName(o.target) {
		s.skip("unusable name", -1)
		return
	}
	if get(&s.nodes, o.name) == nil {
		return
	}
	n := s.node(o.name)
	if n.srv == nil {
		return
	}
	srv := s.ownServices(n)
	refs := srv.counts()
	if drop(s.bigSRV, n.name, &srv.List, &refs, Service{Target: o.target, Port: o.port}) {
		s.counts.SRV--
	}
	srv.count(refs)
	if len(n.srv.List) == 0 {
		n.srv = nil
	}
	s.prune(n)
}

func (s *State) addAddrs(name string, a *Addrs) {
	if !s.usable(name) {
		s.skip("unusable name", 1)
		return
	}
	n := s.node(name)
	if n.addrs == nil { // most names have one owner: it lends its addresses
		n.addrs = a
		s.counts.A += len(a.V4)
		s.counts.AAAA += len(a.V6)
		return
	}
	own := s.ownAddrs(n)
	refs := own.counts()
	for _, v := range a.V4 {
		if add(s.big4, n.name, &own.V4, &refs.v4, v) {
			s.counts.A++
		}
	}
	for _, v := range a.V6 {
		if add(s.big6, n.name, &own.V6, &refs.v6, v) {
			s.counts.AAAA++
		}
	}
	own.count(refs)
}

func (s *State) dropAddrs(name string, a *Addrs) {
	if get(&s.nodes, name) == nil {
		if !validName(name) {
			s.skip("unusable name", -1)
		}
		return
	}
	n := s.node(name)
	switch {
	case n.addrs == a:
		n.addrs = nil
		s.counts.A -= len(a.V4)
		s.counts.AAAA -= len(a.V6)
	case n.addrs != nil:
		own := s.ownAddrs(n)
		refs := own.counts()
		for _, v := range a.V4 {
			if drop(s.big4, n.name, &own.V4, &refs.v4, v) {
				s.counts.A--
			}
		}
		for _, v := range a.V6 {
			if drop(s.big6, n.name, &own.V6, &refs.v6, v) {
				s.counts.AAAA--
			}
		}
		own.count(refs)
		if len(own.V4)+len(own.V6) == 0 {
			n.addrs = nil
		}
	}
	s.prune(n)
}

// fewAddrs are addresses with room for the values, as nearly all sets are small: one piece
// of memory instead of two.
type fewAddrs struct {
	Addrs
	room [fewV4][4]byte
}

const fewV4 = 4

// ownAddrs gives the node's addresses in a form that this edit may change.
func (s *State) ownAddrs(n *Node) *Addrs {
	old := n.addrs
	if old.edit == s.edit {
		return old
	}
	var own *Addrs
	if small := len(old.V4) + 1; small <= fewV4 {
		together := &fewAddrs{}
		own = &together.Addrs
		own.V4 = append(together.room[:0], old.V4...)
	} else {
		own = &Addrs{V4: append(make([][4]byte, 0, small), old.V4...)}
	}
	own.V6, own.edit = slices.Clone(old.V6), s.edit
	if old.refs != nil {
		own.refs = &addrRefs{v4: slices.Clone(old.refs.v4), v6: slices.Clone(old.refs.v6)}
	}
	n.addrs = own
	return own
}

// ownServices does the same for its services.
func (s *State) ownServices(n *Node) *Services {
	old := n.srv
	switch {
	case old == nil:
		n.srv = &Services{edit: s.edit}
	case old.edit != s.edit:
		n.srv = &Services{List: append(make([]Service, 0, len(old.List)+1), old.List...), edit: s.edit}
		if old.refs != nil {
			n.srv.count(slices.Clone(*old.refs))
		}
	}
	return n.srv
}

// counts and count read and keep how many brought each value. Most sets have none but
// ones, and keep nothing.
func (v *Services) counts() []uint32 {
	if v.refs == nil {
		return nil
	}
	return *v.refs
}

func (v *Services) count(refs []uint32) {
	switch {
	case v.refs != nil:
		*v.refs = refs
	case refs != nil:
		kept := refs // only what is kept goes to the heap
		v.refs = &kept
	}
}

func (a *Addrs) counts() addrRefs {
	if a.refs == nil {
		return addrRefs{}
	}
	return *a.refs
}

func (a *Addrs) count(refs addrRefs) {
	switch {
	case a.refs != nil:
		*a.refs = refs
	case refs.v4 != nil || refs.v6 != nil:
		kept := refs
		a.refs = &kept
	}
}

func (s *State) skip(reason string, by int) {
	s.skipped[reason] += by
	if s.skipped[reason] == 0 {
		delete(s.skipped, reason)
	}
	s.skippedChanged = true
}
