package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// Driver makes and removes the groups of one agent: <hierarchy>/<root>/<id>. Methods
// for different ids may be called at the same time.
type Driver struct {
	layout  Layout
	root    string
	missing []string
	devs    deviceGate
	refused error // why devs cannot be used
}

// New prepares the agent's folder. root is a relative path ("mesos"); an agent must be
// the only one that uses it. Controllers that cannot be used are in Missing.
func New(layout Layout, root string) (*Driver, error) {
	const op = "cgroup.New"
	if root == "" || !filepath.IsLocal(root) || root == "." {
		return nil, fault.New(op, fault.Invalid, "cgroups_root", fmt.Errorf("%q is not a relative path below the hierarchy", root))
	}
	d := &Driver{layout: layout, root: root}
	for _, c := range d.names() {
		if layout.v2(c) {
			continue
		}
		dir, ok := layout.Dirs[c]
		if !ok {
			d.missing = append(d.missing, c)
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, root), 0o755); err != nil {
			return nil, fault.New(op, fault.Forbidden, dir, err)
		}
		if c == "cpuset" {
			for _, part := range strings.Split(root, "/") {
				dir = filepath.Join(dir, part)
				if err := inherit(dir); err != nil {
					return nil, fault.New(op, fault.Unavailable, dir, err)
				}
			}
		}
	}
	if layout.hasV2() {
		return d, d.prepareV2()
	}
	return d, nil
}

// Missing names the controllers whose limits cannot be set.
func (d *Driver) Missing() []string { return d.missing }

// Refused tells why devices is among those of version 2; nil when it is not.
func (d *Driver) Refused() error { return d.refused }

// V2 tells whether version 2 is used alone.
func (d *Driver) V2() bool { return d.layout.V2 }

func (d *Driver) has(controller string) bool { return !slices.Contains(d.missing, controller) }

// dir gives the folder of a group by controller; version 2 has the same for all.
func (d *Driver) dir(controller, id string) string {
	if d.layout.v2(controller) {
		controller = ""
	}
	return filepath.Join(d.layout.Dirs[controller], d.root, id)
}

// all lists the distinct folders of a group, the freezer's first.
func (d *Driver) all(id string) []string {
	var out []string
	for _, c := range d.names() {
		if _, ok := d.layout.Dirs[c]; ok || d.layout.v2(c) {
			if dir := d.dir(c, id); !slices.Contains(out, dir) {
				out = append(out, dir)
			}
		}
	}
	return out
}

// unifiedDir gives the folder of a group in the version 2 hierarchy; "" when none is used.
func (d *Driver) unifiedDir(id string) string {
	if !d.layout.hasV2() {
		return ""
	}
	return filepath.Join(d.layout.Dirs[""], d.root, id)
}

// leaf is where the processes of a version 2 group are: groups with groups below them
// have none themselves.
const leaf = "leaf"

// Join gives the folders that a process has to be born in.
func (d *Driver) Join(id string) []string {
	dirs := d.all(id)
	for i, dir := range dirs {
		if dir == d.unifiedDir(id) {
			dirs[i] = filepath.Join(dir, leaf)
		}
	}
	return dirs
}

// Limited gives the folder with the limits of the group that a folder of Join is for: a
// leaf has none of its own.
func Limited(join string) string {
	if filepath.Base(join) == leaf {
		return filepath.Dir(join)
	}
	return join
}

// Create makes a group with limits. What an earlier group of this id left is removed
// first. After an error nothing is left.
func (d *Driver) Create(id string, l Limits) error {
	const op = "cgroup.Create"
	err := d.make(id)
	if errors.Is(err, fs.ErrExist) {
		if err := d.Destroy(id, time.Second); err != nil {
			return err
		}
		err = d.make(id)
	}
	if err == nil {
		err = d.setUp(id, l)
	}
	if err != nil {
		_ = d.Destroy(id, time.Second)
		return fault.New(op, fault.Unavailable, id, err)
	}
	return nil
}

// make makes the folders of a group.
func (d *Driver) make(id string) error {
	return inTurn(func() error {
		for _, dir := range d.all(id) {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
		}
		return nil
	})
}

