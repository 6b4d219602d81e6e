// Package answer answers DNS queries: names of the zone from one atomic snapshot, others
// by forwarding (mesos-dns.md sections 7 and 8). It is the only place besides dns/follow
// that may know the DNS library. Queries for the zone over UDP are read and answered here,
// octet by octet and without allocation; what is unusual, and TCP, goes through the
// library.
package answer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/fault"
)

// Limits.
const (
	maxQuery = 4096 // octets of a query over UDP
	maxTCP   = 1000 // connections
	tcpIdle  = 10 * time.Second
	maxAside = 1000 // queries in progress that are not answered at once
)

// Config of a server.
type Config struct {
	Domain        string // the zone, lower case, no dots at the ends
	RecurseOn     bool   // the RA bit of own answers
	SetTruncate   bool   // set TC when something was left out; else TC is cleared, also on forwarded replies
	MaxUDP        int    // largest UDP reply in octets, whatever the client offers; at least 512
	LegacySRV     bool   // SRV queries for names that do not exist get an empty answer instead of NXDOMAIN
	MaxAnswers    int    // most records of one kind in an answer; 0: all that fit
	ExternalOn    bool   // forward names outside the zone
	Resolvers     []string
	ZoneResolvers map[string][]string // by zone without dots at the ends; longest match wins
	Timeout       time.Duration       // per try of a resolver
	// Count hears how each query ended; nil: nobody.
	Count func(Outcome)
}

// Snapshot is what the zone answers until the next one.
type Snapshot struct {
	Zone    *names.Zone
	TTL     uint32 // seconds, of every record
	Weight  uint16 // of SRV records
	Serial  uint32
	MName   string // lower case, with trailing dot
	RName   string // with trailing dot
	Refresh uint32
	Retry   uint32
	Expire  uint32
	Minimum uint32 // how long negative answers may be kept, in seconds
}

// Outcome tells how a query ended.
type Outcome struct {
	InZone    bool
	Forwarded bool
	Rcode     int
	Empty     bool          // no records in the answer section
	Took      time.Duration // from reading the query to the reply being ready
}

// RcodeText names a response code, such as NXDOMAIN.
func RcodeText(code int) string {
	if code == dns.RcodeBadVers {
		return "BADVERS"
	}
	if text := dns.RcodeToString[code]; text != "" {
		return text
	}
	return fmt.Sprint("RCODE", code)
}

// Server answers on UDP and TCP sockets.
type Server struct {
	cfg   Config
	apex  string // domain with a trailing dot
	log   *slog.Logger
	snap  atomic.Pointer[Snapshot]
	turn  atomic.Uint32 // counts answers that show a part of a set only
	aside chan struct{} // one token per query that is not answered at once
	fwd   *forwarder
	packs sync.Pool
}

// New makes a server that answers SERVFAIL for the zone until Publish.
func New(cfg Config, log *slog.Logger) *Server {
	if cfg.Count == nil {
		cfg.Count = func(Outcome) {}
	}
	cfg.MaxUDP = min(max(cfg.MaxUDP, dns.MinMsgSize), dns.MaxMsgSize)
	s := &Server{cfg: cfg, apex: cfg.Domain + ".", log: log, aside: make(chan struct{}, maxAside), fwd: newForwarder(cfg)}
	s.packs.New = func() any { return s.newPacker() }
	return s
}

// Publish replaces the answers at once.
func (s *Server) Publish(snap *Snapshot) { s.snap.Store(snap) }

