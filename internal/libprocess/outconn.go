package libprocess

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// outConn is one dialled connection of a peer. Its fields are guarded by the peer's
// mutex, except where noted.
type outConn struct {
	p        *peer
	ctx      context.Context
	cancel   context.CancelFunc // stops the dial
	nc       net.Conn           // nil until connected; closing it needs no lock
	writing  bool               // a writer goroutine exists
	inFlight int                // messages the writer has taken
	retired  bool               // half-close when the writer is done; the end has no meaning
	cause    error              // why the writer failed, for the reader to report
}

func newOutConn(p *peer) *outConn {
	c := &outConn{p: p}
	c.ctx, c.cancel = context.WithCancel(p.t.ctx)
	return c
}

// run connects, starts writing, and reads answers until the connection ends.
func (c *outConn) run() {
	defer c.cancel()
	p := c.p
	nc, err := p.t.dial(c.ctx, p.addr)
	if err != nil {
		p.end(c, err)
		return
	}
	defer nc.Close()
	p.mu.Lock()
	if p.dead || p.conn != c {
		p.mu.Unlock()
		return
	}
	c.nc = nc
	p.startWriter()
	p.mu.Unlock()

	err = p.t.discardAnswers(nc)
	p.mu.Lock()
	if c.cause != nil {
		err = c.cause
	}
	p.mu.Unlock()
	p.end(c, err)
}

// write empties the queue and ends.
func (c *outConn) write() {
	p := c.p
	for {
		p.mu.Lock()
		if p.conn != c || p.dead || len(p.queue) == 0 {
			c.writing = false
			if p.finishing || c.retired {
				c.retire()
			}
			p.mu.Unlock()
			return
		}
		batch, n := p.queue, p.queued
		p.queue, p.queued, c.inFlight = nil, 0, n
		size := 0
		for _, b := range batch {
			size += len(b)
		}
		p.mu.Unlock()

		_, err := batch.WriteTo(c.nc)

		p.mu.Lock()
		if !p.dead {
			p.bytes -= size
			p.t.stats.queueBytes.Add(int64(-size))
		}
		if err != nil {
			if p.conn != c && !p.dead {
				p.t.stats.dropped.add(DropLinkLost, uint64(n))
			}
			c.cause = err
			p.mu.Unlock()
			c.nc.Close() // run reports; writing stays true so that no writer follows
			return
		}
		c.inFlight = 0
		p.mu.Unlock()
	}
}

// retire ends the connection politely: half-close once nothing is being written, then
// the reader goes on until the peer closes too, so that unread answers do not turn the
// close into a reset that destroys what was sent. p.mu held.
func (c *outConn) retire() {
	c.retired = true
	if c.nc == nil {
		c.cancel()
		return
	}
	deadline := time.Now().Add(c.p.t.cfg.DrainTimeout)
	_ = c.nc.SetDeadline(deadline)
	if c.writing {
		return
	}
	if h, ok := c.nc.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
		return
	}
	c.nc.Close()
}

// close ends the connection or its dial at once.
func (c *outConn) close() {
	c.cancel()
	c.p.mu.Lock()
	nc := c.nc
	c.p.mu.Unlock()
	if nc != nil {
		nc.Close()
	}
}

// answerBuffers lend room for bursts of answers; an idle connection holds none.
var answerBuffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// discardAnswers reads what the peer answers until it closes. Answers mean nothing to
// the sender; those that are not 2xx are counted and logged once in a while.
func (t *Transport) discardAnswers(r io.Reader) error {
	small := make([]byte, 256)
	for {
		n, err := r.Read(small)
		t.noteAnswers(small[:n])
		for err == nil && n == len(small) {
			big := answerBuffers.Get().(*[]byte)
			n, err = r.Read(*big)
			t.noteAnswers((*big)[:n])
			more := n == len(*big)
			answerBuffers.Put(big)
			if !more {
				break
			}
			n = len(small)
		}
		if errors.Is(err, io.EOF) {
			return ErrPeerClosed
		}
		if err != nil {
			return err
		}
	}
}

var statusLine = []byte("HTTP/1.")

// noteAnswers looks for status lines in a piece of the answer stream.
func (t *Transport) noteAnswers(b []byte) {
	for {
		i := bytes.Index(b, statusLine)
		if i < 0 || len(b) < i+12 {
			return
		}
		if b = b[i+7:]; b[1] == ' ' && b[2] != '2' && b[2] != '1' {
			t.stats.refused.Add(1)
			if t.mayLog("refused") {
				t.log.Info("a peer refused a message", "status", string(b[2:5]))
			}
		}
	}
}
