// Package registry keeps what a new leader must know: which agents are admitted,
// unreachable or gone, what operators ordered for them, and the policies of the cluster
// (mesos-master.md 7.3). One record per agent and role, bound into pages when there are
// many, so that no record grows with the cluster; facts that wait are written together (group commit): one batch in flight, the
// next one grows. A write that fails ends the term; it is never repeated in doubt.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master/ledger"
)

// maxBatch bounds one Apply, in records and in bytes.
const (
	maxBatch      = 500
	maxBatchBytes = store.MaxBatch
)

// Registry writes the facts of one term.
type Registry struct {
	store   store.Store
	timeout time.Duration // of one write, --registry_store_timeout
	binder  *binder       // of Load, then of Run

	mu     sync.Mutex // guards the fields below
	queue  []ledger.Registry
	wake   chan struct{} // holds one token while queue is not empty
	writes int
	took   time.Duration  // of the last write
	bytes  map[string]int // size of each record, for metrics
	total  int            // of bytes
}

// New makes the registry of a term.
func New(s store.Store, timeout time.Duration) *Registry {
	if timeout <= 0 {
		timeout = 20 * time.Second
	}
	return &Registry{store: s, timeout: timeout, binder: newBinder(), wake: make(chan struct{}, 1), bytes: map[string]int{}}
}

// Load reads everything, for the first event of a term. Errors are the store's, or
// fault.Malformed naming a record that cannot be read.
func (r *Registry) Load(ctx context.Context) (ledger.Recovered, error) {
	var out ledger.Recovered
	malformed := func(key string, err error) (ledger.Recovered, error) {
		return ledger.Recovered{}, fault.New("registry.Load", fault.Malformed, key, err)
	}
	// Nobody writes meanwhile: the master that led before is fenced off.
	for _, folder := range []string{clusterFolder, quotaFolder, weightFolder, agentFolder, pageFolder} {
		records, err := r.store.List(ctx, folder)
		if err != nil {
			return ledger.Recovered{}, err
		}
		for _, each := range records {
			r.size(each.Key, len(each.Value))
			switch folder {
			case agentFolder:
				r.binder.wrote([]store.Op{store.Put(each.Key, each.Value)})
			case pageFolder:
				p, err := decodePage(each.Key, each.Value)
				if err != nil {
					return malformed(each.Key, err)
				}
				r.binder.addPage(p)
			default:
				if err := read(&out, each); err != nil {
					return malformed(each.Key, err)
				}
			}
		}
	}
	agents := r.binder.records()
	for _, id := range slices.Sorted(maps.Keys(agents)) {
		if err := readAgent(&out, id, agents[id]); err != nil {
			return malformed(r.binder.where(id), err)
		}
	}
	return out, nil
}

// size notes how large a record is, 0 for none; before Run, or with mu held.
func (r *Registry) size(key string, n int) {
	r.total += n - r.bytes[key]
	if n == 0 {
		delete(r.bytes, key)
	} else {
		r.bytes[key] = n
	}
}

// Add queues a fact; it never blocks. The ledger has one fact of an agent and one of the
// policies under way at a time, so the queue is bounded by the number of agents.
func (r *Registry) Add(fact ledger.Registry) {
	r.mu.Lock()
	r.queue = append(r.queue, fact)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run writes queued facts under the term's fence and hands the tickets of durable ones to
// done, until ctx ends or a write fails; then it returns why. First of all it writes who
// leads: a master that lost its lease meanwhile learns it before it changes anything.
func (r *Registry) Run(ctx context.Context, fence zk.Fence, leader *mesos.MasterInfo, done func([]ledger.Ticket)) error {
	info, err := proto.Marshal(leader)
	if err != nil {
		return fault.New("registry.Run", fault.Invalid, masterKey, err)
	}
	value, err := json.Marshal(masterRecord{Info: info, Needs: needs(leader)})
	if err != nil {
		return fault.New("registry.Run", fault.Invalid, masterKey, err)
	}
	if err := r.apply(ctx, fence, []store.Op{store.Put(masterKey, value)}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		}
		for {
			batch, tickets, err := r.take()
			if err != nil {
				return err
			}
			if len(tickets) == 0 {
				break
			}
			if err := r.apply(ctx, fence, batch); err != nil {
				return err
			}
			done(tickets)
		}
		if err := r.bind(ctx, fence); err != nil {
			return err
		}
	}
}

// bind makes pages while no fact waits.
func (r *Registry) bind(ctx context.Context, fence zk.Fence) error {
	for {
		if queued, _, _ := r.Stats(); queued > 0 {
			return nil
		}
		batch, bound := r.binder.bind()
		if batch == nil {
			return nil
		}
		if err := r.apply(ctx, fence, batch); err != nil {
			return err
		}
		bound()
	}
}

// needs lists the capabilities a reader of this master's records must have.
func needs(leader *mesos.MasterInfo) []string {
	var out []string
	for _, c := range leader.GetCapabilities() {
		out = append(out, c.GetType().String())
	}
	return out
}

// take gives the next batch: whole facts, and no record twice, because a batch is one
// atomic change.
func (r *Registry) take() (batch []store.Op, tickets []ledger.Ticket, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	size := 0
	for len(tickets) < min(len(r.queue), maxBatch) {
		fact := r.queue[len(tickets)]
		changes, err := ops(fact)
		if err != nil {
			return nil, nil, err
		}
		more := store.Size(changes...)
		if len(tickets) > 0 && (size+more > maxBatchBytes || slices.ContainsFunc(changes, func(op store.Op) bool { return seen[op.Key] })) {
			break
		}
		r.binder.translate(changes)
		for _, op := range changes {
			seen[op.Key] = true
		}
		batch, tickets, size = append(batch, changes...), append(tickets, fact.Ticket), size+more
	}
	r.queue = r.queue[len(tickets):]
	return batch, tickets, nil
}

func (r *Registry) apply(ctx context.Context, fence zk.Fence, batch []store.Op) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, errors.New("registry_store_timeout"))
	defer cancel()
	began := time.Now()
	if err := r.store.Apply(ctx, fence, batch...); err != nil {
		return fault.New("registry.Run", fault.KindOf(err), fmt.Sprintf("%d records", len(batch)), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
	r.binder.wrote(batch)
	r.took = time.Since(began)
	for _, op := range batch {
		if op.Delete {
			r.size(op.Key, 0)
		} else {
			r.size(op.Key, len(op.Value))
		}
	}
	return nil
}

// Stats gives the number of facts that wait, of writes made, and of bytes stored.
func (r *Registry) Stats() (queued, writes, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue), r.writes, r.total
}
