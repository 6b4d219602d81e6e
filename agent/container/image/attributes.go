package image

import (
	"archive/tar"
	"errors"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// whiteout takes an entry that removes what lower layers have.
func (u *unpacker) whiteout(dir *os.File, base, name string) error {
	if base == opaqueMarker {
		if u.overlay {
			return setOpaque(dir, ".")
		}
		return u.marker(dir, base)
	}
	if strings.HasPrefix(base, whiteoutPrefix+whiteoutPrefix) {
		return nil // what AUFS notes for itself
	}
	gone := strings.TrimPrefix(base, whiteoutPrefix)
	if gone == "" || gone == "." || gone == ".." {
		return refuse(name, "removes nothing that can be named")
	}
	if !u.overlay {
		return u.marker(dir, base)
	}
	_, kind, err := kindAt(dir, gone)
	switch {
	case err != nil:
		return err
	case kind == unix.S_IFDIR: // the layer has its own: nothing below shows through
		return setOpaque(dir, gone)
	case kind != 0: // likewise, or it is said twice
		return nil
	}
	if err := unix.Mknodat(int(dir.Fd()), gone, unix.S_IFCHR, 0); err != nil {
		return &os.PathError{Op: "whiteout", Path: name, Err: err}
	}
	return nil
}

func (u *unpacker) marker(dir *os.File, base string) error {
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_CREAT|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// setOpaque hides from a folder what lower layers have in it.
func setOpaque(dir *os.File, base string) error {
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return os.NewSyscallError("fsetxattr", unix.Fsetxattr(fd, "trusted.overlay.opaque", []byte("y"), 0))
}

// attributes gives an entry its owner, mode, extended attributes and time, in this order:
// a change of owner takes set-user-id bits and capabilities off.
func (u *unpacker) attributes(dir *os.File, base string, hdr *tar.Header) error {
	at := int(dir.Fd())
	fail := func(what string, err error) error { return &os.PathError{Op: what, Path: hdr.Name, Err: err} }
	if err := unix.Fchownat(at, base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail("chown", err)
	}
	if hdr.Typeflag != tar.TypeSymlink {
		// base is no link: it was made just now, by nobody else.
		if err := unix.Fchmodat(at, base, uint32(hdr.Mode)&0o7777, 0); err != nil {
			return fail("chmod", err)
		}
	}
	full := procPath(dir, base)
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || !keptAttribute(name) {
			continue
		}
		if err := unix.Lsetxattr(full, name, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return fail("setxattr "+name, err)
		}
	}
	if hdr.Typeflag == tar.TypeDir {
		return nil // what is unpacked into it would change its time
	}
	return u.setTime(at, base, hdr.ModTime)
}

// keptAttribute lets in what programs need, and nothing that means something to overlayfs.
func keptAttribute(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func (u *unpacker) setTime(at int, base string, mod time.Time) error {
	if mod.Unix() < 0 || mod.Unix() > 1<<33 {
		mod = time.Unix(0, 0)
	}
	ts := unix.NsecToTimespec(mod.UnixNano())
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(at, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

func (u *unpacker) setFolderTime(t folderTime) error {
	dir, err := u.root.open(path.Dir(t.path), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil // replaced by a later entry
	}
	defer dir.Close()
	if _, kind, err := kindAt(dir, path.Base(t.path)); err != nil || kind != unix.S_IFDIR {
		return err
	}
	return u.setTime(int(dir.Fd()), path.Base(t.path), t.mod)
}
