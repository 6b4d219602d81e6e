package libprocess

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// Transport is one listening address with its processes, peers and links. Safe for
// concurrent use.
type Transport struct {
	cfg    Config
	log    *slog.Logger
	ln     net.Listener
	addr   netip.AddrPort // advertised
	http   *handover
	stats  metrics
	quiet  sync.Map        // drop cause or peer → *atomic.Int64, unix second of the last log line
	date   dateLine        // the Date header of answers
	budget budget          // body bytes being read
	gen    atomic.Uint64   // last link generation given out
	ctx    context.Context // ends when Close gives up waiting; cancels dials
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine but Serve's caller

	// mu guards the fields below. It is taken before a peer's mutex, never after one,
	// and never held while a mailbox is pushed.
	mu     sync.RWMutex
	closed bool
	procs  map[string]*mailbox
	peers  map[netip.AddrPort]*peer
	conns  map[net.Conn]struct{}        // accepted, not handed over
	local  map[string]map[string]uint64 // links between local processes: to, from → generation
	ids    map[string]int               // last number given out per prefix
}

// New binds the address and starts nothing else; processes may be spawned before Serve.
// It fails when the address cannot be bound or no IPv4 address can be advertised.
func New(cfg Config) (*Transport, error) {
	cfg = cfg.withDefaults()
	ln := cfg.Listener
	if ln == nil {
		listen := cfg.Listen
		if !listen.IsValid() {
			listen = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		}
		if !listen.Addr().Unmap().Is4() {
			return nil, fault.New("libprocess.New", fault.Invalid, listen.String(),
				errors.New("libprocess needs an IPv4 address: UPIDs cannot carry IPv6"))
		}
		var err error
		if ln, err = net.Listen("tcp4", netip.AddrPortFrom(listen.Addr().Unmap(), listen.Port()).String()); err != nil {
			return nil, fault.New("libprocess.New", fault.Unavailable, listen.String(), err)
		}
	}
	addr, err := advertised(cfg.Advertise, ln.Addr())
	if err != nil {
		ln.Close()
		return nil, err
	}
	t := &Transport{
		cfg: cfg, log: cfg.Logger, ln: ln, addr: addr,
		procs: make(map[string]*mailbox),
		peers: make(map[netip.AddrPort]*peer),
		conns: make(map[net.Conn]struct{}),
		local: make(map[string]map[string]uint64),
		ids:   make(map[string]int),
	}
	if addr.Addr().IsLoopback() && ln.Addr().(*net.TCPAddr).IP.IsUnspecified() {
		t.log.Warn("the host's name resolves to a loopback address, which other hosts cannot reach; set an IP to advertise", "address", addr)
	}
	t.budget.limit = int64(cfg.InflightBytes)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.http = newHandover(t)
	return t, nil
}

// advertised completes the wanted address from the bound one and, last, from the
// host's own name.
func advertised(want netip.AddrPort, bound net.Addr) (netip.AddrPort, error) {
	fail := func(why error) (netip.AddrPort, error) {
		return netip.AddrPort{}, fault.New("libprocess.New", fault.Invalid, "advertised address", why)
	}
	tcp, ok := bound.(*net.TCPAddr)
	if !ok {
		return fail(errors.New("the listener " + bound.String() + " is not TCP"))
	}
	ip, port := want.Addr().Unmap(), want.Port()
	if port == 0 {
		port = uint16(tcp.Port)
	}
	if !ip.IsValid() || ip.IsUnspecified() {
		ip = tcp.AddrPort().Addr().Unmap()
	}
	if ip.IsUnspecified() {
		name, err := os.Hostname()
		if err != nil {
			return fail(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if ip, err = lookup4(ctx, name); err != nil {
			return fail(err)
		}
	}
	if !ip.Is4() || ip.IsUnspecified() {
		return fail(errors.New(ip.String() + " is not an IPv4 address that peers can reach; set LIBPROCESS_ADVERTISE_IP"))
	}
	return netip.AddrPortFrom(ip, port), nil
}

// Addr is the advertised address, the one in the UPIDs of local processes.
func (t *Transport) Addr() netip.AddrPort { return t.addr }

// PID gives the UPID that id has, or would have, here.
func (t *Transport) PID(id string) UPID { return UPID{ID: id, Addr: t.addr} }

// NextID gives "<prefix>(<n>)", n counting from 1 per prefix, as Mesos names processes.
func (t *Transport) NextID(prefix string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ids[prefix]++
	return prefix + "(" + strconv.Itoa(t.ids[prefix]) + ")"
}

// goRun starts fn unless the transport is closed, and has Close wait for it.
func (t *Transport) goRun(fn func()) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return false
	}
	t.wg.Go(fn)
	return true
}

// Run is Serve until ctx ends, then Close.
func (t *Transport) Run(ctx context.Context) error {
	closed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { closed <- t.Close() })
	err := t.Serve()
	if !stop() {
		return <-closed
	}
	return errors.Join(err, t.Close())
}

// Close stops accepting, lets queued messages leave and running handlers end for at
// most DrainTimeout, and closes every connection. No Exited is delivered for that. A
// second Close does nothing.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	for c := range t.conns {
		c.Close()
	}
	peers := make([]*peer, 0, len(t.peers))
	for _, p := range t.peers {
		peers = append(peers, p)
	}
	t.mu.Unlock()

	t.ln.Close()
	for _, p := range peers {
		p.finish()
	}
	t.http.close(t.cfg.DrainTimeout)
	done := make(chan struct{})
	go func() { t.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(t.cfg.DrainTimeout):
	}
	t.cancel()
	for _, p := range peers {
		p.abort()
	}
	select {
	case <-done:
		return nil
	case <-time.After(t.cfg.DrainTimeout):
		return fault.New("libprocess.Close", fault.Timeout, "handlers still running", nil)
	}
}

// Stats gives a snapshot of the counters.
func (t *Transport) Stats() Stats {
	s := Stats{
		In: t.stats.in.snapshot(), Out: t.stats.out.snapshot(), Dropped: t.stats.dropped.snapshot(),
		Exits: t.stats.exits.Load(), Refused: t.stats.refused.Load(),
		Connections:  int(t.stats.connections.Load()),
		Open:         int(t.stats.open.Load()),
		TurnedAway:   t.stats.turnedAway.Load(),
		QueueBytes:   t.stats.queueBytes.Load(),
		MailboxBytes: t.stats.mailboxBytes.Load(),
		ReadingBytes: t.budget.used.Load(),
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	s.Processes, s.Peers = len(t.procs), len(t.peers)
	for _, from := range t.local {
		s.Links += len(from)
	}
	for _, p := range t.peers {
		s.Links += p.countLinks()
	}
	return s
}

// drop counts a lost message and logs it, one line per second and cause.
func (t *Transport) drop(cause string, n int, attrs ...any) {
	if n <= 0 {
		return
	}
	t.stats.dropped.add(cause, uint64(n))
	if t.mayLog(cause) {
		t.log.Warn("message dropped", append([]any{"cause", cause, "count", n}, attrs...)...)
	}
}

// mayLog is true once a second per key. Keys are a fixed set.
func (t *Transport) mayLog(key string) bool {
	v, _ := t.quiet.LoadOrStore(key, new(atomic.Int64))
	last, now := v.(*atomic.Int64), time.Now().Unix()
	old := last.Load()
	return old != now && last.CompareAndSwap(old, now)
}
