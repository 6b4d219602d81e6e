package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/stoa-project/stoa/internal/fault"
)

// Owner is who a sandbox belongs to.
type Owner struct{ UID, GID int }

// Self is the agent's own user.
func Self() Owner { return Owner{UID: os.Getuid(), GID: os.Getgid()} }

// OwnerOf looks a user up by name or number; "" is the agent's own. An unknown user is
// fault.Invalid with Subject "user".
func OwnerOf(name string) (Owner, error) {
	if name == "" {
		return Self(), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if _, numeric := strconv.Atoi(name); numeric == nil {
			u, err = user.LookupId(name)
		}
	}
	if err != nil {
		return Owner{}, fault.New("sandbox.owner", fault.Invalid, "user",
			fmt.Errorf("no user %q on this host: create it or change the task's user", name))
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return Owner{}, fault.New("sandbox.owner", fault.Invalid, "user", err)
	}
	return Owner{UID: uid, GID: gid}, nil
}

// making bounds the threads that wait for the disk with new sandboxes; Go keeps each one.
var making = make(chan struct{}, 8)

// Create makes a run directory (0750, owned by owner; its parents are the agent's, 0755)
// with empty files stdout and stderr (0644), and points the "latest" link beside it to
// it. An existing sandbox is left as it is but for its owner.
func Create(run string, owner Owner) error {
	const op = "sandbox.Create"
	making <- struct{}{}
	defer func() { <-making }()
	for try := 0; ; try++ { // the garbage collector may take an empty parent away in between
		if err := os.MkdirAll(filepath.Dir(run), 0o755); err != nil {
			return fault.New(op, fault.OfSystem(err), run, err)
		}
		err := fill(run, owner)
		if err == nil {
			break
		}
		if fault.KindOf(err) != fault.NotFound || try == 2 {
			return err
		}
	}
	return point(filepath.Join(filepath.Dir(run), "latest"), filepath.Base(run))
}

// fill makes a sandbox and its two files.
func fill(run string, owner Owner) error {
	const op = "sandbox.Create"
	if err := os.Mkdir(run, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return fault.New(op, fault.OfSystem(err), run, err)
	}
	root, err := os.OpenRoot(run)
	if err != nil {
		return fault.New(op, fault.OfSystem(err), run, err)
	}
	defer root.Close()
	for _, name := range []string{"stdout", "stderr"} {
		f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
		if err != nil {
			return fault.New(op, fault.OfSystem(err), filepath.Join(run, name), err)
		}
		err = f.Chmod(0o644)
		if err == nil && owner != Self() {
			err = f.Chown(owner.UID, owner.GID)
		}
		f.Close()
		if err != nil {
			return fault.New(op, fault.OfSystem(err), filepath.Join(run, name), err)
		}
	}
	if err := os.Chmod(run, 0o750); err != nil {
		return fault.New(op, fault.OfSystem(err), run, err)
	}
	if owner != Self() {
		if err := os.Lchown(run, owner.UID, owner.GID); err != nil {
			return fault.New(op, fault.OfSystem(err), run, err)
		}
	}
	return nil
}

// point makes link a symbolic link to target in one step, whatever it was before.
func point(link, target string) error {
	temp := link + "." + target
	if err := os.Symlink(target, temp); err != nil && !errors.Is(err, fs.ErrExist) {
		return fault.New("sandbox.link", fault.OfSystem(err), link, err)
	}
	if err := os.Rename(temp, link); err != nil {
		return fault.New("sandbox.link", fault.OfSystem(err), link, err)
	}
	return nil
}
