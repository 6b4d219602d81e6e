package image

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/fault"
)

// maxAccounts bounds /etc/passwd and /etc/group of an image, in bytes.
const maxAccounts = 4 << 20

// Account finds a user by name or number in the image's own /etc/passwd and /etc/group. A
// number that is not there stands for itself, with the group of the same number. An
// unknown name is fault.Invalid.
func (r *Rootfs) Account(user string) (*container.Account, error) {
	bad := func(format string, args ...any) (*container.Account, error) {
		return nil, fault.New("image.account", fault.Invalid, "user", fmt.Errorf(format, args...))
	}
	passwd, err := r.read("/etc/passwd", maxAccounts)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return bad("the image's /etc/passwd: %w", err)
	}
	var found *container.Account
	name := user
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || f[0] != user && f[2] != user {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		found, name = &container.Account{UID: uint32(uid), GID: uint32(gid)}, f[0]
		if f[0] == user { // a name goes before a number
			break
		}
	}
	if found == nil {
		n, err := strconv.ParseUint(user, 10, 32)
		if err != nil || n == 1<<32-1 {
			return bad("no user %q on this host or in the image: create it or change the task's user", user)
		}
		return &container.Account{UID: uint32(n), GID: uint32(n)}, nil
	}
	group, err := r.read("/etc/group", maxAccounts)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return bad("the image's /etc/group: %w", err)
	}
	for line := range strings.Lines(string(group)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 {
			continue
		}
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if member == name {
				found.Groups = append(found.Groups, uint32(gid))
			}
		}
	}
	return found, nil
}

// read gives a file of a root file system that nothing runs in yet; unix.ENOENT when it is
// not there. Links are followed within one layer.
func (r *Rootfs) read(file string, limit int64) ([]byte, error) {
	if r.Backend != Overlay {
		b, err := openBeneath(r.tree(r.Root))
		if err != nil {
			return nil, err
		}
		defer b.close()
		return b.read(file, limit)
	}
	for i := len(r.Root.Layers) - 1; i >= 0; i-- {
		raw, hidden, err := readLayer(r.store.layerDir(r.Root.Layers[i]), file, limit)
		if err == nil || !errors.Is(err, unix.ENOENT) || hidden {
			return raw, err
		}
	}
	return nil, unix.ENOENT
}

// readLayer reads a file of one layer; hidden says that it is not there and that lower
// layers must not be asked.
func readLayer(dir, file string, limit int64) (raw []byte, hidden bool, err error) {
	b, err := openBeneath(dir)
	if err != nil {
		return nil, false, err
	}
	defer b.close()
	at := ""
	for part := range strings.SplitSeq(strings.Trim(path.Clean(file), "/"), "/") {
		parent, err := b.open("/"+at, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return nil, !errors.Is(err, unix.ENOENT), unix.ENOENT
		}
		st, kind, err := kindAt(parent, part)
		opaque := isOpaque(parent)
		parent.Close()
		switch {
		case err != nil:
			return nil, false, err
		case kind == 0:
			return nil, hidden || opaque, unix.ENOENT
		case kind == unix.S_IFCHR && st.Rdev == 0:
			return nil, true, unix.ENOENT
		}
		hidden = hidden || opaque
		at += "/" + part
	}
	raw, err = b.read(file, limit)
	return raw, hidden, err
}

// isOpaque tells whether a folder of a layer hides what lower layers have in it.
func isOpaque(dir *os.File) bool {
	var value [1]byte
	n, err := unix.Lgetxattr(procPath(dir, "."), "trusted.overlay.opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}
