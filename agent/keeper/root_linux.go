package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/cgroup"
)

// mount puts an overlay on target. Its folders are named by descriptors: their paths may
// hold commas and colons, and all of them must fit into one page.
func (o *Overlay) mount(target string, flags uintptr, readOnly bool) error {
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	name := func(dir string) (string, error) {
		f, err := openPath(dir)
		if err != nil {
			return "", err
		}
		files = append(files, f)
		return fdPath(f), nil
	}
	var lower []string
	for i := len(o.Layers) - 1; i >= 0; i-- { // the kernel wants the topmost first
		n, err := name(o.Layers[i])
		if err != nil {
			return err
		}
		lower = append(lower, n)
	}
	var options string
	if readOnly {
		flags |= unix.MS_RDONLY
		if len(lower) == 1 { // an overlay without a writable folder has two or more
			return bindReadOnly(int(files[0].Fd()), target)
		}
		options = "lowerdir=" + strings.Join(lower, ":")
	} else {
		upper, err := name(o.Upper)
		if err != nil {
			return err
		}
		work, err := name(o.Work)
		if err != nil {
			return err
		}
		options = "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + upper + ",workdir=" + work
	}
	if err := unix.Mount("overlay", target, "overlay", flags, options); err != nil {
		return fmt.Errorf("overlay of %d layers: %w", len(lower), err)
	}
	return nil
}

// bindReadOnly mounts a folder without its devices on target.
func bindReadOnly(folder int, target string) error {
	fd, err := unix.OpenTree(folder, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("read-only: %w", err)
	}
	return unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
}

