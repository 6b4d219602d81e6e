package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/durable"
	"github.com/stoa-project/stoa/internal/fault"
)

// Rootfs is what one container has of images: a root file system, or none, and those
// that it sees as volumes.
type Rootfs struct {
	ID      string    `json:"id"`    // of the container
	Image   string    `json:"image"` // its name in full; empty: no root file system
	Digest  string    `json:"digest,omitempty"`
	Runtime Runtime   `json:"runtime"`
	Backend string    `json:"backend"`
	Root    *mounted  `json:"root,omitempty"`
	Volumes []mounted `json:"volumes,omitempty"`

	store *Store
}

// mounted is one file system.
type mounted struct {
	Name   string   `json:"name"` // of its folders
	Layers []string `json:"layers"`
}

// provisioner is the folder of all containers.
func (s *Store) provisioner() string {
	return filepath.Join(s.cfg.WorkDir, "provisioner", "containers")
}

func (s *Store) containerDir(id string) string { return filepath.Join(s.provisioner(), id) }

// folders of one file system of a container.
func (r *Rootfs) tree(m *mounted) string {
	if r.Backend == Bind {
		return r.store.layerDir(m.Layers[0])
	}
	return filepath.Join(r.store.containerDir(r.ID), "backends", r.Backend, "rootfses", m.Name)
}

func (r *Rootfs) scratch(m *mounted, which string) string {
	return filepath.Join(r.store.containerDir(r.ID), "backends", r.Backend, "scratch", m.Name, which)
}

func (r *Rootfs) layers() (all []string) {
	if r.Root != nil {
		all = append(all, r.Root.Layers...)
	}
	for _, v := range r.Volumes {
		all = append(all, v.Layers...)
	}
	return all
}

// Provision pulls an image unless it is there and makes a container's root file system of
// it. id must be a valid container id. Nothing is left after an error.
func (s *Store) Provision(ctx context.Context, id string, req Request, progress Progress) (*Rootfs, error) {
	r := &Rootfs{ID: id, Backend: s.cfg.Backend, store: s}
	if err := s.begin(r); err != nil {
		return nil, err
	}
	img, err := s.pull(ctx, req, progress)
	if err == nil {
		r.Image, r.Digest, r.Runtime = img.Name, img.Digest, img.Runtime
		r.Root, err = s.build(ctx, r, img)
	}
	if err != nil {
		s.Remove(id)
		return nil, err
	}
	return r, nil
}

// Volume makes another file system of an image for a container, which may have no root of
// its own.
func (s *Store) Volume(ctx context.Context, id string, req Request, readOnly bool, progress Progress) (*container.Mount, error) {
	r := s.Lookup(id)
	if r == nil {
		r = &Rootfs{ID: id, Backend: s.cfg.Backend, store: s}
		if err := s.begin(r); err != nil {
			return nil, err
		}
	}
	img, err := s.pull(ctx, req, progress)
	if err != nil {
		return nil, err
	}
	m, err := s.build(ctx, r, img)
	if err != nil {
		return nil, err
	}
	if s.cfg.Backend == Overlay {
		return &container.Mount{Overlay: r.overlay(m), ReadOnly: readOnly}, nil
	}
	if s.cfg.Backend == Bind && !readOnly {
		return nil, fault.New("image.provision", fault.Unsupported, img.Name, errors.New("--image_provisioner_backend=bind gives read-only volumes only"))
	}
	return &container.Mount{Source: r.tree(m), ReadOnly: readOnly}, nil
}

