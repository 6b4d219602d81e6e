package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/zk"
)

// bucket holds all records: key -> version (8 bytes, big endian) and value.
var bucket = []byte("records")

const (
	lockWait   = time.Second
	queueLimit = 4096 // batches that wait for the disk
	groupLimit = 512  // batches that share one write of the disk
)

// File is the backend of a single machine: one bbolt file. Batches that arrive while
// the disk writes are written together, with one sync for all of them.
type File struct {
	db    *bbolt.DB
	queue chan *pending
	quit  chan struct{}
	done  chan struct{} // closed when the writer ended
	once  sync.Once     // closes quit
}

// pending is one Apply that waits.
type pending struct {
	ops    []Op
	result chan error // one buffered answer
}

// OpenFile opens or creates the file, and its folder, and starts the writer that Close
// ends. Errors: fault.Conflict when another process has it open, fault.Unavailable when
// the disk refuses.
func OpenFile(path string) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fault.New("store.OpenFile", fault.Unavailable, path, err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fault.New("store.OpenFile", fault.Conflict, path,
			fmt.Errorf("%s has it open: stop that process, or choose another --work_dir", lockHolder(path)))
	}
	if err != nil {
		return nil, fault.New("store.OpenFile", fault.Unavailable, path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		db.Close()
		return nil, fault.New("store.OpenFile", fault.Unavailable, path, err)
	}
	f := &File{db: db, queue: make(chan *pending, queueLimit), quit: make(chan struct{}), done: make(chan struct{})}
	go f.write()
	return f, nil
}

// Get implements Store.
func (f *File) Get(_ context.Context, key string) (Record, error) {
	r := Record{Key: key}
	err := f.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(bucket).Get([]byte(key))
		if raw == nil {
			return notFound(key)
		}
		var err error
		r, err = decode(key, raw)
		return err
	})
	return r, fileError("store.Get", key, err)
}

// List implements Store.
func (f *File) List(ctx context.Context, prefix string) ([]Record, error) {
	var list []Record
	from := []byte(prefix)
	if prefix != "" {
		from = append(from, '/')
	}
	err := f.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, raw := c.Seek(from); k != nil && bytes.HasPrefix(k, from); k, raw = c.Next() {
			r, err := decode(string(k), raw)
			if err != nil {
				return err
			}
			list = append(list, r)
			if err := ctx.Err(); err != nil {
				return fault.New("store.List", fault.Timeout, prefix, err)
			}
		}
		return nil
	})
	return list, fileError("store.List", prefix, err)
}

// Apply implements Store. The fence is not checked: one machine has one leader, the
// process that holds the file's lock.
func (f *File) Apply(ctx context.Context, _ zk.Fence, ops ...Op) error {
	if err := checkBatch(ops); err != nil {
		return err
	}
	p := &pending{ops: ops, result: make(chan error, 1)}
	select {
	case <-f.quit:
		return closed("store.Apply")
	default:
	}
	select {
	case f.queue <- p:
	case <-f.quit:
		return closed("store.Apply")
	case <-ctx.Done():
		return fault.New("store.Apply", fault.Timeout, "", ctx.Err())
	}
	select {
	case err := <-p.result:
		return err
	case <-ctx.Done():
		return fault.New("store.Apply", fault.Timeout, "", ctx.Err())
	case <-f.done:
		select {
		case err := <-p.result:
			return err
		default:
			return closed("store.Apply")
		}
	}
}

// Close writes what waits and releases the file.
func (f *File) Close() error {
	f.once.Do(func() { close(f.quit) })
	<-f.done
	return fileError("store.Close", f.db.Path(), f.db.Close())
}

// write is the only goroutine that changes the file.
func (f *File) write() {
	defer close(f.done)
	for {
		select {
		case p := <-f.queue:
			f.commit(f.gather(p))
		case <-f.quit:
			for len(f.queue) > 0 {
				f.commit(f.gather(<-f.queue))
			}
			return
		}
	}
}

// gather takes what is waiting, so that one sync serves it all.
func (f *File) gather(first *pending) []*pending {
	group := []*pending{first}
	for len(group) < groupLimit {
		select {
		case p := <-f.queue:
			group = append(group, p)
		default:
			return group
		}
	}
	return group
}

// commit writes a group in one transaction. A batch whose versions do not fit is left
// out alone, because its plan fails before it writes.
func (f *File) commit(group []*pending) {
	results := make([]error, len(group))
	err := f.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for i, p := range group {
			after, err := plan(p.ops, func(key string) (int64, error) {
				raw := b.Get([]byte(key))
				if raw == nil {
					return absentVersion, nil
				}
				r, err := decode(key, raw)
				return r.Version, err
			})
			if err != nil {
				results[i] = err
				continue
			}
			for j, op := range p.ops {
				if op.Delete {
					err = b.Delete([]byte(op.Key))
				} else {
					err = b.Put([]byte(op.Key), encode(op.Value, after[j]))
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	for i, p := range group {
		if err != nil && results[i] == nil {
			results[i] = fileError("store.Apply", f.db.Path(), err)
		}
		p.result <- results[i]
	}
}

func encode(value []byte, version int64) []byte {
	raw := make([]byte, 8, 8+len(value))
	binary.BigEndian.PutUint64(raw, uint64(version))
	return append(raw, value...)
}

func decode(key string, raw []byte) (Record, error) {
	if len(raw) < 8 {
		return Record{}, fault.New("store", fault.Malformed, key, fmt.Errorf("the record has %d bytes, at least 8 are needed", len(raw)))
	}
	return Record{Key: key, Version: int64(binary.BigEndian.Uint64(raw)), Value: append([]byte{}, raw[8:]...)}, nil
}

// fileError gives errors of bbolt and the disk a kind and leaves our own alone.
func fileError(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	if fault.KindOf(err) != fault.Other {
		return err
	}
	kind := fault.Unavailable
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		kind = fault.Full
	}
	return fault.New(op, kind, subject, err)
}
