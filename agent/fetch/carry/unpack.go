package carry

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// suffixes of archives, longer ones first, and how each is unpacked.
var suffixes = []struct{ suffix, kind string }{
	{".tar.gz", "tar gzip"}, {".tgz", "tar gzip"},
	{".tar.bz2", "tar bzip2"}, {".tbz2", "tar bzip2"},
	{".tar.xz", "tar xz"}, {".txz", "tar xz"},
	{".tar", "tar"}, {".zip", "zip"}, {".gz", "gzip"},
}

func archiveKind(name string) string {
	for _, s := range suffixes {
		if strings.HasSuffix(name, s.suffix) && len(path.Base(name)) > len(s.suffix) {
			return s.kind
		}
	}
	return ""
}

// unpacking is one archive on its way into a sandbox.
type unpacking struct {
	*run
	ctx     context.Context
	name    string
	packed  int64 // bytes of the archive
	bytes   int64 // unpacked so far
	logical int64 // sizes of the files so far, as a tar's headers say
	entries int
}

// unpack unpacks an archive into the sandbox's top folder.
func (r *run) unpack(ctx context.Context, f *os.File, name, kind string) error {
	info, err := f.Stat()
	if err != nil {
		return entryFault(name, err)
	}
	u := &unpacking{run: r, ctx: ctx, name: name, packed: max(1, info.Size())}
	switch kind {
	case "zip":
		return u.zip(f, info.Size())
	case "gzip":
		in, err := gzip.NewReader(f)
		if err != nil {
			return u.broken(err)
		}
		out := strings.TrimSuffix(path.Base(name), ".gz")
		return u.file(out, 0o644, time.Time{}, in)
	case "tar":
		return u.tar(f)
	case "tar gzip":
		in, err := gzip.NewReader(f)
		if err != nil {
			return u.broken(err)
		}
		return u.tar(in)
	case "tar bzip2":
		return u.tar(bzip2.NewReader(f))
	}
	return u.xz(f)
}

func (u *unpacking) broken(err error) error {
	if u.ctx.Err() != nil {
		return context.Cause(u.ctx)
	}
	if fault.KindOf(err) != fault.Other {
		return err
	}
	return fault.New("unpack", fault.Invalid, u.name, err)
}

func (u *unpacking) refuse(entry, format string, args ...any) error {
	return fault.New("unpack", fault.Invalid, u.name, fmt.Errorf("entry %q "+format, append([]any{entry}, args...)...))
}

// count takes n more unpacked bytes.
func (u *unpacking) count(n int64) error {
	u.bytes += n
	if err := u.ctx.Err(); err != nil {
		return context.Cause(u.ctx)
	}
	return u.allowed(u.bytes)
}

// allowed tells whether an archive may unpack to so many bytes.
func (u *unpacking) allowed(n int64) error {
	switch {
	case n > u.cfg.MaxBytes:
		return fault.New("unpack", fault.TooLarge, u.name, fmt.Errorf("unpacks to more than %d bytes", u.cfg.MaxBytes))
	case n > u.cfg.RatioFrom && n/u.packed > u.cfg.MaxRatio:
		return fault.New("unpack", fault.TooLarge, u.name, fmt.Errorf("unpacks to more than %d times its size", u.cfg.MaxRatio))
	}
	return nil
}

// counted is a stream of unpacked bytes.
type counted struct {
	u *unpacking
	r io.Reader
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if e := c.u.count(int64(n)); e != nil {
		return 0, e
	}
	if err != nil && err != io.EOF {
		err = c.u.broken(err)
	}
	return n, err
}

// entry checks a name and makes the folders above it; "" means nothing to do.
func (u *unpacking) entry(name string) (string, error) {
	u.entries++
	if u.entries > u.cfg.MaxEntries {
		return "", fault.New("unpack", fault.TooLarge, u.name, fmt.Errorf("more than %d entries", u.cfg.MaxEntries))
	}
	if len(name) > 4096 || strings.ContainsRune(name, 0) {
		return "", u.refuse(name[:min(len(name), 80)], "has an impossible name")
	}
	clean := path.Clean(name)
	if clean == "." {
		return "", nil
	}
	if !filepath.IsLocal(clean) {
		return "", u.refuse(name, "leads out of the sandbox")
	}
	if dir := path.Dir(clean); dir != "." {
		if err := u.mkdirs(dir); err != nil {
			return "", err
		}
	}
	return clean, nil
}

