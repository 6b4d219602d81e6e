package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// stage is the calling thread's own mount namespace while a task's file systems are put
// together in it. Mounts of the host still appear in it; its own do not leave it, and all
// of them go with the last process in it.
type stage struct {
	space *os.File // the namespace
	root  *os.File // where targets count from: the task's root, or the thread's
	early map[int]int
}

// newStage moves the calling thread into a mount namespace of its own. Sources of mounts
// that are to be shared with the host are bound before the ties are cut.
func newStage(all []Mount) (_ *stage, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("no mount namespace: %w", err)
	}
	s := &stage{early: map[int]int{}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.space, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
		return nil, err
	}
	if s.root, err = openPath("/"); err != nil {
		return nil, err
	}
	for i, m := range all {
		if m.Shared {
			if s.early[i], err = m.clone(); err != nil {
				return nil, err
			}
		}
	}
	err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	if errors.Is(err, unix.EINVAL) {
		err = s.cutFromAbove()
	}
	if err != nil {
		return nil, fmt.Errorf("mounts stay shared: %w", err)
	}
	return s, nil
}

// cutFromAbove is for a thread whose root folder is no mount point, as after chroot: what
// holds it can only be reached from the namespace's own root.
func (s *stage) cutFromAbove() error {
	if err := s.toTop(); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	if err := unix.Fchdir(int(s.root.Fd())); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	return os.NewSyscallError("chroot", unix.Chroot("."))
}

// toTop makes the namespace's own root the thread's.
func (s *stage) toTop() error {
	return os.NewSyscallError("setns", unix.Setns(int(s.space.Fd()), unix.CLONE_NEWNS))
}

func (s *stage) close() {
	for _, f := range []*os.File{s.space, s.root} {
		if f != nil {
			f.Close()
		}
	}
	for _, fd := range s.early {
		unix.Close(fd)
	}
}

// mountAll binds what a task wants to see, in order.
func (s *stage) mountAll(all []Mount, make bool) error {
	for i, m := range all {
		if err := s.mount(i, m, make); err != nil {
			name := m.Source
			if m.Overlay != nil {
				name = "an image"
			}
			return fmt.Errorf("%s on %s: %w", name, m.Target, err)
		}
	}
	return nil
}

// mount attaches one mount; make makes its target when that is missing.
func (s *stage) mount(i int, m Mount, make bool) error {
	if m.Overlay != nil {
		at, err := s.target(m.Target, true, make)
		if err != nil {
			return err
		}
		defer at.Close()
		return m.Overlay.mount(fdPath(at), unix.MS_NODEV, m.ReadOnly)
	}
	from, early := s.early[i]
	if early {
		delete(s.early, i)
	} else {
		var err error
		if from, err = m.clone(); err != nil {
			return err
		}
	}
	defer unix.Close(from)
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	at, err := s.target(m.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR, make)
	if err != nil {
		return err
	}
	defer at.Close()
	attr := unix.MountAttr{}
	if m.ReadOnly {
		attr.Attr_set = unix.MOUNT_ATTR_RDONLY
	}
	if m.Within != "" {
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	}
	if !m.Shared {
		attr.Propagation = unix.MS_SLAVE
	}
	attrErr := unix.MountSetattr(from, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
	if attrErr != nil && !errors.Is(attrErr, unix.ENOSYS) {
		return fmt.Errorf("read-only: %w", attrErr)
	}
	if err := unix.MoveMount(from, "", int(at.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return err
	}
	if attrErr != nil && m.ReadOnly { // Linux before 5.12: of the top only
		path := fmt.Sprintf("/proc/self/fd/%d", from)
		if err := unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("read-only: %w", err)
		}
	}
	return nil
}

// clone gives a detached copy of what is mounted at the source and below.
func (m Mount) clone() (int, error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE
	if m.Within == "" {
		return unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
	}
	base, err := openPath(m.Within)
	if err != nil {
		return -1, err
	}
	defer base.Close()
	rel, err := filepath.Rel(m.Within, m.Source)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Openat2(int(base.Fd()), rel, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, fmt.Errorf("%s: %w", m.Source, err)
	}
	defer unix.Close(fd)
	return unix.OpenTree(fd, "", flags|unix.AT_EMPTY_PATH)
}

// target opens where something is to be mounted. Links in the way count from the task's
// root and never lead out of it. make makes what is missing, as root's, 0755 and 0644.
func (s *stage) target(path string, folder, make bool) (*os.File, error) {
	open := func(path string, flags uint64) (*os.File, error) {
		fd, err := unix.Openat2(int(s.root.Fd()), path, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), path), nil
	}
	path = filepath.Clean(path)
	f, err := open(path, 0)
	if err == nil || !make || !errors.Is(err, unix.ENOENT) {
		return f, err
	}
	parent, base := filepath.Dir(path), filepath.Base(path)
	if base == "/" {
		return nil, err
	}
	dir, err := s.target(parent, true, true)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	at := int(dir.Fd())
	if folder {
		if err := unix.Mkdirat(at, base, 0o755); err != nil {
			return nil, fmt.Errorf("%s cannot be made: %w", path, err)
		}
		return open(path, unix.O_DIRECTORY)
	}
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_CLOEXEC
	fd, err := unix.Openat(at, base, flags, 0o644)
	if errors.Is(err, unix.EEXIST) { // a link that leads nowhere
		if err = unix.Unlinkat(at, base, 0); err == nil {
			fd, err = unix.Openat(at, base, flags, 0o644)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be made: %w", path, err)
	}
	unix.Close(fd)
	return open(path, 0)
}

func openPath(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
