package agent_test

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// mesos-agent.md 7.10, network/ports: a container that listens on ports it has no resources
// for ends when that is enforced; what it listens on is its own affair inside its resources.
func TestContainerPortsAreEnforced(t *testing.T) {
	m, p := guarded(t, "cgroups/cpu,cgroups/mem,network/ports", func(c *agent.Config) {
		c.Ports = agent.Ports{Enforce: true, Interval: 20 * time.Millisecond}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint64(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	const stray = "busybox httpd -f -p 127.0.0.1:0 & wait"
	m.run(task("S0", "may", fmt.Sprintf("exec busybox httpd -f -p 127.0.0.1:%d", port), func(t *mesos.TaskInfo) {
		t.Resources = append(t.Resources, &mesos.Resource{Name: proto.String("ports"), Type: mesos.Value_RANGES.Enum(),
			Ranges: &mesos.Value_Ranges{Range: []*mesos.Value_Range{{Begin: &port, End: &port}}}})
	}))
	m.expect("may", running)
	check := func(st *mesos.TaskStatus, container string) {
		t.Helper()
		want := regexp.MustCompile(`Container ` + regexp.QuoteMeta(container) + ` is listening on unallocated port\(s\): \[(\d+)-(\d+)\]`)
		rs := st.GetLimitation().GetResources()
		if st.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LIMITATION || !want.MatchString(st.GetMessage()) || len(rs) != 1 ||
			fmt.Sprint(rs[0].GetRanges().GetRange()[0].GetBegin()) != want.FindStringSubmatch(st.GetMessage())[1] {
			t.Errorf("%v", st)
		}
	}
	m.run(task("S0", "stray", stray))
	seen := m.expect("stray", failed)
	check(seen[len(seen)-1], seen[0].GetContainerStatus().GetContainerId().GetValue())
	own := boxed(t, `"linux_info":{"share_cgroups":false}`)
	m.group(podExecutor("pod"), true, task("S0", "a", stray, own), task("S0", "b", "exec sleep 1000", own))
	all := m.collect(map[string]mesos.TaskState{"a": failed, "b": failed})
	id := all["a"][0].GetContainerStatus().GetContainerId()
	for _, name := range []string{"a", "b"} {
		check(all[name][len(all[name])-1], id.GetParent().GetValue()+"."+id.GetValue())
	}
	m.kill("may")
	m.expect("may", killed)
	p.stop(syscall.SIGTERM)
	if strings.Contains(p.out.String(), fmt.Sprintf("[%d-%d]", port, port)) {
		t.Error("a container's own port was told")
	}
}
