package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// isolators are the names that --isolation may list (mesos-agent.md 7.2), with those
// that change something here.
var isolators = map[string]bool{
	"cgroups/cpu": true, "cgroups/mem": true, "cgroups/pids": true, "cgroups/all": true, "posix/cpu": true, "posix/mem": true,
	"filesystem/posix": true,

	"filesystem/linux": false, "filesystem/shared": false, "docker/runtime": false, "appc/runtime": false, "docker/volume": false,
	"volume/host_path": false, "volume/sandbox_path": false, "volume/secret": false, "volume/image": false, "volume/csi": false,
	"environment_secret": false, "disk/du": false, "posix/disk": false, "disk/xfs": false, "namespaces/pid": false, "namespaces/ipc": false,
	"network/cni": false, "network/ports": false, "network/port_mapping": false, "linux/capabilities": false, "linux/seccomp": false,
	"linux/nnp": false, "linux/devices": false, "posix/rlimits": false, "gpu/nvidia": false, "cgroups/devices": false,
	"cgroups/blkio": false, "cgroups/cpuset": false, "cgroups/hugetlb": false, "cgroups/net_cls": false, "cgroups/net_prio": false,
	"cgroups/perf_event": false,
}

// parseIsolation reads --isolation: whether limits are wanted, and the names that are
// known but change nothing here. Another name is fault.Invalid.
func parseIsolation(text string) (cgroups bool, without []string, err error) {
	for name := range strings.SplitSeq(text, ",") {
		switch name = strings.TrimSpace(name); name {
		case "", "process":
			continue
		case "cgroups":
			cgroups = true
			continue
		}
		works, known := isolators[name]
		if !known {
			return false, nil, fault.New("agent", fault.Invalid, "--isolation",
				fmt.Errorf("there is no isolator %q: write cgroups/cpu,cgroups/mem for limits, posix/cpu,posix/mem for none", name))
		}
		if !works && !slices.Contains(without, name) {
			without = append(without, name)
		}
		cgroups = cgroups || works && strings.HasPrefix(name, "cgroups/")
	}
	return cgroups, without, nil
}
