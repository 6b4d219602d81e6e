package operators

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/stoa-project/stoa/master/ledger"
)

// shared is an answer that many poll. It is encoded once for a snapshot, however many
// ask; and while it is being encoded, all who come wait and share the next one. So a
// thousand pollers of a busy master cost one encoding at a time, and nobody gets an
// answer that is older than the question.
type shared struct {
	encode func(*ledger.Snapshot) ([]byte, error)
	tally  *tally

	arrived atomic.Uint64

	mu      sync.Mutex // held while encoding; guards the fields below
	covers  uint64     // the last arrival before the snapshot was taken
	of      *ledger.Snapshot
	content *content
}

// content is one encoded answer; nobody changes its bytes.
type content struct {
	plain []byte
	once  sync.Once // guards packed
	small []byte
}

// get gives the answer as of now or later than the call. Errors are view's and encode's.
func (s *shared) get(ctx context.Context, view func(context.Context) (*ledger.Snapshot, error)) (*content, error) {
	me := s.arrived.Add(1)
	s.tally.waiting.Add(1)
	defer s.tally.waiting.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content != nil && s.covers >= me {
		s.tally.hits.Add(1)
		return s.content, nil
	}
	covers := s.arrived.Load()
	snapshot, err := view(ctx)
	if err != nil {
		return nil, err
	}
	if s.content != nil && s.of == snapshot {
		s.covers = covers
		s.tally.hits.Add(1)
		return s.content, nil
	}
	plain, err := s.encode(snapshot)
	if err != nil {
		return nil, err
	}
	s.covers, s.of, s.content = covers, snapshot, &content{plain: plain}
	return s.content, nil
}

// forget drops the present answer.
func (s *shared) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of, s.content = nil, nil
}

// room is how large the next answer will be, roughly.
func (s *shared) room() int {
	if s.content == nil {
		return 1 << 10
	}
	return len(s.content.plain) + len(s.content.plain)/8
}
