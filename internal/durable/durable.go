// Package durable replaces files in one step: whoever reads, also after a crash or a loss of
// power, finds the old content or the new one, whole. A path has one writer at a time; what
// a writer left that died is path.new, which the next one removes.
package durable

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Replace makes data the content of path. When it has returned nil the content survives a
// loss of power: it costs two waits for the disk, the file's and its folder's.
func Replace(path string, mode fs.FileMode, data []byte) error {
	return closed(renew(path, mode, true, whole(data)))
}

// ReplaceBy is Replace with what fill writes, through a buffer. When fill fails nothing has
// changed.
func ReplaceBy(path string, mode fs.FileMode, fill func(io.Writer) error) error {
	return closed(renew(path, mode, true, func(f io.Writer) error {
		w := bufio.NewWriterSize(f, 64<<10)
		if err := fill(w); err != nil {
			return err
		}
		return w.Flush()
	}))
}

// Renew is Replace for a file that is written on: it gives it open, at its end. A file with
// an error stands under its name, and a loss of power may bring the old one back.
func Renew(path string, mode fs.FileMode, data []byte) (*os.File, error) {
	return renew(path, mode, true, whole(data))
}

// Swap is Replace without waiting for the disk: a loss of power may cost the content.
func Swap(path string, mode fs.FileMode, data []byte) error {
	return closed(renew(path, mode, false, whole(data)))
}

func whole(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

func closed(f *os.File, err error) error {
	if f == nil {
		return err
	}
	return errors.Join(err, f.Close())
}

func renew(path string, mode fs.FileMode, lasting bool, fill func(io.Writer) error) (*os.File, error) {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	err = fill(f)
	if err == nil && lasting {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(temp))
	}
	if lasting {
		err = SyncDir(filepath.Dir(path))
	}
	return f, err
}

// SyncDir waits until the names in a folder are on the disk: those that were made, renamed
// and removed.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// SyncData waits until what was appended to a file, and its new length, are on the disk; the
// times of access and change may come later, which halves the wait.
func SyncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
