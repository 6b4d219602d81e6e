package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/stoa-project/stoa/internal/fault"
)

// maxEntries bounds one listing.
const maxEntries = 100_000

func (f *Files) attach(virtual, real string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roots[path.Clean(virtual)] = real
}

func (f *Files) detach(virtual string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.roots, path.Clean(virtual))
}

func (f *Files) all() map[string]string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return maps.Clone(f.roots)
}

// resolve finds the longest attached prefix of a virtual path. rel is "." for the root
// itself. A ".." must not lead above the root it starts in.
func (f *Files) resolve(virtual string) (real, rel string, err error) {
	trimmed := strings.TrimRight(virtual, "/")
	f.mu.RLock()
	defer f.mu.RUnlock()
	for prefix := trimmed; prefix != ""; {
		if real, ok := f.roots[prefix]; ok {
			rel := strings.TrimLeft(trimmed[len(prefix):], "/")
			if rel == "" {
				rel = "."
			}
			if !filepath.IsLocal(rel) {
				return "", "", inaccessible(virtual)
			}
			return real, rel, nil
		}
		i := strings.LastIndexByte(prefix, '/')
		if i < 0 {
			break
		}
		prefix = prefix[:i]
	}
	return "", "", fault.New("", fault.NotFound, "", nil)
}

func inaccessible(virtual string) error {
	return fault.New("", fault.Invalid, "", fmt.Errorf("'%s' is inaccessible.", virtual))
}

// openAt opens a virtual path beneath its root, never blocking on a pipe. Only regular
// files and folders are given.
func (f *Files) openAt(virtual string) (*os.File, fs.FileInfo, error) {
	if strings.ContainsRune(virtual, 0) {
		return nil, nil, inaccessible(virtual)
	}
	real, rel, err := f.resolve(virtual)
	if err != nil {
		return nil, nil, err
	}
	file, err := openBeneath(real, rel)
	if err != nil {
		return nil, nil, toFault(virtual, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = fault.New("", fault.Invalid, "", fmt.Errorf("'%s' is neither a file nor a folder.", virtual))
	}
	if err != nil {
		file.Close()
		return nil, nil, toFault(virtual, err)
	}
	return file, info, nil
}

func openBeneath(real, rel string) (*os.File, error) {
	info, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() { // an attached log file
		if rel != "." {
			return nil, fs.ErrNotExist
		}
		return os.OpenFile(real, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}
	root, err := os.OpenRoot(real)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// toFault classifies an error of the file system by what a browser is to be told. What
// os.Root refuses, because it leads outside, has an error of its own, not exported.
func toFault(virtual string, err error) error {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fault.New("", fault.NotFound, "", nil)
	case errors.Is(err, fs.ErrPermission):
		return fault.New("", fault.Forbidden, "", nil)
	}
	return inaccessible(virtual)
}

func (f *Files) browse(virtual string) ([]Entry, error) {
	dir, info, err := f.openAt(virtual)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	out := []Entry{}
	if !info.IsDir() {
		return out, nil
	}
	base := strings.TrimRight(virtual, "/")
	// Items are looked at beneath the open folder: by its path another one may be found by now.
	here, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return nil, err
	}
	defer here.Close()
	for len(out) < maxEntries {
		items, err := dir.ReadDir(1024)
		for _, i := range items {
			info, err := here.Lstat(i.Name())
			if err != nil {
				continue
			}
			out = append(out, entryOf(base+"/"+i.Name(), info))
		}
		if err != nil {
			if err == io.EOF {
				break
			}
			return nil, toFault(virtual, err)
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func entryOf(virtual string, info fs.FileInfo) Entry {
	e := Entry{
		Path: virtual, Size: info.Size(), Mode: modeText(info.Mode()),
		MTime: float64(info.ModTime().Unix()), NLink: 1, UID: "0", GID: "0",
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		e.NLink, e.UID, e.GID = uint64(s.Nlink), names.user(s.Uid), names.group(s.Gid)
	}
	return e
}

// modeText prints a mode as ls does, not as Go does.
func modeText(m fs.FileMode) string {
	kind := byte('-')
	switch {
	case m.IsDir():
		kind = 'd'
	case m&fs.ModeSymlink != 0:
		kind = 'l'
	case m&fs.ModeNamedPipe != 0:
		kind = 'p'
	case m&fs.ModeSocket != 0:
		kind = 's'
	case m&fs.ModeCharDevice != 0:
		kind = 'c'
	case m&fs.ModeDevice != 0:
		kind = 'b'
	}
	text := []byte(string(kind) + m.Perm().String()[1:])
	for _, s := range []struct {
		bit      fs.FileMode
		at       int
		on, both byte
	}{{fs.ModeSetuid, 3, 'S', 's'}, {fs.ModeSetgid, 6, 'S', 's'}, {fs.ModeSticky, 9, 'T', 't'}} {
		if m&s.bit != 0 {
			if text[s.at] == 'x' {
				text[s.at] = s.both
			} else {
				text[s.at] = s.on
			}
		}
	}
	return string(text)
}

func (f *Files) read(virtual string, offset, length int64) ([]byte, int64, error) {
	if offset < -1 {
		return nil, 0, fault.New("", fault.Invalid, "", fmt.Errorf("Negative offset provided: %d.", offset))
	}
	if length < -1 {
		return nil, 0, fault.New("", fault.Invalid, "", fmt.Errorf("Negative length provided: %d.", length))
	}
	file, info, err := f.openAt(virtual)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	if info.IsDir() {
		return nil, 0, fault.New("", fault.Invalid, "", errors.New("Cannot read a directory."))
	}
	if offset == -1 {
		return []byte{}, info.Size(), nil
	}
	if length == -1 || length > MaxRead {
		length = MaxRead
	}
	length = max(0, min(length, info.Size()-offset))
	data := make([]byte, length)
	n, err := file.ReadAt(data, offset)
	if err != nil && err != io.EOF {
		return nil, 0, toFault(virtual, err)
	}
	return data[:n], offset, nil
}

func (f *Files) open(virtual string) (*os.File, fs.FileInfo, error) {
	file, info, err := f.openAt(virtual)
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		file.Close()
		return nil, nil, fault.New("", fault.Invalid, "", errors.New("Cannot download a directory."))
	}
	return file, info, nil
}

// nameCache remembers user and group names; a listing asks for the same ones again and again.
type nameCache struct {
	mu     sync.Mutex // guards both
	users  map[uint32]string
	groups map[uint32]string
}

// names is shared by all: the host has one set of users.
var names = nameCache{users: map[uint32]string{}, groups: map[uint32]string{}}

func (c *nameCache) user(id uint32) string {
	return c.find(c.users, id, func(s string) (string, error) {
		u, err := user.LookupId(s)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

func (c *nameCache) group(id uint32) string {
	return c.find(c.groups, id, func(s string) (string, error) {
		g, err := user.LookupGroupId(s)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

func (c *nameCache) find(in map[uint32]string, id uint32, look func(string) (string, error)) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name, ok := in[id]; ok {
		return name
	}
	text := strconv.FormatUint(uint64(id), 10)
	name, err := look(text)
	if err != nil {
		name = text
	}
	if len(in) > 10_000 {
		clear(in)
	}
	in[id] = name
	return name
}
