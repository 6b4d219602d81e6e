package repo

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/store"
)

// A record is JSON. From compressFrom bytes on its value is compressed, as in Marathon
// (marathon.md 10.3); what is larger than a store takes even then is cut into parts, and
// the record says how many there are. JSON, gzip and partsMark differ in their first byte.
const (
	compressFrom = 64 << 10
	partSize     = store.MaxValue
	partsPrefix  = "parts" // parts/<key with ~ for />/<name of the content>/<number>
	partsMark    = "parts "
	maxUnpacked  = 256 << 20 // bytes of one record's JSON
)

// pack gives the operations that write a record. Parts come under a name of their own
// content, so that a record never refers to parts of another writing.
func pack(key string, value []byte) ([]store.Op, error) {
	if len(value) < compressFrom {
		return []store.Op{store.Put(key, value)}, nil
	}
	if len(value) > maxUnpacked {
		return nil, fault.New("repo.Apply", fault.TooLarge, key, fmt.Errorf("its record has %d bytes, the limit is %d", len(value), maxUnpacked))
	}
	var small bytes.Buffer
	z, err := gzip.NewWriterLevel(&small, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(value); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	packed := small.Bytes()
	if len(packed) <= store.MaxValue {
		return []store.Op{store.Put(key, packed)}, nil
	}
	sum := sha256.Sum256(packed)
	name := hex.EncodeToString(sum[:8])
	var ops []store.Op
	for n := 0; len(packed) > 0; n++ {
		size := min(partSize, len(packed))
		ops = append(ops, store.Put(partKey(key, name, n), packed[:size]))
		packed = packed[size:]
	}
	return append(ops, store.Put(key, fmt.Appendf(nil, "%s%s %d", partsMark, name, len(ops)))), nil
}

func partKey(key, name string, n int) string {
	return fmt.Sprintf("%s/%s/%s/%06d", partsPrefix, strings.ReplaceAll(key, "/", "~"), name, n)
}

// partsOf reads a value that refers to parts; none when it does not.
func partsOf(rec store.Record) (keys []string, err error) {
	text, ok := bytes.CutPrefix(rec.Value, []byte(partsMark))
	if !ok {
		return nil, nil
	}
	var name string
	var n int
	if _, err := fmt.Sscanf(string(text), "%16s %d", &name, &n); err != nil || n < 1 || n > maxUnpacked/partSize+1 {
		return nil, fmt.Errorf("it refers to parts as %q", clip(rec.Value))
	}
	for i := range n {
		keys = append(keys, partKey(rec.Key, name, i))
	}
	return keys, nil
}

func clip(b []byte) []byte { return b[:min(len(b), 60)] }

// unpack gives a record's JSON.
func unpack(ctx context.Context, s store.Store, rec store.Record) ([]byte, error) {
	value := rec.Value
	keys, err := partsOf(rec)
	if err != nil {
		return nil, err
	}
	if keys != nil {
		value = nil
		for _, key := range keys {
			part, err := s.Get(ctx, key)
			if err != nil {
				return nil, fmt.Errorf("a part is missing: %w", err)
			}
			value = append(value, part.Value...)
		}
	}
	if !bytes.HasPrefix(value, []byte{0x1f, 0x8b}) {
		return value, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxUnpacked+1))
	if err == nil && len(out) > maxUnpacked {
		err = errors.New("it is too large")
	}
	return out, err
}

// orphans gives the deletions of parts that no record refers to: leftovers of records that
// were replaced or removed.
func orphans(records []store.Record) ([]store.Op, error) {
	used := map[string]bool{}
	for _, rec := range records {
		if strings.HasPrefix(rec.Key, partsPrefix+"/") {
			continue
		}
		keys, err := partsOf(rec)
		if err != nil {
			return nil, fault.New("repo.Open", fault.Malformed, rec.Key, err)
		}
		for _, k := range keys {
			used[k] = true
		}
	}
	var ops []store.Op
	for _, rec := range records {
		if strings.HasPrefix(rec.Key, partsPrefix+"/") && !used[rec.Key] {
			ops = append(ops, store.Delete(rec.Key))
		}
	}
	return ops, nil
}
