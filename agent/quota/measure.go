// Package quota measures how much of the disk containers use, in their sandboxes and in
// their volumes, and says when that is more than they may (isolator disk/du,
// mesos-agent.md 7.10).
//
// It walks folders that belong to tasks, which may change them meanwhile: every step is
// taken by descriptor below the folder, no symbolic link is followed, other file systems
// are left out, and a file with several names counts once. One folder is walked at a
// time, so that measuring takes at most one processor from the tasks.
package quota

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/stoa-project/stoa/internal/fault"
)

const (
	// maxDepth bounds how deep a walk goes: each level holds a descriptor.
	maxDepth = 256
	// maxLinks bounds the files with several names that a walk remembers; beyond it they
	// count once per name.
	maxLinks = 1 << 20
	// batch is how many entries of a folder are read at a time.
	batch = 1024
)

type walk struct {
	ctx  context.Context
	dev  uint64
	used uint64
	seen map[uint64]bool // inodes of files with several names
}

// Measure gives the bytes that a folder and everything below it take on its disk, as du
// counts them: blocks, not lengths. What vanishes meanwhile is left out. Errors:
// fault.NotFound, fault.Other, and those of ctx.
func Measure(ctx context.Context, dir string) (uint64, error) {
	const op = "quota.Measure"
	root, err := os.OpenRoot(dir)
	if err != nil {
		kind := fault.Other
		if errors.Is(err, fs.ErrNotExist) {
			kind = fault.NotFound
		}
		return 0, fault.New(op, kind, dir, err)
	}
	defer root.Close()
	info, err := root.Lstat(".")
	if err != nil {
		return 0, fault.New(op, fault.Other, dir, err)
	}
	w := &walk{ctx: ctx, dev: uint64(info.Sys().(*syscall.Stat_t).Dev), seen: map[uint64]bool{}}
	w.add(info)
	if err := w.folder(root, 0); err != nil {
		return w.used, fault.New(op, fault.Other, dir, err)
	}
	return w.used, nil
}

// add counts one entry, and tells whether it is on the disk that is measured.
func (w *walk) add(info fs.FileInfo) bool {
	st := info.Sys().(*syscall.Stat_t)
	if uint64(st.Dev) != w.dev {
		return false
	}
	if st.Nlink > 1 && !info.IsDir() {
		if w.seen[st.Ino] {
			return true
		}
		if len(w.seen) < maxLinks {
			w.seen[st.Ino] = true
		}
	}
	w.used += uint64(st.Blocks) * 512
	return true
}

// folder counts what is in a folder. Only ctx makes it fail: what a task took away in
// the meantime, or what cannot be read, is not there.
func (w *walk) folder(root *os.Root, depth int) error {
	d, err := root.Open(".")
	if err != nil {
		return nil
	}
	defer d.Close()
	for {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		entries, err := d.ReadDir(batch)
		for _, e := range entries {
			info, err := root.Lstat(e.Name())
			if err != nil || !w.add(info) || !info.IsDir() || depth >= maxDepth {
				continue
			}
			below, err := root.OpenRoot(e.Name())
			if err != nil {
				continue
			}
			err = w.folder(below, depth+1)
			below.Close()
			if err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || err != nil {
			return nil
		}
	}
}
