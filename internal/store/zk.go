package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/zk"
)

const (
	readers      = 32  // requests in flight while listing
	planAttempts = 3   // rounds of looking up what exists before a batch gives up
	plainFolder  = "%" // holds keys without a slash; no escaped name is a lone percent sign
)

// ZK is the backend for more than one machine. A key becomes root/first part/rest, each
// escaped, so "apps/prod~web" is root/apps/prod~web; the folder of the first part is
// made when it is needed and stays. Versions are ZooKeeper's own.
type ZK struct {
	session *zk.Session
	root    string

	mu      sync.Mutex // guards the maps
	folders map[string]bool
	exists  map[string]bool // what is believed to exist; a wrong belief costs one more round
}

// NewZK keeps records below root. The session belongs to the caller.
func NewZK(session *zk.Session, root string) *ZK {
	return &ZK{session: session, root: strings.TrimSuffix(root, "/"), folders: map[string]bool{}, exists: map[string]bool{}}
}

// Get implements Store.
func (z *ZK) Get(ctx context.Context, key string) (Record, error) {
	if err := checkKey("store.Get", key); err != nil {
		return Record{}, err
	}
	data, st, err := z.session.Get(ctx, z.node(key))
	if fault.KindOf(err) == fault.NotFound {
		return Record{}, notFound(key)
	}
	if err != nil {
		return Record{}, err
	}
	return Record{Key: key, Value: append([]byte{}, data...), Version: int64(st.Version)}, nil
}

// List implements Store. Records written while it reads may be in it or not; a new
// leader, whose predecessor is fenced off, sees all that was ever acknowledged.
func (z *ZK) List(ctx context.Context, prefix string) ([]Record, error) {
	if err := z.session.Sync(ctx, "/"); err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(prefix, "/")
	folders := []string{escape(first)}
	if prefix == "" {
		var err error
		folders, err = z.children(ctx, z.root)
		if err != nil {
			return nil, err
		}
	}
	var keys []string
	for _, folder := range folders {
		names, err := z.children(ctx, z.root+"/"+folder)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			key, err := keyOf(folder, n)
			if err != nil {
				return nil, err
			}
			if prefix == "" || strings.HasPrefix(key, prefix+"/") {
				keys = append(keys, key)
			}
		}
	}
	sort.Strings(keys)
	records, err := z.getAll(ctx, keys)
	if err != nil {
		return nil, err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, r := range records {
		z.exists[r.Key] = true
	}
	return records, nil
}

