package election

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/zk"
)

// Prefixes of election nodes; the server appends ten digits.
const (
	// MasterPrefix: nodes json.info_0000000001 directly below the URL's path (mesos-master.md 7.1).
	MasterPrefix = "json.info_"
	// LatchPrefix: nodes _c_<32 hex digits>-latch-0000000001 below FrameworkPath,
	// as the leader latch of Marathon's client library makes them (marathon.md 10.1).
	LatchPrefix = "latch-"
	// FrameworkPath is where frameworks elect, relative to the path of --zk.
	FrameworkPath = "leader-curator"
)

// seqDigits is the length of the number that ZooKeeper appends.
const seqDigits = 10

// retryPause is Mesos' pause between attempts to join the group.
const retryPause = 2 * time.Second

// ZK elects by ephemeral sequential nodes below one path: the lowest number leads. It
// is both Contender and Detector and shares the given session.
type ZK struct {
	session *zk.Session
	path    string
	prefix  string
	log     *slog.Logger
}

// NewZK makes a contender and detector over the nodes prefix+number below path.
func NewZK(session *zk.Session, path, prefix string, log *slog.Logger) *ZK {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &ZK{session: session, path: strings.TrimSuffix(path, "/"), prefix: prefix, log: log}
}

// sequence gives the number of an election node; ok is false for other nodes.
// A protection mark in front of the prefix (_c_<id>-) is allowed.
func (z *ZK) sequence(name string) (seq string, ok bool) {
	cut := len(name) - seqDigits
	if cut < 0 || strings.Trim(name[cut:], "0123456789") != "" {
		return "", false
	}
	head := name[:cut]
	if strings.HasPrefix(head, "_c_") {
		if i := strings.IndexByte(head, '-'); i > 0 && strings.HasSuffix(head, "-"+z.prefix) {
			return name[cut:], true
		}
	}
	return name[cut:], head == z.prefix
}

// candidates gives the election nodes among names, leader first.
func (z *ZK) candidates(names []string) []string {
	var nodes []string
	for _, n := range names {
		if _, ok := z.sequence(n); ok {
			nodes = append(nodes, n)
		}
	}
	sort.Slice(nodes, func(i, j int) bool {
		a, _ := z.sequence(nodes[i])
		b, _ := z.sequence(nodes[j])
		return a < b
	})
	return nodes
}

