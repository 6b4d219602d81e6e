// Package repo keeps the framework's records in a store: what the core asks to persist
// goes in, everything a new leader needs comes out. Records are JSON; the key "storage"
// holds the version of the format. The store may be a file on one machine or ZooKeeper;
// the lease's fence guards every write.
package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

// Format is the version of the records that this build writes and the newest it reads.
const Format = 1

const storageKey = "storage"

// storageRecord is the value of storageKey.
type storageRecord struct {
	Version int `json:"version"`
}

// Repo reads and writes records. One leader uses it at a time; the fence sees to that.
type Repo struct{ store store.Store }

// New makes a Repo on a store that stays the caller's.
func New(s store.Store) *Repo { return &Repo{store: s} }

// Open checks the format of the records and marks an empty store with the present one.
// Errors: fault.Unsupported for records of a newer build, and the store's.
func (r *Repo) Open(ctx context.Context, fence zk.Fence) error {
	rec, err := r.store.Get(ctx, storageKey)
	if fault.KindOf(err) == fault.NotFound {
		value, err := json.Marshal(storageRecord{Version: Format})
		if err != nil {
			return err
		}
		return r.store.Apply(ctx, fence, store.Put(storageKey, value))
	}
	if err != nil {
		return err
	}
	if err := readable(rec.Value); err != nil {
		return err
	}
	return r.tidy(ctx, fence)
}

// tidy removes parts that no record refers to.
func (r *Repo) tidy(ctx context.Context, fence zk.Fence) error {
	parts, err := r.store.List(ctx, partsPrefix)
	if err != nil || len(parts) == 0 {
		return err
	}
	all, err := r.store.List(ctx, "")
	if err != nil {
		return err
	}
	ops, err := orphans(all)
	if err != nil || len(ops) == 0 {
		return err
	}
	return r.apply(ctx, fence, ops)
}

// readable judges the value of storageKey.
func readable(value []byte) error {
	var s storageRecord
	if err := json.Unmarshal(value, &s); err != nil {
		return fault.New("repo.Open", fault.Malformed, storageKey, err)
	}
	if s.Version > Format {
		return fault.New("repo.Open", fault.Unsupported, storageKey, fmt.Errorf(
			"the records have format %d and this build knows only up to %d: start the newer build again", s.Version, Format))
	}
	return nil
}

// Apply makes changes durable. All of them happen or, when they do not fit one batch of
// the store, a beginning of them in an order in which nothing refers to what is not
// there yet: parts, apps, pods, the tree, deployments, instances, the rest, and deletions last.
func (r *Repo) Apply(ctx context.Context, fence zk.Fence, changes []core.Change) error {
	ops := make([]store.Op, 0, len(changes))
	for _, ch := range changes {
		if ch.Value == nil {
			ops = append(ops, store.Delete(ch.Key))
			continue
		}
		value, err := json.Marshal(ch.Value)
		if err != nil {
			return fault.New("repo.Apply", fault.Invalid, ch.Key, err)
		}
		packed, err := pack(ch.Key, value)
		if err != nil {
			return err
		}
		ops = append(ops, packed...)
	}
	return r.apply(ctx, fence, ops)
}

