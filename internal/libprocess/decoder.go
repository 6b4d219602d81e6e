package libprocess

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
)

const (
	firstRead   = 16 << 10 // bytes of a lent read buffer
	maxLine     = 4 << 10  // bytes of a chunk size line
	maxTrailers = 16 << 10 // bytes of trailers, which nobody sends and nobody reads
)

// How reading a request can fail, beside errors of the connection.
var (
	errHeadTooLarge = errors.New("the request head is over 80 KiB")
	errBodyTooLarge = errors.New("the body is over the limit")
	errOverload     = errors.New("too many body bytes are being read") // the body was skipped
	errChunk        = errors.New("malformed chunked body")
)

// decoder cuts a byte stream into requests. While it holds no bytes it needs no buffer.
type decoder struct {
	src  io.Reader
	buf  []byte
	r, w int // buf[r:w] was read and not used
}

var readBuffers = sync.Pool{New: func() any { b := make([]byte, firstRead); return &b }}

// lend gives the decoder a buffer, starting with one byte already read.
func (d *decoder) lend(first byte) {
	d.buf = *readBuffers.Get().(*[]byte)
	d.buf[0], d.r, d.w = first, 0, 1
}

var laneBuffers = sync.Pool{New: func() any { b := make([]byte, laneRead); return &b }}

// widen changes the buffer for one of laneRead bytes, if it has an ordinary one.
func (d *decoder) widen() {
	if len(d.buf) != firstRead {
		return
	}
	wide := *laneBuffers.Get().(*[]byte)
	d.w = copy(wide, d.buf[d.r:d.w])
	d.r = 0
	old := d.buf
	readBuffers.Put(&old)
	d.buf = wide
}

// giveBack returns the buffer; one that grew for a long head is left to the collector.
func (d *decoder) giveBack() {
	b := d.buf
	switch len(b) {
	case firstRead:
		readBuffers.Put(&b)
	case laneRead:
		laneBuffers.Put(&b)
	}
	d.buf, d.r, d.w = nil, 0, 0
}

func (d *decoder) buffered() []byte { return d.buf[d.r:d.w] }