// begin books a container.
func (s *Store) begin(r *Rootfs) error {
	if !container.ValidID(container.ID(r.ID)) {
		return fault.New("image.provision", fault.Invalid, "id", fmt.Errorf("%q cannot be a folder name", r.ID))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.volumes[r.ID] != nil {
		return fault.New("image.provision", fault.Conflict, r.ID, errors.New("the container has a file system already"))
	}
	s.volumes[r.ID] = r
	return nil
}

// build makes the folders of a file system. It takes over the hold on the image's layers.
func (s *Store) build(ctx context.Context, r *Rootfs, img *record) (_ *mounted, err error) {
	m := &mounted{Name: uuid.NewString(), Layers: img.Layers}
	if n := len(img.Layers); n > 1 && s.cfg.Backend == Bind {
		s.release(img.Layers)
		return nil, fault.New("image.provision", fault.Unsupported, img.Name, fmt.Errorf("it has %d layers, and --image_provisioner_backend=bind takes images of one", n))
	}
	s.mu.Lock()
	if r.Image == img.Name && r.Root == nil {
		r.Root = m
	} else {
		r.Volumes = append(r.Volumes, *m)
	}
	s.mu.Unlock()
	// From here on Remove gives the layers back. The record comes first: what it names
	// survives a restart of the agent, or goes with it. No container survives one of the host.
	if err := os.MkdirAll(filepath.Join(s.containerDir(r.ID), "backends", r.Backend, "rootfses", m.Name), 0o755); err != nil {
		return nil, fault.New("image.provision", fault.Unavailable, "--work_dir", err)
	}
	if err := writeJSON(durable.Swap, filepath.Join(s.containerDir(r.ID), "image.json"), r); err != nil {
		return nil, fault.New("image.provision", fault.Unavailable, "--work_dir", err)
	}
	crash.Here("agent.root-recorded")
	if s.cfg.Backend == Overlay {
		for _, which := range []string{"upperdir", "workdir"} {
			if err = os.MkdirAll(r.scratch(m, which), 0o755); err != nil {
				return nil, fault.New("image.provision", fault.Unavailable, "--work_dir", err)
			}
		}
		// The root folder's own mode and owner are those of the upper folder.
		if err := likeFolder(r.scratch(m, "upperdir"), s.layerDir(m.Layers[len(m.Layers)-1])); err != nil {
			return nil, fault.New("image.provision", fault.Unavailable, "--work_dir", err)
		}
		crash.Here("agent.root-made")
		return m, nil
	}
	if s.cfg.Backend == Bind {
		return m, nil
	}
	for _, l := range m.Layers {
		if err := copyLayer(ctx, r.tree(m), s.layerDir(l)); err != nil {
			return nil, fault.New("image.provision", kindOf(err), r.Image, err)
		}
	}
	return m, nil
}

func likeFolder(dir, model string) error {
	var st unix.Stat_t
	if err := unix.Stat(model, &st); err != nil {
		return err
	}
	if err := os.Chown(dir, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Chmod(dir, st.Mode&0o7777)
}

// Files says to the runtime how a container's root file system is put together.
func (r *Rootfs) Files() *container.Files {
	f := &container.Files{Path: r.tree(r.Root), ReadOnly: r.Backend == Bind}
	if r.Backend == Overlay {
		f.Overlay = r.overlay(r.Root)
	}
	return f
}

func (r *Rootfs) overlay(m *mounted) *container.Overlay {
	o := &container.Overlay{Upper: r.scratch(m, "upperdir"), Work: r.scratch(m, "workdir")}
	for _, l := range m.Layers {
		o.Layers = append(o.Layers, r.store.layerDir(l))
	}
	return o
}

// Lookup gives what a container has, nil for none.
func (s *Store) Lookup(id string) *Rootfs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.volumes[id]
}

// Remove takes a container's file systems away. No process may be left in them. Unknown
// ones are no error; what cannot be removed is logged, counted, and goes at the next start.
func (s *Store) Remove(id string) {
	s.mu.Lock()
	r := s.volumes[id]
	delete(s.volumes, id)
	s.mu.Unlock()
	if r == nil {
		return
	}
	s.release(r.layers())
	if err := os.RemoveAll(s.containerDir(id)); err != nil {
		s.removeErrors.Add(1)
		s.log.Error("a container's file system stays until the next start", "container", id, "error", err)
	}
	crash.Here("agent.root-removed")
}

// Recover finds the file systems of the containers that live on and removes all others,
// with what is mounted in them. It is called once, before Provision.
func (s *Store) Recover(live []string) error {
	keep := map[string]bool{}
	for _, id := range live {
		keep[id] = true
	}
	if err := unmountBelow(s.provisioner()); err != nil {
		s.log.Warn("mounts of an earlier agent stay", "error", err)
	}
	entries, err := os.ReadDir(s.provisioner())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New("image.recover", fault.Unavailable, "--work_dir", err)
	}
	for _, e := range entries {
		id := e.Name()
		dir := s.containerDir(id)
		r, err := readRootfs(filepath.Join(dir, "image.json"))
		if keep[id] && err == nil && r.ID == id {
			r.store = s
			s.mu.Lock()
			s.volumes[id] = r
			s.mu.Unlock()
			s.hold(r.layers())
			continue
		}
		if keep[id] {
			s.log.Error("the record of a container's file system is unreadable; it goes with its container", "container", id, "error", err)
			continue
		}
		s.log.Info("file system of a container that is gone is removed", "container", id)
		if err := os.RemoveAll(dir); err != nil {
			s.removeErrors.Add(1)
			s.log.Error("a container's file system stays until the next start", "container", id, "error", err)
		}
	}
	s.sweepLayers()
	return nil
}

