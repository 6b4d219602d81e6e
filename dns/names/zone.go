package names

import (
	"iter"
	"net/netip"
	"strings"
)

// Service is the value of an SRV record.
type Service struct {
	Target string // with a trailing dot
	Port   uint16

	glue *Addrs // of the target, where one task alone brought it; nil: look it up
}

// Glue gives the target's addresses when they are known without a look at its name: a
// name costs several misses of the processor's caches.
func (v Service) Glue() *Addrs { return v.glue }

// Addrs is a set of addresses in the form of A and AAAA records. Sets that a zone gives out
// never change.
type Addrs struct {
	v4 [][4]byte
	v6 [][16]byte

	more *moreAddrs // nil: every address is there once, and there are few
	edit uint64     // the edit that may change it in place; 0: none
}

// moreAddrs is what few sets have: counts of who brought each address (nil: one), and pages
// instead of lists.
type moreAddrs struct {
	refs4, refs6 []uint32
	many4        *pages[[4]byte]
	many6        *pages[[16]byte]
}

// V4 gives the values of A records; none of a nil set.
func (a *Addrs) V4() Set[[4]byte] {
	switch {
	case a == nil:
		return Set[[4]byte]{}
	case a.more == nil:
		return Set[[4]byte]{few: a.v4}
	}
	return Set[[4]byte]{a.v4, a.more.many4}
}

// V6 gives the values of AAAA records; none of a nil set.
func (a *Addrs) V6() Set[[16]byte] {
	switch {
	case a == nil:
		return Set[[16]byte]{}
	case a.more == nil:
		return Set[[16]byte]{few: a.v6}
	}
	return Set[[16]byte]{a.v6, a.more.many6}
}

// Services is a set of SRV values.
type Services struct {
	few  []Service
	more *moreServices // nil: every value is there once, and there are few
	edit uint64
}

type moreServices struct {
	refs []uint32
	many *pages[Service]
}

func (v *Services) set() Set[Service] {
	switch {
	case v == nil:
		return Set[Service]{}
	case v.more == nil:
		return Set[Service]{few: v.few}
	}
	return Set[Service]{v.few, v.more.many}
}

// Node is what the zone holds under one name. A node without addresses and services
// exists because there are names below it. Nodes of a zone never change.
type Node struct {
	name  string
	addrs *Addrs    // nil: none
	srv   *Services // nil: none
	below int32     // names one label longer, and one for the apex
	edit  uint64
}

func (n *Node) key() string { return n.name }

// Name is the lower-case name with a trailing dot.
func (n *Node) Name() string { return n.name }

// V4 lists the values of A records. They must not be changed.
func (n *Node) V4() [][4]byte { return n.addrs.V4().list() }

// V6 lists the values of AAAA records. They must not be changed.
func (n *Node) V6() [][16]byte { return n.addrs.V6().list() }

// Addrs gives the values of A and AAAA records; nil: none.
func (n *Node) Addrs() *Addrs { return n.addrs }

// SRV lists the values of SRV records. They must not be changed.
func (n *Node) SRV() []Service { return n.srv.set().list() }

// Services gives the values of SRV records without making a list of them.
func (n *Node) Services() Set[Service] { return n.srv.set() }

// Empty says whether the name has no records, only names below it.
func (n *Node) Empty() bool { return n.addrs == nil && n.srv == nil }

// IPs gives all addresses, IPv4 first.
func (n *Node) IPs() []netip.Addr {
	out := make([]netip.Addr, 0, len(n.V4())+len(n.V6()))
	for _, a := range n.V4() {
		out = append(out, netip.AddrFrom4(a))
	}
	for _, a := range n.V6() {
		out = append(out, netip.AddrFrom16(a))
	}
	return out
}

// Zone is a set of records. It never changes, and shares with the zone before it what is
// equal in both.
type Zone struct {
	Domain string // "mesos", without dots at the ends
	// Skipped counts names that could not be built, by reason.
	Skipped map[string]int
	// Counts of records by type, for metrics.
	Counts Counts

	nodes      trie[*Node]
	tasks      trie[*entry]
	frameworks []Framework // by id
	rules      Rules
}

// Counts of records by type.
type Counts struct{ A, AAAA, SRV int }

// Lookup finds a lower-case name with a trailing dot; nil: it does not exist.
func (z *Zone) Lookup(name string) *Node { return get(&z.nodes, name) }

// LookupBytes is Lookup without a string.
func (z *Zone) LookupBytes(name []byte) *Node { return get(&z.nodes, name) }

// All yields every name, in no useful order.
func (z *Zone) All() iter.Seq[*Node] { return z.nodes.all }

// Len counts the names, those without records too.
func (z *Zone) Len() int { return z.nodes.size }

// Apex is the zone's own name with a trailing dot.
func (z *Zone) Apex() string { return z.Domain + "." }

// InDomain says whether a lower-case name with a trailing dot is domain or below it.
func InDomain(name, domain string) bool {
	cut, ok := strings.CutSuffix(name, domain+".")
	return ok && (cut == "" || cut[len(cut)-1] == '.')
}

// Records of one name, to make a zone by hand.
type Records struct {
	IPs []netip.Addr
	SRV []Service
}

// NewZone makes a zone that holds just these records, by lower-case name with a trailing
// dot, and the names above them.
func NewZone(domain string, records map[string]Records) *Zone {
	s := NewState(Rules{Domain: domain})
	for name, r := range records {
		s.assert(op{name: name, addrs: addrsOf(r.IPs)})
		for _, v := range r.SRV {
			s.assert(op{name: name, target: v.Target, port: v.Port})
		}
	}
	return s.Commit()
}

// addrsOf sorts addresses by kind; nil for none.
func addrsOf(ips []netip.Addr) *Addrs {
	if len(ips) == 0 {
		return nil
	}
	a := &Addrs{}
	for _, ip := range ips {
		ip = ip.Unmap()
		if ip.Is4() {
			a.v4 = addNew(a.v4, ip.As4())
		} else {
			a.v6 = addNew(a.v6, ip.As16())
		}
	}
	return a
}

func addNew[T comparable](list []T, v T) []T {
	for _, x := range list {
		if x == v {
			return list
		}
	}
	return append(list, v)
}
