package answer

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/stoa-project/stoa/dns/names"
)

// Octets of the parts of a message.
const (
	headerLen  = 12
	optLen     = 11
	rrLen      = 12                 // owner pointer, type, class, TTL, data length
	srvLen     = 6                  // priority, weight, port
	questionAt = 0xC000 | headerLen // compression pointer to the question's name
)

// packer builds one reply. Owner names are pointers into the message: to the question, or
// to the target of an SRV record before.
type packer struct {
	buf   []byte
	limit int // octets for everything but the OPT record
	snap  *Snapshot
	full  bool // something was left out
}

// reply packs the answer to an IN query inside the zone.
func (s *Server) reply(snap *Snapshot, q *dns.Msg, limit int) ([]byte, Outcome, error) {
	question := q.Question[0]
	opt := q.IsEdns0()
	p := &packer{buf: make([]byte, headerLen, 512), limit: limit, snap: snap}
	if opt != nil {
		p.limit -= optLen
	}
	if err := p.question(question); err != nil {
		return nil, Outcome{}, err
	}
	name := strings.ToLower(question.Name)
	name = strings.ReplaceAll(name, ".*", "") // bob.*.mesos means bob.mesos
	apex := snap.Zone.Apex()
	node := snap.Zone.Nodes[name]

	out := Outcome{InZone: true}
	var answers, authority, extra int
	switch {
	case node == nil:
		out.Rcode = dns.RcodeNameError
	case question.Qtype == dns.TypeA:
		answers = p.addresses(questionAt, node.A)
	case question.Qtype == dns.TypeAAAA:
		answers = p.addresses(questionAt, node.AAAA)
	case question.Qtype == dns.TypeSRV:
		answers, extra = p.services(node.SRV, true)
	case question.Qtype == dns.TypeANY:
		answers, _ = p.services(node.SRV, false)
		answers += p.addresses(questionAt, node.A)
		answers += p.addresses(questionAt, node.AAAA)
		if name == apex {
			answers += p.soa(questionAt) + p.ns()
		}
	case question.Qtype == dns.TypeSOA && name == apex:
		answers = p.soa(questionAt)
	case question.Qtype == dns.TypeNS && name == apex:
		answers = p.ns()
		extra = p.glue()
	}
	if answers == 0 && !p.full {
		authority = p.soa(p.apexPointer())
		out.Empty = true
	}
	p.header(q, s.cfg, out.Rcode, answers, authority, extra)
	if opt != nil {
		p.opt(uint16(s.cfg.MaxUDP), opt.Do())
	}
	return p.buf, out, nil
}

func (p *packer) header(q *dns.Msg, cfg Config, rcode, answers, authority, extra int) {
	flags := uint16(1<<15 | 1<<10 | rcode) // QR, AA
	if p.full && cfg.SetTruncate {
		flags |= 1 << 9
	}
	if q.RecursionDesired {
		flags |= 1 << 8
	}
	if cfg.RecurseOn {
		flags |= 1 << 7
	}
	if q.IsEdns0() != nil {
		extra++
	}
	for i, v := range []uint16{q.Id, flags, 1, uint16(answers), uint16(authority), uint16(extra)} {
		binary.BigEndian.PutUint16(p.buf[2*i:], v)
	}
}

// question repeats the question, letter for letter.
func (p *packer) question(q dns.Question) error {
	name := make([]byte, 256)
	n, err := dns.PackDomainName(q.Name, name, 0, nil, false)
	if err != nil {
		return err
	}
	p.buf = append(p.buf, name[:n]...)
	p.u16(q.Qtype)
	p.u16(q.Qclass)
	return nil
}

// record appends the head of a resource record; false when size octets of data do not
// fit any more.
func (p *packer) record(owner uint16, kind uint16, size int) bool {
	if len(p.buf)+rrLen+size > p.limit {
		p.full = true
		return false
	}
	p.u16(owner)
	p.u16(kind)
	p.u16(dns.ClassINET)
	p.u32(p.snap.TTL)
	p.u16(uint16(size))
	return true
}

// addresses appends A and AAAA records in a fresh order. When not all fit, consecutive
// queries get different ones.
func (p *packer) addresses(owner uint16, addrs []netip.Addr) int {
	n := len(addrs)
	if n == 0 {
		return 0
	}
	size, kind := 4, dns.TypeA
	if addrs[0].Is6() {
		size, kind = 16, dns.TypeAAAA
	}
	fit := min(n, max(0, p.limit-len(p.buf))/(rrLen+size))
	for i := range order(n, fit) {
		if !p.record(owner, kind, size) {
			break
		}
		a := addrs[i]
		if size == 4 {
			b := a.As4()
			p.buf = append(p.buf, b[:]...)
		} else {
			b := a.As16()
			p.buf = append(p.buf, b[:]...)
		}
	}
	if fit < n {
		p.full = true
	}
	return fit
}

