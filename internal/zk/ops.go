package zk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/stoa-project/stoa/internal/fault"
)

// Limits on what is sent: the servers drop the connection of a request above 1 MiB.
const (
	MaxData  = 900 << 10 // bytes of one node
	MaxMulti = 1000 << 10
)

// Version that matches whatever is present.
const AnyVersion int32 = -1

// Access says who may use a new node.
type Access uint8

// The accesses. Without credentials in the URL both mean everyone, as with Mesos.
const (
	Public  Access = iota // everyone reads, the URL's user does everything (election nodes)
	Private               // only the URL's user (state)
)

// Mode of a new node.
type Mode uint8

// The modes.
const (
	Persistent Mode = iota
	Ephemeral
	EphemeralSequential // the server appends ten digits to the name
)

// Stat is what ZooKeeper keeps about a node.
type Stat struct {
	Version        int32 // of the data: 0 at create, one more with each write
	EphemeralOwner int64 // session id, 0 for persistent nodes
	NumChildren    int32
}

// Op is one step of a Multi, made by Check, Create, Set and Delete.
type Op struct {
	kind    opKind
	path    string
	data    []byte
	version int32
	access  Access
}

type opKind uint8

const (
	opCheck opKind = iota
	opCreate
	opSet
	opDelete
)

// Check demands that path exists with that version.
func Check(path string, version int32) Op { return Op{kind: opCheck, path: path, version: version} }

// Create makes a persistent node; its parent must exist.
func Create(path string, data []byte, access Access) Op {
	return Op{kind: opCreate, path: path, data: data, access: access}
}

// Set replaces a node's data.
func Set(path string, data []byte, version int32) Op {
	return Op{kind: opSet, path: path, data: data, version: version}
}

// Delete removes a node without children.
func Delete(path string, version int32) Op {
	return Op{kind: opDelete, path: path, version: version}
}

// OpError says which step of a Multi was refused; nothing of the batch happened.
type OpError struct {
	Index int
	Err   error // fault.NotFound, Conflict or Forbidden
}

// Error gives the step's number and reason.
func (e *OpError) Error() string { return fmt.Sprintf("step %d: %v", e.Index, e.Err) }

// Unwrap gives the reason.
func (e *OpError) Unwrap() error { return e.Err }

// Get reads a node. It is repeated over reconnections until ctx ends (or one session
// timeout when ctx has no deadline). Errors: fault.NotFound, Forbidden, Timeout, Unavailable.
func (s *Session) Get(ctx context.Context, path string) ([]byte, Stat, error) {
	type reply struct {
		data []byte
		stat Stat
	}
	r, err := call(ctx, s, "zk.Get", path, true, nil, func(c *zk.Conn) (reply, error) {
		data, st, err := c.Get(path)
		return reply{data, statOf(st)}, err
	})
	return r.data, r.stat, err
}

// Exists says whether a node is there. Repeated as Get is.
func (s *Session) Exists(ctx context.Context, path string) (bool, Stat, error) {
	type reply struct {
		found bool
		stat  Stat
	}
	r, err := call(ctx, s, "zk.Exists", path, true, nil, func(c *zk.Conn) (reply, error) {
		found, st, err := c.Exists(path)
		return reply{found, statOf(st)}, err
	})
	return r.found, r.stat, err
}

// Children lists the names below a node, in no order. Repeated as Get is.
func (s *Session) Children(ctx context.Context, path string) ([]string, error) {
	return call(ctx, s, "zk.Children", path, true, nil, func(c *zk.Conn) ([]string, error) {
		names, _, err := c.Children(path)
		return names, err
	})
}

// Sync waits until the server in use has seen every write that was done before.
func (s *Session) Sync(ctx context.Context, path string) error {
	_, err := call(ctx, s, "zk.Sync", path, true, nil, func(c *zk.Conn) (string, error) { return c.Sync(path) })
	return err
}

// Create makes a node and returns its full path. Ephemeral nodes belong to term, or to
// the present session when term is nil, and are not created once that term is over.
// Unavailable and Timeout leave open whether the node was created.
func (s *Session) Create(ctx context.Context, term *Term, path string, data []byte, mode Mode, access Access) (string, error) {
	if err := checkSize("zk.Create", path, len(data), MaxData); err != nil {
		return "", err
	}
	flags := map[Mode]int32{Ephemeral: zk.FlagEphemeral, EphemeralSequential: zk.FlagEphemeral | zk.FlagSequence}[mode]
	return call(ctx, s, "zk.Create", path, false, term, func(c *zk.Conn) (string, error) {
		return c.Create(path, data, flags, s.acl(access))
	})
}

// Set replaces a node's data when its version fits. Unavailable and Timeout leave open
// whether it happened. Other errors: fault.NotFound, Conflict, Forbidden, TooLarge.
func (s *Session) Set(ctx context.Context, path string, data []byte, version int32) (Stat, error) {
	if err := checkSize("zk.Set", path, len(data), MaxData); err != nil {
		return Stat{}, err
	}
	return call(ctx, s, "zk.Set", path, false, nil, func(c *zk.Conn) (Stat, error) {
		st, err := c.Set(path, data, version)
		return statOf(st), err
	})
}

// Delete removes a node. Errors as Set.
func (s *Session) Delete(ctx context.Context, path string, version int32) error {
	_, err := call(ctx, s, "zk.Delete", path, false, nil, func(c *zk.Conn) (struct{}, error) {
		return struct{}{}, c.Delete(path, version)
	})
	return err
}

