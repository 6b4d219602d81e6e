package agent

import (
	"errors"

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
