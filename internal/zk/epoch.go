package zk

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

// epoch is one ZooKeeper session with its connection, from dialling to its end.
type epoch struct {
	url URL
	log *slog.Logger

	conn  *zk.Conn      // set by start, before ready
	ready chan struct{} // closed when the session exists; id is set before
	over  chan struct{} // closed when the session ended or can no longer be proved
	id    int64

	base    time.Time    // monotonic zero of contact
	contact atomic.Int64 // nanoseconds since base of the last bytes from a server
	timeout atomic.Int64 // nanoseconds, as negotiated

	dialCtx    context.Context
	dialCancel context.CancelFunc

	mu      sync.Mutex // guards the fields below
	alive   bool       // the servers granted a session
	started bool       // start ran, so shutdown has a connection to close
	reason  string     // why over was closed; empty before
	socket  net.Conn   // the present one
}

func newEpoch(url URL, cfg Config, log *slog.Logger) *epoch {
	ep := &epoch{
		url: url, log: log, base: time.Now(),
		ready: make(chan struct{}), over: make(chan struct{}),
	}
	ep.timeout.Store(int64(cfg.SessionTimeout))
	ep.dialCtx, ep.dialCancel = context.WithCancel(context.Background())
	return ep
}

// start connects in the background.
func (ep *epoch) start() {
	connected := make(chan struct{})
	conn, _, err := zk.Connect(ep.url.Hosts, time.Duration(ep.timeout.Load()),
		zk.WithDialer(ep.dial),
		zk.WithHostProvider(&hostRing{}),
		zk.WithLogger(debugLogger{ep.log}),
		zk.WithEventCallback(func(e zk.Event) {
			if e.Type != zk.EventSession {
				return
			}
			switch e.State {
			case zk.StateHasSession:
				go func() { // the callback must not block
					<-connected
					ep.established()
				}()
			case zk.StateExpired:
				ep.end("expired by the servers")
			}
		}),
	)
	if err != nil { // only an empty host list, which Dial refuses
		ep.end(err.Error())
		return
	}
	ep.conn = conn
	ep.mu.Lock()
	ep.started = true
	ep.mu.Unlock()
	close(connected)
}

// established runs after each (re)connection with a session.
func (ep *epoch) established() {
	id := ep.conn.SessionID()
	ep.mu.Lock()
	if ep.reason != "" || id == 0 {
		ep.mu.Unlock()
		return
	}
	if ep.alive {
		same := id == ep.id
		ep.mu.Unlock()
		if !same {
			ep.end("the client slipped into another session")
		}
		return
	}
	ep.alive, ep.id = true, id
	ep.mu.Unlock()
	go ep.watchdog()
	if ep.url.User != "" {
		if err := ep.conn.AddAuth("digest", []byte(ep.url.User+":"+ep.url.Password)); err != nil {
			ep.end("authentication: " + err.Error())
			return
		}
	}
	ep.log.Info("ZooKeeper session established", "session", fmt.Sprintf("%#x", uint64(id)),
		"timeout", time.Duration(ep.timeout.Load()))
	close(ep.ready)
}

// watchdog ends the epoch one session timeout after the last word from a server.
func (ep *epoch) watchdog() {
	for {
		left := time.Duration(ep.contact.Load()+ep.timeout.Load()) - time.Since(ep.base)
		if left <= 0 {
			ep.end("no word from the servers for one session timeout")
			return
		}
		select {
		case <-time.After(left):
		case <-ep.over:
			return
		}
	}
}

// heard notes bytes from a server. Bytes that arrive after the timeout has passed
// (the process was stopped, or the network held them back) revive nothing.
func (ep *epoch) heard() {
	now := int64(time.Since(ep.base))
	before := ep.contact.Swap(now)
	if now-before < ep.timeout.Load() {
		return
	}
	ep.mu.Lock()
	alive := ep.alive
	ep.mu.Unlock()
	if alive {
		ep.end("no word from the servers for one session timeout")
	}
}

// end closes over once.
func (ep *epoch) end(reason string) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.reason != "" {
		return
	}
	ep.reason = reason
	close(ep.over)
	ep.dialCancel()
}

func (ep *epoch) why() string {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.reason
}

// shutdown says goodbye where a server still listens and frees the connection.
func (ep *epoch) shutdown() {
	ep.mu.Lock()
	started := ep.started
	ep.mu.Unlock()
	if started {
		ep.conn.Close() // waits one second at most for the answer
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.socket != nil {
		ep.socket.Close()
	}
}

func (ep *epoch) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	c, err := d.DialContext(ep.dialCtx, network, address)
	if err != nil {
		return nil, err
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.socket = c
	return &heardConn{Conn: c, ep: ep}, nil
}

// heardConn notes each word from the server, learns the negotiated session timeout
// from the connect reply, and keeps the client from waiting long for that reply.
type heardConn struct {
	net.Conn
	ep    *epoch
	reply []byte // first bytes of the connect reply, until its timeout is known
}

// timeoutEnd is where the timeout ends in a connect reply: length, protocol version,
// timeout in milliseconds, four bytes each.
const timeoutEnd = 12

func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		if len(c.reply) < timeoutEnd {
			c.reply = append(c.reply, p[:n]...)
			if len(c.reply) >= timeoutEnd {
				if ms := int32(binary.BigEndian.Uint32(c.reply[8:timeoutEnd])); ms > 0 {
					c.ep.timeout.Store(int64(time.Duration(ms) * time.Millisecond))
				}
				c.reply = c.reply[:timeoutEnd:timeoutEnd]
			}
		}
		c.ep.heard()
	}
	return n, err
}

// SetReadDeadline shortens deadlines beyond the session timeout: the client gives the
// connect reply several of them, too long for a server that accepts and stays silent.
func (c *heardConn) SetReadDeadline(t time.Time) error {
	if limit := time.Now().Add(time.Duration(c.ep.timeout.Load())); t.After(limit) {
		t = limit
	}
	return c.Conn.SetReadDeadline(t)
}

// hostRing goes round the servers from a random one; names are resolved at each dial,
// so one name that cannot be resolved does no harm.
type hostRing struct {
	mu      sync.Mutex // guards the fields below
	servers []string
	next    int
	tried   int // since the last success
}

func (r *hostRing) Init(servers []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.servers = servers
	r.next = rand.IntN(len(servers))
	return nil
}

func (r *hostRing) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.servers)
}

func (r *hostRing) Next() (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.servers[r.next%len(r.servers)]
	r.next++
	again := r.tried > 0 && r.tried%len(r.servers) == 0
	r.tried++
	return s, again
}

func (r *hostRing) Connected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = 0
}

// debugLogger takes the client's own log lines.
type debugLogger struct{ log *slog.Logger }

func (l debugLogger) Printf(format string, args ...any) {
	l.log.Debug("zookeeper client", "message", fmt.Sprintf(format, args...))
}
