// Package answer answers DNS queries: names of the zone from one atomic snapshot, others
// by forwarding (mesos-dns.md sections 7 and 8). It is the only place besides dns/follow
// that may know the DNS library; replies for the zone are packed here, octet by octet,
// so that an answer costs no allocation per record.
package answer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
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
	maxQuery    = 4096 // octets of a query over UDP
	maxTCP      = 1000 // connections
	tcpIdle     = 10 * time.Second
	maxForwards = 1000 // forwarded queries in progress
)

// Config of a server.
type Config struct {
	Domain        string // the zone, lower case, no dots at the ends
	RecurseOn     bool   // the RA bit of own answers
	SetTruncate   bool   // set TC when something was left out; else TC is cleared, also on forwarded replies
	MaxUDP        int    // largest UDP reply in octets, whatever the client offers; at least 512
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
	MName   string // with trailing dot
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
	Empty     bool // no records in the answer section
}

// Server answers on one UDP and one TCP socket.
type Server struct {
	cfg  Config
	log  *slog.Logger
	snap atomic.Pointer[Snapshot]
	fwd  *forwarder
}

// New makes a server that answers SERVFAIL for the zone until Publish.
func New(cfg Config, log *slog.Logger) *Server {
	if cfg.Count == nil {
		cfg.Count = func(Outcome) {}
	}
	cfg.MaxUDP = min(max(cfg.MaxUDP, dns.MinMsgSize), dns.MaxMsgSize)
	return &Server{cfg: cfg, log: log, fwd: newForwarder(cfg)}
}

// Publish replaces the answers at once.
func (s *Server) Publish(snap *Snapshot) { s.snap.Store(snap) }

// Run serves until ctx ends and closes both sockets.
func (s *Server) Run(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	handler := dns.HandlerFunc(s.serve)
	servers := []*dns.Server{
		{PacketConn: udp, Handler: handler, UDPSize: maxQuery},
		{
			Listener: netutil.LimitListener(tcp, maxTCP), Handler: handler, MaxTCPQueries: -1,
			IdleTimeout: func() time.Duration { return tcpIdle },
		},
	}
	failed := make(chan error, len(servers))
	var started, ended sync.WaitGroup
	for _, srv := range servers {
		started.Add(1)
		srv.NotifyStartedFunc = sync.OnceFunc(started.Done)
		ended.Go(func() {
			err := srv.ActivateAndServe()
			srv.NotifyStartedFunc()
			failed <- err
		})
	}
	started.Wait()
	var err error
	select {
	case err = <-failed:
		if err == nil {
			err = errors.New("a DNS socket was closed")
		}
		err = fault.New("dns", fault.Unavailable, udp.LocalAddr().String(), err)
	case <-ctx.Done():
	}
	wait, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, srv := range servers {
		_ = srv.ShutdownContext(wait) // late queries are cut off
	}
	ended.Wait()
	return err
}

// serve answers one query; the library calls it on a goroutine per packet.
func (s *Server) serve(w dns.ResponseWriter, q *dns.Msg) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("answering a query panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.cfg.Count(Outcome{Rcode: dns.RcodeServerFailure})
		}
	}()
	limit := s.limit(w, q)
	question := q.Question[0]
	switch {
	case q.Opcode != dns.OpcodeQuery:
		s.refuse(w, q, dns.RcodeNotImplemented)
	case q.IsEdns0() != nil && q.IsEdns0().Version() != 0:
		s.refuse(w, q, dns.RcodeBadVers)
	case question.Qclass != dns.ClassINET && question.Qclass != dns.ClassANY:
		s.refuse(w, q, dns.RcodeRefused)
	case !dns.IsSubDomain(s.cfg.Domain+".", strings.ToLower(question.Name)):
		s.forward(w, q, limit)
	case question.Qtype == dns.TypeAXFR || question.Qtype == dns.TypeIXFR:
		s.refuse(w, q, dns.RcodeRefused)
	default:
		s.zone(w, q, limit)
	}
}

// limit is the largest reply this client takes here.
func (s *Server) limit(w dns.ResponseWriter, q *dns.Msg) int {
	if _, tcp := w.RemoteAddr().(*net.TCPAddr); tcp {
		return dns.MaxMsgSize
	}
	limit := dns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		limit = max(limit, int(opt.UDPSize()))
	}
	return min(limit, s.cfg.MaxUDP)
}

func (s *Server) zone(w dns.ResponseWriter, q *dns.Msg, limit int) {
	snap := s.snap.Load()
	if snap == nil {
		s.refuse(w, q, dns.RcodeServerFailure)
		return
	}
	buf, outcome, err := s.reply(snap, q, limit)
	if err != nil {
		s.log.Debug("query cannot be answered", "name", q.Question[0].Name, "error", err)
		s.refuse(w, q, dns.RcodeFormatError)
		return
	}
	s.cfg.Count(outcome)
	if _, err := w.Write(buf); err != nil {
		s.log.Debug("reply not sent", "client", w.RemoteAddr().String(), "error", err)
	}
}

// refuse answers without records.
func (s *Server) refuse(w dns.ResponseWriter, q *dns.Msg, rcode int) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Opcode = q.Opcode
	m.RecursionAvailable = s.cfg.RecurseOn
	if q.IsEdns0() != nil {
		m.SetEdns0(uint16(s.cfg.MaxUDP), false)
	}
	m.Rcode = rcode
	inZone := dns.IsSubDomain(s.cfg.Domain+".", strings.ToLower(q.Question[0].Name))
	s.cfg.Count(Outcome{InZone: inZone, Rcode: rcode, Empty: true})
	if err := w.WriteMsg(m); err != nil {
		s.log.Debug("reply not sent", "client", w.RemoteAddr().String(), "error", err)
	}
}
