// Package gids gives volumes that several users share a group of their own, so that each
// of them may read and write there (mesos-agent.md 7.9, --volume_gid_range). Which volume
// has which group is kept in a file, which is written before a volume is changed.
package gids

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/stoa-project/stoa/internal/durable"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
)

// Groups are the groups of volumes. Methods may be called by several goroutines.
type Groups struct {
	all  resource.Ranges
	file string
	log  *slog.Logger

	mu   sync.Mutex       // guards held and file, and is held while a volume is changed
	held map[string]entry // by the volume's path
}

// entry is the group of one volume.
type entry struct {
	GID uint32 `json:"gid"`
	// Holder is the container in whose sandbox the volume is; empty for a persistent volume,
	// whose group lasts as long as its folder.
	Holder string `json:"holder,omitempty"`
	// Base is a folder above the volume that tasks cannot replace, or the volume's path.
	Base string `json:"base"`
}

// Open reads which groups are taken from a file, which need not exist. text is the flag:
// ranges as [10000-20000]. Errors are fault.Invalid and name the flag, or tell what is
// wrong with the file.
func Open(text, file string, log *slog.Logger) (*Groups, error) {
	const flag = "--volume_gid_range"
	rs, err := resource.Parse("gids:"+text, "*")
	if err != nil || len(rs) != 1 || rs[0].GetRanges() == nil {
		return nil, fault.New("gids", fault.Invalid, flag, fmt.Errorf("%q is no range: write it as [10000-20000]", text))
	}
	g := &Groups{all: resource.RangesOf(rs[0].GetRanges()), file: file, log: log, held: map[string]entry{}}
	if len(g.all) == 0 || g.all[0].Begin < 1 || g.all[len(g.all)-1].End > 1<<32-2 {
		return nil, fault.New("gids", fault.Invalid, flag, fmt.Errorf("%q: groups are 1 to 4294967294", text))
	}
	if os.Geteuid() != 0 {
		return nil, fault.New("gids", fault.Invalid, flag, errors.New("giving groups to volumes needs root"))
	}
	raw, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(raw, &g.held); err != nil {
			return nil, fault.New("gids", fault.Malformed, file, fmt.Errorf("%w; remove it when no task shares a volume", err))
		}
	}
	return g, nil
}

// Give gives a volume its group, and tells it: the one it has, else the lowest that is
// free. The folder and all in it get the group; folders may be written by it, and pass it
// on to what is made in them. holder is the container in whose sandbox the volume is, empty
// for persistent volumes. base is the path, or a folder above it that no link on the way to
// the volume leads out of.
func (g *Groups) Give(base, path, holder string) (uint32, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	root, err := enter(base, path)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	info, err := root.Stat(".")
	if err != nil {
		return 0, err
	}
	has := info.Sys().(*syscall.Stat_t).Gid
	known, taken := g.held[path]
	switch {
	case taken && has == known.GID && info.Mode()&fs.ModeSetgid != 0:
		return has, nil
	case taken: // it was made anew, or this was cut short
		return known.GID, own(root, known.GID, true)
	case g.all.Has(uint64(has)):
		return has, nil // the same volume by another path
	}
	gid, ok := g.free()
	if !ok && g.sweep(nil) {
		gid, ok = g.free()
	}
	if !ok {
		return 0, fmt.Errorf("Failed to allocate gid to the volume path '%s' because the free gid range is exhausted", path)
	}
	g.held[path] = entry{GID: gid, Holder: holder, Base: base}
	if err := g.save(); err != nil {
		delete(g.held, path)
		return 0, err
	}
	if err := own(root, gid, true); err != nil {
		return 0, fmt.Errorf("Failed to set the owner group of the volume path '%s' to %d: %w", path, gid, err)
	}
	return gid, nil
}

// free finds the lowest group that no volume has.
func (g *Groups) free() (uint32, bool) {
	rest := g.all
	for _, e := range g.held {
		rest = rest.Subtract(resource.Ranges{{Begin: uint64(e.GID), End: uint64(e.GID)}})
	}
	if len(rest) == 0 {
		return 0, false
	}
	return uint32(rest[0].Begin), true
}

// Release frees the groups of the volumes in a container's sandbox, which stay there for a
// while: they get back the group of their owner, so that the next one with the group does
// not see them.
func (g *Groups) Release(container string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(func(_ string, e entry) bool { return e.Holder == container })
}

// Recover frees the groups of containers that do not live and of volumes that are gone.
func (g *Groups) Recover(lives func(container string) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweep(lives)
}

// sweep drops what is not needed any more; lives may be nil. It tells whether there was any.
func (g *Groups) sweep(lives func(container string) bool) bool {
	return g.drop(func(path string, e entry) bool {
		_, err := os.Lstat(path)
		return errors.Is(err, os.ErrNotExist) || lives != nil && e.Holder != "" && !lives(e.Holder)
	})
}

func (g *Groups) drop(which func(path string, e entry) bool) bool {
	any := false
	for path, e := range g.held {
		if !which(path, e) {
			continue
		}
		any = true
		if e.Holder != "" {
			if err := restore(e.Base, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				g.log.Warn("a volume keeps the group that is free now", "path", path, "gid", e.GID, "err", err)
			}
		}
		delete(g.held, path)
	}
	if any {
		if err := g.save(); err != nil { // it is freed again at the next start
			g.log.Error("groups of volumes are not written down", "file", g.file, "err", err)
		}
	}
	return any
}

// Counts tells how many groups there are, and how many of them no volume has.
func (g *Groups) Counts() (total, free int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.all {
		total += int(r.End - r.Begin + 1)
	}
	free = total
	for _, e := range g.held {
		if g.all.Has(uint64(e.GID)) { // the operator may have changed the range
			free--
		}
	}
	return total, free
}

// save writes the file anew.
func (g *Groups) save() error {
	raw, err := json.Marshal(g.held)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(g.file), 0o755); err != nil {
		return err
	}
	return durable.Replace(g.file, 0o600, raw)
}

// enter opens a volume; no link on the way leads out of base.
func enter(base, path string) (*os.Root, error) {
	rel, err := filepath.Rel(base, path)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(base)
	if err != nil || rel == "." {
		return root, err
	}
	defer root.Close()
	return root.OpenRoot(rel)
}

// restore gives a volume back to the group of its owner.
func restore(base, path string) error {
	root, err := enter(base, path)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	uid := info.Sys().(*syscall.Stat_t).Uid
	gid := uint64(uid) // of an owner that the host does not know
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		if n, err := strconv.ParseUint(u.Gid, 10, 32); err == nil {
			gid = n
		}
	}
	return own(root, uint32(gid), false)
}

// own gives a tree to a group. Tasks may be at work in it: no link is followed, and what
// vanishes meanwhile is no error. With shared folders may be written by the group and pass
// it on, without they do neither.
func own(root *os.Root, gid uint32, shared bool) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = root.Lchown(name, -1, int(gid))
		}
		if err == nil && d.IsDir() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				mode := info.Mode().Perm() | 0o020 | fs.ModeSetgid
				if !shared {
					mode = info.Mode().Perm() &^ 0o020
				}
				err = root.Chmod(name, mode|info.Mode()&fs.ModeSticky)
			}
		}
		if errors.Is(err, fs.ErrNotExist) && name != "." {
			return nil
		}
		return err
	})
}
