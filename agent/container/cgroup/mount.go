package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mount is one mounted hierarchy.
type Mount struct {
	Dir         string   // where
	Root        string   // which part of the hierarchy is seen there; usually "/"
	V2          bool     // version 2
	Controllers []string // version 1: of this hierarchy ("cpu", "cpuacct", "name=systemd")
}

// Has tells whether a version 1 hierarchy has a controller.
func (m Mount) Has(controller string) bool { return slices.Contains(m.Controllers, controller) }

// Resolve gives the folder of a group that /proc/PID/cgroup names.
func (m Mount) Resolve(group string) string {
	if rel, ok := strings.CutPrefix(group, m.Root); ok && m.Root != "/" {
		group = rel
	}
	return filepath.Join(m.Dir, group)
}

// Mounts lists what is mounted.
func Mounts() ([]Mount, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(raw)), nil
}

// parseMounts reads mountinfo lines: "id parent dev root mountpoint options … - type source superoptions".
func parseMounts(text string) []Mount {
	var out []Mount
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		m := Mount{Dir: unescape(l[4]), Root: unescape(l[3])}
		switch r[0] {
		case "cgroup2":
			m.V2 = true
		case "cgroup":
			for _, o := range strings.Split(r[2], ",") {
				switch o {
				case "rw", "ro", "xattr", "clone_children", "noprefix":
				default:
					m.Controllers = append(m.Controllers, o)
				}
			}
		default:
			continue
		}
		out = append(out, m)
	}
	return out
}

// unescape turns the octal escapes of mountinfo back.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