// fill reads more, making room first.
func (d *decoder) fill() error {
	switch {
	case d.r == d.w:
		d.r, d.w = 0, 0
	case d.w == len(d.buf) && d.r > 0:
		d.w = copy(d.buf, d.buf[d.r:d.w])
		d.r = 0
	}
	if d.w == len(d.buf) {
		grown := make([]byte, max(firstRead, 2*len(d.buf)))
		copy(grown, d.buf[:d.w])
		d.buf = grown
	}
	for range 100 {
		n, err := d.src.Read(d.buf[d.w:])
		d.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// post is how a message must begin.
var post = []byte("POST ")

// head reads on until the request that has begun in the buffer has its whole head, and
// consumes it if it is a message; of other requests every byte stays in the buffer. When
// there were only blank lines the buffer is empty afterwards.
func (d *decoder) head() (head, error) {
	seen := 0
	for {
		for d.r < d.w && (d.buf[d.r] == '\r' || d.buf[d.r] == '\n') && seen == 0 {
			d.r++ // blank lines between requests
		}
		if d.r == d.w {
			return head{}, nil
		}
		b := d.buffered()
		if n := min(len(b), len(post)); !bytes.Equal(b[:n], post[:n]) {
			return head{}, nil
		}
		if end := headEnd(b, max(0, seen-2)); end >= 0 && end <= maxHead {
			h := parseHead(b[:end])
			if h.message {
				d.r += end
			}
			return h, nil
		} else if end > maxHead || len(b) > maxHead {
			return head{}, errHeadTooLarge
		}
		seen = len(b)
		if err := d.fill(); err != nil {
			return head{}, unexpected(err)
		}
	}
}

// body reads the body that h announces. With keep false it is skipped. The bytes kept
// count against budget until the caller gives held back. After errOverload the
// connection is at the next request; after any other error it is useless.
func (d *decoder) body(h head, keep bool, limit int, budget *budget) (body []byte, held int64, err error) {
	k := keeper{keep: keep, budget: budget}
	if h.chunked {
		err = d.chunks(&k, int64(limit))
	} else if h.length > int64(limit) {
		err = errBodyTooLarge
	} else {
		err = d.take(&k, h.length)
	}
	if err == nil && k.over {
		err = errOverload
	}
	if err != nil {
		k.release()
		return nil, 0, err
	}
	return k.body, k.held, nil
}

// chunks reads a chunked body up to and including its trailers.
func (d *decoder) chunks(k *keeper, limit int64) error {
	for total := int64(0); ; {
		line, err := d.line()
		if err != nil {
			return err
		}
		digits, _, _ := bytes.Cut(line, []byte{';'})
		n, err := strconv.ParseUint(string(bytes.Trim(digits, " \t")), 16, 62)
		if err != nil {
			return errChunk
		}
		if n == 0 {
			return d.trailers()
		}
		if int64(n) > limit-total {
			return errBodyTooLarge
		}
		total += int64(n)
		if err := d.take(k, int64(n)); err != nil {
			return err
		}
		if line, err = d.line(); err != nil {
			return err
		} else if len(line) != 0 {
			return errChunk
		}
	}
}

func (d *decoder) trailers() error {
	for total := 0; total < maxTrailers; {
		line, err := d.line()
		if err != nil || len(line) == 0 {
			return err
		}
		total += len(line) + 2
	}
	return errChunk
}

// line consumes one line and gives it without its end; it is valid until the next read.
func (d *decoder) line() ([]byte, error) {
	for seen := 0; ; {
		b := d.buffered()
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			line, _ := cutLine(b[:seen+i+1])
			d.r += seen + i + 1
			return line, nil
		}
		if seen = len(b); seen > maxLine {
			return nil, errChunk
		}
		if err := d.fill(); err != nil {
			return nil, unexpected(err)
		}
	}
}

// take moves n bytes of body to k, straight from the connection where many are missing.
func (d *decoder) take(k *keeper, n int64) error {
	for n > 0 {
		if have := int64(d.w - d.r); have > 0 {
			have = min(have, n)
			k.write(d.buf[d.r:d.r+int(have)], n)
			d.r += int(have)
			n -= have
			continue
		}
		if room := k.room(n); len(room) >= firstRead {
			m, err := d.src.Read(room)
			k.body = k.body[:len(k.body)+m]
			n -= int64(m)
			if err != nil && (err != io.EOF || n > 0) {
				return unexpected(err)
			}
			continue
		}
		if err := d.fill(); err != nil {
			return unexpected(err)
		}
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// budget bounds the body bytes held by all connections together.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// keeper collects one body. Its memory grows with the bytes that really came, at most
// twofold, whatever length was announced.
type keeper struct {
	keep   bool
	over   bool // the budget ran out; the rest is skipped
	body   []byte
	held   int64 // taken from budget
	budget *budget
}

// write appends b; missing is how many bytes the body is known to need yet, b included.
func (k *keeper) write(b []byte, missing int64) {
	if k.grow(len(b), missing) {
		k.body = append(k.body, b...)
	}
}

// room gives free memory for reading at most missing bytes directly; empty when the
// body is skipped or little is missing.
func (k *keeper) room(missing int64) []byte {
	if missing < firstRead || !k.grow(firstRead, missing) {
		return nil
	}
	free := k.body[len(k.body):cap(k.body)]
	return free[:min(int64(len(free)), missing)]
}

// grow makes room for n more bytes, for all missing ones while that is not more than
// what came already or 64 KiB.
func (k *keeper) grow(n int, missing int64) bool {
	if !k.keep {
		return false
	}
	need := len(k.body) + n
	if need <= cap(k.body) {
		return true
	}
	size := max(need, min(len(k.body)+int(missing), max(2*cap(k.body), 64<<10)))
	if !k.budget.take(int64(size - cap(k.body))) {
		k.keep, k.over = false, true
		k.release()
		return false
	}
	k.held += int64(size - cap(k.body))
	grown := make([]byte, len(k.body), size)
	copy(grown, k.body)
	k.body = grown
	return true
}

func (k *keeper) release() {
	k.budget.used.Add(-k.held)
	k.held, k.body = 0, nil
}
