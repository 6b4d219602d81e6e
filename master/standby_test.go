package master_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master"
)

// TestStandbyAsRecorded asks a standby what a real one was asked: the same routes redirect,
// to the same places, and the others have the same status and form.
func TestStandbyAsRecorded(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	url, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	leader := startMaster(t, master.Config{ZK: &url, SessionTimeout: 5 * time.Second, Hostname: "zm1.example.org"})
	standby := startStandby(t, master.Config{ZK: &url, SessionTimeout: 5 * time.Second, Hostname: "zm2.example.org"})
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	_, port, err := net.SplitHostPort(leader.addr)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+standby.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	eventually(t, "the standby knows the leader", func() bool {
		resp, _ := ask("GET", "/redirect")
		return resp.StatusCode == http.StatusTemporaryRedirect
	})
	for file, request := range map[string]string{
		"GET-":                             "GET /",
		"GET-api-v1":                       "GET /api/v1",
		"GET-files-browse":                 "GET /files/browse",
		"GET-flags":                        "GET /flags",
		"GET-health":                       "GET /health",
		"GET-logging-toggle":               "GET /logging/toggle",
		"GET-maintenance-schedule":         "GET /maintenance/schedule",
		"GET-master-redirect":              "GET /master/redirect",
		"GET-master-slaves":                "GET /master/slaves",
		"GET-master-state-jsonp=x":         "GET /master/state?jsonp=x",
		"GET-metrics-snapshot":             "GET /metrics/snapshot",
		"GET-quota":                        "GET /quota",
		"GET-redirect-foo":                 "GET /redirect/foo",
		"GET-redirect":                     "GET /redirect",
		"GET-registrar-1-registry":         "GET /registrar(1)/registry",
		"GET-roles":                        "GET /roles",
		"GET-state-summary":                "GET /state-summary",
		"GET-state":                        "GET /state",
		"GET-system-stats-json":            "GET /system/stats.json",
		"GET-tasks-limit=5":                "GET /tasks?limit=5",
		"GET-version":                      "GET /version",
		"GET-weights":                      "GET /weights",
		"POST-api-v1-scheduler":            "POST /api/v1/scheduler",
		"POST-api-v1":                      "POST /api/v1",
		"POST-master-api-v1-scheduler-x=y": "POST /master/api/v1/scheduler?x=y",
		"POST-master-api-v1":               "POST /master/api/v1",
	} {
		recorded := loadAnswer(t, "standby/"+file+".http")
		method, path, _ := strings.Cut(request, " ")
		got, body := ask(method, path)
		location := strings.ReplaceAll(recorded.header["Location"], ":16060", ":"+port)
		if got.StatusCode != recorded.code || got.Header.Get("Location") != location || got.Header.Get("Content-Type") != recorded.header["Content-Type"] {
			t.Errorf("%s: %d %q %q, want %d %q %q", request, got.StatusCode, got.Header.Get("Location"), got.Header.Get("Content-Type"),
				recorded.code, location, recorded.header["Content-Type"])
		}
		switch {
		case recorded.header["Content-Type"] != "application/json":
			if strings.TrimSpace(body) != strings.TrimSpace(recorded.body) {
				t.Errorf("%s: %q, want %q", request, body, recorded.body)
			}
		default:
			var object map[string]any
			if err := json.Unmarshal([]byte(body), &object); err != nil {
				t.Errorf("%s: %v in %.100s", request, err, body)
			}
		}
	}
}

// TestZooKeeperStalls: ZooKeeper does not answer for longer than the session lasts. The
// leader gives up, its streams end, it and the standby say what a standby without leader
// said on Apache Mesos, and are healthy all the while. When ZooKeeper is back one leads,
// with what was written before.
func TestZooKeeperStalls(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	url, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	one := startMaster(t, master.Config{ZK: &url, SessionTimeout: 2 * time.Second, Hostname: "localhost"})
	two := startStandby(t, master.Config{ZK: &url, SessionTimeout: 2 * time.Second, Hostname: "localhost"})
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(m *running, method, path string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+m.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp, readAll(t, resp)
	}
	eventually(t, "the standby knows the leader", func() bool {
		resp, _ := ask(two, "GET", "/redirect")
		return resp.StatusCode == http.StatusTemporaryRedirect
	})
	startAgent(t, one.addr).register()
	f := one.subscribe(fmt.Sprintf(subscribeJSON, "", ""))
	f.next(scheduler.Event_SUBSCRIBED)

	ens.Pause()
	resumed := false
	defer func() {
		if !resumed {
			ens.Resume()
		}
	}()
	f.ended()
	for _, m := range []*running{one, two} {
		eventually(t, "nobody leads", func() bool {
			resp, _ := ask(m, "GET", "/redirect")
			return resp.StatusCode == http.StatusServiceUnavailable
		})
		for file, request := range map[string]string{"GET-redirect": "GET /redirect", "GET-state": "GET /state", "POST-api-v1": "POST /api/v1"} {
			recorded := loadAnswer(t, "noleader/"+file+".http")
			method, path, _ := strings.Cut(request, " ")
			got, body := ask(m, method, path)
			if got.StatusCode != recorded.code || body != strings.TrimSpace(recorded.body) || got.Header.Get("Content-Type") != recorded.header["Content-Type"] {
				t.Errorf("%s: %d %q %q, want %d %q", request, got.StatusCode, got.Header.Get("Content-Type"), body, recorded.code, recorded.body)
			}
		}
		if got, body := ask(m, "GET", "/health"); got.StatusCode != http.StatusOK || body != "" {
			t.Errorf("/health: %d %q", got.StatusCode, body)
		}
	}

	ens.Resume()
	resumed = true
	eventually(t, "one leads again and knows the agent", func() bool {
		for _, m := range []*running{one, two} {
			if v, err := m.door.View(context.Background()); err == nil {
				return len(v.Recovered)+len(v.Agents) == 1
			}
		}
		return false
	})
}
