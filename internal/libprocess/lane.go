package libprocess

import (
	"bytes"
	"net/http"
	"strconv"
)

// A Lane answers plain HTTP requests of one connection without the http.Server: many
// small calls, often pipelined, for which that is most of the work. One goroutine uses it.
type Lane interface {
	// Add takes a POST whose answer Settle will give; false leaves the connection, this
	// request included, to the http.Server. body is valid until Add returns.
	Add(r LaneRequest, body []byte) bool
	// Settle gives the answers of all requests added since the last time, in their order.
	Settle() []LaneAnswer
}

// LaneRequest is the head of a request that may go through a Lane. Only requests without
// any header that changes how they are read come so far.
type LaneRequest struct {
	Path        string // as sent, without the delegate's name; no query
	ContentType string
	StreamID    string // Mesos-Stream-Id; never empty
}

// LaneAnswer is a status and, for errors, a sentence.
type LaneAnswer struct {
	Status int
	Text   string // text/plain; charset=utf-8
}

const (
	laneBody   = 1 << 20  // bytes of a body that a Lane may get
	laneStream = 128      // bytes of a stream id
	lanePath   = 64       // bytes of a path
	lanePasses = 256      // requests added before they are settled
	laneRead   = 96 << 10 // bytes read at once: what comes together is settled together
)

// laneHead is a request's head as the lane needs it.
type laneHead struct {
	request LaneRequest
	length  int
	ok      bool
}

// parseLane reads a complete head; not ok is whatever a Lane does not serve.
func (c *inbound) parseLane(b []byte) (h laneHead) {
	line, rest := cutLine(b)
	target, posted := bytes.CutPrefix(line, post)
	target, one := bytes.CutSuffix(target, []byte(" HTTP/1.1"))
	if !posted || !one || len(target) == 0 || target[0] != '/' || len(target) > lanePath {
		return h
	}
	h.length = -1
	var contentType, stream []byte
	for {
		line, rest = cutLine(rest)
		if len(line) == 0 {
			break
		}
		key, value, found := bytes.Cut(line, []byte{':'})
		if !found {
			return h
		}
		value = bytes.Trim(value, " \t")
		switch {
		case is(key, "Content-Length"):
			n, err := strconv.ParseUint(string(value), 10, 31)
			if err != nil || h.length >= 0 || n > laneBody {
				return h
			}
			h.length = int(n)
		case is(key, "Content-Type"):
			contentType = value
		case is(key, "Mesos-Stream-Id"):
			stream = value
		case is(key, "Connection"):
			if !is(value, "keep-alive") {
				return h
			}
		case is(key, "Host"), is(key, "Accept"), is(key, "Accept-Encoding"), is(key, "User-Agent"):
		default:
			return h
		}
	}
	if h.length < 0 || len(stream) == 0 || len(stream) > laneStream {
		return h
	}
	h.request = LaneRequest{Path: c.memo(&c.lanePath, target), ContentType: c.memo(&c.laneType, contentType), StreamID: c.memo(&c.laneStream, stream)}
	if d := c.t.cfg.Delegate; d != "" && len(h.request.Path) > len(d)+1 && h.request.Path[1:len(d)+1] == d && h.request.Path[len(d)+1] == '/' {
		h.request.Path = h.request.Path[len(d)+1:]
	}
	h.ok = true
	return h
}

// memo gives b as a string without allocating when it is what the last request had.
func (c *inbound) memo(last *string, b []byte) string {
	if string(b) != *last {
		*last = string(b)
	}
	return *last
}

// viaLane serves the request whose head is whole in the buffer. False leaves everything
// in the buffer, for the http.Server; answers owed by then are written.
func (c *inbound) viaLane() bool {
	if c.lane == nil {
		return false
	}
	b := c.dec.buffered()
	end := headEnd(b, 0)
	if end < 0 {
		return false
	}
	h := c.parseLane(b[:end])
	if !h.ok {
		return false
	}
	if c.owed == 0 && c.dec.w == len(c.dec.buf) {
		c.dec.widen() // more waits than one read took
	}
	for len(c.dec.buffered()) < end+h.length {
		if c.dec.fill() != nil {
			return false // the http.Server finds the same end
		}
	}
	b = c.dec.buffered()
	if !c.lane.Add(h.request, b[end:end+h.length]) {
		return false
	}
	c.dec.r += end + h.length
	if c.owed++; c.owed >= lanePasses {
		c.settle()
	}
	return true
}

// settle appends the lane's answers to those to be written.
func (c *inbound) settle() {
	if c.owed == 0 {
		return
	}
	c.owed = 0
	for _, a := range c.lane.Settle() {
		if !c.mute {
			c.out = c.t.appendLaneAnswer(c.out, a)
		}
	}
}

func (t *Transport) appendLaneAnswer(b []byte, a LaneAnswer) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.Status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(a.Status)...)
	b = append(b, "\r\nDate: "...)
	b = append(b, t.date.now()...)
	if a.Text != "" {
		b = append(b, "\r\nContent-Type: text/plain; charset=utf-8"...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(a.Text)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, a.Text...)
}
