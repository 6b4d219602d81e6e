package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stoa-project/stoa/internal/fault"
)

// CreateNested makes the sandbox of a nested container, <parent>/containers/<id>, with
// stdout and stderr. For a task, <parent>/tasks/<task> leads to it (mesos-agent.md 3.2).
func CreateNested(dir, parent, task string, owner Owner) error {
	const op = "sandbox.CreateNested"
	if err := Folder(parent, "containers", Self()); err != nil {
		return err
	}
	if err := fill(dir, owner); err != nil || task == "" {
		return err
	}
	if err := Folder(parent, "tasks", Self()); err != nil {
		return err
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return fault.New(op, fault.OfSystem(err), parent, err)
	}
	defer root.Close()
	link := filepath.Join("tasks", task)
	_ = root.Remove(link) // of an earlier try to launch
	if err := root.Symlink(filepath.Join("..", "containers", filepath.Base(dir)), link); err != nil {
		return fault.New(op, fault.OfSystem(err), filepath.Join(parent, link), err)
	}
	return nil
}

// Folder makes a folder and its parents below base, owned by owner (0755). base belongs
// to a task, so nothing of path may lead out of it.
func Folder(base, path string, owner Owner) error {
	const op = "sandbox.Folder"
	root, err := os.OpenRoot(base)
	if err != nil {
		return fault.New(op, fault.OfSystem(err), base, err)
	}
	defer root.Close()
	for i := range len(path) + 1 {
		if i < len(path) && path[i] != '/' || i == 0 {
			continue
		}
		err := root.Mkdir(path[:i], 0o755)
		switch {
		case errors.Is(err, fs.ErrExist):
			info, err := root.Stat(path[:i])
			if err == nil && !info.IsDir() {
				err = errors.New("is not a folder")
			}
			if err != nil {
				return fault.New(op, fault.Invalid, filepath.Join(base, path[:i]), err)
			}
			continue
		case err == nil && owner != Self():
			err = root.Lchown(path[:i], owner.UID, owner.GID)
		}
		if err != nil {
			return fault.New(op, fault.OfSystem(err), filepath.Join(base, path[:i]), err)
		}
	}
	return nil
}

// Link makes path below base a symbolic link to target, replacing an earlier link.
func Link(base, path, target string, owner Owner) error {
	const op = "sandbox.Link"
	if dir := filepath.Dir(path); dir != "." {
		if err := Folder(base, dir, owner); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return fault.New(op, fault.OfSystem(err), base, err)
	}
	defer root.Close()
	if info, err := root.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		_ = root.Remove(path) // the link tells when it stays
	}
	if err := root.Symlink(target, path); err != nil {
		return fault.New(op, fault.Invalid, filepath.Join(base, path), err)
	}
	return nil
}

// MountPoint makes what source is, a file or a folder, at path below base.
func MountPoint(base, path, source string, owner Owner) error {
	const op = "sandbox.MountPoint"
	info, err := os.Stat(source)
	if err != nil {
		return fault.New(op, fault.OfSystem(err), source, err)
	}
	if info.IsDir() {
		return Folder(base, path, owner)
	}
	if dir := filepath.Dir(path); dir != "." {
		if err := Folder(base, dir, owner); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return fault.New(op, fault.OfSystem(err), base, err)
	}
	defer root.Close()
	f, err := root.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fault.New(op, fault.OfSystem(err), filepath.Join(base, path), err)
	}
	return f.Close()
}

// Unlink removes a symbolic link below base when it leads to target.
func Unlink(base, path, target string) error {
	const op = "sandbox.Unlink"
	root, err := os.OpenRoot(base)
	if err != nil {
		return fault.New(op, fault.OfSystem(err), base, err)
	}
	defer root.Close()
	if now, err := root.Readlink(path); err != nil || now != target {
		return nil // it is something else by now
	}
	if err := root.Remove(path); err != nil {
		return fault.New(op, fault.OfSystem(err), filepath.Join(base, path), err)
	}
	return nil
}
