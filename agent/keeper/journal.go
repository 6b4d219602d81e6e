package keeper

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/stoa-project/stoa/internal/durable"
	"github.com/stoa-project/stoa/internal/fault"
)

// journal is the keeper's memory on disk: one line per change, with a checksum each,
// so that a torn or damaged line loses its own change only. One goroutine writes; what
// comes in while it waits for the disk goes into the next write together.
type journal struct {
	path  string
	file  *os.File
	size  int64           // of the good part
	floor int64           // size after the last rewrite
	image map[string]Task // what the lines add up to; owned by the writer
	in    chan appendJob
	done  chan struct{} // closed when the writer has ended
}

// entry is one line.
type entry struct {
	Op   string   `json:"op"`             // boot intent start kill exit forget upgrade; others are ignored
	Boot string   `json:"boot,omitempty"` // of op boot: the host's boot id
	ID   string   `json:"id,omitempty"`
	Task *Task    `json:"task,omitempty"` // of intent and start
	Exit *Exit    `json:"exit,omitempty"`
	Kill *Killing `json:"kill,omitempty"`
}

type appendJob struct {
	entry entry
	done  chan error
}

// rewriteAt is the size in bytes from which the journal is rewritten once half of it is old.
const rewriteAt = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openJournal reads what there is and prepares writing. boot is the present boot id;
// before is the one the records were made in ("" for none). bad counts damaged lines.
func openJournal(dir, boot string) (j *journal, before string, bad int, err error) {
	j = &journal{
		path: filepath.Join(dir, "journal"), image: map[string]Task{},
		in: make(chan appendJob, 1024), done: make(chan struct{}),
	}
	before, bad, err = j.load()
	if err != nil {
		return nil, "", 0, fault.New("keeper.journal", fault.Other, j.path, err)
	}
	// A fresh file drops damaged and old lines, and proves that the disk takes writes.
	if err := j.rewrite(boot); err != nil {
		return nil, "", 0, fault.New("keeper.journal", fault.Unavailable, j.path, err)
	}
	go j.write(boot)
	return j, before, bad, nil
}

func (j *journal) load() (boot string, bad int, err error) {
	f, err := os.Open(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			if len(line) > 0 {
				bad++ // the last write was cut short
			}
			return boot, bad, nil
		}
		if err != nil {
			return "", 0, err
		}
		e, ok := parseLine(line)
		if !ok {
			bad++
			continue
		}
		if e.Op == "boot" {
			boot = e.Boot
			continue
		}
		j.apply(e)
	}
}

func parseLine(line []byte) (entry, bool) {
	sum, body, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if !ok {
		return entry{}, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(body, castagnoli) {
		return entry{}, false
	}
	var e entry
	return e, json.Unmarshal(body, &e) == nil
}

func formatLine(buf []byte, e entry) ([]byte, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return buf, err
	}
	buf = fmt.Appendf(buf, "%08x ", crc32.Checksum(body, castagnoli))
	return append(append(buf, body...), '\n'), nil
}

func (j *journal) apply(e entry) {
	switch e.Op {
	case "intent":
		if e.Task != nil {
			j.image[e.ID] = *e.Task
		}
	case "start": // the intent's line has the cgroups and the note
		if t, ok := j.image[e.ID]; ok && e.Task != nil {
			t.PID, t.Start, t.Started, t.Files = e.Task.PID, e.Task.Start, e.Task.Started, e.Task.Files
			j.image[e.ID] = t
		}
	case "kill":
		if t, ok := j.image[e.ID]; ok {
			t.Killing = e.Kill
			j.image[e.ID] = t
		}
	case "exit":
		if t, ok := j.image[e.ID]; ok {
			t.Exit = e.Exit
			j.image[e.ID] = t
		}
	case "forget":
		delete(j.image, e.ID)
	}
}

// append makes a change durable before it returns; after an error it has not happened.
func (j *journal) append(e entry) error {
	job := appendJob{entry: e, done: make(chan error, 1)}
	select {
	case j.in <- job:
	case <-j.done:
		return fault.New("keeper.journal", fault.Unavailable, "keeper", errors.New("shutting down"))
	}
	select {
	case err := <-job.done:
		return err
	case <-j.done:
		select {
		case err := <-job.done:
			return err
		default:
			return fault.New("keeper.journal", fault.Unavailable, "keeper", errors.New("shutting down"))
		}
	}
}

// close ends the writer after what is queued.
func (j *journal) close() {
	j.in <- appendJob{}
	<-j.done
	j.file.Close()
}

func (j *journal) write(boot string) {
	defer close(j.done)
	for {
		batch := []appendJob{<-j.in}
	more:
		for len(batch) < cap(j.in) {
			select {
			case job := <-j.in:
				batch = append(batch, job)
			default:
				break more
			}
		}
		end := false
		var buf []byte
		var err error
		for _, job := range batch {
			if job.done == nil {
				end = true
				continue
			}
			var e error
			if buf, e = formatLine(buf, job.entry); err == nil {
				err = e
			}
		}
		if err == nil {
			err = j.put(buf)
		}
		for _, job := range batch {
			if job.done == nil {
				continue
			}
			if err == nil {
				j.apply(job.entry)
				job.done <- nil
			} else {
				job.done <- fault.New("keeper.journal", fault.Unavailable, j.path, err)
			}
		}
		if end {
			return
		}
		if j.size > max(rewriteAt, 2*j.floor) {
			// A failure leaves the old file in use, which only stays long.
			_ = j.rewrite(boot)
		}
	}
}

// put appends bytes and waits for the disk; what was written of a failed attempt is cut off.
func (j *journal) put(buf []byte) error {
	if len(buf) == 0 {
		return nil
	}
	_, err := j.file.WriteAt(buf, j.size)
	if err == nil {
		err = durable.SyncData(j.file)
	}
	if err != nil {
		_ = j.file.Truncate(j.size)
		return err
	}
	j.size += int64(len(buf))
	return nil
}

// rewrite replaces the file by the lines that the image needs.
func (j *journal) rewrite(boot string) error {
	buf, err := formatLine(nil, entry{Op: "boot", Boot: boot})
	for id, t := range j.image {
		if err == nil {
			buf, err = formatLine(buf, entry{Op: "intent", ID: id, Task: &t})
		}
	}
	if err != nil {
		return err
	}
	f, err := durable.Renew(j.path, 0o600, buf)
	if f == nil {
		return err
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.size, j.floor = f, int64(len(buf)), int64(len(buf))
	return err
}
