package answer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Pauses before a resolver that failed is tried first again.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// forwarder passes queries for other names on.
type forwarder struct {
	cfg   Config
	slots chan struct{} // one token per forwarded query in progress

	mu      sync.Mutex // guards failing
	failing map[string]failure
}

type failure struct {
	until time.Time
	pause time.Duration
}

func newForwarder(cfg Config) *forwarder {
	return &forwarder{cfg: cfg, slots: make(chan struct{}, maxForwards), failing: map[string]failure{}}
}

// forward answers with what a resolver says.
func (s *Server) forward(w dns.ResponseWriter, q *dns.Msg, limit int) {
	servers := s.fwd.servers(q.Question[0].Name)
	if !s.cfg.ExternalOn || len(servers) == 0 {
		s.refuse(w, q, dns.RcodeRefused)
		return
	}
	select {
	case s.fwd.slots <- struct{}{}:
		defer func() { <-s.fwd.slots }()
	default:
		s.refuse(w, q, dns.RcodeServerFailure)
		return
	}
	network := "udp"
	if _, tcp := w.RemoteAddr().(*net.TCPAddr); tcp {
		network = "tcp"
	}
	reply, err := s.fwd.exchange(context.Background(), network, servers, q)
	if err != nil {
		s.log.Debug("no resolver answers", "name", q.Question[0].Name, "error", err)
		s.refuse(w, q, dns.RcodeServerFailure)
		return
	}
	reply.Id = q.Id
	reply.Compress = true
	if reply.Len() > limit {
		reply.Truncate(limit)
	}
	if !s.cfg.SetTruncate {
		reply.Truncated = false
	}
	s.cfg.Count(Outcome{Forwarded: true, Rcode: reply.Rcode, Empty: len(reply.Answer) == 0})
	if err := w.WriteMsg(reply); err != nil {
		s.log.Debug("reply not sent", "client", w.RemoteAddr().String(), "error", err)
	}
}

// servers gives the resolvers for a name: those of the longest zone it lies in.
func (f *forwarder) servers(name string) []string {
	name = strings.ToLower(name)
	best, servers := -1, f.cfg.Resolvers
	for zone, list := range f.cfg.ZoneResolvers {
		if len(zone) > best && dns.IsSubDomain(zone+".", name) {
			best, servers = len(zone), list
		}
	}
	return servers
}

// exchange tries resolvers in order, those that failed lately last, until one replies.
func (f *forwarder) exchange(ctx context.Context, network string, servers []string, q *dns.Msg) (*dns.Msg, error) {
	client := dns.Client{Net: network, Timeout: f.cfg.Timeout, UDPSize: maxQuery}
	ask := q.Copy()
	ask.Id = dns.Id()
	var errs []error
	for _, server := range f.healthyFirst(servers, time.Now()) {
		reply, _, err := client.ExchangeContext(ctx, ask, server)
		f.note(server, err, time.Now())
		if err == nil && len(reply.Question) == 1 && strings.EqualFold(reply.Question[0].Name, ask.Question[0].Name) {
			return reply, nil
		}
		if err == nil {
			err = errors.New("the reply is to another question")
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (f *forwarder) healthyFirst(servers []string, now time.Time) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.failing) == 0 {
		return servers
	}
	sorted := slices.Clone(servers)
	slices.SortStableFunc(sorted, func(a, b string) int {
		return f.failing[a].rank(now) - f.failing[b].rank(now)
	})
	return sorted
}

func (x failure) rank(now time.Time) int {
	if now.Before(x.until) {
		return 1
	}
	return 0
}

func (f *forwarder) note(server string, err error, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.failing, server)
		return
	}
	pause := min(max(2*f.failing[server].pause, firstPause), lastPause)
	f.failing[server] = failure{until: now.Add(pause), pause: pause}
}

// SystemResolvers reads the name servers of a resolv.conf, but for those that own says
// are this server itself.
func SystemResolvers(path string, own func(netip.AddrPort) bool) ([]string, error) {
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil, err
	}
	var servers []string
	for _, s := range conf.Servers {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			continue
		}
		if at := netip.AddrPortFrom(addr, 53); !own(at) {
			servers = append(servers, at.String())
		}
	}
	return servers, nil
}