func (r *Repo) apply(ctx context.Context, fence zk.Fence, ops []store.Op) error {
	slices.SortStableFunc(ops, func(a, b store.Op) int { return cmp.Compare(rank(a), rank(b)) })
	for len(ops) > 0 {
		n := 1
		for size := store.Size(ops[0]); n < len(ops); n++ {
			if size += store.Size(ops[n]); size > store.MaxBatch {
				break
			}
		}
		if err := r.store.Apply(ctx, fence, ops[:n]...); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

func rank(op store.Op) int {
	if op.Delete {
		return 9
	}
	for i, prefix := range []string{partsPrefix, core.AppPrefix, core.PodPrefix, core.RootPrefix, core.DeploymentPrefix, core.InstancePrefix} {
		if strings.HasPrefix(op.Key, prefix+"/") {
			return i
		}
	}
	return 6
}

// Load reads everything. Errors: fault.Malformed naming a record that cannot be read, and
// the store's.
func (r *Repo) Load(ctx context.Context) (core.Stored, error) {
	st := core.Stored{Apps: map[app.PathID][]*app.App{}, Pods: map[app.PathID][]*app.Pod{}}
	rec, err := r.store.Get(ctx, core.FrameworkKey)
	switch {
	case err == nil:
		var f core.FrameworkRecord
		if err := decode(ctx, r.store, rec, &f); err != nil {
			return st, err
		}
		st.FrameworkID = f.ID
	case fault.KindOf(err) != fault.NotFound:
		return st, err
	}
	err = errors.Join(
		each(ctx, r.store, core.RootPrefix, func(v *core.RootRecord) { st.Roots = append(st.Roots, v) }),
		each(ctx, r.store, core.AppPrefix, func(v *app.App) { st.Apps[v.ID] = append(st.Apps[v.ID], v) }),
		each(ctx, r.store, core.PodPrefix, func(v *app.PodRecord) {
			if v.Pod != nil {
				st.Pods[v.ID] = append(st.Pods[v.ID], v.Restored())
			}
		}),
		each(ctx, r.store, core.InstancePrefix, func(v *app.Instance) { st.Instances = append(st.Instances, v) }),
		each(ctx, r.store, core.DeploymentPrefix, func(v *core.PlanRecord) { st.Plans = append(st.Plans, v) }),
		each(ctx, r.store, core.LeftoverPrefix, func(v *app.Leftover) { st.Leftovers = append(st.Leftovers, v) }),
		each(ctx, r.store, core.FailurePrefix, func(v *app.TaskFailure) { st.Failures = append(st.Failures, v) }),
	)
	for _, versions := range st.Pods {
		slices.SortFunc(versions, func(a, b *app.Pod) int { return cmp.Compare(a.Version, b.Version) })
	}
	for _, versions := range st.Apps {
		slices.SortFunc(versions, func(a, b *app.App) int { return cmp.Compare(a.Version, b.Version) })
	}
	slices.SortFunc(st.Roots, func(a, b *core.RootRecord) int { return cmp.Compare(a.Root.Version, b.Root.Version) })
	slices.SortFunc(st.Plans, func(a, b *core.PlanRecord) int { return cmp.Compare(a.Version, b.Version) })
	slices.SortFunc(st.Instances, func(a, b *app.Instance) int {
		return cmp.Or(cmp.Compare(a.StagedAt, b.StagedAt), strings.Compare(string(a.ID), string(b.ID)))
	})
	return st, err
}

// each reads all records below a prefix.
func each[T any](ctx context.Context, s store.Store, prefix string, take func(*T)) error {
	recs, err := s.List(ctx, prefix)
	if err != nil {
		return err
	}
	values := make([]*T, len(recs))
	errs := make([]error, len(recs)/decodeChunk+1)
	var next atomic.Int64
	var work sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(errs)) {
		work.Go(func() {
			for {
				k := int(next.Add(1)) - 1
				if k >= len(errs) {
					return
				}
				for i := k * decodeChunk; i < min((k+1)*decodeChunk, len(recs)) && errs[k] == nil; i++ {
					values[i] = new(T)
					errs[k] = decode(ctx, s, recs[i], values[i])
				}
			}
		})
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, v := range values {
		take(v)
	}
	return nil
}

// decodeChunk is how many records a goroutine decodes before it takes more: a new leader
// decodes on all processors.
const decodeChunk = 500

func decode(ctx context.Context, s store.Store, rec store.Record, into any) error {
	value, err := unpack(ctx, s, rec)
	if err == nil {
		err = json.Unmarshal(value, into)
	}
	if err != nil {
		return fault.New("repo.Load", fault.Malformed, rec.Key, fmt.Errorf(
			"the record cannot be read: restore it from a backup or remove it: %w", err))
	}
	return nil
}
