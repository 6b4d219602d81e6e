package agent

import (
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
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
		{"filesystem/linux,docker/runtime,cgroups/cpu,docker/runtime", true, "filesystem/linux docker/runtime"},
		{"cgroups/devices", false, "cgroups/devices"},
	} {
		cgroups, without, err := parseIsolation(c.text)
		if err != nil || cgroups != c.cgroups || strings.Join(without, " ") != c.without {
			t.Errorf("%q: %v %q %v", c.text, cgroups, without, err)
		}
	}
	_, _, err := parseIsolation("cgroups/cpu,cgroup/mem")
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), `"cgroup/mem"`) {
		t.Errorf("error %v", err)
	}
}
