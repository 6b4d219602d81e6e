package lab

import (
	"os"
	"os/exec"
	"testing"
)

// CNIPlugins is where Debian's containernetworking-plugins are.
const CNIPlugins = "/usr/lib/cni"

// Alone runs the calling test in a process whose network and mounts are its own, because
// container networks make bridges and rules on the host, and plugins have folders of the
// host's. It tells whether this is that process. The test is skipped without root.
func Alone(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("container networks need root")
	}
	if _, err := os.Stat(CNIPlugins + "/bridge"); err != nil {
		t.Skip("containernetworking-plugins is not installed: scripts/setup installs it")
	}
	if os.Getenv("STOA_TEST_ALONE") != "" {
		return true
	}
	cmd := exec.Command("unshare", "--net", "--mount", "sh", "-c",
		`ip link set lo up; for d in /run/docker/plugins /var/lib/cni; do mkdir -p $d && mount -t tmpfs own $d || exit; done; exec "$0" "$@"`,
		os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), "STOA_TEST_ALONE=1", stoa.env+"="+Stoa(t), demo.env+"="+Demo(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}
