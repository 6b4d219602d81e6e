package keeper

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/cgroup"
)

// Rotation bounds one log file: what is beyond Max bytes moves to NAME.1, what was there
// to NAME.2, and so on up to NAME.Files. Max 0 means that the file grows without bound.
type Rotation struct {
	Max      uint64 `json:"max,omitempty"`
	Files    int    `json:"files,omitempty"`
	Compress bool   `json:"compress,omitempty"` // rotated files are named NAME.N.gz
}

// Logs bounds the log files of a task.
type Logs struct {
	Stdout Rotation `json:"stdout"`
	Stderr Rotation `json:"stderr"`
}

// logFile is a log file of a task that is rotated, known by more than its name: the task's
// user may own the folder.
type logFile struct {
	Path string   `json:"path"`
	Dev  uint64   `json:"dev"`
	Ino  uint64   `json:"ino"`
	Rule Rotation `json:"rule"`

	size  int64  // when last looked at
	fresh bool   // nothing was left by an earlier keeper
	told  bool   // that it cannot be rotated
	quiet uint64 // how often it had not grown
	due   uint64 // tick of the next look
}

// rotated gives the log files of a spec that are to be rotated, once they exist.
func (s *Spec) rotated() []*logFile {
	if s.Logs == nil || s.Session {
		return nil
	}
	var out []*logFile
	add := func(path string, r Rotation) {
		if r.Max == 0 || path == "" {
			return
		}
		for _, l := range out {
			if l.Path == path {
				return
			}
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			out = append(out, &logFile{Path: path, Dev: st.Dev, Ino: st.Ino, Rule: r, fresh: true})
		}
	}
	add(s.Stdout, s.Logs.Stdout)
	if s.Terminal == nil {
		add(s.Stderr, s.Logs.Stderr)
	}
	return out
}

// rotateEvery is how often log files are looked at; one that does not grow is looked at
// up to maxQuiet times less.
const (
	rotateEvery = time.Second
	maxQuiet    = 8
)

// rotate keeps the log files of all tasks within bounds. Programs write them directly;
// what is moved away leaves the file's beginning in one step of the file system, so no
// line is lost and no program notices, whether or not a keeper lives.
func (k *Keeper) rotate(ctx context.Context) {
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for now := uint64(0); ; now++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		k.mu.Lock()
		var running []*task
		for _, t := range k.tasks {
			if len(t.Files) > 0 && t.Exit == nil && t.pidfd >= 0 {
				running = append(running, t)
			}
		}
		k.mu.Unlock()
		for _, t := range running {
			k.rotateTask(t, now, false)
		}
	}
}

// rotateTask looks at the log files of one task; at its end all of them.
func (k *Keeper) rotateTask(t *task, now uint64, last bool) {
	t.rotating.Lock()
	defer t.rotating.Unlock()
	for _, l := range t.Files {
		if !last && now < l.due {
			continue
		}
		size, err := l.rotate(t.freezer())
		switch {
		case err != nil && !l.told:
			l.told = true
			k.log.Warn("a log file is not rotated", "task", t.ID, "file", l.Path, "error", err)
		case size == l.size:
			l.quiet = min(l.quiet+1, maxQuiet)
		default:
			l.quiet = 0
		}
		l.size, l.due = size, now+l.quiet+1
	}
}

// freezer gives the group by which all who write a task's log files can be stopped; ""
// for none.
func (t *Task) freezer() string {
	for _, dir := range t.Cgroups {
		if cgroup.IsV2(dir) || exists(dir+"/freezer.state") {
			return dir
		}
	}
	return ""
}

var errReplaced = errors.New("the task has put another file in its place")

// rotate moves what is too much away, and gives the size that is left.
func (l *logFile) rotate(freezer string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(l.Path, &st); err != nil {
		return 0, err
	}
	if st.Dev != l.Dev || st.Ino != l.Ino {
		return 0, errReplaced
	}
	if uint64(st.Size) <= l.Rule.Max && l.fresh {
		return st.Size, nil
	}
	dir, err := os.OpenRoot(filepath.Dir(l.Path))
	if err != nil {
		return st.Size, err
	}
	defer dir.Close()
	name := filepath.Base(l.Path)
	f, err := dir.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return st.Size, err
	}
	defer f.Close()
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	if st.Dev != l.Dev || st.Ino != l.Ino {
		return 0, errReplaced
	}
	r := rotation{dir: dir, name: name, file: f, rule: l.Rule, mode: st.Mode & 0o777, uid: int(st.Uid), gid: int(st.Gid), unit: blockSize(f)}
	if err := r.resume(st.Size); err != nil {
		return st.Size, err
	}
	l.fresh = true
	for {
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || uint64(st.Size) <= l.Rule.Max {
			return st.Size, err
		}
		done, err := r.step(st.Size, freezer)
		if err != nil || !done {
			return st.Size, err
		}
	}
}

// rotation is one file at work.
type rotation struct {
	dir      *os.Root
	name     string
	file     *os.File
	rule     Rotation
	mode     uint32
	uid, gid int
	unit     int64 // what the file system can take out, in multiples
}

func blockSize(f *os.File) int64 {
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) == nil && st.Bsize > 4096 {
		return st.Bsize
	}
	return 4096
}

