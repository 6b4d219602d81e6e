package agent

import (
	"errors"
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
	"volume/secret": true, "environment_secret": true, "network/cni": true, // always there

	"filesystem/shared": false, "appc/runtime": false, "volume/csi": false, "disk/xfs": false,
	"network/ports": true, "network/port_mapping": false,
	"linux/devices": true, "gpu/nvidia": false, "cgroups/net_cls": false, "cgroups/net_prio": false,
	"cgroups/perf_event": false,
}

// isolation is what --isolation says.
type isolation struct {
	names   map[string]bool // those that are on
	cgroups bool            // tasks have limits
	without []string        // known, but they change nothing here
}

// parseIsolation reads --isolation. A name that is not known is fault.Invalid, and so are
// two isolators of which there can be one (mesos-agent.md 7.2).
func parseIsolation(text string) (isolation, error) {
	out := isolation{names: map[string]bool{}}
	only := map[string]string{} // first part of a name -> the isolator that was named
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
		if kind, _, _ := strings.Cut(name, "/"); (kind == "filesystem" || kind == "network") && name != "network/ports" {
			if other := only[kind]; other != "" && other != name {
				return out, fault.New("agent", fault.Invalid, "--isolation", fmt.Errorf("%s and %s cannot be used together: name one of them", other, name))
			}
			only[kind] = name
		}
		if !works && !slices.Contains(out.without, name) {
			out.without = append(out.without, name)
		}
		out.names[name] = works
		out.cgroups = out.cgroups || works && strings.HasPrefix(name, "cgroups/")
	}
	if out.names["linux/devices"] && !out.names["filesystem/linux"] { // there is no /dev of a container's own
		return out, fault.New("agent", fault.Invalid, "--isolation", errors.New("linux/devices needs filesystem/linux: name it too"))
	}
	return out, nil
}

// launcher checks --launcher: posix makes no namespaces, so that isolators that need them
// are refused with it, as in Mesos. Nothing else depends on it: processes are kept together
// by control groups where there are any, else by session.
func (i isolation) launcher(name string, images bool) error {
	switch name {
	case "", "linux":
		return nil
	case "posix":
	default:
		return fault.New("agent", fault.Invalid, "--launcher", fmt.Errorf("%q is neither linux nor posix", name))
	}
	for _, need := range []string{"filesystem/linux", "docker/runtime", "namespaces/pid", "namespaces/ipc", "linux/devices", "network/ports"} {
		if i.names[need] {
			return fault.New("agent", fault.Invalid, "--launcher", fmt.Errorf("%s in --isolation needs --launcher=linux", need))
		}
	}
	if images {
		return fault.New("agent", fault.Invalid, "--launcher", errors.New("--image_providers needs --launcher=linux"))
	}
	return nil
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
