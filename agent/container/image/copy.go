package image

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// copying lays one layer, in the form with marker files, over a tree. It works by
// descriptors and follows no links.
type copying struct {
	ctx   context.Context
	links map[inode]place // files with several names, by where the first copy is
}

type inode struct{ dev, ino uint64 }

type place struct {
	dir  *os.File // kept open until the end
	name string
}

// copyLayer applies a layer to a tree: removals first, then its files.
func copyLayer(ctx context.Context, to, from string) error {
	src, err := os.OpenFile(from, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	c := &copying{ctx: ctx, links: map[inode]place{}}
	defer func() {
		for _, p := range c.links {
			p.dir.Close()
		}
	}()
	if err := c.folder(dst, src); err != nil {
		return err
	}
	return c.like(dst, ".", src, ".")
}

func (c *copying) folder(dst, src *os.File) error {
	if err := c.ctx.Err(); err != nil {
		return context.Cause(c.ctx)
	}
	names, err := src.Readdirnames(-1)
	if err != nil {
		return err
	}
	if err := c.removals(dst, names); err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, whiteoutPrefix) {
			continue
		}
		if err := c.entry(dst, src, name); err != nil {
			return &os.PathError{Op: "copy", Path: src.Name() + "/" + name, Err: err}
		}
	}
	return nil
}

func (c *copying) removals(dst *os.File, names []string) error {
	for _, name := range names {
		if name != opaqueMarker {
			continue
		}
		have, err := dst.Readdirnames(-1)
		if err != nil {
			return err
		}
		for _, h := range have {
			if err := removeAt(dst, h); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		if gone, ok := strings.CutPrefix(name, whiteoutPrefix); ok && name != opaqueMarker {
			if err := removeAt(dst, gone); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *copying) entry(dst, src *os.File, name string) error {
	st, kind, err := kindAt(src, name)
	if err != nil {
		return err
	}
	_, have, err := kindAt(dst, name)
	if err != nil {
		return err
	}
	if have != 0 && !(have == unix.S_IFDIR && kind == unix.S_IFDIR) {
		if err := removeAt(dst, name); err != nil {
			return err
		}
		have = 0
	}
	key := inode{uint64(st.Dev), st.Ino}
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		if p, ok := c.links[key]; ok {
			return unix.Linkat(int(p.dir.Fd()), p.name, int(dst.Fd()), name, 0)
		}
	}
	switch kind {
	case unix.S_IFDIR:
		if have == 0 {
			if err := unix.Mkdirat(int(dst.Fd()), name, 0o700); err != nil {
				return err
			}
		}
		err = c.below(dst, src, name)
	case unix.S_IFREG:
		err = c.file(dst, src, name)
	case unix.S_IFLNK:
		buf := make([]byte, maxName+1)
		n, rerr := unix.Readlinkat(int(src.Fd()), name, buf)
		if rerr != nil {
			return rerr
		}
		err = unix.Symlinkat(string(buf[:n]), int(dst.Fd()), name)
	case unix.S_IFIFO:
		err = unix.Mknodat(int(dst.Fd()), name, unix.S_IFIFO|0o600, 0)
	default:
		return nil
	}
	if err == nil {
		err = c.like(dst, name, src, name)
	}
	if err == nil && kind != unix.S_IFDIR && st.Nlink > 1 && len(c.links) < 1000 {
		fd, derr := unix.FcntlInt(dst.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if derr != nil {
			return derr
		}
		c.links[key] = place{os.NewFile(uintptr(fd), dst.Name()), name}
	}
	return err
}

func (c *copying) below(dst, src *os.File, name string) error {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	from, err := unix.Openat(int(src.Fd()), name, flags, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(from), src.Name()+"/"+name)
	defer f.Close()
	to, err := unix.Openat(int(dst.Fd()), name, flags, 0)
	if err != nil {
		return err
	}
	t := os.NewFile(uintptr(to), dst.Name()+"/"+name)
	defer t.Close()
	return c.folder(t, f)
}

func (c *copying) file(dst, src *os.File, name string) error {
	from, err := unix.Openat(int(src.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(from), name)
	defer f.Close()
	to, err := unix.Openat(int(dst.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	t := os.NewFile(uintptr(to), name)
	_, err = io.Copy(t, f)
	return errors.Join(err, t.Close())
}

// like gives a copy the owner, mode, attributes and time of its original.
func (c *copying) like(dst *os.File, to string, src *os.File, from string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(src.Fd()), from, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	at := int(dst.Fd())
	if err := unix.Fchownat(at, to, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Fchmodat(at, to, st.Mode&0o7777, 0); err != nil {
			return err
		}
		if err := copyAttributes(procPath(dst, to), procPath(src, from)); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(at, to, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func copyAttributes(to, from string) error {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(from, buf)
	if err != nil || n == 0 {
		return nil // the file system has none
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if !keptAttribute(name) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(from, name, value)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(to, name, value[:n], 0); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return nil
}
