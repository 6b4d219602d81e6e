package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// Limits of one batch on every backend; bigger ones are refused with fault.TooLarge and
// never split, because half of a batch must not happen.
const (
	// MaxBatch bounds the sum over all ops of key, value and OpOverhead, in bytes.
	// ZooKeeper takes a batch as one request of at most 1 MiB.
	MaxBatch = 960 << 10
	// OpOverhead is what one op costs beside its key and value.
	OpOverhead = 256
	// MaxKey bounds one key, in bytes.
	MaxKey = 1 << 10
)

// Size is what ops count against MaxBatch.
func Size(ops ...Op) int {
	n := 0
	for _, op := range ops {
		n += len(op.Key) + OpOverhead
		if !op.Delete {
			n += len(op.Value)
		}
	}
	return n
}

// checkBatch refuses what no backend may take.
func checkBatch(ops []Op) error {
	for _, op := range ops {
		if err := checkKey("store.Apply", op.Key); err != nil {
			return err
		}
		if len(op.Value) > MaxValue && !op.Delete {
			return fault.New("store.Apply", fault.TooLarge, op.Key,
				fmt.Errorf("%d bytes are over the limit of %d for one value", len(op.Value), MaxValue))
		}
		if op.Version < Absent || (op.Delete && op.Version == Absent) {
			return fault.New("store.Apply", fault.Invalid, op.Key, fmt.Errorf("version %d has no meaning here", op.Version))
		}
	}
	if n := Size(ops...); n > MaxBatch {
		return fault.New("store.Apply", fault.TooLarge, fmt.Sprintf("a batch of %d ops", len(ops)),
			fmt.Errorf("%d bytes are over the limit of %d for one batch", n, MaxBatch))
	}
	return nil
}

// checkKey refuses keys that a backend could not hold.
func checkKey(op, key string) error {
	why := ""
	switch {
	case key == "":
		why = "the key is empty"
	case len(key) > MaxKey:
		return fault.New(op, fault.TooLarge, key[:40]+"…", fmt.Errorf("%d bytes are over the limit of %d for a key", len(key), MaxKey))
	case key[0] == '/' || key[len(key)-1] == '/' || strings.Contains(key, "//"):
		why = "a part of the key is empty"
	default:
		return nil
	}
	return fault.New(op, fault.Invalid, key, errors.New(why))
}

// absentVersion stands for a key that does not exist.
const absentVersion int64 = -1

// plan works out what a batch does to versions before anything is written. present gives
// the version of a key, absentVersion when it does not exist. The result has one entry
// per op: the version after it, absentVersion after a delete.
func plan(ops []Op, present func(key string) (int64, error)) ([]int64, error) {
	after := make([]int64, len(ops))
	seen := make(map[string]int64, len(ops))
	for i, op := range ops {
		now, ok := seen[op.Key]
		if !ok {
			v, err := present(op.Key)
			if err != nil {
				return nil, err
			}
			now = v
		}
		switch {
		case op.Version == AnyVersion:
		case op.Version == Absent && now != absentVersion:
			return nil, fault.New("store.Apply", fault.Conflict, op.Key, fmt.Errorf("it exists with version %d", now))
		case op.Version >= 0 && now == absentVersion:
			return nil, fault.New("store.Apply", fault.Conflict, op.Key, fmt.Errorf("it does not exist, version %d was expected", op.Version))
		case op.Version >= 0 && now != op.Version:
			return nil, fault.New("store.Apply", fault.Conflict, op.Key, fmt.Errorf("its version is %d, not %d", now, op.Version))
		}
		if op.Delete {
			after[i] = absentVersion
		} else {
			after[i] = now + 1
		}
		seen[op.Key] = after[i]
	}
	return after, nil
}

func notFound(key string) error { return fault.New("store.Get", fault.NotFound, key, nil) }

func closed(op string) error {
	return fault.New(op, fault.Unavailable, "", errors.New("the store is closed"))
}
