package repo

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/stoa-project/stoa/internal/durable"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

// Handover is what the next leader does with the records before it uses them
// (marathon.md 10.5): write them all to a file, then replace them by those of another
// file. Both are URIs as file:///absolute/path on the next leader's machine; empty: no.
type Handover struct {
	Backup  string `json:"backup,omitempty"`
	Restore string `json:"restore,omitempty"`
}

const handoverKey = "handover"

// Bounds of a file that is restored.
const (
	maxEntries = 5_000_000
	maxRestore = 8 << 30 // bytes of values
)

// Check tells whether the URIs can be followed. The error is fault.Invalid and names the
// parameter.
func (h Handover) Check() error {
	for _, each := range []struct{ name, uri string }{{"backup", h.Backup}, {"restore", h.Restore}} {
		if each.uri == "" {
			continue
		}
		if _, err := filePath(each.uri); err != nil {
			return fault.New("", fault.Invalid, each.name, err)
		}
	}
	return nil
}

func filePath(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" || u.Host != "" || !filepath.IsAbs(u.Path) {
		return "", fmt.Errorf("%q is not a place to keep records: give file:///absolute/path", uri)
	}
	return filepath.Clean(u.Path), nil
}

// Leave records what the next leader is to do. Errors are Check's and the store's.
func (r *Repo) Leave(ctx context.Context, fence zk.Fence, h Handover) error {
	if err := h.Check(); err != nil {
		return err
	}
	value, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return r.store.Apply(ctx, fence, store.Put(handoverKey, value))
}

// TakeOver does what the last leader left to do, if anything, and gives it for the log. It
// runs before Open. A leader that dies meanwhile leaves the order to the next one. An order
// that cannot be followed is dropped with the error refused, and the records are as they
// were; a restore is not tried when the backup before it failed. The error err is the
// store's: the records may be half restored, and the order stands.
func (r *Repo) TakeOver(ctx context.Context, fence zk.Fence) (h Handover, refused, err error) {
	rec, err := r.store.Get(ctx, handoverKey)
	if fault.KindOf(err) == fault.NotFound {
		return h, nil, nil
	}
	if err != nil {
		return h, nil, err
	}
	done := store.Delete(handoverKey)
	if err := json.Unmarshal(rec.Value, &h); err != nil {
		return h, fault.New("repo.TakeOver", fault.Malformed, handoverKey, err), r.store.Apply(ctx, fence, done)
	}
	refused = h.Check()
	if refused == nil && h.Backup != "" {
		path, _ := filePath(h.Backup) // Check saw it
		refused = r.backup(ctx, path)
	}
	var ops []store.Op
	if refused == nil && h.Restore != "" {
		path, _ := filePath(h.Restore)
		if ops, refused = readBackup(path); refused == nil {
			if err := r.replace(ctx, fence, ops); err != nil {
				return h, nil, err
			}
		}
	}
	return h, refused, r.store.Apply(ctx, fence, done)
}

// backup writes every record but the order itself to a tar file: one entry for each, its
// name the key. The file appears under its name when it is complete and on disk.
func (r *Repo) backup(ctx context.Context, path string) error {
	records, err := r.store.List(ctx, "")
	if err != nil {
		return err
	}
	if err := replaceable(path); err != nil {
		return err
	}
	return durable.ReplaceBy(path, 0o600, func(to io.Writer) error { return writeTar(to, records) })
}

// writeTar writes records as a tar file.
func writeTar(to io.Writer, records []store.Record) error {
	w := tar.NewWriter(to)
	for _, rec := range records {
		if rec.Key == handoverKey {
			continue
		}
		head := &tar.Header{Name: rec.Key, Size: int64(len(rec.Value)), Mode: 0o600, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if err := w.WriteHeader(head); err != nil {
			return fmt.Errorf("%s: %w", rec.Key, err)
		}
		if _, err := w.Write(rec.Value); err != nil {
			return err
		}
	}
	return w.Close()
}

// replaceable refuses to write a backup over a file that is none.
func replaceable(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if head, err := tar.NewReader(f).Next(); err != nil || head.Typeflag != tar.TypeReg {
		return fault.New("repo.Backup", fault.Conflict, path, errors.New("the file exists and is not a backup: give another name"))
	}
	return nil
}

// readBackup reads a whole backup and judges it before anything is changed.
func readBackup(path string) ([]store.Op, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var ops []store.Op
	total, format := int64(0), false
	for r := tar.NewReader(bufio.NewReaderSize(f, 1<<20)); ; {
		head, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fault.New("repo.Restore", fault.Malformed, path, fmt.Errorf("not a backup, or damaged: %w", err))
		}
		total += head.Size
		switch {
		case head.Typeflag != tar.TypeReg || head.Name == handoverKey:
			return nil, fault.New("repo.Restore", fault.Malformed, path, fmt.Errorf("%q is not a record of a backup", head.Name))
		case head.Size > store.MaxValue || total > maxRestore || len(ops) >= maxEntries:
			return nil, fault.New("repo.Restore", fault.TooLarge, path, fmt.Errorf("too large at %q", head.Name))
		}
		value := make([]byte, head.Size)
		if _, err := io.ReadFull(r, value); err != nil {
			return nil, fault.New("repo.Restore", fault.Malformed, path, fmt.Errorf("cut off in %q: %w", head.Name, err))
		}
		if head.Name == storageKey {
			if err := readable(value); err != nil {
				return nil, err
			}
			format = true
		}
		ops = append(ops, store.Put(head.Name, value))
	}
	if !format {
		return nil, fault.New("repo.Restore", fault.Malformed, path, fmt.Errorf("it has no entry %q: not a backup", storageKey))
	}
	return ops, nil
}

// replace puts the records of a backup in place of all present ones.
func (r *Repo) replace(ctx context.Context, fence zk.Fence, ops []store.Op) error {
	present, err := r.store.List(ctx, "")
	if err != nil {
		return err
	}
	kept := make(map[string]bool, len(ops)+1)
	kept[handoverKey] = true
	for _, op := range ops {
		kept[op.Key] = true
	}
	for _, rec := range present {
		if !kept[rec.Key] {
			ops = append(ops, store.Delete(rec.Key))
		}
	}
	return r.apply(ctx, fence, ops)
}
