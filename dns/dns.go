// Package dns is the door of the DNS room: it answers A, AAAA and SRV queries for what
// runs on the cluster, as Mesos-DNS does, from the master's event stream. names works out
// the records, answer serves them, follow keeps them true, rest is the HTTP API.
package dns

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/dns/answer"
	"github.com/stoa-project/stoa/dns/follow"
	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/dns/rest"
	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/web"
)

// Default TTLs in seconds when the configuration leaves them open: records follow events
// at once, so clients need not keep them long.
const (
	eventTTL = 5
	pollTTL  = 60
	// cachedTTL is for records of an earlier run that no master has confirmed yet.
	cachedTTL = 1
)

// LevelRecords is the log level below debug: each record of each new list of the cluster,
// as Mesos-DNS logs with -v=2 (mesos-dns.md section 12).
const LevelRecords = slog.LevelDebug - 4

// Room is the DNS room.
type Room struct {
	cfg      *settled
	version  string
	log      *slog.Logger
	registry *metrics.Registry
	metrics  *instruments
	answer   *answer.Server
	follow   *follow.Follower

	cache    *cache    // nil: none
	keptFrom time.Time // when the view of an earlier run was true

	now       atomic.Pointer[present]
	changed   atomic.Pointer[chan struct{}] // closed by the next publish
	listening chan struct{}                 // closed when the sockets are open
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
	s.SOASerial = uint32(time.Now().Unix()) //nolint:gosec // as in publish
	r := &Room{cfg: s, version: version, log: log, registry: metrics.New(), listening: make(chan struct{})}
	r.metrics = newInstruments(r.registry, r.age)
	s.answer.Count = r.metrics.query
	s.follow.Notify = r.metrics.event
	r.answer = answer.New(s.answer, log)
	next := make(chan struct{})
	r.changed.Store(&next)
	if s.StateCache != "" {
		r.cache = newCache(s.StateCache, log)
		if s.follow.Before, r.keptFrom, err = r.cache.read(); err != nil {
			log.Warn("the view of an earlier run cannot be used", "file", s.StateCache, "error", err)
		}
		s.follow.Keep, s.follow.KeepEvery = r.cache.keep, cacheEvery
	}
	if r.follow, err = follow.New(s.follow, log); err != nil {
		return nil, err
	}
	return r, nil
}

// Run opens the sockets and serves until ctx ends. Before the first state of the cluster
// queries for the zone are answered with SERVFAIL.
func (r *Room) Run(ctx context.Context) error {
	socks, err := r.cfg.open()
	if err != nil {
		return err
	}
	defer socks.close()
	g, ctx := errgroup.WithContext(ctx)
	var start []func() error
	if r.cfg.DNSOn {
		r.dnsAddr = socks.tcp.Addr().(*net.TCPAddr).AddrPort()
		start = append(start, func() error { return r.answer.Run(ctx, socks.udp, socks.tcp) })
	}
	if r.cfg.HTTPOn {
		r.httpAddr = socks.http.Addr().(*net.TCPAddr).AddrPort()
		api := rest.New(rest.Config{
			Version: r.version, Settings: r.cfg.Config, Enumeration: r.cfg.EnumerationOn,
			MaxStale: time.Duration(r.cfg.MaxStale) * time.Second, Metrics: r.registry, Count: r.metrics.http,
		}, r, r.log)
		start = append(start, func() error { return web.Serve(ctx, socks.http, api, r.log) })
	}
	if r.cache != nil {
		start = append(start, func() error { r.cache.run(ctx); return nil })
	}
	if r.log.Enabled(ctx, slog.LevelDebug) {
		start = append(start, func() error { r.logCounters(ctx); return nil })
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
	if p.Mode == follow.Cached {
		ttl = cachedTTL
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
		r.log.Info("first state of the cluster is served", "source", p.Mode, "names", p.Zone.Len())
	}
	r.answer.Publish(snap)
	r.now.Store(&present{p, snap})
	next := make(chan struct{})
	close(*r.changed.Swap(&next))
	r.metrics.published(p)
	r.log.Debug("records published", "names", p.Zone.Len(), "took", p.Took)
	if p.Listed {
		r.logRecords(p.Zone)
	}
}

// Zone implements rest.Source.
func (r *Room) Zone() (*names.Zone, time.Time) {
	p := r.now.Load()
	if p == nil {
		return nil, time.Time{}
	}
	if heard := r.follow.Heard(); !heard.IsZero() {
		return p.Zone, heard
	}
	return p.Zone, r.keptFrom
}

// Changed implements rest.Source.
func (r *Room) Changed() <-chan struct{} { return *r.changed.Load() }

// logRecords logs every record of a zone, if that is wanted, and the counters.
func (r *Room) logRecords(z *names.Zone) {
	ctx := context.Background()
	if !r.log.Enabled(ctx, LevelRecords) {
		return
	}
	for n := range z.All() {
		for _, ip := range n.IPs() {
			kind := "[A]"
			if ip.Is6() {
				kind = "[AAAA]"
			}
			r.log.Log(ctx, LevelRecords, kind+"\t"+n.Name()+": "+ip.String())
		}
		for _, v := range n.SRV() {
			r.log.Log(ctx, LevelRecords, "[SRV]\t"+n.Name()+": "+v.Target+":"+strconv.Itoa(int(v.Port)))
		}
	}
	r.log.Debug("queries so far", r.metrics.counters()...)
}

// logCounters logs the query counters as often as Mesos-DNS reloads.
func (r *Room) logCounters(ctx context.Context) {
	tick := time.NewTicker(time.Duration(r.cfg.RefreshSeconds) * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.log.Debug("queries so far", r.metrics.counters()...)
		case <-ctx.Done():
			return
		}
	}
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
