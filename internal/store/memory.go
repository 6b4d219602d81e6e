package store

import (
	"context"
	"sort"
	"strings"
	"sync"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/zk"
)

// Memory keeps records in this process only: the twin of the real backends for tests.
type Memory struct {
	mu      sync.Mutex // guards all fields
	records map[string]Record
	revoked map[zk.Fence]bool
	closed  bool
}

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{records: map[string]Record{}, revoked: map[zk.Fence]bool{}}
}

// Revoke makes each later batch with this fence fail with fault.Fenced, as when the
// leader's node is gone.
func (m *Memory) Revoke(f zk.Fence) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revoked[f] = true
}

// Get implements Store.
func (m *Memory) Get(_ context.Context, key string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return Record{}, closed("store.Get")
	}
	r, ok := m.records[key]
	if !ok {
		return Record{}, notFound(key)
	}
	return r.clone(), nil
}

// List implements Store.
func (m *Memory) List(_ context.Context, prefix string) ([]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, closed("store.List")
	}
	var list []Record
	for key, r := range m.records {
		if prefix == "" || strings.HasPrefix(key, prefix+"/") {
			list = append(list, r.clone())
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Key < list[j].Key })
	return list, nil
}

// Apply implements Store.
func (m *Memory) Apply(_ context.Context, fence zk.Fence, ops ...Op) error {
	if err := checkBatch(ops); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return closed("store.Apply")
	}
	if m.revoked[fence] {
		return fault.New("store.Apply", fault.Fenced, fence.Path, nil)
	}
	after, err := plan(ops, func(key string) (int64, error) {
		if r, ok := m.records[key]; ok {
			return r.Version, nil
		}
		return absentVersion, nil
	})
	if err != nil {
		return err
	}
	for i, op := range ops {
		if op.Delete {
			delete(m.records, op.Key)
			continue
		}
		m.records[op.Key] = Record{Key: op.Key, Value: op.Value, Version: after[i]}.clone()
	}
	return nil
}

// Close implements Store.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// clone separates the value from the caller's.
func (r Record) clone() Record {
	r.Value = append([]byte{}, r.Value...)
	return r
}
