package dns

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/durable"
)

const (
	cacheEvery = 30 * time.Second // least time between two writings
	// cacheRest is how many times as long as it took to write the file it is left alone.
	cacheRest = 20
	// maxCacheLine bounds one line of the file, in octets.
	maxCacheLine = 1 << 20
	cacheFormat  = 1
)

// cache keeps the view of the cluster in a file, so that the next start can serve it
// before a master answers. The file has one JSON value per line; the last line counts the
// others, so a file that was cut off is noticed.
type cache struct {
	path string
	log  *slog.Logger
	next chan names.Snapshot
}

// cacheLine is one line; one field is set.
type cacheLine struct {
	Format    int              `json:"stoa_dns_view,omitempty"`
	At        time.Time        `json:"at,omitzero"`
	Framework *names.Framework `json:"framework,omitempty"`
	Agent     *names.Agent     `json:"agent,omitempty"`
	Task      *names.Task      `json:"task,omitempty"`
	Lines     int              `json:"lines,omitempty"` // before this one, the last
}

func newCache(path string, log *slog.Logger) *cache {
	return &cache{path: path, log: log, next: make(chan names.Snapshot)}
}

// keep hands a view to run; false while that is busy.
func (c *cache) keep(s names.Snapshot) bool {
	select {
	case c.next <- s:
		return true
	default:
		return false
	}
}

// run writes what keep is given until ctx ends.
func (c *cache) run(ctx context.Context) {
	for {
		select {
		case s := <-c.next:
			began := time.Now()
			if err := c.write(s, began); err != nil {
				c.log.Warn("the view cannot be kept for the next start", "file", c.path, "error", err)
			}
			select {
			case <-time.After(cacheRest * time.Since(began)):
			case <-ctx.Done():
			}
		case <-ctx.Done():
			return
		}
	}
}

// write replaces the file in one step.
func (c *cache) write(s names.Snapshot, at time.Time) error {
	return durable.ReplaceBy(c.path, 0o600, func(w io.Writer) error { return writeLines(w, s, at) })
}

// writeLines writes a line for each part of the view, and their number at the end.
func writeLines(w io.Writer, s names.Snapshot, at time.Time) (err error) {
	out := json.NewEncoder(w)
	lines := 0
	put := func(l cacheLine) {
		if err == nil {
			err = out.Encode(l)
			lines++
		}
	}
	put(cacheLine{Format: cacheFormat, At: at})
	for i := range s.Frameworks {
		put(cacheLine{Framework: &s.Frameworks[i]})
	}
	for i := range s.Agents {
		put(cacheLine{Agent: &s.Agents[i]})
	}
	for i := range s.Tasks {
		put(cacheLine{Task: &s.Tasks[i]})
	}
	put(cacheLine{Lines: lines})
	return err
}

// read gives the view in the file and when it was true; nil when there is no file.
func (c *cache) read() (*names.Snapshot, time.Time, error) {
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	var snap names.Snapshot
	var at time.Time
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxCacheLine)
	for n := 0; lines.Scan(); n++ {
		var l cacheLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, at, fmt.Errorf("line %d: %w", n+1, err)
		}
		switch {
		case n == 0 && l.Format != cacheFormat:
			return nil, at, fmt.Errorf("format %d, want %d", l.Format, cacheFormat)
		case n == 0:
			at = l.At
		case l.Framework != nil:
			snap.Frameworks = append(snap.Frameworks, *l.Framework)
		case l.Agent != nil:
			snap.Agents = append(snap.Agents, *l.Agent)
		case l.Task != nil:
			snap.Tasks = append(snap.Tasks, *l.Task)
		case l.Lines == n:
			return &snap, at, nil
		}
	}
	if err := lines.Err(); err != nil {
		return nil, at, err
	}
	return nil, at, io.ErrUnexpectedEOF
}
