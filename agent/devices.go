package agent

import (
	"errors"
	"strings"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// allowedDevices reads --allowed_devices: device files of this host and what tasks may do
// with them (mesos-agent.md 7.2, cgroups/devices).
func allowedDevices(list *mesos.DeviceWhitelist) ([]cgroup.Device, error) {
	var out []cgroup.Device
	for _, d := range list.GetAllowedDevices() {
		path := d.GetDevice().GetPath()
		if path == "" {
			return nil, fault.New("agent", fault.Invalid, "--allowed_devices", errors.New("a device has no path"))
		}
		access := ""
		for _, a := range []struct {
			on     bool
			letter string
		}{{d.GetAccess().GetRead(), "r"}, {d.GetAccess().GetWrite(), "w"}, {d.GetAccess().GetMknod(), "m"}} {
			if a.on {
				access += a.letter
			}
		}
		dev, err := cgroup.DeviceAt(path, access)
		if err != nil {
			return nil, fault.New("agent", fault.Invalid, "--allowed_devices", err)
		}
		out = append(out, dev)
	}
	return out, nil
}

// deviceNodes says what those devices are called in a /dev of a container's own, and who may
// open them there: with read every process of the container, and so on, whoever owns the host's
// file (mesos-agent.md 7.2, linux/devices).
func deviceNodes(list *mesos.DeviceWhitelist, devices []cgroup.Device) []container.Device {
	var out []container.Device
	for i, d := range devices {
		n := container.Device{
			Path:  strings.TrimPrefix(strings.TrimPrefix(list.GetAllowedDevices()[i].GetDevice().GetPath(), "/dev/"), "/"),
			Block: d.Block, Major: uint32(d.Major), Minor: uint32(d.Minor), Mode: 0o600,
		}
		if strings.Contains(d.Access, "r") {
			n.Mode |= 0o044
		}
		if strings.Contains(d.Access, "w") {
			n.Mode |= 0o022
		}
		out = append(out, n)
	}
	return out
}
