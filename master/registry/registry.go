// Package registry keeps what a new leader must know of agents: which are admitted,
// unreachable or gone (mesos-master.md 7.3). One record per agent; facts that wait are
// written together (group commit): one batch in flight, the next one grows. A write that
// fails ends the term; it is never repeated in doubt.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master/ledger"
)

// prefix of the records' keys: "agents/<agent id>".
const prefix = "agents"

// maxBatch bounds one Apply, in records and in bytes.
const (
	maxBatch      = 500
	maxBatchBytes = store.MaxValue / 2
)

// Registry writes the facts of one term.
type Registry struct {
	store   store.Store
	timeout time.Duration // of one write, --registry_store_timeout

	mu     sync.Mutex // guards the fields below
	queue  []ledger.Registry
	wake   chan struct{} // holds one token while queue is not empty
	writes int
	bytes  map[string]int // size of each record, for metrics
}

// New makes the registry of a term.
func New(s store.Store, timeout time.Duration) *Registry {
	if timeout <= 0 {
		timeout = 20 * time.Second
	}
	return &Registry{store: s, timeout: timeout, wake: make(chan struct{}, 1), bytes: map[string]int{}}
}

// record is the stored form of one agent.
type record struct {
	State string `json:"state"`           // admitted, unreachable or gone
	Since int64  `json:"since,omitempty"` // unix nanoseconds of becoming unreachable or gone
	Info  []byte `json:"info,omitempty"`  // AgentInfo as protobuf, while admitted
	PID   string `json:"pid,omitempty"`   // where it registered from, while admitted
}

// Load reads everything, for the first event of a term. Errors are the store's, or
// fault.Malformed naming a record that cannot be read.
func (r *Registry) Load(ctx context.Context) (ledger.Recovered, error) {
	records, err := r.store.List(ctx, prefix)
	if err != nil {
		return ledger.Recovered{}, err
	}
	var out ledger.Recovered
	for _, each := range records {
		id := ledger.AgentID(each.Key[len(prefix)+1:])
		var rec record
		if err := json.Unmarshal(each.Value, &rec); err != nil {
			return out, fault.New("registry.Load", fault.Malformed, each.Key, err)
		}
		r.bytes[each.Key] = len(each.Value)
		absence := ledger.Absence{Agent: id, Since: time.Unix(0, rec.Since)}
		switch rec.State {
		case ledger.Admitted.String():
			info := &mesos.AgentInfo{}
			if err := proto.Unmarshal(rec.Info, info); err != nil {
				return out, fault.New("registry.Load", fault.Malformed, each.Key, err)
			}
			out.Admitted = append(out.Admitted, ledger.Admission{Info: info, PID: ledger.PID(rec.PID)})
		case ledger.Unreachable.String():
			out.Unreachable = append(out.Unreachable, absence)
		case ledger.Gone.String():
			out.Gone = append(out.Gone, absence)
		default:
			return out, fault.New("registry.Load", fault.Malformed, each.Key, fmt.Errorf("unknown state %q", rec.State))
		}
	}
	return out, nil
}

// Add queues a fact; it never blocks. The ledger has one fact of an agent under way at a
// time, so the queue is bounded by the number of agents.
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
// done, until ctx ends or a write fails; then it returns why.
func (r *Registry) Run(ctx context.Context, fence zk.Fence, done func([]ledger.Ticket)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		}
		for {
			facts := r.take()
			if len(facts) == 0 {
				break
			}
			if err := r.write(ctx, fence, facts); err != nil {
				return err
			}
			tickets := make([]ledger.Ticket, len(facts))
			for i, f := range facts {
				tickets[i] = f.Ticket
			}
			done(tickets)
		}
	}
}

// take gives the next batch: no agent twice, because a batch is one atomic change.
func (r *Registry) take() []ledger.Registry {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[ledger.AgentID]bool{}
	n, size := 0, 0
	for n < len(r.queue) && n < maxBatch && size < maxBatchBytes && !seen[r.queue[n].Agent] {
		seen[r.queue[n].Agent] = true
		size += 512 + proto.Size(r.queue[n].Info)*4/3
		n++
	}
	batch := r.queue[:n:n]
	r.queue = r.queue[n:]
	return batch
}

func (r *Registry) write(ctx context.Context, fence zk.Fence, facts []ledger.Registry) error {
	ops := make([]store.Op, 0, len(facts))
	for _, f := range facts {
		key := prefix + "/" + string(f.Agent)
		if f.State == ledger.Removed {
			ops = append(ops, store.Delete(key))
			continue
		}
		rec := record{State: f.State.String()}
		if f.State == ledger.Admitted {
			info, err := proto.Marshal(f.Info)
			if err != nil {
				return fault.New("registry.Run", fault.Invalid, string(f.Agent), err)
			}
			rec.Info, rec.PID = info, string(f.PID)
		} else {
			rec.Since = f.Since.UnixNano()
		}
		value, err := json.Marshal(rec)
		if err != nil {
			return fault.New("registry.Run", fault.Invalid, string(f.Agent), err)
		}
		ops = append(ops, store.Put(key, value))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, errors.New("registry_store_timeout"))
	defer cancel()
	if err := r.store.Apply(ctx, fence, ops...); err != nil {
		return fault.New("registry.Run", fault.KindOf(err), fmt.Sprintf("%d facts", len(facts)), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
	for _, op := range ops {
		if op.Delete {
			delete(r.bytes, op.Key)
		} else {
			r.bytes[op.Key] = len(op.Value)
		}
	}
	return nil
}

// Stats gives the number of facts that wait, of writes made, and of bytes stored.
func (r *Registry) Stats() (queued, writes, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.bytes {
		bytes += n
	}
	return len(r.queue), r.writes, bytes
}