// services appends SRV records and, when all of them fit and it is wanted, the addresses
// of their targets.
func (p *packer) services(list []names.Service, withExtra bool) (answers, extra int) {
	type target struct {
		name string
		at   int
	}
	var targets []target
	seen := make(map[string]struct{}, min(len(list), 64))
	smallest := rrLen + srvLen + 3
	fit := min(len(list), max(0, p.limit-len(p.buf))/smallest)
	for i := range order(len(list), fit) {
		svc := list[i]
		if !p.record(questionAt, dns.TypeSRV, srvLen+len(svc.Target)+1) {
			break
		}
		p.u16(0)
		p.u16(p.snap.Weight)
		p.u16(svc.Port)
		at := len(p.buf)
		p.name(svc.Target)
		answers++
		if _, again := seen[svc.Target]; !again {
			seen[svc.Target] = struct{}{}
			targets = append(targets, target{svc.Target, at})
		}
	}
	if answers < len(list) {
		p.full = true
	}
	if p.full || !withExtra {
		return answers, 0
	}
	for _, t := range targets {
		node := p.snap.Zone.Nodes[t.name]
		if node == nil || t.at > 0x3FFF { // beyond the reach of a pointer
			continue
		}
		owner := uint16(0xC000 | t.at)
		extra += p.addresses(owner, node.A)
		extra += p.addresses(owner, node.AAAA)
	}
	return answers, extra
}

// soa appends the zone's SOA record with a TTL that suits negative answers.
func (p *packer) soa(owner uint16) int {
	size := len(p.snap.MName) + 1 + len(p.snap.RName) + 1 + 20
	if !p.record(owner, dns.TypeSOA, size) {
		return 0
	}
	p.name(p.snap.MName)
	p.name(p.snap.RName)
	for _, v := range []uint32{p.snap.Serial, p.snap.Refresh, p.snap.Retry, p.snap.Expire, p.snap.Minimum} {
		p.u32(v)
	}
	return 1
}

func (p *packer) ns() int {
	if !p.record(questionAt, dns.TypeNS, len(p.snap.MName)+1) {
		return 0
	}
	p.name(p.snap.MName)
	return 1
}

// glue appends the addresses of the name server, whose name ends the NS record before.
func (p *packer) glue() int {
	node := p.snap.Zone.Nodes[strings.ToLower(p.snap.MName)]
	if node == nil {
		return 0
	}
	owner := uint16(0xC000 | (len(p.buf) - len(p.snap.MName) - 1))
	return p.addresses(owner, node.A) + p.addresses(owner, node.AAAA)
}

// apexPointer points at the apex inside the question's name, which ends with it. Nothing
// may have been appended behind the question.
func (p *packer) apexPointer() uint16 {
	nameEnd := len(p.buf) - 4 // behind the root label of the question's name
	return uint16(0xC000 | (nameEnd - len(p.snap.Zone.Apex()) - 1))
}

func (p *packer) opt(size uint16, do bool) {
	p.buf = append(p.buf, 0)
	p.u16(dns.TypeOPT)
	p.u16(size)
	flags := uint32(0)
	if do {
		flags = 1 << 15
	}
	p.u32(flags)
	p.u16(0)
}

// name appends an uncompressed name that needs no escapes, as the zone's all are: it takes
// one octet more than its text with the trailing dot.
func (p *packer) name(n string) {
	for label := range strings.SplitSeq(strings.TrimSuffix(n, "."), ".") {
		if label == "" {
			continue // the root
		}
		p.buf = append(p.buf, byte(len(label)))
		p.buf = append(p.buf, label...)
	}
	p.buf = append(p.buf, 0)
}

func (p *packer) u16(v uint16) { p.buf = binary.BigEndian.AppendUint16(p.buf, v) }
func (p *packer) u32(v uint32) { p.buf = binary.BigEndian.AppendUint32(p.buf, v) }

// order yields k of n indexes: all in random order when k is n, else a window that starts
// anywhere, in random order.
func order(n, k int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		if k <= 0 {
			return
		}
		start := 0
		if n > 1 {
			start = rand.IntN(n)
		}
		for _, i := range shuffled(k) {
			if !yield((start + i) % n) {
				return
			}
		}
	}
}

func shuffled(k int) []int {
	if k == 1 {
		return zero
	}
	return rand.Perm(k)
}

var zero = []int{0}
