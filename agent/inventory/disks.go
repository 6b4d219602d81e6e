package inventory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// disks checks the disks that --resources describes and prepares them (mesos-agent.md
// 10): the root of a PATH disk is made, that of a MOUNT disk must be a mount point.
// Others belong to resource providers, which this agent has none of.
func disks(given []*mesos.Resource, workDir string) error {
	var mounts map[string]bool
	roots := map[string]string{}
	for _, r := range given {
		if r.GetProviderId() != nil {
			return diskError(r, "resource providers cannot be given here")
		}
		source := r.GetDisk().GetSource()
		if source == nil {
			continue
		}
		root := source.GetPath().GetRoot()
		switch kind := source.GetType(); kind {
		case mesos.Resource_DiskInfo_Source_PATH:
		case mesos.Resource_DiskInfo_Source_MOUNT:
			root = source.GetMount().GetRoot()
		default:
			return diskError(r, fmt.Sprintf("this agent has no disks of type %s, use PATH or MOUNT", kind))
		}
		switch {
		case r.GetName() != "disk":
			return diskError(r, "only disks have a source")
		case source.Profile != nil || source.Id != nil || source.Metadata != nil || source.Vendor != nil:
			return diskError(r, "id, profile, vendor and metadata are for disks of resource providers")
		case root == "":
			return diskError(r, "the disk needs a root: {\"type\":\"PATH\",\"path\":{\"root\":\"/mnt/data\"}}")
		}
		if !filepath.IsAbs(root) {
			root = filepath.Join(workDir, root)
		}
		root = filepath.Clean(root)
		if source.GetType() == mesos.Resource_DiskInfo_Source_PATH {
			if err := os.MkdirAll(root, 0o755); err != nil {
				return diskError(r, err.Error())
			}
			continue
		}
		if other, twice := roots[root]; twice {
			return diskError(r, "the same root as "+other)
		}
		roots[root] = resource.Text(r)
		if mounts == nil {
			var err error
			if mounts, err = mountPoints(); err != nil {
				return diskError(r, err.Error())
			}
		}
		real, err := filepath.EvalSymlinks(root)
		if err != nil {
			return diskError(r, err.Error())
		}
		if !mounts[real] {
			return diskError(r, root+" is no mount point: mount the disk there, or use type PATH")
		}
	}
	return nil
}

func diskError(r *mesos.Resource, why string) error {
	return fault.New("--resources", fault.Invalid, resource.Text(r), errors.New(why))
}

// mountPoints are the folders on which something is mounted.
func mountPoints() (map[string]bool, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	out := map[string]bool{}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 4 {
			out[unescape.Replace(f[4])] = true
		}
	}
	return out, nil
}
