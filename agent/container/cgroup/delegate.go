package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/stoa-project/stoa/internal/fault"
)

// own is the group that takes the processes of a group of version 2 that passes
// controllers on: such a group has none itself. Only a group that was given to the agent
// with its process in it has any: that of its unit or of the container it runs in.
const own = "agent"

// prepareV2 passes the controllers on from folder to folder of the version 2 hierarchy.
func (d *Driver) prepareV2() error {
	dir := d.layout.Dirs[""]
	for _, part := range append([]string{""}, strings.Split(d.root, "/")...) {
		dir = filepath.Join(dir, part)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fault.New("cgroup.New", fault.Forbidden, dir, err)
		}
		// Before any of them: a group with processes that passes cpu or pids on becomes a
		// threaded one, which can pass nothing else on.
		if err := vacate(dir); err != nil {
			return fault.New("cgroup.New", fault.Unavailable, dir, err)
		}
		for _, c := range d.names() {
			name := v2Name(c)
			if name == "" || !d.layout.v2(c) || slices.Contains(d.missing, c) {
				continue
			}
			if write(dir, "cgroup.subtree_control", "+"+name) != nil && !passedOn(dir, name) {
				d.missing = append(d.missing, c)
			}
		}
	}
	if slices.Contains(d.layout.extra, "devices") && d.layout.v2("devices") {
		if d.refused = d.devs.open(d.devices()); d.refused != nil {
			d.missing = append(d.missing, "devices")
		}
	}
	return nil
}

// passedOn tells whether a group passes a controller on already: those above a group that was
// given to an ordinary user are not that user's to write.
func passedOn(dir, name string) bool {
	raw, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	return err == nil && slices.Contains(strings.Fields(string(raw)), name)
}

// vacate moves the processes of a group into the group own below it, if this process is
// one of them: a group that only others live in is left alone, and so is the root of all.
func vacate(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "cgroup.type")); err != nil {
		return nil
	}
	pids, err := numbers(filepath.Join(dir, "cgroup.procs"))
	if err != nil || !slices.Contains(pids, os.Getpid()) {
		return err
	}
	to := filepath.Join(dir, own)
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for range 16 { // they may fork meanwhile
		for _, pid := range pids {
			if err := write(to, "cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		if pids, err = numbers(filepath.Join(dir, "cgroup.procs")); err != nil || len(pids) == 0 {
			return err
		}
	}
	return syscall.EBUSY
}
