package operators

import (
	"bytes"
	"sync"
	"time"
)

// A large answer (a hundred megabytes of /state) is never in memory as a whole. It is a
// document: a plan of parts over one snapshot, which always print the same bytes. They
// are printed a page at a time by one goroutine for all who read the document, a little
// ahead of the fastest reader. Pages stay for a while in a store of fixed size for the
// other readers; who reads so slowly that his page is gone prints it again for himself.
// So memory depends neither on the size of the answer nor on how its readers read.

const (
	pageSize  = 128 << 10 // bytes from which a page ends after its present item
	pageAhead = 16        // pages printed beyond the fastest reader
	storeSize = 8 << 20   // bytes of pages kept
)

// part is a run of n items that print one after the other.
type part struct {
	n     int
	print func(e *encoder, i int)
}

// one is a part of a single item.
func one(print func(e *encoder)) part {
	return part{1, func(e *encoder, _ int) { print(e) }}
}

// each is a part with an item for each element.
func each[T any](list []T, print func(e *encoder, v T)) part {
	return part{len(list), func(e *encoder, i int) { print(e, list[i]) }}
}

// cursor is a place between two items, and what is before it.
type cursor struct {
	part, item int
	last       byte // before the place; 0 at the beginning
}

// page is one page of a document. The store's lock guards its fields.
type page struct {
	start  cursor
	size   int    // bytes, when it was printed once
	plain  []byte // nil when it is not in the store
	packed []byte // the same compressed, when somebody wants it so
	refs   int    // readers that write it out, and the store
}

// pageStore keeps the newest pages of all documents, up to storeSize, and their empty
// buffers for the next ones.
type pageStore struct {
	mu   sync.Mutex // guards the fields below and those of all documents and pages
	held int        // bytes that kept takes, with what its buffers have to spare
	kept []*page    // oldest first
	free [][]byte
}

// buffer gives an empty buffer.
func (s *pageStore) buffer() []byte {
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b[:0]
	}
	return make([]byte, 0, pageSize+pageSize/4)
}

// keep puts a page with its bytes into the store and lets the oldest go.
func (s *pageStore) keep(p *page, plain, packed []byte) {
	p.plain, p.packed, p.size = s.fit(plain), s.fit(packed), len(plain)
	p.refs++
	s.kept = append(s.kept, p)
	s.held += p.held()
	for len(s.kept) > 1 && s.held > storeSize {
		old := s.kept[0]
		s.kept[0] = nil
		s.kept = s.kept[1:]
		s.held -= old.held()
		s.release(old)
	}
}

func (p *page) held() int { return cap(p.plain) + cap(p.packed) }

// fit moves bytes that would waste most of a buffer to memory of their own size: the
// answers of a small cluster, and what compression leaves.
func (s *pageStore) fit(b []byte) []byte {
	if len(b) > cap(b)/2 {
		return b
	}
	s.reuse(b)
	return bytes.Clone(b)
}

func (s *pageStore) reuse(b []byte) {
	if c := cap(b); c >= pageSize && c <= 4*pageSize && len(s.free) < storeSize/pageSize/2 {
		s.free = append(s.free, b)
	}
}

// release ends one use of a page. The last one empties it.
func (s *pageStore) release(p *page) {
	p.refs--
	if p.refs > 0 {
		return
	}
	s.reuse(p.plain)
	s.reuse(p.packed)
	p.plain, p.packed = nil, nil
}

// document is one long answer. Make it with newDocument.
type document struct {
	parts []part
	store *pageStore
	begun time.Time
	done  chan struct{} // closed when it was printed to its end

	// The store's lock guards the fields below.
	change  sync.Cond // a page was printed, or the printer stopped
	pages   []*page   // begun ones; the last one is yet to print, unless ended
	ended   bool
	err     error // why it ended early
	running bool  // the printer is at work
	wanted  int   // the furthest page that a reader asked for
	packing bool  // a reader wants it compressed
}

func newDocument(store *pageStore, parts []part) *document {
	d := &document{parts: parts, store: store, begun: time.Now(), done: make(chan struct{}), pages: []*page{{}}}
	d.change.L = &store.mu
	return d
}

// printer holds what printing needs, for one page after the other.
type printer struct {
	e    encoder
	pack deflater
}

