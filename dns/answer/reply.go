package answer

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

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

// packer builds replies one after the other in the same memory. Owner names are pointers
// into the message: to the question, or to the target of an SRV record before.
type packer struct {
	buf  []byte
	most int // answers, whatever fits; 0: no such limit
	turn *atomic.Uint32
	rng  *rand.Rand

	limit   int // octets for everything but the OPT record
	snap    *Snapshot
	full    bool // something did not fit
	order   []int32
	targets []target
}

// target is the target of an SRV record that was packed, and where.
type target struct {
	name string
	glue *names.Addrs // nil: look the name up
	at   int
}

func (s *Server) newPacker() *packer {
	return &packer{
		buf: make([]byte, 0, dns.DefaultMsgSize), most: s.cfg.MaxAnswers, turn: &s.turn,
		rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), //nolint:gosec // spreads load
	}
}

var wildcard = []byte(".*")

// reply packs the answer to an IN query inside the zone.
func (s *Server) reply(p *packer, snap *Snapshot, q *query, limit int) Outcome {
	p.start(q)
	p.snap, p.limit, p.full = snap, limit, false
	if q.edns {
		p.limit -= optLen
	}
	key := q.key
	if bytes.Contains(key, wildcard) {
		key = bytes.ReplaceAll(key, wildcard, nil) // bob.*.mesos means bob.mesos
	}
	node := snap.Zone.LookupBytes(key)
	apex := string(key) == s.apex

	out := Outcome{InZone: true}
	var answers, authority, extra int
	switch {
	case node == nil && q.kind == dns.TypeSRV && s.cfg.LegacySRV:
		out.Empty = true
		p.finish(q, s.cfg, dns.RcodeSuccess, true, 0, 0, 0)
		return out
	case node == nil:
		out.Rcode = dns.RcodeNameError
	case q.kind == dns.TypeA:
		answers = addresses(p, questionAt, dns.TypeA, node.Addrs().V4(), p.most)
	case q.kind == dns.TypeAAAA:
		answers = addresses(p, questionAt, dns.TypeAAAA, node.Addrs().V6(), p.most)
	case q.kind == dns.TypeSRV:
		answers, extra = p.services(node.Services(), true)
	case q.kind == dns.TypeANY:
		answers, _ = p.services(node.Services(), false)
		answers += addresses(p, questionAt, dns.TypeA, node.Addrs().V4(), p.most)
		answers += addresses(p, questionAt, dns.TypeAAAA, node.Addrs().V6(), p.most)
		if apex {
			answers += p.soa(questionAt) + p.ns()
		}
	case q.kind == dns.TypeSOA && apex:
		answers = p.soa(questionAt)
	case q.kind == dns.TypeNS && apex:
		answers = p.ns()
		extra = p.glue()
	}
	if answers == 0 && !p.full {
		authority = p.soa(p.apexPointer(len(s.apex)))
		out.Empty = true
	}
	p.finish(q, s.cfg, out.Rcode, true, answers, authority, extra)
	return out
}

// refusal packs an answer without records.
func (p *packer) refusal(q *query, cfg Config, rcode int) {
	p.start(q)
	p.full = false
	p.finish(q, cfg, rcode, false, 0, 0, 0)
}

