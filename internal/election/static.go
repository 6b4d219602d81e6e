package election

import (
	"context"
	"sync"

	"github.com/stoa-project/stoa/internal/zk"
)

// Static is the election of a single process, which leads whenever it campaigns.
// As a Detector it names data as leader for ever.
type Static struct {
	data []byte
	turn chan struct{} // holds one token while nobody leads
}

// NewStatic makes both sides; data is what its watchers see.
func NewStatic(data []byte) *Static {
	s := &Static{data: data, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// Campaign leads at once, or when the previous lease was resigned.
func (s *Static) Campaign(ctx context.Context, _ []byte) (Lease, error) {
	select {
	case <-s.turn:
		return &staticLease{s: s, lost: make(chan struct{})}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Watch delivers the given data once.
func (s *Static) Watch(ctx context.Context) <-chan Leader {
	out := make(chan Leader, 1)
	out <- Leader{Data: s.data}
	go func() {
		<-ctx.Done()
		close(out)
	}()
	return out
}

type staticLease struct {
	s    *Static
	lost chan struct{}
	once sync.Once // closes lost and returns the token
}

func (l *staticLease) Lost() <-chan struct{} { return l.lost }

func (l *staticLease) Fence() zk.Fence { return zk.Fence{} }

func (l *staticLease) Resign() {
	l.once.Do(func() {
		close(l.lost)
		l.s.turn <- struct{}{}
	})
}
