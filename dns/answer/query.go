package answer

import (
	"bytes"
	"encoding/binary"

	"github.com/miekg/dns"
)

// query is what an answer depends on.
type query struct {
	id     uint16
	opcode int
	rd     bool   // recursion desired
	name   []byte // of the question, as it came
	key    []byte // the same as lower-case text with a trailing dot
	kind   uint16
	class  uint16

	edns    bool
	version uint8
	do      bool // DNSSEC OK
	size    int  // largest UDP reply the client takes

	text [256]byte // room for key
}

// verdict is what parse says about a packet.
type verdict uint8

const (
	usual verdict = iota // query is filled
	odd                  // the library must look at it
	junk                 // must not be answered: it might be a reply, or is no message at all
)

// parse reads the query that nearly all packets are: one question and at most an OPT
// record. The name is not copied.
func (q *query) parse(raw []byte) verdict {
	if len(raw) < headerLen || raw[2]&0x80 != 0 {
		return junk
	}
	q.id = binary.BigEndian.Uint16(raw)
	q.opcode = int(raw[2] >> 3 & 15)
	q.rd = raw[2]&1 != 0
	extra := binary.BigEndian.Uint16(raw[10:])
	if q.opcode != dns.OpcodeQuery || binary.BigEndian.Uint64(raw[4:])>>16 != 1<<32 || extra > 1 {
		return odd
	}
	at := q.readName(raw)
	if at == 0 || len(raw) < at+4 {
		return odd
	}
	q.kind, q.class = binary.BigEndian.Uint16(raw[at:]), binary.BigEndian.Uint16(raw[at+2:])
	at += 4
	q.edns, q.version, q.do, q.size = false, 0, false, dns.MinMsgSize
	if extra == 0 {
		if at != len(raw) {
			return odd
		}
		return usual
	}
	if len(raw) < at+optLen || raw[at] != 0 || binary.BigEndian.Uint16(raw[at+1:]) != dns.TypeOPT ||
		len(raw) != at+optLen+int(binary.BigEndian.Uint16(raw[at+9:])) {
		return odd
	}
	q.edns = true
	q.size = max(q.size, int(binary.BigEndian.Uint16(raw[at+3:])))
	q.version, q.do = raw[at+6], raw[at+7]&0x80 != 0
	return usual
}

// readName fills name and key and gives the offset behind them; 0 when the name has
// pointers, or letters that text would have to escape.
func (q *query) readName(raw []byte) int {
	at := headerLen
	key := q.text[:0]
	for {
		if at >= len(raw) {
			return 0
		}
		n := int(raw[at])
		if n == 0 {
			break
		}
		if n > 63 || at+1+n >= len(raw) || len(key)+n+1 > 254 {
			return 0
		}
		for _, c := range raw[at+1 : at+1+n] {
			if c-'A' < 26 {
				c += 'a' - 'A'
			}
			if !plain[c] {
				return 0
			}
			key = append(key, c)
		}
		key = append(key, '.')
		at += 1 + n
	}
	if len(key) == 0 {
		key = append(key, '.')
	}
	q.name, q.key = raw[headerLen:at+1], key
	return at + 1
}

// plain letters stand for themselves in the text of a name.
var plain = func() (p [256]bool) {
	for c := '!'; c <= '~'; c++ {
		p[c] = true
	}
	for _, c := range `.\"'();@$` {
		p[c] = false
	}
	return p
}()

// take fills the query from a message that the library has read. It must have a question.
func (q *query) take(m *dns.Msg) error {
	question := m.Question[0]
	name := make([]byte, 256)
	n, err := dns.PackDomainName(question.Name, name, 0, nil, false)
	if err != nil {
		return err
	}
	q.id, q.opcode, q.rd = m.Id, m.Opcode, m.RecursionDesired
	q.name, q.key = name[:n], bytes.ToLower([]byte(question.Name))
	q.kind, q.class = question.Qtype, question.Qclass
	q.size = dns.MinMsgSize
	if opt := m.IsEdns0(); opt != nil {
		q.edns, q.version, q.do, q.size = true, opt.Version(), opt.Do(), max(q.size, int(opt.UDPSize()))
	}
	return nil
}