// Multi makes all steps happen or none. A refused step is an *OpError in the chain.
// Unavailable and Timeout leave open whether it happened.
func (s *Session) Multi(ctx context.Context, ops ...Op) error {
	size := 0
	reqs := make([]any, len(ops))
	for i, op := range ops {
		if err := checkSize("zk.Multi", op.path, len(op.data), MaxData); err != nil {
			return err
		}
		size += len(op.path) + len(op.data) + opOverhead
		switch op.kind {
		case opCheck:
			reqs[i] = &zk.CheckVersionRequest{Path: op.path, Version: op.version}
		case opCreate:
			reqs[i] = &zk.CreateRequest{Path: op.path, Data: op.data, Acl: s.acl(op.access)}
		case opSet:
			reqs[i] = &zk.SetDataRequest{Path: op.path, Data: op.data, Version: op.version}
		case opDelete:
			reqs[i] = &zk.DeleteRequest{Path: op.path, Version: op.version}
		}
	}
	if err := checkSize("zk.Multi", fmt.Sprintf("a batch of %d steps", len(ops)), size, MaxMulti); err != nil {
		return err
	}
	refused, err := call(ctx, s, "zk.Multi", s.url.String(), false, nil, func(c *zk.Conn) (*OpError, error) {
		rs, err := c.Multi(reqs...)
		for i, r := range rs {
			if r.Error != nil {
				return &OpError{Index: i, Err: toFault("zk.Multi", ops[i].path, r.Error)}, nil
			}
		}
		return nil, err
	})
	if err != nil {
		return err
	}
	if refused != nil {
		return fault.New("zk.Multi", fault.KindOf(refused.Err), "", refused)
	}
	return nil
}

// opOverhead is a generous bound on what a step costs beside its path and data: headers, lengths, ACL.
const opOverhead = 160

// EnsurePath creates a persistent node and its parents where they are missing.
func (s *Session) EnsurePath(ctx context.Context, path string, access Access) error {
	if path == "/" || path == "" {
		return nil
	}
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		part := path[:i]
		if found, _, err := s.Exists(ctx, part); err != nil {
			return err
		} else if found {
			continue
		}
		_, err := call(ctx, s, "zk.EnsurePath", part, true, nil, func(c *zk.Conn) (string, error) {
			return c.Create(part, nil, 0, s.acl(access))
		})
		if err != nil && fault.KindOf(err) != fault.Conflict {
			return err
		}
	}
	return nil
}

func (s *Session) acl(a Access) []zk.ACL {
	if s.url.User == "" {
		return zk.WorldACL(zk.PermAll)
	}
	own := zk.DigestACL(zk.PermAll, s.url.User, s.url.Password)
	if a == Private {
		return own
	}
	return append(zk.WorldACL(zk.PermRead), own...)
}

// call runs one request. Repeatable requests are tried again after each lost connection
// until the deadline; others only when they certainly never left this process.
func call[T any](ctx context.Context, s *Session, op, path string, repeat bool, term *Term, fn func(*zk.Conn) (T, error)) (T, error) {
	var none T
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.SessionTimeout)
		defer cancel()
	}
	pause := 20 * time.Millisecond
	for {
		t := term
		if t == nil {
			now, err := s.Term(ctx)
			if err != nil {
				return none, err
			}
			t = &now
		}
		v, err := attempt(ctx, t, fn)
		switch {
		case err == nil:
			return v, nil
		case errors.Is(err, zk.ErrNoServer): // never sent
		case repeat && lostConnection(err) && (term == nil || !errors.Is(err, errTermOver)):
		default:
			return none, toFault(op, path, err)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 500*time.Millisecond)
		case <-ctx.Done():
			return none, toFault(op, path, ctx.Err())
		}
	}
}

var errTermOver = errors.New("the ZooKeeper session ended")

// attempt gives up waiting when ctx or the term ends; the client frees the request when
// its connection goes.
func attempt[T any](ctx context.Context, t *Term, fn func(*zk.Conn) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	select {
	case <-t.Over:
		return none, errTermOver
	default:
	}
	got := make(chan result, 1)
	go func() {
		v, err := fn(t.ep.conn)
		got <- result{v, err}
	}()
	select {
	case r := <-got:
		return r.v, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-t.Over:
		return none, errTermOver
	}
}

func lostConnection(err error) bool {
	for _, e := range []error{zk.ErrConnectionClosed, zk.ErrNoServer, zk.ErrSessionExpired, zk.ErrClosing, zk.ErrSessionMoved, errTermOver} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func toFault(op, path string, err error) error {
	kind := fault.Unavailable
	switch {
	case errors.Is(err, zk.ErrNoNode):
		kind = fault.NotFound
	case errors.Is(err, zk.ErrNodeExists), errors.Is(err, zk.ErrBadVersion), errors.Is(err, zk.ErrNotEmpty):
		kind = fault.Conflict
	case errors.Is(err, zk.ErrNoAuth):
		kind = fault.Forbidden
	case errors.Is(err, zk.ErrAuthFailed):
		kind = fault.Unauthenticated
	case errors.Is(err, zk.ErrInvalidPath), errors.Is(err, zk.ErrNoChildrenForEphemerals), errors.Is(err, zk.ErrInvalidACL):
		kind = fault.Invalid
	case errors.Is(err, context.DeadlineExceeded):
		kind = fault.Timeout
	}
	return fault.New(op, kind, path, err)
}

func checkSize(op, subject string, size, limit int) error {
	if size <= limit {
		return nil
	}
	return fault.New(op, fault.TooLarge, subject, fmt.Errorf("%d bytes are over the limit of %d", size, limit))
}

func statOf(st *zk.Stat) Stat {
	if st == nil {
		return Stat{}
	}
	return Stat{Version: st.Version, EphemeralOwner: st.EphemeralOwner, NumChildren: st.NumChildren}
}
