// Package volume owns the persistent volumes of a host: where each one is, how it is
// made, who owns it, and how it goes (mesos-agent.md 6.6 and 7.4).
//
// # Where
//
// A volume on the agent's own disk is the folder volumes/roles/ROLE/ID below --work_dir,
// with the slashes of a role written as spaces; one on a PATH disk is the same folder
// below that disk's root; a MOUNT disk is one volume, its root.
//
// # Removal
//
// A destroyed volume leaves its place in one step, by a rename into volumes/.destroyed
// on the same disk, so that a new volume of the same name can be made at once; its
// files are deleted behind that. The content of a MOUNT disk cannot be moved away: it is
// deleted in place, and until then no new volume is made there. What a crash leaves in
// .destroyed is deleted at the next start. Folders that this agent did not destroy are
// never touched, whoever made them.
package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/durable"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Store is the volumes of one work directory. Its methods may be called from several
// goroutines.
type Store struct {
	workDir string
	log     *slog.Logger
	wg      sync.WaitGroup
}

// New makes a store and touches nothing.
func New(workDir string, log *slog.Logger) *Store { return &Store{workDir: workDir, log: log} }

// Wait waits until removals that are under way have ended.
func (s *Store) Wait() { s.wg.Wait() }

// base is the folder that the volumes of a resource's disk are below, and whether the
// disk is one volume by itself.
func (s *Store) base(r *mesos.Resource) (dir string, whole bool, err error) {
	source := r.GetDisk().GetSource()
	root := ""
	switch {
	case source == nil:
		return s.workDir, false, nil
	case source.GetType() == mesos.Resource_DiskInfo_Source_PATH:
		root = source.GetPath().GetRoot()
	case source.GetType() == mesos.Resource_DiskInfo_Source_MOUNT:
		root, whole = source.GetMount().GetRoot(), true
	default:
		return "", false, fault.New("volume", fault.Unsupported, "disk.source", fmt.Errorf("this agent has no disks of type %s", source.GetType()))
	}
	if root == "" {
		return "", false, fault.New("volume", fault.Invalid, "disk.source", errors.New("the disk has no root"))
	}
	if !filepath.IsAbs(root) {
		root = filepath.Join(s.workDir, root)
	}
	return filepath.Clean(root), whole, nil
}

// Path is where a volume is on this host, absolute. Errors: fault.Unsupported,
// fault.Invalid.
func (s *Store) Path(v *mesos.Resource) (string, error) {
	dir, whole, err := s.base(v)
	if err != nil || whole {
		return dir, err
	}
	role, id := strings.ReplaceAll(resource.RoleOf(v), "/", " "), v.GetDisk().GetPersistence().GetId()
	for _, part := range []string{role, id} {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "/\x00") {
			return "", fault.New("volume", fault.Invalid, id, fmt.Errorf("%q cannot be the name of a folder", part))
		}
	}
	return filepath.Join(dir, "volumes", "roles", role, id), nil
}

// Make makes the folder of a new volume and what leads to it, and waits until the disk
// has it; a folder that is there is kept with all it holds. fresh tells whether it was
// made.
func (s *Store) Make(v *mesos.Resource) (fresh bool, err error) {
	const op = "volume.Make"
	path, err := s.Path(v)
	if err != nil {
		return false, err
	}
	if info, err := os.Lstat(path); err == nil {
		if !info.IsDir() {
			return false, fault.New(op, fault.Conflict, path, errors.New("there is something that is no folder"))
		}
		return false, nil
	}
	if dir, whole, _ := s.base(v); whole {
		return false, fault.New(op, fault.NotFound, dir, errors.New("the disk is not mounted"))
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return false, fault.New(op, fault.Unavailable, path, err)
	}
	for dir := path; dir != s.workDir && filepath.Base(dir) != "volumes"; dir = filepath.Dir(dir) {
		if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
			return true, fault.New(op, fault.Unavailable, path, err)
		}
	}
	return true, nil
}

// Own gives a volume's folder, not what is in it, to a user.
func (s *Store) Own(v *mesos.Resource, uid, gid int) error {
	path, err := s.Path(v)
	if err != nil {
		return err
	}
	if err := os.Lchown(path, uid, gid); err != nil {
		return fault.New("volume.Own", fault.Other, path, err)
	}
	return nil
}

// bin is where what was destroyed waits for its deletion.
const bin = ".destroyed"

// Remove destroys a volume. gone tells that it has left its place; otherwise done is
// called, from another goroutine, when it is empty at last. ctx ends the attempts.
func (s *Store) Remove(ctx context.Context, v *mesos.Resource, done func()) (gone bool) {
	path, err := s.Path(v)
	if err != nil {
		s.log.Error("a destroyed volume cannot be removed", "err", err)
		return true
	}
	_, whole, _ := s.base(v)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if !whole {
		// volumes/roles/ROLE/ID -> volumes/.destroyed/N
		trash := filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(path))), bin)
		to := filepath.Join(trash, strconv.FormatInt(time.Now().UnixNano(), 36))
		if err = os.MkdirAll(trash, 0o700); err == nil {
			err = os.Rename(path, to)
		}
		if err == nil {
			crash.Here("volume.moved")
			_ = os.Remove(filepath.Dir(path)) // the role's folder, when it is empty now
			s.wg.Go(func() { s.empty(ctx, to, true) })
			return true
		}
		s.log.Warn("a destroyed volume cannot be moved away and is removed in place", "path", path, "err", err)
	}
	s.wg.Go(func() {
		if s.empty(ctx, path, !whole) {
			done()
		}
	})
	return false
}

// empty removes what is in a folder, and the folder too unless it is a disk's root. It
// tries until it succeeds or ctx ends.
func (s *Store) empty(ctx context.Context, path string, all bool) bool {
	for pause := time.Second; ; pause = min(2*pause, 10*time.Minute) {
		err := removeIn(path, all)
		if err == nil {
			s.log.Info("destroyed volume removed", "path", path)
			return true
		}
		s.log.Error("a destroyed volume is not removed yet", "path", path, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

func removeIn(path string, all bool) error {
	if all {
		return os.RemoveAll(path) // removes links, not what they lead to
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, root.RemoveAll(name))
	}
	return errors.Join(errs...)
}

// Sweep deletes what earlier runs had begun to delete on the disks of these resources.
func (s *Store) Sweep(ctx context.Context, rs []*mesos.Resource) {
	seen := map[string]bool{}
	for _, r := range append([]*mesos.Resource{{}}, rs...) {
		dir, whole, err := s.base(r)
		if err != nil || whole || seen[dir] {
			continue
		}
		seen[dir] = true
		trash := filepath.Join(dir, "volumes", bin)
		entries, err := os.ReadDir(trash)
		if err != nil {
			continue // nothing was ever destroyed here
		}
		for _, e := range entries {
			s.wg.Go(func() { s.empty(ctx, filepath.Join(trash, e.Name()), true) })
		}
	}
}