// getAll reads many keys and leaves out those that were deleted meanwhile.
func (z *ZK) getAll(ctx context.Context, keys []string) ([]Record, error) {
	got := make([]*Record, len(keys))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, key := range keys {
		g.Go(func() error {
			r, err := z.Get(gctx, key)
			if fault.KindOf(err) == fault.NotFound {
				return nil
			}
			if err != nil {
				return err
			}
			got[i] = &r
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var records []Record
	for _, r := range got {
		if r != nil {
			records = append(records, *r)
		}
	}
	return records, nil
}

// children treats a missing folder as empty.
func (z *ZK) children(ctx context.Context, folder string) ([]string, error) {
	names, err := z.session.Children(ctx, folder)
	if fault.KindOf(err) == fault.NotFound {
		return nil, nil
	}
	return names, err
}

// Apply implements Store: one ZooKeeper multi that starts with the fence.
func (z *ZK) Apply(ctx context.Context, fence zk.Fence, ops ...Op) error {
	if err := checkBatch(ops); err != nil {
		return err
	}
	if err := z.ensureFolders(ctx, ops); err != nil {
		return err
	}
	if err := z.lookUp(ctx, z.unsureDeletes(ops)); err != nil {
		return err
	}
	for round := 1; ; round++ {
		steps, keys := z.steps(fence, ops)
		if len(steps) == 0 {
			return nil
		}
		err := z.session.Multi(ctx, steps...)
		if err == nil {
			z.believe(ops)
			return nil
		}
		var refused *zk.OpError
		if !errors.As(err, &refused) {
			return err
		}
		if keys[refused.Index] == nil {
			return fault.New("store.Apply", fault.Fenced, fence.Path, err)
		}
		op := *keys[refused.Index]
		if op.Version != AnyVersion {
			return fault.New("store.Apply", fault.Conflict, op.Key, refused.Err)
		}
		if fault.KindOf(err) == fault.Forbidden || round == planAttempts {
			return fault.New("store.Apply", fault.KindOf(err), op.Key, err)
		}
		if err := z.lookUp(ctx, ops); err != nil { // a belief was wrong
			return err
		}
	}
}

// steps translates a batch by what is believed to exist. keys[i] is the op behind step i,
// nil for the fence.
func (z *ZK) steps(fence zk.Fence, ops []Op) (steps []zk.Op, keys []*Op) {
	add := func(s zk.Op, op *Op) {
		steps, keys = append(steps, s), append(keys, op)
	}
	if fence.Path != "" {
		add(zk.Check(fence.Path, fence.Version), nil)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	now := make(map[string]bool, len(ops)) // existence within the batch
	for i := range ops {
		op := &ops[i]
		there, known := now[op.Key]
		if !known {
			there = z.exists[op.Key]
		}
		path, version := z.node(op.Key), int32(op.Version)
		now[op.Key] = !op.Delete
		switch {
		case op.Delete && op.Version == AnyVersion && !there:
			// looked up before: there is nothing to delete
		case op.Delete:
			add(zk.Delete(path, version), op)
		case op.Version >= 0:
			add(zk.Set(path, op.Value, version), op)
		case op.Version == AnyVersion && there:
			add(zk.Set(path, op.Value, zk.AnyVersion), op)
		default:
			add(zk.Create(path, op.Value, zk.Private), op)
		}
	}
	return steps, keys
}

// unsureDeletes picks the deletes of keys that are not known to exist: those would be
// left out of the batch, so they are looked up first.
func (z *ZK) unsureDeletes(ops []Op) []Op {
	z.mu.Lock()
	defer z.mu.Unlock()
	var unsure []Op
	for _, op := range ops {
		if op.Delete && op.Version == AnyVersion && !z.exists[op.Key] {
			unsure = append(unsure, op)
		}
	}
	return unsure
}

// lookUp asks ZooKeeper which keys exist.
func (z *ZK) lookUp(ctx context.Context, ops []Op) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, op := range ops {
		g.Go(func() error {
			found, _, err := z.session.Exists(gctx, z.node(op.Key))
			if err != nil {
				return err
			}
			z.mu.Lock()
			defer z.mu.Unlock()
			z.remember(op.Key, found)
			return nil
		})
	}
	return g.Wait()
}

// believe notes what a batch that happened left behind.
func (z *ZK) believe(ops []Op) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, op := range ops {
		z.remember(op.Key, !op.Delete)
	}
}

// remember needs mu held.
func (z *ZK) remember(key string, found bool) {
	if found {
		z.exists[key] = true
	} else {
		delete(z.exists, key)
	}
}

// ensureFolders makes the folders a batch writes into. They hold no data, so making them
// outside of the batch is harmless.
func (z *ZK) ensureFolders(ctx context.Context, ops []Op) error {
	for _, op := range ops {
		folder, _ := place(op.Key)
		z.mu.Lock()
		there := z.folders[folder]
		z.mu.Unlock()
		if there || op.Delete {
			continue
		}
		if err := z.session.EnsurePath(ctx, z.root+"/"+folder, zk.Private); err != nil {
			return err
		}
		z.mu.Lock()
		z.folders[folder] = true
		z.mu.Unlock()
	}
	return nil
}

// Close implements Store; the session stays open.
func (z *ZK) Close() error { return nil }

func (z *ZK) node(key string) string {
	folder, name := place(key)
	return z.root + "/" + folder + "/" + name
}

// place gives the folder and name of a key, both escaped so that they are one path part
// each and never "." or "..".
func place(key string) (folder, name string) {
	first, rest, found := strings.Cut(key, "/")
	if !found {
		return plainFolder, escape(first)
	}
	return escape(first), escape(rest)
}

func escape(part string) string {
	if part == "." || part == ".." {
		return strings.ReplaceAll(part, ".", "%2E")
	}
	return url.PathEscape(part)
}

func keyOf(folder, name string) (string, error) {
	rest, err := url.PathUnescape(name)
	if err != nil {
		return "", fault.New("store.List", fault.Malformed, folder+"/"+name, err)
	}
	if folder == plainFolder {
		return rest, nil
	}
	first, err := url.PathUnescape(folder)
	if err != nil {
		return "", fault.New("store.List", fault.Malformed, folder, fmt.Errorf("no record folder of ours: %w", err))
	}
	return first + "/" + rest, nil
}
