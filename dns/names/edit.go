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
	more := srv.counts()
	v := Service{Target: o.target, Port: o.port, glue: o.glue}
	to := shelf[Service]{s.edit, &srv.few, &more.refs, &more.many}
	if i, first := add(s.bigSRV, n.name, to, v); first {
		s.counts.SRV++
	} else if to.set().At(i).glue != o.glue { // several tasks have a say
		if v.glue = nil; more.many != nil {
			more.many.set(i, v, more.many.refs(i))
		} else {
			srv.few[i] = v
		}
	}
	srv.count(more)
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
	more := srv.counts()
	if drop(s.bigSRV, n.name, shelf[Service]{s.edit, &srv.few, &more.refs, &more.many}, Service{Target: o.target, Port: o.port}) {
		s.counts.SRV--
	}
	srv.count(more)
	if srv.set().Len() == 0 {
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
		s.counts.A += len(a.v4)
		s.counts.AAAA += len(a.v6)
		return
	}
	own := s.ownAddrs(n)
	more := own.counts()
	for _, v := range a.v4 {
		if _, first := add(s.big4, n.name, more.shelf4(s.edit, own), v); first {
			s.counts.A++
		}
	}
	for _, v := range a.v6 {
		if _, first := add(s.big6, n.name, more.shelf6(s.edit, own), v); first {
			s.counts.AAAA++
		}
	}
	own.count(more)
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
		s.counts.A -= len(a.v4)
		s.counts.AAAA -= len(a.v6)
	case n.addrs != nil:
		own := s.ownAddrs(n)
		more := own.counts()
		for _, v := range a.v4 {
			if drop(s.big4, n.name, more.shelf4(s.edit, own), v) {
				s.counts.A--
			}
		}
		for _, v := range a.v6 {
			if drop(s.big6, n.name, more.shelf6(s.edit, own), v) {
				s.counts.AAAA--
			}
		}
		own.count(more)
		if own.V4().Len()+own.V6().Len() == 0 {
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
	if small := len(old.v4) + 1; small <= fewV4 {
		together := &fewAddrs{}
		own = &together.Addrs
		own.v4 = append(together.room[:0], old.v4...)
	} else {
		own = &Addrs{v4: append(make([][4]byte, 0, small), old.v4...)}
	}
	own.v6, own.edit = slices.Clone(old.v6), s.edit
	if old.more != nil {
		own.more = &moreAddrs{
			refs4: slices.Clone(old.more.refs4), refs6: slices.Clone(old.more.refs6), many4: old.more.many4, many6: old.more.many6,
		}
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
		n.srv = &Services{edit: s.edit}
		if old.few != nil {
			n.srv.few = append(make([]Service, 0, len(old.few)+1), old.few...)
		}
		if old.more != nil {
			n.srv.more = &moreServices{slices.Clone(old.more.refs), old.more.many}
		}
	}
	return n.srv
}

// counts and count read and keep what most sets have none of.
func (v *Services) counts() moreServices {
	if v.more == nil {
		return moreServices{}
	}
	return *v.more
}

func (v *Services) count(more moreServices) {
	switch {
	case v.more != nil:
		*v.more = more
	case more.refs != nil || more.many != nil:
		kept := more // only what is kept goes to the heap
		v.more = &kept
	}
}

func (a *Addrs) counts() moreAddrs {
	if a.more == nil {
		return moreAddrs{}
	}
	return *a.more
}

func (a *Addrs) count(more moreAddrs) {
	switch {
	case a.more != nil:
		*a.more = more
	case more.refs4 != nil || more.refs6 != nil || more.many4 != nil || more.many6 != nil:
		kept := more
		a.more = &kept
	}
}

func (m *moreAddrs) shelf4(edit uint64, a *Addrs) shelf[[4]byte] {
	return shelf[[4]byte]{edit, &a.v4, &m.refs4, &m.many4}
}

func (m *moreAddrs) shelf6(edit uint64, a *Addrs) shelf[[16]byte] {
	return shelf[[16]byte]{edit, &a.v6, &m.refs6, &m.many6}
}

func (s *State) skip(reason string, by int) {
	s.skipped[reason] += by
	if s.skipped[reason] == 0 {
		delete(s.skipped, reason)
	}
	s.skippedChanged = true
}
