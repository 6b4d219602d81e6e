package carry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// mkdirs makes folders below the sandbox.
func (r *run) mkdirs(dir string) error {
	made := ""
	for _, part := range strings.Split(path.Clean(dir), "/") {
		made = path.Join(made, part)
		err := r.root.Mkdir(made, 0o755)
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrExist):
			return entryFault(made, err)
		default:
			if info, err := r.root.Stat(made); err != nil {
				return entryFault(made, err)
			} else if !info.IsDir() {
				return fault.New("fetch", fault.Invalid, made, errors.New("is a file where a folder is needed"))
			}
		}
	}
	return nil
}

// write makes a file of body, in place of whatever had its name.
func (r *run) write(name string, mode os.FileMode, mtime time.Time, body io.Reader) error {
	if err := r.clear(name); err != nil {
		return err
	}
	f, err := r.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return entryFault(name, err)
	}
	_, err = io.Copy(f, body)
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && !mtime.IsZero() {
		_ = r.root.Chtimes(name, mtime, mtime)
	}
	if err != nil {
		return entryFault(name, err)
	}
	return nil
}

// clear removes what has a name, unless it is a folder.
func (r *run) clear(name string) error {
	info, err := r.root.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return entryFault(name, err)
	}
	if info.IsDir() {
		return fault.New("fetch", fault.Invalid, name, errors.New("is a folder where a file is to be written"))
	}
	if err := r.root.Remove(name); err != nil {
		return entryFault(name, err)
	}
	return nil
}

// entryFault classifies; what is classified already stays.
func entryFault(name string, err error) error {
	if fault.KindOf(err) != fault.Other {
		return err
	}
	kind := fault.OfSystem(err)
	if kind == fault.Other || kind == fault.NotFound {
		kind = fault.Invalid // os.Root refused it, or its name is not possible
	}
	return fault.New("fetch", kind, name, err)
}

// meter passes bytes on up to a limit and tells how many.
type meter struct {
	r      io.Reader
	limit  int64
	what   string
	report func(int64)
	done   int64
	told   int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.done += int64(n)
	if m.done > m.limit {
		return 0, fault.New("fetch", fault.TooLarge, m.what, fmt.Errorf("more than %d bytes", m.limit))
	}
	if m.report != nil && (m.done-m.told >= 1<<20 || err != nil) {
		m.told = m.done
		m.report(m.done)
	}
	return n, err
}
