package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/agent/confine"
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/internal/fault"
)

// isolators are the names that --isolation may list (mesos-agent.md 7.2), with those
// that change something here.
var isolators = map[string]bool{
	"cgroups/cpu": true, "cgroups/mem": true, "cgroups/pids": true, "cgroups/all": true, "posix/cpu": true, "posix/mem": true,
	"filesystem/posix": true, "disk/du": true, "docker/volume": true, "posix/disk": true,
	"posix/rlimits": true, "linux/capabilities": true, "linux/seccomp": true, "linux/nnp": true,
	"namespaces/pid": true, "namespaces/ipc": true,
	"cgroups/cpuset": true, "cgroups/devices": true, "cgroups/blkio": true, "cgroups/hugetlb": true,

	"filesystem/linux": true, "docker/runtime": true, "volume/host_path": true, "volume/sandbox_path": true, "volume/image": true,

	"filesystem/shared": false, "appc/runtime": false, "volume/secret": false, "volume/csi": false,
	"environment_secret": false, "disk/xfs": false,
	"network/cni": true, "network/ports": false, "network/port_mapping": false,
	"linux/devices": false, "gpu/nvidia": false, "cgroups/net_cls": false, "cgroups/net_prio": false,
	"cgroups/perf_event": false,
}

// isolation is what --isolation says.
type isolation struct {
	names   map[string]bool // those that are on
	cgroups bool            // tasks have limits
	without []string        // known, but they change nothing here
}

// parseIsolation reads --isolation. A name that is not known is fault.Invalid.
func parseIsolation(text string) (isolation, error) {
	out := isolation{names: map[string]bool{}}
	for name := range strings.SplitSeq(text, ",") {
		switch name = strings.TrimSpace(name); name {
		case "", "process":
			continue
		case "cgroups":
			out.cgroups = true
			continue
		}
		works, known := isolators[name]
		if !known {
			return out, fault.New("agent", fault.Invalid, "--isolation",
				fmt.Errorf("there is no isolator %q: write cgroups/cpu,cgroups/mem for limits, posix/cpu,posix/mem for none", name))
		}
		if !works && !slices.Contains(out.without, name) {
			out.without = append(out.without, name)
		}
		out.names[name] = works
		out.cgroups = out.cgroups || works && strings.HasPrefix(name, "cgroups/")
	}
	return out, nil
}

// controllers lists what containers have beside CPU, memory and process counts.
func (i isolation) controllers() []string {
	var out []string
	for _, c := range cgroup.Extras {
		if i.names["cgroups/"+c] || i.names["cgroups/all"] {
			out = append(out, c)
		}
	}
	return out
}

// confine turns on what package confine decides about.
func (i isolation) confine(c *confine.Config) {
	c.Rlimits = i.names["posix/rlimits"]
	c.Capabilities = i.names["linux/capabilities"]
	c.Seccomp = i.names["linux/seccomp"]
	c.NoNewPrivs = i.names["linux/nnp"]
	c.PID = i.names["namespaces/pid"]
	c.IPC = i.names["namespaces/ipc"]
}
