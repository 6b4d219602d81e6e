// Package dns is the door of the DNS room: it answers A, AAAA and SRV queries for what
// runs on the cluster, as Mesos-DNS does, from the master's event stream. names works out
// the records, answer serves them, follow keeps them true, rest is the HTTP API.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/dns/answer"
	"github.com/stoa-project/stoa/dns/follow"
	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/dns/rest"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/web"
)

// Default TTLs in seconds when the configuration leaves them open: records follow events
// at once, so clients need not keep them long.
const (
	eventTTL = 5
	pollTTL  = 60
)

// Room is the DNS room.
type Room struct {
	cfg      *settled
	version  string
	log      *slog.Logger
	registry *metrics.Registry
	metrics  *instruments
	answer   *answer.Server
	follow   *follow.Follower

	now       atomic.Pointer[present]
	listening chan struct{} // closed when the sockets are open
	dnsAddr   netip.AddrPort
	httpAddr  netip.AddrPort
}

// present is what is served.
type present struct {
	follow.Published
	snap *answer.Snapshot
}

// New checks the configuration; nothing runs before Run. Errors: fault.Invalid or
// Unsupported, naming the key.
func New(cfg Config, version string, log *slog.Logger) (*Room, error) {
	s, err := cfg.settle()
	if err != nil {
		return nil, err
	}
	r := &Room{cfg: s, version: version, log: log, registry: metrics.New(), listening: make(chan struct{})}
	r.metrics = newInstruments(r.registry, r.age)
	s.answer.Count = r.metrics.query
	s.follow.Notify = r.metrics.event
	r.answer = answer.New(s.answer, log)
	if r.follow, err = follow.New(s.follow, log); err != nil {
		return nil, err
	}
	return r, nil
}

// Run opens the sockets and serves until ctx ends. Before the first state of the cluster
// queries for the zone are answered with SERVFAIL.
func (r *Room) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	var start []func() error
	if r.cfg.DNSOn {
		udp, tcp, err := listenDNS(r.cfg.listen, r.cfg.Port)
		if err != nil {
			return err
		}
		r.dnsAddr = tcp.Addr().(*net.TCPAddr).AddrPort()
		start = append(start, func() error { return r.answer.Run(ctx, udp, tcp) })
		defer udp.Close()
		defer tcp.Close()
	}
	if r.cfg.HTTPOn {
		l, err := net.Listen("tcp", netip.AddrPortFrom(r.cfg.http, uint16(r.cfg.HTTPPort)).String()) //nolint:gosec // checked by settle
		if err != nil {
			return cannotListen("httpport", err)
		}
		r.httpAddr = l.Addr().(*net.TCPAddr).AddrPort()
		api := rest.New(rest.Config{
			Version: r.version, Settings: r.cfg.Config, Enumeration: r.cfg.EnumerationOn,
			Metrics: r.registry, Count: r.metrics.http,
		}, r, r.log)
		start = append(start, func() error { return web.Serve(ctx, l, api, r.log) })
	}
	close(r.listening)
	r.log.Info("dns is listening", "dns", r.dnsAddr, "http", r.httpAddr, "domain", r.cfg.Domain)
	for _, f := range start {
		g.Go(f)
	}
	g.Go(func() error { return r.follow.Run(ctx, r.publish) })
	return g.Wait()
}

// Listening is closed when the sockets are open and Addr and HTTPAddr are known.
func (r *Room) Listening() <-chan struct{} { return r.listening }

// Addr is where DNS is served, UDP and TCP; zero when it is off.
func (r *Room) Addr() netip.AddrPort { return r.dnsAddr }

// HTTPAddr is where HTTP is served; zero when it is off.
func (r *Room) HTTPAddr() netip.AddrPort { return r.httpAddr }

// publish swaps in a new zone.
func (r *Room) publish(p follow.Published) {
	ttl := uint32(r.cfg.TTL) //nolint:gosec // checked by settle
	if ttl == 0 {
		ttl = eventTTL
		if p.Mode == follow.Poll {
			ttl = pollTTL
		}
	}
	minimum := r.cfg.SOAMinttl
	if minimum == 0 {
		minimum = ttl
	}
	serial := uint32(time.Now().Unix()) //nolint:gosec // wraps in 2106, as serials may
	if last := r.now.Load(); last != nil && serial <= last.snap.Serial {
		serial = last.snap.Serial + 1
	}
	snap := &answer.Snapshot{
		Zone: p.Zone, TTL: ttl, Weight: r.cfg.SRVRecordDefaultWeight, Serial: serial,
		MName: r.cfg.SOAMname, RName: r.cfg.SOARname,
		Refresh: r.cfg.SOARefresh, Retry: r.cfg.SOARetry, Expire: r.cfg.SOAExpire, Minimum: minimum,
	}
	if r.now.Load() == nil {
		r.log.Info("first state of the cluster is served", "source", p.Mode, "names", len(p.Zone.Nodes))
	}
	r.answer.Publish(snap)
	r.now.Store(&present{p, snap})
	r.metrics.published(p)
	r.log.Debug("records published", "names", len(p.Zone.Nodes), "took", p.Took)
}

// Zone implements rest.Source.
func (r *Room) Zone() (*names.Zone, time.Time) {
	if p := r.now.Load(); p != nil {
		return p.Zone, r.follow.Heard()
	}
	return nil, time.Time{}
}

// SOA implements rest.Source.
func (r *Room) SOA() rest.SOA {
	soa := rest.SOA{RefreshSeconds: uint32(r.cfg.RefreshSeconds), Mname: r.cfg.SOAMname, Rname: r.cfg.SOARname} //nolint:gosec // checked by settle
	if p := r.now.Load(); p != nil {
		soa.TTL, soa.Serial = p.snap.TTL, p.snap.Serial
	}
	return soa
}

// age is how long the master was not heard of, -1 before the first state.
func (r *Room) age() float64 {
	if _, at := r.Zone(); !at.IsZero() {
		return time.Since(at).Seconds()
	}
	return -1
}

// listenDNS binds the same port for UDP and TCP.
func listenDNS(addr netip.Addr, port int) (net.PacketConn, net.Listener, error) {
	for attempt := 1; ; attempt++ {
		tcp, err := net.Listen("tcp", net.JoinHostPort(addr.String(), strconv.Itoa(port)))
		if err != nil {
			return nil, nil, cannotListen("port", err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return udp, tcp, nil
		}
		tcp.Close()
		if port != 0 || attempt == 10 { // any free port may be taken for UDP
			return nil, nil, cannotListen("port", err)
		}
	}
}

func cannotListen(key string, err error) error {
	cure := "choose another " + key
	if errors.Is(err, os.ErrPermission) {
		cure = "ports below 1024 need root or the capability cap_net_bind_service; or choose another " + key
	}
	return fault.New("dns", fault.Unavailable, key, fmt.Errorf("%w (%s)", err, cure))
}
