package libprocess

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const (
	answerBatch   = 16 << 10         // answers are written at least after so many bytes
	answerTimeout = 10 * time.Second // a peer that does not read its answers gets no more of them
	lingerTime    = 2 * time.Second  // how long a refused peer may go on sending before the close
	lingerBytes   = 1 << 20
)

// inbound reads the messages of one accepted connection to its end.
type inbound struct {
	t    *Transport
	nc   net.Conn
	src  source
	dec  decoder
	out  []byte // answers not yet written
	mute bool   // writing failed: read on, answer nothing
	peer netip.AddrPort
	tls  *tls.ConnectionState

	fromText string // the sender text last parsed, which most requests repeat
	from     UPID

	lane                           Lane // nil: none
	owed                           int  // requests in the lane that are not answered yet
	lanePath, laneType, laneStream string
}

// source reads the connection, with a deadline from the first byte of a request to its
// last and none between requests: links are silent for hours.
type source struct {
	nc      net.Conn
	timeout time.Duration
	started bool   // a request has begun
	armed   bool   // its deadline is set
	set     bool   // some deadline is set
	flush   func() // writes pending answers; nobody waits for one while we wait for bytes
}

func (s *source) Read(b []byte) (int, error) {
	if s.flush != nil {
		s.flush()
	}
	if s.started && !s.armed {
		s.armed, s.set = true, true
		_ = s.nc.SetReadDeadline(time.Now().Add(s.timeout))
	}
	return s.nc.Read(b)
}

// begin starts the clock of a new request, at the first read that it needs.
func (s *source) begin() { s.started, s.armed = true, false }

// idle waits for the first byte of the next request.
func (s *source) idle() (byte, error) {
	s.started = false
	if s.set {
		s.set = false
		_ = s.nc.SetReadDeadline(time.Time{})
	}
	var one [1]byte
	_, err := io.ReadFull(s.nc, one[:])
	return one[0], err
}

// serve reads until the connection ends or is handed over, which it reports.
func (c *inbound) serve() (handed bool) {
	c.src.flush = c.flush
	c.dec.src = &c.src
	defer c.dec.giveBack()
	for {
		if len(c.dec.buffered()) == 0 {
			c.flush()
			c.out = nil
			c.dec.giveBack()
			first, err := c.src.idle()
			if err != nil {
				return false
			}
			c.dec.lend(first)
		}
		c.src.begin()
		h, err := c.dec.head()
		switch {
		case err != nil:
			c.flush()
			return false
		case !h.message && len(c.dec.buffered()) == 0:
			continue // blank lines only
		case !h.message && c.viaLane():
			continue
		case !h.message:
			c.flush()
			_ = c.nc.SetDeadline(time.Time{})
			c.t.http.hand(&handedConn{Conn: c.nc, early: append([]byte(nil), c.dec.buffered()...), tls: c.tls, closed: func() { c.t.stats.open.Add(-1) }})
			return true
		}
		if !c.request(h) {
			c.flush()
			c.linger()
			return false
		}
	}
}

// request takes in one message and answers it; false means the connection must end.
func (c *inbound) request(h head) bool {
	if h.bad != "" {
		c.answer(http.StatusBadRequest, h.bad)
		return false
	}
	v := c.t.judge(h, c.peer, c.sender)
	if h.expect {
		c.out = append(c.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	}
	body, held, err := c.dec.body(h, v.box != nil, c.t.cfg.MaxBody, &c.t.budget)
	switch {
	case err == nil:
	case errors.Is(err, errOverload):
		v = refuse(http.StatusServiceUnavailable, err.Error(), DropOverload)
	case errors.Is(err, errBodyTooLarge):
		c.t.drop(DropTooLarge, 1, "target", clip(h.target), "from", clip(h.from), "limit", c.t.cfg.MaxBody)
		c.answer(http.StatusRequestEntityTooLarge, err.Error())
		return false
	case errors.Is(err, errChunk):
		c.answer(http.StatusBadRequest, err.Error())
		return false
	default:
		return false
	}
	if v.box != nil {
		v.msg.Body, v.msg.Peer, v.msg.TLS = body, c.peer, c.tls
		c.t.take(v)
		c.t.budget.used.Add(-held)
	} else {
		c.t.drop(v.cause, 1, "target", clip(h.target), "from", clip(h.from))
	}
	c.answer(v.status, v.reason)
	if len(c.out) >= answerBatch {
		c.flush()
	}
	return !h.close
}

// sender parses the sender's text, remembering the last one.
func (c *inbound) sender(text string) (UPID, error) {
	if text == c.fromText && text != "" {
		return c.from, nil
	}
	u, err := Parse(text)
	if err == nil {
		c.fromText, c.from = text, u
	}
	return u, err
}

func (c *inbound) answer(status int, reason string) {
	c.settle()
	if !c.mute {
		c.out = c.t.appendAnswer(c.out, status, reason)
	}
}

// flush writes the answers. Failing to has no effect on what was and will be received:
// a peer may send its last requests and close at once.
func (c *inbound) flush() {
	c.settle()
	if len(c.out) == 0 || c.mute {
		return
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(answerTimeout))
	if _, err := c.nc.Write(c.out); err != nil {
		c.mute = true
	}
	c.out = c.out[:0]
}

// linger half-closes and reads on for a moment, so that the last answer is not lost to
// a reset caused by unread bytes.
func (c *inbound) linger() {
	if h, ok := c.nc.(interface{ CloseWrite() error }); !ok || h.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.nc, lingerBytes)
}

// clip shortens text from a peer for the log.
func clip(s string) string {
	if len(s) > maxID {
		return s[:maxID] + "…"
	}
	return s
}