// special is a file system that every task with a root of its own gets (mesos-agent.md
// 7.1 and 7.6); paths with an empty kind are bound read-only from themselves.
var special = []struct {
	at, kind, data string
	flags          uintptr
}{
	{"/proc", "proc", "", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
	{"/proc/bus", "", "", unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
	{"/proc/fs", "", "", unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
	{"/proc/irq", "", "", unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
	{"/proc/sys", "", "", unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
	{"/proc/sysrq-trigger", "", "", unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
	{"/sys", "sysfs", "", unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
	{"/sys/fs/cgroup", "tmpfs", "mode=755,size=64k", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
	{"/dev", "tmpfs", "mode=755,size=64k", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV | unix.MS_STRICTATIME},
	{"/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", unix.MS_NOSUID | unix.MS_NOEXEC},
	{"/dev/shm", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_STRICTATIME},
}

// masked says too much about the host, or reaches it.
var masked = []string{
	"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
}

var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

var deviceLinks = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
}

// buildRoot mounts the task's root and what belongs into each; targets count from it then.
func (s *stage) buildRoot(spec *Spec, terminal string) error {
	r := spec.Root
	var err error
	if r.Overlay != nil {
		err = r.Overlay.mount(r.Path, unix.MS_NODEV, false)
	} else if err = unix.Mount(r.Path, r.Path, "", unix.MS_BIND|unix.MS_REC, ""); err == nil {
		flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NODEV)
		if r.ReadOnly {
			flags |= unix.MS_RDONLY
		}
		err = unix.Mount("", r.Path, "", flags, "")
	}
	if err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	s.root.Close()
	if s.root, err = openPath(r.Path); err != nil {
		return err
	}
	nodes, err := s.nodes(r.Devices)
	if err != nil {
		return err
	}
	defer closeAll(nodes)
	for _, m := range special {
		if err := s.special(m.at, m.kind, m.data, m.flags); err != nil {
			return fmt.Errorf("%s: %w", m.at, err)
		}
		if m.at == "/dev" {
			if err := s.makeDevices(); err != nil {
				return fmt.Errorf("/dev: %w", err)
			}
		}
	}
	if err := s.attachNodes(r.Devices, nodes); err != nil {
		return err
	}
	if terminal != "" {
		if err := s.mount(-1, Mount{Source: terminal, Target: "/dev/console"}, true); err != nil {
			return fmt.Errorf("/dev/console: %w", err)
		}
	}
	for _, dir := range spec.Cgroups {
		at := "/sys/fs/cgroup"
		v2 := cgroup.IsV2(dir)
		if !v2 || len(spec.Cgroups) > 1 { // version 1, or 2 beside it
			at = filepath.Join(at, hierarchy(dir))
		}
		if v2 {
			dir = cgroup.Limited(dir)
		}
		if err := s.mount(-1, Mount{Source: dir, Target: at, ReadOnly: true}, true); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	for _, path := range masked {
		if err := s.mask(path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func (s *stage) special(path, kind, data string, flags uintptr) error {
	at, err := s.target(path, true, kind != "")
	if kind == "" && errors.Is(err, unix.ENOENT) {
		return nil // not in this kernel
	}
	if err != nil {
		return err
	}
	defer at.Close()
	to := fdPath(at)
	if kind == "" {
		if err := unix.Mount(to, to, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		again, err := s.target(path, true, false) // the mount, not what it covers
		if err != nil {
			return err
		}
		defer again.Close()
		return unix.Mount("", fdPath(again), "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
	}
	err = unix.Mount(kind, to, kind, flags, data)
	if kind == "sysfs" && errors.Is(err, unix.EPERM) { // the host is a container itself
		return s.mount(-1, Mount{Source: "/sys", Target: path, ReadOnly: true}, false)
	}
	return err
}

// makeDevices fills /dev with the host's own device files, as far as it has them. Those that a task makes itself
// work nowhere, as no other mount of it allows devices.
func (s *stage) makeDevices() error {
	dev, err := s.target("/dev", true, false)
	if err != nil {
		return err
	}
	defer dev.Close()
	at := int(dev.Fd())
	for _, name := range devices {
		if _, err := os.Lstat("/dev/" + name); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := s.mount(-1, Mount{Source: "/dev/" + name, Target: "/dev/" + name}, true); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, l := range deviceLinks {
		if err := unix.Symlinkat(l[0], at, l[1]); err != nil {
			return fmt.Errorf("%s: %w", l[1], err)
		}
	}
	return nil
}

// mask covers a file with /dev/null and a folder with nothing.
func (s *stage) mask(path string) error {
	at, err := s.target(path, true, false)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	info, err := at.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return unix.Mount("tmpfs", fdPath(at), "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "size=4k")
	}
	return unix.Mount(os.DevNull, fdPath(at), "", unix.MS_BIND, "")
}

// cgroupMounts are looked up once: they do not change while a host runs.
var cgroupMounts = sync.OnceValues(cgroup.Mounts)

// hierarchy names a version 1 hierarchy by the folder it is mounted at.
func hierarchy(dir string) string {
	mounts, err := cgroupMounts()
	if err == nil {
		for _, m := range mounts {
			if strings.HasPrefix(dir, m.Dir+"/") {
				return filepath.Base(m.Dir)
			}
		}
	}
	return filepath.Base(dir)
}

// pivot makes the task's root the thread's, and lets go of the host's.
func (s *stage) pivot() error {
	if err := unix.Fchdir(int(s.root.Fd())); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	err := unix.PivotRoot(".", ".")
	if errors.Is(err, unix.EINVAL) { // the thread's root is no mount point: see cutFromAbove
		if err := s.toTop(); err != nil {
			return err
		}
		if err := unix.Fchdir(int(s.root.Fd())); err != nil {
			return os.NewSyscallError("fchdir", err)
		}
		err = unix.PivotRoot(".", ".")
	}
	if err != nil {
		return os.NewSyscallError("pivot_root", err)
	}
	// The old root lies on top of the new one now.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("umount", err)
	}
	return os.NewSyscallError("chdir", unix.Chdir("/"))
}

// setStage gives the calling thread the file systems of a task. terminal is the path of
// the task's terminal on the host, or empty.
func setStage(spec *Spec, terminal string) error {
	s, err := newStage(spec.Mounts)
	if err != nil {
		return err
	}
	defer s.close()
	if spec.Root == nil {
		return s.mountAll(spec.Mounts, false)
	}
	if err := s.buildRoot(spec, terminal); err != nil {
		return err
	}
	if err := s.mountAll(spec.Mounts, true); err != nil {
		return err
	}
	if err := s.pivot(); err != nil {
		return err
	}
	if err := os.MkdirAll(spec.Dir, 0o755); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	return nil
}

// maxLayers is what fits into the page that the kernel takes for an overlay's folders.
const maxLayers = 200

// validateMounts says what is wrong with a task's file systems.
func (s *Spec) validateMounts() error {
	switch {
	case s.Inside != "" && (s.Root != nil || len(s.Mounts) > 0):
		return errors.New("a process inside another task has no mounts of its own")
	case s.Inside == s.ID:
		return errors.New("a task cannot be started inside itself")
	case s.Root != nil && (!filepath.IsAbs(s.Root.Path) || filepath.Clean(s.Root.Path) == "/"):
		return fmt.Errorf("root %q: must be an absolute path below /", s.Root.Path)
	case s.Root != nil && s.Root.Overlay != nil:
		if err := s.Root.Overlay.validate(false); err != nil {
			return fmt.Errorf("root: %w", err)
		}
	}
	if s.Root != nil {
		if err := validateDevices(s.Root.Devices); err != nil {
			return err
		}
	}
	for _, m := range s.Mounts {
		switch {
		case !filepath.IsAbs(m.Target) || filepath.Clean(m.Target) == "/":
			return fmt.Errorf("on %q: must be an absolute path below /", m.Target)
		case m.Overlay != nil:
			if err := m.Overlay.validate(m.ReadOnly); err != nil {
				return fmt.Errorf("on %q: %w", m.Target, err)
			}
		case !filepath.IsAbs(m.Source):
			return fmt.Errorf("%q on %q: both must be absolute paths", m.Source, m.Target)
		case m.Within != "" && !filepath.IsAbs(m.Within):
			return fmt.Errorf("%q on %q: %q is not an absolute path", m.Source, m.Target, m.Within)
		}
	}
	return nil
}

func (o *Overlay) validate(readOnly bool) error {
	if n := len(o.Layers); n == 0 || n > maxLayers {
		return fmt.Errorf("%d layers, not 1 to %d", n, maxLayers)
	}
	all := o.Layers
	if !readOnly {
		all = append(append([]string{}, all...), o.Upper, o.Work)
	}
	for _, dir := range all {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("%q is not an absolute path", dir)
		}
	}
	return nil
}

// needsRoot tells whether a keeper that knows nothing of roots would do something else.
func (s *Spec) needsRoot() bool {
	if s.Root != nil || s.Inside != "" {
		return true
	}
	for _, m := range s.Mounts {
		if m.Within != "" || m.Shared || m.Overlay != nil {
			return true
		}
	}
	return false
}
