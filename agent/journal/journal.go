// Package journal keeps the agent's checkpoints: its own id and description, its
// frameworks, executors and tasks, and the status updates that wait for
// acknowledgement (mesos-agent.md 9).
//
// # Form
//
// One append-only file of records below work_dir/meta/slaves/<agent id>/. A record is
// the whole new image of one thing, or its removal; the newest record of a key counts.
// That suits the write pattern (a handful of small writes in a task's life, never a
// read before the next start), it makes a batch of any number of changes one write and
// one fsync (group commit), and it confines damage: a record with a wrong checksum
// costs the one task it names, and nothing at all when a newer record of that task
// follows. A B-tree file offers none of these: bbolt has no checksum on its data pages,
// so a flipped bit can take every task with it. When most of the file is history it
// is written anew and swapped in by rename.
//
// The layout of the folders is Mesos' own: meta/slaves/latest points at the present
// agent id, and an operator who removes that link gets a new agent, as with Mesos.
// Beside it meta/boot_id tells a restart of the agent from a restart of the host.
package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/stoa-project/stoa/internal/durable"
	"github.com/stoa-project/stoa/internal/fault"
)

const (
	fileName = "stoa.journal"
	// rewriteAt is the size below which a file is never worth rewriting.
	rewriteAt = 4 << 20
)

// Entry is one change: Value is the new image of Key, nil removes it.
type Entry struct {
	Key   string // at most 1,024 bytes
	Value []byte // at most 64 MiB
}

// Loss is something that could not be read.
type Loss struct {
	Key    string // what it was about; empty when that is unreadable too
	Reason string
}

// Journal is an open file. It is used by one goroutine.
type Journal struct {
	dir   string // meta/slaves/<id>
	log   *slog.Logger
	f     *os.File
	size  int64 // bytes that count; behind them is rubble of a failed write
	live  map[string][]byte
	bytes int64 // of the live entries, framed
	bad   bool  // the last write failed: write anew before the next
}

// Meta is work_dir/meta: which agents lived here.
type Meta struct{ dir string }

// OpenMeta prepares work_dir/meta.
func OpenMeta(workDir string) (Meta, error) {
	dir := filepath.Join(workDir, "meta")
	if err := os.MkdirAll(filepath.Join(dir, "slaves"), 0o755); err != nil {
		return Meta{}, fault.New("journal.OpenMeta", fault.Other, "--work_dir", err)
	}
	return Meta{dir: dir}, nil
}

