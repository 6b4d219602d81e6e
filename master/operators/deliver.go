package operators

import (
	"net/http"
	"strconv"
	"time"

	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
)

// deliverJSON answers 200 with a document of JSON, or with a script when the query names
// a jsonp callback (mesos-master.md 5.4).
func (s *Shell) deliverJSON(w http.ResponseWriter, r *http.Request, d *document) {
	cb := r.URL.Query().Get("jsonp")
	if cb == "" {
		s.deliver(w, r, wire.MediaJSON, d)
		return
	}
	if !callback(cb) {
		text(w, http.StatusBadRequest, badCallback)
		return
	}
	rd := d.reader(false)
	defer rd.close()
	plain, _, _, err := rd.next()
	if err != nil {
		s.unavailable(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/javascript")
	out := body{w: w, head: r.Method == http.MethodHead}
	out.write([]byte(cb + "("))
	out.write(plain)
	out.rest(rd, nil)
	out.write([]byte(")"))
	out.end()
}

// deliver answers 200 with exactly this media type: a short document with its
// Content-Length, a longer one in chunks, compressed when the client takes it so.
func (s *Shell) deliver(w http.ResponseWriter, r *http.Request, media string, d *document) {
	packed := web.WantsGzip(r)
	rd := d.reader(packed)
	defer rd.close()
	plain, small, _, err := rd.next()
	if err != nil {
		s.unavailable(w, r, err)
		return
	}
	h, single := w.Header(), d.single()
	h.Set("Content-Type", media)
	var sum *gzipSum
	length := len(plain)
	if packed && !(single && len(plain) < web.GzipFrom) {
		h.Set("Content-Encoding", "gzip")
		sum = &gzipSum{}
		length = len(gzipHead) + len(small) + len(sum.tail())
	}
	if single {
		h.Set("Content-Length", strconv.Itoa(length))
	}
	out := body{w: w, head: r.Method == http.MethodHead}
	if sum != nil {
		sum.add(plain)
		out.write(gzipHead)
		plain = small
	}
	out.write(plain)
	if !single {
		out.rest(rd, sum)
	}
	if sum != nil {
		out.write(sum.tail())
	}
	out.end()
}

// single reports whether the document was printed to its end and has one page.
func (d *document) single() bool {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	return d.ended && len(d.pages) == 1
}

// body writes one answer in pieces. After a failure it does nothing more.
type body struct {
	w      http.ResponseWriter
	head   bool // of a HEAD request: nothing is written
	failed bool
}

func (b *body) write(p []byte) {
	if b.head || b.failed || len(p) == 0 {
		return
	}
	control := http.NewResponseController(b.w)
	_ = control.SetWriteDeadline(time.Now().Add(writeWait)) // for each piece: a large answer may take its time while the client reads
	_, err := b.w.Write(p)
	b.failed = err != nil
}

// rest writes the pages that follow, and adds them to the sum if there is one.
func (b *body) rest(rd *reader, sum *gzipSum) {
	for !b.head && !b.failed {
		plain, small, more, err := rd.next()
		if err != nil {
			panic(http.ErrAbortHandler) // the client must see that the answer is cut off
		}
		if !more {
			return
		}
		if sum != nil {
			sum.add(plain)
			plain = small
		}
		b.write(plain)
	}
}

func (b *body) end() {
	_ = http.NewResponseController(b.w).SetWriteDeadline(time.Time{}) // not every writer has deadlines
}
