package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// Layout says where groups are made.
type Layout struct {
	V2   bool              // version 2 alone
	Dirs map[string]string // version 1: controller -> mounted folder; version 2: "" -> mounted folder

	Devices []Device // beside DefaultDevices; only with the controller devices
	extra   []string // controllers of Extras that were asked for
	unified []string // beside version 1: what is used of the version 2 hierarchy Dirs[""]
}

// controllers are those that are used, in the order in which groups are made. The
// freezer is first to go away last: it is what stops a tree.
var controllers = []string{"freezer", "cpu", "cpuacct", "memory", "pids"}

// v2Name is what version 2 calls a controller; "" when all its groups can do the same
// without one: freeze, count CPU time, and have a program that guards devices.
func v2Name(controller string) string {
	switch controller {
	case "blkio":
		return "io"
	case "freezer", "cpuacct", "devices":
		return ""
	}
	return controller
}

// Detect finds what is mounted below hierarchy (usually /sys/fs/cgroup): version 2 there,
// or version 1 in folders of it. A version 2 hierarchy in one of these folders (a hybrid
// host) is used for what version 1 lacks. fault.Unsupported when nothing is there.
// extra names controllers of Extras.
func Detect(hierarchy string, extra ...string) (Layout, error) {
	mounts, err := Mounts()
	if err != nil {
		return Layout{}, fault.New("cgroup.Detect", fault.Unsupported, hierarchy, err)
	}
	return detect(filepath.Clean(hierarchy), mounts, available, extra...)
}

// available reads which controllers the version 2 hierarchy at dir has: those that no
// hierarchy of version 1 holds.
func available(dir string) []string {
	raw, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	return strings.Fields(string(raw))
}

func detect(hierarchy string, mounts []Mount, available func(dir string) []string, extra ...string) (Layout, error) {
	wanted := append(slices.Clip(controllers), extra...)
	l := Layout{Dirs: map[string]string{}, extra: extra}
	top, beside := "", ""
	for _, m := range mounts {
		below := strings.HasPrefix(m.Dir, hierarchy+"/")
		switch {
		case m.V2 && m.Dir == hierarchy:
			top = m.Dir
		case m.V2 && below:
			beside = m.Dir
		case !m.V2 && (m.Dir == hierarchy || below):
			for _, c := range wanted {
				if m.Has(c) {
					l.Dirs[c] = m.Dir
				}
			}
		}
	}
	if top != "" && l.Dirs["cpu"] == "" && l.Dirs["memory"] == "" {
		return Layout{V2: true, Dirs: map[string]string{"": top}, extra: extra}, nil
	}
	if beside != "" {
		has := available(beside)
		for _, c := range wanted {
			if name := v2Name(c); l.Dirs[c] == "" && (slices.Contains(has, name) || name == "" && len(has) > 0) {
				l.unified = append(l.unified, c)
				l.Dirs[""] = beside
			}
		}
	}
	for _, c := range []string{"cpu", "memory"} {
		if l.Dirs[c] != "" || slices.Contains(l.unified, c) {
			return l, nil
		}
	}
	return Layout{}, fault.New("cgroup.Detect", fault.Unsupported, hierarchy, errors.New("no cgroup hierarchy with cpu or memory is mounted there"))
}

// v2 tells whether a controller is used by version 2.
func (l Layout) v2(controller string) bool { return l.V2 || slices.Contains(l.unified, controller) }

// hasV2 tells whether groups are made in a version 2 hierarchy too.
func (l Layout) hasV2() bool { return l.V2 || len(l.unified) > 0 }
