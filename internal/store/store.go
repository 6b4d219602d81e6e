// Package store keeps a leader's durable records: one interface, a bbolt file for a
// single machine and ZooKeeper for more. Values are small (at most MaxValue);
// writes are atomic batches guarded by versions and by the leader's fence.
package store

import (
	"context"

	"github.com/stoa-project/stoa/internal/zk"
)

// MaxValue is the largest value in bytes that every backend takes (ZooKeeper's
// request limit is 1 MiB with its header). Bigger values are refused with
// fault.TooLarge before anything is sent; callers split or compress.
const MaxValue = 900 << 10

// Versions for Op.Version.
const (
	AnyVersion int64 = -1 // write whatever the present version is, creating the key if absent
	Absent     int64 = -2 // the key must not exist
)

// Record is one stored value. Version starts at 0 and grows by one with each write.
type Record struct {
	Key     string // slash-separated, no leading or trailing slash: "apps/prod~web"
	Value   []byte
	Version int64
}

// Op is one change of a batch.
type Op struct {
	Key     string
	Value   []byte // ignored when Delete is set
	Version int64  // AnyVersion, Absent, or the version that must be present
	Delete  bool   // deleting an absent key with AnyVersion is no error
}

// Put writes a key whatever its version is.
func Put(key string, value []byte) Op { return Op{Key: key, Value: value, Version: AnyVersion} }

// Create writes a key that must not exist.
func Create(key string, value []byte) Op { return Op{Key: key, Value: value, Version: Absent} }

// Delete removes a key whatever its version is; absent is fine.
func Delete(key string) Op { return Op{Key: key, Version: AnyVersion, Delete: true} }

// Store is a backend. All methods may be called from several goroutines.
//
// Errors: fault.NotFound (Get), fault.Conflict (a version did not match; Subject is the key),
// fault.Fenced (the lease behind the fence is gone: stop leading), fault.TooLarge,
// fault.Unavailable (backend away), fault.Full (no disk space), fault.Timeout. After an Apply that ends in
// Unavailable or Timeout the batch may or may not have happened: a leader steps down
// instead of retrying.
type Store interface {
	// Get reads one record.
	Get(ctx context.Context, key string) (Record, error)
	// List reads all records whose key starts with prefix + "/", in key order.
	// An empty prefix lists everything.
	List(ctx context.Context, prefix string) ([]Record, error)
	// Apply makes all ops happen or none, durably, before it returns.
	// fence is the leader's (the zero Fence checks nothing).
	Apply(ctx context.Context, fence zk.Fence, ops ...Op) error
	// Close releases the backend; a shared ZooKeeper session stays open.
	Close() error
}
