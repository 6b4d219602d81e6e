package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// Limits bound what an image may be. Zero fields take the value in brackets.
type Limits struct {
	Layers    int   // of one image [127]
	Bytes     int64 // of one layer, unpacked [32 GiB]
	Entries   int   // of one layer [1,000,000]
	Ratio     int64 // unpacked bytes per packed byte, counted after RatioFrom [200]
	RatioFrom int64 // [64 MiB]
}

func (l *Limits) fill() {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	if l.Layers == 0 {
		l.Layers = 127
	}
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	def(&l.Bytes, 32<<30)
	def(&l.Ratio, 200)
	def(&l.RatioFrom, 64<<20)
}

const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	maxDepth       = 256     // folders in each other
	maxName        = 4096    // bytes of a path
	maxTimes       = 100_000 // folders whose times are set; those of more are not worth the memory
)

// layerFacts is what unpacking learnt about a layer.
type layerFacts struct {
	DiffID  string // digest of the unpacked tar stream, "sha256:…"
	Bytes   int64  // of all files
	Entries int
}

// unpacker turns one layer's tar stream into a folder. With overlay form, removals become
// what overlayfs understands: a device 0/0 hides a name, an attribute makes a folder
// opaque. Otherwise their marker files stay as they are in the stream.
type unpacker struct {
	ctx     context.Context
	root    *beneath
	limits  Limits
	overlay bool
	packed  *counter // bytes taken from the packed stream
	plain   *counter // bytes of the tar stream

	bytes   int64
	entries int
	parent  *os.File // of the entry before; most have the same
	at      string   // its path
	times   []folderTime
}

type folderTime struct {
	path string
	mod  time.Time
}

// counter counts what is read through it, digests it and tells others.
type counter struct {
	r    io.Reader
	n    int64
	sum  hash.Hash
	tell func(n int)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.sum.Write(p[:n])
	if c.tell != nil {
		c.tell(n)
	}
	return n, err
}

func (c *counter) digest() string { return "sha256:" + hex.EncodeToString(c.sum.Sum(nil)) }

func refuse(entry, format string, args ...any) error {
	return fault.New("image.unpack", fault.Invalid, "layer", fmt.Errorf("entry %q "+format, append([]any{entry}, args...)...))
}

// unpackLayer unpacks a packed layer into an empty folder. It reads the stream to its end,
// so that the caller can compare its digest, which packed sums up.
func unpackLayer(ctx context.Context, dir string, packed *counter, limits Limits, overlay bool) (layerFacts, error) {
	root, err := openBeneath(dir)
	if err != nil {
		return layerFacts{}, err
	}
	defer root.close()
	u := &unpacker{ctx: ctx, root: root, limits: limits, overlay: overlay, packed: packed}
	defer func() {
		if u.parent != nil {
			u.parent.Close()
		}
	}()
	in := bufio.NewReaderSize(packed, 64<<10)
	stream, done, err := decompress(in)
	if err != nil {
		return layerFacts{}, err
	}
	defer done()
	u.plain = &counter{r: stream, sum: sha256.New()}
	guarded := &guard{u: u, r: u.plain}
	tr := tar.NewReader(guarded)
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = u.entry(hdr, tr)
		}
		if err != nil {
			return layerFacts{}, u.explain(err)
		}
	}
	for _, r := range []io.Reader{guarded, in} { // padding, and what follows the packed stream
		if _, err := io.Copy(io.Discard, r); err != nil {
			return layerFacts{}, u.explain(err)
		}
	}
	for i := len(u.times) - 1; i >= 0; i-- {
		if err := u.setFolderTime(u.times[i]); err != nil {
			return layerFacts{}, err
		}
	}
	return layerFacts{DiffID: u.plain.digest(), Bytes: u.bytes, Entries: u.entries}, nil
}

// guard holds the tar stream to the limits, so that what a header promises does not count.
type guard struct {
	u *unpacker
	r io.Reader
}