func readRootfs(file string) (*Rootfs, error) {
	r := &Rootfs{}
	if err := readJSON(file, r); err != nil {
		return nil, err
	}
	for _, l := range r.layers() {
		if filepath.Base(l) != l {
			return nil, fmt.Errorf("%q is no layer", l)
		}
	}
	return r, nil
}

// unmountBelow detaches what an agent of another kind may have mounted.
func unmountBelow(dir string) error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var at []string
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			at = append(at, f[4])
		}
	}
	for i := len(at) - 1; i >= 0; i-- {
		err = errors.Join(err, unix.Unmount(at[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}
	return err
}

// tryOverlay finds out whether the store can hold what overlayfs understands and whether
// a mount on it works. The mount is made in a namespace of its own.
func (s *Store) tryOverlay() error {
	if err := os.MkdirAll(s.provisioner(), 0o755); err != nil {
		return err
	}
	low, err := os.MkdirTemp(s.path("staging"), "try-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(low)
	work, err := os.MkdirTemp(filepath.Dir(s.provisioner()), "try-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	dirs := []string{low + "/a/d", low + "/b/d", work + "/upper", work + "/work", work + "/root"}
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for _, f := range []string{low + "/a/gone", low + "/a/d/gone", low + "/a/stays"} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			return err
		}
	}
	if err := unix.Mknod(low+"/b/gone", unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("whiteouts: %w", err)
	}
	if err := unix.Setxattr(low+"/b/d", "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("opaque folders: %w", err)
	}
	spaces.OnThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return
		}
		var at []any // by descriptors: paths may hold what means something in options
		for _, d := range []string{low + "/b", low + "/a", work + "/upper", work + "/work"} {
			f, oerr := os.Open(d)
			if err = oerr; err != nil {
				return
			}
			defer f.Close()
			at = append(at, fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		}
		options := fmt.Sprintf("lowerdir=%s:%s,upperdir=%s,workdir=%s", at...)
		if err = unix.Mount("overlay", work+"/root", "overlay", unix.MS_NODEV, options); err != nil {
			err = fmt.Errorf("mount: %w", err)
			return
		}
		defer func() { _ = unix.Unmount(work+"/root", unix.MNT_DETACH) }() // it may be seen by the host
		for _, name := range []string{"gone", "d/gone"} {
			if _, serr := os.Lstat(work + "/root/" + name); !errors.Is(serr, fs.ErrNotExist) {
				err = errors.New("removed files show through")
				return
			}
		}
		if _, err = os.Lstat(work + "/root/stays"); err == nil {
			err = os.WriteFile(work+"/root/new", nil, 0o644)
		}
	})
	return err
}
