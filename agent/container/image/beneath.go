package image

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// beneath is a folder that paths are resolved in as if it were the root: links in it,
// absolute ones too, never lead out of it.
type beneath struct{ dir *os.File }

func openBeneath(path string) (*beneath, error) {
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &beneath{f}, nil
}

func (b *beneath) close() { b.dir.Close() }

// open resolves a path; flags are those of open(2).
func (b *beneath) open(path string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Openat2(int(b.dir.Fd()), path, &unix.OpenHow{
			Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// folder opens a folder and makes it and its parents, 0755, when they are missing.
func (b *beneath) folder(path string) (*os.File, error) {
	path = filepath.Clean("/" + path)
	f, err := b.open(path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == nil || !errors.Is(err, unix.ENOENT) || path == "/" {
		return f, err
	}
	parent, err := b.folder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if err := unix.Mkdirat(int(parent.Fd()), filepath.Base(path), 0o755); err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	return b.open(path, unix.O_RDONLY|unix.O_DIRECTORY)
}

// read gives the content of a regular file of at most limit bytes.
func (b *beneath) read(path string, limit int64) ([]byte, error) {
	f, err := b.open(path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	return readAll(f, limit)
}

// readAll reads at most limit bytes; more are an error.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return raw, err
}

// kindAt tells what is at name in a folder, without following a link; 0 when nothing is.
func kindAt(dir *os.File, name string) (st unix.Stat_t, kind uint32, err error) {
	err = unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return st, 0, nil
	}
	return st, st.Mode & unix.S_IFMT, err
}

// removeAt removes whatever is at name in a folder.
func removeAt(dir *os.File, name string) error {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	// RemoveAll works by descriptors and never follows links below its argument.
	return os.RemoveAll(procPath(dir, name))
}

// procPath is a path to an entry of an open folder for calls that take none relative to it.
func procPath(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}