// print appends the page that begins at c to into; next is where the following one
// begins, end whether there is none.
func (pr *printer) print(parts []part, c cursor, into []byte) (out []byte, next cursor, end bool, err error) {
	e := &pr.e
	e.b, e.last, e.err = into, c.last, nil
	for ; c.part < len(parts); c.part, c.item = c.part+1, 0 {
		p := parts[c.part]
		for c.item < p.n {
			p.print(e, c.item)
			c.item++
			if e.err != nil {
				return nil, c, true, e.err
			}
			if len(e.b) >= pageSize {
				c.last = e.b[len(e.b)-1]
				return e.b, c, false, nil
			}
		}
	}
	return e.b, c, true, nil
}

// run prints ahead of the readers and ends when it is far enough ahead or at the end.
func (d *document) run() {
	s := d.store
	pr := &printer{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for !d.ended && len(d.pages)-1 <= d.wanted+pageAhead {
		p := d.pages[len(d.pages)-1]
		plain, packed, packing := s.buffer(), []byte(nil), d.packing
		if packing {
			packed = s.buffer()
		}
		s.mu.Unlock()
		plain, next, end, err := pr.print(d.parts, p.start, plain)
		if err == nil && packing {
			packed, err = pr.pack.page(packed, plain)
		}
		s.mu.Lock()
		if err != nil {
			d.err, d.ended = err, true
			break
		}
		s.keep(p, plain, packed)
		if end {
			d.ended = true
			break
		}
		d.pages = append(d.pages, &page{start: next})
		d.change.Broadcast()
	}
	if d.ended {
		close(d.done)
	}
	d.running = false
	d.change.Broadcast()
}

// reach waits until page i was printed once. more is false behind the last page. The
// caller holds the store's lock.
func (d *document) reach(i int) (p *page, more bool, err error) {
	d.wanted = max(d.wanted, i)
	for {
		printed := len(d.pages) - 1
		if d.ended {
			printed++
		}
		switch {
		case d.err != nil:
			return nil, false, d.err
		case d.ended && i >= printed:
			return nil, false, nil
		case i < printed:
			if !d.ended && i+pageAhead/2 >= printed {
				d.start()
			}
			return d.pages[i], true, nil
		}
		d.start()
		d.change.Wait()
	}
}

func (d *document) start() {
	if !d.running && !d.ended {
		d.running = true
		go d.run()
	}
}

// reader goes through a document once. Call close when done with it.
type reader struct {
	d      *document
	packed bool
	at     int      // of the next page
	held   *page    // in use; nil for none
	own    *printer // for pages that are not in the store any more
	plain  []byte   // own buffers
	small  []byte
}

func (d *document) reader(packed bool) *reader {
	if packed {
		d.store.mu.Lock()
		d.packing = true
		d.store.mu.Unlock()
	}
	return &reader{d: d, packed: packed}
}

// next gives the following page, valid until the next call; small is its compressed form
// when that is wanted. more is false behind the end.
func (r *reader) next() (plain, small []byte, more bool, err error) {
	s := r.d.store
	s.mu.Lock()
	r.drop()
	p, more, err := r.d.reach(r.at)
	if err != nil || !more {
		s.mu.Unlock()
		return nil, nil, false, err
	}
	r.at++
	start := p.start
	if p.plain != nil {
		p.refs++
		r.held = p
		plain, small = p.plain, p.packed
	}
	s.mu.Unlock()
	if r.own == nil && (plain == nil || r.packed && small == nil) {
		r.own = &printer{}
	}
	if plain == nil {
		if r.plain, _, _, err = r.own.print(r.d.parts, start, r.plain[:0]); err != nil {
			return nil, nil, false, err
		}
		plain = r.plain
	}
	if r.packed && small == nil {
		if r.small, err = r.own.pack.page(r.small[:0], plain); err != nil {
			return nil, nil, false, err
		}
		small = r.small
	}
	return plain, small, true, nil
}

// drop gives back the page in use. The caller holds the store's lock.
func (r *reader) drop() {
	if r.held != nil {
		r.d.store.release(r.held)
		r.held = nil
	}
}

func (r *reader) close() {
	r.d.store.mu.Lock()
	defer r.d.store.mu.Unlock()
	r.drop()
}

// length prints the whole document, as far as it was not, and gives its bytes. What was
// printed is in the store if it fits.
func (d *document) length() (int, error) {
	s := d.store
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	for i := 0; ; i++ {
		p, more, err := d.reach(i)
		if err != nil || !more {
			return total, err
		}
		total += p.size
	}
}
