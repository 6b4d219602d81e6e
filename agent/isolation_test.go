package agent

import (
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
)

func TestParseIsolation(t *testing.T) {
	for _, c := range []struct {
		text    string
		cgroups bool
		without string
	}{
		{"", false, ""},
		{"process", false, ""},
		{"posix/cpu,posix/mem", false, ""},
		{"cgroups", true, ""},
		{"cgroups/cpu, cgroups/mem", true, ""},
		{"posix/cpu,cgroups/mem,filesystem/posix", true, ""},
		{"filesystem/linux,docker/runtime,cgroups/cpu,docker/runtime", true, ""},
		{"cgroups/devices,cgroups/perf_event", true, "cgroups/perf_event"},
		{"filesystem/linux,linux/devices", false, ""},
	} {
		iso, err := parseIsolation(c.text)
		if err != nil || iso.cgroups != c.cgroups || strings.Join(iso.without, " ") != c.without {
			t.Errorf("%q: %+v %v", c.text, iso, err)
		}
	}
	for _, text := range []string{"filesystem/linux,filesystem/posix", "network/cni,network/port_mapping"} {
		if _, err := parseIsolation(text); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "cannot be used together") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := parseIsolation("filesystem/posix,linux/devices"); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "needs filesystem/linux") {
		t.Error(err)
	}
	if iso, err := parseIsolation("network/cni,network/ports,volume/secret,environment_secret"); err != nil || len(iso.without) > 0 {
		t.Errorf("%+v %v", iso, err)
	}
	_, err := parseIsolation("cgroups/cpu,cgroup/mem")
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), `"cgroup/mem"`) {
		t.Errorf("error %v", err)
	}
}

// --launcher=posix makes no namespaces (mesos-agent.md 7.1, 7.2).
func TestLauncher(t *testing.T) {
	for _, c := range []struct {
		isolation, launcher string
		images              bool
		want                string
	}{
		{"filesystem/linux,docker/runtime,namespaces/pid", "linux", true, ""},
		{"filesystem/linux,docker/runtime,namespaces/pid", "", true, ""},
		{"posix/cpu,posix/mem,filesystem/posix", "posix", false, ""},
		{"cgroups/cpu,cgroups/mem", "posix", false, ""},
		{"filesystem/linux", "posix", false, "filesystem/linux"},
		{"namespaces/pid", "posix", false, "namespaces/pid"},
		{"network/ports", "posix", false, "network/ports"},
		{"", "posix", true, "--image_providers"},
		{"", "windows", false, `"windows" is neither linux nor posix`},
	} {
		iso, err := parseIsolation(c.isolation)
		if err != nil {
			t.Fatal(err)
		}
		err = iso.launcher(c.launcher, c.images)
		if (err == nil) != (c.want == "") || err != nil && (fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestWatchedPorts(t *testing.T) {
	offered, err := resource.Parse("cpus:1;ports:[31000-32000]", "*")
	if err != nil {
		t.Fatal(err)
	}
	none, _ := resource.Parse("cpus:1", "*")
	for _, c := range []struct {
		ports   Ports
		offered resource.Resources
		want    string
	}{
		{Ports{}, offered, "all"},
		{Ports{AgentRangeOnly: true}, offered, "[31000-32000]"},
		{Ports{AgentRangeOnly: true}, none, "[]"},
		{Ports{Range: "[0-35000,40000-40001]"}, offered, "[0-35000, 40000-40001]"},
		{Ports{Range: "[0-1]", AgentRangeOnly: true}, offered, "--check_agent_port_range_only"},
		{Ports{Range: "5"}, offered, "no list of ranges"},
		{Ports{Range: "[5-1]"}, offered, "begins after its end"},
	} {
		got, err := c.ports.watched(c.offered)
		text := got.String()
		if got == nil {
			text = "all"
		}
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, c.want) || (err != nil) != (fault.KindOf(err) == fault.Invalid) {
			t.Errorf("%+v: %s", c.ports, text)
		}
	}
}