// Latest gives the present agent id; "" when this work_dir has none.
func (m Meta) Latest() (string, error) {
	target, err := os.Readlink(filepath.Join(m.dir, "slaves", "latest"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fault.New("journal.Latest", fault.Other, m.dir, err)
	}
	id := filepath.Base(target)
	if _, err := os.Stat(filepath.Join(m.dir, "slaves", id, fileName)); errors.Is(err, fs.ErrNotExist) {
		return "", nil // a link to nothing of ours
	} else if err != nil {
		return "", fault.New("journal.Latest", fault.Other, id, err)
	}
	return id, nil
}

// BootID gives the boot id of the last run, "" when there was none.
func (m Meta) BootID() string {
	b, err := os.ReadFile(filepath.Join(m.dir, "boot_id"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// SetBootID records the present boot id, durably.
func (m Meta) SetBootID(id string) error {
	path := filepath.Join(m.dir, "boot_id")
	if err := durable.Replace(path, 0o644, []byte(id)); err != nil {
		return fault.New("journal.write", fault.Other, path, err)
	}
	return nil
}

// Leave records, durably, that no agent lives here any more: the next one is a new one.
func (m Meta) Leave() error {
	slaves := filepath.Join(m.dir, "slaves")
	err := os.Remove(filepath.Join(slaves, "latest"))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = durable.SyncDir(slaves)
	}
	if err != nil {
		return fault.New("journal.Leave", fault.Other, slaves, err)
	}
	return nil
}

// Create starts the journal of a new agent id with its first entries and makes the id
// the latest, in that order, so that a crash in between leaves the id unused.
func (m Meta) Create(id string, first []Entry, log *slog.Logger) (*Journal, error) {
	const op = "journal.Create"
	dir := filepath.Join(m.dir, "slaves", id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.New(op, fault.Other, id, err)
	}
	j := &Journal{dir: dir, log: log, live: map[string][]byte{}}
	for _, e := range first {
		j.live[e.Key] = e.Value
	}
	if err := j.rewrite(); err != nil {
		return nil, fault.New(op, fault.Other, id, err)
	}
	if err := pointLatest(filepath.Join(m.dir, "slaves"), id); err != nil {
		j.Close()
		return nil, fault.New(op, fault.Other, id, err)
	}
	return j, nil
}

// Open reads the journal of an agent id. What is damaged is left out and listed; a
// damaged key is only lost when no newer record of it can be read.
func (m Meta) Open(id string, log *slog.Logger) (*Journal, []Loss, error) {
	const op = "journal.Open"
	j, losses, err := open(filepath.Join(m.dir, "slaves", id), log)
	if err != nil {
		return nil, nil, fault.New(op, fault.Other, id, err)
	}
	return j, losses, nil
}

// open reads the journal in a folder.
func open(dir string, log *slog.Logger) (*Journal, []Loss, error) {
	f, err := os.OpenFile(filepath.Join(dir, fileName), os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	j := &Journal{dir: dir, log: log, f: f, live: map[string][]byte{}}
	losses, end := replay(data, j.live)
	j.size = end
	for k, v := range j.live {
		j.bytes += frameSize(k, v)
	}
	// A torn end goes away now. Damage stays until the next Append, which writes the file
	// anew: who opened it may refuse to go on, and then must find it again.
	switch {
	case len(losses) > 0:
		j.bad = true
	case end < int64(len(data)):
		if err := j.rewrite(); err != nil {
			j.bad = true
			log.Warn("journal could not be rewritten", "folder", dir, "err", err)
		}
	}
	return j, losses, nil
}

// Entries gives all live entries.
func (j *Journal) Entries() []Entry {
	out := make([]Entry, 0, len(j.live))
	for k, v := range j.live {
		out = append(out, Entry{k, v})
	}
	return out
}

// Append makes all entries durable or none. After an error the journal remembers the
// entries all the same, and the next Append that succeeds brings them to disk: the
// caller need not repeat them, it must only not count on them yet. Take them back with
// Append of their removal.
func (j *Journal) Append(entries []Entry) error {
	const op = "journal.Append"
	var buf []byte
	for _, e := range entries {
		if len(e.Key) > maxKey || len(e.Value) > maxValue {
			return fault.New(op, fault.TooLarge, e.Key, fmt.Errorf("key of %d or value of %d bytes", len(e.Key), len(e.Value)))
		}
		buf = appendFrame(buf, e)
	}
	for _, e := range entries {
		j.apply(e)
	}
	if j.bad || (j.size > rewriteAt && j.size > 3*j.bytes) {
		if err := j.rewrite(); err != nil {
			j.bad = true
			return fault.New(op, fault.Unavailable, fileName, err)
		}
		return nil
	}
	if _, err := j.f.WriteAt(buf, j.size); err != nil {
		j.bad = true
		return fault.New(op, fault.Unavailable, fileName, err)
	}
	if err := durable.SyncData(j.f); err != nil {
		// After a failed fsync the kernel may have dropped the pages: only a new file
		// can be trusted.
		j.bad = true
		return fault.New(op, fault.Unavailable, fileName, err)
	}
	j.size += int64(len(buf))
	return nil
}

func (j *Journal) apply(e Entry) {
	if old, ok := j.live[e.Key]; ok {
		j.bytes -= frameSize(e.Key, old)
	}
	if e.Value == nil {
		delete(j.live, e.Key)
		return
	}
	j.live[e.Key] = e.Value
	j.bytes += frameSize(e.Key, e.Value)
}

// rewrite writes the live entries to a new file and swaps it in.
func (j *Journal) rewrite() error {
	path := filepath.Join(j.dir, fileName)
	buf := append([]byte(nil), fileMagic...)
	j.bytes = 0
	for k, v := range j.live {
		buf = appendFrame(buf, Entry{k, v})
		j.bytes += frameSize(k, v)
	}
	f, err := durable.Renew(path, 0o600, buf)
	if f == nil {
		return err
	}
	if j.f != nil {
		j.f.Close()
	}
	j.f, j.size, j.bad = f, int64(len(buf)), false
	return err
}

// Close releases the file.
func (j *Journal) Close() error {
	if j.f == nil {
		return nil
	}
	return j.f.Close()
}

// pointLatest makes slaves/latest a link to id in one step.
func pointLatest(slaves, id string) error {
	temp := filepath.Join(slaves, ".latest")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(id, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(slaves, "latest")); err != nil {
		return err
	}
	return durable.SyncDir(slaves)
}
