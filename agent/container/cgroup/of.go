package cgroup

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Of gives the folders of the groups that a process is in and the caller is not, one per
// mounted hierarchy, the freezer's first: what stops the group then finds whoever joins it.
func Of(pid int) ([]string, error) {
	mounts, err := Mounts()
	if err != nil {
		return nil, err
	}
	its, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	return groupsOf(mounts, string(its), string(own)), nil
}

// groupsOf reads lines "number:controllers:group"; version 2 has no controllers there.
func groupsOf(mounts []Mount, its, own string) []string {
	ours := strings.Split(own, "\n")
	var out []string
	for line := range strings.Lines(its) {
		line = strings.TrimSuffix(line, "\n")
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 || slices.Contains(ours, line) || strings.Contains(f[2], "/..") {
			continue
		}
		controller, _, _ := strings.Cut(f[1], ",")
		at := slices.IndexFunc(mounts, func(m Mount) bool { return controller == "" && m.V2 || controller != "" && m.Has(controller) })
		if at < 0 {
			continue // nobody could limit it there
		}
		dir := mounts[at].Resolve(f[2])
		if controller == "freezer" {
			out = slices.Insert(out, 0, dir)
		} else {
			out = append(out, dir)
		}
	}
	return out
}
