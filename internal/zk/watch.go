package zk

import (
	"context"
	"errors"
	"sort"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/stoa-project/stoa/internal/fault"
)

// Children is one view of a node's children.
type Children struct {
	Names []string // sorted; nil when the node does not exist
	Term  int64    // session that saw it
	Err   error    // set when the children are unknown: the session is over or reading is refused
}

// WatchChildren delivers the children of path, then each change, until ctx ends or the
// Session is closed, when the channel is closed. The watch is armed again after each
// event and in each new session; a reader that is slow gets only the newest view.
// While the session is over one view with Err is delivered.
func (s *Session) WatchChildren(ctx context.Context, path string) <-chan Children {
	out := make(chan Children, 1)
	go func() {
		defer close(out)
		for ctx.Err() == nil && s.ctx.Err() == nil {
			term, err := s.Term(ctx)
			if err != nil {
				return // ctx ended or the Session was closed
			}
			err = s.watchTerm(ctx, term, path, out)
			if ctx.Err() != nil {
				return
			}
			deliver(out, Children{Term: term.ID, Err: err})
			select {
			case <-term.Over:
			case <-time.After(time.Second): // reading is refused: ask again now and then
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// watchTerm delivers views until the term is over or reading fails for good.
func (s *Session) watchTerm(ctx context.Context, term Term, path string, out chan Children) error {
	type view struct {
		names []string
		event <-chan zk.Event
	}
	for {
		v, err := attempt(ctx, &term, func(c *zk.Conn) (view, error) {
			names, _, event, err := c.ChildrenW(path)
			if !errors.Is(err, zk.ErrNoNode) {
				return view{names, event}, err
			}
			found, _, event, err := c.ExistsW(path)
			if found && err == nil { // it came between the two calls: the event is about its data
				return view{}, errAgain
			}
			return view{nil, event}, err
		})
		switch {
		case err == nil:
		case errors.Is(err, errAgain):
			continue
		case lostConnection(err) && !errors.Is(err, errTermOver):
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			return toFault("zk.WatchChildren", path, err)
		}
		sort.Strings(v.names)
		deliver(out, Children{Names: v.names, Term: term.ID})
		select {
		case <-v.event:
		case <-term.Over:
			return fault.New("zk.WatchChildren", fault.Unavailable, path, errTermOver)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errAgain = errors.New("look again")

// deliver replaces a view nobody took yet. There is one sender per channel.
func deliver(out chan Children, v Children) {
	select {
	case <-out:
	default:
	}
	out <- v
}
