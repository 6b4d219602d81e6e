package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

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

// maxTries bounds how often the parents of a sandbox are made: it has six that the garbage
// collector may remove, and what it removes it does not make again.
const maxTries = 100

// Create makes a run directory (0750, owned by owner; its parents are the agent's, 0755)
// with empty files stdout and stderr (0644), and points the "latest" link beside it to
// it. An existing sandbox is left as it is but for its owner.
func Create(run string, owner Owner) error {
	const op = "sandbox.Create"
	making <- struct{}{}
	defer func() { <-making }()
	runs := filepath.Dir(run)
	for try := 0; ; try++ {
		err := os.MkdirAll(runs, 0o755)
		if err != nil {
			err = fault.New(op, fault.OfSystem(err), run, err)
		} else {
			err = fill(run, owner)
		}
		if err == nil {
			break
		}
		// The garbage collector may take each empty parent away in between.
		if fault.KindOf(err) != fault.NotFound || try == maxTries {
			return err
		}
	}
	return point(filepath.Join(runs, "latest"), filepath.Base(run))
}

// fill makes a sandbox and its two files.
func fill(run string, owner Owner) error {
	const op = "sandbox.Create"
	if err := os.Mkdir(run, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return fault.New(op, fault.OfSystem(err), run, err)
	}
	// Every launch makes one, so Go's files and os.Root, with twice the system calls, are not used.
	dir, err := unix.Open(run, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fault.New(op, fault.OfSystem(err), run, err)
	}
	defer unix.Close(dir)
	for _, name := range []string{"stdout", "stderr"} {
		const flags = unix.O_CREAT | unix.O_WRONLY | unix.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
		fd, err := unix.Openat(dir, name, flags, 0o644)
		if err == nil {
			err = give(fd, 0o644, owner)
			unix.Close(fd)
		}
		if err != nil {
			return fault.New(op, fault.OfSystem(err), filepath.Join(run, name), err)
		}
	}
	if err := give(dir, 0o750, owner); err != nil {
		return fault.New(op, fault.OfSystem(err), run, err)
	}
	return nil
}

// give sets mode and owner of an open file or folder.
func give(fd int, mode uint32, owner Owner) error {
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	if owner == Self() {
		return nil
	}
	return unix.Fchown(fd, owner.UID, owner.GID)
}

// point makes link a symbolic link to target in one step, whatever it was before.
func point(link, target string) error {
	if err := os.Symlink(target, link); err == nil {
		return nil // there was none
	}
	temp := link + "." + target
	if err := os.Symlink(target, temp); err != nil && !errors.Is(err, fs.ErrExist) {
		return fault.New("sandbox.link", fault.OfSystem(err), link, err)
	}
	if err := os.Rename(temp, link); err != nil {
		return fault.New("sandbox.link", fault.OfSystem(err), link, err)
	}
	return nil
}
