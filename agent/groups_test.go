package agent_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// groups lists the control groups below the agent's that match a pattern, in every
// hierarchy of this host: version 2 at /sys/fs/cgroup, version 1 and what is beside it in
// folders there.
func (p *process) groups(pattern string) []string {
	var out []string
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		found, _ := filepath.Glob(filepath.Join(hierarchy, p.cfg.CgroupsRoot, pattern))
		for _, dir := range found {
			real, err := filepath.EvalSymlinks(dir) // one of cpu,cpuacct
			if i, statErr := os.Stat(dir); err == nil && statErr == nil && i.IsDir() && !slices.Contains(out, real) {
				out = append(out, real)
			}
		}
	}
	return out
}

// held reads the file of a container's groups that has one of these names: that of version
// 1, or that of version 2.
func (p *process) held(container string, names ...string) (name, text string) {
	for _, dir := range p.groups(container) {
		for _, name := range names {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				return name, strings.TrimSpace(string(b))
			}
		}
	}
	return "", ""
}

// removeGroups removes the agent's own folders, after the agent has ended.
func (p *process) removeGroups() {
	for _, dir := range p.groups("") {
		_ = os.Remove(dir)
	}
}
