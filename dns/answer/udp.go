package answer

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// readFailures is how many reads in a row may fail before a socket counts as broken.
const readFailures = 100

// readUDP answers what comes on a socket until ctx ends.
func (s *Server) readUDP(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	// With several addresses the reply must leave from the one that was asked.
	several := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().IsUnspecified()
	if several {
		if err := tellDestination(conn); err != nil {
			return err
		}
	}
	b, err := newBatch(conn, several)
	if err != nil {
		return err
	}
	p := s.newPacker()
	var q query
	failures := 0
	for {
		n, err := b.read()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if failures++; errors.Is(err, net.ErrClosed) || failures == readFailures {
				return err
			}
			continue
		}
		failures = 0
		came := time.Now()
		for i := range n {
			s.packet(conn, b, i, p, &q, came)
		}
		if err := b.flush(); err != nil {
			s.log.Debug("reply not sent", "error", err)
		}
	}
}

// packet queues the answer to one packet, or hands it to a goroutine when that may take
// time.
func (s *Server) packet(conn *net.UDPConn, b *batch, i int, p *packer, q *query, came time.Time) {
	defer s.guard()
	raw, control := b.packet(i)
	p.buf = b.slots[i].reply
	switch q.parse(raw) {
	case junk:
		return
	case odd:
		s.oddPacket(datagram{conn, b.from(i), answerFrom(control)}, p, q, raw, came)
		return
	}
	outcome, settled := s.settle(p, q, s.limit(q))
	if !settled {
		select {
		case s.aside <- struct{}{}:
			c := datagram{conn, b.from(i), append([]byte(nil), answerFrom(control)...)}
			m := new(dns.Msg)
			if err := m.Unpack(append([]byte(nil), raw...)); err != nil {
				<-s.aside
				return
			}
			go func() {
				defer func() { <-s.aside }()
				s.serve(c, m, came)
			}()
			return
		default:
			p.refusal(q, s.cfg, dns.RcodeServerFailure)
			outcome = Outcome{Rcode: dns.RcodeServerFailure, Empty: true}
		}
	}
	b.slots[i].reply = p.buf
	outcome.Took = time.Since(came)
	s.cfg.Count(outcome)
	b.queue(i, p.buf, answerFrom(control))
}

// oddPacket answers a packet that is no usual query: the library reads it.
func (s *Server) oddPacket(c datagram, p *packer, q *query, raw []byte, came time.Time) {
	m := new(dns.Msg)
	rcode := dns.RcodeFormatError
	if err := m.Unpack(raw); err == nil && len(m.Question) == 1 && len(m.Answer)+len(m.Ns) <= 1 && len(m.Extra) <= 2 {
		if err := q.take(m); err == nil {
			_, settled := s.settle(p, q, s.limit(q))
			if settled {
				s.serve(c, m, came)
				return
			}
			select {
			case s.aside <- struct{}{}:
				c.control = append([]byte(nil), c.control...)
				go func() {
					defer func() { <-s.aside }()
					s.serve(c, m, came)
				}()
				return
			default:
				rcode = dns.RcodeServerFailure
			}
		}
	} else if opcode := int(raw[2] >> 3 & 15); opcode != dns.OpcodeQuery && opcode != dns.OpcodeNotify {
		rcode = dns.RcodeNotImplemented
	}
	// Only the header can be repeated.
	var head [headerLen]byte
	copy(head[:2], raw)
	binary.BigEndian.PutUint16(head[2:], 1<<15|uint16(raw[2]&0x79)<<8|uint16(rcode)) //nolint:gosec // four bits
	s.cfg.Count(Outcome{Rcode: rcode, Empty: true, Took: time.Since(came)})
	if err := c.send(head[:]); err != nil {
		s.log.Debug("reply not sent", "client", c.from, "error", err)
	}
}

// datagram is a client over UDP.
type datagram struct {
	conn    *net.UDPConn
	from    netip.AddrPort
	control []byte // says which address to reply from
}

func (c datagram) addr() netip.AddrPort { return c.from }
func (c datagram) tcp() bool            { return false }
func (c datagram) send(reply []byte) error {
	_, _, err := c.conn.WriteMsgUDPAddrPort(reply, c.control, c.from)
	return err
}

// tellDestination makes the kernel tell with each packet which address it was sent to.
func tellDestination(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		switch {
		case err != nil:
			failed = err
		case domain == unix.AF_INET6:
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		default:
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	})
	return errors.Join(err, failed)
}

// answerFrom turns what the kernel told about a packet's destination into the request to
// send from there: the same, with the interface left to the routing table.
func answerFrom(control []byte) []byte {
	const head = unix.SizeofCmsghdr
	if len(control) < head {
		return nil
	}
	level, kind := binary.NativeEndian.Uint32(control[8:]), binary.NativeEndian.Uint32(control[12:])
	switch {
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(control) >= head+unix.SizeofInet4Pktinfo:
		clear(control[head : head+4]) // interface; the local address and the destination follow
		return control[:unix.CmsgSpace(unix.SizeofInet4Pktinfo)]
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(control) >= head+unix.SizeofInet6Pktinfo:
		if control[head] != 0xFE { // link-local addresses need their interface
			clear(control[head+16 : head+20])
		}
		return control[:unix.CmsgSpace(unix.SizeofInet6Pktinfo)]
	}
	return nil
}