// file writes one regular file; set-user and set-group bits are dropped.
func (u *unpacking) file(name string, mode os.FileMode, mtime time.Time, body io.Reader) error {
	return u.write(name, mode.Perm()|0o600, mtime, counted{u, body})
}

func (u *unpacking) folder(name string, mode os.FileMode) error {
	if err := u.mkdirs(name); err != nil {
		return err
	}
	if err := u.root.Chmod(name, mode.Perm()|0o700); err != nil {
		return entryFault(name, err)
	}
	return nil
}

// link makes a symbolic link that stays in the sandbox.
func (u *unpacking) link(name, target string) error {
	if filepath.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) && path.Join(path.Dir(name), target) != "." {
		return u.refuse(name, "is a symbolic link out of the sandbox, to %q", target)
	}
	if err := u.clear(name); err != nil {
		return err
	}
	if err := u.root.Symlink(target, name); err != nil {
		return entryFault(name, err)
	}
	return nil
}

func (u *unpacking) tar(in io.Reader) error {
	// Headers are counted too: a million empty entries are bytes as well.
	r := tar.NewReader(counted{u, in})
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return u.broken(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := u.entry(h.Name)
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		mode := os.FileMode(h.Mode & 0o777)
		switch h.Typeflag {
		case tar.TypeReg:
			// A sparse file is larger than what the archive has of it.
			if u.logical += h.Size; u.logical > u.bytes {
				err = u.allowed(u.logical)
			}
			if err == nil {
				err = u.write(name, mode|0o600, h.ModTime, r)
			}
		case tar.TypeDir:
			err = u.folder(name, mode)
		case tar.TypeSymlink:
			err = u.link(name, h.Linkname)
		case tar.TypeLink:
			err = u.hardLink(name, h.Linkname)
		default:
			err = u.refuse(h.Name, "is neither file, folder nor link")
		}
		if err != nil {
			return u.broken(err)
		}
	}
}

func (u *unpacking) hardLink(name, target string) error {
	target = path.Clean(target)
	if !filepath.IsLocal(target) {
		return u.refuse(name, "is a hard link out of the sandbox, to %q", target)
	}
	if target == name {
		return nil
	}
	if err := u.clear(name); err != nil {
		return err
	}
	if err := u.root.Link(target, name); err != nil {
		return entryFault(name, err)
	}
	return nil
}

// xz unpacks through the xz program, which Debian's xz-utils has.
func (u *unpacking) xz(f *os.File) error {
	program, err := exec.LookPath("xz")
	if err != nil {
		return fault.New("unpack", fault.Unsupported, u.name, errors.New("xz archives need the xz program: install xz-utils on this host"))
	}
	ctx, cancel := context.WithCancel(u.ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--decompress", "--stdout", "--memlimit=256MiB")
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.Stdin = f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// xz is to end with this process. The kernel ties that to the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var said bytes.Buffer
	cmd.Stderr = &limitedBuffer{buf: &said, left: 4096}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fault.New("unpack", fault.Unavailable, u.name, err)
	}
	err = u.tar(out)
	if err == nil { // what follows the end of the tar is read off
		_, err = io.Copy(io.Discard, counted{u, out})
	}
	if err != nil {
		cancel()
		_ = cmd.Wait()
		if said.Len() > 0 && fault.KindOf(err) == fault.Invalid {
			err = fault.New("unpack", fault.Invalid, u.name, fmt.Errorf("%w (%s)", err, strings.TrimSpace(said.String())))
		}
		return err
	}
	if err := cmd.Wait(); err != nil {
		return u.broken(fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String())))
	}
	return nil
}

// limitedBuffer keeps the first bytes and takes the rest.
type limitedBuffer struct {
	buf  *bytes.Buffer
	left int
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.buf.Write(p[:n])
	l.left -= n
	return len(p), nil
}
