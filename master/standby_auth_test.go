package master_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master"
)

// TestStandbyAuthenticatesFirst: row 1 of mesos-master.md 1.2 comes before row 3, so a
// standby redirects only those who may ask.
func TestStandbyAuthenticatesFirst(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	url, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	s := secured("reader", "writer", "fw")
	startMaster(t, master.Config{ZK: &url, SessionTimeout: 5 * time.Second, Security: s})
	standby := startStandby(t, master.Config{ZK: &url, SessionTimeout: 5 * time.Second, Security: s})
	eventually(t, "the standby knows the leader", func() bool {
		resp, _ := standby.ask("GET", "/redirect", "", "")
		return resp.StatusCode == http.StatusTemporaryRedirect
	})
	for _, c := range []struct {
		method, path, who string
		code              int
	}{
		{"GET", "/state", "", 401}, {"GET", "/state", "writer", 401}, {"GET", "/state", "reader", 307},
		{"POST", "/api/v1", "", 401}, {"POST", "/api/v1", "writer", 307},
		{"PUT", "/api/v1/scheduler", "", 401}, {"PUT", "/api/v1/scheduler", "fw", 307},
		{"GET", "/flags", "", 401}, {"GET", "/flags", "reader", 200}, {"GET", "/health", "", 200},
	} {
		if resp, _ := standby.by(c.who).ask(c.method, c.path, "application/json", ""); resp.StatusCode != c.code {
			t.Errorf("%s %s by %q: %s, want %d", c.method, c.path, c.who, resp.Status, c.code)
		}
	}
}
