package lab

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// Dev is a running `stoa dev`.
type Dev struct {
	*Process
	API
	WorkDir   string
	MasterURL string
	AgentURLs []string
	DNS       string // host:port, UDP and TCP
	DNSHTTP   string
	LBStats   string // URL
	LBHTTP    string // URL of the virtual hosts' frontend
	args      []string
}

// taskPorts hands out ranges of task ports, so that clusters of one test process never share one.
var taskPorts atomic.Int32

// TaskPorts gives a range of n ports below the kernel's ephemeral ones.
func TaskPorts(n int) (from, to int) {
	// 20000 to 30999 hold 11 ranges of 1,000.
	i := int(taskPorts.Add(int32((n+999)/1000))) - 1
	from = 20000 + (i%11)*1000
	return from, from + n - 1
}

// StartDev starts `stoa dev` on free ports and waits for its line "ready".
func StartDev(t testing.TB, workDir string, extra ...string) *Dev {
	t.Helper()
	agents := 2
	p := freeport.Take(t, 6+agents)
	// Agents take one port after the other; so the free ones are looked for in a row.
	first := freeport.Row(t, agents)
	from, to := TaskPorts(1000)
	d := &Dev{WorkDir: workDir}
	d.args = append([]string{
		"dev", "--work_dir", workDir, "--agents", strconv.Itoa(agents),
		"--master_port", strconv.Itoa(p[0]), "--agent_port", strconv.Itoa(first),
		"--framework_port", strconv.Itoa(p[1]), "--dns_port", strconv.Itoa(p[2]), "--dns_http_port", strconv.Itoa(p[3]),
		"--lb_stats_port", strconv.Itoa(p[4]), "--lb_http_port", strconv.Itoa(p[5]),
		"--task_ports", fmt.Sprintf("%d-%d", from, to),
	}, extra...)
	url := func(port int) string { return "http://127.0.0.1:" + strconv.Itoa(port) }
	d.API = API{URL: url(p[1])}
	d.MasterURL, d.DNS, d.DNSHTTP = url(p[0]), "127.0.0.1:"+strconv.Itoa(p[2]), url(p[3])
	d.LBStats, d.LBHTTP = url(p[4]), url(p[5])
	for i := range agents {
		d.AgentURLs = append(d.AgentURLs, fmt.Sprintf("http://127.0.0.%d:%d", i+1, first+i))
	}
	d.Restart(t)
	return d
}

// Restart starts the same command again, after the process ended.
func (d *Dev) Restart(t testing.TB) {
	t.Helper()
	d.Process = Start(t, "dev", Stoa(t), d.args...)
	Eventually(t, 15*time.Second, "dev says ready", func() error {
		select {
		case <-d.Done():
			t.Fatalf("stoa dev ended with code %d:\n%s", d.ExitCode(), tail(d.Output(), 16<<10))
		default:
		}
		for line := range strings.Lines(d.Output()) {
			if line == "ready\n" {
				return nil
			}
		}
		return fmt.Errorf("no line ready")
	})
}