func (g *guard) Read(p []byte) (int, error) {
	if err := g.u.ctx.Err(); err != nil {
		return 0, context.Cause(g.u.ctx)
	}
	n, err := g.r.Read(p)
	if bad := g.u.allowed(g.u.plain.n); bad != nil {
		return 0, bad
	}
	return n, err
}

// allowed tells whether a layer may hold so many bytes.
func (u *unpacker) allowed(n int64) error {
	switch {
	case n > u.limits.Bytes:
		return fault.New("image.unpack", fault.TooLarge, "layer", fmt.Errorf("it unpacks to more than %d bytes", u.limits.Bytes))
	case n > u.limits.RatioFrom && n/max(1, u.packed.n) > u.limits.Ratio:
		return fault.New("image.unpack", fault.TooLarge, "layer",
			fmt.Errorf("%d bytes unpack to %d or more, which is over %d times as much", u.packed.n, n, u.limits.Ratio))
	}
	return nil
}

// explain gives errors of the stream itself a kind.
func (u *unpacker) explain(err error) error {
	if u.ctx.Err() != nil {
		return context.Cause(u.ctx)
	}
	if fault.KindOf(err) != fault.Other || errors.Is(err, unix.ENOSPC) {
		return err
	}
	var perr *os.PathError
	if errors.As(err, &perr) {
		return err
	}
	return fault.New("image.unpack", fault.Invalid, "layer", err)
}

// decompress recognises gzip, zstd and plain tar by their first bytes.
func decompress(in *bufio.Reader) (io.Reader, func(), error) {
	magic, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, fault.New("image.unpack", fault.Invalid, "layer", err)
		}
		return z, func() { z.Close() }, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, nil, fault.New("image.unpack", fault.Invalid, "layer", err)
		}
		return z, z.Close, nil
	}
	return in, func() {}, nil
}

// entry unpacks one entry of the tar stream.
func (u *unpacker) entry(hdr *tar.Header, in io.Reader) error {
	if u.entries++; u.entries > u.limits.Entries {
		return fault.New("image.unpack", fault.TooLarge, "layer", fmt.Errorf("it has more than %d entries", u.limits.Entries))
	}
	name := hdr.Name
	if len(name) > maxName || strings.ContainsRune(name, 0) {
		return refuse(name[:min(len(name), 64)], "has a name that is too long or holds a NUL")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return refuse(name, "leads out of the layer")
		}
	}
	name = path.Clean("/" + name)
	if strings.Count(name, "/") > maxDepth {
		return refuse(hdr.Name, "lies more than %d folders deep", maxDepth)
	}
	base := path.Base(name)
	if name == "/" {
		if hdr.Typeflag != tar.TypeDir {
			return refuse(hdr.Name, "takes the place of the root folder")
		}
		return u.attributes(u.root.dir, ".", hdr)
	}
	if hdr.Uid < 0 || hdr.Gid < 0 || int64(hdr.Uid) >= 1<<32-1 || int64(hdr.Gid) >= 1<<32-1 {
		return refuse(hdr.Name, "has the owner %d:%d", hdr.Uid, hdr.Gid)
	}
	dir, err := u.folderOf(path.Dir(name))
	if err != nil {
		return refuse(hdr.Name, "has no folder to lie in: %w", err)
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(dir, base, hdr.Name)
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		err = u.folder(dir, base)
	case tar.TypeReg:
		return u.file(dir, base, hdr, in)
	case tar.TypeSymlink:
		if len(hdr.Linkname) > maxName || hdr.Linkname == "" {
			return refuse(hdr.Name, "is a link to nothing or to too long a name")
		}
		if err = u.clear(dir, base); err == nil {
			err = unix.Symlinkat(hdr.Linkname, int(dir.Fd()), base)
		}
	case tar.TypeLink:
		return u.hardLink(dir, base, hdr)
	case tar.TypeFifo:
		if err = u.clear(dir, base); err == nil {
			err = unix.Mknodat(int(dir.Fd()), base, unix.S_IFIFO|0o600, 0)
		}
	case tar.TypeChar, tar.TypeBlock, tar.TypeXGlobalHeader:
		return nil // the container gets devices of its own; a device 0/0 would be a removal
	default:
		return refuse(hdr.Name, "is of the unknown type %q", hdr.Typeflag)
	}
	if err != nil {
		return &os.PathError{Op: "unpack", Path: hdr.Name, Err: err}
	}
	if hdr.Typeflag == tar.TypeDir && len(u.times) < maxTimes {
		u.times = append(u.times, folderTime{name, hdr.ModTime})
	}
	return u.attributes(dir, base, hdr)
}

