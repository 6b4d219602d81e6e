package carry

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/stoa-project/stoa/internal/fault"
)

// zip unpacks a zip archive.
func (u *unpacking) zip(f *os.File, size int64) error {
	// The library keeps the whole directory in memory; its length is looked at first.
	if err := u.zipDirectory(f, size); err != nil {
		return err
	}
	z, err := zip.NewReader(f, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return u.broken(err)
	}
	for _, e := range z.File {
		name, err := u.entry(e.Name)
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		if e.Flags&1 != 0 {
			return fault.New("unpack", fault.Unsupported, u.name, errors.New("the archive is encrypted"))
		}
		if err := u.zipEntry(e, name); err != nil {
			return u.broken(err)
		}
	}
	return nil
}

func (u *unpacking) zipEntry(e *zip.File, name string) error {
	mode := e.Mode()
	switch {
	case mode.IsDir():
		return u.folder(name, mode|0o755)
	case mode&os.ModeSymlink != 0:
		r, err := e.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		target, err := io.ReadAll(io.LimitReader(counted{u, r}, 4097))
		if err != nil {
			return err
		}
		if len(target) > 4096 || len(target) == 0 {
			return u.refuse(e.Name, "is a symbolic link without a possible target")
		}
		return u.link(name, string(target))
	case !mode.IsRegular():
		return u.refuse(e.Name, "is neither file, folder nor link")
	}
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if mode.Perm() == 0 { // made on a system without modes
		mode = 0o644
	}
	return u.file(name, mode, e.Modified, r)
}

// zipDirectory counts the entries of a zip's directory without keeping them.
func (u *unpacking) zipDirectory(f io.ReaderAt, size int64) error {
	start, err := zipStart(f, size)
	if err != nil {
		return u.broken(err)
	}
	r := bufio.NewReaderSize(io.NewSectionReader(f, start, size-start), 64<<10)
	for n := 0; ; n++ {
		var head [46]byte
		if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:4]) != "PK\x01\x02" {
			return nil // the library says what is wrong, if anything is
		}
		if n >= u.cfg.MaxEntries {
			u.entries = n
			_, err := u.entry("x")
			return err
		}
		le := binary.LittleEndian
		skip := int(le.Uint16(head[28:])) + int(le.Uint16(head[30:])) + int(le.Uint16(head[32:]))
		if _, err := r.Discard(skip); err != nil {
			return nil
		}
	}
}

// zipStart finds where the directory of a zip begins.
func zipStart(f io.ReaderAt, size int64) (int64, error) {
	tail := make([]byte, min(size, 64<<10+22))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return 0, err
	}
	i := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if i < 0 || len(tail)-i < 22 {
		return 0, zip.ErrFormat
	}
	le := binary.LittleEndian
	length, start := int64(le.Uint32(tail[i+12:])), int64(le.Uint32(tail[i+16:]))
	end := size - int64(len(tail)) + int64(i)
	if start == 0xffffffff || length == 0xffffffff { // zip64: a locator precedes
		if i < 20 || string(tail[i-20:i-16]) != "PK\x06\x07" {
			return 0, zip.ErrFormat
		}
		var rec [56]byte
		if _, err := f.ReadAt(rec[:], int64(le.Uint64(tail[i-20+8:]))); err != nil {
			return 0, zip.ErrFormat
		}
		return int64(le.Uint64(rec[48:])), nil
	}
	if start+length > end {
		return 0, zip.ErrFormat
	}
	// What precedes the archive shifts it; the directory ends where its end record begins.
	return end - length, nil
}