// Campaign joins the group and waits to be first. A candidacy that ends before (session
// over, node deleted) is renewed. Errors: ctx's, or fault.Forbidden, Unauthenticated,
// Invalid and TooLarge, which waiting cannot cure.
func (z *ZK) Campaign(ctx context.Context, data []byte) (Lease, error) {
	for {
		lease, err := z.candidacy(ctx, data)
		if err == nil {
			return lease, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		switch fault.KindOf(err) {
		case fault.Forbidden, fault.Unauthenticated, fault.Invalid, fault.TooLarge:
			return nil, err
		}
		z.log.Warn("candidacy lost, joining again", "path", z.path, "error", err)
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// candidacy is one node from its creation to leadership.
func (z *ZK) candidacy(ctx context.Context, data []byte) (Lease, error) {
	term, err := z.session.Term(ctx)
	if err != nil {
		return nil, err
	}
	node, err := z.join(ctx, term, data)
	if err != nil {
		return nil, err
	}
	l := &zkLease{z: z, node: node, lost: make(chan struct{}), resigned: make(chan struct{})}
	wctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	views := z.session.WatchChildren(wctx, z.path)
	for {
		select {
		case v, ok := <-views:
			first, present := z.standing(v, node)
			switch {
			case !ok || v.Err != nil || v.Term != term.ID:
				err = lostCandidacy(node, "the session is over")
			case !present:
				err = lostCandidacy(node, "the node was deleted")
			case first:
				z.log.Info("elected", "path", z.path, "node", node)
				go l.guard(term, views, stop)
				return l, nil
			}
		case <-term.Over:
			err = lostCandidacy(node, "the session is over")
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			stop()
			l.remove()
			return nil, err
		}
	}
}

func lostCandidacy(node, why string) error {
	return fault.New("election.Campaign", fault.Unavailable, node, errText(why))
}

type errText string

func (e errText) Error() string { return string(e) }

// join creates the node. When the reply was lost the node may exist: then it is found by
// its owner, because two nodes of one process would block each other.
func (z *ZK) join(ctx context.Context, term zk.Term, data []byte) (string, error) {
	if err := z.session.EnsurePath(ctx, z.path, zk.Public); err != nil {
		return "", err
	}
	name := z.prefix
	if z.prefix == LatchPrefix {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails
		name = "_c_" + hex.EncodeToString(id[:]) + "-" + z.prefix
	}
	for {
		node, err := z.session.Create(ctx, &term, z.path+"/"+name, data, zk.EphemeralSequential, zk.Public)
		if err == nil {
			return node, nil
		}
		switch fault.KindOf(err) {
		case fault.Unavailable, fault.Timeout:
		default:
			return "", err
		}
		select {
		case <-term.Over:
			return "", err
		case <-ctx.Done():
			return "", ctx.Err()
		default:
		}
		own, err := z.own(ctx, term, string(data))
		if err != nil {
			return "", err
		}
		if own != "" {
			return own, nil
		}
	}
}

// own finds the node of this term with this data, or "".
func (z *ZK) own(ctx context.Context, term zk.Term, data string) (string, error) {
	names, err := z.session.Children(ctx, z.path)
	if err != nil {
		return "", err
	}
	for _, n := range z.candidates(names) {
		got, st, err := z.session.Get(ctx, z.path+"/"+n)
		switch {
		case fault.KindOf(err) == fault.NotFound:
		case err != nil:
			return "", err
		case st.EphemeralOwner == term.ID && string(got) == data:
			return z.path + "/" + n, nil
		}
	}
	return "", nil
}

// standing says whether node is first and whether it is there at all.
func (z *ZK) standing(v zk.Children, node string) (first, present bool) {
	for i, n := range z.candidates(v.Names) {
		if z.path+"/"+n == node {
			return i == 0, true
		}
	}
	return false, false
}

// zkLease is leadership proved by one ephemeral node of one session.
type zkLease struct {
	z    *ZK
	node string

	lost     chan struct{}
	resigned chan struct{}
	once     sync.Once // closes resigned
}

func (l *zkLease) Lost() <-chan struct{} { return l.lost }

func (l *zkLease) Fence() zk.Fence { return zk.Fence{Path: l.node, Version: 0} }

func (l *zkLease) Resign() {
	l.once.Do(func() { close(l.resigned) })
	<-l.lost
}

// guard closes lost when the node or its session is gone, or on Resign.
func (l *zkLease) guard(term zk.Term, views <-chan zk.Children, stop context.CancelFunc) {
	defer stop()
	for {
		why := ""
		select {
		case <-l.resigned:
			close(l.lost)
			l.remove()
			l.z.log.Info("resigned", "node", l.node)
			return
		case <-term.Over:
			why = "the session is over"
		case v, ok := <-views:
			if _, present := l.z.standing(v, l.node); !ok || v.Err != nil || v.Term != term.ID {
				why = "the session is over"
			} else if !present {
				why = "the node was deleted"
			}
		}
		if why != "" {
			close(l.lost)
			l.z.log.Warn("leadership lost", "node", l.node, "reason", why)
			return
		}
	}
}

// remove deletes the node so that the next candidate need not wait for the session to end.
func (l *zkLease) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), retryPause)
	defer cancel()
	if err := l.z.session.Delete(ctx, l.node, zk.AnyVersion); err != nil && fault.KindOf(err) != fault.NotFound {
		l.z.log.Debug("election node not deleted, it ends with the session", "node", l.node, "error", err)
	}
}

// Watch follows the first node's data; Data is nil while the session is over.
func (z *ZK) Watch(ctx context.Context) <-chan Leader {
	out := make(chan Leader, 1)
	go func() {
		defer close(out)
		wctx, stop := context.WithCancel(ctx)
		defer stop()
		var shown *Leader
		for v := range z.session.WatchChildren(wctx, z.path) {
			now := Leader{Data: z.leaderData(ctx, v)}
			if shown == nil || string(shown.Data) != string(now.Data) || (shown.Data == nil) != (now.Data == nil) {
				shown = &now
				deliver(out, now)
			}
		}
	}()
	return out
}

// leaderData reads the first candidate that still exists.
func (z *ZK) leaderData(ctx context.Context, v zk.Children) []byte {
	if v.Err != nil {
		return nil
	}
	for _, n := range z.candidates(v.Names) {
		data, _, err := z.session.Get(ctx, z.path+"/"+n)
		if fault.KindOf(err) == fault.NotFound {
			continue // it left meanwhile; the next view is on its way
		}
		if err != nil {
			z.log.Warn("leader cannot be read", "node", n, "error", err)
			return nil
		}
		if data == nil {
			data = []byte{}
		}
		return data
	}
	return nil
}

// Members follows the data of all candidates, leader first, until ctx ends. It is nil
// while the session is over. A slow reader gets only the newest list.
func (z *ZK) Members(ctx context.Context) <-chan [][]byte {
	out := make(chan [][]byte, 1)
	go func() {
		defer close(out)
		for v := range z.session.WatchChildren(ctx, z.path) {
			var members [][]byte
			if v.Err == nil {
				for _, n := range z.candidates(v.Names) {
					if data, _, err := z.session.Get(ctx, z.path+"/"+n); err == nil {
						members = append(members, data)
					}
				}
			}
			select {
			case <-out:
			default:
			}
			out <- members
		}
	}()
	return out
}

// deliver replaces a value nobody took yet; one sender per channel.
func deliver(out chan Leader, v Leader) {
	select {
	case <-out:
	default:
	}
	out <- v
}
