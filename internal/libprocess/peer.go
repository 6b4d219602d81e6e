package libprocess

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// chunkBytes is how many bytes of small messages share one buffer; a body at least
// this long is queued as it is.
const chunkBytes = 64 << 10

// peer is one remote address: its queue, its links and its present connection. It
// dies with that connection; the next send or link makes a new peer.
type peer struct {
	t    *Transport
	addr netip.AddrPort

	mu        sync.Mutex // guards the fields below, and outConn's
	conn      *outConn
	queue     net.Buffers // encoded requests, small ones joined
	queued    int         // messages in queue
	bytes     int         // queued and being written
	links     map[string]map[UPID]uint64
	lastUse   time.Time
	finishing bool // close once the queue is empty
	dead      bool // out of the transport's table; nothing more may be queued
}

// peer finds or makes the peer of an address; nil when the transport is closed.
func (t *Transport) peer(addr netip.AddrPort) *peer {
	t.mu.RLock()
	p := t.peers[addr]
	t.mu.RUnlock()
	if p != nil {
		return p
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	if p = t.peers[addr]; p == nil {
		p = &peer{t: t, addr: addr, lastUse: time.Now()}
		t.peers[addr] = p
		p.conn = newOutConn(p)
		t.wg.Go(p.conn.run)
	}
	return p
}

// enqueue adds one request. ok is false when the peer is dead and another must be
// made; full means the limit was passed and nothing was queued.
func (p *peer) enqueue(head, body []byte) (ok, full bool) {
	size := len(head) + len(body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return false, false
	}
	if p.bytes > 0 && p.bytes+size > p.t.cfg.QueueBytes {
		return true, true
	}
	p.append(head)
	if len(body) < chunkBytes {
		p.append(body)
	} else {
		p.queue = append(p.queue, body[:len(body):len(body)])
	}
	p.queued++
	p.bytes += size
	p.t.stats.queueBytes.Add(int64(size))
	p.lastUse = time.Now()
	p.startWriter()
	return true, false
}

// append copies b behind the last buffer while that has room to grow below the chunk
// size. The capacity of foreign bodies is clipped, so they are never appended to.
func (p *peer) append(b []byte) {
	if n := len(p.queue); n > 0 && len(p.queue[n-1])+len(b) <= chunkBytes {
		p.queue[n-1] = append(p.queue[n-1], b...)
		return
	}
	p.queue = append(p.queue, append([]byte(nil), b...))
}

// startWriter starts the writer if there is something to write, a connection, and no
// writer. The connection's own goroutine is alive then, so Close still waits. p.mu held.
func (p *peer) startWriter() {
	if c := p.conn; c.nc != nil && !c.writing && len(p.queue) > 0 {
		c.writing = true
		p.t.wg.Go(c.write)
	}
}

// end takes the peer out of service because its connection c ended; a replaced
// connection changes nothing. What is queued is lost, linkers are told.
func (p *peer) end(c *outConn, cause error) {
	p.t.mu.Lock()
	p.mu.Lock()
	if p.conn != c || p.dead {
		p.mu.Unlock()
		p.t.mu.Unlock()
		return
	}
	delete(p.t.peers, p.addr)
	p.dead = true
	lost := p.queued + c.inFlight
	p.t.stats.queueBytes.Add(int64(-p.bytes))
	links := p.links
	p.queue, p.queued, p.bytes, p.links = nil, 0, 0, nil
	p.mu.Unlock()
	p.t.mu.Unlock()

	c.close()
	p.t.drop(DropLinkLost, lost, "peer", p.addr, "err", cause)
	p.t.log.Debug("connection ended", "peer", p.addr, "err", cause)
	for from, tos := range links {
		for to, gen := range tos {
			p.t.exit(link{from, to}, gen, cause)
		}
	}
}

// overflow ends the peer because its queue is full, so that both sides run their
// disconnect logic.
func (p *peer) overflow() {
	p.mu.Lock()
	c := p.conn
	p.mu.Unlock()
	p.end(c, ErrQueueFull)
}

// link notes l; false when the peer is dead.
func (p *peer) link(l link, reconnect bool) (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return 0, false
	}
	if p.links == nil {
		p.links = make(map[string]map[UPID]uint64)
	}
	if p.links[l.from] == nil {
		p.links[l.from] = make(map[UPID]uint64)
	}
	gen := p.t.gen.Add(1)
	p.links[l.from][l.to] = gen
	p.lastUse = time.Now()
	if reconnect && !p.finishing && (p.conn.nc != nil) {
		old := p.conn
		p.conn = newOutConn(p)
		p.t.wg.Go(p.conn.run) // old's goroutine is alive: it cannot end without p.mu
		old.retire()
	}
	return gen, true
}

func (p *peer) unlink(l link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if delete(p.links[l.from], l.to); len(p.links[l.from]) == 0 {
		delete(p.links, l.from)
	}
}

// dropLinks forgets all links of a local process.
func (p *peer) dropLinks(from string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, from)
}

func (p *peer) generation(l link) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.links[l.from][l.to]
}

func (p *peer) countLinks() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, tos := range p.links {
		n += len(tos)
	}
	return n
}

// sweep closes peers that nothing is linked to and that were silent since before.
func (t *Transport) sweep(before time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for addr, p := range t.peers {
		p.mu.Lock()
		if len(p.links) == 0 && p.bytes == 0 && p.conn.nc != nil && p.lastUse.Before(before) {
			delete(t.peers, addr)
			p.dead = true
			p.conn.retire()
		}
		p.mu.Unlock()
	}
}

// finish closes the peer as soon as its queue is empty.
func (p *peer) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finishing = true
	if p.bytes == 0 {
		p.conn.retire()
	}
}

// abort closes the connection at once.
func (p *peer) abort() {
	p.mu.Lock()
	c := p.conn
	p.mu.Unlock()
	c.close()
}

// dialer makes connections, in TLS when configured.
func (t *Transport) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.DialTimeout)
	defer cancel()
	d := net.Dialer{KeepAlive: t.cfg.KeepAlive}
	nc, err := d.DialContext(ctx, "tcp4", addr.String())
	if err != nil || t.cfg.TLS == nil {
		return nc, err
	}
	secured, err := clientTLS(ctx, nc, t.cfg.DialTLS(addr.Addr().String()), addr)
	if err == nil {
		return secured, nil
	}
	nc.Close()
	if !t.cfg.Downgrade || speaksTLS(err) {
		return nil, err
	}
	return d.DialContext(ctx, "tcp4", addr.String())
}
