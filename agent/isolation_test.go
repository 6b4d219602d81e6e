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
		{"filesystem/linux,docker/runtime,cgroups/cpu,docker/runtime", true, ""},
		{"cgroups/devices,cgroups/perf_event", true, "cgroups/perf_event"},
	} {
		iso, err := parseIsolation(c.text)
		if err != nil || iso.cgroups != c.cgroups || strings.Join(iso.without, " ") != c.without {
			t.Errorf("%q: %+v %v", c.text, iso, err)
		}
	}
	_, err := parseIsolation("cgroups/cpu,cgroup/mem")
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), `"cgroup/mem"`) {
		t.Errorf("error %v", err)
	}
}
