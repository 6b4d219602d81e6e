package operators

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/master/ledger"
)

// shared is an answer that many poll. It is printed once for a snapshot, however many
// ask; and while it is being printed, all who come wait and share the next one. So a
// thousand pollers of a busy master cost one printing at a time, and nobody gets an
// answer that is older than the question.
type shared struct {
	store *pageStore
	plan  func(*ledger.Snapshot) []part
	tally *tally

	arrived atomic.Uint64

	mu     sync.Mutex // held while the book is read and planned; guards the fields below
	covers uint64     // the last arrival before the snapshot was taken
	of     *ledger.Snapshot
	doc    *document
	expiry *time.Timer // forgets the document; nil before the first one
}

// lifetime is how long a document waits for further readers. It holds on to its snapshot,
// which the ledger has left behind.
const lifetime = 10 * time.Second

// patience is how long newcomers wait for a printing that goes no faster than its
// readers read. Then a second one begins beside it.
const patience = 100 * time.Millisecond

// get gives the answer as of now or later than the call. Errors are view's.
func (s *shared) get(ctx context.Context, view func(context.Context) (*ledger.Snapshot, error)) (*document, error) {
	me := s.arrived.Add(1)
	s.tally.waiting.Add(1)
	defer s.tally.waiting.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.doc != nil {
		d := s.doc
		if s.covers >= me && d.joinable() {
			s.tally.hits.Add(1)
			return d, nil
		}
		left := d.pressing()
		if left <= 0 {
			break
		}
		s.mu.Unlock()
		timer := time.NewTimer(left)
		select {
		case <-d.done:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		s.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	covers := s.arrived.Load()
	snapshot, err := view(ctx)
	if err != nil {
		return nil, err
	}
	s.covers = covers
	if s.doc != nil && s.of == snapshot && s.doc.joinable() {
		s.tally.hits.Add(1)
		return s.doc, nil
	}
	s.renew(snapshot)
	return s.doc, nil
}

// renew begins a document. One over the same snapshot has the same plan.
func (s *shared) renew(snapshot *ledger.Snapshot) {
	if s.expiry == nil {
		s.expiry = time.AfterFunc(lifetime, s.forget)
	} else {
		s.expiry.Reset(lifetime)
	}
	if s.doc != nil && s.of == snapshot {
		s.doc = newDocument(s.store, s.doc.parts)
		return
	}
	s.of, s.doc = snapshot, newDocument(s.store, s.plan(snapshot))
}

// at gives the answer for a snapshot that the caller has.
func (s *shared) at(snapshot *ledger.Snapshot) *document {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doc == nil || s.of != snapshot || !s.doc.joinable() {
		s.renew(snapshot)
	}
	return s.doc
}

// joinable reports whether a new reader finds the beginning of the document printed, or
// about to be. Else it would print page after page for itself alone.
func (d *document) joinable() bool {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	first := d.pages[0]
	return first.plain != nil || len(d.pages) == 1 && !d.ended
}

// pressing is how long it is worth to wait for the end of the printing; 0: not at all,
// because it is over, or waits for its readers.
func (d *document) pressing() time.Duration {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	switch {
	case d.ended:
		return 0
	case d.running:
		return max(patience-time.Since(d.begun), patience/10)
	}
	return patience - time.Since(d.begun)
}

// forget drops the present answer.
func (s *shared) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of, s.doc = nil, nil
	if s.expiry != nil {
		s.expiry.Stop()
	}
}