// step moves one piece away. done is false when nothing can be moved yet.
func (r *rotation) step(size int64, freezer string) (done bool, err error) {
	most := (int64(min(r.rule.Max, 1<<50)) + r.unit - 1) / r.unit * r.unit
	if keep := most * int64(r.rule.Files+1); size > keep+most { // older than all that would be kept
		n := (size - keep) / r.unit * r.unit
		if err := collapse(r.file, n); !errors.Is(err, errors.ErrUnsupported) {
			return true, err
		}
	}
	n := min(most, (size-1)/r.unit*r.unit)
	if n <= 0 {
		return false, nil
	}
	if r.rule.Files == 0 {
		return true, collapse(r.file, n)
	}
	temp := r.temp(n, size)
	if err := r.copyOut(temp, n); err != nil {
		_ = r.dir.Remove(temp)
		return false, err
	}
	err = collapse(r.file, n)
	if errors.Is(err, errors.ErrUnsupported) {
		err = r.truncate(temp, n, freezer)
	}
	if err != nil {
		_ = r.dir.Remove(temp)
		return false, err
	}
	return true, r.shift(temp)
}

// collapse takes the first n bytes out of a file, in one step: writers go on at its end.
func collapse(f *os.File, n int64) error {
	if n <= 0 {
		return nil
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return errors.ErrUnsupported
	}
	return err
}

// truncate is for file systems that cannot take out a beginning: all writers are stopped
// for the moment between the last byte read and the end of the file's content.
func (r *rotation) truncate(temp string, n int64, freezer string) error {
	if freezer == "" {
		return errors.New("neither can its file system take out the beginning of a file, nor can its writers be stopped, for which cgroups are needed")
	}
	thaw, frozen := cgroup.Freeze(freezer)
	defer thaw()
	if !frozen {
		return errors.New("its writers could not be stopped")
	}
	out, err := r.dir.OpenFile(temp, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(r.file, n, 1<<62)); err != nil {
		return err
	}
	return r.file.Truncate(0)
}

// Names of pieces that are not in their place yet: ".NAME.rotating-BYTES-SIZE", with the
// size of the file when they were copied.
func (r *rotation) prefix() string { return "." + r.name + ".rotating-" }

func (r *rotation) temp(n, size int64) string { return fmt.Sprintf("%s%d-%d", r.prefix(), n, size) }

func (r *rotation) copyOut(temp string, n int64) error {
	out, err := r.dir.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.CopyN(out, io.NewSectionReader(r.file, 0, n), n); err != nil {
		return err
	}
	return r.own(out)
}

// own gives a file of ours to the log's owner.
func (r *rotation) own(f *os.File) error {
	if os.Getuid() == 0 {
		if err := f.Chown(r.uid, r.gid); err != nil {
			return err
		}
	}
	return f.Chmod(os.FileMode(r.mode))
}

// shift puts a piece in its place, and those before one further.
func (r *rotation) shift(temp string) error {
	suffix := ""
	if r.rule.Compress {
		packed, err := r.pack(temp)
		if err != nil {
			return err
		}
		temp, suffix = packed, ".gz"
	}
	at := func(n int) string { return r.name + "." + strconv.Itoa(n) + suffix }
	_ = r.dir.Remove(at(r.rule.Files))
	for n := r.rule.Files - 1; n >= 1; n-- {
		if err := r.dir.Rename(at(n), at(n+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return r.dir.Rename(temp, at(1))
}

func (r *rotation) pack(temp string) (string, error) {
	in, err := r.dir.OpenFile(temp, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer in.Close()
	packed := "." + r.name + ".packing"
	_ = r.dir.Remove(packed)
	out, err := r.dir.OpenFile(packed, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return "", err
	}
	defer out.Close()
	z := gzip.NewWriter(out)
	if _, err := io.Copy(z, in); err != nil {
		return "", err
	}
	if err := errors.Join(z.Close(), r.own(out)); err != nil {
		return "", err
	}
	return packed, r.dir.Remove(temp)
}

// resume finishes what a keeper left that was killed between copying a piece and putting
// it in its place. Whether the piece is still in the file shows by comparing the two.
func (r *rotation) resume(size int64) error {
	items, err := os.ReadDir(r.dir.Name())
	if err != nil {
		return err
	}
	for _, i := range items {
		rest, ours := strings.CutPrefix(i.Name(), r.prefix())
		if !ours {
			continue
		}
		var n, before int64
		if _, err := fmt.Sscanf(rest, "%d-%d", &n, &before); err != nil || n <= 0 {
			_ = r.dir.Remove(i.Name())
			continue
		}
		whole, same, err := r.begins(i.Name(), n)
		if err != nil {
			return err
		}
		if !whole || same && size >= before {
			err = r.dir.Remove(i.Name())
		} else {
			err = r.shift(i.Name())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// begins tells whether a piece was copied to its end, and whether the file begins with it.
func (r *rotation) begins(piece string, n int64) (whole, same bool, err error) {
	f, err := r.dir.OpenFile(piece, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < n {
		return false, false, err
	}
	a, b := io.NewSectionReader(r.file, 0, n), io.LimitReader(f, n)
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		i, _ := io.ReadFull(a, x)
		j, _ := io.ReadFull(b, y)
		if i != j || !bytes.Equal(x[:i], y[:j]) {
			return true, false, nil
		}
		if i < len(x) {
			return true, true, nil
		}
	}
}