// folderOf opens the folder of an entry, and keeps it open for the next one.
func (u *unpacker) folderOf(name string) (*os.File, error) {
	if u.parent != nil && u.at == name {
		return u.parent, nil
	}
	f, err := u.root.folder(name)
	if err != nil {
		return nil, err
	}
	if u.parent != nil {
		u.parent.Close()
	}
	u.parent, u.at = f, name
	return f, nil
}

// clear makes room for an entry that is no folder.
func (u *unpacker) clear(dir *os.File, base string) error {
	_, kind, err := kindAt(dir, base)
	if err != nil || kind == 0 {
		return err
	}
	return removeAt(dir, base)
}

func (u *unpacker) folder(dir *os.File, base string) error {
	_, kind, err := kindAt(dir, base)
	if err != nil || kind == unix.S_IFDIR {
		return err
	}
	hidden := u.overlay && kind == unix.S_IFCHR // it was removed before in this layer
	if kind != 0 {
		if err := removeAt(dir, base); err != nil {
			return err
		}
	}
	if err := unix.Mkdirat(int(dir.Fd()), base, 0o755); err != nil || !hidden {
		return err
	}
	return setOpaque(dir, base)
}

func (u *unpacker) file(dir *os.File, base string, hdr *tar.Header, in io.Reader) error {
	if err := u.clear(dir, base); err != nil {
		return err
	}
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: hdr.Name, Err: err}
	}
	f := os.NewFile(uintptr(fd), hdr.Name)
	n, err := io.Copy(f, &fileGuard{u: u, r: in})
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	u.bytes += n
	if err != nil {
		return err
	}
	return u.attributes(dir, base, hdr)
}

// fileGuard counts what files hold: a sparse one is longer than its part of the stream.
type fileGuard struct {
	u *unpacker
	r io.Reader
	n int64
}

func (g *fileGuard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	g.n += int64(n)
	if bad := g.u.allowed(g.u.bytes + g.n); bad != nil {
		return 0, bad
	}
	return n, err
}

// hardLink links to a file of the same layer.
func (u *unpacker) hardLink(dir *os.File, base string, hdr *tar.Header) error {
	for part := range strings.SplitSeq(hdr.Linkname, "/") {
		if part == ".." {
			return refuse(hdr.Name, "is a link to %q, which leads out of the layer", hdr.Linkname)
		}
	}
	target := path.Clean("/" + hdr.Linkname)
	from, err := u.root.open(path.Dir(target), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return refuse(hdr.Name, "is a link to %q, which is not in the layer", hdr.Linkname)
	}
	defer from.Close()
	_, kind, err := kindAt(from, path.Base(target))
	switch {
	case err != nil || kind == 0 || target == "/":
		return refuse(hdr.Name, "is a link to %q, which is not in the layer", hdr.Linkname)
	case kind == unix.S_IFDIR || kind == unix.S_IFCHR:
		return refuse(hdr.Name, "is a link to %q, which is no file", hdr.Linkname)
	case target == path.Clean("/"+hdr.Name):
		return refuse(hdr.Name, "is a link to itself")
	}
	if err := u.clear(dir, base); err != nil {
		return err
	}
	if err := unix.Linkat(int(from.Fd()), path.Base(target), int(dir.Fd()), base, 0); err != nil {
		return refuse(hdr.Name, "cannot be linked: %w", err)
	}
	return nil
}