// Run serves until ctx ends and closes the sockets. Each UDP socket has a goroutine of
// its own, so sockets that share a port share the load.
func (s *Server) Run(ctx context.Context, udp []*net.UDPConn, tcp net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, len(udp)+1)
	var ended sync.WaitGroup
	for _, conn := range udp {
		ended.Go(func() { failed <- s.readUDP(ctx, conn) })
	}
	streams := &dns.Server{
		Listener: netutil.LimitListener(tcp, maxTCP), MaxTCPQueries: -1,
		IdleTimeout: func() time.Duration { return tcpIdle },
		Handler:     dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.serve(stream{w}, q, time.Now()) }),
	}
	started := make(chan struct{})
	streams.NotifyStartedFunc = sync.OnceFunc(func() { close(started) })
	ended.Go(func() {
		err := streams.ActivateAndServe()
		streams.NotifyStartedFunc()
		failed <- err
	})
	<-started
	var err error
	select {
	case err = <-failed:
		if err == nil {
			err = errors.New("a DNS socket was closed")
		}
		err = fault.New("dns", fault.Unavailable, tcp.Addr().String(), err)
	case <-ctx.Done():
	}
	stop()
	s.fwd.close()
	for _, conn := range udp {
		_ = conn.Close()
	}
	wait, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = streams.ShutdownContext(wait) // late queries are cut off
	ended.Wait()
	for range cap(s.aside) { // what runs aside ends with the forwarder
		s.aside <- struct{}{}
	}
	return err
}

// client is who asked.
type client interface {
	send(reply []byte) error
	addr() netip.AddrPort
	tcp() bool
}

type stream struct{ dns.ResponseWriter }

func (c stream) send(reply []byte) error { _, err := c.Write(reply); return err }
func (c stream) addr() netip.AddrPort    { return c.RemoteAddr().(*net.TCPAddr).AddrPort() }
func (c stream) tcp() bool               { return true }

// guard keeps a panic in one query from ending the others.
func (s *Server) guard() {
	if p := recover(); p != nil {
		s.log.Error("answering a query panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		s.cfg.Count(Outcome{Rcode: dns.RcodeServerFailure})
	}
}

// inZone says whether a lower-case name with a trailing dot is ours.
func (s *Server) inZone(key []byte) bool {
	if bytes.IndexByte(key, '\\') >= 0 { // a dot may be part of a label
		return dns.IsSubDomain(s.apex, string(key))
	}
	cut, ok := bytes.CutSuffix(key, []byte(s.apex))
	return ok && (len(cut) == 0 || cut[len(cut)-1] == '.')
}

// settle packs the reply to a query that needs no other server; false: it must be
// forwarded.
func (s *Server) settle(p *packer, q *query, limit int) (Outcome, bool) {
	own := s.inZone(q.key)
	rcode := 0
	var snap *Snapshot
	switch {
	case q.opcode != dns.OpcodeQuery:
		rcode = dns.RcodeNotImplemented
	case q.edns && q.version != 0:
		rcode = dns.RcodeBadVers
	case q.class != dns.ClassINET && q.class != dns.ClassANY:
		rcode = dns.RcodeRefused
	case !own && s.cfg.ExternalOn && len(s.fwd.servers(q.key)) > 0:
		return Outcome{}, false
	case !own, q.kind == dns.TypeAXFR, q.kind == dns.TypeIXFR:
		rcode = dns.RcodeRefused
	default:
		if snap = s.snap.Load(); snap == nil {
			rcode = dns.RcodeServerFailure
		}
	}
	if snap != nil {
		return s.reply(p, snap, q, limit), true
	}
	p.refusal(q, s.cfg, rcode)
	return Outcome{InZone: own, Rcode: rcode, Empty: true}, true
}

// limit is the largest UDP reply for a query.
func (s *Server) limit(q *query) int { return min(q.size, s.cfg.MaxUDP) }

// serve answers a query that the library has read.
func (s *Server) serve(c client, m *dns.Msg, came time.Time) {
	defer s.guard()
	p := s.packs.Get().(*packer)
	defer s.packs.Put(p)
	var q query
	if err := q.take(m); err != nil {
		s.log.Debug("query cannot be answered", "name", m.Question[0].Name, "error", err)
		return
	}
	limit := dns.MaxMsgSize
	if !c.tcp() {
		limit = s.limit(&q)
	}
	outcome, settled := s.settle(p, &q, limit)
	if !settled {
		reply, o := s.forward(c, m, limit)
		if reply == nil {
			p.refusal(&q, s.cfg, o.Rcode)
			reply = p.buf
		}
		outcome = o
		p.buf = append(p.buf[:0], reply...)
	}
	outcome.Took = time.Since(came)
	s.cfg.Count(outcome)
	if err := c.send(p.buf); err != nil {
		s.log.Debug("reply not sent", "client", c.addr(), "error", err)
	}
}