// setUp does what a new group needs before processes are in it.
func (d *Driver) setUp(id string, l Limits) error {
	if dir := d.unifiedDir(id); dir != "" {
		if err := os.Mkdir(filepath.Join(dir, leaf), 0o755); err != nil {
			return err
		}
		if d.layout.v2("memory") && d.has("memory") { // the whole container ends, as Mesos ends it
			if err := write(d.dir("", id), "memory.oom.group", "1"); err != nil {
				return err
			}
		}
	}
	if err := d.extras(id); err != nil {
		return err
	}
	return d.set(id, l, true)
}

// Update changes limits. Memory is only ever raised: a smaller hard limit is left out.
func (d *Driver) Update(id string, l Limits) error {
	if err := d.set(id, l, false); err != nil {
		return fault.New("cgroup.Update", fault.Unavailable, id, err)
	}
	return nil
}

// Procs lists the processes of a group.
func (d *Driver) Procs(id string) ([]int, error) { return Procs(d.all(id)[0]) }

// Destroy kills what runs in a group and removes it, which may take up to patience.
// An absent group is no error.
func (d *Driver) Destroy(id string, patience time.Duration) error {
	dirs := d.all(id)
	empty := dirs
	if u := d.unifiedDir(id); u != "" {
		empty = append(slices.Clip(dirs), filepath.Join(u, leaf))
	}
	if removeEmpty(empty) {
		return nil
	}
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		pids, err := Procs(dirs[0])
		if err != nil || len(pids) == 0 {
			break
		}
		if _, err := Signal(dirs[0], 9); err != nil && !gone(err) {
			return fault.New("cgroup.Destroy", fault.Unavailable, id, err)
		}
		if time.Now().After(deadline) {
			return fault.New("cgroup.Destroy", fault.Timeout, id, fmt.Errorf("%d processes do not end", len(pids)))
		}
		time.Sleep(wait)
	}
	slices.Reverse(dirs)
	for _, dir := range dirs {
		if err := Remove(dir, patience); err != nil {
			return fault.New("cgroup.Destroy", fault.Unavailable, id, err)
		}
	}
	return nil
}

// FetchFolder is the folder in the agent's own that holds the groups of fetches; it is no
// container's. No driver but that of its own folder lists it.
const FetchFolder = ".fetch"

// removeEmpty removes groups, the last first, and tells whether all are gone; one with
// processes or groups in it stays, and those before it.
func removeEmpty(dirs []string) bool {
	return inTurn(func() error {
		for _, dir := range slices.Backward(dirs) {
			if err := syscall.Rmdir(dir); err != nil && !gone(err) {
				return err
			}
		}
		return nil
	}) == nil
}

// IDs lists the groups below the agent's folder, in any hierarchy.
func (d *Driver) IDs() ([]string, error) {
	var out []string
	for _, dir := range d.all(".") {
		items, err := os.ReadDir(filepath.Clean(dir))
		if err != nil {
			return nil, fault.New("cgroup.IDs", fault.Unavailable, dir, err)
		}
		for _, i := range items {
			if i.IsDir() && i.Name() != own && i.Name() != FetchFolder && !slices.Contains(out, i.Name()) {
				out = append(out, i.Name())
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// RemoveRoot removes the agent's own folder, when nothing is in it, and those above it that
// it alone was in.
func (d *Driver) RemoveRoot() error {
	var errs error
	for _, dir := range d.all(".") {
		dir = filepath.Clean(dir)
		if err := Remove(dir, time.Second); err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		for range strings.Count(filepath.Clean(d.root), "/") {
			dir = filepath.Dir(dir)
			if os.Remove(dir) != nil { // another agent is in it
				break
			}
		}
	}
	return errs
}

// write sets one control file. Go's own files ask the poller about it, which costs more
// than the rest.
func write(dir, file, value string) error {
	path := filepath.Join(dir, file)
	return inTurn(func() error {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return &fs.PathError{Op: "open", Path: path, Err: err}
		}
		defer unix.Close(fd)
		for {
			_, err = unix.Write(fd, []byte(value))
			switch err {
			case nil:
				return nil
			case unix.EINTR:
			default:
				return &fs.PathError{Op: "write", Path: path, Err: err}
			}
		}
	})
}
