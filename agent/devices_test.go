package agent_test

import (
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// linux/devices with cgroups/devices: what --allowed_devices names is in the /dev of every
// container with a file system of its own, and can be used as the flag says, by any user.
func TestAllowedDevicesAreInTheContainer(t *testing.T) {
	dir := t.TempDir()
	host := filepath.Join(dir, "fuse") // on the host only root may open it
	if err := unix.Mknod(host, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 229))); err != nil {
		t.Skip(err)
	}
	m, p := imaging(t, imageIsolation+",cgroups/devices,linux/devices", func(c *agent.Config) {
		access := func(read, write bool) *mesos.DeviceAccess_Access {
			return &mesos.DeviceAccess_Access{Read: &read, Write: &write}
		}
		c.AllowedDevices = &mesos.DeviceWhitelist{AllowedDevices: []*mesos.DeviceAccess{
			{Device: &mesos.Device{Path: proto.String("/dev/full")}, Access: access(true, false)},
			{Device: &mesos.Device{Path: &host}, Access: access(true, false)},
		}}
	})
	image := newHub(t).push(t, "app:1", v1.Config{}, map[string]string{"in-image": "here\n"})
	text := `cd /dev; for f in full ` + strings.TrimPrefix(host, "/") + `; do
			echo $(/bin/busybox stat -c '%a %t:%T' $f) $( (true < $f) 2>&1 | grep -c -e permitted -e denied) $( (true > $f) 2>&1 | grep -c -e permitted -e denied)
		done; echo over; exec sleep 1000`
	for user, want := range map[string]string{ // by the file's mode; by the control group alone
		"nobody": "644 1:7 0 1\n644 a:e5 0 1\nover\n",
		"root":   "644 1:7 0 0\n644 a:e5 0 1\nover\n",
	} {
		m.run(task("S0", user, text, as(user), inImage(image)))
		m.expect(user, running)
		got := ""
		p.eventually(user+" says what it sees", func() bool { got = p.stdout(user); return strings.HasSuffix(got, "over\n") })
		if got != want {
			t.Errorf("%s got\n%s\nwant\n%s", user, got, want)
		}
	}
	// Without an image there is the host's /dev.
	m.run(task("S0", "host", "ls "+host+" >/dev/null && test ! -e /dev"+host))
	m.expect("host", finished)
	for _, id := range []string{"nobody", "root"} {
		m.kill(id)
		m.expect(id, killed)
	}
	p.gone()
}
