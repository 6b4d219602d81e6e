package answer

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/stoa-project/stoa/dns/names"
)

// Times of forwarding.
const (
	firstPause = time.Second // before a resolver that failed is tried first again
	lastPause  = 30 * time.Second
	hedge      = 300 * time.Millisecond // without an answer the next resolver is asked too
	deadTry    = time.Second            // longest try when all resolvers failed lately
)

// forwarder passes queries for other names on.
type forwarder struct {
	cfg    Config
	zones  []string // keys of cfg.ZoneResolvers, longest first
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards the fields below
	failing map[string]failure
	asked   map[question]*exchange
}

type failure struct {
	until time.Time
	pause time.Duration
}

// question is what makes two forwarded queries the same.
type question struct {
	name        string
	kind, class uint16
	network     string
	edns, do    bool
	rd, cd      bool
}

// exchange is a question that resolvers are being asked. Clients that ask the same
// meanwhile wait for the same reply; so does a query that came back to us by a loop among
// servers, which thereby ends.
type exchange struct {
	done  chan struct{}
	reply *dns.Msg // nil: no resolver answered
	err   error
}

func newForwarder(cfg Config) *forwarder {
	f := &forwarder{cfg: cfg, failing: map[string]failure{}, asked: map[question]*exchange{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	for zone := range cfg.ZoneResolvers {
		f.zones = append(f.zones, zone)
	}
	slices.SortFunc(f.zones, func(a, b string) int { return len(b) - len(a) })
	return f
}

// close ends what is under way.
func (f *forwarder) close() { f.cancel() }

// forward gives what a resolver says; nil when none does.
func (s *Server) forward(c client, m *dns.Msg, limit int) ([]byte, Outcome) {
	network := "udp"
	if c.tcp() {
		network = "tcp"
	}
	answer, err := s.fwd.ask(network, m)
	if err != nil {
		s.log.Debug("no resolver answers", "name", m.Question[0].Name, "error", err)
		return nil, Outcome{Rcode: dns.RcodeServerFailure, Empty: true}
	}
	reply := answer.Copy()
	reply.Id, reply.Question, reply.Compress = m.Id, m.Question, true
	if reply.Len() > limit {
		reply.Truncate(limit)
	}
	if !s.cfg.SetTruncate {
		reply.Truncated = false
	}
	raw, err := reply.Pack()
	if err != nil {
		s.log.Debug("a resolver's reply cannot be passed on", "name", m.Question[0].Name, "error", err)
		return nil, Outcome{Rcode: dns.RcodeServerFailure, Empty: true}
	}
	return raw, Outcome{Forwarded: true, Rcode: reply.Rcode, Empty: len(reply.Answer) == 0}
}

// servers gives the resolvers for a lower-case name: those of the longest zone it lies in.
func (f *forwarder) servers(name []byte) []string {
	for _, zone := range f.zones {
		if names.InDomain(string(name), zone) {
			return f.cfg.ZoneResolvers[zone]
		}
	}
	return f.cfg.Resolvers
}

// ask joins or starts the exchange for a question.
func (f *forwarder) ask(network string, m *dns.Msg) (*dns.Msg, error) {
	q := m.Question[0]
	key := question{name: strings.ToLower(q.Name), kind: q.Qtype, class: q.Qclass, network: network, rd: m.RecursionDesired, cd: m.CheckingDisabled}
	if opt := m.IsEdns0(); opt != nil {
		key.edns, key.do = true, opt.Do()
	}
	f.mu.Lock()
	x := f.asked[key]
	if x == nil {
		x = &exchange{done: make(chan struct{})}
		f.asked[key] = x
		go func() {
			x.reply, x.err = f.exchange(network, f.servers([]byte(key.name)), m)
			f.mu.Lock()
			delete(f.asked, key)
			f.mu.Unlock()
			close(x.done)
		}()
	}
	f.mu.Unlock()
	<-x.done
	return x.reply, x.err
}

// errOvertaken is noted of a resolver that a later one has outrun.
var errOvertaken = errors.New("another resolver was asked later and answered first")

// exchange asks resolvers in order, those that failed lately last, until one replies. One
// that is slow is not waited for before the next is asked.
func (f *forwarder) exchange(network string, servers []string, m *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	servers, dead := f.healthyFirst(servers, time.Now())
	timeout := f.cfg.Timeout
	if dead {
		timeout = min(timeout, deadTry)
	}
	client := dns.Client{Net: network, Timeout: timeout, UDPSize: maxQuery}
	type result struct {
		server int
		reply  *dns.Msg
		err    error
	}
	results := make(chan result, len(servers))
	try := func(i int) {
		server := servers[i]
		ask := m.Copy()
		ask.Id = dns.Id()
		reply, err := exchangeOnce(ctx, &client, server, ask)
		if err == nil && (len(reply.Question) != 1 || !strings.EqualFold(reply.Question[0].Name, ask.Question[0].Name)) {
			err = errors.New("the reply is to another question")
		}
		if ctx.Err() == nil {
			f.note(server, err, time.Now())
		}
		results <- result{i, reply, err}
	}
	var errs []error
	silent := map[int]bool{} // asked, and nothing heard
	next := time.NewTimer(0)
	defer next.Stop()
	for started, ended := 0, 0; ended < len(servers); {
		select {
		case <-next.C:
			if started < len(servers) {
				go try(started)
				silent[started] = true
				started++
				next.Reset(hedge)
			}
		case r := <-results:
			delete(silent, r.server)
			if r.err == nil {
				// Those before it had longer, by hedge at least: as good as failed.
				for i := range r.server {
					if silent[i] {
						f.note(servers[i], errOvertaken, time.Now())
					}
				}
				return r.reply, nil
			}
			errs = append(errs, r.err)
			ended++
			if ended == started {
				next.Reset(0)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, errors.Join(errs...)
}

// exchangeOnce asks one resolver; the end of ctx ends it.
func exchangeOnce(ctx context.Context, client *dns.Client, server string, ask *dns.Msg) (*dns.Msg, error) {
	conn, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	reply, _, err := client.ExchangeWithConnContext(ctx, ask, conn)
	return reply, err
}

// healthyFirst sorts resolvers; dead says that all of them failed lately.
func (f *forwarder) healthyFirst(servers []string, now time.Time) (sorted []string, dead bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.failing) == 0 {
		return servers, false
	}
	rank := func(server string) int {
		if now.Before(f.failing[server].until) {
			return 1
		}
		return 0
	}
	sorted = slices.Clone(servers)
	slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
	return sorted, rank(sorted[0]) == 1
}

func (f *forwarder) note(server string, err error, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.failing, server)
		return
	}
	last := f.failing[server]
	if now.Before(last.until) { // one of many queries that were under way together
		return
	}
	pause := min(max(2*last.pause, firstPause), lastPause)
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