// start leaves room for the header and repeats the question, letter for letter.
func (p *packer) start(q *query) {
	p.buf = append(p.buf[:0], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	p.buf = append(p.buf, q.name...)
	p.u16(q.kind)
	p.u16(q.class)
}

func (p *packer) finish(q *query, cfg Config, rcode int, authoritative bool, answers, authority, extra int) {
	flags := uint16(1<<15 | q.opcode<<11 | rcode&15) //nolint:gosec // both have four bits
	if authoritative {
		flags |= 1 << 10
	}
	if p.full && cfg.SetTruncate {
		flags |= 1 << 9
	}
	if q.rd {
		flags |= 1 << 8
	}
	if cfg.RecurseOn {
		flags |= 1 << 7
	}
	if q.edns {
		extra++
	}
	for i, v := range [...]uint16{q.id, flags, 1, uint16(answers), uint16(authority), uint16(extra)} {
		binary.BigEndian.PutUint16(p.buf[2*i:], v)
	}
	if !q.edns {
		return
	}
	p.buf = append(p.buf, 0)
	p.u16(dns.TypeOPT)
	p.u16(uint16(cfg.MaxUDP))
	more := uint32(rcode>>4) << 24
	if q.do {
		more |= 1 << 15
	}
	p.u32(more)
	p.u16(0)
}

// record appends the head of a resource record; false when size octets of data do not
// fit any more.
func (p *packer) record(owner uint16, kind uint16, size int) bool {
	if len(p.buf)+rrLen+size > p.limit {
		p.full = true
		return false
	}
	p.buf = append(p.buf, byte(owner>>8), byte(owner), byte(kind>>8), byte(kind), 0, dns.ClassINET,
		byte(p.snap.TTL>>24), byte(p.snap.TTL>>16), byte(p.snap.TTL>>8), byte(p.snap.TTL), byte(size>>8), byte(size))
	return true
}

// addresses appends A or AAAA records in a fresh order, at most so many (0: all). When not
// all fit, consecutive replies have different ones.
func addresses[T [4]byte | [16]byte](p *packer, owner, kind uint16, list names.Set[T], most int) int {
	if list.Len() == 0 {
		return 0
	}
	var one T
	wanted := list.Len()
	if most > 0 {
		wanted = min(wanted, most)
	}
	fit := min(wanted, max(0, p.limit-len(p.buf))/(rrLen+len(one)))
	order := p.choose(list.Len(), fit)
	for _, i := range order {
		if !p.record(owner, kind, len(one)) {
			break
		}
		v := list.At(int(i))
		for k := range len(v) {
			p.buf = append(p.buf, v[k])
		}
	}
	if fit < wanted {
		p.full = true
	}
	return fit
}

// services appends SRV records and, when all of them fit and it is wanted, the addresses
// of their targets.
func (p *packer) services(list names.Set[names.Service], withExtra bool) (answers, extra int) {
	if list.Len() == 0 {
		return 0, 0
	}
	wanted := list.Len()
	if p.most > 0 {
		wanted = min(wanted, p.most)
	}
	smallest := rrLen + srvLen + 3
	fit := min(wanted, max(0, p.limit-len(p.buf))/smallest)
	p.targets = p.targets[:0]
	for _, i := range p.choose(list.Len(), fit) {
		svc := list.At(int(i))
		if !p.record(questionAt, dns.TypeSRV, srvLen+len(svc.Target)+1) {
			break
		}
		p.buf = append(p.buf, 0, 0, byte(p.snap.Weight>>8), byte(p.snap.Weight), byte(svc.Port>>8), byte(svc.Port))
		at := len(p.buf)
		p.name(svc.Target)
		answers++
		if withExtra {
			p.targets = append(p.targets, target{svc.Target, svc.Glue(), at})
		}
	}
	if answers < wanted {
		p.full = true
	}
	if p.full || !withExtra {
		return answers, 0
	}
	var seen map[string]struct{}
	if len(p.targets) > 16 {
		seen = make(map[string]struct{}, len(p.targets))
	}
next:
	for i, t := range p.targets {
		if seen != nil {
			if _, again := seen[t.name]; again {
				continue
			}
			seen[t.name] = struct{}{}
		} else {
			for _, before := range p.targets[:i] {
				if before.name == t.name {
					continue next
				}
			}
		}
		if t.at > 0x3FFF { // beyond the reach of a pointer
			continue
		}
		if t.glue == nil {
			node := p.snap.Zone.Lookup(t.name)
			if node == nil {
				continue
			}
			if t.glue = node.Addrs(); t.glue == nil {
				continue
			}
		}
		owner := uint16(0xC000 | t.at)
		extra += addresses(p, owner, dns.TypeA, t.glue.V4(), 0)
		extra += addresses(p, owner, dns.TypeAAAA, t.glue.V6(), 0)
	}
	return answers, extra
}

// soa appends the zone's SOA record.
func (p *packer) soa(owner uint16) int {
	size := len(p.snap.MName) + 1 + len(p.snap.RName) + 1 + 20
	if !p.record(owner, dns.TypeSOA, size) {
		return 0
	}
	p.name(p.snap.MName)
	p.name(p.snap.RName)
	for _, v := range [...]uint32{p.snap.Serial, p.snap.Refresh, p.snap.Retry, p.snap.Expire, p.snap.Minimum} {
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
	node := p.snap.Zone.Lookup(p.snap.MName)
	if node == nil {
		return 0
	}
	owner := uint16(0xC000 | (len(p.buf) - len(p.snap.MName) - 1))
	return addresses(p, owner, dns.TypeA, node.Addrs().V4(), 0) + addresses(p, owner, dns.TypeAAAA, node.Addrs().V6(), 0)
}

// apexPointer points at the apex inside the question's name, which ends with it. Nothing
// may have been appended behind the question.
func (p *packer) apexPointer(apex int) uint16 {
	nameEnd := len(p.buf) - 4 // behind the root label of the question's name
	return uint16(0xC000 | (nameEnd - apex - 1))
}

// name appends an uncompressed name that needs no escapes, as the zone's all are: its
// text, with the length of the next label in the place of each dot.
func (p *packer) name(n string) {
	last := len(p.buf)
	p.buf = append(p.buf, 0)
	p.buf = append(p.buf, n...)
	for i := last + 1; i < len(p.buf); i++ {
		if p.buf[i] == '.' {
			p.buf[last] = byte(i - last - 1)
			last = i
		}
	}
	p.buf[last] = 0
}

func (p *packer) u16(v uint16) { p.buf = binary.BigEndian.AppendUint16(p.buf, v) }
func (p *packer) u32(v uint32) { p.buf = binary.BigEndian.AppendUint32(p.buf, v) }

// choose gives k of n indexes: all in random order when k is n, else the next window of
// them, in random order. The list is valid until the next call.
func (p *packer) choose(n, k int) []int32 {
	if k <= 0 {
		return nil
	}
	start := 0
	if k < n {
		start = int(uint64(p.turn.Add(1)) * uint64(k) % uint64(n))
	}
	p.order = p.order[:0]
	for i := range k {
		p.order = append(p.order, int32((start+i)%n)) //nolint:gosec // sets are far smaller
	}
	for i := k - 1; i > 0; i-- {
		j := p.rng.IntN(i + 1)
		p.order[i], p.order[j] = p.order[j], p.order[i]
	}
	return p.order
}
