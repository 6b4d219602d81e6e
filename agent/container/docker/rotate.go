package docker

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"github.com/stoa-project/stoa/agent/container"
)

// sink is one of the two files that a container's output goes to.
type sink struct {
	name string
	file *os.File
	rule container.Rotation
	size *int64 // in the position
	skip int64  // bytes that are there already
}

// openSink opens or makes the file; links are not followed, and nothing but a file is taken.
func openSink(dir *os.Root, name string) (*os.File, int64, error) {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// rotate moves a file that is over its bound to NAME.1, what was there to NAME.2, and so on.
// Only this process writes it, so a rename does. The position is noted before and after: an
// agent that was killed in between finds a file that is shorter than noted, and goes on.
func (f *files) rotate(s *sink) error {
	if s.rule.Max == 0 || *s.size <= int64(s.rule.Max) {
		return nil
	}
	if err := f.save(); err != nil {
		return err
	}
	if err := f.shift(s); err != nil {
		return err
	}
	old := s.file
	fresh, _, err := openSink(f.dir, s.name)
	if err != nil {
		return err
	}
	if info, err := old.Stat(); err == nil {
		if own, ok := info.Sys().(*syscall.Stat_t); ok {
			_ = fresh.Chown(int(own.Uid), int(own.Gid)) // where we may not, it is ours as before
		}
	}
	old.Close()
	s.file, *s.size, s.skip = fresh, 0, 0
	return f.save()
}

func (f *files) shift(s *sink) error {
	at := func(n int, end string) string { return s.name + "." + strconv.Itoa(n) + end }
	missing := func(err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, end := range []string{"", ".gz"} {
		if err := missing(f.dir.Remove(at(max(s.rule.Files, 1), end))); err != nil {
			return err
		}
		for n := s.rule.Files - 1; n >= 1; n-- {
			if err := missing(f.dir.Rename(at(n, end), at(n+1, end))); err != nil {
				return err
			}
		}
	}
	if s.rule.Files == 0 {
		return f.dir.Remove(s.name)
	}
	if err := f.dir.Rename(s.name, at(1, "")); err != nil {
		return err
	}
	if s.rule.Compress {
		return f.pack(at(1, ""), at(1, ".gz"))
	}
	return nil
}

// pack compresses a file that has been moved away.
func (f *files) pack(from, to string) error {
	in, err := f.dir.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := f.dir.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err := errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	return f.dir.Remove(from)
}

// logsText and logsOf keep the bounds of a container's files in a label.
func logsText(l *container.Logs) string {
	if l == nil {
		return ""
	}
	raw, err := json.Marshal(l)
	if err != nil {
		return "" // plain numbers can always be written
	}
	return string(raw)
}

func logsOf(label string) *container.Logs {
	l := &container.Logs{}
	if label == "" || json.Unmarshal([]byte(label), l) != nil {
		return nil
	}
	return l
}
