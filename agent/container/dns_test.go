package container

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
)

func TestParseDNS(t *testing.T) {
	all, err := ParseDNS(`{"mesos":[{"network_mode":"CNI","dns":{"nameservers":["9.9.9.9"]}},{"network_mode":"CNI","network_name":"net","dns":{"nameservers":["fd00::1"],"search":["a.b"],"options":["ndots:2"]}}],
		"docker":[{"network_mode":"BRIDGE","dns":{"nameservers":["8.8.8.8"]}},{"network_mode":"USER","network_name":"u","dns":{"nameservers":["1.1.1.1"]}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		list                []DNS
		mode, network, want string
	}{
		{all.CNI, "CNI", "net", "[fd00::1] [a.b] [ndots:2]"}, {all.CNI, "CNI", "other", "[9.9.9.9] [] []"}, {all.CNI, "CNI", "", "[9.9.9.9] [] []"},
		{all.Docker, "BRIDGE", "", "[8.8.8.8] [] []"}, {all.Docker, "USER", "u", "[1.1.1.1] [] []"}, {all.Docker, "USER", "v", ""}, {all.Docker, "HOST", "", ""}, {all.Docker, "CNI", "net", ""},
	} {
		got := ""
		if d := FindDNS(c.list, c.mode, c.network); d != nil {
			got = fmt.Sprint(d.Servers, " ", d.Search, " ", d.Options)
		}
		if got != c.want {
			t.Errorf("%s %q: %q, want %q", c.mode, c.network, got, c.want)
		}
	}
	if none, err := ParseDNS(""); err != nil || none.CNI != nil || none.Docker != nil {
		t.Errorf("%v %v", none, err)
	}
	for _, text := range []string{
		`[]`, `{"docker":[{"network_mode":"HOST"}]}`, `{"mesos":[{"network_mode":"BRIDGE"}]}`, `{"docker":[{"network_mode":"BRIDGE","network_name":"x"}]}`,
		`{"docker":[{"network_mode":"USER"},{"network_mode":"USER"}]}`, `{"mesos":[{"network_mode":"CNI","network_name":"x"},{"network_mode":"CNI","network_name":"x"}]}`,
		`{"mesos":[{"network_mode":"CNI","dns":{"nameservers":["localhost"]}}]}`,
	} {
		if _, err := ParseDNS(text); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "--default_container_dns") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
